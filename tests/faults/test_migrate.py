"""Going on in a new installation with more partitions: nothing is lost, nothing is charged twice, repeats are told."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.errors import MessageSizeTooLargeError

from nanotally.schemas import codec
from nanotally.sinks.client import ClickHouse
from nanotally.sinks.migrate import migrate as make_tables
from nanotally.sinks.sink import address_of
from nanotally.streams import Publisher, admin
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode, InvalidInput
from nanotally.streams.sealing import seal
from nanotally.streams.tariffs.publishing import activate
from tests.support.installed import Installed, installed, until
from tests.support.services import Addresses, drop_database, fresh_database, fresh_prefix
from tests.support.topics import read_committed
from tests.support.worker_process import workers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

WIDE = 8
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
BEGAN = max(datetime.now(UTC) - timedelta(hours=2), TODAY)
STAGES = ("payers", "accounts", "sink")


@pytest.fixture
def world(services: Addresses, tmp_path: Path) -> Iterator[Installed]:
    with installed(services, tmp_path) as found:
        yield found


@pytest.fixture
def wide(world: Installed, services: Addresses, tmp_path: Path) -> Iterator[Installed]:
    """Where it goes on: a prefix and a database that are free, with workers of its own."""
    environment = replace(
        world.environment, prefix=fresh_prefix(), database=fresh_database(), state=tmp_path / "wide-state"
    )
    make_tables(environment.clickhouse, environment.database)
    folder = tmp_path / "wide"
    folder.mkdir()
    with_stage = {}
    managers = {s: workers(f"nanotally.streams.commands worker {s}", environment, folder) for s in STAGES}
    try:
        for stage, manager in managers.items():
            with_stage[f"nanotally.streams.commands worker {stage}"] = manager.__enter__()
        yield Installed(
            environment, lambda name, module, **extra: with_stage[module](name, **extra), {}, iter(range(9))
        )
    finally:
        for manager in managers.values():
            manager.__exit__(None, None, None)
        admin.delete_topics(environment.kafka, environment.prefix)
        drop_database(services.clickhouse, environment.database)


def use(n: int, **other: Any) -> dict[str, Any]:
    """The use of that number: the same whenever it is published."""
    return {
        "meter": "page.view", "payer": f"payer-{n % 50}", "item": f"item-{n % 9}", "creator": f"creator-{n % 5}",
        "event_id": f"e-{n}", "occurred_at": BEGAN + timedelta(milliseconds=n), "quantity": n % 3 + 1, **other,
    }  # fmt: skip


def publish(environment: Environment, numbers: range, **other: Any) -> None:
    with Publisher(environment.kafka, product="news", prefix=environment.prefix) as publisher:
        publisher.publish_batch(use(n, **other) for n in numbers)


def send(environment: Environment, uses: list[dict[str, Any]], partitions: int) -> None:
    """Publishes uses without asking whether any tariff knows them, as if there were so many partitions."""
    producer, sent = KafkaProducer(bootstrap_servers=environment.kafka), []
    for given in uses:
        at_us = int(given["occurred_at"].timestamp() * 1_000_000)
        record = {**given, "occurred_at": at_us, "scale": 0, "product": "news"}
        key = record["payer"].encode()
        value = codec.encode_one("UsageEvent", record)
        place = {"partition": partition_of(key, partitions)}
        sent.append(producer.send(environment.topic("usage"), key=key, value=value, **place))
    for one in sent:
        one.get(timeout=240)
    producer.close()


def charges(environment: Environment, partitions: int) -> dict[str, list[dict[str, Any]]]:
    """Records of the ledger by outcome."""
    found: dict[str, list[dict[str, Any]]] = {}
    for values in read_committed(environment.kafka, environment.topic("charges"), partitions).values():
        for value in values:
            name, record = codec.decode_one(value)
            if name == "Charge":
                found.setdefault(record["outcome"], []).append(record)
    return found


def counts(environment: Environment, partitions: int) -> Counter[str]:
    """Running counts of the payers' stage, over all partitions."""
    total: Counter[str] = Counter()
    for values in read_committed(environment.kafka, environment.topic("charges"), partitions).values():
        chunks = [record for name, record in map(codec.decode_one, values) if name == "Chunk"]
        total.update(chunks[-1]["counts"] if chunks else {})
    return total


def left_in_clickhouse(environment: Environment) -> set[str]:
    """Ids of the uses without a price that are left."""
    clickhouse = ClickHouse(address_of(environment))
    try:
        return {event_id for (event_id,) in clickhouse.query("SELECT event_id FROM unpriced_left")}
    finally:
        clickhouse.close()


def charged_once(*sides: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    """Ids that were charged on any side, each once, with their quantity."""
    found: dict[str, int] = {}
    for side in sides:
        for record in side.get("charged", []):
            event = record["event"]
            assert event["event_id"] not in found, f"{event['event_id']} is charged twice"
            found[event["event_id"]] = event["quantity"]
    return found


def start(installation: Installed, **extra: str) -> None:
    for stage in STAGES:
        installation.start(f"{stage}-{len(installation.members)}", stage, **extra)


@pytest.mark.long(2)
def test_four_partitions_become_eight_with_repeats_across_the_move(world: Installed, wide: Installed) -> None:
    old, new = world.environment, wide.environment
    start(world)
    publish(old, range(600))
    until("the old uses are charged", lambda: counts(old, 4)["charged"] == 600)

    arguments = ("migrate", "--to", new.prefix, "--partitions", str(WIDE))
    code, _, err = world.run(*arguments)
    assert code == ExitCode.INVALID
    assert "begins anew" in err
    assert "--begin-anew" in err
    publish(old, range(600, 700))  # a refusal changes nothing
    unknown = [use(n, meter="nobody.knows") for n in range(2000, 2005)]
    send(old, unknown, partitions=4)  # they have no price, here or there
    code, out, err = world.run(*arguments, "--begin-anew")
    assert code == ExitCode.OK, out + err
    assert "moved: 700 ids are known" in out

    with pytest.raises(InvalidInput, match=f"was moved: publish to '{new.prefix}'"):
        publish(old, range(1))
    producer = KafkaProducer(bootstrap_servers=old.kafka)
    for partition in range(4):
        with pytest.raises(MessageSizeTooLargeError):
            producer.send(old.topic("usage"), value=b"x" * 100, partition=partition).get(timeout=120)
    producer.close()

    publish(new, range(100, 300))  # repeats of what was charged in the old one
    publish(new, range(50, 60), item="another")  # the same ids with another content
    publish(new, range(1000, 1400))
    start(wide)
    until("the new uses are charged", lambda: counts(new, WIDE)["charged"] == 400)
    told = counts(new, WIDE)
    assert told["unpriced.unknown_meter"] == 5
    assert (told["duplicate"], told["rejected.conflict"], told["unpriced.no_tariff"]) == (200, 10, 700)

    before, after = charges(old, 4), charges(new, WIDE)
    found = charged_once(before, after)
    assert found == {f"e-{n}": n % 3 + 1 for n in (*range(700), *range(1000, 1400))}
    known = {record["event"]["event_id"] for record in after["unpriced"]}
    assert known == {f"e-{n}" for n in (*range(700), *range(2000, 2005))}
    wide.close_books()
    wide.reconcile()
    world.reconcile()

    _, out, _ = world.run("doctor")
    assert f"was moved to '{new.prefix}': usage takes no more records" in out
    assert "max.message.bytes" not in out

    code, _, err = world.run(*arguments)  # what was moved is moved: to run it again changes nothing
    assert code == ExitCode.OK, err
    assert charged_once(charges(old, 4), charges(new, WIDE)) == found
    code, out, _ = wide.run("rejects", "list", "--unpriced", "--json")
    assert code == ExitCode.OK
    # Those that had no price go over as what they are; what was charged is known, and waits for no price.
    left = {f"e-{n}" for n in range(2000, 2005)}
    assert {one["use"]["event_id"] for one in json.loads(out)["rejects"]} == left
    assert left_in_clickhouse(new) == left
    clickhouse = ClickHouse(address_of(new))
    try:
        assert clickhouse.query("SELECT reason, records FROM rejects_left WHERE reason = 'unpriced'") == [
            ("unpriced", 5)
        ]
    finally:
        clickhouse.close()


@pytest.mark.long(2)
def test_a_use_that_comes_before_the_tariff_is_in_force_is_no_carried_one(
    world: Installed, wide: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = world.environment, wide.environment
    start(world)
    publish(old, range(100))
    until("the old uses are charged", lambda: counts(old, 4)["charged"] == 100)
    published: list[bool] = []

    def activate_late(kafka: str, prefix: str, book: RuleBook, note: str = "") -> None:
        try:
            publish(new, range(500, 501))
            published.append(True)
        except InvalidInput:  # there is no tariff yet
            published.append(False)
        activate(kafka, prefix, book, note)

    monkeypatch.setattr("nanotally.streams.commands.migrate.activate", activate_late)
    code, out, err = world.run("migrate", "--to", new.prefix, "--partitions", str(WIDE), "--begin-anew")
    assert code == ExitCode.OK, out + err
    assert published == [False, False, True]
    start(wide)
    wide.reconcile()
    assert counts(new, WIDE)["unpriced.no_tariff"] == 101
    listed = json.loads(wide.run("rejects", "list", "--unpriced", "--json")[1])["rejects"]
    assert {one["use"]["event_id"] for one in listed} == left_in_clickhouse(new) == {"e-500"}


@pytest.mark.long(2)
def test_uses_that_went_into_added_partitions_are_charged_in_the_new_installation(
    world: Installed, wide: Installed
) -> None:
    old, new = world.environment, wide.environment
    start(world)
    publish(old, range(200))
    until("the old uses are charged", lambda: counts(old, 4)["charged"] == 200)
    client = KafkaAdminClient(bootstrap_servers=old.kafka)
    client.create_partitions({old.topic("usage"): 6})
    client.close()
    gone = [world.members[name] for name in ("payers-0", "accounts-1")]
    until("the workers have left", lambda: all(worker.process.poll() is not None for worker in gone))
    send(old, [use(n) for n in range(200, 260)], partitions=6)

    code, _, err = world.run("migrate", "--to", new.prefix, "--partitions", str(WIDE), "--begin-anew", "--wait", "1")
    assert code == ExitCode.UNAVAILABLE
    assert "NANOTALLY_LEAVE_ADDED=yes" in err
    for stage in ("payers", "accounts"):
        world.start(f"{stage}-left", stage, NANOTALLY_LEAVE_ADDED="yes")
    code, out, err = world.run("migrate", "--to", new.prefix, "--partitions", str(WIDE), "--begin-anew")
    assert code == ExitCode.OK, out + err
    start(wide)
    everything = {f"e-{n}": n % 3 + 1 for n in range(260)}
    until("all are charged", lambda: len(charged_once(charges(old, 4), charges(new, WIDE))) >= len(everything))
    assert charged_once(charges(old, 4), charges(new, WIDE)) == everything
    assert counts(old, 4)["rejected.wrong_partition"] > 0  # of six partitions, another one than of four
    assert counts(new, WIDE)["charged"] > 0
    wide.reconcile()


@pytest.mark.long(3)
def test_in_the_last_hour_of_a_period_the_new_installation_begins_with_the_next_one(
    world: Installed, wide: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = world.environment, wide.environment
    start(world)
    publish(old, range(100))
    until("the old uses are charged", lambda: counts(old, 4)["charged"] == 100)
    midnight = TODAY + timedelta(days=1)
    late_us = int(midnight.timestamp() - 1800) * 1_000_000
    clock = SimpleNamespace(time_ns=lambda: late_us * 1000, monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr("nanotally.streams.commands.migrate.time", clock)
    code, out, err = world.run("migrate", "--to", new.prefix, "--partitions", str(WIDE), "--begin-anew", "--json")
    assert code == ExitCode.OK, err
    told = json.loads(out)
    assert (told["ids"], told["closed_to"][:10]) == (100, midnight.isoformat()[:10])
    assert not any("running" in one for one in told["begins_anew"])
    publish(new, range(50, 150))
    start(wide)
    until("the new uses are charged", lambda: counts(new, WIDE)["charged"] == 50)
    assert counts(new, WIDE)["duplicate"] == 50
    booked = {record["booked_at"] for record in charges(new, WIDE)["charged"]}
    assert booked == {int(midnight.timestamp()) * 1_000_000}  # in the period that begins, not in the one settled
    wide.reconcile()
    world.reconcile()


@pytest.mark.long(2)
def test_uses_that_still_come_are_told_and_nothing_is_moved(
    world: Installed, wide: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = world.environment, wide.environment
    start(world)
    publish(old, range(20))
    until("the old uses are charged", lambda: counts(old, 4)["charged"] == 20)
    late = iter([use(10_000)])

    def seal_after_a_use(*arguments: Any) -> None:
        """One comes when the books are closed, and before nobody can publish any more."""
        send(old, list(late), partitions=4)
        seal(*arguments)

    monkeypatch.setattr("nanotally.streams.commands.migrate.seal", seal_after_a_use)
    code, _, err = world.run("migrate", "--to", new.prefix, "--partitions", str(WIDE), "--begin-anew")
    assert code == ExitCode.INVALID
    assert "uses came while the books were being closed: stop what publishes" in err
    assert admin.partition_counts(new.kafka, new.prefix) == {}
    code, _, err = world.run("migrate", "--to", new.prefix, "--partitions", str(WIDE), "--begin-anew")
    assert code == ExitCode.OK, err
    start(wide)
    until("the ids are known", lambda: counts(new, WIDE)["unpriced"] == 21)
