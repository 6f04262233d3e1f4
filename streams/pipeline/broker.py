"""What a stage partition asks of the log: one protocol, held to one contract by every implementation.

Topics go by their logical names. Everything read is committed: records of open or aborted transactions are not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from nanotally.schemas import catalog
from nanotally.streams.domain.records import Emission, Int64Array
from nanotally.streams.errors import BrokenInvariant

HEADER_BYTES = catalog.HEADER_BYTES
LOOK_BACK_FIRST = 64  # offsets; each further step back is LOOK_BACK_GROWTH times as long
LOOK_BACK_GROWTH = 16
TAIL_RECORDS = 32


@dataclass(frozen=True)
class TopicFacts:
    """Which topic it really is, for the labels of what is derived from it."""

    cluster_id: str
    topic_id: str
    partitions: int


@dataclass(frozen=True)
class LogBatch:
    """Committed records in order: offsets int64[n] (ascending, with holes), values of n records."""

    offsets: Int64Array
    values: Sequence[bytes | None]


@dataclass(frozen=True)
class Taken:
    """How far a transaction takes the input: the next offset of that partition."""

    topic: str
    partition: int
    next_offset: int


class Transactions(Protocol):
    """The right to write as one partition of one stage, until a later owner takes it."""

    async def transact(self, emissions: Sequence[Emission], taken: Taken) -> dict[tuple[str, int], int]:
        """Writes all emissions or none of them; gives the next offset of every (topic, partition) written.

        Raises Transient where another owner has fenced this one or the broker does not answer; then it is not known
        whether the transaction counts, and the owner must leave."""
        ...

    async def close(self) -> None:
        """Gives the right up; never raises."""
        ...


class Broker(Protocol):
    """The log as the stages see it."""

    async def describe(self, topic: str) -> TopicFacts:
        """Raises Transient where there is no such topic (yet)."""
        ...

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset still kept, and the end of what is committed."""
        ...

    async def written(self, topic: str, partition: int) -> int:
        """The end of all that was written, be it decided or not: what a producer was told to be written before this
        call began lies below it. A commit is told a moment before its records lie below the end of `bounds`."""
        ...

    def read_log(
        self, topic: str, partition: int, from_offset: int, to_offset: int | None = None
    ) -> AsyncIterator[LogBatch]:
        """The records from an offset to `to_offset`, by default the end at the time of the call.

        Raises BrokenInvariant where records from `from_offset` on are gone."""
        ...

    async def fence(self, stage: str, partition: int) -> Transactions:
        """Becomes the one writer for this partition of the stage. Any earlier one can write no more, and what it left
        open is aborted when this returns."""
        ...


def past_marker(position: int, first: int, end: int) -> int:
    """Where to read on at a position whose very offset is gone, if all that can have been there is Kafka's own mark.

    A transaction leaves a mark behind its last record. In a partition that rests, retention deletes the mark too, and
    the log then begins and ends right after it. A record of a transaction would have its mark behind it, so nothing
    was lost; a log that still holds something, or lacks more, is not taken for that."""
    return first if position == first - 1 and first == end else position


def told_by_tail(values: Sequence[bytes | None]) -> bytes:
    """A hash of what a stage's log ends with: its last transaction, or the end of that where it is long."""
    digest = hashlib.sha256()
    for back, value in enumerate(reversed(values[-TAIL_RECORDS:])):
        if back and _is_chunk(value):
            break
        digest.update(b"%d " % len(value or b"") + (value or b""))
    return digest.digest()


async def tail_before(broker: Broker, topic: str, partition: int, end: int) -> list[bytes | None]:
    """The last committed records before an offset of a stage's own output partition, at least those that
    `told_by_tail` asks for."""
    first, _ = await broker.bounds(topic, partition)
    start, step = end, LOOK_BACK_FIRST
    found: list[bytes | None] = []
    while start > first and len(found) < TAIL_RECORDS and sum(map(_is_chunk, found)) < 2:
        start = max(first, start - step)
        step *= LOOK_BACK_GROWTH
        found = [value async for batch in broker.read_log(topic, partition, start, end) for value in batch.values]
    return found


def _is_chunk(value: bytes | None) -> bool:
    return value is not None and catalog.name_of(value[:HEADER_BYTES]) == "Chunk"


async def last_chunk(broker: Broker, topic: str, partition: int) -> bytes | None:
    """The chunk record that ends a stage's own output partition; None where nothing was ever committed there.

    Each transaction of a stage ends with one, so another record at the end is none of the stage's:
    BrokenInvariant."""
    first, end = await broker.bounds(topic, partition)
    start, step = end, LOOK_BACK_FIRST
    while start > first:
        start = max(first, start - step)
        step *= LOOK_BACK_GROWTH
        last: bytes | None = None
        seen = False
        async for batch in broker.read_log(topic, partition, start, end):
            last, seen = batch.values[-1], True
        if not seen:
            continue  # control records and aborted transactions only
        if last is None or not _is_chunk(last):
            raise BrokenInvariant(
                f"the last record of {topic}[{partition}] is no chunk record: something other than its stage writes "
                f"there. Without its last chunk record a stage cannot know its position"
            )
        return last
    if first > 0:
        raise BrokenInvariant(
            f"{topic}[{partition}] begins at offset {first} and holds no chunk record: the ledger was cut off. "
            f"Restore it; retention of that topic must be without limit"
        )
    return None
