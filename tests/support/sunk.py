"""Records brought into ClickHouse through the sink itself, and read back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from nanotally.sinks.client import Address, ClickHouse
from nanotally.sinks.identity import TopicIdentity
from nanotally.sinks.sink import SinkPartition
from nanotally.sinks.writer import ClickHouseWarehouse
from nanotally.streams.domain.records import RawChunk
from tests.support.clock import HandClock
from tests.support.sink_records import raw_chunk


def identity(partitions: int = 1, cluster: str = "cluster-1", topic: str = "topic-1") -> TopicIdentity:
    """A topic of some Kafka."""
    return TopicIdentity(cluster, topic, partitions)


def sink(
    address: Address,
    topic: str,
    records: Sequence[tuple[str, dict[str, Any]]] | RawChunk,
    *,
    first: int = 0,
    partition: int = 0,
    partitions: int = 1,
) -> int:
    """Takes the partition over, writes the records (at offsets from `first` on), gives it back; the position after."""

    async def scenario() -> int:
        chunk = records if isinstance(records, RawChunk) else raw_chunk(topic, records, first, partition)
        warehouse = ClickHouseWarehouse(address, identity(partitions))
        worker = SinkPartition(topic, partition, warehouse, clock=HandClock())
        await worker.open()
        await worker.process(chunk)
        await worker.close()
        return worker.position

    return asyncio.run(scenario())


def rows(address: Address, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    clickhouse = ClickHouse(address)
    try:
        return clickhouse.query(sql, parameters)
    finally:
        clickhouse.close()
