"""Workers are restarted and upgraded one after the other while uses come in: nothing is lost, nothing counted twice,
and each version reads what the other wrote."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from nanotally.schemas import catalog, sources
from nanotally.streams.environment import STAGES
from nanotally.streams.installation import look_up_in
from tests.support.installed import Installed, installed, until
from tests.support.next_version import VERSION, next_version
from tests.support.services import Addresses
from tests.support.steady_publisher import COMMON
from tests.support.topics import read_committed
from tests.support.upgrades import (
    PARTITIONS,
    Product,
    everything_is_there,
    goes_on,
    nanotally,
    products,
    reconciled,
    start,
)
from tests.support.worker_process import WorkerProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture
def world(services: Addresses, tmp_path: Path) -> Iterator[Installed]:
    with installed(services, tmp_path) as found:
        yield found


@pytest.fixture
def looking_up(world: Installed, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process reads what other versions wrote, and forgets their schemas afterwards."""
    for name in ("_learned", "_refused"):
        monkeypatch.setattr(catalog, name, {})
    reader = look_up_in(world.environment.kafka, world.environment.prefix, "test")
    yield
    sources.look_up_in(None, "test")
    reader.close()
    catalog.writers.cache_clear()
    catalog._by_header.cache_clear()


def written(world: Installed, topic: str) -> Counter[bytes]:
    """Records of a topic by the fingerprint of what they were written with."""
    values = read_committed(world.environment.kafka, world.environment.topic(topic), PARTITIONS[topic])
    return Counter(value[2:10] for mine in values.values() for value in mine if value)


@pytest.mark.long(8)
def test_two_versions_side_by_side_read_each_other(world: Installed, tmp_path: Path, looking_up: None) -> None:
    path = next_version(tmp_path / "next")
    new = {"PYTHONPATH": str(path)}
    for stage in STAGES:
        start(world, f"{stage}-1", stage)
    start(world, "payers-2", "payers")
    start_us = time.time_ns() // 1000 - 3_600_000_000
    a, b = Product(world, tmp_path, "a", start_us), Product(world, tmp_path, "b", start_us, path)
    with products(a, b):
        goes_on(world)  # the old version reads what the new publisher writes
        until("the old version has written into each topic", lambda: all(_writers(world, t)[0] for t in PARTITIONS))
        for name, stage in (("payers-2", "payers"), ("sink-1", "sink"), ("accounts-1", "accounts")):
            world.stop(name)
            start(world, name, stage, **new)
            goes_on(world)  # both versions share the partitions of usage, one's charges are the other's input
        world.stop("payers-1")
        start(world, "payers-1", "payers", **new)
        goes_on(world)
        until("the new version has written into each topic", lambda: all(_writers(world, t)[1] for t in PARTITIONS))
        for name, stage in (("payers-2", "payers"), ("sink-1", "sink"), ("accounts-1", "accounts")):
            world.stop(name)
            start(world, name, stage)  # rolled back: the old version goes on from what the new one wrote
            goes_on(world)
        facts = a.end(), b.end()
    assert [fact["version"] for fact in facts] == ["0.1.0", VERSION]
    assert min(fact["common"] for fact in facts) >= COMMON
    everything_is_there(world, *facts)

    for environ in ({}, new):
        reconciled(world, environ)
    for extra in ({}, new):  # state from a ledger of both versions, folded from its beginning
        fresh = tmp_path / f"fresh-{len(extra)}"
        for stage in ("payers", "accounts"):
            name = f"rebuilt-{stage}-{len(extra)}"
            for other in [other for other in world.members if stage in other]:
                world.stop(other)
            rebuilt = start(world, name, stage, NANOTALLY_STATE=str(fresh), **extra)
            partitions = PARTITIONS["usage" if stage == "payers" else "earnings"]
            until("it holds everything", partial(_opened, rebuilt, partitions))
    for extra in ({}, new):  # and a database from topics of both versions
        database = f"{world.environment.database}_{len(extra)}"
        made = nanotally(world, extra, "sink", "replay", "--database", database)
        assert made.returncode == 0, made.stdout + made.stderr
        reconciled(world, {**extra, "NANOTALLY_DATABASE": database})


@pytest.mark.long(6)
def test_restarting_one_worker_after_the_other_loses_nothing(world: Installed, tmp_path: Path) -> None:
    for stage in STAGES:
        for n in (1, 2):
            start(world, f"{stage}-{n}", stage)
    start_us = time.time_ns() // 1000 - 3_600_000_000
    a, b = (Product(world, tmp_path, name, start_us) for name in ("a", "b"))
    with products(a, b):
        goes_on(world)
        for stage in STAGES:
            for n in (1, 2):
                world.stop(f"{stage}-{n}")
                start(world, f"{stage}-{n}", stage)
                goes_on(world)
        facts = a.end(), b.end()
    everything_is_there(world, *facts)


@pytest.mark.long(4)
def test_workers_may_come_and_go(world: Installed, tmp_path: Path) -> None:
    """Scaling out to as many workers as there are partitions, and in again to one."""
    for stage in STAGES:
        start(world, f"{stage}-1", stage)
    product = Product(world, tmp_path, "a", time.time_ns() // 1000 - 3_600_000_000)
    with products(product):
        goes_on(world)
        for n in (2, 3, 4):
            start(world, f"payers-{n}", "payers")
        held = [world.members[f"payers-{n}"] for n in (1, 2, 3, 4)]
        until("each holds one partition", lambda: [len(one.positions()) for one in held] == [1, 1, 1, 1])
        goes_on(world)
        for n in (1, 2, 3):
            world.stop(f"payers-{n}")
        until("one holds all", lambda: len(world.members["payers-4"].positions()) == 4)
        goes_on(world)
        facts = product.end()
    everything_is_there(world, facts)


def _writers(world: Installed, topic: str) -> tuple[int, int]:
    """Records by the installed version's schemas and by others."""
    mine = {catalog.schema(name).fingerprint for name in catalog.names()}
    counts = written(world, topic)
    return sum(counts[one] for one in counts if one in mine), sum(counts[one] for one in counts if one not in mine)


def _opened(worker: WorkerProcess, partitions: int) -> bool:
    return worker.log.count("opened at offset") >= partitions
