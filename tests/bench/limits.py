"""Limits, in a process of their own so that its memory is its own: a million payers and the close of their books, one
payer with half of all uses, a hundred thousand creators.

`python -m tests.bench.limits NAME` prints one JSON line."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from nanotally.schemas import codec
from nanotally.streams.domain.accounts import AccountsLogic
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.records import PartitionLogic, RawChunk
from nanotally.streams.pipeline.arenas import ARENAS_MB, keep_arenas
from nanotally.streams.tariffs.publishing import activation, closing
from tests.bench.rebuild import rebuild
from tests.bench.report import Figure
from tests.bench.usage import CHUNK, flat_book, usage

PARTITIONS = 4
PAYERS, CREATORS = 1_000_000, 100_000
MIDNIGHT_US = 1_790_035_200_000_000  # 2026-09-22T00:00:00Z
HOUR_US = 3_600_000_000
WORKER_MB_MAX = 1024
MB = 1 << 20


class Partitions:
    """The partitions of one worker of the payers' stage, without a broker: what they write is dropped, but for what
    goes to the accounts' stage where there is one."""

    def __init__(self, with_accounts: bool = False) -> None:
        keep_arenas(ARENAS_MB)  # as a worker does at its start
        self.book = flat_book()
        self.payers = [PayersLogic(p, PARTITIONS, 1) for p in range(PARTITIONS)]
        self.accounts = AccountsLogic(0) if with_accounts else None
        self.offset = {id(logic): 0 for logic in (*self.payers, self.accounts)}
        self.events = 0
        self.steps_s: list[float] = []  # of each transaction
        for logic in self.payers:
            logic.learn(self.book)
            self._take(logic, [activation(self.book).datum()])
        self.steps_s.clear()

    def take(self, partition: int, values: list[bytes]) -> None:
        """Decides uses of one partition."""
        self.events += len(values)
        self._take(self.payers[partition], values)

    def close(self, at_us: int) -> None:
        """The close of the books, in every partition."""
        for logic in self.payers:
            self._take(logic, [closing(at_us).datum()])

    def _take(self, logic: PartitionLogic, values: list[bytes]) -> None:
        first, n = self.offset[id(logic)], len(values)
        self.offset[id(logic)] += n
        now_us = np.full(n, MIDNIGHT_US + 48 * HOUR_US)
        chunk = RawChunk(logic.input_topic, 0, np.arange(first, first + n), now_us, [None] * n, values)
        done, position = False, first
        while not done:
            rest = chunk.since(position)
            started = time.perf_counter()
            step = logic.decide(rest)
            self.steps_s.append(time.perf_counter() - started)
            done, position = step.done, step.next_offset if step.taken else position
            for emission in step.emissions:
                if emission.topic == "earnings" and self.accounts is not None:
                    self._take(self.accounts, list(emission.values))

    def figure(self, name: str, seconds: float, **more: Any) -> Figure:
        """Rate and memory; the longest time that one transaction took to decide."""
        rss = psutil.Process().memory_info().rss
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        told = {
            "events": self.events,
            "rss_mb": rss // MB,
            "peak_rss_mb": peak // MB,
            "longest_step_ms": round(max(self.steps_s) * 1e3),
            **more,
        }
        return Figure(name, self.events / seconds, 0, told)


def _parties(kind: str, numbers: np.ndarray) -> pa.Array:
    return pa.array([f"{kind}-{i:07d}" for i in numbers.tolist()])


def _by_partition(count: int) -> list[np.ndarray]:
    """Numbers of payers by their partition."""
    place = np.array([partition_of(f"payer-{i:07d}".encode(), PARTITIONS) for i in range(count)])
    return [np.flatnonzero(place == p) for p in range(PARTITIONS)]


def _uses(payers: np.ndarray, ids: int, at_us: int, step_us: int, creators: np.ndarray | None = None) -> list[bytes]:
    """A use of each of the payers, a step apart."""
    batch = usage(len(payers), seed=ids, start_us=at_us, step_us=step_us, ids=ids)
    batch = batch.set_column(3, "payer", _parties("payer", payers))
    if creators is not None:
        batch = batch.set_column(4, "creator", _parties("creator", creators))
    return codec.encode("UsageEvent", batch)


def payers_million() -> Figure:
    """A million payers, two uses of each within an hour, over the partitions of one worker."""
    worker, seconds, ids = Partitions(), 0.0, 0
    of = _by_partition(PAYERS)
    for round_ in range(2):
        for first in range(0, PAYERS // PARTITIONS, CHUNK):
            for p, mine in enumerate(of):
                some = mine[first : first + CHUNK]
                if len(some):
                    values = _uses(some, ids, MIDNIGHT_US - HOUR_US + round_ * HOUR_US // 2, 1)
                    ids += len(some)
                    started = time.perf_counter()
                    worker.take(p, values)
                    seconds += time.perf_counter() - started
    rows = sum(logic.size() for logic in worker.payers)
    kept = [sum(map(len, logic.snapshot().values())) for logic in worker.payers]  # one after the other, as lanes do
    return worker.figure(
        "payers-million", seconds, payers=PAYERS, rows=rows, snapshots_mb=sum(kept) // MB, goal_rss_mb=WORKER_MB_MAX
    )


def close_million() -> Figure:
    """A million payers with open windows; midnight passes in the middle of the uses that keep coming."""
    worker, ids = Partitions(), 0
    of = _by_partition(PAYERS)
    for p, mine in enumerate(of):
        for first in range(0, len(mine), CHUNK):
            worker.take(p, _uses(mine[first : first + CHUNK], ids, MIDNIGHT_US - HOUR_US, 1))
            ids += CHUNK
    worker.steps_s.clear()
    worker.events = 0
    rows_before = sum(logic.size() for logic in worker.payers)
    after: list[tuple[int, list[bytes]]] = []
    for p, mine in enumerate(of):
        after.append((p, _uses(mine[:CHUNK], ids, MIDNIGHT_US + HOUR_US // 30, 1)))
        ids += CHUNK
    started = time.perf_counter()
    for p, values in after:
        worker.take(p, values)
    seconds = time.perf_counter() - started
    counts = [logic.state.counts for logic in worker.payers]
    closed = sum(c["rows.payer_tallies"] + c["rows.statements"] for c in counts)
    return worker.figure(
        "close-million", seconds, accounts=PAYERS, rows_before=rows_before, rows_closed=closed,
        closed_per_s=round(closed / seconds), steps=len(worker.steps_s), close_s=round(seconds, 1),
    )  # fmt: skip


def skew() -> Figure:
    """One payer and one creator with half of all uses of a partition, against uses spread evenly."""
    rates = {}
    for name in ("even", "half"):
        worker, seconds = Partitions(), 0.0
        mine = _by_partition(200_000)[0]
        for i in range(15):
            drawn = np.random.default_rng(i)
            payers, creators = drawn.choice(mine, CHUNK), drawn.integers(0, 5_000, CHUNK)
            if name == "half":
                payers[::2], creators[::2] = mine[0], 0
            values = _uses(payers, i * CHUNK, MIDNIGHT_US - HOUR_US + i * CHUNK * 10, 10, creators)
            started = time.perf_counter()
            worker.take(0, values)
            seconds += time.perf_counter() - started
        rates[name] = worker.events / seconds
    return worker.figure("skew", seconds, even_per_s=round(rates["even"]))


def creators() -> Figure:
    """A hundred thousand creators, all of them in every hour of a day, through both stages in one process."""
    worker, seconds, ids = Partitions(with_accounts=True), 0.0, 0
    mine = _by_partition(20_000)
    for hour in range(4):
        every = np.random.default_rng(hour).permutation(CREATORS)
        for first in range(0, CREATORS, CHUNK):
            of = every[first : first + CHUNK]
            p = (first // CHUNK) % PARTITIONS
            values = _uses(np.resize(mine[p], len(of)), ids, MIDNIGHT_US - (5 - hour) * HOUR_US + first, 10, of)
            ids += len(of)
            started = time.perf_counter()
            worker.take(p, values)
            seconds += time.perf_counter() - started
    worker.close(MIDNIGHT_US + 24 * HOUR_US)
    assert worker.accounts is not None
    counts = worker.accounts.state.counts
    rows = counts["rows.account_tallies"] + counts["rows.payouts"]
    return worker.figure("creators", seconds, creators=CREATORS, account_rows_closed=rows)


BENCHES: dict[str, Callable[[], Figure]] = {
    "payers-million": payers_million,
    "close-million": close_million,
    "skew": skew,
    "creators": creators,
    "rebuild": rebuild,
}


def apart(name: str) -> Figure:
    """The bench of this name in a process of its own."""
    run = subprocess.run([sys.executable, "-m", "tests.bench.limits", name], stdout=subprocess.PIPE, check=True)
    told = json.loads(run.stdout.splitlines()[-1])
    return Figure(told.pop("bench"), told.pop("events_per_s"), 0, told)


if __name__ == "__main__":
    print(BENCHES[sys.argv[1]]().json_line())
