"""The partitions a process owns, each with a lane: what is fetched queues there and is taken chunk by chunk."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from faust.types import TP

from nanotally.streams.domain.records import RawChunk
from nanotally.streams.pipeline.stage import PartitionWorker, Stage
from nanotally.streams.pipeline.transport import raw_chunk

log = logging.getLogger(__name__)

CHUNK_RECORDS = 20_000
HOLD_RECORDS = 60_000  # queued; the fetcher leaves the partition out until half of it is taken


class Lane:
    """One partition: its worker, and the records that wait for it."""

    def __init__(self, worker: PartitionWorker, topic: str, tp: TP, owner: Lanes) -> None:
        self.worker = worker
        self.topic = topic
        self.tp = tp
        self.opened = False
        self._owner = owner
        self._pending: deque[Sequence[Any]] = deque()
        self._count = 0
        self._held = False
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether everything that was fetched is done."""
        return self._task is None or self._task.done()

    def put(self, records: Sequence[Any]) -> None:
        """Queues records of a fetch, in order of offset."""
        if self._closing:
            return
        self._pending.append(records)
        self._count += len(records)
        if self._count >= HOLD_RECORDS and not self._held:
            self._held = True
            self._owner.hold(self.tp)
        if self.idle:
            self._task = asyncio.create_task(self._run(), name=f"lane {self.topic}[{self.tp.partition}]")

    async def _run(self) -> None:
        while self._pending and not self._closing:
            chunk = self._next_chunk()
            if self._held and self._count <= HOLD_RECORDS // 2:
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
        merged = [self._pending.popleft()]
        n = len(merged[0])
        while self._pending and n + len(self._pending[0]) <= CHUNK_RECORDS:
            merged.append(self._pending.popleft())
            n += len(merged[-1])
        self._count -= n
        records = merged[0] if len(merged) == 1 else list(itertools.chain.from_iterable(merged))
        return raw_chunk(self.topic, self.tp.partition, records)

    async def close(self) -> None:
        """Lets the chunk in hand end and gives the partition back."""
        self._closing = True
        self._pending.clear()
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

    def put(self, tp: TP, records: Sequence[Any]) -> None:
        lane = self._lanes.get(tp)
        if lane:
            lane.put(records)

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
        lane.opened = True

    async def close(self) -> None:
        """Closes all that is open or opening."""
        if self._opening:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        async with self._lock:
            lanes, self._lanes = list(self._lanes.values()), {}
            await asyncio.gather(*(lane.close() for lane in lanes))
