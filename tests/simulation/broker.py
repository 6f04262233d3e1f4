"""What a simulated process sends to the simulated Kafka: a `Broker`, as `KafkaBroker` is one for a real cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

import numpy as np

from nanotally.streams.domain.records import Emission
from nanotally.streams.errors import BrokenInvariant, Transient
from nanotally.streams.pipeline.broker import LogBatch, Taken, TopicFacts
from tests.simulation.kafka import Entry, Fenced, Kafka, OutOfRange, Pair
from tests.simulation.world import Process, Unreachable

T = TypeVar("T")

TRIES = 4
BACK_OFF_S = 0.02
READ_RECORDS = 200


class SimBroker:
    """One process's client. `group` as in `KafkaBroker`."""

    def __init__(
        self, process: Process, kafka: Kafka, group: str, batch_records: int = 1000, tries: int = TRIES
    ) -> None:
        self.process = process
        self.kafka = kafka
        self.group = group
        self.batch_records = batch_records
        self.tries = tries

    async def asked(self, what: str, serve: Callable[[], Awaitable[T]]) -> T:
        """The answer, asked for again where none came. Raises Transient in the end."""
        for attempt in range(self.tries):
            try:
                return await self.process.ask(what, serve)
            except Unreachable:
                await asyncio.sleep(BACK_OFF_S * (attempt + 1))
        raise Transient(f"Kafka does not answer: {what}")

    async def describe(self, topic: str) -> TopicFacts:
        partitions = await self.asked(f"describe {topic}", lambda: self.kafka.describe(topic))
        if partitions is None:
            raise Transient(f"there is no topic {topic} yet")
        return TopicFacts(self.kafka.cluster_id, f"id-of-{topic}", partitions)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return await self.asked(f"bounds {topic}[{partition}]", lambda: self.kafka.bounds(topic, partition))

    async def written(self, topic: str, partition: int) -> int:
        return await self.asked(f"end of {topic}[{partition}]", lambda: self.kafka.written(topic, partition))

    async def read_log(
        self, topic: str, partition: int, from_offset: int, to_offset: int | None = None
    ) -> AsyncIterator[LogBatch]:
        _, end = await self.bounds(topic, partition)
        end = end if to_offset is None else min(end, to_offset)
        at = from_offset
        while at < end:
            entries, at = await self.fetch(topic, partition, at, READ_RECORDS)
            entries = [e for e in entries if e.offset < end]
            if entries:
                yield LogBatch(np.array([e.offset for e in entries], np.int64), [e.value for e in entries])

    async def fetch(self, topic: str, partition: int, start: int, records: int) -> tuple[list[Entry], int]:
        """Committed records from an offset on, and where to read on."""
        what = f"fetch {topic}[{partition}] from {start}"
        try:
            return await self.asked(what, lambda: self.kafka.fetch(topic, partition, start, records))
        except OutOfRange as e:
            raise BrokenInvariant(f"records were deleted that are needed: {e}") from e

    async def fence(self, stage: str, partition: int) -> SimTransactions:
        writer = f"{stage}-{partition}"
        epoch = await self.asked(f"fence {writer}", lambda: self.kafka.fence(writer))
        return SimTransactions(self, writer, epoch)


class SimTransactions:
    """`Transactions` of one transactional id and epoch."""

    def __init__(self, broker: SimBroker, writer: str, epoch: int) -> None:
        self.broker = broker
        self.kafka = broker.kafka
        self.writer = writer
        self.epoch = epoch
        self._sequences: dict[tuple[str, int], int] = {}

    async def transact(self, emissions: Sequence[Emission], taken: Taken) -> dict[tuple[str, int], int]:
        try:
            ends = await self.send(emissions)
            await self.broker.process.toil()
            await self.add_offsets(taken)
            await self.end("committed")
        except Fenced as e:
            raise Transient(f"another worker has taken over {self.writer}: {e}") from e
        return ends

    async def send(self, emissions: Sequence[Emission]) -> dict[tuple[str, int], int]:
        """Writes records: partitions side by side, the batches of each in their order. Gives the next offsets."""
        by_place: dict[tuple[str, int], list[Pair]] = {}
        for emission in emissions:
            pairs = by_place.setdefault((emission.topic, emission.partition), [])
            pairs += zip(emission.keys, emission.values, strict=True)
        sent = [asyncio.ensure_future(self._send(place, pairs)) for place, pairs in by_place.items() if pairs]
        ends = await asyncio.gather(*sent)  # where one fails the others go on, as a sender in the background does
        return dict(zip((place for place, pairs in by_place.items() if pairs), ends, strict=True))

    async def _send(self, place: tuple[str, int], pairs: list[Pair]) -> int:
        end = 0
        for start in range(0, len(pairs), self.broker.batch_records):
            some = pairs[start : start + self.broker.batch_records]
            end = await self._batch(place, some) + len(some)
        return end

    async def _batch(self, place: tuple[str, int], pairs: list[Pair]) -> int:
        """One batch; sent again with the same number where no answer came, so that it is written once."""
        number = self._sequences[place] = self._sequences.get(place, -1) + 1
        base = await self.broker.asked(
            f"produce {self.writer} -> {place[0]}[{place[1]}] {len(pairs)}",
            lambda: self.kafka.produce(self.writer, self.epoch, *place, number, pairs),
        )
        if base < 0:
            raise Transient(f"{self.writer}: records were sent twice, and the broker does not say where they are")
        return base

    async def add_offsets(self, taken: Taken) -> None:
        await self.broker.asked(
            f"offsets {self.writer} {taken.next_offset}",
            lambda: self.kafka.add_offsets(
                self.writer, self.epoch, self.broker.group, taken.topic, taken.partition, taken.next_offset
            ),
        )

    async def end(self, state: str) -> None:
        await self.broker.asked(f"end {self.writer} {state}", lambda: self.kafka.end(self.writer, self.epoch, state))

    async def close(self) -> None:
        """What is open stays so until somebody fences it, or until its time is over."""
