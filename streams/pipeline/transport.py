"""Faust's Kafka transport, changed for stages: whole fetches instead of single messages, positions from the stages.

A stage sends its offsets in its own transactions and finds its position in its own output. So the consumer here never
commits, acknowledges nothing and seeks where the stage says. What is overridden and why is said at each method; written
against faust-streaming 0.15.3 and aiokafka 0.14.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from aiokafka.consumer.fetcher import FetchResult, OffsetResetStrategy, PartitionRecords
from aiokafka.errors import OffsetOutOfRangeError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from nanotally.streams.domain.records import RawChunk
from nanotally.streams.errors import BrokenInvariant

log = logging.getLogger(__name__)

FETCH_WAIT_MS = 100  # the broker answers after this, or as soon as there are FETCH_MIN_BYTES: latency against batching
FETCH_MIN_BYTES = 1 << 20
FETCH_PARTITION_BYTES = 4 << 20
FETCH_RECORDS = 20_000  # handed over at a time, over all partitions
NAP_S = 0.002


class Fetched(list[Any]):
    """Records of one partition that are handed over together, in order of offset, and what of the topic they are:
    all from offset `begins` up to `ends`. `begins` is where the ones before ended, or where the consumer was told to
    go; in between are offsets without a record, too: marks of transactions, what was aborted or compacted."""

    __slots__ = ("begins", "ends")

    def __init__(self, records: Iterable[Any], begins: int, ends: int) -> None:
        super().__init__(records)
        self.begins = begins
        self.ends = ends


@dataclass(frozen=True)
class Seen:
    """What the fetcher knows of a partition: the next offset it will hand over, the end of what is committed, and when
    Kafka last answered (seconds since 1970). Offsets are None before the first answer."""

    next_offset: int | None
    end: int | None
    answered_s: float


_stock_getall = FetchResult.getall


def _getall(self: FetchResult, max_records: int | None = None) -> Sequence[Any]:
    """Stock aiokafka does not say from where on the records are all there are: only with that can be told whether any
    got lost on their way to the lanes. What held no record at all is counted to the next that does."""
    taken, state = self._partition_records, self._assignment.state_value(self._topic_partition)
    begins = taken.next_fetch_offset if taken else 0
    records: list[Any] = _stock_getall(self, max_records)
    if taken is None or state is None or taken.next_fetch_offset == begins:
        return records
    ends = taken.next_fetch_offset
    bare_from, bare_to = getattr(state, "bare", (begins, begins))
    begins = bare_from if bare_to == begins else begins
    state.bare = (ends if records else begins, ends)
    return Fetched(records, begins, ends)


class StageThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to Kafka, so that heartbeats go on while a chunk is decided."""

    logger = logging.getLogger("faust.thread")

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Settings that Faust does not pass on; all are read when the consumer starts.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._fetch_min_bytes = FETCH_MIN_BYTES
        # Faust's assignor tells every worker the web address of every other one; without tables it would not be used.
        consumer._partition_assignment_strategy = [self.app.assignor]
        # A ConsumerRecord per record costs as much as everything else here together.
        PartitionRecords._consumer_record = lambda self, tp, record: record
        FetchResult.getall = _getall
        return consumer

    def on_gone(self, strategy: int) -> None:
        """What the fetcher does when it has no offset to begin at, or when the records there are gone.

        Between assignment and seek it looks for a committed offset and may find none: EARLIEST, harmless since
        nothing is handed over then. After the seek an offset out of range is an error: NONE."""
        self._ensure_consumer()._fetcher._default_reset_strategy = strategy

    def seen(self, tp: TP) -> Seen:
        consumer = self._ensure_consumer()
        state = consumer._subscription.subscription.assignment.state_value(tp)
        position = state.position if state.has_valid_position else None
        return Seen(position, state.lso, (state.timestamp or 0) / 1000)


class StageConsumer(driver.Consumer):
    """Hands over whole fetches: a message's value is the list of records."""

    logger = logging.getLogger("faust.consumer")
    _thread: StageThread
    _revocations = 0  # so many times have all partitions been given back

    def _new_consumer_thread(self) -> StageThread:
        return StageThread(self, loop=self.loop, beacon=self.beacon)

    async def commit(self, *args: Any, **kwargs: Any) -> bool:
        """Offsets are in the stage's transactions."""
        return False

    async def force_commit(self, *args: Any, **kwargs: Any) -> bool:
        return False

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust would warn that nothing is committed; `health` has a better answer."""

    def seen(self, tp: TP) -> Seen:
        return self._thread.seen(tp)

    def topic_partitions(self, topic: str) -> int | None:
        """Number of partitions; None while unknown. Stock Faust knows it on the group's leader only."""
        partitions = self._thread._ensure_consumer().partitions_for_topic(topic)
        return len(partitions) if partitions else None

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._revocations += 1
        self._thread.on_gone(OffsetResetStrategy.EARLIEST)
        await super().on_partitions_revoked(revoked)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Runs when the partitions are open, before anything is handed over; also when a rebalance on the heels of
        another has closed them meanwhile. Then the next call will seek, and before it there may be partitions without
        any offset."""
        revocations, assigned = self._revocations, self.assignment()
        positions: Mapping[TP, int] = cast(Any, self.app).positions(assigned)
        await self._thread.seek_wait(positions)
        if positions and positions.keys() == assigned and self._revocations == revocations:
            self._thread.on_gone(OffsetResetStrategy.NONE)
        return positions

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Stock Faust makes a message of each record. What is fetched while the flow stops is dropped: a seek follows,
        or has come already. For a fetch that began before a rebalance may end after its seek and before the flow goes
        on: it has taken what comes next, and would leave a gap. So the seek is made once more."""
        revocations = self._revocations
        try:
            fetched, _ = await self._wait_next_records(timeout)
        except OffsetOutOfRangeError as e:
            raise BrokenInvariant(f"records were deleted before they were taken: {e}") from e
        generation = self.app.consumer_generation_id
        for tp, records in (fetched or {}).items():
            if self.should_stop:
                return
            across = revocations != self._revocations or self.app.consumer_generation_id != generation
            if across or not self.flow_active:
                log.info("what was fetched across a rebalance is fetched again")
                await self.seek_to_committed()
                return
            if records:
                yield tp, _message(tp, records, generation)

    async def _wait_next_records(self, timeout: float) -> Any:
        """Stock Faust sleeps for a second when all partitions are held back."""
        if self.flow_active and self._buffered_partitions and not self._get_active_partitions():
            await asyncio.sleep(NAP_S)
            return {}, set()
        return await super()._wait_next_records(timeout)


class StageTransport(driver.Transport):
    Consumer = StageConsumer


def _message(tp: TP, records: Sequence[Any], generation: int) -> ConsumerMessage:
    last = records[-1]
    return ConsumerMessage(
        tp.topic,
        tp.partition,
        last.offset,
        last.timestamp / 1000.0,
        last.timestamp_type,
        None,
        None,
        cast(Any, records),  # Faust hands a value on as it is
        None,
        0,
        0,
        tp,
        generation_id=generation,
    )


def raw_chunk(topic: str, partition: int, records: Sequence[Any]) -> RawChunk:
    """The chunk of a list of aiokafka's records; `topic` is the logical name."""
    n = len(records)
    return RawChunk(
        topic,
        partition,
        np.fromiter((r.offset for r in records), np.int64, n),
        np.fromiter((r.timestamp for r in records), np.int64, n) * 1000,
        [r.key for r in records],
        [r.value for r in records],
    )
