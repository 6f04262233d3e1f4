"""Bugs of the stage partition, of its store, and of how it writes and reads the log."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from faust.types import TP

from nanotally.streams.domain.records import Emission, RawChunk
from nanotally.streams.errors import Transient
from nanotally.streams.pipeline.books import Books
from nanotally.streams.pipeline.broker import Taken
from nanotally.streams.pipeline.lanes import Lane, Lanes
from nanotally.streams.pipeline.partition import StagePartition
from nanotally.streams.pipeline.store import MemoryStore, Snapshot
from nanotally.streams.pipeline.transport import Fetched
from tests.simulation.broker import SimBroker, SimTransactions
from tests.simulation.kafka import Entry, Kafka, Log
from tests.simulation.mutants import Mutant

Ends = dict[tuple[str, int], int]

real_transact = SimTransactions.transact
real_process = StagePartition.process
real_open = StagePartition.open
real_fence = SimBroker.fence
real_positions = Lanes.positions
real_put = Lane.put
real_get = Books.get
real_step = StagePartition._step


def bugs() -> list[Mutant]:
    return [
        Mutant("the position is committed before the earnings", lambda: [(SimTransactions, "transact", in_two)]),
        Mutant(
            "the position is committed before anything else", lambda: [(SimTransactions, "transact", position_first)]
        ),
        Mutant("earnings are written outside of the transaction", lambda: [(SimTransactions, "transact", outside)]),
        Mutant("no fence: a transactional id of each process's own", lambda: [(SimBroker, "fence", own_id)]),
        Mutant("a fence that lets the earlier epoch write on", lambda: [(Kafka, "_check_epoch", nothing)]),
        Mutant("a fence that leaves open transactions open", lambda: [(Kafka, "fence", fence_only)]),
        Mutant("a transaction that fails is aborted, and work goes on", lambda: [(StagePartition, "process", go_on)]),
        Mutant("a transaction without an answer is written again", lambda: [(SimTransactions, "transact", again)]),
        Mutant("batches sent again are not known as such", lambda: [(SimTransactions, "_batch", unnumbered)]),
        Mutant("the position comes from the group's offsets", lambda: [(StagePartition, "open", group_position)]),
        Mutant("the log is read before the fence", lambda: [(StagePartition, "open", fence_last)]),
        Mutant("readers see what is not committed", lambda: [(Log, "committed", uncommitted)]),
        Mutant("readers go past open transactions", lambda: [(Log, "stable_end", property(lambda log: log.end))]),
        Mutant("a snapshot says it reflects less than it does", lambda: [(MemoryStore, "save", labelled_low)]),
        Mutant("a snapshot says it reflects more than it does", lambda: [(MemoryStore, "save", labelled_high)]),
        Mutant("records of a repeated fetch are not left out", lambda: [(RawChunk, "since", all_of_it)]),
        Mutant("a chunk that was cut is done", lambda: [(StagePartition, "process", once)]),
        Mutant("fetches begin one behind the position", lambda: [(Lanes, "positions", one_further)]),
        Mutant("nobody looks whether a fetch got lost", lambda: [(Lane, "put", whatever_it_follows)]),
        Mutant("a book that is not decided yet is none", lambda: [(Books, "get", impatient)]),
        Mutant("a flood is told before it is kept", lambda: [(StagePartition, "_step", told_first)]),
    ]


async def in_two(self: SimTransactions, emissions: Sequence[Emission], taken: Taken) -> Ends:
    other = [e for e in emissions if e.topic == "earnings"]
    ends = await real_transact(self, [e for e in emissions if e.topic != "earnings"], taken)
    return ends | (await real_transact(self, other, taken) if other else {})


async def position_first(self: SimTransactions, emissions: Sequence[Emission], taken: Taken) -> Ends:
    last = emissions[-1]
    chunk = Emission(last.topic, last.partition, last.keys[-1:], last.values[-1:])
    rest = [*emissions[:-1], Emission(last.topic, last.partition, last.keys[:-1], last.values[:-1])]
    ends = await real_transact(self, [chunk], taken)
    return await real_transact(self, rest, taken) | ends if any(e.values for e in rest) else ends


async def outside(self: SimTransactions, emissions: Sequence[Emission], taken: Taken) -> Ends:
    for emission in (e for e in emissions if e.topic == "earnings"):
        pairs = list(zip(emission.keys, emission.values, strict=True))
        append = functools.partial(self.kafka.append, emission.topic, emission.partition, pairs)
        await self.broker.asked("earnings", append)
    return await real_transact(self, [e for e in emissions if e.topic != "earnings"], taken)


async def own_id(self: SimBroker, stage: str, partition: int) -> SimTransactions:
    return await real_fence(self, f"{stage}-{self.process.name}", partition)


def all_of_it(self: RawChunk, offset: int) -> RawChunk:
    return self


def nothing(*_: Any) -> None:
    """The check that is left out."""


async def fence_only(self: Kafka, writer: str) -> int:
    self.check_up()
    epoch = self._epochs[writer] = self._epochs.get(writer, -1) + 1
    return epoch


async def go_on(self: StagePartition, chunk: RawChunk) -> None:
    try:
        await real_process(self, chunk)
    except Transient:
        assert isinstance(self._transactions, SimTransactions)
        try:
            await self._transactions.end("aborted")
        except Exception:  # noqa: BLE001  the bug: whatever it was, the next chunk follows
            return


async def again(self: SimTransactions, emissions: Sequence[Emission], taken: Taken) -> Ends:
    try:
        return await real_transact(self, emissions, taken)
    except Transient:
        return await real_transact(self, emissions, taken)


NUMBERS = itertools.count()
real_batch = SimTransactions._batch


async def unnumbered(self: SimTransactions, place: tuple[str, int], pairs: list[Any]) -> int:
    return await self.broker.asked(
        "produce", lambda: self.kafka.produce(self.writer, self.epoch, *place, next(NUMBERS), pairs)
    )


async def group_position(self: StagePartition) -> int:
    await real_open(self)
    broker = self._broker
    assert isinstance(broker, SimBroker)
    place = (broker.group, self._logic.input_topic, self._partition)
    self._position = broker.kafka.group_offsets.get(place, 0)
    return self._position


class Unfenced:
    """The broker, but for its fence."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def fence(self, *_: Any) -> Any:
        return None


async def fence_last(self: StagePartition) -> int:
    broker, over = self._broker, self.__dict__
    over["_broker"] = Unfenced(broker)
    try:
        position = await real_open(self)
    finally:
        over["_broker"] = broker
    self._transactions = await broker.fence(self._logic.stage, self._partition)
    return position


def uncommitted(self: Log, start: int = 0) -> list[Entry]:
    return [e for e in self.since(start) if not e.control and e.value is not None]


real_save = MemoryStore.save


def labelled_low(self: MemoryStore, labels: Any, snapshot: Snapshot) -> None:
    real_save(self, labels, Snapshot(max(0, snapshot.log_offset - 3), snapshot.parts))


def labelled_high(self: MemoryStore, labels: Any, snapshot: Snapshot) -> None:
    before = self.snapshot.parts if self.snapshot else snapshot.parts
    real_save(self, labels, Snapshot(snapshot.log_offset, before))


def one_further(self: Lanes, places: Iterable[TP]) -> dict[TP, int]:
    return {place: at + 1 for place, at in real_positions(self, places).items()}


def whatever_it_follows(self: Lane, fetched: Fetched) -> None:
    real_put(self, Fetched(fetched, 0, fetched.ends))


async def impatient(self: Books, number: int, *asked: Any, certain: bool = True) -> Any:
    if certain or number in self._known:
        return await real_get(self, number, *asked, certain=certain)
    await self._read(number)
    return self._known.get(number)


async def told_first(self: StagePartition, chunk: RawChunk) -> bool:
    decide = self._logic.decide

    def counted(chunk: RawChunk) -> Any:
        step = decide(chunk)
        self._rejects.count(step.rejected, self._name)
        return step

    self._logic.decide = counted  # type: ignore[method-assign]
    try:
        return await real_step(self, chunk)
    finally:
        self._logic.decide = decide  # type: ignore[method-assign]


async def once(self: StagePartition, chunk: RawChunk) -> None:
    async with self._busy:
        chunk = chunk.since(self._position)
        if len(chunk) and not self._closing and await self._learn(chunk.values):
            await self._step(chunk)
            self._position = int(chunk.offsets[-1]) + 1
        await asyncio.sleep(0)
