"""The whole pipeline in a world: services, machines, groups of workers, and who starts them again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from faust.types import TP

from nanotally.schemas import catalog, codec
from nanotally.sinks import sink
from nanotally.sinks.tables import TOPICS
from nanotally.streams.pipeline import broker, lanes, partition
from tests.simulation.clickhouse import ClickHouseServer
from tests.simulation.group import Group
from tests.simulation.kafka import Kafka
from tests.simulation.stores import Disk
from tests.simulation.workers import ACCOUNT_PARTITIONS, PARTITIONS, Worker
from tests.simulation.world import World

COUNTS = {
    "usage": PARTITIONS, "charges": PARTITIONS, "payer_tallies": PARTITIONS, "statements": PARTITIONS,
    "rejects": PARTITIONS, "earnings": ACCOUNT_PARTITIONS, "account_tallies": ACCOUNT_PARTITIONS,
    "payouts": ACCOUNT_PARTITIONS, "books": 1, "redrives": 1,
}  # fmt: skip
INPUTS = {"payers": ("usage",), "accounts": ("earnings",), "sink": TOPICS}
STEPS = (("usage", "charges"), ("earnings", "account_tallies"))  # input of a stage, and where its chunk records are
MACHINES = 3
CHUNK = catalog.schema("Chunk").header


class Installation:
    """`wanted` workers of each stage are kept running, as a supervisor does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kafka = Kafka(world, COUNTS)
        self.server = ClickHouseServer(world)
        self.disks = [Disk() for _ in range(MACHINES)]
        self.groups = {
            name: Group(world, name, [TP(topic, p) for topic in topics for p in range(COUNTS[topic])])
            for name, topics in INPUTS.items()
        }
        self.workers: list[Worker] = []
        self._rng = world.rng("supervisor")
        self._started = 0
        self._next_offsets: dict[bytes, int] = {}  # by chunk record
        self._wanted = dict(zip(INPUTS, world.profile.workers, strict=True))

    def start(self, stage: str) -> Worker:
        """One more worker of a stage, on a machine where no other of the stage runs, if there is one."""
        self._started += 1
        taken = [w.disk for w in self.workers if w.alive and w.group.name == stage]
        free = [disk for disk in self.disks if disk not in taken] or [Disk()]
        name = f"{stage} {self._started}"
        worker = Worker(self.world, name, self.groups[stage], self.kafka, self.server, self._rng.choice(free))
        self.world.say(name, "starts")
        self.workers = [w for w in self.workers if w.alive] + [worker]
        return worker

    async def supervise(self) -> None:
        """Starts workers again, a moment after they went."""
        while True:
            for stage, wanted in self._wanted.items():
                if sum(w.alive and w.group.name == stage for w in self.workers) < wanted:
                    self.start(stage)
            await self.world.loop.sleep(0.2 if self.world.calm else self._rng.uniform(0.2, 3.0))

    def calm_down(self) -> None:
        """Faults stop: what was stopped goes on, what is away comes back."""
        self.world.calm = True
        self.world.say("world", "is calm from here on")
        self.kafka.up = self.server.up = True
        self.server.refuses = None
        for worker in self.workers:
            worker.go_on()
            worker.hear_again()
            worker.sluggish_s = 0.0

    def taken(self, topic: str, partition: int) -> int:
        """Next input offset as the last chunk record in an output partition says."""
        for entry in reversed(self.kafka.logs[topic, partition].archive):
            if entry.state == "committed" and entry.value and entry.value.startswith(CHUNK):
                if entry.value not in self._next_offsets:
                    self._next_offsets[entry.value] = int(codec.decode_one(entry.value)[1]["next_offset"])
                return self._next_offsets[entry.value]
        return 0

    def behind(self) -> list[str]:
        """What is not taken or not sunk yet."""
        found = []
        for source, output in STEPS:
            for p in range(COUNTS[source]):
                due = self._last(source, p) + 1
                if self.taken(output, p) < due:
                    found.append(f"{source}[{p}] is taken up to {self.taken(output, p)} of {due}")
                elif self._open(source, p):
                    found.append(f"{source}[{p}] has an open transaction")
        for topic in TOPICS:
            for p in range(COUNTS[topic]):
                if self._open(topic, p) or self.sunk(topic, p) < self._last(topic, p) + 1:
                    found.append(f"{topic}[{p}] is sunk up to {self.sunk(topic, p)} of {self._last(topic, p) + 1}")
        return found

    def sunk(self, topic: str, partition: int) -> int:
        rows = self.server.tables["chunks"].rows
        return max(
            (r["kafka_offset"] + 1 for r in rows if (r["topic"], r["kafka_partition"]) == (topic, partition)), default=0
        )

    def _last(self, topic: str, partition: int) -> int:
        """Offset of the last committed record."""
        archive = self.kafka.logs[topic, partition].archive
        return next((e.offset for e in reversed(archive) if e.state == "committed"), -1)

    def _open(self, topic: str, partition: int) -> bool:
        return bool(self.kafka.logs[topic, partition].open)


@contextmanager
def tuned(world: World) -> Iterator[None]:
    """Sizes of the real modules for small worlds: no result may depend on them."""
    profile = world.profile
    chosen: list[tuple[Any, str, int]] = [
        (partition, "SNAPSHOT_RECORDS", profile.snapshot_records),
        (lanes, "CHUNK_RECORDS", profile.chunk_records),
        (broker, "LOOK_BACK_FIRST", profile.look_back),
        (sink, "ROWS_MAX", profile.rows_max),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in chosen]
    try:
        for module, name, value in chosen:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
