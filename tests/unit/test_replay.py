"""Filling a database from the topics: what cannot come out right is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from nanotally.sinks import replay as module
from nanotally.sinks.identity import TopicIdentity
from nanotally.sinks.replay import Replayed
from nanotally.sinks.warehouse import Position
from nanotally.streams.environment import Environment
from nanotally.streams.errors import BrokenInvariant
from nanotally.streams.publisher_ledger import Records

IDENTITY = TopicIdentity("k", "c-1", 1)


class Reader:
    """A topic of one partition without records, that goes up to an offset."""

    def __init__(self, end: int) -> None:
        self.end = end

    async def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        return {0: (0, self.end)}

    async def stream(self, topic: str, ranges: Mapping[int, tuple[int, int]]) -> AsyncIterator[Records]:
        for partition, (first, end) in ranges.items():
            yield Records(topic, partition, first, end)


class Warehouse:
    """A database that is at offset 10."""

    def __init__(self, *_: object) -> None:
        """Connects to nothing."""

    def open(self, topic: str, partition: int) -> Position:
        return Position(10, 8)


def replayed(end: int) -> Replayed:
    reader, environment = Reader(end), Environment.load({"NANOTALLY_DATABASE": "second"})
    told = module._topic(reader, "charges", environment, IDENTITY, [], lambda topic, records: None)  # type: ignore[arg-type]
    return asyncio.run(told)


def test_a_database_that_is_ahead_of_kafka_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a broker that lost what it had not written to disk: who replays into it is told that all is well."""
    monkeypatch.setattr(module, "ClickHouseWarehouse", Warehouse)
    assert replayed(10).records == 0
    with pytest.raises(BrokenInvariant, match=r"second is at offset 10 of charges\[0\], which ends at 9: .*another"):
        replayed(9)
