"""One worker process of a stage on a real broker: what it does, what its pages say, and how it refuses."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from aiokafka import AIOKafkaProducer
from kafka import TopicPartition

from infra.services.processes import start_time
from nanotally.schemas import codec
from nanotally.streams import admin
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode
from nanotally.streams.pipeline.ticks import tick
from nanotally.streams.tariffs.publishing import Publication, publish_book
from nanotally.streams.tariffs.reader import read_tariff
from tests.support import children
from tests.support.tariff_texts import FILE
from tests.support.topics import publish, read_committed
from tests.support.toy_logic import numbers
from tests.support.worker_process import WorkerProcess, free_port, until, workers

Start = Callable[..., WorkerProcess]


@pytest.fixture
def toy_environment(kafka: str, prefix: str, tmp_path: Path) -> Environment:
    admin.create_topics(kafka, prefix, partitions=2)
    return Environment(kafka=kafka, prefix=prefix, state=tmp_path / "state")


@pytest.fixture
def start(toy_environment: Environment, tmp_path: Path) -> Iterator[Start]:
    with workers("tests.support.toy_worker", toy_environment, tmp_path) as start_one:
        yield start_one


def send(environment: Environment, partition: int, *values: bytes) -> None:
    asyncio.run(publish(environment.kafka, f"{environment.prefix}usage", {partition: values}))


def lines(environment: Environment, partition: int) -> list[tuple[int, int]]:
    return numbers(read_committed(environment.kafka, f"{environment.prefix}charges", 2)[partition])


def state(worker: WorkerProcess) -> str:
    """What its health page calls its state; nothing where it does not answer."""
    _, health = worker.get("/health")
    return str(health["state"]) if health else ""


def metric(worker: WorkerProcess, name: str, partition: int) -> float:
    found = re.search(rf'^{name}{{partition="{partition}"[^}}]*}} (\S+)$', worker.get("/metrics")[1], re.MULTILINE)
    assert found, name
    return float(found[1])


def test_a_worker_takes_what_comes_and_its_pages_say_so(start: Start, toy_environment: Environment) -> None:
    worker = start("worker")
    until("it is ready", lambda: worker.get("/ready")[0] == 200)
    until("it is idle", lambda: state(worker) == "idle")  # once Kafka has said that there is nothing
    send(toy_environment, 0, b"a", b"b", b"c")
    send(toy_environment, 1, b"d")
    until("all is taken", lambda: worker.positions() == {0: 3, 1: 1})
    assert lines(toy_environment, 0) == [(0, 1), (1, 2), (2, 3)]
    assert lines(toy_environment, 1) == [(0, 1)]
    until("it is idle again", lambda: state(worker) == "idle")
    status, health = worker.get("/health")
    assert (status, health["stuck"]) == (200, [])
    assert [(p["topic"], p["partition"], p["position"], p["lag"]) for p in health["partitions"]] == [
        ("usage", 0, 3, 0),
        ("usage", 1, 1, 0),
    ]
    assert metric(worker, "nanotally_position", 0) == 3
    assert metric(worker, "nanotally_lag_records", 1) == 0
    assert metric(worker, "nanotally_records_total", 0) == 3
    assert (
        'nanotally_counted_total{name="charged",partition="0",stage="payers",topic="usage"} 3.0'
        in (worker.get("/metrics")[1])
    )
    assert worker.leaves(), worker.log


def test_a_worker_that_comes_back_needs_the_snapshot_only(start: Start, toy_environment: Environment) -> None:
    send(toy_environment, 0, *[b"x"] * 500)
    first = start("first")
    until("all is taken", lambda: first.positions().get(0) == 500)
    assert first.end() == ExitCode.OK
    second = start("second")
    until("it is where the first was", lambda: second.positions() == {0: 500, 1: 0})
    assert metric(second, "nanotally_folded_total", 0) == 0
    assert second.leaves(), second.log


def test_a_lost_state_folder_needs_the_checkpoint_only_and_without_that_the_ledger(
    start: Start, toy_environment: Environment, tmp_path: Path
) -> None:
    checkpoints = tmp_path / "checkpoints"
    send(toy_environment, 0, *[b"x"] * 500)
    first = start("first", NANOTALLY_CHECKPOINTS=str(checkpoints))
    until("all is taken", lambda: first.positions().get(0) == 500)
    assert first.end() == ExitCode.OK
    shutil.rmtree(toy_environment.state)
    second = start("second", NANOTALLY_CHECKPOINTS=str(checkpoints))
    until("it is where the first was", lambda: second.positions() == {0: 500, 1: 0})
    assert metric(second, "nanotally_folded_total", 0) == 0
    assert second.leaves(), second.log
    shutil.rmtree(toy_environment.state)
    (checkpoint,) = checkpoints.rglob("0.checkpoint")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    third = start("third", NANOTALLY_CHECKPOINTS=str(checkpoints))
    until("it is where the others were", lambda: third.positions() == {0: 500, 1: 0})
    assert metric(third, "nanotally_folded_total", 0) == 501
    send(toy_environment, 0, b"y")
    until("it goes on", lambda: third.positions() == {0: 501, 1: 0})
    assert lines(toy_environment, 0)[-2:] == [(499, 500), (500, 501)]


def test_positions_are_group_offsets_too_so_that_lag_shows(start: Start, toy_environment: Environment) -> None:
    send(toy_environment, 0, b"a", b"b")
    worker = start("worker")
    until("all is taken", lambda: worker.positions().get(0) == 2)
    group = f"{toy_environment.prefix}nanotally-payers"
    with admin.admin_client(toy_environment.kafka) as client:
        until(
            "the group says so",
            lambda: [at.offset for at in client.list_group_offsets(group)[group].values()] == [2],
        )


def test_any_worker_answers_for_any_account_whoever_keeps_it(start: Start, toy_environment: Environment) -> None:
    send(toy_environment, 0, b"a")
    send(toy_environment, 1, b"b", b"c")
    first = start("first")
    until("all is taken", lambda: first.positions() == {0: 1, 1: 2})
    payers = ("ana", "ben", "cleo", "dan/dora")
    answers = {
        payer: (200, {"partition": p, "account": f"payer:{payer}", "n": (1, 2)[p]})
        for payer in payers
        for p in [partition_of(payer.encode(), 2)]
    }

    def answers_for_all(worker: WorkerProcess) -> bool:
        return {payer: worker.get(f"/payers/{quote(payer, safe='')}") for payer in payers} == answers

    until("it answers for both partitions", lambda: answers_for_all(first))
    second = start("second")
    until("each keeps a partition", lambda: len(first.positions()) == len(second.positions()) == 1)
    for worker in (first, second):
        until("it answers for both partitions", lambda worker=worker: answers_for_all(worker))  # type: ignore[misc]


def test_a_worker_whose_neighbour_stands_still_or_is_gone_says_so(start: Start, toy_environment: Environment) -> None:
    send(toy_environment, 0, b"a")
    send(toy_environment, 1, b"b")
    # So long the group waits for who says nothing; all questions to the one that stands still come before its end.
    first, second = (start(name, TOY_SESSION_S="20") for name in ("first", "second"))
    until("each keeps a partition", lambda: len(first.positions()) == len(second.positions()) == 1)
    (kept,) = second.positions()
    payer = next(p for p in map(str, range(99)) if partition_of(p.encode(), 2) == kept)
    until("it is asked there", lambda: first.get(f"/payers/{payer}")[0] == 200)
    second.signal(signal.SIGSTOP)
    status, told = first.get(f"/payers/{payer}")
    address = f"http://127.0.0.1:{second.environment.web_port}/payers/{payer}"
    assert (status, told["asked"]) == (504, address)
    assert told["error"] == f"the worker of partition {kept} does not answer within 2 s; is it stopped? ask again"
    second.kill()
    status, told = first.get(f"/payers/{payer}")
    assert (status, told["error"]) == (
        502,
        f"the worker of partition {kept} cannot be asked (ClientConnectorError); ask again in some seconds",
    )
    until("the first has taken it over", lambda: first.get(f"/payers/{payer}")[0] == 200)


def test_a_worker_without_progress_is_unhealthy_and_says_what_it_waits_for(
    start: Start, toy_environment: Environment
) -> None:
    asyncio.run(leave_a_book_open(toy_environment))
    send(toy_environment, 1, b"a", b"book:0")
    worker = start("worker", NANOTALLY_STUCK_SECONDS="1")

    def says() -> tuple[int, str, list[str]]:
        """It is unhealthy too while a partition takes longer to be opened."""
        status, health = worker.get("/health")
        words = health["stuck"] if health else []
        return status, state(worker), [re.sub(r"for \d+ s", "for N s", one) for one in words]

    waits = "usage[1] at 0, 2 behind, no progress for N s, waits for rule book 0"
    until("it says what it waits for, and nothing else", lambda: says() == (503, "stuck", [waits]))
    until("its log says so too", lambda: "waits for rule book 0, which is not in topic books yet" in worker.log)
    assert worker.leaves(), worker.log  # also while it waits


async def leave_a_book_open(environment: Environment) -> None:
    """A publisher dies in the middle of its transaction."""
    publisher = AIOKafkaProducer(bootstrap_servers=environment.kafka, transactional_id=f"{environment.prefix}dies")
    await publisher.start()
    await publisher.begin_transaction()
    await publisher.send_and_wait(f"{environment.prefix}books", b"a book", partition=0)
    await publisher.stop()


def test_activations_of_books_that_are_not_there_are_rejected_and_stop_nothing(
    start: Start, toy_environment: Environment
) -> None:
    book = publish_book(toy_environment.kafka, toy_environment.prefix, Publication([read_tariff(FILE)]), 0)
    assert book.number == 0
    send(toy_environment, 1, b"book:0", b"book:1", b"book:7", b"a")
    worker = start("worker")
    until("all is taken", lambda: worker.positions() == {0: 0, 1: 4})
    rejects = read_committed(toy_environment.kafka, f"{toy_environment.prefix}rejects", 2)[1]
    assert rejects == [b"book:1", b"book:7"], "the offset of the mark behind the book, and one beyond the end"
    assert worker.leaves(), worker.log


def test_a_flood_of_rejects_ends_the_worker(start: Start, toy_environment: Environment) -> None:
    send(toy_environment, 0, *[b"reject"] * 20)
    worker = start("worker", NANOTALLY_REJECTS_PER_MINUTE="10")
    assert worker.wait() == ExitCode.INVALID
    assert "20 input records were rejected within a minute, the limit is 10" in worker.log
    assert len(lines(toy_environment, 0)) == 20


def test_records_that_were_deleted_before_they_were_taken_end_the_worker(
    start: Start, toy_environment: Environment
) -> None:
    send(toy_environment, 0, *[b"x"] * 10)
    worker = start("worker", TOY_STOP_AT="5")
    until("it stands still in its first decision", worker.is_stopped)
    worker.kill()
    with admin.admin_client(toy_environment.kafka) as client:
        client.delete_records({TopicPartition(f"{toy_environment.prefix}usage", 0): 4})
    again = start("again")
    assert again.wait() == ExitCode.BROKEN
    assert "records were deleted before they were taken" in again.log


def test_a_state_folder_of_another_cluster_is_refused(start: Start, toy_environment: Environment) -> None:
    send(toy_environment, 0, b"a")
    worker = start("worker")
    until("all is taken", lambda: worker.positions().get(0) == 1)
    assert worker.end() == ExitCode.OK
    (folder,) = (toy_environment.state / f"{toy_environment.prefix}payers" / "0").glob("0")
    spoil_label(folder)
    again = start("again")
    assert again.wait() == ExitCode.BROKEN
    assert f"state folder {folder} belongs to cluster another, this is " in again.log
    assert "set NANOTALLY_STATE" in again.log


def spoil_label(folder: Path) -> None:
    """Makes the folder look as if another cluster's worker had left it."""
    from nanotally.streams.pipeline.rocks_store import RocksStore

    store = RocksStore(folder)
    manifest = store._manifest()
    assert manifest
    snapshot = store.load(manifest.labels)
    assert snapshot
    store.save(replace(manifest.labels, cluster_id="another"), snapshot)
    store.close()


def test_without_a_broker_a_worker_waits_and_says_so(start: Start, tmp_path: Path) -> None:
    nowhere = Environment(kafka=f"127.0.0.1:{free_port()}", state=tmp_path / "state")
    with workers("tests.support.toy_worker", nowhere, tmp_path) as start_there:
        worker = start_there("worker")
        until("it says so", lambda: f"waits: Kafka at {nowhere.kafka} cannot be asked" in worker.log)
        assert worker.end() == -signal.SIGTERM


def test_a_taken_port_and_an_unwritable_folder_are_named(
    toy_environment: Environment, start: Start, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        worker = start("port", NANOTALLY_WEB_PORT=str(port))
        assert worker.wait() != 0
        assert re.search(rf"port {port} of 127.0.0.1 cannot be used .* set NANOTALLY_WEB_PORT", worker.log)
    (tmp_path / "file").write_text("in the way")
    worker = start("folder", NANOTALLY_STATE=str(tmp_path / "file"))
    assert worker.wait() != 0
    assert re.search(r"state folder \S+ cannot be written .* set NANOTALLY_STATE", worker.log)


def test_a_supervised_worker_ends_with_its_supervisor(toy_environment: Environment, tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, time; os.environ['NANOTALLY_SUPERVISOR'] = str(os.getpid()); "
        "print(subprocess.Popen([sys.executable, '-m', 'tests.support.toy_worker']).pid, flush=True); time.sleep(600)"
    )
    variables = {**os.environ, **toy_environment.variables(), "NANOTALLY_WEB_PORT": str(free_port())}
    with children.start([sys.executable, "-c", code], env=variables, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout
        pid = int(supervisor.stdout.readline())
        supervisor.kill()
    try:
        until("the worker is gone too", lambda: start_time(pid) is None)
    finally:
        if start_time(pid) is not None:
            os.kill(pid, signal.SIGKILL)


def test_quiet_partitions_get_ticks_where_they_are_asked_for(start: Start, toy_environment: Environment) -> None:
    worker = start("worker", NANOTALLY_TICKS="0.5")
    taken = worker.positions
    until("two ticks were taken in each partition", lambda: len(taken()) == 2 and min(taken().values()) >= 2)
    found = read_committed(toy_environment.kafka, f"{toy_environment.prefix}usage", 2)
    for partition in (0, 1):
        ticks = [codec.decode_one(value or b"") for value in found[partition]]
        places = [int(control["control_id"].rpartition("-")[2]) for _, control in ticks]
        assert ticks == [("Control", codec.decode_one(tick(partition, place))[1]) for place in places]
        # One each round; where the worker takes one later than the next round, that round's names the same place.
        assert places[0] == 0 and places == sorted(places) and all(place <= at for at, place in enumerate(places))
