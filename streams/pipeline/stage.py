"""What a stage is to the app that runs it: input topics, and a worker for each partition of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from nanotally.streams.domain.records import RawChunk


class PartitionWorker(Protocol):
    """Takes the chunks of one input partition, from its opening to its closing; then it is thrown away.

    Calls of `process` come one after another; `close` may come while one is running, then `process` ends at the next
    place where nothing is lost, and `close` waits for it. Any error but asyncio.CancelledError from `open` ends the
    process, as does every error from `process`."""

    @property
    def position(self) -> int:
        """Offset of the next input record to take; everything before it is done for good."""
        ...

    @property
    def waiting_for(self) -> str:
        """What it cannot go on without ('rule book 7'); empty while it works."""
        ...

    async def open(self) -> int:
        """Takes the partition over and gives its position."""
        ...

    async def process(self, chunk: RawChunk) -> None:
        """Takes the chunk; records below the position are left out."""
        ...

    async def close(self) -> None:
        """Gives the partition back. Never raises for what the next owner mends."""
        ...

    def figures(self) -> Mapping[str, float]:
        """Running figures for people and Prometheus, by name: 'records', 'chunks', 'watermark_us', 'charged', ..."""
        ...

    def account(self, account: str) -> dict[str, Any] | None:
        """Open windows of an account that this partition keeps; None where there are none."""
        ...


@dataclass(frozen=True)
class LiveAnswers:
    """`GET /PATH/ID` is answered with the account PREFIX + ID, by the owner of the ID's partition of `topic`."""

    path: str
    prefix: str
    topic: str


@dataclass(frozen=True)
class Stage:
    """One Faust app: name (group, web port), input topics (logical names) and what takes their partitions."""

    name: str
    topics: tuple[str, ...]
    make_worker: Callable[[str, int], Awaitable[PartitionWorker]]
    answers: LiveAnswers | None = None
    close_shared: Callable[[], Awaitable[None]] = field(default=lambda: _nothing())


async def _nothing() -> None:
    """A stage without anything shared has nothing to close."""
