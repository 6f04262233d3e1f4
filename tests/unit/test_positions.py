"""How far a stage is, asked of a broker that takes its time: slow is not empty."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from nanotally.schemas import codec
from nanotally.streams.commands.positions import accounts_positions, last_record
from nanotally.streams.publisher_ledger import TopicReader
from tests.support.sink_records import chunk

SILENT_S = 0.7


class SlowConsumer:
    """One partition of each topic: records at offsets, the end with Kafka's markers behind them. What was sought is
    given after a time of silence."""

    def __init__(self, logs: dict[str, tuple[dict[int, bytes], int]]) -> None:
        self.logs = logs
        self.at: dict[TopicPartition, int] = {}
        self.heard_s = 0.0

    async def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: min(self.logs[place.topic][0], default=0) for place in places}

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: self.logs[place.topic][1] for place in places}

    def assign(self, places: list[TopicPartition]) -> None:
        pass

    def pause(self, *places: TopicPartition) -> None:
        pass

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.at[place], self.heard_s = offset, asyncio.get_running_loop().time() + SILENT_S

    async def position(self, place: TopicPartition) -> int:
        return self.at[place]

    async def getmany(self, place: TopicPartition, timeout_ms: int, **_: Any) -> dict[TopicPartition, list[Any]]:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(min(max(0.0, self.heard_s - loop.time()), timeout_ms / 1000))
        if loop.time() < self.heard_s:
            return {}
        records, end = self.logs[place.topic]
        found = [(offset, value) for offset, value in sorted(records.items()) if offset >= self.at[place]]
        self.at[place] = end
        given = [SimpleNamespace(offset=offset, value=value, timestamp=0, key=None) for offset, value in found]
        return {place: given} if given else {}


def reader(**logs: tuple[dict[int, bytes], int]) -> TopicReader:
    made = TopicReader("nowhere:1")
    made._consumer = SlowConsumer(logs)
    made._cluster = SimpleNamespace(partitions_for_topic=lambda name: {0} if name in logs else set())
    return made


def test_a_broker_that_is_silent_for_a_while_has_records_all_the_same() -> None:
    slow = reader(
        account_tallies=({3: codec.encode_one("Chunk", chunk(stage="accounts", next_offset=40))}, 5),
        earnings=({100: b"earned"}, 102),
    )
    (found,) = asyncio.run(accounts_positions(slow))
    assert (found.next_offset, found.end, found.lag) == (40, 101, 61)


def test_a_partition_with_nothing_but_markers_ends_before_its_beginning() -> None:
    assert asyncio.run(last_record(reader(usage=({}, 0)), "usage", 0)) == -1
    assert asyncio.run(last_record(reader(usage=({}, 30)), "usage", 0)) == -1
    assert asyncio.run(last_record(reader(usage=({5: b"a", 6: b"b"}, 40)), "usage", 0)) == 6
