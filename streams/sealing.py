"""Topic `usage` closed to everybody: the broker refuses every record, so nobody can publish into it by mistake."""

from __future__ import annotations

import time
from collections.abc import Iterable

from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from nanotally.streams import admin
from nanotally.streams.errors import Transient
from nanotally.streams.installation import told_of
from nanotally.streams.pipeline.ticks import tick

SETTING = "max.message.bytes"
WITHIN_S = 30.0
PROBE_S = 0.1


def seal(bootstrap: str, topic: str, partitions: Iterable[int]) -> None:
    """From when this returns, no partition of the topic (full name) takes a record. To repeat it does no harm.

    Until the broker follows, probes may get in: ticks, which every stage takes for what they are. Raises Transient."""
    _set(bootstrap, topic, "0")
    try:
        producer = KafkaProducer(bootstrap_servers=bootstrap.split(","), acks="all", linger_ms=0)
        try:
            for partition in partitions:
                _until_refused(producer, topic, partition)
        finally:
            producer.close(timeout=5)
    except (KafkaError, OSError) as e:
        raise Transient(f"Kafka at {bootstrap}: {str(e) or type(e).__name__}; try again") from e


def unseal(bootstrap: str, topic: str) -> None:
    """Lets records in again. Raises Transient."""
    (bytes_max,) = (t.settings[SETTING] for t in admin.TOPICS if t.name == "usage")
    _set(bootstrap, topic, bytes_max)


def why_sealed(bootstrap: str, prefix: str) -> str:
    """What to say of a topic `usage` that takes no records: where the installation goes on, as far as that is known."""
    said = f"topic {prefix}usage is sealed, no ticks are sent until it takes records again"
    try:
        told = told_of(bootstrap, prefix)
    except Transient as e:
        return f"{said}; where the installation goes on cannot be asked just now ({e})"
    if told.moved_to:
        return f"{said}: this installation was moved to {told.moved_to!r} and goes on there"
    if told.moving:
        return f"{said}: `nanotally migrate` is moving this installation to {told.moving['to']!r}"
    return f"{said}: somebody set its {SETTING} so low that it takes none; `nanotally doctor` says what it should be"


def _set(bootstrap: str, topic: str, value: str) -> None:
    with admin.admin_client(bootstrap) as client:
        client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {SETTING: value})])


def _until_refused(producer: KafkaProducer, topic: str, partition: int) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while True:
        try:
            producer.send(topic, value=tick(partition, -1), partition=partition).get(timeout=WITHIN_S)
        except (MessageSizeTooLargeError, RecordListTooLargeError):
            return
        if time.monotonic() > deadline_s:
            raise Transient(f"{topic}[{partition}] still takes records {WITHIN_S:.0f} s after it was closed to them")
        time.sleep(PROBE_S)
