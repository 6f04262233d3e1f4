"""Which Kafka a database belongs to: offsets mean nothing in another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanotally.sinks.client import Address, ClickHouse
from nanotally.streams.errors import BrokenInvariant


@dataclass(frozen=True)
class TopicIdentity:
    """A topic as Kafka knows it: the cluster's id, the topic's id (new with each creation), its partitions."""

    cluster_id: str
    topic_id: str
    partitions: int


def claim(address: Address, topics: Mapping[str, TopicIdentity]) -> None:
    """Stores which topics (logical names) this database is written from, or compares with what is stored.

    Raises BrokenInvariant where the database belongs to another Kafka or to topics that were there before."""
    clickhouse = ClickHouse(address)
    try:
        stored = _stored(clickhouse)
        for topic in sorted(topics):
            if topic not in stored:
                found = topics[topic]
                clickhouse.query(
                    "INSERT INTO identity (topic, topic_id, cluster_id, partitions) SELECT {topic:String}, "
                    "{topic_id:String}, {cluster_id:String}, {partitions:UInt16} "
                    "WHERE {topic:String} NOT IN (SELECT topic FROM identity)",
                    {"topic": topic, **found.__dict__},
                )
        # Read again: another sink may have claimed it at the same time.
        stored = _stored(clickhouse)
    finally:
        clickhouse.close()
    for topic, found in topics.items():
        for claimed in stored[topic]:
            if claimed != found:
                raise BrokenInvariant(_difference(address, topic, claimed, found))


def differences(clickhouse: ClickHouse, topics: Mapping[str, TopicIdentity]) -> list[tuple[str, str, str]]:
    """Topics of which the database stores something else than Kafka says: name, what is stored, what Kafka says.

    Claims nothing: of a topic that nobody has claimed there is nothing to say."""
    stored = _stored(clickhouse)
    return [
        (topic, _told(claimed), _told(topics[topic]))
        for topic in sorted(topics)
        for claimed in stored.get(topic, ())
        if claimed != topics[topic]
    ]


def _told(one: TopicIdentity) -> str:
    return f"cluster {one.cluster_id}, topic id {one.topic_id}, {one.partitions} partitions"


def _stored(clickhouse: ClickHouse) -> dict[str, list[TopicIdentity]]:
    found: dict[str, list[TopicIdentity]] = {}
    for topic, *fields in clickhouse.query("SELECT topic, cluster_id, topic_id, partitions FROM identity"):
        found.setdefault(topic, []).append(TopicIdentity(*fields))
    return found


def _difference(address: Address, topic: str, claimed: TopicIdentity, found: TopicIdentity) -> str:
    remedy = "use another database (NANOTALLY_DATABASE), or the Kafka that it was filled from"
    if claimed.cluster_id != found.cluster_id:
        return (
            f"database {address!r} holds the ledger of Kafka cluster {claimed.cluster_id}, but this Kafka is "
            f"{found.cluster_id}; {remedy}"
        )
    if claimed.topic_id != found.topic_id:
        return (
            f"database {address!r} was filled from topic {topic} with id {claimed.topic_id}, but it was created anew "
            f"since, with id {found.topic_id}: its offsets mean other records; {remedy}"
        )
    return (
        f"topic {topic} has {found.partitions} partitions, but database {address!r} was filled from "
        f"{claimed.partitions}: their number is fixed at creation; {remedy}"
    )
