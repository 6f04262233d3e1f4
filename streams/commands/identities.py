"""The topics that go into ClickHouse, as Kafka knows them: which they are, and how far they go."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from nanotally.sinks.identity import TopicIdentity
from nanotally.sinks.tables import TOPICS
from nanotally.streams.environment import Environment
from nanotally.streams.errors import NotFound
from nanotally.streams.pipeline.kafka_broker import KafkaBroker
from nanotally.streams.publisher_ledger import TopicReader


async def identities(environment: Environment, topics: Collection[str] = TOPICS) -> dict[str, TopicIdentity]:
    """By logical name. Raises Transient where Kafka does not answer, or a topic is missing."""
    broker = KafkaBroker(environment.kafka, prefix=environment.prefix, group="")
    try:
        facts = await asyncio.gather(*(broker.describe(topic) for topic in topics))
    finally:
        await broker.close()
    return {
        topic: TopicIdentity(fact.cluster_id, fact.topic_id, fact.partitions)
        for topic, fact in zip(topics, facts, strict=True)
    }


async def ends(environment: Environment) -> dict[tuple[str, int], int]:
    """The offset after the newest committed record, by topic and partition; topics that were never made have none."""
    found: dict[tuple[str, int], int] = {}
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        for topic in TOPICS:
            try:
                bounds = await reader.bounds(topic)
            except NotFound:  # an older release made no topic `redrives`
                continue
            found |= {(topic, partition): end for partition, (_, end) in bounds.items()}
    return found
