"""One seed from its beginning to its verdict."""

from __future__ import annotations

import asyncio
import gc
import logging
from dataclasses import dataclass, field

from tests.simulation.installation import Installation, tuned
from tests.simulation.nemesis import Nemesis
from tests.simulation.producers import Products
from tests.simulation.world import SIZE, World

DRAIN_S = 900.0
LOOK_S = 0.5


@dataclass
class Verdict:
    """What became of a seed. error: None where all held; digest: of everything that happened, in its order."""

    seed: int
    size: int
    error: BaseException | None
    digest: int
    world_s: float
    records: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    effects: dict[str, int] = field(default_factory=dict)


class NotDrained(AssertionError):
    """Long after the faults stopped there was still something to do."""


def simulate(seed: int, *, size: int = SIZE, trace: bool = False) -> Verdict:
    """Runs a seed and checks what it came to; never raises for what it finds."""
    from tests.simulation.checks import check

    logging.disable(logging.CRITICAL)
    collecting = gc.isenabled()
    gc.disable()  # what is collected when must not move anything
    world = World(seed, size=size, trace=trace)
    asyncio.set_event_loop(world.loop)
    products: Products | None = None
    try:
        with tuned(world):
            installation = Installation(world)
            products = Products(world, installation.kafka)
            world.loop.run_until_complete(_live(world, installation, products))
            world.ended = True
            world.loop.end()
        if world.failed is None:
            try:
                check(installation, products)
            except Exception as error:  # noqa: BLE001  whatever is wrong is what is looked for
                world.fail(error)
    finally:
        asyncio.set_event_loop(None)
        logging.disable(logging.NOTSET)
        if collecting:
            gc.enable()
    records = sum(len(log.archive) for log in installation.kafka.logs.values())
    return Verdict(seed, size, world.failed, world.digest, world.loop.now_s, records, world.faults, world.effects)


async def _live(world: World, installation: Installation, products: Products) -> None:
    world.say("world", f"seed {world.seed}: {world.profile}")
    world.spawn(installation.supervise())
    producing = products.begin()
    raging = world.spawn(Nemesis(installation).rage())
    while not all(task.done() for task in producing) and world.failed is None:
        await asyncio.sleep(LOOK_S)
    installation.calm_down()
    raging.cancel()
    if world.profile.close_at_end:
        products.close_the_books()
    until_s = world.loop.now_s + DRAIN_S
    while world.failed is None and (behind := installation.behind()):
        if world.loop.now_s > until_s:
            raise_for = NotDrained("; ".join(behind))
            world.fail(raise_for)
        await asyncio.sleep(LOOK_S)
