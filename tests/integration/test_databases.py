"""The database in ClickHouse can be filled anew, backed up and restored, while uses keep coming."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition

from nanotally.sinks import backup
from nanotally.sinks.client import ClickHouse
from nanotally.sinks.sink import address_of
from nanotally.sinks.tables import TABLES_BY_TOPIC
from nanotally.streams import admin
from nanotally.streams.errors import ExitCode
from nanotally.streams.publisher_ledger import TopicReader
from tests.support.installed import Installed, installed, until
from tests.support.services import Addresses, drop_database, fresh_database

pytestmark = pytest.mark.slow

TABLES = sorted(table for tables in TABLES_BY_TOPIC.values() for table in tables)


@pytest.fixture(scope="module")
def running(services: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """All three stages at work, with some thousand uses in settled and in open windows."""
    with installed(services, tmp_path_factory.mktemp("databases")) as found:
        for stage in ("payers", "accounts", "sink"):
            found.start(stage, stage)
        found.use(3_000, days_ago=2)
        found.close_books()
        found.use(500)
        found.reconcile()
        yield found


@pytest.fixture
def another(services: Addresses) -> Iterator[str]:
    """The name of a second database, not made yet."""
    name = fresh_database()
    yield name
    drop_database(services.clickhouse, name)


def content(running: Installed, database: str) -> dict[str, Any]:
    """By table the number of rows and a sum over all their columns."""
    clickhouse = ClickHouse(address_of(running.environment))
    try:
        return {
            table: clickhouse.query(
                f"SELECT count(), sum(cityHash64(formatRow('JSONEachRow', *))) FROM `{database}`.`{table}`"
            )[0]
            for table in TABLES
        }
    finally:
        clickhouse.close()


def test_another_database_is_filled_from_the_topics_and_equals_the_first(running: Installed, another: str) -> None:
    code, out, err = running.run("sink", "replay", "--database", another)
    assert (code, err) == (0, "")
    assert f"go on: NANOTALLY_DATABASE={another} nanotally worker sink" in out
    found = content(running, another)
    assert found == content(running, running.environment.database), out
    assert found["charges"][0] > 3_000 and found["statements"][0] > 0 and found["payouts"][0] > 0
    running.reconcile(another)
    assert running.run("sink", "replay", "--database", another)[0] == 0
    assert content(running, another) == found
    # Both go on side by side: neither takes partitions from the other.
    running.start("sink of another", "sink", NANOTALLY_DATABASE=another)
    running.use(200)
    running.reconcile()
    running.reconcile(another)
    running.stop("sink of another")
    assert content(running, another) == content(running, running.environment.database)


def test_uses_that_come_while_a_database_is_filled_are_left_to_its_sink(
    services: Addresses, another: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a partition was empty when it began: what Kafka holds at the end says nothing about the beginning."""
    with installed(services, tmp_path) as world:
        bounds, come = TopicReader.bounds, iter([True])

        def uses_come() -> None:
            world.use(200)
            _, _, err = world.run("reconcile", "--ledger", "--wait", "0.1")
            assert "204 records of usage are not priced yet, and not compared" in err  # a control each
            world.start("payers", "payers")
            world.start("accounts", "accounts")
            world.reconcile_ledger()

        async def with_uses_after_the_charges(reader: TopicReader, topic: str) -> dict[int, tuple[int, int]]:
            if topic == "payer_tallies" and next(come, False):
                await asyncio.to_thread(uses_come)
            return await bounds(reader, topic)

        monkeypatch.setattr(TopicReader, "bounds", with_uses_after_the_charges)
        code, _, err = world.run("sink", "replay", "--database", another)
        assert (code, err) == (0, "")
        world.start("sink", "sink", NANOTALLY_DATABASE=another)
        world.reconcile(another)
        assert content(world, another)["charges"][0] == 200


def test_what_the_topics_forgot_is_told_and_the_rest_goes_on(running: Installed, another: str) -> None:
    topic = running.environment.topic
    with admin.admin_client(running.environment.kafka) as client:
        client.delete_records({TopicPartition(topic("payer_tallies"), 1): -1})
    code, _, err = running.run("sink", "replay", "--database", another)
    assert code == 0 and "payer_tallies: the oldest offsets are gone from Kafka (" in err
    assert content(running, another)["charges"] == content(running, running.environment.database)["charges"]
    sink = running.start("sink after", "sink", NANOTALLY_DATABASE=another)
    until("it has taken its partitions over", lambda: "payer_tallies[1] opened at offset" in sink.log)
    running.use(100)
    running.reconcile(another)
    running.stop("sink after")


def test_a_backup_made_under_load_is_restored_and_the_sink_goes_on(
    running: Installed, another: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, run = f"test-{another}", backup._tried

    def with_uses_in_between(clickhouse: ClickHouse, statement: str, name: str) -> None:
        run(clickhouse, statement, name)
        if statement.startswith("BACKUP"):  # after the positions, and again after the rows
            before = content(running, running.environment.database)["charges"][0]
            running.use(300)
            until("they are sunk", lambda: content(running, running.environment.database)["charges"][0] >= before + 300)

    monkeypatch.setattr(backup, "_tried", with_uses_in_between)
    code, out, err = running.run("backup", "create", name)
    assert code == 0, err
    assert f"backed up as {name}" in out and "the sink goes on at " in out
    monkeypatch.setattr(backup, "_tried", run)
    code, _, err = running.run("backup", "create", name)
    assert code == ExitCode.INVALID and f"there is a backup {name} already" in err
    code, _, err = running.run("backup", "restore", name)
    assert code == ExitCode.INVALID and "is there, with" in err and "DROP DATABASE" in err

    running.stop("sink")
    drop_database_of(running)
    code, out, _ = running.run("backup", "restore", name)
    assert code == 0 and f"restored from {name}" in out
    running.use(300)
    running.start("sink", "sink")
    running.reconcile()
    code, _, err = running.run("backup", "restore", "never-made", "--database", another)
    assert code == ExitCode.NOT_FOUND and "there is no whole backup never-made" in err


def drop_database_of(running: Installed) -> None:
    clickhouse = ClickHouse(address_of(running.environment))
    try:
        clickhouse.run(f"DROP DATABASE `{running.environment.database}` SYNC")
    finally:
        clickhouse.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a/b",), "is no name of a backup"),
        (("a", "--where", "Elsewhere('{part}')"), "is no place for a backup"),
        (("a", "--where", "File('{name}')"), "is no place for a backup"),
        (("a", "--where", "File('/nowhere/{name}/{part}')"), "allows no backup there"),
        (("a", "--where", "Disk('nowhere', '{name}/{part}')"), "allows no backup there"),
    ],
)
def test_a_place_where_nothing_can_be_put_is_refused(running: Installed, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = running.run("backup", "create", *arguments)
    assert code == ExitCode.INVALID and said in err, err
