"""A consumer group: who holds which partitions, and the rebalances in which that changes hands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from faust.types import TP

from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.workers import Worker

SESSION_S = 6.0  # after which a silent member is taken for dead
LOOK_S = 0.5
JOIN_S = 0.3  # a rebalance waits for so long for more members
REBALANCE_S = 20.0  # and for so long for those that still hold partitions


class Group:
    """All partitions are given back before every rebalance, by those that still answer."""

    def __init__(self, world: World, name: str, places: Sequence[TP]) -> None:
        self.world = world
        self.name = name
        self.places = list(places)
        self.generation = 0
        self.members: list[Worker] = []
        self._joining: dict[Worker, asyncio.Future[tuple[int, list[TP]]]] = {}
        self._rebalancing = False
        self._rng = world.rng(f"group {name}")
        world.spawn(self._watch())

    def join(self, worker: Worker) -> asyncio.Future[tuple[int, list[TP]]]:
        """The generation and the partitions that are the worker's in it."""
        joined = self._joining[worker] = self.world.loop.create_future()
        self.rebalance()
        return joined

    def leave(self, worker: Worker) -> None:
        self._joining.pop(worker, None)
        if worker in self.members:
            self.members.remove(worker)
            self.rebalance()

    def wants_back(self, worker: Worker, generation: int) -> bool:
        """Whether a worker must give back what it holds: what its heartbeat says."""
        return self._rebalancing or generation != self.generation or worker not in self.members

    def rebalance(self) -> None:
        if not self._rebalancing:
            self._rebalancing = True
            self.world.spawn(self._rebalance())

    async def _rebalance(self) -> None:
        until_s = self.world.loop.now_s + REBALANCE_S
        await self.world.loop.sleep(JOIN_S)
        while [m for m in self.members if m not in self._joining] and self.world.loop.now_s < until_s:
            await self.world.loop.sleep(0.1)
        self._rebalancing = False
        joining, self._joining = self._joining, {}
        self.generation += 1
        self.members = [worker for worker in joining if worker.alive]
        held: dict[Worker, list[TP]] = {worker: [] for worker in self.members}
        places, members = list(self.places), list(self.members)
        self._rng.shuffle(places)
        self._rng.shuffle(members)
        for i, place in enumerate(places if members else ()):
            held[members[i % len(members)]].append(place)
        self.world.say(self.name, f"generation {self.generation}: {[(m.name, len(t)) for m, t in held.items()]}")
        for worker, joined in joining.items():
            if not joined.done() and worker in held:
                joined.set_result((self.generation, sorted(held[worker])))

    async def _watch(self) -> None:
        """Expels members that have been silent for too long."""
        while True:
            await self.world.loop.sleep(LOOK_S)
            now_s = self.world.loop.now_s
            for worker in list(self.members):
                if worker.silent_since_s is not None and now_s - worker.silent_since_s > SESSION_S:
                    self.world.say(self.name, f"{worker.name} is taken for dead")
                    self.members.remove(worker)  # one that waits to join is answered all the same, and finds out then
                    self.rebalance()
