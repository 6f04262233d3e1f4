"""Memory that a worker keeps between chunks.

CPython takes memory for small objects from the system in arenas of a megabyte and gives each back as soon as it is
empty. A chunk makes tens of thousands of `bytes` objects and drops them all at its end, so that the next chunk would
get its arenas anew, page by page: a tenth of the time that rating takes. One small object in each arena keeps it."""

from __future__ import annotations

ARENAS_MB = 32
ARENA = 1 << 20
SMALL = 480  # bytes of the objects, with their head: just below the 512 that CPython counts as small
_kept: list[bytes] = []


def keep_arenas(megabytes: int) -> None:
    """Takes so much memory for small objects and keeps all but a little of it free for them, until the process ends.

    Does nothing more when called again. Other Pythons than CPython only lose the time."""
    if _kept:
        return
    in_arena = ARENA // 512
    filled = [bytes(SMALL - 33) for _ in range(megabytes * in_arena)]
    _kept.extend(filled[:: in_arena // 2])
