"""The clock a worker goes by: for waits, limits and figures, never for a result."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Handed in, so that tests and a simulator bring their own."""

    def seconds(self) -> float:
        """Seconds that only go up, from an arbitrary start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Lets others work for so long."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    def seconds(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
