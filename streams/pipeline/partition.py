"""One partition of a stage: takes chunks, decides, writes one transaction for each, and can be killed at any time.

The position is in the stage's own output (its last chunk record), the state is a fold over the log; so opening reads
both again, and nothing else says what was done. Whatever goes wrong while a chunk is taken, the state in memory may be
ahead of the log: the caller must leave the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from nanotally.schemas import codec
from nanotally.streams.domain.records import FOLD_VERSION, PartitionLogic, RawChunk, Step
from nanotally.streams.errors import BrokenInvariant, Transient
from nanotally.streams.pipeline.books import Books
from nanotally.streams.pipeline.broker import (
    TAIL_RECORDS,
    Broker,
    Taken,
    Transactions,
    last_chunk,
    past_marker,
    tail_before,
    told_by_tail,
)
from nanotally.streams.pipeline.clock import Clock
from nanotally.streams.pipeline.figures import Figures
from nanotally.streams.pipeline.limit import RejectLimit
from nanotally.streams.pipeline.store import Labels, NotSaved, Snapshot, Store

log = logging.getLogger(__name__)

LOG_TAIL = "log tail"  # part of a snapshot: a hash of what stands before its place in the log
SNAPSHOT_RECORDS = 200_000  # of the log, at least, between two snapshots; more where the state is larger


class StagePartition:
    """A `PartitionWorker` over a `PartitionLogic`; owns the store and the right to write while it is open."""

    def __init__(
        self,
        logic: PartitionLogic,
        partition: int,
        *,
        broker: Broker,
        store: Store,
        books: Books,
        rejects: RejectLimit,
        clock: Clock,
    ) -> None:
        self._logic = logic
        self._partition = partition
        self._broker = broker
        self._store = store
        self._books = books
        self._rejects = rejects
        self._figures = Figures(clock)
        self._name = f"{logic.stage}[{partition}]"
        self._own_log = logic.log_topic != logic.input_topic  # whether the log is this stage's output
        self._busy = asyncio.Lock()
        self._closing = False
        self._transactions: Transactions | None = None
        self._labels: Labels | None = None
        self._position = 0
        self._log_offset = 0  # the state reflects the log before it
        self._tail: list[bytes | None] = []  # of its own log: what stands there before that
        self._snapshot_offset = 0  # so does the snapshot
        self._tried_offset = 0  # so would the last one that was tried
        self._state_is_written = True  # False while the state may be ahead of the log
        self._waiting_for = ""
        self._told_tail: bytes | None = None  # by the snapshot

    @property
    def position(self) -> int:
        return self._position

    @property
    def waiting_for(self) -> str:
        return self._waiting_for

    async def open(self) -> int:
        """Fences, finds the last chunk record, restores the snapshot, folds the rest of the log; gives the position.

        Raises BrokenInvariant where log, state folder and input do not belong together, and Transient where another
        worker took over meanwhile: what it writes and saves is ahead of what was found before."""
        logic, broker = self._logic, self._broker
        self._transactions = await broker.fence(logic.stage, self._partition)
        value = await last_chunk(broker, logic.chunk_topic, self._partition)
        try:
            return await self._open_at(value)
        except BrokenInvariant as error:
            if await last_chunk(broker, logic.chunk_topic, self._partition) == value:
                raise
            raise Transient(f"another worker has taken over {self._name} while it was opened here") from error

    async def _open_at(self, value: bytes | None) -> int:
        """The position, with the state of the log; `value` is its last chunk record."""
        logic, broker = self._logic, self._broker
        chunk = None if value is None else self._own_chunk(value)
        await self._restore()
        to_offset = None if self._own_log else (chunk["next_offset"] if chunk else 0)
        await self._fold(to_offset)
        first, end = await broker.bounds(logic.input_topic, self._partition)
        self._position = past_marker(logic.resume(chunk), first, end)
        if not first <= self._position <= end:
            raise BrokenInvariant(
                f"{self._name} is at offset {self._position} of {logic.input_topic}[{self._partition}], which holds "
                f"{first} to {end}: records were deleted before they were taken, or the topic was created anew"
            )
        log.info("%s opened at offset %d", self._name, self._position)
        return self._position

    async def process(self, chunk: RawChunk) -> None:
        async with self._busy:
            chunk = chunk.since(self._position)
            done = not len(chunk)
            while not done and not self._closing and await self._learn_for(chunk.values):
                done = await self._step(chunk)
                chunk = chunk.since(self._position)
                done = done and not len(chunk)

    async def close(self) -> None:
        self._closing = True
        async with self._busy:
            if self._labels and self._state_is_written and self._log_offset > self._snapshot_offset:
                await self._save()
            if self._transactions:
                await self._transactions.close()
            self._store.close()

    def figures(self) -> Mapping[str, float]:
        return self._figures.all(self._logic)

    def account(self, account: str) -> dict[str, Any] | None:
        return self._logic.account(account)

    def _own_chunk(self, value: bytes) -> Mapping[str, Any]:
        """The chunk record, which must be this very partition's."""
        _, chunk = codec.decode_one(value)
        if (chunk["stage"], chunk["input_partition"]) != (self._logic.stage, self._partition):
            raise BrokenInvariant(
                f"the last chunk record of {self._logic.chunk_topic}[{self._partition}] is of {chunk['stage']}"
                f"[{chunk['input_partition']}], not of {self._name}: partitions were mixed up"
            )
        return chunk

    async def _restore(self) -> None:
        """The state as of the last snapshot, if there is one that fits."""
        log_facts = await self._broker.describe(self._logic.log_topic)
        input_facts = await self._broker.describe(self._logic.input_topic)
        self._labels = Labels(
            cluster_id=log_facts.cluster_id,
            stage=self._logic.stage,
            partition=self._partition,
            log_topic_id=log_facts.topic_id,
            input_topic_id=input_facts.topic_id,
            fold_version=FOLD_VERSION,
        )
        snapshot = self._store.load(self._labels)
        if snapshot:
            self._logic.restore(snapshot.parts)
            self._log_offset = self._snapshot_offset = self._tried_offset = snapshot.log_offset
            self._told_tail = snapshot.parts.get(LOG_TAIL)

    async def _fold(self, to_offset: int | None) -> None:
        """Brings the state from the snapshot's place in the log to `to_offset`, by default its end."""
        topic = self._logic.log_topic
        _, end = await self._broker.bounds(topic, self._partition)
        to_offset = end if to_offset is None else to_offset
        if self._log_offset > to_offset:
            raise BrokenInvariant(
                f"the snapshot of {self._name} reflects {topic}[{self._partition}] up to offset {self._log_offset}, "
                f"but the log goes to {to_offset} only: committed records were lost"
            )
        await self._check_tail(topic)
        await self._learn(())
        async for batch in self._broker.read_log(topic, self._partition, self._log_offset, to_offset):
            await self._learn(batch.values)
            self._logic.evolve(batch.values, int(batch.offsets[0]))
            self._tail = [*self._tail, *batch.values[-TAIL_RECORDS:]][-TAIL_RECORDS:]
            self._figures.folded(len(batch.values))
            await asyncio.sleep(0)  # other partitions and the web server want their turn
        self._log_offset = to_offset

    async def _check_tail(self, topic: str) -> None:
        """That what the snapshot reflects is what the log has there: where a broker lost records that it had
        acknowledged, others may have taken their places since."""
        if not self._own_log or not self._log_offset:
            return
        self._tail = await tail_before(self._broker, topic, self._partition, self._log_offset)
        if self._told_tail not in (None, told_by_tail(self._tail)):  # earlier releases did not say
            raise BrokenInvariant(
                f"the snapshot of {self._name} reflects {topic}[{self._partition}] up to offset {self._log_offset}, "
                f"but other records stand there by now: committed ones were lost, and others took their places. Delete "
                f"its state folder and checkpoint, and let `nanotally reconcile` say what is missing"
            )

    async def _learn_for(self, values: Sequence[bytes | None]) -> bool:
        """Gets the books that the chunk at hand needs; False where it was closed while it waited."""
        if not self._own_log:
            return await self._learn(values)
        # What is not in the log yet may name a book that was never written: that is for `decide` to refuse.
        return await self._learn(()) and await self._learn(values, certain=False)

    async def _learn(self, values: Sequence[bytes | None], *, certain: bool = True) -> bool:
        """Gets the books that these values and the state need; False where it was closed while it waited.

        certain: whether books that are not there are a broken invariant; else they are left out."""
        for number in self._logic.needed_books(values):
            self._waiting_for = f"rule book {number}"
            book = await self._books.get(number, self._name, lambda: self._closing, certain=certain)
            if book is not None:
                self._logic.learn(book)
            elif certain or self._closing:
                return False
        self._waiting_for = ""
        return True

    async def _step(self, chunk: RawChunk) -> bool:
        """Decides as much of the chunk as one transaction takes, and writes it; True when the chunk is done."""
        if self._transactions is None:
            raise BrokenInvariant(f"{self._name} was given a chunk before it was open")
        self._state_is_written = False
        with self._figures.timed("decide_seconds"):
            step = self._logic.decide(chunk)
        with self._figures.timed("write_seconds"):
            taken = Taken(self._logic.input_topic, self._partition, step.next_offset)
            ends = await self._transactions.transact(step.emissions, taken)
        self._state_is_written = True
        self._position = step.next_offset
        self._log_offset = ends[self._logic.log_topic, self._partition] if self._own_log else step.next_offset
        self._tail = list(step.emissions[-1].values[-TAIL_RECORDS:])
        self._figures.taken(step)
        await self._keep(step)
        self._rejects.count(step.rejected, self._name)
        return step.done

    async def _keep(self, step: Step) -> None:
        """Takes a snapshot when the log has grown enough for one: as much as there is state, and not too little."""
        if step.done and self._log_offset - self._tried_offset >= max(SNAPSHOT_RECORDS, self._logic.size()):
            await self._save()

    async def _save(self) -> None:
        if self._labels is None:
            raise BrokenInvariant(f"{self._name} was asked for a snapshot before it was open")
        self._tried_offset = self._log_offset
        try:
            with self._figures.timed("snapshot_seconds"):
                tail = {LOG_TAIL: told_by_tail(self._tail)} if self._own_log else {}
                snapshot = Snapshot(self._log_offset, {**self._logic.snapshot(), **tail})
                await asyncio.to_thread(self._store.save, self._labels, snapshot)
        except NotSaved as e:
            self._figures.not_saved()
            log.warning(
                "the state of %s cannot be saved in %s (%s): going on without; make room there, or set NANOTALLY_STATE "
                "to another folder. Nothing is lost, but who opens it next has to fold the log from offset %d on again",
                self._name, e.folder, e, self._snapshot_offset,
            )  # fmt: skip
            return
        self._figures.saved()
        self._snapshot_offset = self._log_offset
