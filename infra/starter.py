"""The rule book an installation begins with, so that a first event finds a price."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from nanotally.streams import admin
from nanotally.streams.environment import Environment
from nanotally.streams.tariffs.publishing import Publication, activate, publish_book, read_books
from nanotally.streams.tariffs.reader import examine_tariff
from nanotally.streams.tariffs.settings import read_settings

FOLDER = Path(__file__).parent / "demo"
TARIFF = FOLDER / "media-and-ai.yaml"
SETTINGS = FOLDER / "settings.yaml"


def publish_if_none(environment: Environment, say: Callable[[str], None]) -> None:
    """Publish and activate the starter's tariff where no rule book was ever published; one's own book stays.

    Raises Transient when Kafka cannot be asked, TariffErrors when the starter's files were spoiled."""
    books = read_books(environment.kafka, environment.prefix)
    if not books:
        read = examine_tariff(TARIFF)
        publication = Publication(
            versions=[read.version],
            settings=read_settings(SETTINGS),
            note="the tariff to begin with",
            sources={(read.version.tariff, read.version.version): read.source},
        )
        books = [publish_book(environment.kafka, environment.prefix, publication, time.time_ns() // 1000)]
        say(f"tariff {read.version.tariff} published as rule book {books[0].number}: {TARIFF.name}")
    elif not _has_untold_partition(environment):
        say(f"rule book {books[-1].number} is in force")
        return
    # Also after an earlier try that was cut short between the two; telling a partition twice does no harm.
    activate(environment.kafka, environment.prefix, books[-1])
    say(f"rule book {books[-1].number} activated")


def _has_untold_partition(environment: Environment) -> bool:
    """Whether a partition of `usage` is still empty: then nobody has told it of any book."""
    topic = environment.topic("usage")
    count = admin.partition_counts(environment.kafka, environment.prefix)["usage"]
    partitions = [TopicPartition(topic, p) for p in range(count)]
    consumer = KafkaConsumer(bootstrap_servers=environment.kafka.split(","), enable_auto_commit=False)
    try:
        return any(end == 0 for end in consumer.end_offsets(partitions).values())
    finally:
        consumer.close(autocommit=False)
