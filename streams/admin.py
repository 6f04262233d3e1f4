"""The topics: their partitions and settings, made once and checked by `nanotally doctor`.

The number of partitions is fixed at creation: it decides which partition a payer's or account's records are in, and
all state and every row key hang on that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from nanotally.streams.errors import InvalidInput, Transient
from nanotally.streams.replicas import replica_settings, replicas_wanted

PARTITIONS = 4
ACCOUNT_PARTITIONS = 2
KEPT = -1  # retention without limit
DAY_MS = 86_400_000
MIB = 1 << 20
GONE_WITHIN_S = 30.0


@dataclass(frozen=True)
class Topic:
    """A topic as it must be. `per` says which number of partitions it has: 'payers', 'accounts' or 'one'."""

    name: str
    per: str
    retention_ms: int
    message_bytes_max: int = 8 * MIB

    @property
    def settings(self) -> dict[str, str]:
        """Kafka's settings. The broker's time everywhere: neither skew nor retention may hang on a client's clock."""
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "retention.bytes": str(KEPT),
            "max.message.bytes": str(self.message_bytes_max),
            "message.timestamp.type": "LogAppendTime",
        }


# What state is rebuilt from is kept for good; usage beyond the longest outage; the rest until it is sunk.
TOPICS = (
    Topic("usage", "payers", 7 * DAY_MS, message_bytes_max=1 * MIB),
    Topic("charges", "payers", KEPT),
    Topic("payer_tallies", "payers", 30 * DAY_MS),
    Topic("statements", "payers", 30 * DAY_MS),
    Topic("rejects", "payers", 30 * DAY_MS),
    Topic("earnings", "accounts", KEPT),
    Topic("account_tallies", "accounts", KEPT),
    Topic("payouts", "accounts", 30 * DAY_MS),
    Topic("books", "one", KEPT),
    Topic("redrives", "one", KEPT),
    Topic("installation", "one", KEPT),
)


@dataclass(frozen=True)
class Finding:
    """What is wrong with a topic, and what to do about it. `topic` is the logical name."""

    topic: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.problem}; {self.remedy}"


@contextmanager
def admin_client(bootstrap: str, timeout_s: float = 15.0) -> Iterator[KafkaAdminClient]:
    """A connected client for `host:port` (several with commas). Any error of Kafka's becomes Transient."""
    timeout_ms = int(timeout_s * 1000)
    try:
        with KafkaAdminClient(
            bootstrap_servers=bootstrap.split(","),
            client_id="nanotally-admin",
            request_timeout_ms=timeout_ms,
            bootstrap_timeout_ms=timeout_ms,
        ) as client:
            yield client
    except KafkaError as e:
        raise Transient(f"Kafka at {bootstrap} cannot be asked: {e}") from e


def cluster_id(bootstrap: str) -> str:
    """Kafka's own name of the cluster. Raises Transient."""
    with admin_client(bootstrap) as client:
        return str(client.describe_cluster()["cluster_id"])


def partition_counts(bootstrap: str, prefix: str = "") -> dict[str, int]:
    """Number of partitions by logical name, of those of our topics that exist. Raises Transient."""
    with admin_client(bootstrap) as client:
        return _counts(client, prefix)


def create_topics(
    bootstrap: str,
    prefix: str = "",
    partitions: int = PARTITIONS,
    account_partitions: int = ACCOUNT_PARTITIONS,
    replicas: int = 0,
) -> list[str]:
    """Make the topics that are missing; returns their logical names, once every partition has a leader. replicas: on
    how many brokers, 0 for as many as there are, three at most.

    Raises InvalidInput when a topic exists with another number of partitions or more replicas are asked for than there
    are brokers, Transient when Kafka cannot be asked."""
    wanted = {"payers": partitions, "accounts": account_partitions, "one": 1}
    if min(wanted.values()) < 1:
        raise InvalidInput(f"{min(wanted.values())} partitions are none; write 1 or more")
    with admin_client(bootstrap) as client:
        there = _counts(client, prefix)
        for topic in TOPICS:
            count = there.get(topic.name, wanted[topic.per])
            if count != wanted[topic.per]:
                raise InvalidInput(
                    f"topic {prefix}{topic.name} has {count} partitions, not {wanted[topic.per]}; their number is "
                    f"fixed at creation, since row keys and state hang on it: ask for {count}, or go on with more in a "
                    "new installation: `nanotally migrate` (docs/operations.md, 'More partitions')"
                )
        missing = [topic for topic in TOPICS if topic.name not in there]
        if missing:
            copies = replicas_wanted(len(client.describe_cluster()["brokers"]), replicas)
            _create(client, prefix, missing, wanted, copies)
    return [topic.name for topic in missing]


def ensure_topic(bootstrap: str, prefix: str, name: str) -> None:
    """Makes one of the topics that has one partition (logical name), where it is missing. Raises Transient."""
    with admin_client(bootstrap) as client:
        if name not in _counts(client, prefix):
            copies = replicas_wanted(len(client.describe_cluster()["brokers"]))
            _create(client, prefix, [topic for topic in TOPICS if topic.name == name], {"one": 1}, copies)


def check_topics(bootstrap: str, prefix: str = "") -> list[Finding]:
    """What differs from how the topics must be: missing ones, numbers that do not fit together, other settings.

    Raises Transient when Kafka cannot be asked."""
    with admin_client(bootstrap) as client:
        counts = _counts(client, prefix)
        settings = _settings(client, prefix, list(counts))
    findings = [
        Finding(topic.name, "is missing", "make it with `make up`") for topic in TOPICS if topic.name not in settings
    ]
    findings += _uneven(counts)
    for topic in TOPICS:
        seen = settings.get(topic.name, topic.settings)
        for name, right in topic.settings.items():
            if seen.get(name) != right and not (name == "retention.ms" and _is_longer(seen.get(name), right)):
                command = f"kafka-configs --alter --topic {prefix}{topic.name} --add-config {name}={right}"
                findings.append(Finding(topic.name, f"{name} is {seen.get(name)}, not {right}", f"mend: {command}"))
    return findings


def retentions(bootstrap: str, prefix: str = "") -> dict[str, int]:
    """How long each of our topics keeps records, in ms (KEPT: without limit), by logical name. Raises Transient."""
    with admin_client(bootstrap) as client:
        settings = _settings(client, prefix, list(_counts(client, prefix)))
    return {name: int(seen["retention.ms"]) for name, seen in settings.items()}


def _is_longer(seen: str | None, right: str) -> bool:
    """Whether records are kept longer than they must be, which does no harm."""
    return seen is not None and int(right) != KEPT and (int(seen) == KEPT or int(seen) > int(right))


def delete_topics(bootstrap: str, prefix: str) -> list[str]:
    """Delete our topics with that prefix, and nothing else; returns their logical names, once they are gone.

    Raises Transient when Kafka cannot be asked or refuses."""
    with admin_client(bootstrap) as client:
        there = list(_counts(client, prefix))
        if there:
            reply = client.delete_topics([prefix + name for name in there], raise_errors=False)
            _refuse_errors(reply["topics"], "deleted", UnknownTopicOrPartitionError)
        deadline = time.monotonic() + GONE_WITHIN_S
        while _counts(client, prefix):  # a broker forgets a moment after the controller has
            if time.monotonic() > deadline:
                raise Transient(f"topics {prefix}* are still there {GONE_WITHIN_S:.0f} s after their deletion")
            time.sleep(0.05)
    return there


def _counts(client: Any, prefix: str) -> dict[str, int]:
    """Partitions by logical name of those that exist; listing never makes a topic, asking by name might."""
    ours = {prefix + topic.name: topic.name for topic in TOPICS}
    return {ours[seen["name"]]: len(seen["partitions"]) for seen in client.describe_topics() if seen["name"] in ours}


def _create(client: Any, prefix: str, missing: list[Topic], wanted: Mapping[str, int], replicas: int) -> None:
    """Make them and wait for their leaders; another command that makes the same at the same time is welcome."""
    reply = client.create_topics(
        {
            prefix + topic.name: {
                "num_partitions": wanted[topic.per],
                "replication_factor": replicas,
                "configs": {**topic.settings, **replica_settings(replicas)},
            }
            for topic in missing
        },
        raise_errors=False,
    )
    _refuse_errors(reply["topics"], "made", TopicAlreadyExistsError)
    client.wait_for_topics([prefix + topic.name for topic in missing], timeout_ms=30_000)


def _refuse_errors(results: list[dict[str, Any]], done: str, welcome: type[KafkaError]) -> None:
    """Raises Transient with the first error that is not the welcome one."""
    for result in results:
        error = for_code(result["error_code"])
        if result["error_code"] and error is not welcome:
            said = f"{error.__name__} {result.get('error_message') or ''}".rstrip()
            raise Transient(f"topic {result['name']} cannot be {done}: {said}")


def _uneven(counts: Mapping[str, int]) -> list[Finding]:
    """Topics that must have as many partitions as usage or earnings and do not."""
    leaders = {"payers": counts.get("usage"), "accounts": counts.get("earnings"), "one": 1}
    return [
        Finding(
            topic.name,
            f"has {counts[topic.name]} partitions, not {leaders[topic.per]}",
            "Kafka takes no partition away; go on in a new installation: `nanotally migrate` (docs/operations.md)",
        )
        for topic in TOPICS
        if topic.name in counts and leaders[topic.per] not in (None, counts[topic.name])
    ]


def _settings(client: Any, prefix: str, names: list[str]) -> dict[str, dict[str, str]]:
    """Settings in force by logical name; one that has just been deleted is left out."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, prefix + name) for name in names]
    found = client.describe_configs(resources, config_filter="all").get("topic", {})
    return {
        name: {key: str(entry["value"]) for key, entry in found[prefix + name].items()}
        for name in names
        if found.get(prefix + name)
    }
