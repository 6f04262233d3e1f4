"""Leaving the process: the one answer to an error while state may be ahead of the log.

What is written is written in transactions, so leaving at once loses nothing; going on could.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from typing import NoReturn

from aiokafka.errors import KafkaError

from nanotally.streams.errors import ExitCode, NanotallyError, Transient

log = logging.getLogger(__name__)

RETRY = "NANOTALLY_RETRY"  # how many times this process has started over, in a row
WAIT_MAX_S = 30.0
RAN_WELL_S = 60.0  # who ran for so long begins to count anew
STARTED_S = time.monotonic()

_asked = threading.Event()  # to end


def asked_to_end() -> None:
    """From now on whatever goes wrong ends the process: who is asked to end does not start over."""
    _asked.set()


def leave(error: BaseException, *, supervised: bool) -> NoReturn:
    """Says why and ends the process with the error's exit code.

    After a transient error a process that nobody supervises, nor asked to end, starts itself over, under the same pid,
    after a wait."""
    error = understood(error)
    if isinstance(error, NanotallyError):
        log.error("%s", error)
        code = error.exit_code
    else:
        log.critical("the worker leaves: %r", error, exc_info=error)
        code = ExitCode.BROKEN
    if code == ExitCode.UNAVAILABLE and not supervised and not _asked.is_set():
        start_over()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def understood(error: BaseException) -> BaseException:
    """Errors of Kafka's client that reach us by way of Faust are transient, as is being cancelled by it."""
    if isinstance(error, KafkaError | asyncio.CancelledError | ConnectionError | TimeoutError):
        transient = Transient(f"Kafka does not answer as it should: {error!r}")
        transient.__cause__ = error
        return transient
    return error


def start_over() -> NoReturn:
    """Replaces this process by a fresh one with the same command line, at once, so that nothing is held any longer."""
    tries = 0 if time.monotonic() - STARTED_S > RAN_WELL_S else int(os.environ.get(RETRY, "0"))
    sys.stdout.flush()
    sys.stderr.flush()
    os.environ[RETRY] = str(tries + 1)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def wait_if_started_over() -> None:
    """A process that replaced another begins after 1, 2, 4, ... 30 s."""
    tries = int(os.environ.get(RETRY, "0"))
    if tries:
        wait_s = min(2.0 ** (tries - 1), WAIT_MAX_S)
        log.warning("starting over in %.0f s", wait_s)
        time.sleep(wait_s)
