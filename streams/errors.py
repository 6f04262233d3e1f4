"""The error kinds of nanotally, in one place, with what each asks of its catcher.

* `InvalidInput`: this input cannot be used; keep it (dead letter, message to the person), go on.
* `Transient`: try again with growing waits, hold back the input meanwhile.
* `BrokenInvariant`: what must always hold does not; log and leave the process with a non-zero exit code.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit code of every command says."""

    OK = 0
    DIFFERENCE = 1  # reconcile or verify found a difference
    USAGE = 2  # the command line was not understood
    INVALID = 3  # an input file or value cannot be used
    NOT_FOUND = 4  # what was asked for does not exist
    UNAVAILABLE = 5  # Kafka or ClickHouse cannot be reached
    BROKEN = 70  # a broken invariant


class NanotallyError(Exception):
    """Base of all errors this package raises on purpose; the message is for people."""

    exit_code: ExitCode = ExitCode.BROKEN


class InvalidInput(NanotallyError):
    """An input that cannot be used: says what, where and how to mend it."""

    exit_code = ExitCode.INVALID

    def __init__(self, message: str, *, reason: str = "invalid") -> None:
        super().__init__(message)
        self.reason = reason


class NotFound(NanotallyError):
    """What was asked for does not exist (yet)."""

    exit_code = ExitCode.NOT_FOUND


class Transient(NanotallyError):
    """A service cannot be reached or refuses for now; trying again may help."""

    exit_code = ExitCode.UNAVAILABLE


class BrokenInvariant(NanotallyError):
    """What must always hold does not. Never caught to go on: the process ends."""

    exit_code = ExitCode.BROKEN
