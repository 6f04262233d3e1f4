"""A Kafka broker in memory, with what matters of its transactions: epochs, open ends, markers that come one by one.

Calls are what a server does with a request; `SimBroker` is what sends them."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.simulation.world import Unreachable, World

TRANSACTION_TIMEOUT_S = 15.0
REMEMBERED = 5  # batches by which a broker knows a repeated one
AT_ONCE_S = 0.02

Pair = tuple[bytes | None, bytes | None]  # key and value


class Fenced(Exception):
    """Another producer has taken the transactional id over, or the broker ended the transaction by itself."""


class OutOfRange(Exception):
    """There is no such offset, or not any more."""


@dataclass(slots=True)
class Entry:
    """One offset: a record, or the marker that ends a transaction in its partition."""

    offset: int
    key: bytes | None
    value: bytes | None
    at_us: int
    writer: str | None = None  # transactional id
    state: str = "committed"  # open, committed, aborted
    control: bool = False


@dataclass
class Log:
    """One partition; entries in order of offset, with holes where a cleaner was."""

    first: int = 0
    end: int = 0
    entries: list[Entry] = field(default_factory=list)
    open: dict[str, int] = field(default_factory=dict)  # by transactional id: its first offset that is undecided
    archive: list[Entry] = field(default_factory=list)  # every record ever written, for checks; no reader sees it

    @property
    def stable_end(self) -> int:
        """Everything before it is decided: read_committed goes up to here."""
        return min(self.open.values(), default=self.end)

    def add(self, key: bytes | None, value: bytes | None, at_us: int, writer: str | None = None) -> None:
        state = "committed" if writer is None else "open"
        self.entries.append(Entry(self.end, key, value, at_us - at_us % 1000, writer, state))
        self.archive.append(self.entries[-1])
        if writer is not None:
            self.open.setdefault(writer, self.end)
        self.end += 1

    def mark(self, writer: str, state: str) -> None:
        """Decides the records of a writer's transaction here."""
        first = self.open.pop(writer, self.end)
        for entry in self.since(first):
            if entry.writer == writer and entry.state == "open":
                entry.state = state
        self.entries.append(Entry(self.end, None, None, 0, writer, state, control=True))
        self.end += 1

    def since(self, offset: int) -> list[Entry]:
        return self.entries[bisect.bisect_left(self.entries, offset, key=lambda e: e.offset) :]

    def committed(self, start: int = 0) -> list[Entry]:
        stable = self.stable_end
        found = self.since(start)
        return [e for e in found if e.offset < stable and e.state == "committed" and not e.control]


@dataclass
class Ongoing:
    """A transaction from its first record until its markers are everywhere."""

    epoch: int
    partitions: dict[tuple[str, int], None] = field(default_factory=dict)
    offsets: dict[tuple[str, str, int], int] = field(default_factory=dict)  # by group, topic and partition
    decided: str = ""


class Kafka:
    """The server. `clock_us` is its own clock, by which it stamps records outside of transactions."""

    def __init__(self, world: World, topics: dict[str, int], cluster_id: str = "simulated") -> None:
        self.world = world
        self.cluster_id = cluster_id
        self.partitions = dict(topics)
        self.logs = {(topic, p): Log() for topic, n in topics.items() for p in range(n)}
        self.group_offsets: dict[tuple[str, str, int], int] = {}
        self.up = True
        self.ahead_us = 0  # what its clock is wrong by
        self._epochs: dict[str, int] = {}
        self._ongoing: dict[str, Ongoing] = {}
        self._last: dict[tuple[str, int], str] = {}  # how the last transaction of an id and epoch was decided
        self._batches: dict[tuple[str, int, str, int], dict[int, int]] = {}  # sequence -> base offset

    def check_up(self) -> None:
        if not self.up:
            raise Unreachable("the broker is away")

    async def describe(self, topic: str) -> int | None:
        """Number of partitions; None where there is no such topic."""
        self.check_up()
        return self.partitions.get(topic)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset, and the end of what is decided."""
        self.check_up()
        log = self.logs[topic, partition]
        return log.first, log.stable_end

    async def written(self, topic: str, partition: int) -> int:
        """The end, also of what is not decided yet."""
        self.check_up()
        return self.logs[topic, partition].end

    async def fetch(self, topic: str, partition: int, start: int, records: int) -> tuple[list[Entry], int]:
        """Committed records from an offset on, at most so many, and where to read on."""
        self.check_up()
        log = self.logs[topic, partition]
        if not log.first <= start <= log.end:
            raise OutOfRange(f"{topic}[{partition}] has {log.first} to {log.end}, not {start}")
        found = log.committed(start)
        if len(found) > records:
            return found[:records], found[records - 1].offset + 1
        return found, max(start, log.stable_end)

    async def append(self, topic: str, partition: int, pairs: Sequence[Pair], at_us: int = 0) -> int:
        """Records outside of any transaction; the offset of the first."""
        self.check_up()
        log = self.logs[topic, partition]
        base = log.end
        for key, value in pairs:
            log.add(key, value, at_us + self.ahead_us)
        return base

    # Transactions.

    async def fence(self, writer: str) -> int:
        """A new epoch for the id. Answers when what an earlier owner left is decided and marked everywhere."""
        self.check_up()
        epoch = self._epochs[writer] = self._epochs.get(writer, -1) + 1
        ongoing = self._ongoing.get(writer)
        if ongoing:
            if not ongoing.decided:
                self._decide(writer, ongoing, "aborted")
            await self._marked(writer, ongoing)
        return epoch

    async def produce(
        self, writer: str, epoch: int, topic: str, partition: int, sequence: int, pairs: Sequence[Pair], at_us: int = 0
    ) -> int:
        """A batch of a transaction; the offset of its first record, -1 where the batch was written before and the
        broker does not remember where."""
        await self._in_transaction(writer, epoch)
        known = self._batches.setdefault((writer, epoch, topic, partition), {})
        if sequence in known:
            return known[sequence]
        if known and sequence < max(known):
            return -1
        ongoing = self._begun(writer, epoch)
        ongoing.partitions[topic, partition] = None
        log = self.logs[topic, partition]
        base = log.end
        for key, value in pairs:
            log.add(key, value, at_us, writer)
        known[sequence] = base
        for old in sorted(known)[:-REMEMBERED]:
            del known[old]
        return base

    async def add_offsets(self, writer: str, epoch: int, group: str, topic: str, partition: int, offset: int) -> None:
        await self._in_transaction(writer, epoch)
        self._begun(writer, epoch).offsets[group, topic, partition] = offset

    async def end(self, writer: str, epoch: int, state: str) -> None:
        """Decides the transaction; that is what counts, the markers follow. To repeat it does no harm."""
        self.check_up()
        self._check_epoch(writer, epoch)
        ongoing = self._ongoing.get(writer)
        if ongoing is None or ongoing.decided:
            if self._last.get((writer, epoch)) != state:
                raise Fenced(f"{writer} has no transaction to end")
            return
        self._decide(writer, ongoing, state)

    async def _in_transaction(self, writer: str, epoch: int) -> None:
        self.check_up()
        self._check_epoch(writer, epoch)
        ongoing = self._ongoing.get(writer)
        if ongoing and ongoing.decided:
            await self._marked(writer, ongoing)
        self.check_up()
        self._check_epoch(writer, epoch)

    def _check_epoch(self, writer: str, epoch: int) -> None:
        if self._epochs.get(writer) != epoch:
            self.world.effect("zombie fenced", writer)
            raise Fenced(f"{writer} is at epoch {self._epochs.get(writer)}, not {epoch}")

    def _begun(self, writer: str, epoch: int) -> Ongoing:
        ongoing = self._ongoing.get(writer)
        if ongoing is None:
            ongoing = self._ongoing[writer] = Ongoing(epoch)
            self.world.spawn(self._time_out(writer, ongoing))
        return ongoing

    async def _time_out(self, writer: str, ongoing: Ongoing) -> None:
        """What a dead process left open holds readers back for so long at most."""
        await self.world.loop.sleep(TRANSACTION_TIMEOUT_S)
        if self._ongoing.get(writer) is ongoing and not ongoing.decided:
            self.world.effect("transaction timed out", writer)
            self._epochs[writer] += 1
            self._decide(writer, ongoing, "aborted")

    def _decide(self, writer: str, ongoing: Ongoing, state: str) -> None:
        ongoing.decided = state
        self._last[writer, ongoing.epoch] = state
        if state == "aborted":
            self.world.effect("transaction aborted", writer)
        self.world.say("kafka", f"{writer} epoch {ongoing.epoch} {state}")
        self.world.spawn(self._mark(writer, ongoing))

    async def _mark(self, writer: str, ongoing: Ongoing) -> None:
        """Markers come to the partitions one after the other, in any order."""
        partitions = list(ongoing.partitions)
        self.world.network.shuffle(partitions)
        for place in partitions:
            await self.world.loop.sleep(self.world.delay_s())
            await self.until_up()
            self.logs[place].mark(writer, ongoing.decided)
        if ongoing.decided == "committed":
            self.group_offsets |= ongoing.offsets
        del self._ongoing[writer]

    async def _marked(self, writer: str, ongoing: Ongoing) -> None:
        while self._ongoing.get(writer) is ongoing:
            await self.world.loop.sleep(AT_ONCE_S)

    async def until_up(self) -> None:
        while not self.up:
            await self.world.loop.sleep(AT_ONCE_S)

    # What operators and cleaners do.

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Retention."""
        log = self.logs[topic, partition]
        if offset > log.first:
            log.entries = log.since(offset)
            log.first = offset

    def clean(self, topic: str, partition: int) -> None:
        """Drops what was aborted, and markers, where all is decided; every offset stays what it was."""
        log = self.logs[topic, partition]
        stable = log.stable_end
        log.entries = [e for e in log.entries if e.offset >= stable or (e.state == "committed" and not e.control)]
