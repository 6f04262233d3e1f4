"""The partitions a process owns, each with a lane: what is fetched queues there and is taken chunk by chunk."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from faust.types import TP

from nanotally.streams.domain.records import RawChunk
from nanotally.streams.errors import Transient
from nanotally.streams.pipeline.stage import PartitionWorker, Stage
from nanotally.streams.pipeline.transport import Fetched, raw_chunk

log = logging.getLogger(__name__)

CHUNK_RECORDS = 40_000
CHUNK_BYTES = 32 << 20
HOLD = 3  # chunks in the queue; the fetcher leaves the partition out until half of them are taken


class Waiting(NamedTuple):
    """Records of one fetch; bytes of their values."""

    records: Sequence[Any]
    bytes: int


class Lane:
    """One partition: its worker, and the records that wait for it."""

    def __init__(self, worker: PartitionWorker, topic: str, tp: TP, owner: Lanes) -> None:
        self.worker = worker
        self.topic = topic
        self.tp = tp
        self.opened = False
        self._owner = owner
        self._pending: deque[Waiting] = deque()
        self._records = 0
        self._bytes = 0
        self._queued_from = 0  # the first offset that waits for the opening
        self._queued_to = 0  # everything before it was queued, from there on or from the position
        self._held = False
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether everything that was fetched is done."""
        return self._task is None or self._task.done()

    def put(self, fetched: Fetched) -> None:
        """Queues what was fetched. Records that are queued already, since the consumer was told to go back, are left
        out: a chunk is in order, and has each record once. Where some are missing that come before these, the process
        is left: who begins again at the position has them all."""
        if self._closing:
            return
        if not self.opened and not self._pending:
            self._queued_from = fetched.begins
        elif fetched.begins > (to := max(self._queued_to, self.worker.position if self.opened else 0)):
            self._leave_gap(to, fetched.begins)
            return
        records: Sequence[Any] = fetched
        if records[0].offset < self._queued_to:
            records = [record for record in records if record.offset >= self._queued_to]
        self._queued_to = max(self._queued_to, fetched.ends)
        if not records:
            return
        fetch = Waiting(records, sum(len(r.value) for r in records if r.value))
        self._pending.append(fetch)
        self._records += len(records)
        self._bytes += fetch.bytes
        if not self._held and self._chunks_waiting() >= HOLD:
            self._held = True
            self._owner.hold(self.tp)
        self._go_on()

    def open(self) -> None:
        """Takes what waits from here on. A rebalance that comes on the heels of another lets fetches flow before the
        partition is open and the consumer has been told where to read: they begin at the group's offset, so they wait,
        and the worker leaves out what it has. An offset beyond the position is one that somebody has set by hand."""
        if self._pending and self._queued_from > self.worker.position:
            self._leave_gap(self.worker.position, self._queued_from)
            return
        self.opened = True
        self._go_on()

    def _leave_gap(self, comes_next: int, begins: int) -> None:
        self._owner.leave(
            Transient(
                f"what was fetched of {self.topic}[{self.tp.partition}] begins at offset {begins}, but {comes_next} "
                f"comes next; the worker begins again at {self.worker.position}, so that nothing is left out"
            )
        )

    def _go_on(self) -> None:
        if self.opened and self._pending and self.idle:
            self._task = asyncio.create_task(self._run(), name=f"lane {self.topic}[{self.tp.partition}]")

    async def _run(self) -> None:
        while self._pending and not self._closing:
            chunk = self._next_chunk()
            if self._held and self._chunks_waiting() <= HOLD / 2:
                self._held = False
                self._owner.release(self.tp)
            try:
                await self.worker.process(chunk)
            except asyncio.CancelledError:
                raise
            except BaseException as e:  # noqa: BLE001  state may be ahead of the log: nobody may go on
                self._owner.leave(e)

    def _next_chunk(self) -> RawChunk:
        """Whole fetches, merged up to the size of a chunk."""
        records, size = self._pending.popleft()
        more: list[Any] = []
        while self._pending:
            fetch = self._pending[0]
            if len(records) + len(more) + len(fetch.records) > CHUNK_RECORDS or size + fetch.bytes > CHUNK_BYTES:
                break
            more += self._pending.popleft().records
            size += fetch.bytes
        self._records -= len(records) + len(more)
        self._bytes -= size
        return raw_chunk(self.topic, self.tp.partition, [*records, *more] if more else records)

    def _chunks_waiting(self) -> float:
        """The queue's length, as full chunks of the larger of records and bytes."""
        return max(self._records / CHUNK_RECORDS, self._bytes / CHUNK_BYTES)

    async def close(self) -> None:
        """Lets the chunk in hand end and gives the partition back."""
        self._closing = True
        await self.worker.close()
        if self._task:
            await asyncio.wait([self._task])


class Lanes:
    """All lanes of a process. Opened after each rebalance and closed before the next; the two never overlap."""

    def __init__(
        self,
        stage: Stage,
        prefix: str,
        *,
        hold: Callable[[TP], None],
        release: Callable[[TP], None],
        leave: Callable[[BaseException], None],
    ) -> None:
        """hold, release: leave a partition out of the fetches, take it in again; leave: ends the process."""
        self.hold = hold
        self.release = release
        self.leave = leave
        self._stage = stage
        self._prefix = prefix
        self._lanes: dict[TP, Lane] = {}
        self._opening: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def all(self) -> list[Lane]:
        return sorted(self._lanes.values(), key=lambda lane: (lane.topic, lane.tp.partition))

    def find(self, topic: str, partition: int) -> Lane | None:
        """The open lane of a partition of a logical topic."""
        lane = self._lanes.get(TP(self._prefix + topic, partition))
        return lane if lane and lane.opened else None

    def put(self, tp: TP, fetched: Fetched) -> None:
        lane = self._lanes.get(tp)
        if lane:
            lane.put(fetched)

    def positions(self, tps: Iterable[TP]) -> Mapping[TP, int]:
        """Where to read on, of those that are open."""
        return {tp: self._lanes[tp].worker.position for tp in tps if tp in self._lanes and self._lanes[tp].opened}

    async def open(self, tps: Iterable[TP]) -> None:
        """Opens the partitions side by side; ends early, with none open, when `close` comes in between."""
        await self.close()
        self._opening = asyncio.create_task(self._open(sorted(tps)))
        await asyncio.wait([self._opening])
        error = None if self._opening.cancelled() else self._opening.exception()
        if error:
            self.leave(error)

    async def _open(self, tps: Sequence[TP]) -> None:
        async with self._lock:
            await asyncio.gather(*(self._open_one(tp) for tp in tps))

    async def _open_one(self, tp: TP) -> None:
        topic = tp.topic.removeprefix(self._prefix)
        worker = await self._stage.make_worker(topic, tp.partition)
        lane = self._lanes[tp] = Lane(worker, topic, tp, self)
        await worker.open()
        lane.open()

    async def close(self) -> None:
        """Closes all that is open or opening."""
        if self._opening:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        async with self._lock:
            lanes, self._lanes = list(self._lanes.values()), {}
            await asyncio.gather(*(lane.close() for lane in lanes))
