"""Real faults on real processes: `python -m tests.chaos`."""
