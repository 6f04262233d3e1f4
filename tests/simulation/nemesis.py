"""Larger faults, one after the other, while a world is not calm."""

from __future__ import annotations

import asyncio
import random

from nanotally.sinks.tables import CHUNKS
from tests.simulation.clickhouse import READ_ONLY
from tests.simulation.installation import Installation
from tests.simulation.kafka import TRANSACTION_TIMEOUT_S
from tests.simulation.workers import PARTITIONS, Worker


class Nemesis:
    """Does what the world's profile allows, at moments of its own choosing."""

    def __init__(self, installation: Installation) -> None:
        self.at = installation
        self.world = installation.world
        self.rng: random.Random = self.world.rng("nemesis")
        self._strangers = 0

    async def rage(self) -> None:
        """Until the world is calm."""
        profile = self.world.profile
        while profile.acts and not self.world.calm:
            await asyncio.sleep(self.rng.expovariate(1 / profile.nemesis_s))
            if not self.world.calm:
                act = self.rng.choice(profile.acts)
                await getattr(self, act.replace(" ", "_"))()

    def _worker(self) -> Worker | None:
        alive = [w for w in self.at.workers if w.alive]
        return self.rng.choice(alive) if alive else None

    async def kill(self) -> None:
        worker = self._worker()
        if worker:
            self.world.fault("kill", worker.name, "by hand")
            worker.kill()

    async def kill_all(self) -> None:
        for worker in self.at.workers:
            if worker.alive:
                self.world.fault("kill", worker.name, "with all others")
                worker.kill()

    async def stop(self) -> None:
        """A zombie: stands still, mostly for longer than its session, and goes on as if nothing had been."""
        worker = self._worker()
        if worker and not worker.stopped:
            self.world.fault("stop", worker.name)
            worker.stop()
            self.world.spawn(self._continue(worker, self.rng.choice((1.0, 7.0, 10.0, 25.0))))

    async def cut_off(self) -> None:
        """A worker whose heartbeats get lost: the group gives its partitions away while it goes on with them."""
        worker = self._worker()
        if worker and not worker.stopped and not worker.deaf:
            self.world.fault("cut off", worker.name)
            worker.deaf, worker.silent_since_s = True, self.world.loop.now_s
            self.world.spawn(self._hear_again(worker, self.rng.choice((3.0, 9.0, 14.0, 20.0))))

    async def _hear_again(self, worker: Worker, after_s: float) -> None:
        await asyncio.sleep(after_s)
        worker.hear_again()

    async def unplugged(self) -> None:
        """A worker that reaches nobody, and is taken for dead."""
        worker = self._worker()
        if worker and not worker.stopped and not worker.unplugged:
            self.world.fault("unplugged", worker.name)
            worker.unplugged, worker.silent_since_s = True, self.world.loop.now_s
            self.world.spawn(self._hear_again(worker, self.rng.choice((1.0, 4.0, 8.0, 20.0))))

    async def slow_consumer(self) -> None:
        """A worker that falls behind, and whose transactions stay open for long."""
        worker = self._worker()
        if worker:
            self.world.fault("slow consumer", worker.name)
            worker.sluggish_s = self.rng.choice((0.5, 4.0, 2 * TRANSACTION_TIMEOUT_S))
            await asyncio.sleep(self.rng.uniform(1, 10))
            worker.sluggish_s = 0.0

    async def open_transaction(self) -> None:
        """Another producer repeats records of `usage` in a transaction; it commits it late, aborts it or leaves it."""
        kafka, p = self.at.kafka, self.rng.randrange(PARTITIONS)
        sent = kafka.logs["usage", p].archive
        self.world.fault("open transaction", "kafka", f"usage[{p}]")
        self._strangers += 1
        writer = f"stranger {self._strangers}"
        if sent and kafka.up:
            again = [(e.key, e.value) for e in self.rng.choices(sent, k=self.rng.randint(1, 4))]
            epoch = await kafka.fence(writer)
            await kafka.produce(writer, epoch, "usage", p, 0, again, max(e.at_us for e in sent))
            self.world.spawn(self._end_it(writer, epoch, self.rng.choice(("committed", "aborted", "left open"))))

    async def _end_it(self, writer: str, epoch: int, how: str) -> None:
        await asyncio.sleep(self.rng.uniform(0, TRANSACTION_TIMEOUT_S / 2))
        if how != "left open":
            await self.at.kafka.until_up()
            await self.at.kafka.end(writer, epoch, how)

    async def _continue(self, worker: Worker, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self.world.say(worker.name, "goes on")
        worker.go_on()

    async def leave(self) -> None:
        worker = self._worker()
        if worker:
            self.world.fault("leave", worker.name)
            worker.end()

    async def join(self) -> None:
        """One more worker for a while."""
        worker = self.at.start(self.rng.choice(sorted(self.at.groups)))
        self.world.fault("join", worker.name)
        self.world.spawn(self._end(worker, self.rng.uniform(1, 10)))

    async def _end(self, worker: Worker, after_s: float) -> None:
        await asyncio.sleep(after_s)
        worker.end()

    async def rebalance(self) -> None:
        group = self.at.groups[self.rng.choice(sorted(self.at.groups))]
        self.world.fault("rebalance", group.name)
        group.rebalance()

    async def broker_down(self) -> None:
        self.world.fault("broker down", "kafka")
        self.at.kafka.up = False
        await asyncio.sleep(self.rng.choice((0.2, 2.0, 8.0)))
        self.at.kafka.up = True
        self.world.say("kafka", "is back")

    async def clickhouse_down(self) -> None:
        self.world.fault("clickhouse down", "clickhouse")
        self.at.server.go_down()
        await asyncio.sleep(self.rng.choice((0.2, 2.0, 12.0)))
        self.at.server.up = True
        self.world.say("clickhouse", "is back")

    async def clickhouse_restart(self) -> None:
        self.world.fault("clickhouse restart", "clickhouse")
        self.at.server.go_down()
        self.at.server.up = True

    async def clickhouse_refuses(self) -> None:
        self.world.fault("clickhouse refuses", "clickhouse")
        self.at.server.refuses = (READ_ONLY, "Table is in readonly mode")
        await asyncio.sleep(self.rng.choice((1.0, 10.0)))
        self.at.server.refuses = None

    async def disk_lost(self) -> None:
        disk = self.rng.choice(self.at.disks)
        self.world.fault("disk lost", "disk", str(self.at.disks.index(disk)))
        disk.lose()

    async def disk_stale(self) -> None:
        disk = self.rng.choice(self.at.disks)
        if disk.backups:
            name = self.rng.choice(sorted(disk.backups))
            self.world.fault("disk stale", "disk", name)
            disk.put_back(name, self.rng.randrange(len(disk.backups[name])))

    async def disk_corrupt(self) -> None:
        disk = self.rng.choice(self.at.disks)
        if disk.kept:
            name = self.rng.choice(sorted(disk.kept))
            self.world.fault("disk corrupt", "disk", name)
            disk.damage(name)

    async def retention(self) -> None:
        """Usage goes once it is taken, outputs once they are sunk; the ledger, earnings and books never."""
        for p in range(PARTITIONS):
            taken = self.at.taken("charges", p)
            self.at.kafka.delete_before("usage", p, taken)
        for (topic, p), log in self.at.kafka.logs.items():
            if topic in ("payer_tallies", "statements", "rejects", "payouts"):
                rows = self.at.server.tables[CHUNKS].rows
                sunk = [r["kafka_offset"] + 1 for r in rows if (r["topic"], r["kafka_partition"]) == (topic, p)]
                self.at.kafka.delete_before(topic, p, min(max(sunk, default=0), log.end))
        self.world.fault("retention", "kafka")

    async def compaction(self) -> None:
        topic, p = self.rng.choice(sorted(self.at.kafka.logs))
        self.world.fault("compaction", "kafka", f"{topic}[{p}]")
        self.at.kafka.clean(topic, p)

    async def offsets_expire(self) -> None:
        self.world.fault("offsets expire", "kafka")
        for place in sorted(self.at.kafka.group_offsets):
            if self.rng.random() < 0.5:
                del self.at.kafka.group_offsets[place]

    async def clock_jumps(self) -> None:
        """A worker's clock goes ahead, or the broker's goes wrong for what is written from now on."""
        worker = self._worker()
        if worker and self.rng.random() < 0.5:
            self.world.fault("clock jumps", worker.name)
            worker.turn_clock(self.rng.choice((1.0, 100.0, 1e6)))
        else:
            self.world.fault("clock jumps", "kafka")
            self.at.kafka.ahead_us = self.rng.choice((-3600, -60, 0, 60, 600, 3600)) * 1_000_000
