"""What a lost machine costs: folding a ledger from its beginning, and beginning at a checkpoint of a large state.

rebuild: in a process of its own and without Kafka, so what reading the ledger takes comes on top of both; refold: the
first of the two from a real broker."""

from __future__ import annotations

import asyncio
import dataclasses
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from aiokafka.consumer.fetcher import PartitionRecords

from nanotally.schemas import codec
from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.records import FOLD_VERSION, Emission, RawChunk
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.environment import Environment
from nanotally.streams.pipeline.arenas import ARENAS_MB, keep_arenas
from nanotally.streams.pipeline.broker import Taken
from nanotally.streams.pipeline.checkpoints import CheckpointFile
from nanotally.streams.pipeline.kafka_broker import KafkaBroker
from nanotally.streams.pipeline.store import Labels, Snapshot
from nanotally.streams.tariffs.publishing import activation
from tests.bench.installation import prepare
from tests.bench.report import Figure
from tests.bench.usage import CHUNK, START_US, flat_book, usage

FOLDED = 1_000_000  # charges
PAYERS, ITEMS = 1_000_000, 5  # a scope for each pair
SINCE = 200_000  # charges after the checkpoint
BILLION = 10**9
MB = 1 << 20
LABELS = Labels("cluster", "payers", 0, "charges", "usage", FOLD_VERSION)


class Ledger:
    """A partition of the payers' stage that writes a ledger: each chunk of uses gives the values of a transaction."""

    def __init__(self, book: RuleBook) -> None:
        self.logic = PayersLogic(0, 1, 1)
        self.logic.learn(book)
        self.uses = 0
        self._offset = 0
        self.begin = self._take([activation(book).datum()])

    def chunk(self, payers: np.ndarray | None = None, item: int | None = None) -> list[bytes]:
        """Uses of the given payers, one of each and all of one item, or CHUNK as they are drawn."""
        n = CHUNK if payers is None else len(payers)
        batch = usage(n, seed=self.uses, ids=self.uses, start_us=START_US + self.uses, step_us=1)
        if payers is not None:
            names = pa.array([f"payer-{i:07d}" for i in payers.tolist()])
            batch = batch.set_column(3, "payer", names).set_column(5, "item", pa.repeat(f"item-{item}", n))
        self.uses += n
        return self._take(codec.encode("UsageEvent", batch))

    def _take(self, values: list[bytes]) -> list[bytes]:
        n = len(values)
        offsets = np.arange(self._offset, self._offset + n)
        self._offset += n
        keys: list[bytes | None] = [None] * n
        step = self.logic.decide(RawChunk("usage", 0, offsets, np.full(n, START_US), keys, values))
        assert step.done
        return [value for emission in step.emissions if emission.topic == "charges" for value in emission.values]


class Fold:
    """A partition that is rebuilt; seconds spent on it, records folded."""

    def __init__(self, book: RuleBook) -> None:
        self.logic = PayersLogic(0, 1, 1)
        self.logic.learn(book)
        self.seconds, self.records, self.next_offset = 0.0, 0, 0

    def take(self, values: Sequence[bytes]) -> None:
        started = time.perf_counter()
        self.logic.evolve(values, self.records)
        self.seconds += time.perf_counter() - started
        self.records += len(values)


def rebuild() -> Figure:
    """A million charges folded; then a state of a million payers and five million scopes to a checkpoint and back, and
    the charges since folded into it. What a billion charges of one partition cost either way follows from that: the
    next snapshot is due after as many records as there are rows of state."""
    keep_arenas(ARENAS_MB)  # as a worker does at its start
    fold_per_s = _fold_per_s()
    book = _book()
    ledger = Ledger(book)
    for item in range(ITEMS):
        for first in range(0, PAYERS, CHUNK):
            ledger.chunk(np.arange(first, first + CHUNK), item)
    with tempfile.TemporaryDirectory() as folder:
        file = CheckpointFile(Path(folder) / "0.checkpoint")
        started = time.perf_counter()
        file.write(LABELS, Snapshot(0, ledger.logic.snapshot()))
        write_s = time.perf_counter() - started
        size = file.path.stat().st_size
        restored = Fold(book)
        started = time.perf_counter()
        restored.logic.restore(file.read().parts)
        restored.logic.learn(book)
        restore_s = time.perf_counter() - started
    for _ in range(SINCE // CHUNK):
        restored.take(ledger.chunk())
    assert restored.logic.metrics() == ledger.logic.metrics() and restored.logic.size() == ledger.logic.size()
    rows = restored.logic.size()
    since_per_s = restored.records / restored.seconds
    return Figure(
        "rebuild", fold_per_s, 0,
        {
            "scopes": len(restored.logic.state.scopes), "state_rows": rows, "checkpoint_mb": size // MB,
            "checkpoint_s": round(write_s, 1), "restore_s": round(restore_s, 1),
            "since_per_s": round(since_per_s),
            "billion_folded_min": round(BILLION / fold_per_s / 60),
            "billion_restored_min": round((restore_s + rows / since_per_s) / 60, 1),
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // MB,
        },
    )  # fmt: skip


def _fold_per_s() -> float:
    """Records of the ledger folded a second, into a state of as many payers as there are in the draw."""
    ledger, fold = Ledger(flat_book()), Fold(flat_book())
    fold.take(ledger.begin)
    while ledger.uses < FOLDED:
        fold.take(ledger.chunk())
    assert fold.logic.metrics() == ledger.logic.metrics() and fold.logic.size() == ledger.logic.size()
    return fold.records / fold.seconds


def refold(base: Environment) -> Figure:
    """The same million charges, read from a real broker as a worker reads them whose state is lost."""
    environment = prepare(base, "refold", 1)
    PartitionRecords._consumer_record = lambda self, tp, record: record  # as the transport of a worker does
    return asyncio.run(_refold(environment))


async def _refold(environment: Environment) -> Figure:
    broker = KafkaBroker(environment.kafka, prefix=environment.prefix, group="bench")
    ledger, fold = Ledger(flat_book()), Fold(flat_book())
    writer = await broker.fence("payers", 0)
    values = ledger.begin
    while values:
        await writer.transact([Emission("charges", 0, [None] * len(values), values)], Taken("usage", 0, ledger.uses))
        values = ledger.chunk() if ledger.uses < FOLDED else []
    await writer.close()
    started, cpu = time.perf_counter(), time.process_time()
    while fold.logic.state.next_offset < ledger.logic.state.next_offset:  # the last marks come a moment later
        async for batch in broker.read_log("charges", 0, fold.next_offset):
            fold.take([value or b"" for value in batch.values])
            fold.next_offset = int(batch.offsets[-1]) + 1
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    await broker.close()
    assert fold.logic.metrics() == ledger.logic.metrics()
    return Figure("refold", fold.records / seconds, 0, {"records": fold.records, "cpu_s": round(cpu_s, 1)})


def _book() -> RuleBook:
    """The flat price, cumulated per payer and item for life."""
    book = flat_book()
    version = book.tariffs[0]
    rule = dataclasses.replace(version.rules[0], per=("item",))
    return dataclasses.replace(book, tariffs=(dataclasses.replace(version, rules=(rule,)),))
