"""Drives the columnar payers' stage over a scenario: in any chunks and slices, rebuilt from its own output at will."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nanotally.streams.domain.records import PartitionLogic, RawChunk, Step
from tests.support.reference import partition_of
from tests.support.reference_accounts import Earned, Mark
from tests.support.reference_values import EarningKey, Record, Sum
from tests.support.reference_wire import decode, encode
from tests.support.scenarios import Scenario

ACCOUNT_PARTITIONS = 2
WHOLE = 10**9
MakeLogic = Callable[[Scenario, int], PartitionLogic]


def payers_logic(scenario: Scenario, slice_rows: int) -> PartitionLogic:
    from nanotally.streams.domain.payers import PayersLogic

    return PayersLogic(scenario.partition, scenario.partitions, ACCOUNT_PARTITIONS, slice_rows)


@dataclass
class Plan:
    """How a run goes: sizes of chunks one after the other (the last again and again), rows in a slice, and after
    which chunks the state is thrown away and rebuilt: 'ledger', 'snapshot' or 'fresh snapshot' by number."""

    chunks: tuple[int, ...] = (WHOLE,)
    slice_rows: int = WHOLE
    rebuilds: Mapping[int, str] = field(default_factory=dict)

    @staticmethod
    def random(r: random.Random, most: int = 9) -> Plan:
        chunks = tuple(r.randint(1, most) for _ in range(200))
        hows = ("ledger", "snapshot", "fresh snapshot")
        rebuilds = {i: r.choice(hows) for i in range(400) if r.random() < 0.15}
        return Plan(chunks, r.choice((1, 2, 5, WHOLE)), rebuilds)


@dataclass
class Found:
    """What a run wrote, decoded; rows of one kind in the order of writing."""

    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    # by partition of `earnings`: each message and its bytes
    messages: dict[int, list[tuple[Earned | Mark, bytes]]] = field(default_factory=dict)
    chunks: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0

    def of(self, name: str) -> list[dict[str, Any]]:
        return self.records.get(name, [])

    def earnings(self) -> dict[EarningKey, Sum]:
        sums: dict[EarningKey, Sum] = {}
        for message in (m for p in self.messages.values() for m, _ in p if isinstance(m, Earned)):
            sums.setdefault(message.key, Sum()).add(message.count, message.quantity, message.amount_nanos)
        return sums


def raw_chunk(scenario: Scenario, records: Sequence[Record]) -> RawChunk:
    return RawChunk(
        "usage",
        scenario.partition,
        np.array([r.offset for r in records], dtype=np.int64),
        np.array([r.recorded_at_us for r in records], dtype=np.int64),
        [r.key for r in records],
        [encode(r) for r in records],
    )


def run(scenario: Scenario, plan: Plan | None = None, make: MakeLogic = payers_logic) -> Found:
    """The whole scenario. Checks of every step what needs no reference: keys, partitions, order, running counts."""
    return Runner(scenario, plan or Plan(), make).run()


class Runner:
    def __init__(self, scenario: Scenario, plan: Plan, make: MakeLogic) -> None:
        self.scenario, self.plan, self.make = scenario, plan, make
        self.logic = make(scenario, plan.slice_rows)
        self.found = Found()
        self.ledger: list[bytes] = []
        self.snapshot: tuple[dict[str, bytes], int] | None = None
        self.rows: Counter[str] = Counter()
        self.inputs = {r.offset: r for r in scenario.records}
        self.r = random.Random(scenario.seed)

    def run(self) -> Found:
        records, number = list(self.scenario.records), 0
        while records or number == 0:
            size = self.plan.chunks[min(number, len(self.plan.chunks) - 1)]
            step = self.step(records[:size])
            assert step.taken <= size and (not step.done or step.taken == len(records[:size]))
            assert step.taken or not step.done or not records, "a step that takes nothing must say that it is not done"
            records = [x for x in records if x.offset >= step.next_offset] if step.taken else records
            if number in self.plan.rebuilds:
                self.rebuild(self.plan.rebuilds[number])
            number += 1
            assert number < 100_000, "the run does not end"
        return self.found

    def learn(self, logic: PartitionLogic, values: Sequence[bytes | None]) -> None:
        for number in logic.needed_books(values):
            if number in self.scenario.books:
                logic.learn(self.scenario.books[number])

    def step(self, records: Sequence[Record]) -> Step:
        chunk = raw_chunk(self.scenario, records)
        self.learn(self.logic, chunk.values)
        step = self.logic.decide(chunk)
        self.found.steps += 1
        values = [v for e in step.emissions for v in e.values]
        last = step.emissions[-1]
        assert (last.topic, last.partition) == (self.logic.chunk_topic, self.scenario.partition)
        name, chunk_record = decode(values[-1])
        assert name == "Chunk" and [decode(v)[0] for v in values].count("Chunk") == 1
        for emission in step.emissions:
            assert len(emission.keys) == len(emission.values)
            for key, value in zip(emission.keys, emission.values, strict=True):
                self.take(emission.topic, emission.partition, key, value)
        rejected = sum(decode(v)[0] == "Reject" and decode(v)[1]["reason"] != "still_unpriced" for v in values)
        assert step.rejected == rejected, f"step says {step.rejected} rejects, wrote {rejected}"
        assert chunk_record["next_offset"] == step.next_offset
        self.check_chunk(chunk_record)
        return step

    def check_chunk(self, chunk: dict[str, Any]) -> None:
        self.found.chunks.append(chunk)
        told = {k: v for k, v in chunk["counts"].items() if k.startswith("rows.") and v}
        written = {f"rows.{t}": n for t, n in self.rows.items()}
        assert told == written, f"rows: {told}, written: {written}"
        sums = chunk["sums"]
        for name in sums:
            if name.startswith("paid."):
                assert sums[name] == sums[name.replace("paid.", "shares.")], f"debits are not credits: {sums}"
        taken = sum(o < chunk["next_offset"] for o in self.inputs)
        assert chunk["records"] == taken, f"{chunk['records']} records, {taken} were taken"
        outcomes = ("charged", "refused", "unpriced", "duplicate", "rejected", "control")
        assert sum(chunk["counts"].get(o, 0) for o in outcomes) == taken, f"{taken} taken: {chunk['counts']}"
        assert (chunk["stage"], chunk["input_partition"]) == ("payers", self.scenario.partition)

    def take(self, topic: str, partition: int, key: bytes | None, value: bytes) -> None:
        name, record = decode(value)
        mine = self.scenario.partition
        if topic == "charges":
            self.ledger.append(value)
        if name != "Chunk":
            self.rows[topic] += 1
            self.found.records.setdefault(name, []).append(record)
        where = {
            "Charge": ("charges", mine, record.get("payer")),
            "ControlTaken": ("charges", mine, None),
            "Chunk": ("charges", mine, None),
            "Tally": ("payer_tallies", mine, record.get("account")),
            "Statement": ("statements", mine, record.get("account")),
            "Reject": ("rejects", mine, None),
        }
        if name == "Reject":
            source = self.inputs[record["offset"]]
            assert (key, record["key"], record["value"]) == (source.key, source.key, encode(source)), record
            assert (record["topic"], record["partition"]) == ("usage", mine)
            key = None
        if name in where:
            expected = where[name]
            assert (topic, partition, key.decode() if key is not None else None) == expected, (name, expected, key)
            return
        assert topic == "earnings", name
        if name == "SourceMark":
            self.found.messages.setdefault(partition, []).append((mark_of(record), value))
            return
        assert name == "Earning" and key == record["account"].encode()
        self.rows[f"earnings.{partition}"] += 1
        assert partition == partition_of(record["account"], ACCOUNT_PARTITIONS), record["account"]
        self.found.messages.setdefault(partition, []).append((earned_of(record), value))

    # ---- rebuilding ----

    def rebuild(self, how: str) -> None:
        """A new logic from nothing but what was written, or from a snapshot and what was written after it."""
        old = self.logic
        if how == "fresh snapshot" or (how == "snapshot" and self.snapshot is None):
            self.snapshot = old.snapshot(), len(self.ledger)
            if how == "snapshot":
                return
        self.logic = self.make(self.scenario, self.plan.slice_rows)
        first = 0
        if how != "ledger" and self.snapshot is not None:
            parts, first = self.snapshot
            self.logic.restore(parts)
        for start, end in self.batches(first):
            values = self.ledger[start:end]
            self.learn(self.logic, values)
            self.logic.evolve(values, start)
        self.learn(self.logic, [])
        last = self.found.chunks[-1]
        assert self.logic.resume(last) == last["next_offset"]
        assert self.logic.metrics() == old.metrics(), "metrics after the rebuild"
        payers = {r.value["payer"] for r in self.scenario.records if isinstance(r.value, dict)}
        for payer in sorted(payers):
            account = f"payer:{payer}"
            assert self.logic.account(account) == old.account(account), f"open windows of {account} after the rebuild"
        self.snapshot = None if how == "ledger" else self.snapshot

    def batches(self, first: int) -> Iterator[tuple[int, int]]:
        while first < len(self.ledger):
            end = min(len(self.ledger), first + self.r.choice((1, 3, 20, WHOLE)))
            yield first, end
            first = end


def run_accounts(partition: int, values: Sequence[bytes], r: random.Random) -> list[dict[str, Any]]:
    """The columnar accounts' stage over one partition of `earnings`, in random chunks and slices, now and then rebuilt
    from its input; gives the tallies and payouts it wrote."""
    from nanotally.streams.domain.accounts import AccountsLogic

    slice_rows = r.choice((1, 3, WHOLE))
    logic, written, at = AccountsLogic(partition, slice_rows), list[dict[str, Any]](), 0
    chunk: dict[str, Any] | None = None
    while at < len(values):
        part = list(values[at : at + r.choice((1, 7, 50, WHOLE))])
        places = np.arange(at, at + len(part), dtype=np.int64)
        step = logic.decide(RawChunk("earnings", partition, places, places, [None] * len(part), part))
        records = [decode(v) for e in step.emissions for v in e.values]
        assert records[-1][0] == "Chunk" and step.emissions[-1].topic == "account_tallies"
        written += [{"type": name, **record} for name, record in records[:-1]]
        chunk, at = records[-1][1], at + step.taken
        if r.random() < 0.1:
            logic = AccountsLogic(partition, slice_rows)
            logic.evolve(values[:at], 0)
            assert logic.resume(chunk) == at
    return written


def mark_of(record: Mapping[str, Any]) -> Mark:
    import json

    from nanotally.streams.domain.tariff import Settings

    settings = Settings.from_document(json.loads(record["settings"]))
    return Mark(record["source"], record["sources"], record["watermark_us"], record["book_number"], settings)


def earned_of(record: Mapping[str, Any]) -> Earned:
    key = EarningKey(
        record["account"], record["minute"], record["product"], record["meter"], record["scale"], record["currency"]
    )
    return Earned(record["source"], key, record["count"], record["quantity"], record["amount_nanos"])
