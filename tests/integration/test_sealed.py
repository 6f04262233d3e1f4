"""Workers with ticks on a topic `usage` that takes no more records: they go on with what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanotally.streams import admin
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode
from nanotally.streams.installation import MOVING, Installation
from nanotally.streams.sealing import seal, unseal
from tests.support.installed import installed
from tests.support.services import Addresses, fresh_prefix
from tests.support.worker_process import WorkerProcess, until, workers

Start = Callable[..., WorkerProcess]

TICKS = {"NANOTALLY_TICKS": "0.2"}
SEALED = "no ticks are sent until it takes records again"


@pytest.fixture
def toy_environment(kafka: str, prefix: str, tmp_path: Path) -> Environment:
    admin.create_topics(kafka, prefix, partitions=2)
    return Environment(kafka=kafka, prefix=prefix, state=tmp_path / "state")


@pytest.fixture
def start(toy_environment: Environment, tmp_path: Path) -> Iterator[Start]:
    with workers("tests.support.toy_worker", toy_environment, tmp_path) as start_one:
        yield start_one


def positions_of(worker: WorkerProcess) -> list[int]:
    """Of both partitions, once they are open."""
    found = worker.positions()
    return [found[p] for p in sorted(found)] if len(found) == 2 else [0, 0]


def test_ticks_stop_at_a_sealed_topic_and_go_on_when_the_seal_is_taken_off(
    start: Start, toy_environment: Environment
) -> None:
    kafka, usage = toy_environment.kafka, f"{toy_environment.prefix}usage"
    worker = start("worker", **TICKS)
    until("ticks are taken", lambda: min(positions_of(worker)) >= 2)
    seal(kafka, usage, range(2))
    until("the worker says so", lambda: SEALED in worker.log)
    assert "somebody set its max.message.bytes so low" in worker.log
    until("all that is there is taken", lambda: worker.get("/health")[1]["state"] == "idle")
    at = positions_of(worker)
    unseal(kafka, usage)
    until("the worker finds out", lambda: "usage takes records again: ticks go on" in worker.log)
    until("ticks are taken again", lambda: all(now > then for now, then in zip(positions_of(worker), at, strict=True)))
    assert worker.log.count(SEALED) == 1
    assert worker.end() == ExitCode.OK


def test_a_worker_that_starts_on_a_sealed_topic_says_where_the_installation_goes_on(
    start: Start, toy_environment: Environment
) -> None:
    kafka, prefix = toy_environment.kafka, toy_environment.prefix
    seal(kafka, f"{prefix}usage", range(2))
    Installation(kafka, prefix).tell({MOVING: {"to": "wide.", "plan": {}, "controls": {}}})
    first = start("first", **TICKS)
    until("it says so", lambda: "`nanotally migrate` is moving this installation to 'wide.'" in first.log)
    assert first.end() == ExitCode.OK
    Installation(kafka, prefix).tell({MOVING: {"to": "wide.", "plan": {}, "controls": {}, "done": True}})
    second = start("second", **TICKS)
    until("it says so", lambda: "this installation was moved to 'wide.' and goes on there" in second.log)
    assert second.get("/health")[1]["state"] == "idle"
    assert second.end() == ExitCode.OK


@pytest.mark.slow
def test_an_installation_is_moved_while_its_workers_tick(services: Addresses, tmp_path: Path) -> None:
    with installed(services, tmp_path) as old:
        new = fresh_prefix()
        payers, accounts = old.start("payers", "payers", **TICKS), old.start("accounts", "accounts", **TICKS)
        old.use(200)
        old.reconcile_ledger()
        try:
            code, out, err = old.run("migrate", "--to", new, "--partitions", "6", "--begin-anew")
            assert code == ExitCode.OK, out + err
            assert "moved: 200 ids are known" in out
            until("the payers' worker says so", lambda: SEALED in payers.log)
            assert f"this installation to {new!r}" in payers.log or f"was moved to {new!r}" in payers.log
            assert payers.process.poll() is None is accounts.process.poll()
            old.reconcile_ledger()
            assert payers.log.count(SEALED) == 1
            assert payers.end() == accounts.end() == ExitCode.OK
        finally:
            admin.delete_topics(services.kafka, new)
