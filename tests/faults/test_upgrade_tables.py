"""An upgrade that brings tables: sinks of both versions write to one database, also while it is being migrated."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanotally.sinks.migrate import migrations
from nanotally.streams.environment import STAGES
from tests.support.installed import Installed, installed, until
from tests.support.next_version import VERSION, next_version
from tests.support.services import Addresses
from tests.support.upgrades import Product, command, everything_is_there, goes_on, nanotally, products, reconciled, rows
from tests.support.upgrades import start as start_worker
from tests.support.worker_process import WITHIN_S, workers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

NEWS = f"{len(migrations()) + 1:04d}_news"
OF_THE_NEW, OF_THE_OLD = f"sunk_by = '{VERSION}'", f"sunk_by = 'before {VERSION}'"
# A migrator that stands still after its first statement, until it is told to go on.
STOPPING = """\
import os, signal
from nanotally.sinks import migrate
from nanotally.sinks.client import ClickHouse

run = ClickHouse.run

def stopping(self, sql, **settings):
    run(self, sql, **settings)
    if "ADD COLUMN IF NOT EXISTS sunk_by" in sql:
        os.kill(os.getpid(), signal.SIGSTOP)

ClickHouse.run = stopping
raise SystemExit(migrate.main([]))
"""


@pytest.fixture
def world(services: Addresses, tmp_path: Path) -> Iterator[Installed]:
    with installed(services, tmp_path) as found:
        yield found


def has_news(world: Installed) -> bool:
    """Whether the database has all of the new version's tables, and says so."""
    return rows(world, "max(number) FROM migrations") == int(NEWS[:4])


@pytest.mark.long(6)
def test_the_old_sink_goes_on_before_while_and_after_the_new_version_migrates(world: Installed, tmp_path: Path) -> None:
    path = next_version(tmp_path / "next", migration=NEWS)
    (path / "stopping_migrator.py").write_text(STOPPING)
    new, newer = {"PYTHONPATH": str(path)}, f"and {NEWS} of a newer version, which only adds"
    for stage in STAGES:
        start_worker(world, f"{stage}-1", stage)
    product = Product(world, tmp_path, "a", time.time_ns() // 1000 - 3_600_000_000)
    with products(product), workers("stopping_migrator", world.environment, tmp_path) as migrating:
        goes_on(world)
        assert not has_news(world)
        migrator = migrating("migrator", **new)
        until("it stands still with one column added", migrator.is_stopped)
        assert not has_news(world)
        goes_on(world, OF_THE_OLD)
        migrator.signal(signal.SIGCONT)
        assert migrator.process.wait(WITHIN_S) == 0, migrator.log
        assert f"applied {NEWS}" in migrator.log
        assert has_news(world)
        goes_on(world, OF_THE_OLD)

        assert newer in nanotally(world, {}, "doctor").stdout
        made_up = command(world, {}, "infra.prepare")  # what `make up` of the old version does, with what is there
        assert (made_up.returncode, "tables are there" in made_up.stdout) == (0, True), made_up.stderr
        refused = command(world, {}, "nanotally.sinks.migrate", "--down-to", str(len(migrations())))
        assert (refused.returncode, NEWS in refused.stderr) == (3, True), refused.stdout

        start_worker(world, "sink-2", "sink", **new)  # side by side: each has a part of the partitions of charges
        goes_on(world, OF_THE_NEW)
        goes_on(world, OF_THE_OLD)
        world.stop("sink-1")
        goes_on(world, OF_THE_NEW)
        world.stop("sink-2")  # rolled back: the old one goes on from where the new one came to
        start_worker(world, "sink-1", "sink")
        goes_on(world, OF_THE_OLD)
        facts = product.end()
    everything_is_there(world, facts)
    by_sink = rows(world, "sum(charges) FROM charges_by_sink WHERE sunk_by != ''")
    assert by_sink == rows(world, "count() FROM charges")
    for environ in ({}, new):
        reconciled(world, environ)

    undone = command(world, new, "nanotally.sinks.migrate", "--down-to", str(len(migrations())))
    assert undone.returncode == 0, undone.stderr
    assert not has_news(world)
    world.use(100)  # the old sink has seen the column come, and sees it go
    reconciled(world, {})
    assert newer not in nanotally(world, {}, "doctor").stdout
