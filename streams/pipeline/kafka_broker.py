"""The log on a real Kafka cluster, by aiokafka (which Faust brings) and kafka-python's admin client for topic ids."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    ProducerFenced,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from nanotally.streams.admin import admin_client
from nanotally.streams.aiokafka_tuning import tune_aiokafka
from nanotally.streams.domain.records import Emission
from nanotally.streams.errors import BrokenInvariant, Transient
from nanotally.streams.pipeline.broker import LogBatch, Taken, TopicFacts

log = logging.getLogger(__name__)

BATCH_BYTES = 4 << 20  # before compression; topics of outputs take 8 MiB
REQUEST_BYTES = 8 << 20
READ_BYTES = 8 << 20
ASK_TIMEOUT_S = 5.0
POLL_MS = 50  # a log that ends in control records is known to be read only after an empty poll
RETRY_BACKOFF_MS = 20
TRANSACTION_TIMEOUT_MS = 15_000  # what a dead worker left open holds back readers for so long at most
FOR_GOOD = (  # errors that trying again does not mend
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
CLOSE_TIMEOUT_S = 5.0


class KafkaBroker:
    """A `Broker`. Topics get the prefix; transactions carry the offsets of `group`, so that lag shows."""

    def __init__(self, servers: str, *, prefix: str, group: str) -> None:
        tune_aiokafka()
        self._servers = servers.split(",")
        self._prefix = prefix
        self._group = group
        self._facts: dict[str, TopicFacts] = {}
        self._widths: Mapping[str, int] = {}
        self._asking = asyncio.Lock()
        self._asker: Any = None  # answers for offsets; read_log has a reader of its own each time

    async def describe(self, topic: str) -> TopicFacts:
        if topic not in self._facts:
            facts = await asyncio.to_thread(self._describe, self._prefix + topic)
            self._facts[topic] = replace(facts, partitions=self._widths.get(topic, facts.partitions))
        return self._facts[topic]

    def narrow(self, widths: Mapping[str, int]) -> None:
        """From now on topics are described with so many partitions, whatever was added to them."""
        self._widths = widths
        self._facts.clear()

    def _describe(self, name: str) -> TopicFacts:
        with admin_client(",".join(self._servers), ASK_TIMEOUT_S) as admin:
            cluster = admin.describe_cluster()
            (found,) = admin.describe_topics([name])
        if found["error_code"] or not found["partitions"]:
            raise Transient(f"there is no topic {name} at {','.join(self._servers)} yet; `nanotally doctor` says more")
        return TopicFacts(cluster["cluster_id"], str(found["topic_id"]), len(found["partitions"]))

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        tp = TopicPartition(self._prefix + topic, partition)
        async with self._asking:
            self._asker = self._asker or await self._reader()
        try:
            return (await self._asker.beginning_offsets([tp]))[tp], (await self._asker.end_offsets([tp]))[tp]
        except KafkaError as e:
            raise Transient(f"the bounds of {tp.topic}[{partition}] cannot be read: {e!r}") from e

    async def written(self, topic: str, partition: int) -> int:
        # The partition's leader answers. One that has just become it does not before its high watermark is at least
        # what the one before it may have told (KIP-207).
        tp = TopicPartition(self._prefix + topic, partition)
        reader = await self._reader("read_uncommitted")
        try:
            end: int = (await reader.end_offsets([tp]))[tp]
        except KafkaError as e:
            raise Transient(f"the end of {tp.topic}[{partition}] cannot be read: {e!r}") from e
        finally:
            await reader.stop()
        return end

    async def read_log(
        self, topic: str, partition: int, from_offset: int, to_offset: int | None = None
    ) -> AsyncIterator[LogBatch]:
        tp = TopicPartition(self._prefix + topic, partition)
        reader = await self._reader()
        try:
            reader.assign([tp])
            end = (await reader.end_offsets([tp]))[tp]
            end = end if to_offset is None else min(end, to_offset)
            reader.seek(tp, from_offset)
            while await reader.position(tp) < end:
                for records in (await reader.getmany(tp, timeout_ms=POLL_MS)).values():
                    batch = _batch(records, end)
                    if len(batch.values):
                        yield batch
        except OffsetOutOfRangeError as e:
            raise BrokenInvariant(
                f"{tp.topic}[{partition}] has no offset {from_offset} any more: records were deleted that are needed"
            ) from e
        except KafkaError as e:
            raise Transient(f"{tp.topic}[{partition}] cannot be read: {e!r}") from e
        finally:
            await reader.stop()

    async def _reader(self, isolation: str = "read_committed") -> Any:
        reader = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            isolation_level=isolation,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=POLL_MS,
            max_partition_fetch_bytes=READ_BYTES,
        )
        try:
            await reader.start()
        except KafkaError as e:
            await reader.stop()
            raise Transient(f"Kafka at {','.join(self._servers)} does not answer: {e!r}") from e
        return reader

    async def fence(self, stage: str, partition: int) -> KafkaTransactions:
        name = f"{self._prefix}{stage}-{partition}"
        producer = AIOKafkaProducer(
            bootstrap_servers=self._servers,
            transactional_id=name,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            max_request_size=REQUEST_BYTES,
            compression_type="lz4",
            retry_backoff_ms=RETRY_BACKOFF_MS,
        )
        transactions = KafkaTransactions(producer, name, self._prefix, self._group)
        try:
            await producer.start()  # InitProducerId: fences the previous owner and aborts what it left open
        except KafkaError as e:
            await transactions.close()
            raise Transient(f"{name} cannot be taken over: {e!r}") from e
        except BaseException:
            await transactions.close()
            raise
        return transactions

    async def close(self) -> None:
        """Closes what is shared; what `fence` gave is closed by its owner."""
        if self._asker:
            await self._asker.stop()
            self._asker = None


class KafkaTransactions:
    """`Transactions` of one transactional id."""

    def __init__(self, producer: Any, name: str, prefix: str, group: str) -> None:
        self._producer = producer
        self._name = name
        self._prefix = prefix
        self._group = group

    async def transact(self, emissions: Sequence[Emission], taken: Taken) -> dict[tuple[str, int], int]:
        try:
            return await self._transact(emissions, taken)
        except (ProducerFenced, InvalidProducerEpoch) as e:
            raise Transient(
                f"another worker has taken over {self._name}, or its transaction stayed open for more than "
                f"{TRANSACTION_TIMEOUT_MS / 1000:.0f} s: this process may write no more"
            ) from e
        except FOR_GOOD as e:
            raise BrokenInvariant(f"{self._name} cannot write: {e!r}") from e
        except KafkaError as e:
            raise Transient(f"the transaction of {self._name} failed: {e!r}") from e

    async def _transact(self, emissions: Sequence[Emission], taken: Taken) -> dict[tuple[str, int], int]:
        producer = self._producer
        await producer.begin_transaction()
        sent = [
            (emission, batch, await producer.send_batch(batch, topic, partition=emission.partition))
            for emission, topic in ((e, self._prefix + e.topic) for e in emissions)
            for batch in self._batches(emission)
        ]
        places = await asyncio.gather(*(future for _, _, future in sent))
        if any(place.offset < 0 for place in places):
            raise Transient(f"{self._name}: records were sent twice, and the broker does not say where they are")
        ends = {  # the place of a batch is that of its first record; the last batch of a partition wins
            (emission.topic, emission.partition): place.offset + batch.record_count()
            for (emission, batch, _), place in zip(sent, places, strict=True)
        }
        # Only now: offsets sent while records are in flight are refused and sent again after a wait.
        tp = TopicPartition(self._prefix + taken.topic, taken.partition)
        await producer.send_offsets_to_transaction({tp: taken.next_offset}, self._group)
        await producer.commit_transaction()
        return ends

    def _batches(self, emission: Emission) -> Iterator[Any]:
        """The records in as few batches as they fit in."""
        now_ms = time.time_ns() // 1_000_000  # when it was written: for people, no result depends on it
        batch = self._producer.create_batch()
        for key, value in zip(emission.keys, emission.values, strict=True):
            if batch.append(timestamp=now_ms, key=key, value=value) is None:
                batch.close()
                yield batch
                batch = self._producer.create_batch()
                batch.append(timestamp=now_ms, key=key, value=value)
        if batch.record_count():
            batch.close()
            yield batch

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self._producer.stop(), CLOSE_TIMEOUT_S)
        except Exception as e:  # noqa: BLE001  the next owner fences whatever is left
            log.info("the producer of %s did not end cleanly: %r", self._name, e)


def _batch(records: Sequence[Any], end: int) -> LogBatch:
    """The records before `end`."""
    n = len(records)
    offsets = np.fromiter((r.offset for r in records), np.int64, n)
    n = int(np.searchsorted(offsets, end))
    return LogBatch(offsets[:n], [r.value for r in records[:n]])
