"""What Kafka's client hands over says what it follows: nothing is missing unless something got lost on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.fetcher import FetchResult

from nanotally.streams import admin
from nanotally.streams.pipeline import transport
from nanotally.streams.pipeline.transport import Fetched
from tests.support.worker_process import WITHIN_S

AT_A_TIME = 3


class Topic:
    """A partition, its writer, and the reader as a stage has it; `fetched` is what came."""

    def __init__(self, place: TopicPartition, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> None:
        self.place, self.producer, self.consumer = place, producer, consumer
        self.fetched: list[Fetched] = []

    async def write(self, records: int, *, commit: bool = True) -> None:
        """One transaction: it and its mark take records + 1 offsets."""
        await self.producer.begin_transaction()
        for _ in range(records):
            await self.producer.send_and_wait(self.place.topic, b"v", partition=0)
        await (self.producer.commit_transaction() if commit else self.producer.abort_transaction())

    async def read_to(self, position: int) -> None:
        deadline = time.monotonic() + WITHIN_S
        while await self.consumer.position(self.place) < position:
            found = await self.consumer.getmany(self.place, timeout_ms=50, max_records=AT_A_TIME)
            self.fetched += found.values()
            assert time.monotonic() < deadline, self.seen

    @property
    def seen(self) -> list[tuple[int, list[int], int]]:
        return [(one.begins, [record.offset for record in one], one.ends) for one in self.fetched]


@asynccontextmanager
async def topic(kafka: str, prefix: str) -> AsyncIterator[Topic]:
    admin.create_topics(kafka, prefix, 1)
    place = TopicPartition(f"{prefix}usage", 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, isolation_level="read_committed", enable_auto_commit=False, fetch_max_wait_ms=50
    )
    consumer.assign([place])
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"{prefix}writer") as producer, consumer:
        consumer.seek(place, 0)
        yield Topic(place, producer, consumer)


@pytest.fixture(autouse=True)
def as_stages_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FetchResult, "getall", transport._getall)


def test_each_fetch_begins_where_the_one_before_ended_whatever_lies_between(kafka: str, prefix: str) -> None:
    async def scenario() -> list[tuple[int, list[int], int]]:
        async with topic(kafka, prefix) as usage:
            await usage.write(4)  # 0 to 3, mark at 4
            await usage.write(2, commit=False)  # 5, 6, mark at 7
            await usage.write(1)  # 8, mark at 9
            await usage.read_to(10)
            await usage.write(2, commit=False)  # 10, 11, mark at 12: fetched alone, it holds nothing
            await usage.read_to(13)
            await usage.write(1, commit=False)  # 13, mark at 14: once more
            await usage.read_to(15)
            await usage.write(1)  # 15, mark at 16
            await usage.read_to(17)
            return usage.seen

    seen = asyncio.run(scenario())
    assert [offset for _, offsets, _ in seen for offset in offsets] == [0, 1, 2, 3, 8, 15]
    assert seen[0][0] == 0
    assert [begins for begins, _, _ in seen[1:]] == [ends for _, _, ends in seen[:-1]]
    assert (seen[0], seen[-1]) == ((0, [0, 1, 2], 3), (10, [15], 17))


def test_after_a_seek_it_begins_there_or_before(kafka: str, prefix: str) -> None:
    """Before, where what lies there was known to hold no record: nothing is left out by that."""

    async def scenario() -> list[tuple[int, list[int], int]]:
        async with topic(kafka, prefix) as usage:
            await usage.write(6)  # 0 to 5, mark at 6
            await usage.read_to(3)
            usage.consumer.seek(usage.place, 1)
            await usage.read_to(7)
            await usage.write(1, commit=False)  # 7, mark at 8
            await usage.read_to(9)
            usage.consumer.seek(usage.place, 4)
            await usage.read_to(9)
            await usage.write(1)
            await usage.read_to(11)
            return usage.seen

    first, *seen = asyncio.run(scenario())
    assert first == (0, [0, 1, 2], 3)
    assert seen[:2] == [(1, [1, 2, 3], 4), (4, [4, 5], 7)]
    assert seen[2:] == [(4, [4, 5], 9), (9, [9], 11)]


def test_a_fetch_that_is_not_looked_at_leaves_a_gap_to_the_next(kafka: str, prefix: str) -> None:
    async def scenario() -> list[tuple[int, list[int], int]]:
        async with topic(kafka, prefix) as usage:
            await usage.write(9)
            await usage.read_to(3)
            await usage.consumer.getmany(usage.place, timeout_ms=int(WITHIN_S * 1000), max_records=AT_A_TIME)
            await usage.read_to(9)
            return usage.seen

    first, after, *_ = asyncio.run(scenario())
    assert (first[2], after[0]) == (3, 6)
