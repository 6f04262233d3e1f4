"""The whole pipeline under kill -9 and rebalances: what comes out is what an undisturbed run gives, byte for byte."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.prepare import prepare
from nanotally.schemas import codec
from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.records import RawChunk
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.environment import Environment
from nanotally.streams.tariffs.publishing import closing, read_books, send_control
from tests.bench.installation import drawn, fill
from tests.support.topics import read_committed
from tests.support.worker_process import WITHIN_S, WorkerProcess, free_port, until

PARTITIONS, ACCOUNT_PARTITIONS = 4, 2
BURST, BURSTS = 6_000, 4
NANOTALLY = Path(sys.executable).parent / "nanotally"


@pytest.fixture
def installed(environment: Environment) -> Environment:
    """Topics, tables and the starter's rule book."""
    prepare(environment, lambda _: None)
    return environment


class Crew:
    """Worker processes by name; all are gone at the end."""

    def __init__(self, environment: Environment, folder: Path) -> None:
        self.environment, self.folder = environment, folder
        self.members: dict[str, WorkerProcess] = {}

    def start(self, name: str, stage: str, place: int = 0) -> WorkerProcess:
        """A process of one stage, which starts itself over after a transient fault; `place` gives a second one of the
        same stage a state of its own."""
        mine = replace(self.environment, state=self.environment.state / str(place), web_port=free_port())
        module = f"nanotally.streams.commands worker {stage}"
        self.members[name] = WorkerProcess(module, mine, self.folder, name, NANOTALLY_SUPERVISOR="")
        return self.members[name]

    def kill(self, name: str) -> None:
        self.members.pop(name).kill()

    def close(self) -> None:
        for name in list(self.members):
            self.kill(name)


@pytest.fixture
def crew(installed: Environment, tmp_path: Path) -> Iterator[Crew]:
    found = Crew(installed, tmp_path)
    try:
        yield found
    finally:
        found.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills_and_rebalances_leave_the_charges_of_an_undisturbed_run(installed: Environment, crew: Crew) -> None:
    def rated() -> int:
        return sum(len(v) for v in read_committed(installed.kafka, installed.topic("charges"), PARTITIONS).values())

    crew.start("payers", "payers")
    crew.start("accounts", "accounts")
    crew.start("sink", "sink")
    for burst in range(BURSTS):
        before = rated()
        sending = threading.Thread(target=fill, args=(installed, drawn(BURST, seed=burst * BURST)))
        sending.start()
        until("the burst is being rated", lambda before=before: rated() > before)  # type: ignore[misc]
        if burst == 0:  # in mid-run, and its successor takes over from the ledger
            crew.kill("payers")
            crew.start("payers", "payers")
        elif burst == 1:  # a second worker joins: the partitions are divided anew
            crew.start("payers-2", "payers", place=1)
        elif burst == 2:  # the first one goes, so that the second takes over everything
            crew.kill("payers")
            crew.kill("sink")
            crew.start("sink", "sink")
        else:
            crew.kill("accounts")
            crew.start("accounts", "accounts")
        sending.join()
    send_control(installed.kafka, installed.prefix, closing(2_000_000_000_000_000, "end of the test"))

    told = nanotally(installed, "reconcile", "--wait", f"{WITHIN_S:.0f}")
    assert told.returncode == 0 and "not priced yet" not in told.stderr, told.stdout + told.stderr
    found = read_committed(installed.kafka, installed.topic("charges"), PARTITIONS)
    undisturbed = charges_of_one_run(installed)
    for partition in range(PARTITIONS):
        assert lasting(found[partition]) == lasting(undisturbed[partition])
    assert sum(len(lasting(values)) for values in found.values()) >= BURST * BURSTS


def nanotally(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NANOTALLY, *arguments], env=os.environ | environment.variables(), capture_output=True, text=True, check=False
    )


def lasting(values: list[bytes | None]) -> list[bytes]:
    """Ledger records that must not depend on chunks, in order."""
    chunks = codec.split_by_schema(values).get("Chunk", ())
    at = {int(i) for i in chunks}
    return [value for i, value in enumerate(values) if i not in at and value is not None]


def charges_of_one_run(environment: Environment) -> dict[int, list[bytes | None]]:
    """The ledger that the same records of usage give in one process, without broker, in one chunk a partition."""
    books = {book.number: book for book in read_books(environment.kafka, environment.prefix)}
    chunks = asyncio.run(_usage(environment))
    return {partition: _decide(chunk, books) for partition, chunk in chunks.items()}


def _decide(chunk: RawChunk, books: Mapping[int, RuleBook]) -> list[bytes | None]:
    logic = PayersLogic(chunk.partition, PARTITIONS, ACCOUNT_PARTITIONS)
    for number in logic.needed_books(chunk.values):
        logic.learn(books[number])
    ledger: list[bytes | None] = []
    done = False
    while not done:
        step = logic.decide(chunk.since(logic.state.next_offset))
        done = step.done
        for emission in step.emissions:
            ledger += emission.values if emission.topic == "charges" else []
    return ledger


async def _usage(environment: Environment) -> dict[int, RawChunk]:
    import numpy as np

    topic = environment.topic("usage")
    tps = [TopicPartition(topic, p) for p in range(PARTITIONS)]
    reader: Any = AIOKafkaConsumer(
        bootstrap_servers=environment.kafka,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",  # else a partition may begin at its end before it is told to seek
    )
    await reader.start()
    try:
        reader.assign(tps)
        ends = await reader.end_offsets(tps)
        await reader.seek_to_beginning(*tps)
        chunks = {}
        for tp in tps:
            records: list[Any] = []
            while await reader.position(tp) < ends[tp]:
                for some in (await reader.getmany(tp, timeout_ms=100)).values():
                    records += some
            chunks[tp.partition] = RawChunk(
                "usage",
                tp.partition,
                np.array([r.offset for r in records], dtype=np.int64),
                np.array([r.timestamp * 1000 for r in records], dtype=np.int64),
                [r.key for r in records],
                [r.value for r in records],
            )
        return chunks
    finally:
        await reader.stop()


def test_the_comparison_sees_a_single_changed_byte() -> None:
    tally = {
        "usage_partition": 0, "usage_offset": 1, "recorded_at": 0, "control_id": "c", "kind": "tick", "at": 0,
        "book_number": None, "book_hash": None,
    }  # fmt: skip
    one, other = (codec.encode_one("ControlTaken", tally | {"usage_offset": i}) for i in (1, 2))
    assert lasting([one]) != lasting([other])
