"""How many brokers keep a record: what is wanted, what the doctor says where it is not so, and what mends it."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition

from nanotally.streams import replication
from nanotally.streams.commands import examinations
from nanotally.streams.environment import Environment
from nanotally.streams.errors import InvalidInput, Transient
from nanotally.streams.replicas import in_sync_min, replicas_wanted

ROOT = Path(__file__).resolve().parents[2]
SAFE = {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}


def test_as_many_replicas_as_brokers_three_at_most() -> None:
    assert [replicas_wanted(brokers) for brokers in (1, 2, 3, 4, 9)] == [1, 2, 3, 3, 3]
    assert [replicas_wanted(5, asked) for asked in (1, 2, 5)] == [1, 2, 5]
    with pytest.raises(InvalidInput, match="asks for 3 replicas, but 1 broker of Kafka runs;"):
        replicas_wanted(1, 3)


def test_with_three_replicas_what_is_acknowledged_is_on_two() -> None:
    assert [in_sync_min(replicas) for replicas in (1, 2, 3, 5)] == [1, 1, 2, 2]


def test_the_number_asked_for_comes_from_the_environment(tmp_path: Path) -> None:
    assert Environment.load({}, tmp_path).replicas == 0
    environment = Environment.load({"NANOTALLY_REPLICAS": " 3 "}, tmp_path)
    assert environment.replicas == 3 and environment.variables()["NANOTALLY_REPLICAS"] == "3"
    for text in ("0", "-1", "three", "1000"):
        with pytest.raises(InvalidInput, match=r"NANOTALLY_REPLICAS.* is no number of replicas"):
            Environment.load({"NANOTALLY_REPLICAS": text}, tmp_path)


@pytest.mark.parametrize("there", [[1], [4], [3, 2]])
@pytest.mark.parametrize("running", [(1, 2, 3), (1, 2, 3, 4), (2, 3, 5, 7, 8)])
def test_more_replicas_come_in_turns_and_so_does_who_leads(there: list[int], running: tuple[int, ...]) -> None:
    found = [replication.more(there, running, 3, partition) for partition in range(20)]
    assert all(len(set(brokers)) == 3 and {*there} <= {*brokers} for brokers in found)
    assert set().union(*found) == {*running, *there}
    for first in range(20 - len(running)):
        leaders = [brokers[0] for brokers in found[first : first + len(running)]]
        assert sorted(leaders) == [*running], "each one of as many partitions as there are brokers"


def test_a_broker_that_is_away_keeps_its_replicas_and_leads_nothing() -> None:
    assert replication.more([4, 1], (1, 2, 3), 3, 1) == [2, 1, 4]


class FakeAdmin:
    """A cluster: brokers by number, whether they are away; topics with replicas, in sync, settings."""

    def __init__(
        self, brokers: dict[int, bool], topics: dict[str, tuple[list[int], list[int], dict[str, str]]]
    ) -> None:
        self.brokers, self.topics = brokers, topics

    def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": [{"broker_id": number, "is_fenced": away} for number, away in self.brokers.items()]}

    def describe_topics(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "partitions": [{"partition_index": 0, "replica_nodes": replicas, "isr_nodes": in_sync}]}
            for name, (replicas, in_sync, _) in self.topics.items()
        ]

    def describe_configs(self, _: object, config_filter: str) -> dict[str, Any]:
        assert config_filter == "all"
        return {
            "topic": {
                name: {key: {"value": value} for key, value in settings.items()}
                for name, (_, _, settings) in self.topics.items()
            }
        }

    def alter_partition_reassignments(self, moves: dict[TopicPartition, list[int]]) -> dict[TopicPartition, None]:
        for tp, brokers in moves.items():
            _, _, settings = self.topics[tp.topic]
            self.topics[tp.topic] = (brokers, brokers, settings)
        return dict.fromkeys(moves)

    def list_partition_reassignments(self, _: object) -> dict[TopicPartition, object]:
        return {}

    def alter_configs(self, resources: list[Any]) -> None:
        for resource in resources:
            self.topics[resource.name][2].update(resource.configs)


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> FakeAdmin:
    fake = FakeAdmin({1: False, 2: False, 3: False}, {})

    @contextlib.contextmanager
    def connected(_: str) -> Iterator[FakeAdmin]:
        yield fake

    monkeypatch.setattr(replication, "admin_client", connected)
    return fake


def told(asked: int = 0) -> list[str]:
    return [str(finding) for finding in replication.faults("kafka:9092", "p.", asked)]


def test_where_all_is_on_three_brokers_nothing_is_told(admin: FakeAdmin) -> None:
    lag_only = {"min.insync.replicas": "1", "unclean.leader.election.enable": "false"}
    admin.topics = {
        "p.charges": ([1, 2, 3], [3, 1, 2], SAFE),
        "__transaction_state": ([1, 2, 3], [1, 2, 3], SAFE),
        "__consumer_offsets": ([1, 2, 3], [1, 2, 3], lag_only),  # no position hangs on it
        "charges": ([1], [1], {}),  # of another installation
    }
    assert told() == []


def test_each_way_of_being_less_safe_is_told_with_what_mends_it(admin: FakeAdmin) -> None:
    loose = {"min.insync.replicas": "1", "unclean.leader.election.enable": "true"}
    admin.topics = {
        "__transaction_state": ([2], [2], loose | SAFE | {"min.insync.replicas": "1"}),
        "p.books": ([1, 2, 3], [1, 2, 3], dict(loose)),
        "p.charges": ([1, 2, 3], [1, 2], SAFE),
        "p.usage": ([1], [1], dict(SAFE)),
    }
    mends = "mend: python -m nanotally.streams.replication"
    few = "is on 1 of 3 brokers: with the disk of one, what was acknowledged may be lost"
    assert told() == [
        f"__transaction_state: {few}; {mends}",
        f"books: min.insync.replicas is 1, not 2; {mends}",
        f"books: unclean.leader.election.enable is true, not false; {mends}",
        "charges: broker 3 lacks what was last written, in 1 of 1 partitions; start it; it catches up by itself",
        f"usage: {few}; {mends}",
        f"usage: min.insync.replicas is 2, not 1; {mends}",  # nothing can be written
    ]
    changed = replication.mend("kafka:9092", "p.", 0, lambda _: None)
    assert changed == ["__transaction_state", "p.books", "p.usage"]
    assert [line.split(":")[0] for line in told()] == ["charges"]  # only its broker is away


def test_a_broker_that_is_away_still_counts_and_stops_the_mending(admin: FakeAdmin) -> None:
    admin.brokers[3] = True
    admin.topics = {"p.usage": ([1, 2], [1, 2], dict(SAFE))}
    assert told()[0].startswith("usage: is on 2 of 3 brokers")
    with pytest.raises(Transient, match="2 of 3 brokers run; start the others"):
        replication.mend("kafka:9092", "p.", 0, lambda _: None)
    assert told(asked=2) == [], "two of two is stricter than it must be, which is left as it is"


def test_the_doctor_calls_kafkas_own_topics_by_their_name_and_ours_with_their_prefix(admin: FakeAdmin) -> None:
    admin.topics = {"__transaction_state": ([1], [1], dict(SAFE)), "p.usage": ([1], [1], dict(SAFE))}
    findings = replication.faults("kafka:9092", "p.")
    shown = examinations._topic_faults(Environment(prefix="p."), findings)
    assert {finding.what for finding in shown} == {"topic __transaction_state", "topic p.usage"}


def test_every_producer_waits_until_all_brokers_in_sync_have_it() -> None:
    """acks=all: said, or what idempotence and transactions ask for; Faust's own is only given ticks."""
    calls = [
        (path, node)
        for top in ("streams", "sinks", "infra")
        for path in sorted((ROOT / top).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and any(
            isinstance(n, ast.Name) and n.id in ("KafkaProducer", "AIOKafkaProducer") for n in (node.func, *node.args)
        )
    ]
    assert len(calls) >= 5
    for path, call in calls:
        settings = {k.arg: ast.literal_eval(k.value) for k in call.keywords if isinstance(k.value, ast.Constant)}
        named = {k.arg for k in call.keywords}
        sure = (
            settings.get("acks") == "all" or settings.get("enable_idempotence") is True or "transactional_id" in named
        )
        assert sure and settings.get("acks", "all") == "all", f"{path.relative_to(ROOT)}:{call.lineno}"
