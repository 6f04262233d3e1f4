"""The faults, each with what puts it right again. A fault is a function of the world it strikes; it returns when the
cause is gone, not when the pipeline has made up for it."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nanotally.streams.environment import STAGES, Environment
from tests.chaos.crew import Crew, Member
from tests.chaos.site import CLICKHOUSE, KAFKA, Site

BEYOND_THE_SESSION_S = 9.0  # the group takes a silent worker for dead after 6 s


@dataclass
class World:
    """What faults strike, and how long they last: `pace` 1.0 as in a full run, less in a short one."""

    site: Site
    crew: Crew
    environment: Environment
    rng: random.Random
    folder: Path
    pace: float = 1.0
    counts: Counter[str] = field(default_factory=Counter)
    server_kills: int = 0

    @property
    def kills(self) -> int:
        """Processes killed with SIGKILL so far, of all kinds."""
        return self.crew.kills + self.server_kills

    def hold(self, least_s: float, most_s: float) -> None:
        """Lets the fault last for a while."""
        time.sleep(self.rng.uniform(least_s, most_s) * self.pace)

    def some(self, stage: str | None = None) -> Member:
        """A member that is wanted alive."""
        members = [m for m in self.crew.members if m.wanted and stage in (None, m.stage)]
        return self.rng.choice(members)

    def kill_server(self, name: str) -> None:
        self.site.kill(name)
        self.server_kills += 1


Fault = Callable[[World], None]


def kill_one(world: World) -> None:
    """One worker, whichever."""
    if world.crew.kill(world.some()):
        world.counts["worker killed"] += 1


def kill_all(world: World) -> None:
    """All workers at once."""
    for member in world.crew.members:
        if world.crew.kill(member):
            world.counts["worker killed"] += 1


def kill_a_stage(world: World) -> None:
    """All workers of a stage, again and again as they come back."""
    stage = world.rng.choice(STAGES)
    for _ in range(3):
        for member in world.crew.of(stage):
            if world.crew.kill(member):
                world.counts["worker killed"] += 1
        world.hold(2, 6)


def zombie(world: World) -> None:
    """A worker that stands still beyond the session timeout, is taken for dead, and wakes."""
    member = world.some(world.rng.choice(("payers", "payers", "accounts", "sink")))
    process = member.process
    if process is None or not member.alive():
        return
    process.signal(signal.SIGSTOP)
    time.sleep(BEYOND_THE_SESSION_S + world.rng.uniform(0, 4))
    process.signal(signal.SIGCONT)
    world.counts["worker stopped and continued"] += 1


def kill_kafka(world: World) -> None:
    world.kill_server(KAFKA)
    world.counts["broker killed"] += 1
    world.site.wait_for(KAFKA)


def kill_clickhouse(world: World) -> None:
    for _ in range(3):
        world.kill_server(CLICKHOUSE)
        world.counts["ClickHouse killed"] += 1
        world.hold(1, 3)
        world.site.wait_for(CLICKHOUSE)


def restart_kafka(world: World) -> None:
    world.site.stop(KAFKA)
    world.hold(0, 5)
    world.site.start()
    world.counts["broker restarted"] += 1


def restart_clickhouse(world: World) -> None:
    world.site.stop(CLICKHOUSE)
    world.hold(0, 5)
    world.site.start()
    world.counts["ClickHouse restarted"] += 1


def stop_kafka(world: World) -> None:
    _stop_and_continue(world, KAFKA)
    world.counts["broker stopped and continued"] += 1


def stop_clickhouse(world: World) -> None:
    _stop_and_continue(world, CLICKHOUSE)
    world.counts["ClickHouse stopped and continued"] += 1


def _stop_and_continue(world: World, name: str) -> None:
    world.site.signal(name, signal.SIGSTOP)
    try:
        time.sleep(BEYOND_THE_SESSION_S)
        world.hold(0, 6)
    finally:
        world.site.signal(name, signal.SIGCONT)


def cut_kafka(world: World) -> None:
    proxy = world.site.proxies["kafka"]
    proxy.cut()
    world.hold(2, 12)
    proxy.open()
    world.counts["network to the broker cut"] += 1


def hold_kafka(world: World) -> None:
    proxy = world.site.proxies["kafka"]
    proxy.hold()
    world.hold(4, 14)
    proxy.open()
    world.counts["network to the broker silent"] += 1


def slow_kafka(world: World) -> None:
    proxy = world.site.proxies["kafka"]
    proxy.slow(0.1, 300_000)
    world.hold(10, 20)
    proxy.open()
    world.counts["network to the broker slowed"] += 1


def cut_clickhouse(world: World) -> None:
    proxies = [world.site.proxies[name] for name in ("clickhouse", "http")]
    for _ in range(3):
        for proxy in proxies:
            proxy.cut()
        world.hold(1, 4)
        for proxy in proxies:
            proxy.open()
        world.hold(1, 4)
        world.counts["network to ClickHouse cut"] += 1


def slow_clickhouse(world: World) -> None:
    proxies = [world.site.proxies[name] for name in ("clickhouse", "http")]
    for proxy in proxies:
        proxy.slow(0.2, 100_000)
    world.hold(8, 16)
    for proxy in proxies:
        proxy.open()
    world.counts["network to ClickHouse slowed"] += 1


def refuse_writes(world: World) -> None:
    """ClickHouse takes no rows, as when merges cannot keep up; sinks die meanwhile, and their successors wait too."""
    tables = [f"{world.environment.database}.{name}" for name in ("charges", "account_tallies", "rejects")]
    for table in tables:
        world.site.ask_patiently(f"ALTER TABLE {table} MODIFY SETTING parts_to_delay_insert = 1, "
                                 "parts_to_throw_insert = 1")  # fmt: skip
    world.hold(40, 60)
    if world.crew.kill(world.some("sink")):
        world.counts["worker killed"] += 1
    world.hold(40, 60)
    for table in tables:
        world.site.ask_patiently(f"ALTER TABLE {table} RESET SETTING parts_to_delay_insert, parts_to_throw_insert")
    world.counts["ClickHouse refused writes"] += 1


def rebalances(world: World) -> None:
    """Workers of the payers' stage join and leave, 20 times in about a minute."""
    count = max(2, int(20 * world.pace))
    guests = [world.crew.add("payers", place) for place in (2, 3)]
    for turn in range(count // 2):
        guest = guests[turn % len(guests)]
        guest.wanted, guest.again_at = True, 0.0
        until = time.monotonic() + 30
        while not world.crew.ready(guest) and time.monotonic() < until:
            time.sleep(0.2)
        world.crew.leave(guest)
        world.counts["worker joined or left"] += 2
    for guest in guests:
        world.crew.members.remove(guest)
