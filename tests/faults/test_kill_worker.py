"""Workers that are killed, joined and stopped in mid-run: every record is taken once, in order, and counted right."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanotally.streams import admin
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode
from tests.support.topics import publish, read_committed
from tests.support.toy_logic import numbers
from tests.support.worker_process import WorkerProcess, until, workers

PARTITIONS = 4
RECORDS = 4000  # in each
AT_WORK = {"TOY_FETCH": "100", "TOY_SLOW_S": "0.01"}  # 160 chunks, so that faults meet it at work
ON_ITS_OWN = {"NANOTALLY_SUPERVISOR": ""}  # it starts itself over after a transient fault

pytestmark = pytest.mark.timeout(1800)

Start = Callable[..., WorkerProcess]


@pytest.fixture
def toy_environment(kafka: str, prefix: str, tmp_path: Path) -> Environment:
    """Topics, and records to take."""
    admin.create_topics(kafka, prefix, PARTITIONS)
    values = [b"v%d" % i for i in range(RECORDS)]
    asyncio.run(publish(kafka, f"{prefix}usage", dict.fromkeys(range(PARTITIONS), values)))
    return Environment(kafka=kafka, prefix=prefix, state=tmp_path / "state")


@pytest.fixture
def start(toy_environment: Environment, tmp_path: Path) -> Iterator[Start]:
    with workers("tests.support.toy_worker", toy_environment, tmp_path) as start_one:
        yield start_one


def done(*alive: WorkerProcess) -> int:
    """Records that the workers say were taken, of the partitions they hold."""
    return sum(position for worker in alive for position in worker.positions().values())


def until_done(worker: WorkerProcess, records: int) -> None:
    until(f"{records} records are taken", lambda: done(worker) >= records)


def all_is_exact(environment: Environment) -> None:
    """Per partition the committed lines number the records 1, 2, 3, ... in the order of their offsets."""
    found = read_committed(environment.kafka, f"{environment.prefix}charges", PARTITIONS)
    for partition in range(PARTITIONS):
        assert numbers(found[partition]) == [(offset, offset + 1) for offset in range(RECORDS)], partition


def test_a_worker_that_is_killed_again_and_again_leaves_no_trace(start: Start, toy_environment: Environment) -> None:
    for taken in (1500, 6000):
        killed = start("killed", **AT_WORK, **ON_ITS_OWN)
        until_done(killed, taken)
        killed.kill()
    last = start("last", **AT_WORK, **ON_ITS_OWN)
    until_done(last, PARTITIONS * RECORDS)
    assert last.leaves(), last.log
    all_is_exact(toy_environment)


def test_a_second_worker_takes_half_and_later_the_whole(start: Start, toy_environment: Environment) -> None:
    first = start("first", **AT_WORK, **ON_ITS_OWN)
    until_done(first, 1000)
    second = start("second", **AT_WORK, **ON_ITS_OWN)
    until("each holds two partitions", lambda: len(first.positions()) == len(second.positions()) == PARTITIONS // 2)
    assert first.leaves(), first.log
    until_done(second, PARTITIONS * RECORDS)
    assert second.leaves(), second.log
    all_is_exact(toy_environment)


def test_a_fetch_that_gets_lost_on_its_way_to_its_lane_is_missed_and_fetched_again(
    start: Start, toy_environment: Environment
) -> None:
    """Whatever loses it: the next one of its partition does not follow."""
    loser = start("loser", **AT_WORK, TOY_LOSE="20")
    assert loser.wait() == ExitCode.UNAVAILABLE
    assert "comes next; the worker begins again at" in loser.log
    successor = start("successor", **AT_WORK, **ON_ITS_OWN)
    until_done(successor, PARTITIONS * RECORDS)
    assert successor.leaves(), successor.log
    all_is_exact(toy_environment)


def test_a_worker_that_was_taken_for_dead_is_fenced_when_it_wakes(start: Start, toy_environment: Environment) -> None:
    zombie = start("zombie", **AT_WORK, TOY_STOP_AT="1000")
    until("it stands still between a decision and its transaction", zombie.is_stopped)
    successor = start("successor", **AT_WORK, **ON_ITS_OWN)
    until_done(successor, PARTITIONS * RECORDS)
    zombie.signal(signal.SIGCONT)
    until("the zombie has left", lambda: zombie.process.poll() is not None)
    assert zombie.process.returncode == ExitCode.UNAVAILABLE
    assert "another worker has taken over" in zombie.log
    assert successor.leaves(), successor.log
    all_is_exact(toy_environment)
