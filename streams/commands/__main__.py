"""`python -m nanotally.streams.commands` is the command `nanotally`, where no script is on the path."""

from nanotally.streams.commands import main

main()
