"""A small installation in memory: usage of three days through the payers' stage and, told plainly, the accounts'.

Its topics can be read as Kafka's are, and spoiled before that."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np

from nanotally.schemas import codec
from nanotally.streams.commands.reconcile_reading import read
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.reconciling import Report
from nanotally.streams.domain.reconciling_run import Material, check_all
from nanotally.streams.domain.records import RawChunk
from nanotally.streams.domain.tariff import Meter, Party, Rule, RuleBook, Settings, Split, TariffVersion, Tier
from nanotally.streams.errors import NotFound
from nanotally.streams.publisher_ledger import Records
from nanotally.streams.tariffs.publishing import activation, closing
from tests.support.reference_accounts import AccountsReference, Earned, Mark
from tests.support.reference_values import EarningKey

DAY_US = 86_400_000_000
START_US = 1_700_092_800_000_000  # 16 November 2023
PARTITIONS, ACCOUNT_PARTITIONS = 2, 2

STANDARD = Split("standard", (Party("platform", Fraction(1, 10)), Party("creator", None)))
PAGES = Rule(
    "pages", "page.view", (), (Tier(1, Fraction(5_000_000)), Tier(None, Fraction(0))), ("item",), "day", "standard"
)
TOKENS = Rule("tokens", "token", (), (Tier(100, Fraction(1000, 3)), Tier(None, Fraction(7))), (), "month", "standard")
TARIFF = TariffVersion(
    "t", 1, 0, "USD", "UTC", (), (Meter("page.view", "page"), Meter("token", "token")), (STANDARD,), (PAGES, TOKENS)
)
BOOK = RuleBook(0, Settings(thresholds=(("USD", 12_000_000),)), (TARIFF,))

REDRIVE = {"control_id": "again", "kind": "redrive", "usage_offset": 0, "note": ""}

HISTORY = {
    "partition": 0, "reason": "future", "to_partition": 0, "event_id": "e", "mended": False, "at": START_US, "note": "",
}  # fmt: skip

Log = list[tuple[int, bytes]]  # offset and value


@dataclass
class World:
    """Topics by logical name and partition; offsets have holes where Kafka's markers are. firsts: the oldest offsets,
    where retention took some; widths: partitions of topics that somebody has changed."""

    topics: dict[str, dict[int, Log]] = field(default_factory=dict)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    firsts: dict[tuple[str, int], int] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    book: RuleBook = BOOK

    def write(self, topic: str, partition: int, values: list[bytes]) -> None:
        """One transaction's records in a partition, and its marker."""
        end = self.ends.get((topic, partition), 0)
        self.topics.setdefault(topic, {}).setdefault(partition, []).extend(
            (end + i, value) for i, value in enumerate(values)
        )
        self.ends[topic, partition] = end + len(values) + 1

    def material(self) -> Material:
        """What the command reads of it."""
        return asyncio.run(read(_Reader(self), [self.book], 0.0))  # type: ignore[arg-type]

    def report(self) -> Report:
        """All checks but those of ClickHouse."""
        report = Report()
        report.add(check_all(self.material()))
        return report

    def copy(self) -> World:
        """One to spoil."""
        return copy.deepcopy(self)

    def spoil(self, topic: str, record: str, change: Callable[[dict[str, Any]], Any], nth: int = 0) -> tuple[int, int]:
        """Changes the nth record of that type; gives its partition and offset."""
        partition, place = self.find(topic, record, nth)
        offset, value = self.topics[topic][partition][place]
        fields = codec.decode_one(value)[1]
        change(fields)
        self.topics[topic][partition][place] = (offset, codec.encode_one(record, fields))
        return partition, offset

    def spoil_last_chunk(self, partition: int, **changes: Any) -> None:
        """Changes the last chunk record of a partition of the ledger."""
        log = self.topics["charges"][partition]
        name, record = codec.decode_one(log[-1][1])
        log[-1] = (log[-1][0], codec.encode_one(name, record | changes))

    def find(self, topic: str, record: str, nth: int) -> tuple[int, int]:
        """Partition and place of the nth record of that type."""
        for partition in sorted(self.topics[topic]):
            for place, (_, value) in enumerate(self.topics[topic][partition]):
                if codec.decode_one(value)[0] == record:
                    if nth == 0:
                        return partition, place
                    nth -= 1
        raise LookupError(f"no {record} in {topic}")

    def remove(self, topic: str, record: str, nth: int = 0) -> tuple[int, int]:
        """Takes the nth record of that type out; gives its partition and offset."""
        partition, place = self.find(topic, record, nth)
        return partition, self.topics[topic][partition].pop(place)[0]

    def double(self, topic: str, record: str, nth: int = 0) -> tuple[int, int]:
        """Puts the nth record of that type in again in place of the one after it; gives partition and new offset."""
        partition, place = self.find(topic, record, nth)
        log = self.topics[topic][partition]
        log[place + 1] = (log[place + 1][0], log[place][1])
        return partition, log[place + 1][0]


class _Reader:
    """What the command needs of a TopicReader."""

    def __init__(self, world: World) -> None:
        self._world = world

    def partitions(self, topic: str) -> list[int]:
        if topic not in self._world.topics:
            raise NotFound(f"there is no topic {topic}")
        return sorted(self._world.topics[topic])

    async def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        count = ACCOUNT_PARTITIONS if topic in ("earnings", "account_tallies", "payouts") else PARTITIONS
        count = 1 if topic == "redrives" else self._world.widths.get(topic, count)
        firsts, ends = self._world.firsts, self._world.ends
        return {p: (firsts.get((topic, p), 0), ends.get((topic, p), 0)) for p in range(count)}

    async def written(self, topic: str) -> dict[int, int]:
        return {p: end for p, (_, end) in (await self.bounds(topic)).items()}

    async def read(self, topic: str, partition: int, offset: int, wait_s: float) -> list[Any]:
        log = self._world.topics.get(topic, {}).get(partition, [])
        return [SimpleNamespace(offset=at, value=value) for at, value in log if at >= offset]

    async def read_all(self, topic: str, wanted: Mapping[int, tuple[int, int]] | None = None) -> dict[int, Records]:
        ranges = wanted or await self.bounds(topic)
        found = {p: Records(topic, p, *ranges[p]) for p in ranges}
        async for piece in self.stream(topic, ranges):
            found[piece.partition].extend(piece)
        return found

    async def stream(self, topic: str, ranges: Mapping[int, tuple[int, int]]) -> AsyncIterator[Records]:
        for p, (first, end) in ranges.items():
            log = [r for r in self._world.topics.get(topic, {}).get(p, []) if first <= r[0] < end]
            for start in range(0, len(log), 7):  # pieces that end anywhere
                some = log[start : start + 7]
                offsets = np.array([r[0] for r in some], dtype=np.int64)
                yield Records(topic, p, first, end, offsets, offsets, [None] * len(some), [r[1] for r in some])


def use(number: int, **fields: Any) -> dict[str, Any]:
    """The number-th use: seven payers, three creators, pages and tokens, an hour apart."""
    return {
        "event_id": f"e-{number}",
        "occurred_at": START_US + number * 3_600_000_000,
        "product": "any",
        "payer": f"p-{number % 7}",
        "creator": f"c-{number % 3}" if number % 5 else None,
        "item": f"i-{number % 4}",
        "meter": "token" if number % 3 == 0 else "page.view",
        "quantity": 40 if number % 3 == 0 else 1,
        "scale": 0,
        "session": None,
        "duration_us": None,
        "attributes": {},
    } | fields


def world(book: RuleBook = BOOK, redriven: bool = False, **fields: Any) -> World:
    """70 uses over three days, repeats and bad ones among them, closed after two days. redriven: in each partition the
    first use comes before there is a price, and is redriven, twice. fields: that all uses have."""
    made = World(book=book)
    inputs = _usage(book, fields, redriven)
    for p in range(PARTITIONS):
        logic = PayersLogic(p, PARTITIONS, ACCOUNT_PARTITIONS)
        logic.learn(made.book)
        records = inputs[p]
        made.write("usage", p, [value for _, value in records])
        for start in range(0, len(records), 11):
            some = records[start : start + 11]
            chunk = RawChunk(
                "usage",
                p,
                np.arange(start, start + len(some), dtype=np.int64),
                np.full(len(some), START_US + 4 * DAY_US, dtype=np.int64),
                [key for key, _ in some],
                [value for _, value in some],
            )
            for emission in logic.decide(chunk).emissions:
                made.write(emission.topic, emission.partition, list(emission.values))
    for q in range(ACCOUNT_PARTITIONS):
        _accounts(made, q)
    made.write(
        "redrives", 0, [codec.encode_one("Redrive", HISTORY | {"offset": n, "to_offset": 50 + n}) for n in (3, 5)]
    )
    return made


def _usage(
    book: RuleBook, common: dict[str, Any], redriven: bool = False
) -> dict[int, list[tuple[bytes | None, bytes]]]:
    uses = [use(n) for n in range(70)]
    uses += [
        use(68),  # told again
        use(67, item="other"),  # the same id with other content
        use(3, event_id="e-3-late"),  # too old
        use(71, quantity=-1),
        use(70, meter="unknown"),
        use(72, attributes={"max_price": "0"}, item="x", meter="page.view", quantity=1),
    ]
    inputs: dict[int, list[tuple[bytes | None, bytes]]] = {p: [] for p in range(PARTITIONS)}
    early = [use(n, event_id=f"early-{n}") | common for n in range(7) if redriven]
    before = {partition_of(fields["payer"].encode(), PARTITIONS): fields for fields in early}
    for p, fields in before.items():
        inputs[p].append((fields["payer"].encode(), codec.encode_one("UsageEvent", fields)))
    for p in inputs:
        inputs[p].append((None, activation(book).datum()))
    for fields in uses:
        fields |= common
        key = fields["payer"].encode()
        inputs[partition_of(key, PARTITIONS)].append((key, codec.encode_one("UsageEvent", fields)))
    for p, fields in before.items():
        inputs[p] += [(None, codec.encode_one("Control", REDRIVE | {"use": fields}))] * 2
    for p in inputs:
        inputs[p].append((b"k", b"garbage"))
        inputs[p].append((None, closing(START_US + 2 * DAY_US).datum()))  # the watermark is past it: changes nothing
    return inputs


def _accounts(made: World, q: int) -> None:
    """The accounts' stage over all earnings of a partition, in one transaction."""
    reference = AccountsReference()
    messages: list[Earned | Mark] = []
    for _, value in made.topics.get("earnings", {}).get(q, []):
        name, record = codec.decode_one(value)
        if name == "SourceMark":
            settings = Settings.from_document(json.loads(record["settings"]))
            messages.append(Mark(record["source"], record["sources"], record["watermark_us"], 0, settings))
        else:
            names = ("account", "minute", "product", "meter", "scale", "currency")
            told = (record[name] for name in ("count", "quantity", "amount_nanos"))
            messages.append(Earned(record["source"], EarningKey(*(record[n] for n in names)), *told))
    reference.run(messages)
    tallies = [
        codec.encode_one(
            "Tally",
            {
                "account": t.account, "size": t.size, "window_start": t.window_start_us, "window_end": t.window_end_us,
                "product": t.product, "meter": t.meter, "scale": t.scale, "currency": t.currency, "count": t.count,
                "quantity": str(t.quantity), "amount_nanos": str(t.amount_nanos),
            },
        )
        for t in reference.tallies
    ]  # fmt: skip
    payouts = [codec.encode_one("Payout", _payout(p)) for p in reference.payouts]
    sums: dict[str, int] = {"earned.USD": sum(m.amount_nanos for m in messages if isinstance(m, Earned))}
    for t in reference.tallies:
        sums[f"tallies.{t.size}.USD"] = sums.get(f"tallies.{t.size}.USD", 0) + t.amount_nanos
    for payout in reference.payouts:
        sums["settled.USD"] = sums.get("settled.USD", 0) + payout.earned_nanos
        sums["paid.USD"] = sums.get("paid.USD", 0) + payout.paid_nanos
    sums["carried.USD"] = sum(reference.carried.values())
    log = made.topics.get("earnings", {}).get(q, [])
    chunk = {
        "stage": "accounts", "input_partition": q, "next_offset": log[-1][0] + 1 if log else 0, "next_n": 0,
        "watermark_us": reference.closed_to, "closed_to_us": reference.closed_to,
        "cursor": None, "book_number": 0, "book_hash": "", "records": len(messages),
        "counts": {"rows.account_tallies": len(tallies), "rows.payouts": len(payouts)},
        "sums": {name: str(value) for name, value in sums.items()}, "duplicates": [], "source_watermarks": {},
    }  # fmt: skip
    made.write("account_tallies", q, [*tallies, codec.encode_one("Chunk", chunk)])
    made.write("payouts", q, payouts)


def _payout(payout: Any) -> dict[str, Any]:
    record = {name: getattr(payout, name) for name in ("payout_id", "account", "period", "currency", "count")}
    record |= {"period_start": payout.period_start_us, "period_end": payout.period_end_us}
    return record | {
        f"{name}_nanos": str(getattr(payout, f"{name}_nanos")) for name in ("brought", "earned", "paid", "carried")
    }
