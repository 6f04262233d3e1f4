"""Writing what the topics hold into another database, from their beginning, beside the sink that goes on as before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nanotally.sinks.identity import TopicIdentity
from nanotally.sinks.record_rows import chunk_row
from nanotally.sinks.sink import SinkPartition, address_of
from nanotally.sinks.tables import CHUNKS, TOPICS
from nanotally.sinks.warehouse import Position
from nanotally.sinks.writer import ClickHouseWarehouse
from nanotally.streams.admin import KEPT
from nanotally.streams.admin import TOPICS as ALL_TOPICS
from nanotally.streams.domain.records import RawChunk
from nanotally.streams.environment import Environment
from nanotally.streams.errors import BrokenInvariant, Transient
from nanotally.streams.publisher_ledger import Records, TopicReader

BATCH_RECORDS = 40_000
BATCH_BYTES = 32 << 20

Identities = Mapping[str, TopicIdentity]  # of each topic (logical name), as Kafka knows it


@dataclass
class Replayed:
    """What became of one topic: records written by this run (chunk records too), and offsets that Kafka no longer
    holds, by partition, and that were not written before."""

    topic: str
    records: int = 0
    gone: dict[int, int] = field(default_factory=dict)


@dataclass
class _Target:
    """One partition on its way: the sink, what waits for it, and its size in bytes."""

    sink: SinkPartition
    topic: str
    partition: int
    first: int = 0  # the oldest offset that Kafka held at the start,
    held: int = 0  # and the one after the newest, which may be a transaction's marker
    end: int = 0  # after the newest record that was read
    waiting: list[Records] = field(default_factory=list)
    records: int = 0
    bytes: int = 0


async def replay(
    environment: Environment, identities: Identities, say: Callable[[str, int], None] = lambda topic, records: None
) -> list[Replayed]:
    """Writes all topics, up to their ends as of now, to the environment's database, which is migrated already.

    It joins no consumer group, so it takes nothing from a sink that runs. It can be broken off and run again: it goes
    on at the positions in the database. say: gets topic and number of records now and then. Raises BrokenInvariant for
    a ledger without its beginning, for a database of another Kafka, and for one that is ahead of this one; Transient
    where Kafka does not answer or gives less than it holds (while ClickHouse does not answer, it waits)."""
    found = []
    rest: list[_Target] = []
    try:
        async with TopicReader(environment.kafka, environment.prefix) as reader:
            for topic in TOPICS:
                found.append(await _topic(reader, topic, environment, identities[topic], rest, say))
        await asyncio.gather(*(_flush(target) for target in rest))
        await _check(environment, rest)
    finally:
        await asyncio.gather(*(target.sink.close() for target in rest))
    return found


async def _topic(
    reader: TopicReader,
    topic: str,
    environment: Environment,
    identity: TopicIdentity,
    rest: list[_Target],
    say: Callable[[str, int], None],
) -> Replayed:
    replayed = Replayed(topic)
    ranges: dict[int, tuple[int, int]] = {}
    targets: dict[int, _Target] = {}
    for partition, (first, end) in (await reader.bounds(topic)).items():
        warehouse = ClickHouseWarehouse(address_of(environment), identity)
        target = targets[partition] = _Target(SinkPartition(topic, partition, warehouse), topic, partition, first, end)
        rest.append(target)
        position = await target.sink.open()
        if position > end and position > (
            newest := (await reader.bounds(topic))[partition][1]
        ):  # a sink may go on there
            raise BrokenInvariant(
                f"database {environment.database} is at offset {position} of {topic}[{partition}], which ends at "
                f"{newest}: it has rows of records that Kafka has lost, and what took their places would be left out; "
                f"fill another database"
            )
        if first > position:
            _skip(topic, partition, warehouse, first)
            replayed.gone[partition] = first - position
            position = await target.sink.open()
        ranges[partition] = (position, end)
    async for piece in reader.stream(topic, ranges):
        target = targets[piece.partition]
        target.waiting.append(piece)
        target.records += len(piece.values)
        target.end = int(piece.offsets[-1]) + 1 if len(piece.offsets) else target.end
        target.bytes += sum(len(value) for value in piece.values if value)
        replayed.records += len(piece.values)
        say(topic, replayed.records)
        if target.records >= BATCH_RECORDS or target.bytes >= BATCH_BYTES:
            await _flush(target)
    return replayed


def _skip(topic: str, partition: int, warehouse: ClickHouseWarehouse, first: int) -> None:
    """Puts the position to the oldest record there is. Raises BrokenInvariant for what must be whole."""
    if topic in {known.name for known in ALL_TOPICS if known.retention_ms == KEPT}:
        raise BrokenInvariant(
            f"topic {topic} begins at offset {first} in partition {partition}, but it must hold everything: a database "
            f"filled from it would lack charges; restore a backup instead (nanotally backup restore)"
        )
    at = Position(first, warehouse.position(topic, partition).records)
    warehouse.write(CHUNKS, chunk_row(topic, partition, at, None, ()), topic, partition)


async def _check(environment: Environment, targets: Sequence[_Target]) -> None:
    """That every partition is written up to the newest record that it held at the start: where nothing was read from
    what it held, by asking Kafka once more."""
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        for target in targets:
            at = target.sink.position
            missing = at < target.end
            if not missing and at <= target.first < target.held:
                again = await reader.read(target.topic, target.partition, target.first, 1.0)
                missing = bool(again) and again[0].offset < target.held
            if missing:
                raise Transient(
                    f"{target.topic}[{target.partition}] is written to offset {at} of {target.held} only: run it again"
                )


async def _flush(target: _Target) -> None:
    """Writes what waits."""
    pieces, target.waiting, target.records, target.bytes = target.waiting, [], 0, 0
    if not sum(len(piece.values) for piece in pieces):
        return
    await target.sink.process(
        RawChunk(
            pieces[0].topic,
            target.partition,
            np.concatenate([piece.offsets for piece in pieces]),
            np.concatenate([piece.times_ms for piece in pieces]) * 1000,
            [key for piece in pieces for key in piece.keys],
            [value for piece in pieces for value in piece.values],
        )
    )
