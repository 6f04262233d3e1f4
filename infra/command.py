"""What the commands behind `make` share: a message instead of a traceback, an exit code that says what happened."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from nanotally.streams.errors import NanotallyError

INTERRUPTED = 130
TERMINATED = 143


def run(body: Callable[[], int | None]) -> NoReturn:
    """Run a command and leave the process: 0, what the error's kind says, or 130 for Ctrl-C.

    SIGTERM unwinds like Ctrl-C does, so that what was begun is put away."""
    signal.signal(signal.SIGTERM, _on_term)
    try:
        code = body() or 0
    except NanotallyError as e:
        print(f"error: {e}", file=sys.stderr, flush=True)
        code = int(e.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        code = INTERRUPTED
    raise SystemExit(code)


def _on_term(*_: object) -> NoReturn:
    raise SystemExit(TERMINATED)


def say(text: str) -> None:
    """A line of progress, at once."""
    print(f"  {text}", flush=True)
