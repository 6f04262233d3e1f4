"""Ticks: a control to each partition of `usage` that has been quiet, so that time passes there and windows close.

The record carries the broker's time, which is all that a stage looks at; who sent it and when changes no result.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from nanotally.schemas import codec
from nanotally.streams.pipeline.health import PartitionHealth

log = logging.getLogger(__name__)

TOPIC = "usage"


class Ticks:
    """Sends a tick where nothing but ticks has come since the round before."""

    def __init__(self, send: Callable[[int, bytes], Awaitable[object]]) -> None:
        """send: writes a record into a partition of `usage`."""
        self._send = send
        self._quiet_at: dict[int, int] = {}  # position after the last round, with its own tick counted

    async def round(self, found: Iterable[PartitionHealth]) -> None:
        """One round over the partitions that this process holds."""
        quiet_at = {}
        for health in found:
            if health.topic != TOPIC or health.state != "idle":
                continue
            partition, position = health.partition, health.position
            if self._quiet_at.get(partition) == position:
                await self._send(partition, tick(partition, position))
                position += 1
            quiet_at[partition] = position
        self._quiet_at = quiet_at


def tick(partition: int, offset: int) -> bytes:
    """A tick control; its id names the place it is meant for."""
    control = {"control_id": f"tick-{partition}-{offset}", "kind": "tick", "at": None, "book_number": None}
    return codec.encode_one("Control", {**control, "book_hash": None, "note": "nothing came for a while"})
