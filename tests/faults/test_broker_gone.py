"""The broker dies in mid-run: the worker says that it is held up, goes on when it is back, and loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer

from infra.services import processes
from infra.services.kafka import answers
from nanotally.streams import admin
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode
from tests.support.services import OwnServices
from tests.support.topics import publish, read_committed
from tests.support.toy_logic import numbers
from tests.support.worker_process import until, workers

RECORDS = 3000

pytestmark = pytest.mark.timeout(1800)


@contextlib.contextmanager
def held(services: OwnServices, name: str) -> Iterator[None]:
    """The service's supervisor stands still: who is killed stays dead so long."""
    supervisor = processes.state(services.folder, name).pid
    os.kill(supervisor, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)


@pytest.mark.long(3)
@pytest.mark.slow
def test_a_worker_outlives_a_broker_that_goes_and_comes_back(own_services: OwnServices, tmp_path: Path) -> None:
    kafka = own_services.addresses.kafka
    admin.create_topics(kafka, partitions=1)
    values = [b"v%d" % i for i in range(RECORDS)]
    asyncio.run(publish(kafka, "usage", {0: values}))
    environment = Environment(kafka=kafka, state=tmp_path / "state")
    with workers("tests.support.toy_worker", environment, tmp_path) as start:
        worker = start("worker", TOY_FETCH="100", TOY_STOP_AT="500", NANOTALLY_SUPERVISOR="")
        until("it stands still in the middle of its work", worker.is_stopped)
        with held(own_services, "kafka"):
            own_services.kill("kafka")
            worker.signal(signal.SIGCONT)
            until("it says that it is held up", lambda: "no progress: usage[0] at" in worker.log)
        until("it went on after the crash", lambda: worker.positions().get(0, 0) == RECORDS)
        assert worker.leaves(), worker.log
        asked = start("asked to end")
        until("it is ready", lambda: asked.get("/ready")[0] == 200)
        own_services.stop("kafka")
        assert asked.end() in (ExitCode.OK, ExitCode.UNAVAILABLE)
        own_services.start()
    found = read_committed(kafka, "charges", 1)
    assert numbers(found[0]) == [(offset, offset + 1) for offset in range(RECORDS)]


@pytest.mark.slow
def test_what_one_broker_acknowledged_survives_the_kill_that_follows_at_once(own_services: OwnServices) -> None:
    """In the operating system's memory, not on disk: the process may die, the machine may not."""
    kafka = own_services.addresses.kafka
    admin.create_topics(kafka, partitions=1)
    values = [b"v%d" % i for i in range(RECORDS)]
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
    for sent in [producer.send("usage", value=value, partition=0) for value in values]:
        sent.get(timeout=240)
    own_services.kill("kafka")
    producer.close(timeout=1)
    until("it is back", lambda: answers(kafka))
    assert read_committed(kafka, "usage", 1)[0] == values
