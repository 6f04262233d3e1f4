"""The publisher's connections to Kafka: an idempotent producer for single uses, readers for rule books and receipts."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import Any, Protocol

from kafka import KafkaProducer
from kafka.errors import KafkaError

from nanotally.schemas import sources
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.errors import InvalidInput, NotFound, Transient
from nanotally.streams.installation import join
from nanotally.streams.publisher_bulk import BulkSender, DeliveryFailed, OnStall, Sender
from nanotally.streams.publisher_ledger import TopicReader, kafka_errors, run
from nanotally.streams.publisher_receipts import Found, find
from nanotally.streams.tariffs.publishing import read_books

LINGER_MS = 5
REQUEST_TIMEOUT_MS = 30_000  # the client refuses one that is not below the delivery's
IN_FLIGHT_MAX = 20_000  # uses that wait for the broker's answer before `send` waits for the oldest


class Delivery(Protocol):
    """A record on its way."""

    def wait(self, timeout_s: float) -> tuple[int, int]:
        """Partition and offset once the broker has it. Raises Transient where it has not in time."""
        ...


class Broker(Protocol):
    """What the publisher needs of Kafka; handed in, so that tests have one in memory."""

    def newest_book(self) -> RuleBook | None:
        """The newest rule book; None where none was published."""
        ...

    def send(self, key: bytes, value: bytes, event_id: str) -> Delivery:
        """Puts a record on its way to topic `usage`."""
        ...

    def flush(self, timeout_s: float) -> None:
        """Waits until all that was sent has arrived. Raises DeliveryFailed, Transient where time is up."""
        ...

    def bulk(self, on_stall: OnStall | None) -> Sender:
        """A sender of many uses; a context manager."""
        ...

    def find(self, partition: int, offset: int, wait_s: float) -> Found | None:
        """What became of a usage record; None where it was not rated within the wait."""
        ...

    def close(self) -> None:
        """Ends all connections, without waiting for what is on its way."""
        ...


class KafkaBroker:
    """Broker over a real Kafka. Connects at once. Raises Transient where Kafka cannot be reached, InvalidInput where
    partitions were added to `usage`, or the installation was moved."""

    def __init__(self, bootstrap: str, prefix: str, delivery_timeout_s: float) -> None:
        self._bootstrap, self._prefix = bootstrap, prefix
        self._timeout_s = delivery_timeout_s
        self._in_flight: deque[Any] = deque()
        self._failed: list[tuple[str, BaseException]] = []
        told = join(bootstrap, prefix, owner=self)  # before anything is written with this release's schemas
        if told.moved_to:
            raise InvalidInput(
                f"installation {prefix!r} was moved: publish to {told.moved_to!r} (NANOTALLY_PREFIX={told.moved_to})"
            )
        with kafka_errors(bootstrap):
            self._producer = KafkaProducer(
                bootstrap_servers=bootstrap.split(","),
                enable_idempotence=True,
                acks="all",
                compression_type="lz4",
                linger_ms=LINGER_MS,
                batch_size=64 << 10,
                delivery_timeout_ms=int(delivery_timeout_s * 1000),
                request_timeout_ms=min(REQUEST_TIMEOUT_MS, int(delivery_timeout_s * 1000) - LINGER_MS - 1),
                max_block_ms=10_000,
                bootstrap_timeout_ms=10_000,
                allow_auto_create_topics=False,
            )

    def newest_book(self) -> RuleBook | None:
        books = read_books(self._bootstrap, self._prefix)
        return books[-1] if books else None

    def send(self, key: bytes, value: bytes, event_id: str) -> Delivery:
        with kafka_errors(self._bootstrap):
            future = self._producer.send(self._prefix + "usage", key=key, value=value)
        future.add_errback(partial(self._note_failure, event_id))
        self._in_flight.append(future)
        if len(self._in_flight) > IN_FLIGHT_MAX:
            oldest = self._in_flight.popleft()
            if not oldest.is_done:
                _KafkaDelivery(oldest, self._bootstrap).wait(self._timeout_s)
        return _KafkaDelivery(future, self._bootstrap)

    def _note_failure(self, event_id: str, error: BaseException) -> None:
        self._failed.append((event_id, error))

    def flush(self, timeout_s: float) -> None:
        with kafka_errors(self._bootstrap):
            self._producer.flush(timeout=timeout_s)
        self._in_flight.clear()
        if self._failed:
            failed, self._failed = self._failed, []
            raise DeliveryFailed(tuple(event_id for event_id, _ in failed), failed[0][1])

    def bulk(self, on_stall: OnStall | None) -> Sender:
        return BulkSender(self._bootstrap, self._prefix + "usage", self._timeout_s, on_stall)

    def find(self, partition: int, offset: int, wait_s: float) -> Found | None:
        async def work() -> Found | None:
            async with TopicReader(self._bootstrap, self._prefix) as reader:
                charges, rejects = reader.log("charges", partition), reader.log("rejects", partition)
                return await find(charges, rejects, offset, time.monotonic, wait_s)

        return run(work())

    def close(self) -> None:
        sources.look_up_in(None, self)
        self._producer.close(timeout=0)


class _KafkaDelivery:
    def __init__(self, future: Any, bootstrap: str) -> None:
        self._future, self._bootstrap = future, bootstrap

    def wait(self, timeout_s: float) -> tuple[int, int]:
        try:
            metadata = self._future.get(timeout=timeout_s)
        except KafkaError as e:
            said = str(e) or type(e).__name__
            raise Transient(f"Kafka at {self._bootstrap} has not taken the use: {said}") from e
        return metadata.partition, metadata.offset


def no_book(prefix: str) -> NotFound:
    """What to say where there is no rule book yet."""
    return NotFound(
        f"topic {prefix}books holds no rule book yet, so no meter is known; publish a tariff first: "
        "nanotally tariff publish FILE"
    )
