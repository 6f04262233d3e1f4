"""A clock that tests turn by hand."""

from __future__ import annotations

import asyncio


class HandClock:
    """Time stands still until somebody sleeps or `turn`s it; a sleep takes no real time."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []

    def seconds(self) -> float:
        return self.now_s

    def turn(self, seconds: float) -> None:
        self.now_s += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.turn(seconds)
        await asyncio.sleep(0)
