"""A real broker, a real ClickHouse and workers for the benches, in a folder of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from aiokafka import AIOKafkaProducer

from infra.services import ports
from nanotally.sinks.migrate import migrate
from nanotally.streams import admin
from nanotally.streams.aiokafka_tuning import tune_aiokafka
from nanotally.streams.environment import Environment
from nanotally.streams.tariffs.books import book_record
from nanotally.streams.tariffs.publishing import activate
from tests.bench.usage import by_partition, flat_book, usage
from tests.support.services import running_services

NANOTALLY = Path(sys.executable).parent / "nanotally"
PARTITIONS = 4
BLOCK = 50_000
ARRIVES_WITHIN_MS = 240_000  # a batch: else it is given up, with what is in it


@contextlib.contextmanager
def installation() -> Iterator[Environment]:
    """Services with topics and tables, the flat tariff published and activated."""
    with running_services() as found, tempfile.TemporaryDirectory(prefix="nanotally-bench-") as folder:
        environment = Environment(
            kafka=found.kafka,
            clickhouse=found.clickhouse.native,
            clickhouse_http=found.clickhouse.http,
            prefix=f"bench-{os.getpid()}.",
            database=f"bench_{os.getpid()}",
            state=Path(folder) / "state",
            web_port=ports.choose(6266, count=3),
        )
        yield environment


def prepare(base: Environment, name: str, partitions: int = PARTITIONS) -> Environment:
    """Topics, tables and the rule book of a bench's own; those of the bench before go."""
    admin.delete_topics(base.kafka, base.prefix)
    environment = replace(
        base, prefix=f"{base.prefix}{name}.", database=f"{base.database}_{name}", state=base.state / name
    )
    admin.create_topics(environment.kafka, environment.prefix, partitions)
    migrate(environment.clickhouse, environment.database)
    book = flat_book()

    async def put_book() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=environment.kafka)
        await producer.start()
        try:
            await producer.send_and_wait(environment.topic("books"), book_record(book, time.time_ns() // 1000, "", {}))
        finally:
            await producer.stop()

    asyncio.run(put_book())
    activate(environment.kafka, environment.prefix, book)
    return environment


def drawn(n: int, seed: int = 1) -> list[pa.RecordBatch]:
    """n events of now, as columns."""
    return list(drawing(n, seed))


def drawing(n: int, seed: int = 1) -> Iterator[pa.RecordBatch]:
    """The same one batch after the other."""
    return (
        usage(min(BLOCK, n - at), seed=seed + at, ids=at, start_us=now_us() - 10**7, step_us=10)
        for at in range(0, n, BLOCK)
    )


def fill(environment: Environment, batches: Iterable[pa.RecordBatch], partitions: int = PARTITIONS) -> None:
    """Encodes events and puts them into `usage`, in their payers' partitions, as large batches."""

    async def send() -> None:
        tune_aiokafka()
        producer = AIOKafkaProducer(
            bootstrap_servers=environment.kafka,
            compression_type="lz4",
            max_batch_size=1 << 20,
            linger_ms=0,
            request_timeout_ms=ARRIVES_WITHIN_MS,
        )
        await producer.start()
        try:
            for batch in batches:
                waiting = []
                for partition, keys, values in by_partition(batch, partitions):
                    waiting += await _send_all(producer, environment.topic("usage"), partition, keys, values)
                await asyncio.gather(*waiting)
        finally:
            await producer.stop()

    asyncio.run(send())


async def _send_all(
    producer: AIOKafkaProducer, topic: str, partition: int, keys: list[bytes], values: list[bytes]
) -> list[asyncio.Future[Any]]:
    waiting, batch = [], producer.create_batch()
    for key, value in zip(keys, values, strict=True):
        if batch.append(key=key, value=value, timestamp=None) is None:
            batch.close()
            waiting.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None)
    batch.close()
    waiting.append(await producer.send_batch(batch, topic, partition=partition))
    return waiting


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


@contextlib.contextmanager
def workers(environment: Environment, *stages: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The stages as processes; returns when all are ready."""
    log = environment.state / "worker.log"
    environment.state.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        running = [
            subprocess.Popen(
                [NANOTALLY, "worker", stage], env=os.environ | environment.variables(), stdout=out, stderr=out
            )
            for stage in stages
        ]
        try:
            for stage, process in zip(stages, running, strict=True):
                while page(environment, stage, "ready") is None:
                    if process.poll() is not None:
                        raise RuntimeError(f"{stage} ended: {log.read_text()[-2000:]}")
                    time.sleep(0.05)
            yield running
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(30)


def page(environment: Environment, stage: str, name: str) -> Any:
    """A page of the stage's web server as JSON (or text); None while it says no."""
    url = f"http://127.0.0.1:{environment.web_port_of(stage)}/{name}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
