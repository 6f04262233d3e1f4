"""Topics and records on a real broker, for tests of the stages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka import KafkaAdminClient
from kafka.admin import NewTopic


def create_topics(kafka: str, prefix: str, topics: Mapping[str, int]) -> None:
    """Creates PREFIX + name with so many partitions each; `usage` gets the broker's time."""
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    configs = {True: {"message.timestamp.type": "LogAppendTime"}, False: {"max.message.bytes": str(8 << 20)}}
    try:
        admin.create_topics(
            [NewTopic(prefix + name, n, 1, topic_configs=configs[name == "usage"]) for name, n in topics.items()]
        )
        until = time.monotonic() + 20
        while any(not found["partitions"] for found in admin.describe_topics([prefix + name for name in topics])):
            assert time.monotonic() < until, "the topics do not come up"
    finally:
        admin.close()


async def publish(kafka: str, topic: str, by_partition: Mapping[int, Sequence[bytes]]) -> None:
    """Writes the values, outside of any transaction."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_batch_size=500_000, compression_type="lz4")
    await producer.start()
    try:
        for partition, values in by_partition.items():
            batch = producer.create_batch()
            for value in values:
                if batch.append(timestamp=None, key=None, value=value) is None:
                    await producer.send_batch(batch, topic, partition=partition)
                    batch = producer.create_batch()
                    batch.append(timestamp=None, key=None, value=value)
            if batch.record_count():
                await producer.send_batch(batch, topic, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()


async def committed(kafka: str, topic: str, partitions: int) -> dict[int, list[bytes | None]]:
    """All committed values by partition, up to the end as of now."""
    tps = [TopicPartition(topic, p) for p in range(partitions)]
    reader = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    await reader.start()
    try:
        reader.assign(tps)
        ends = await reader.end_offsets(tps)
        await reader.seek_to_beginning(*tps)
        values: dict[int, list[bytes | None]] = {p: [] for p in range(partitions)}
        for tp in tps:
            while await reader.position(tp) < ends[tp]:
                for records in (await reader.getmany(tp, timeout_ms=50)).values():
                    values[tp.partition] += [r.value for r in records]
        return values
    finally:
        await reader.stop()


def read_committed(kafka: str, topic: str, partitions: int) -> dict[int, list[bytes | None]]:
    """`committed`, for tests that are not asynchronous."""
    return asyncio.run(committed(kafka, topic, partitions))
