"""Target `stage`: any bytes in any order through the payers' stage, and what it writes through the accounts' stage and
the sink. Every record has one outcome, debits equal credits, the same however it is cut into chunks and slices, rebuilt
from the ledger and from snapshots; rejects keep key and bytes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from nanotally.schemas import catalog, codec
from nanotally.sinks.rows import take
from nanotally.sinks.tables import TOPICS
from nanotally.streams.domain.accounts import AccountsLogic
from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.records import RawChunk
from nanotally.streams.domain.tariff import RuleBook
from tests.support.records import mutated, random_record
from tests.support.reference_wire import encode
from tests.support.scenarios import Scenario, scenario

ACCOUNT_PARTITIONS = 2
SIZE = 40
OUTCOMES = ("charged", "refused", "unpriced", "duplicate", "rejected", "control")
LASTING = ("Charge", "ControlTaken", "Tally", "Statement", "Reject")


class Raw(NamedTuple):
    """A record of `usage`."""

    recorded_at_us: int
    key: bytes | None
    value: bytes | None


@dataclass
class Written:
    """What a run wrote: values by topic and partition, and the last chunk record."""

    values: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)
    chunk: dict[str, Any] = field(default_factory=dict)

    def lasting(self) -> dict[str, list[bytes]]:
        """What does not depend on chunks, by record type, in order."""
        found: dict[str, list[bytes]] = {name: [] for name in LASTING}
        for values in self.values.values():
            for value in values:
                name = catalog.name_of(value) or ""
                if name in found:
                    found[name].append(value)
        return found


def case(random_: random.Random) -> Counter[str]:
    """One partition with some books."""
    made = scenario(random_.randrange(1 << 40), SIZE)
    raws = _spoilt(made, random_)
    whole = run(made, raws, [len(raws)])
    _check(whole, raws)
    sizes = [random_.randrange(1, 9) for _ in raws]
    other = run(made, raws, sizes, slice_rows=random_.choice([1, 3, 20_000]), rebuild=random_)
    assert other.lasting() == whole.lasting(), f"chunks of {sizes} give something else"
    _further(whole)
    return Counter({name: n for name in OUTCOMES if (n := whole.chunk["counts"].get(name, 0))})


def _spoilt(made: Scenario, random_: random.Random) -> list[Raw]:
    """The records of a scenario, some of them mutated, with strangers in between, in another order now and then."""
    share = random_.choice([0.05, 0.3, 0.8])
    raws: list[Raw] = []
    for record in made.records:
        value = encode(record)
        if value and len(value) > catalog.HEADER_BYTES and random_.random() < share:
            value = mutated(value, random_)
        raws.append(Raw(record.recorded_at_us, record.key, value))
        if random_.random() < 0.1:
            raws.append(Raw(record.recorded_at_us, random_.choice([None, b"", b"\xff\x00", b"k" * 999]), _any(random_)))
    if random_.random() < 0.3:
        random_.shuffle(raws)
    return raws


def _any(random_: random.Random) -> bytes | None:
    """A datum of any record type, or bytes of none."""
    if random_.random() < 0.3:
        return random_.choice([None, b"", b"\xc3\x01", random_.randbytes(random_.randrange(60)), b"\x00" * 5_000])
    name = random_.choice([*catalog.names(), "UsageEvent", "UsageEvent", "Control"])
    record = random_record(catalog.schema(name).shape, random_)
    if name == "Control" and random_.random() < 0.5:
        record |= {
            "kind": "redrive",
            "usage_offset": random_.choice([record["usage_offset"], 0, 1, random_.randrange(50)]),
        }
    return codec.encode_one(name, record)


def run(
    made: Scenario,
    raws: Sequence[Raw],
    sizes: Sequence[int],
    slice_rows: int = 20_000,
    rebuild: random.Random | None = None,
) -> Written:
    """Takes the records in chunks of these sizes; with `rebuild` the state is made anew now and then."""
    logic, written, at = _logic(made, slice_rows), Written(), 0
    for size in sizes:
        part = raws[at : at + size]
        if not part:
            break
        chunk = RawChunk(
            "usage",
            made.partition,
            np.arange(at, at + len(part)),
            np.array([raw.recorded_at_us for raw in part], dtype=np.int64),
            [raw.key for raw in part],
            [raw.value for raw in part],
        )
        done, steps = False, 0
        while not done:
            rest = chunk.since(logic.state.next_offset)
            _learn(logic, made.books, rest.values)
            step = logic.decide(rest)
            done, steps = step.done, steps + 1
            assert steps < 100_000, "a chunk that is never done"
            for emission in step.emissions:
                written.values.setdefault((emission.topic, emission.partition), []).extend(emission.values)
            if rebuild is not None and rebuild.random() < 0.1:
                logic = _rebuilt(made, logic, written, rebuild.random() < 0.5)
        at += len(part)
    written.chunk = _last_chunk(written, made.partition)
    return written


def _logic(made: Scenario, slice_rows: int) -> PayersLogic:
    return PayersLogic(made.partition, made.partitions, ACCOUNT_PARTITIONS, slice_rows)


def _learn(logic: PayersLogic, books: dict[int, RuleBook], values: Sequence[bytes | None]) -> None:
    for number in logic.needed_books(values):
        if number in books:
            logic.learn(books[number])


def _rebuilt(made: Scenario, old: PayersLogic, written: Written, snapshot: bool) -> PayersLogic:
    new = _logic(made, old.slice_rows)
    for known in made.books.values():
        new.learn(known)
    if snapshot:
        new.restore(old.snapshot())
    else:
        new.evolve(written.values["charges", made.partition], 0)
        assert new.resume(_last_chunk(written, made.partition)) == old.state.next_offset
    assert new.metrics() == old.metrics()
    return new


def _last_chunk(written: Written, partition: int) -> dict[str, Any]:
    name, chunk = codec.decode_one(written.values["charges", partition][-1])
    assert name == "Chunk"
    return chunk


def _check(written: Written, raws: Sequence[Raw]) -> None:
    counts, sums = written.chunk["counts"], written.chunk["sums"]
    assert sum(counts.get(name, 0) for name in OUTCOMES) == len(raws) == written.chunk["records"], counts
    for name, nanos in sums.items():
        if name.startswith("paid."):
            assert sums[name.replace("paid.", "shares.")] == nanos, sums
    for value in written.lasting()["Reject"]:
        _, reject = codec.decode_one(value)
        raw = raws[reject["offset"]]
        assert (reject["key"], reject["value"], reject["recorded_at"]) == (raw.key, raw.value, raw.recorded_at_us)
        assert reject["reason"] and reject["detail"]


def _further(written: Written) -> None:
    """What the stage wrote is read by the stages behind it without a complaint."""
    for (topic, partition), values in written.values.items():
        n = len(values)
        offsets, times = np.arange(n), np.zeros(n, dtype=np.int64)
        chunk = RawChunk(topic, partition, offsets, times, [None] * n, values)
        if topic == "earnings":
            logic = AccountsLogic(partition)
            while not logic.decide(chunk.since(logic.state.next_offset)).done:
                pass
            logic.state.balance()
        elif topic in TOPICS:
            take(chunk)
