"""Records on a real broker: written and read directly, for tests of the stages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition


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
