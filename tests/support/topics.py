"""Records on a real broker: written and read directly, for tests of the stages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

WITHIN_S = 120.0


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
    """All committed values by partition, of all that is written as of now: what was committed and is not marked as such
    yet is there too, since Kafka answers a commit before it has written the transaction's marks."""
    tps = [TopicPartition(topic, p) for p in range(partitions)]
    reader = _consumer(kafka, "read_committed")
    await reader.start()
    try:
        reader.assign(tps)
        ends = await decided(kafka, tps)
        await reader.seek_to_beginning(*tps)
        values: dict[int, list[bytes | None]] = {p: [] for p in range(partitions)}
        for tp in tps:
            while await reader.position(tp) < ends[tp]:
                for records in (await reader.getmany(tp, timeout_ms=50)).values():
                    values[tp.partition] += [r.value for r in records]
        return values
    finally:
        await reader.stop()


async def decided(kafka: str, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Ends of partitions for readers of committed records, once all that is written now is committed or aborted."""
    everything, certain = _consumer(kafka, "read_uncommitted"), _consumer(kafka, "read_committed")
    await everything.start()
    try:
        await certain.start()
        written = await everything.end_offsets(places)
        deadline = time.monotonic() + WITHIN_S
        while True:
            ends: dict[TopicPartition, int] = await certain.end_offsets(places)
            open_ones = [place for place in places if ends[place] < written[place]]
            if not open_ones:
                return ends
            assert time.monotonic() < deadline, f"transactions stay open for {WITHIN_S:.0f} s in {open_ones}"
            await asyncio.sleep(0.01)
    finally:
        await everything.stop()
        await certain.stop()


def _consumer(kafka: str, isolation: str) -> Any:
    return AIOKafkaConsumer(
        bootstrap_servers=kafka,
        isolation_level=isolation,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )


def read_committed(kafka: str, topic: str, partitions: int) -> dict[int, list[bytes | None]]:
    """`committed`, for tests that are not asynchronous."""
    return asyncio.run(committed(kafka, topic, partitions))
