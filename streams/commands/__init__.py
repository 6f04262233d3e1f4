"""The command line `nanotally`."""
