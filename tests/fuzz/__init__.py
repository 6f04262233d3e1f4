"""Inputs that nobody should send, drawn from seeds: `python -m tests.fuzz`."""
