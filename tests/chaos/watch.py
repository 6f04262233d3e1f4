"""Looks on past the proxies: how long each partition of the ledger stood still, and when all was made up for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from nanotally.streams.environment import Environment

POLL_S = 0.25
ANSWER_MS = 15_000


class Place(Protocol):
    """Where to look: past whatever stands between clients and servers."""

    @property
    def kafka_inside(self) -> str:
        """Bootstrap address."""
        ...

    def ask(self, sql: str, timeout_s: float = 20.0) -> str:
        """What ClickHouse answers, as tab separated text. Raises OSError."""
        ...


class Watch:
    """A thread that asks for the ends of `usage` and `charges`. Seconds of time.monotonic."""

    def __init__(self, site: Place, environment: Environment, partitions: int) -> None:
        self._site, self._environment = site, environment
        topics = (environment.topic("usage"), environment.topic("charges"))
        self._usage, self._charges = ([TopicPartition(topic, p) for p in range(partitions)] for topic in topics)
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._ends: dict[TopicPartition, int] = {}
        self._waiting_since: dict[int, float] = {}  # partitions whose uses wait
        self.longest_pause_s = 0.0
        self.longest_of = ""
        self.during = "the start"  # the fault at work, for the report
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def recovered(self, within_s: float) -> float | None:
        """Seconds until everything that is in `usage` by now is in ClickHouse; None where that takes longer."""
        began = time.monotonic()
        wanted: dict[int, int] = {}
        while time.monotonic() - began < within_s:
            if not wanted:
                wanted = self._usage_ends_after(began)
            if wanted and self._in_clickhouse(wanted):
                return time.monotonic() - began
            time.sleep(POLL_S)
        return None

    def _usage_ends_after(self, moment: float) -> dict[int, int]:
        with self._changed:
            if self._changed.wait(POLL_S * 8) and time.monotonic() > moment:
                return {tp.partition: self._ends[tp] for tp in self._usage}
        return {}

    def _in_clickhouse(self, wanted: dict[int, int]) -> bool:
        database = self._environment.database
        try:
            text = self._site.ask(
                f"SELECT input_partition, max(input_offset) FROM {database}.chunks WHERE topic = 'charges' "
                "GROUP BY input_partition"
            )
        except OSError:
            return False
        rows = (line.split("\t") for line in text.splitlines())
        found = {int(partition): int(offset) for partition, offset in rows}
        return all(found.get(partition, 0) >= end for partition, end in wanted.items())

    def _run(self) -> None:
        consumer: KafkaConsumer | None = None
        while not self._ended.is_set():
            asked = time.monotonic()
            try:
                consumer = consumer or KafkaConsumer(
                    bootstrap_servers=self._site.kafka_inside,
                    isolation_level="read_committed",
                    enable_auto_commit=False,
                    request_timeout_ms=ANSWER_MS,
                    bootstrap_timeout_ms=ANSWER_MS,
                )
                self._seen(consumer.end_offsets([*self._usage, *self._charges], timeout_ms=ANSWER_MS))
            except KafkaError:
                self._unseen(asked)
                if consumer is not None:
                    _closed(consumer)
                consumer = None
            self._ended.wait(POLL_S)
        if consumer is not None:
            _closed(consumer)

    def _seen(self, ends: dict[TopicPartition, int]) -> None:
        now, before = time.monotonic(), self._ends
        for usage, charges in zip(self._usage, self._charges, strict=True):
            if ends[charges] > before.get(charges, 0):
                self._note(usage.partition, now)
            elif ends[usage] > before.get(usage, 0):
                self._waiting_since.setdefault(usage.partition, now)
            if usage.partition in self._waiting_since:
                self._longest(usage.partition, now)
        with self._changed:
            self._ends = ends
            self._changed.notify_all()

    def _unseen(self, asked: float) -> None:
        """The broker has not answered since it was asked: everybody waits."""
        for usage in self._usage:
            self._waiting_since.setdefault(usage.partition, asked)

    def _note(self, partition: int, now: float) -> None:
        """The ledger of the partition grew."""
        self._longest(partition, now)
        self._waiting_since.pop(partition, None)

    def _longest(self, partition: int, now: float) -> None:
        pause = now - self._waiting_since.get(partition, now)
        if pause > self.longest_pause_s:
            self.longest_pause_s, self.longest_of = pause, f"charges[{partition}], {self.during}"


def _closed(consumer: KafkaConsumer) -> None:
    close: Callable[..., None] = consumer.close
    try:
        close(autocommit=False, timeout_ms=1_000)
    except KafkaError:
        return
