"""Ports that are this process's alone among all that ask here: what is free when it is asked for may be taken before a
server listens there, seconds later on a slow machine, so whoever chooses holds a lock until its end."""

from __future__ import annotations

import fcntl
import os
import random
import tempfile
from pathlib import Path
from typing import IO

SERVICES = (20_000, 31_000, 150)  # for `reserve`: what a Kafka, a ClickHouse, those before them and workers take

_held: dict[int, IO[bytes]] = {}


def reserve(first: int, end: int, count: int) -> int:
    """The lowest of `count` ports in a row, drawn from those between `first` and `end` that nobody else holds."""
    starts = list(range(first, end - count + 1, count))
    random.SystemRandom().shuffle(starts)
    folder = Path(tempfile.gettempdir()) / f"nanotally-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in starts:
        lock = (folder / f"{port}").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _held[port] = lock
        return port
    raise AssertionError(f"all ports from {first} to {end} are held: see {folder}")


def give_back(port: int) -> None:
    """Others may have it."""
    _held.pop(port).close()
