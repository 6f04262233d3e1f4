"""How far each stage is in each partition: its last chunk record beside the end of what it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nanotally.schemas import codec
from nanotally.streams.domain.records import LONG_AGO
from nanotally.streams.publisher_ledger import Records, TopicReader


@dataclass(frozen=True)
class StagePosition:
    """stage payers or accounts, of one input partition: next offset to take, and the records not taken yet, counted
    by offsets; `end` is the place after the newest record."""

    stage: str
    partition: int
    next_offset: int
    end: int

    @property
    def lag(self) -> int:
        """Records that wait."""
        return max(0, self.end - self.next_offset)


@dataclass(frozen=True)
class PayersPosition(StagePosition):
    """With what the payers' chunk record says: book in force (-1: none), watermark and closed-to."""

    book_number: int
    watermark_us: int
    closed_to_us: int


async def payers_positions(reader: TopicReader) -> list[PayersPosition]:
    """Of each partition of usage."""
    found = []
    for partition in sorted(await reader.bounds("charges")):
        chunk = await last_chunk(reader, "charges", partition) or {}
        found.append(
            PayersPosition(
                "payers",
                partition,
                chunk.get("next_offset", 0),
                await last_record(reader, "usage", partition) + 1,
                chunk.get("book_number", -1),
                chunk.get("watermark_us", LONG_AGO),
                chunk.get("closed_to_us", LONG_AGO),
            )
        )
    return found


async def accounts_positions(reader: TopicReader) -> list[StagePosition]:
    """Of each partition of earnings."""
    found = []
    for partition in sorted(await reader.bounds("account_tallies")):
        chunk = await last_chunk(reader, "account_tallies", partition) or {}
        end = await last_record(reader, "earnings", partition) + 1
        found.append(StagePosition("accounts", partition, chunk.get("next_offset", 0), end))
    return found


async def last_chunk(reader: TopicReader, topic: str, partition: int) -> dict[str, Any] | None:
    """The newest chunk record of a partition; None without one."""
    values = (await tail(reader, topic, partition)).values
    places = codec.split_by_schema(values).get("Chunk")
    return None if places is None or not len(places) else codec.decode_one(values[int(places[-1])])[1]


async def last_record(reader: TopicReader, topic: str, partition: int) -> int:
    """Offset of the newest record; one before the beginning without one."""
    records = await tail(reader, topic, partition)
    return int(records.offsets[-1]) if records.values else records.first - 1


async def tail(reader: TopicReader, topic: str, partition: int) -> Records:
    """The newest committed records of a partition, some at least, however long the broker takes: behind them there may
    be Kafka's own markers. None are only where there are none; `first` is the oldest offset then."""
    first, end = (await reader.bounds(topic))[partition]
    step, found = 2, Records(topic, partition, first, end)
    while first < end and not found.values:
        start = max(first, end - step)
        found = (await reader.read_all(topic, {partition: (start, end)}))[partition]
        if start == first:
            break
        step *= 8
    return found
