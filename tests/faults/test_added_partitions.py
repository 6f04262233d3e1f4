"""Partitions that somebody adds with Kafka's own tools: the worker says so and stops, and nothing is priced wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient

from nanotally.schemas import codec
from nanotally.streams import Publisher, admin
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode
from tests.support.installed import Installed, installed, until
from tests.support.services import Addresses
from tests.support.topics import read_committed

USES = 300

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def world(services: Addresses, tmp_path: Path) -> Iterator[Installed]:
    with installed(services, tmp_path) as found:
        yield found


def publish(environment: Environment, first: int, count: int = USES) -> None:
    with Publisher(environment.kafka, product="news", prefix=environment.prefix) as publisher:
        publisher.publish_batch(
            {"meter": "page.view", "payer": f"payer-{n}", "item": "i", "event_id": f"e-{n}"}
            for n in range(first, first + count)
        )


def widen(environment: Environment, *topics: str, partitions: int = 8) -> None:
    """What `kafka-topics --alter --partitions 8` does; returns when everybody sees them."""
    client = KafkaAdminClient(bootstrap_servers=environment.kafka)
    client.create_partitions({environment.topic(topic): partitions for topic in topics})
    client.close()

    def seen() -> bool:
        counts = admin.partition_counts(environment.kafka, environment.prefix)
        return all(counts[topic] == partitions for topic in topics)

    until("the partitions are there", seen)


def charged(environment: Environment) -> dict[str, int]:
    """Ids that were charged, with the partition they were charged in, each once."""
    found: dict[str, int] = {}
    for partition, values in read_committed(environment.kafka, environment.topic("charges"), 4).items():
        for value in values:
            name, record = codec.decode_one(value)
            if name == "Charge" and record["event"]:
                event = record["event"]
                assert event["event_id"] not in found
                assert partition == partition_of(event["payer"].encode(), 4)
                found[event["event_id"]] = partition
    return found


@pytest.mark.slow
def test_a_running_worker_stops_and_says_what_to_do_and_prices_nothing_wrongly(world: Installed) -> None:
    environment = world.environment
    worker = world.start("payers", "payers")
    publish(environment, 0)
    until("all are charged", lambda: len(charged(environment)) == USES)
    with Publisher(environment.kafka, product="news", prefix=environment.prefix) as publisher:
        publisher.use("page.view", payer="before", item="i", event_id="before")
        publisher.flush()
        widen(environment, "usage")
        # Whoever learns of the new partitions sends half of the payers there.
        sent = iter(range(10**6))

        def ended() -> bool:
            n = next(sent)
            publisher.use("page.view", payer=f"after-{n}", item="i", event_id=f"after-{n}")
            publisher.flush()
            return worker.process.poll() is not None

        until("the worker has ended", ended)
    assert worker.process.returncode == ExitCode.INVALID
    assert "usage has 8 partitions, but this installation was made with 4" in worker.log
    assert "nanotally migrate" in worker.log
    found = charged(environment)
    assert found.keys() >= {f"e-{n}" for n in range(USES)}
    assert read_committed(environment.kafka, environment.topic("charges"), 4).keys() == {0, 1, 2, 3}

    again = world.start("again", "payers")  # at its start it says the same
    until("it has ended", lambda: again.process.poll() is not None)
    assert again.process.returncode == ExitCode.INVALID
    assert "nanotally migrate" in again.log
    code, out, _ = world.run("doctor")
    assert code != ExitCode.OK
    assert "was made with 4" in out

    world.start("left", "payers", NANOTALLY_LEAVE_ADDED="yes")  # whatever the others had no time for is still there
    until("what came before is charged", lambda: "before" in charged(environment))


@pytest.mark.slow
def test_the_old_partitions_can_be_worked_off_while_the_added_ones_are_left_aside(world: Installed) -> None:
    environment = world.environment
    publish(environment, 0)
    widen(environment, "usage", "charges", "payer_tallies", "statements", "rejects")
    worker = world.start("payers", "payers", NANOTALLY_LEAVE_ADDED="yes")
    until("all of the old partitions are charged", lambda: len(charged(environment)) == USES)
    until("it holds the added ones too", lambda: len(worker.positions()) == 8)
    until("it says what they wait for", lambda: "nanotally migrate" in str(worker.get("/position")[1]))
    world.stop("payers")
