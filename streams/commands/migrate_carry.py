"""Uses on their way from one installation to another: ids that are to be known, and uses that nobody took."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from kafka import KafkaProducer

from nanotally.schemas import catalog, codec
from nanotally.schemas.columns import records_of
from nanotally.streams.dead_letters import Place
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.domain.records import LONG_AGO, Int64Array
from nanotally.streams.errors import BrokenInvariant
from nanotally.streams.publisher_bulk import BulkSender
from nanotally.streams.publisher_ledger import Records, TopicReader, kafka_errors, run

TIMEOUT_S = 120.0
Say = Callable[[int], None]


@dataclass
class Carried:
    """uses: how many; newest_us: when the newest of them occurred, LONG_AGO without one; before: by partition of the
    new `usage` the offset after the last of them."""

    uses: int
    newest_us: int
    before: dict[int, int]


def carry_ids(
    bootstrap: str, old: str, new: str, from_us: int, skew_us: int, without: Container[Place], say: Say
) -> Carried:
    """Publishes into the new installation every use in the old ledger that occurred at `from_us` or later, but those
    that stood at the places `without`.

    A use was recorded at its time less the skew at the earliest, and its charge later than that."""
    found = Carried(0, LONG_AGO, {})

    async def work() -> None:
        async with TopicReader(bootstrap, old) as reader:
            ranges = await reader.since("charges", max(0, from_us - skew_us) // 1000)
            async for piece in reader.stream("charges", ranges):
                for event in _events(piece, from_us, without):
                    sender.put(event)
                    found.newest_us = max(found.newest_us, event["occurred_at"])
                say(sender.taken)

    with BulkSender(bootstrap, f"{new}usage", TIMEOUT_S) as sender:
        run(work())
    found.uses = sender.taken
    found.before = {partition: end for partition, (_, end) in _bounds(bootstrap, new, "usage").items()}
    return found


def _events(piece: Records, from_us: int, without: Container[Place]) -> Iterable[dict[str, Any]]:
    """The uses in a piece of the ledger that occurred at an instant or later, but those at the places `without`."""
    places: Int64Array | None = codec.split_by_schema(piece.values).get("Charge")
    if places is None:
        return []
    decoded = codec.decode("Charge", [piece.values[i] for i in places.tolist()])
    if decoded.bad:
        raise BrokenInvariant(f"charges[{piece.partition}] holds what is no charge: {decoded.bad[0].detail}")
    batch = decoded.batch
    offsets = batch.column("usage_offset").to_pylist()
    batch = batch.filter(pa.array([(piece.partition, offset) not in without for offset in offsets], pa.bool_()))
    events = batch.column("event").drop_null()
    chosen = events.filter(pc.greater_equal(pc.struct_field(events, "occurred_at"), from_us))
    shape = next(field.shape for field in catalog.schema("Charge").shape.fields if field.name == "event")
    return records_of(pa.RecordBatch.from_struct_array(chosen), shape)


def publish_again(bootstrap: str, new: str, uses: Iterable[Mapping[str, Any]]) -> int:
    """Publishes uses into the new installation, to be decided there; gives their number."""
    with BulkSender(bootstrap, f"{new}usage", TIMEOUT_S) as sender:
        for use in uses:
            sender.put(dict(use))
    return sender.taken


def uses_since(bootstrap: str, prefix: str, since: dict[int, int]) -> int:
    """How many records of `usage` from the offsets on (by partition) are no controls."""

    async def work() -> int:
        found = 0
        async with TopicReader(bootstrap, prefix) as reader:
            bounds = await reader.bounds("usage")
            ranges = {p: (max(first, since[p]), end) for p, (first, end) in bounds.items() if p in since}
            async for piece in reader.stream("usage", ranges):
                found += len(piece.values) - len(codec.split_by_schema(piece.values).get("Control", ()))
        return found

    return run(work())


def carry_untaken(bootstrap: str, old: str, new: str, made: int, partitions: int) -> int:
    """Publishes into the new installation, as they are, the records of partitions that were added to the old one."""

    async def work() -> int:
        sent = 0
        async with TopicReader(bootstrap, old) as reader:
            bounds = {p: ends for p, ends in (await reader.bounds("usage")).items() if p >= made}
            async for piece in reader.stream("usage", bounds):
                controls = set(codec.split_by_schema(piece.values).get("Control", ()))
                for place, (key, value) in enumerate(zip(piece.keys, piece.values, strict=True)):
                    if place not in controls:
                        partition = partition_of(key or b"", partitions)
                        futures.append(producer.send(f"{new}usage", key=key, value=value, partition=partition))
                        sent += 1
        return sent

    futures: list[Any] = []
    with kafka_errors(bootstrap):
        producer = KafkaProducer(bootstrap_servers=bootstrap.split(","), acks="all", enable_idempotence=True)
        try:
            sent = run(work())
            for future in futures:
                future.get(timeout=TIMEOUT_S)
        finally:
            producer.close(timeout=5)
    return sent


def _bounds(bootstrap: str, prefix: str, topic: str) -> dict[int, tuple[int, int]]:
    async def work() -> dict[int, tuple[int, int]]:
        async with TopicReader(bootstrap, prefix) as reader:
            return await reader.bounds(topic)

    return run(work())
