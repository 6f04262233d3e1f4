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
    """Sends a tick where nothing but ticks has come since the round before; none while `usage` is sealed."""

    def __init__(self, send: Callable[[int, bytes], Awaitable[bool]], why_sealed: Callable[[], Awaitable[str]]) -> None:
        """send: writes a record into a partition of `usage`, False where that is sealed; why_sealed: for people."""
        self._send, self._why_sealed = send, why_sealed
        self._quiet_at: dict[int, int] = {}  # position after the last round, with its own tick counted
        self._sealed = False

    async def round(self, found: Iterable[PartitionHealth]) -> None:
        """One round over the partitions that this process holds."""
        quiet_at, refused = {}, False
        for health in found:
            if health.topic != TOPIC or health.state != "idle":
                continue
            partition, position = health.partition, health.position
            # While it is sealed, one record a round finds out whether it still is.
            if not refused and self._quiet_at.get(partition) == position:
                refused = not await self._is_taken(partition, position)
                position += not refused
            quiet_at[partition] = position
        self._quiet_at = quiet_at

    async def _is_taken(self, partition: int, position: int) -> bool:
        """Whether the partition takes a tick; a change is said once."""
        taken = await self._send(partition, tick(partition, position))
        if not taken and not self._sealed:
            log.warning("%s", await self._why_sealed())
        elif taken and self._sealed:
            log.warning("usage takes records again: ticks go on")
        self._sealed = not taken
        return taken


def tick(partition: int, offset: int) -> bytes:
    """A tick control; its id names the place it is meant for."""
    control = {"control_id": f"tick-{partition}-{offset}", "kind": "tick", "at": None, "book_number": None}
    return codec.encode_one("Control", {**control, "book_hash": None, "note": "nothing came for a while"})
