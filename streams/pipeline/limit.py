"""The limit of rejects per minute: a flood of bad input stops the worker and says so. It changes no result."""

from __future__ import annotations

from collections import deque

from nanotally.streams.errors import InvalidInput
from nanotally.streams.pipeline.clock import Clock

WINDOW_S = 60.0


class RejectLimit:
    """Counts the rejects of all partitions of a worker over the last minute."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._counts: deque[tuple[float, int]] = deque()
        self._sum = 0

    def count(self, rejected: int, who: str) -> None:
        """Counts what was just rejected, for good. Raises InvalidInput when it was too much within a minute."""
        now_s = self._clock.seconds()
        while self._counts and self._counts[0][0] <= now_s - WINDOW_S:
            self._sum -= self._counts.popleft()[1]
        if not rejected:
            return
        self._counts.append((now_s, rejected))
        self._sum += rejected
        if self._sum > self._per_minute:
            raise InvalidInput(
                f"{who}: {self._sum:,} input records were rejected within a minute, the limit is "
                f"{self._per_minute:,}. Nothing is lost: they are in topic rejects with their reasons, and the stage "
                f"goes on where it stopped. Look at `SELECT reason, count() FROM rejects GROUP BY reason`, stop what "
                f"publishes them, and start again; or raise NANOTALLY_REJECTS_PER_MINUTE",
                reason="reject_limit",
            )
