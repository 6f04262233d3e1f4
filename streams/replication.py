"""Is each record on as many brokers as it can be, and what makes it so: for our topics and Kafka's own two.

    python -m nanotally.streams.replication

gives every partition the replicas that it lacks, while everything goes on, and then has Kafka acknowledge nothing that
is on fewer than two of three brokers. To run it again does no harm.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from nanotally.streams.admin import TOPICS, Finding, admin_client
from nanotally.streams.environment import Environment
from nanotally.streams.errors import NanotallyError, Transient
from nanotally.streams.replicas import replica_settings, replicas_wanted

OFFSETS = "__consumer_offsets"
KAFKAS_OWN = ("__transaction_state", OFFSETS)
IN_SYNC = "min.insync.replicas"
COMMAND = "python -m nanotally.streams.replication"
COPIED_WITHIN_S = 3600.0  # of waiting without any partition done


@dataclass(frozen=True)
class Copies:
    """Where the partitions of a topic are. replicas, in_sync: broker numbers by partition, the preferred leader first;
    settings: Kafka's names."""

    topic: str
    replicas: Mapping[int, Sequence[int]]
    in_sync: Mapping[int, Sequence[int]]
    settings: Mapping[str, str]

    @property
    def least(self) -> int:
        return min(len(brokers) for brokers in self.replicas.values())


def faults(bootstrap: str, prefix: str = "", asked: int = 0) -> list[Finding]:
    """What is kept on fewer brokers than it could be, or is at the moment. asked: NANOTALLY_REPLICAS, 0 for as many as
    there are, three at most. Raises Transient when Kafka cannot be asked."""
    with admin_client(bootstrap) as client:
        wanted = asked or replicas_wanted(len(client.describe_cluster()["brokers"]))
        found = _copies(client, prefix)
    return [finding for copies in found for finding in _faults_of(copies, prefix, wanted)]


def _faults_of(copies: Copies, prefix: str, wanted: int) -> list[Finding]:
    told: list[tuple[str, str]] = []
    if copies.least < wanted:
        said = f"is on {copies.least} of {wanted} brokers: with the disk of one, what was acknowledged may be lost"
        told.append((said, f"mend: {COMMAND}"))
    for name, right in _lacking(copies, replica_settings(copies.least)).items():
        told.append((f"{name} is {copies.settings.get(name)}, not {right}", f"mend: {COMMAND}"))
    behind = [set(copies.replicas[p]) - set(copies.in_sync[p]) for p in copies.replicas]
    away = ", ".join(str(broker) for broker in sorted(set().union(*behind)))
    if away:
        said = f"broker {away} lacks what was last written, in {sum(map(bool, behind))} of {len(behind)} partitions"
        told.append((said, "start it; it catches up by itself"))
    name = copies.topic if copies.topic in KAFKAS_OWN else copies.topic.removeprefix(prefix)
    return [Finding(name, problem, remedy) for problem, remedy in told]


def _lacking(copies: Copies, right: Mapping[str, str]) -> dict[str, str]:
    """The settings that are less safe than they should be, or let nothing be written; as they should be."""

    def is_well(name: str, value: str) -> bool:
        seen = copies.settings.get(name, "")
        if name != IN_SYNC or not seen.isdigit():
            return seen == value
        # No position hangs on the offsets of groups: they show lag only, and Kafka has them on one at least.
        least = 1 if copies.topic == OFFSETS else int(value)
        return least <= int(seen) <= max(copies.least, int(value))

    return {name: value for name, value in right.items() if not is_well(name, value)}


def mend(bootstrap: str, prefix: str, asked: int, say: Callable[[str], None]) -> list[str]:
    """Gives each topic the replicas and settings that it lacks; returns the topics that lacked any, once all is there.

    Raises Transient when Kafka cannot be asked or a copy gets no further, InvalidInput as `faults`."""
    with admin_client(bootstrap) as client:
        known = client.describe_cluster()["brokers"]
        brokers = sorted(broker["broker_id"] for broker in known if not broker.get("is_fenced"))
        wanted = replicas_wanted(len(known), asked)
        found = _copies(client, prefix)
        moves = {
            TopicPartition(copies.topic, p): more(there, brokers, wanted, p)
            for copies in found
            for p, there in copies.replicas.items()
            if len(there) < wanted
        }
        if moves and len(brokers) < wanted:
            raise Transient(f"{len(brokers)} of {len(known)} brokers run; start the others, then run it again")
        if moves:
            say(f"{len(moves)} partitions get {wanted} replicas on brokers {', '.join(map(str, brokers))}")
            _refuse(client.alter_partition_reassignments(moves))
            _wait(client, moves, say)
        # Only now: while there are fewer copies than must be in sync, nothing could be written.
        changed = {tp.topic for tp in moves} | _strict(client, found, wanted)
    return sorted(changed)


def more(there: Sequence[int], brokers: Sequence[int], wanted: int, partition: int) -> list[int]:
    """Brokers for a partition: those that have it and as many others as are wanted. They lead in turns: of partitions
    that follow each other each broker has as many as any other, one more or less."""
    turn = partition % len(brokers)
    in_turn = [*brokers[turn:], *brokers[:turn]]
    others = [broker for broker in in_turn if broker not in there][: max(wanted - len(there), 0)]
    keep = {*there, *others}
    return [broker for broker in in_turn if broker in keep] + [broker for broker in there if broker not in brokers]


def _strict(client: Any, found: Sequence[Copies], wanted: int) -> set[str]:
    """Sets what is less strict than it should be; the topics."""
    changes = {copies.topic: _lacking(copies, replica_settings(max(copies.least, wanted))) for copies in found}
    changes = {topic: lacking for topic, lacking in changes.items() if lacking}
    if changes:
        client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, t, configs=c) for t, c in changes.items()])
    return set(changes)


def _refuse(answers: Mapping[TopicPartition, Any]) -> None:
    """Raises Transient with the first partition that Kafka does not take."""
    for tp, error in answers.items():
        if error is not None:
            raise Transient(f"{tp.topic}[{tp.partition}] cannot get more replicas: {error.__name__}")


def _wait(client: Any, moves: Mapping[TopicPartition, Sequence[int]], say: Callable[[str], None]) -> None:
    """Until Kafka has copied all."""
    left, since = len(moves), time.monotonic()
    while going := len(client.list_partition_reassignments(list(moves))):
        if going < left:
            left, since = going, time.monotonic()
            say(f"{left} to go")
        if time.monotonic() - since > COPIED_WITHIN_S:
            raise Transient(f"{going} partitions get no further; look at the brokers' logs, then run it again")
        time.sleep(0.2)


def _copies(client: Any, prefix: str) -> list[Copies]:
    """Our topics that exist, and Kafka's own two where they do: it makes them when they are needed first."""
    ours = {prefix + topic.name for topic in TOPICS} | {*KAFKAS_OWN}
    seen = {topic["name"]: topic["partitions"] for topic in client.describe_topics() if topic["name"] in ours}
    if not seen:
        return []
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in seen]
    configs = client.describe_configs(resources, config_filter="all").get("topic", {})
    return [
        Copies(
            name,
            {p["partition_index"]: list(p["replica_nodes"]) for p in partitions},
            {p["partition_index"]: list(p["isr_nodes"]) for p in partitions},
            {key: str(entry["value"]) for key, entry in configs.get(name, {}).items()},
        )
        for name, partitions in sorted(seen.items())
        if partitions and configs.get(name)
    ]


def main() -> int:
    """The command; gives its exit code."""
    try:
        environment = Environment.load()
        changed = mend(environment.kafka, environment.prefix, environment.replicas, print)
    except NanotallyError as e:
        print(e, file=sys.stderr)
        return int(e.exit_code)
    print(f"mended: {', '.join(changed)}" if changed else "nothing to mend")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
