"""Three brokers: one dies for good, comes back without its disk, two die. What was acknowledged is there, once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from infra.prepare import prepare
from nanotally.streams import admin, replication
from nanotally.streams.commands.examinations import examine
from nanotally.streams.environment import Environment
from nanotally.streams.errors import InvalidInput
from nanotally.streams.tariffs.publishing import closing, send_control
from tests.chaos import books, verdict
from tests.chaos.crew import Crew
from tests.chaos.load import Load
from tests.chaos.uses import Uses, start_of
from tests.chaos.watch import Watch
from tests.support.cluster import BROKERS, TRANSACTIONS, Cluster
from tests.support.services import quiet
from tests.support.worker_process import until

SEED = 11
PER_S = 60.0  # uses
SPAN = timedelta(hours=20)  # that pass in the uses' own time
RECOVERS_WITHIN_S = 400.0
GIVE_UP_S = 10.0
PREFERRED = 0  # kind of an election
END_OF_TIME_US = 2_000_000_000_000_000

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with contextlib.closing(Cluster(tmp_path_factory.mktemp("cluster"))) as found:
        yield found


def findings(cluster: Cluster, prefix: str, asked: int = 0) -> list[str]:
    return [str(finding) for finding in replication.faults(cluster.kafka, prefix, asked)]


def lacking_nothing(cluster: Cluster, prefix: str, asked: int = 0) -> None:
    """Returns when every replica is there and has caught up: on a slow machine one falls behind for a moment."""
    until("every replica has caught up", lambda: findings(cluster, prefix, asked) == [])


def settled(cluster: Cluster, prefix: str, enough: Callable[[list[str]], bool]) -> list[str]:
    """What is told, once it is enough and no replica is only behind."""
    told: list[str] = []

    def asked() -> bool:
        told[:] = findings(cluster, prefix)
        return enough(told) and not any("lacks what was last written" in one for one in told)

    until("it is told", asked)
    return told


def leads(cluster: Cluster, broker: int, prefix: str) -> bool:
    """Whether it leads a part of the ledger and keeps some of the payers' transactions. Kafka chose at random who is
    meant to lead, and nobody who was silent just then; so all are to lead in turns, and are asked to begin."""
    topics = {topic: [*cluster.leaders(topic)] for topic in (f"{prefix}charges", TRANSACTIONS)}
    in_turns = {
        TopicPartition(topic, p): replication.more(BROKERS, BROKERS, len(BROKERS), p)
        for topic, partitions in topics.items()
        for p in partitions
    }
    with admin.admin_client(cluster.kafka) as client:
        client.alter_partition_reassignments(in_turns)
        client.elect_leaders(PREFERRED, topics, raise_errors=False)  # refused where it is not back yet
    coordinators = {cluster.coordinator(f"{prefix}payers-{p}") for p in range(admin.PARTITIONS)}
    return broker in cluster.leaders(f"{prefix}charges").values() and broker in coordinators


def test_topics_that_are_on_too_few_brokers_are_told_and_mended(cluster: Cluster) -> None:
    """Ours, as after an installation grew from one broker to three."""
    admin.create_topics(cluster.kafka, "grown.", 2, 1, replicas=1)
    with pytest.raises(InvalidInput, match="asks for 4 replicas, but 3 brokers of Kafka run"):
        admin.create_topics(cluster.kafka, "other.", replicas=4)
    lacking_nothing(cluster, "grown.", asked=1)
    told = settled(cluster, "grown.", lambda told: len(told) == len(admin.TOPICS))
    assert all("is on 1 of 3 brokers" in one and one.endswith(f"mend: {replication.COMMAND}") for one in told)

    assert len(replication.mend(cluster.kafka, "grown.", 0, quiet)) == len(admin.TOPICS)
    lacking_nothing(cluster, "grown.")
    assert admin.check_topics(cluster.kafka, "grown.") == []
    assert replication.mend(cluster.kafka, "grown.", 0, quiet) == []
    admin.delete_topics(cluster.kafka, "grown.")


def test_kafkas_own_topics_are_told_and_mended_too(cluster: Cluster) -> None:
    name = TRANSACTIONS
    KafkaProducer(bootstrap_servers=cluster.kafka.split(","), transactional_id="first").init_transactions()
    until("it is made", lambda: cluster.leaders(name))
    lacking_nothing(cluster, "")
    loose = {"min.insync.replicas": "1", "unclean.leader.election.enable": "true"}
    with admin.admin_client(cluster.kafka) as client:
        client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=loose)])
        lonely = {TopicPartition(name, p): [leader] for p, leader in cluster.leaders(name).items()}
        client.alter_partition_reassignments(lonely)
    few, unclean = settled(cluster, "", lambda told: len(told) == 2)
    assert few.startswith(f"{name}: is on 1 of 3 brokers")
    assert unclean == f"{name}: unclean.leader.election.enable is true, not false; mend: {replication.COMMAND}"
    assert replication.mend(cluster.kafka, "", 0, quiet) == [name]
    lacking_nothing(cluster, "")


@pytest.mark.long(6)
def test_brokers_that_die_for_good_or_lose_their_disk_lose_nothing(cluster: Cluster, tmp_path: Path) -> None:
    native, http = cluster.clickhouse
    environment = Environment(
        kafka=cluster.kafka,
        clickhouse=native,
        clickhouse_http=http,
        prefix="three.",
        database="three",
        state=tmp_path / "state",
        web_port=cluster.web_port,
    )
    prepare(environment, quiet, book=False)
    books.publish(environment, tmp_path / "tariffs")
    uses = Uses(SEED, start_of(40), SPAN / (PER_S * 120), SPAN)
    with contextlib.ExitStack() as stack:
        crew = stack.enter_context(contextlib.closing(Crew(environment, tmp_path)))
        watch = stack.enter_context(contextlib.closing(Watch(cluster, environment, admin.PARTITIONS)))
        load = Load(environment, uses, PER_S, tmp_path / "arrived.tsv", give_up_s=GIVE_UP_S)
        stack.callback(load.leave)
        crew.start(places=1)
        load.start()
        watch.start()

        def all_goes_on(during: str) -> None:
            """What is published by now is rated and in ClickHouse."""
            watch.during = during
            took_s = watch.recovered(RECOVERS_WITHIN_S)
            assert took_s is not None, f"not within {RECOVERS_WITHIN_S:.0f} s: {during}; {crew.wrong} {load.error!r}"
            print(f"{during}: {took_s:.1f} s")

        all_goes_on("all three are there")
        lacking_nothing(cluster, "three.")

        until("who leads the quorum leads more", lambda: leads(cluster, cluster.quorum_leader(), "three."))
        victim = cluster.quorum_leader()
        cluster.kill(victim)
        crew.kill(crew.of("payers")[0])  # and what it left open is ended by a coordinator that never saw it
        all_goes_on("one is dead")
        until("it is missed", lambda: cluster.registered() == {*BROKERS} - {victim})
        lacking = f"broker {victim} lacks what was last written"
        told: dict[str, str] = {}

        def all_is_told() -> bool:
            told.update((finding.what, finding.state) for finding in examine(environment))
            return all(lacking in told.get(f"topic {topic}", "") for topic in ("three.charges", TRANSACTIONS))

        until("doctor says what is lacking", all_is_told)
        assert f"2 brokers ({victim} away)" in told["Kafka"]
        assert "position of sink" in told, "it looks at the rest all the same"

        cluster.lose_disk(victim)
        cluster.start(victim)
        lacking_nothing(cluster, "three.")  # its empty disk is full again
        all_goes_on("it is back")

        others = sorted({*BROKERS} - {victim})
        cluster.kill(*others)
        for _ in range(2):  # the first to be refused may have been on its way before
            refused, arrived = load.sent_again, load.published
            until("a publisher gives up", lambda refused=refused: load.sent_again > refused or load.error)  # type: ignore[misc]
            assert load.error is None
        assert load.published == arrived, "one broker alone took nothing"
        cluster.start(others[0])
        all_goes_on("the one that lost its disk, and one of the two others")

        load.end()
        send_control(environment.kafka, environment.prefix, closing(END_OF_TIME_US, "end of the test"))
        assert verdict.reconciled(environment) == ""
        found = verdict.audited(environment, cluster.kafka, http, tmp_path / "arrived.tsv")
        assert (found["lost"], found["duplicated"], found["differences"]) == (0, 0, [])
        assert crew.wrong == []
        assert load.sent_again > 0 and found["counts"]["records of usage"] > 0
        print(f"{load.published} uses, longest pause {watch.longest_pause_s:.1f} s of {watch.longest_of}, {found}")
