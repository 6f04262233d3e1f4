"""One partition of one topic on its way into ClickHouse.

What has arrived is written at once; then the partition rests, for as long as is in proportion to what writing cost,
while the lane in front gathers the next batch. So a single use is visible in a moment, many come in large inserts, and
merges keep up. While ClickHouse is away the batch in hand is tried again and again, which holds back the lane, and that
the fetches; nothing is lost, because the position is in ClickHouse and follows the rows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from nanotally.sinks.client import Address, waits
from nanotally.sinks.identity import TopicIdentity
from nanotally.sinks.record_rows import chunk_row
from nanotally.sinks.rows import Rows, Taken, take
from nanotally.sinks.tables import CHUNKS, TOPICS
from nanotally.sinks.warehouse import Position, Warehouse
from nanotally.sinks.writer import ClickHouseWarehouse
from nanotally.streams.domain.records import LONG_AGO, RawChunk
from nanotally.streams.environment import Environment
from nanotally.streams.errors import BrokenInvariant, Transient
from nanotally.streams.pipeline.broker import past_marker
from nanotally.streams.pipeline.clock import Clock, SystemClock
from nanotally.streams.pipeline.kafka_broker import KafkaBroker
from nanotally.streams.pipeline.stage import Stage
from nanotally.streams.pipeline.threads import to_its_end

__all__ = ["TOPICS", "SinkPartition", "address_of", "sink_partition", "sink_stage"]

log = logging.getLogger(__name__)

T = TypeVar("T")
Bounds = Callable[[], Awaitable[tuple[int, int]]]
Elsewhere = Callable[..., Awaitable[Any]]  # runs a blocking call (function, its arguments) and gives its result

ROWS_MAX = 50_000  # records written at once; more cost memory and gain nothing
ROWS_FULL = 20_000  # from so many on there is no rest: the input is behind (a lane hands over 40,000 at most)
REST_TIMES = 8  # rest for so many times what writing took,
REST_MIN_S, REST_MAX_S = 0.1, 0.75  # within these bounds: the worst a use waits here
ROWS_MANY = 3_000  # from so many on the input is busy: then fewer and larger inserts, whose cost is mostly fixed,
REST_MANY_S = 1.5  # are worth a longer wait
WARN_AFTER_S = 1.0  # of waiting for ClickHouse


class SinkPartition:
    """A partition worker: position from ClickHouse, rows exactly once, backpressure while ClickHouse is away."""

    def __init__(
        self,
        topic: str,
        partition: int,
        warehouse: Warehouse,
        *,
        clock: Clock | None = None,
        elsewhere: Elsewhere = to_its_end,
        bounds: Bounds | None = None,
    ) -> None:
        """topic: logical name; clock: for waits, rests and figures; elsewhere: where blocking calls are made; bounds:
        the oldest offset and the one after the newest, asked when it opens."""
        self._topic = topic
        self._partition = partition
        self._name = f"sink {topic}[{partition}]"
        self._warehouse = warehouse
        self._clock = clock or SystemClock()
        self._elsewhere = elsewhere
        self._bounds = bounds
        self._at = Position()
        self._busy = asyncio.Lock()
        self._closing = asyncio.Event()
        self._waiting_for = ""
        self._watermark_us = LONG_AGO
        self._figures = {"records": 0.0, "chunks": 0.0, "rows": 0.0, "retries": 0.0}
        self._figures |= {"decode_seconds": 0.0, "write_seconds": 0.0}

    @property
    def position(self) -> int:
        """Offset of the next record to write; everything before it is in ClickHouse."""
        return self._at.next_offset

    @property
    def waiting_for(self) -> str:
        """'ClickHouse ...' while it does not answer, else empty."""
        return self._waiting_for

    async def open(self) -> int:
        """Takes the partition over and gives its position. Waits while ClickHouse is away, with a message.

        Raises BrokenInvariant where Kafka no longer holds what comes next."""
        async with self._busy:  # who closes it meanwhile must not take the connection away from under this
            with suppress(_Closed):
                self._at = await self._patiently(self._warehouse.open, self._topic, self._partition)
                if self._bounds:
                    self._at = self._within(*await self._bounds())
                log.info("%s opened at offset %d", self._name, self._at.next_offset)
        return self._at.next_offset

    def _within(self, first: int, end: int) -> Position:
        """The position, where the topic still holds it."""
        at = past_marker(self._at.next_offset, first, end)
        if not first <= at <= end:
            raise BrokenInvariant(
                f"{self._name} is at offset {at}, but the topic holds {first} to {end}: records were deleted before "
                f"they were written to ClickHouse, or it was created anew. Restore a newer backup, or begin "
                f"another database from the ledger (docs/operations.md)"
            )
        return Position(at, self._at.records)

    async def process(self, chunk: RawChunk) -> None:
        """Writes the records from the position on; returns early where it is being closed.

        Raises BrokenInvariant for records that no stage writes."""
        async with self._busy:
            chunk = chunk.since(self._at.next_offset)
            with suppress(_Closed):
                started = self._clock.seconds()
                for first in range(0, len(chunk), ROWS_MAX):
                    await self._write(chunk.part(first, min(first + ROWS_MAX, len(chunk))))
                if 0 < len(chunk) < ROWS_FULL:
                    took = self._clock.seconds() - started
                    most = REST_MANY_S if len(chunk) >= ROWS_MANY else REST_MAX_S
                    await self._wait(min(max(took * REST_TIMES, REST_MIN_S), most))

    async def close(self) -> None:
        """Lets the write in hand end, if ClickHouse answers, and gives the connection up."""
        self._closing.set()
        async with self._busy:
            await self._elsewhere(self._warehouse.close)

    def figures(self) -> Mapping[str, float]:
        """Since opening: records taken, chunks written, rows written (those left out as known too), retries, seconds
        spent; and the newest watermark seen, microseconds UTC."""
        return {**self._figures, "watermark_us": float(self._watermark_us)}

    def account(self, account: str) -> dict[str, Any] | None:
        """None: a sink keeps no windows."""
        return None

    async def _write(self, chunk: RawChunk) -> None:
        """Rows, then the position."""
        started = self._clock.seconds()
        taken: Taken = await self._elsewhere(take, chunk)
        self._figures["decode_seconds"] += self._clock.seconds() - started
        after = Position(int(chunk.offsets[-1]) + 1, self._at.records + taken.records)
        told = chunk_row(self._topic, self._partition, after, taken.chunk, taken.duplicates)
        started = self._clock.seconds()
        for rows in (*taken.rows, Rows(CHUNKS, told)):
            await self._patiently(self._warehouse.write, rows.table, rows.batch, self._topic, self._partition)
            self._figures["rows"] += len(rows.batch)
        self._figures["write_seconds"] += self._clock.seconds() - started
        self._figures["records"] += len(chunk)
        self._figures["chunks"] += 1
        self._at = after
        if taken.chunk:
            self._watermark_us = taken.chunk[1]["watermark_us"]

    async def _patiently(self, action: Callable[..., T], *arguments: Any) -> T:
        """The blocking action, again while ClickHouse is away. Raises _Closed where it was closed meanwhile."""
        waited = 0.0
        for wait in waits():
            try:
                result: T = await self._elsewhere(action, *arguments)
            except Transient as fault:
                self._figures["retries"] += 1
                self._waiting_for = str(fault)
                waited += wait
                level = logging.WARNING if waited >= WARN_AFTER_S else logging.INFO
                log.log(level, "%s waits: %s; again in %.2f s", self._name, fault, wait)
            else:
                if self._waiting_for:
                    log.info("%s goes on", self._name)
                self._waiting_for = ""
                return result
            await self._wait(wait)
        raise AssertionError("waits() never ends")

    async def _wait(self, seconds: float) -> None:
        """Waits so long. Raises _Closed as soon as it is being closed."""
        waits_for = {asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(self._closing.wait())}
        try:
            await asyncio.wait(waits_for, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits_for:
                one.cancel()
        if self._closing.is_set():
            raise _Closed


class _Closed(Exception):
    """The partition is being given back: what is not written yet the next owner writes."""


def address_of(environment: Environment) -> Address:
    """Where the environment says that ClickHouse is."""
    return Address(
        native=environment.clickhouse,
        database=environment.database,
        user=environment.clickhouse_user,
        password=environment.clickhouse_password,
        http=environment.clickhouse_http,
    )


def sink_partition(
    topic: str,
    partition: int,
    environment: Environment,
    identity: TopicIdentity | None = None,
    bounds: Bounds | None = None,
) -> SinkPartition:
    """The worker of one partition of one of TOPICS (logical name); connects when it is opened.

    identity: the topic as Kafka knows it; opening raises BrokenInvariant where the database was filled from another.
    bounds: as of SinkPartition."""
    return SinkPartition(topic, partition, ClickHouseWarehouse(address_of(environment), identity), bounds=bounds)


def sink_stage(environment: Environment) -> Stage:
    """The stage 'sink': a worker for each partition of TOPICS."""
    from nanotally.streams.pipeline.app import group_of  # brings Faust, which nothing else here needs

    broker = KafkaBroker(environment.kafka, prefix=environment.prefix, group=group_of("sink", environment))

    async def make_worker(topic: str, partition: int) -> SinkPartition:
        facts = await broker.describe(topic)
        identity = TopicIdentity(facts.cluster_id, facts.topic_id, facts.partitions)
        return sink_partition(topic, partition, environment, identity, partial(broker.bounds, topic, partition))

    return Stage("sink", TOPICS, make_worker, close_shared=broker.close)
