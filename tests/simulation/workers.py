"""Workers of the three stages: the real lanes and partitions, with simulated services under them."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from faust.types import TP

from nanotally.sinks.sink import SinkPartition
from nanotally.streams.domain.accounts import AccountsLogic
from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.records import PartitionLogic
from nanotally.streams.errors import InvalidInput, Transient
from nanotally.streams.pipeline.books import Books
from nanotally.streams.pipeline.lanes import Lanes
from nanotally.streams.pipeline.limit import RejectLimit
from nanotally.streams.pipeline.partition import StagePartition
from nanotally.streams.pipeline.stage import PartitionWorker, Stage
from nanotally.streams.pipeline.transport import Fetched
from tests.simulation.broker import SimBroker
from tests.simulation.clickhouse import ClickHouseServer
from tests.simulation.group import Group
from tests.simulation.kafka import Kafka
from tests.simulation.stores import Disk, SimStore
from tests.simulation.warehouse import Link
from tests.simulation.world import Gone, Process, World

IDLE_S = 0.4
PARTITIONS, ACCOUNT_PARTITIONS = 2, 2


class Handed(NamedTuple):
    """A record as the transport hands it over; timestamp: milliseconds."""

    offset: int
    timestamp: float
    key: bytes | None
    value: bytes | None


class Worker(Process):
    """One process of a stage, from its start until it leaves or dies."""

    def __init__(
        self, world: World, name: str, group: Group, kafka: Kafka, server: ClickHouseServer, disk: Disk
    ) -> None:
        super().__init__(world, name)
        self.group = group
        self.disk = disk
        self.server = server
        self.left: BaseException | None = None
        profile = world.profile
        self.broker = SimBroker(self, kafka, f"nanotally-{group.name}", profile.batch_records, profile.tries)
        self.books = Books(self.broker, self)
        self.rejects = RejectLimit(profile.rejects_per_minute, self)
        self._held: set[TP] = set()
        topics = tuple(dict.fromkeys(place.topic for place in group.places))
        self.lanes = Lanes(
            Stage(group.name, topics, self._make), "", hold=self._hold, release=self._held.discard, leave=self.leave
        )
        self._reading: dict[TP, int] = {}
        self._bare_from: dict[TP, int] = {}  # since there the fetches held no record
        self._drops = world.rng(f"{name} drops")
        self._ending = False
        world.spawn(self._live())

    async def _make(self, topic: str, partition: int) -> PartitionWorker:
        if self.group.name == "sink":
            link = Link(self, self.server, native=self.rng.random() < 0.3)
            return SinkPartition(topic, partition, link.warehouse, clock=self, elsewhere=link.elsewhere)
        await self.broker.describe(topic)
        return StagePartition(
            self._logic(partition),
            partition,
            broker=self.broker,
            store=SimStore(self, self.disk, f"{self.group.name}-{partition}"),
            books=self.books,
            rejects=self.rejects,
            clock=self,
        )

    def _logic(self, partition: int) -> PartitionLogic:
        slice_rows = self.world.profile.slice_rows
        if self.group.name == "payers":
            return PayersLogic(partition, PARTITIONS, ACCOUNT_PARTITIONS, slice_rows)
        return AccountsLogic(partition, slice_rows)

    def leave(self, error: BaseException) -> None:
        """What the real one does by leaving the process at once."""
        if isinstance(error, Gone) or not self.alive or self.world.ended:
            raise Gone
        self.left = error
        expected = isinstance(error, Transient) or (isinstance(error, InvalidInput) and error.reason == "reject_limit")
        self.world.effect("left", self.name, repr(error)[:200])
        if not expected:
            self.world.fail(error)
        self.kill()
        raise Gone

    def end(self) -> None:
        """SIGTERM."""
        self._ending = True

    def hear_again(self) -> None:
        """It is no longer cut off, or unplugged."""
        self.deaf = self.unplugged = False
        self.be_heard()

    def _hold(self, place: TP) -> None:
        """Too much of it waits: it is left out of the fetches."""
        self.world.effect("partition held back", self.name, f"{place.topic}[{place.partition}]")
        self._held.add(place)

    async def _live(self) -> None:
        while not self._ending:
            generation, places = await self.group.join(self)
            await self.breathe("joined")
            opening = asyncio.ensure_future(self.lanes.open(places))
            self._reading, self._bare_from = {}, {}
            self._held.clear()
            while not self._ending and (self.deaf or not self.group.wants_back(self, generation)):
                await self._poll(opening)
            await self.lanes.close()
        self.group.leave(self)
        await self.breathe("ended")
        self.kill()

    async def _poll(self, opening: asyncio.Future[None]) -> None:
        """One fetch from every partition that is open; also a heartbeat."""
        found = 0
        if opening.done():
            for place, position in self.lanes.positions(self.group.places).items():
                at = self._reading.setdefault(place, position)
                if place in self._held or not self._is_due(place, at):
                    continue
                try:
                    found += await self._fetch(place, at)
                except Transient:
                    continue
                except Exception as error:  # noqa: BLE001  as the app does
                    self.leave(error)
        await self.sleep(self.rng.uniform(0, IDLE_S if not found else IDLE_S / 20))

    def _is_due(self, place: TP, at: int) -> bool:
        """Whether the broker would answer a fetch, or refuse it: else it keeps it until there is something."""
        log = self.broker.kafka.logs[place]
        return not (self.broker.kafka.up and log.stable_end <= at <= log.end)

    async def _fetch(self, place: TP, at: int) -> int:
        records = self.rng.randint(1, self.world.profile.fetch_records)
        entries, ends = await self.broker.fetch(*place, at, records)
        self._reading[place] = ends
        begins = self._bare_from.setdefault(place, at)
        if entries:
            del self._bare_from[place]
            handed = [Handed(e.offset, e.at_us / 1000, e.key, e.value) for e in entries]
            if not self._is_dropped(place, begins, ends):
                self.lanes.put(place, Fetched(handed, begins, ends))
        return len(entries)

    def _is_dropped(self, place: TP, begins: int, ends: int) -> bool:
        """Whether it gets lost on its way to its lane. Only what comes behind it can tell, so something does."""
        world = self.world
        more_comes = self.broker.kafka.logs[place].stable_end > ends
        dropped = more_comes and not world.calm and self._drops.random() < world.profile.drop
        if dropped:
            world.fault("fetch dropped", self.name, f"{place.topic}[{place.partition}] {begins} to {ends}")
        return dropped
