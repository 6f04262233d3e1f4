"""An auditor that shares no code with what it audits: reads the topics with a plain client, decodes Avro by itself from
the schemas' JSON, works everything out again in Python's integers, and compares. Nothing of the project is imported.

Usage: python auditor.py KAFKA PREFIX CLICKHOUSE_HTTP DATABASE FOLDER_OF_SCHEMAS FILE_OF_ARRIVED_USES

Prints one line of JSON: figures, and `differences`, of which there should be none. Ends with 1 where there are some.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from kafka import KafkaConsumer, TopicPartition

Reader = Callable[[bytes, int], tuple[Any, int]]
Record = dict[str, Any]
MARKER, HEADER = b"\xc3\x01", 10
SHOWN = 20


# --- Avro ---


def whole(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length zigzag integer and where the next field begins."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7


def some_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = whole(data, at)
    return data[at : at + size], at + size


def text(data: bytes, at: int) -> tuple[str, int]:
    size, at = whole(data, at)
    return data[at : at + size].decode(), at + size


SIMPLE: dict[str, Reader] = {
    "long": whole,
    "int": whole,
    "string": text,
    "bytes": some_bytes,
    "boolean": lambda data, at: (data[at] == 1, at + 1),
    "null": lambda data, at: (None, at),
}


def reader_of(schema: Any, named: dict[str, Reader]) -> Reader:
    """What reads a datum of the schema."""
    if isinstance(schema, list):
        branches = [reader_of(branch, named) for branch in schema]

        def union(data: bytes, at: int) -> tuple[Any, int]:
            branch, at = whole(data, at)
            return branches[branch](data, at)

        return union
    if isinstance(schema, str):
        return SIMPLE[schema] if schema in SIMPLE else named[schema.rpartition(".")[2]]
    kind = schema["type"]
    if kind == "record":
        fields = [(field["name"], reader_of(field["type"], named)) for field in schema["fields"]]

        def record(data: bytes, at: int) -> tuple[Record, int]:
            found = {}
            for name, read in fields:
                found[name], at = read(data, at)
            return found, at

        named[schema["name"]] = record
        return record
    if kind in ("array", "map"):
        return blocks(reader_of(schema["items" if kind == "array" else "values"], named), kind == "map")
    return reader_of(kind, named)


def blocks(item: Reader, keyed: bool) -> Reader:
    """Arrays and maps."""

    def read(data: bytes, at: int) -> tuple[Any, int]:
        found: list[Any] = []
        while True:
            count, at = whole(data, at)
            if count == 0:
                return (dict(found) if keyed else found), at
            if count < 0:
                count = -count
                _, at = whole(data, at)
            for _ in range(count):
                if keyed:
                    key, at = text(data, at)
                    value, at = item(data, at)
                    found.append((key, value))
                else:
                    value, at = item(data, at)
                    found.append(value)

    return read


def canonical(schema: Any, space: str = "") -> str:
    """Avro's Parsing Canonical Form, of the kinds of schemas there are here."""
    if isinstance(schema, list):
        return f"[{','.join(canonical(branch, space) for branch in schema)}]"
    if isinstance(schema, str):
        return json.dumps(schema if schema in SIMPLE or "." in schema else f"{space}.{schema}")
    kind = schema["type"]
    if kind == "record":
        space = schema.get("namespace", space)
        fields = (f'{{"name":"{f["name"]}","type":{canonical(f["type"], space)}}}' for f in schema["fields"])
        return f'{{"name":"{space}.{schema["name"]}","type":"record","fields":[{",".join(fields)}]}}'
    for inner in {"array": ("items",), "map": ("values",)}.get(kind, ()):
        return f'{{"type":"{kind}","{inner}":{canonical(schema[inner], space)}}}'
    return canonical(kind, space)


def fingerprint(form: str) -> bytes:
    """CRC-64-AVRO as it stands in a header."""
    empty = found = 0xC15D213AA4D7A795
    for byte in form.encode():
        low = (found ^ byte) & 0xFF
        for _ in range(8):
            low = (low >> 1) ^ (empty if low & 1 else 0)
        found = (found >> 8) ^ low
    return found.to_bytes(8, "little")


class Types:
    """The record types by what stands in front of a datum."""

    def __init__(self, folder: Path) -> None:
        self._by_header: dict[bytes, tuple[str, Reader]] = {}
        for file in sorted(folder.glob("*.avsc")):
            written = json.loads(file.read_text())
            self._by_header[MARKER + fingerprint(canonical(written))] = (written["name"], reader_of(written, {}))

    def read(self, value: bytes) -> tuple[str, Record]:
        """Name and fields. Raises KeyError for no type, IndexError, ValueError for what is cut off."""
        name, read = self._by_header[value[:HEADER]]
        record, at = read(value, HEADER)
        if at != len(value):
            raise ValueError(f"{len(value) - at} bytes too many")
        return name, record


# --- prices, from the tariffs' texts: nanos for one unscaled unit ---


class Price:
    """What a rule asks. per: what its scopes are of besides the payer; over: hour, day, month, life, or `told`, where
    only the ledger says when a scope began (sessions, and days that begin with a use)."""

    def __init__(self, over: str, per: tuple[str, ...] = (), zone: str = "UTC") -> None:
        self.over, self.per, self.zone = over, per, ZoneInfo(zone)

    def flat(self, nanos: int, most: int | None = None) -> Price:
        self.total = lambda s: nanos * (s.quantity if most is None else min(s.quantity, most))
        return self

    def graduated(self, *tiers: tuple[int | None, Nanos]) -> Price:
        def total(s: State) -> Nanos:
            step = tiered(tiers, s.quantity) - tiered(tiers, s.quantity - s.use["quantity"])
            return s.exact + (Fraction(step, 2) if s.use["attributes"].get("mode") == "batch" else step)

        self.total = total
        return self

    def each(self, price: Callable[[Record, int], int]) -> Price:
        self.total = lambda s: s.exact + price(s.use["attributes"], s.uses) * s.use["quantity"]
        return self

    def seconds(self, nanos: int, cap: int) -> Price:
        self.total = lambda s: nanos * ((s.quantity + 500) // 1000)
        self.cap = cap
        return self

    total: Callable[[State], Nanos]
    cap: int | None = None

    def start(self, booked_at: int, told: int) -> int:
        """First instant of the scope, microseconds UTC."""
        if self.over == "told":
            return told
        if self.over == "life":
            return 0
        at = datetime.fromtimestamp(booked_at // 1_000_000, self.zone).replace(minute=0, second=0)
        if self.over != "hour":
            at = at.replace(hour=0)
        if self.over == "month":
            at = at.replace(day=1)
        return int(at.timestamp()) * 1_000_000


Nanos = int | Fraction


class State:
    """A scope: what was used, exact total, what was charged."""

    def __init__(self) -> None:
        self.quantity = self.uses = self.charged = 0
        self.exact: Nanos = 0
        self.use: Record = {}


def tiered(tiers: tuple[tuple[int | None, Nanos], ...], quantity: int) -> Nanos:
    done = 0
    total: Nanos = 0
    for until, nanos in tiers:
        here = quantity if until is None else min(quantity, until)
        total += max(0, here - done) * nanos
        done = max(done, here)
    return total


def of_feature(attributes: Record, uses: int) -> int:
    name = attributes.get("feature", "")
    nanos = {"export": 20_000_000, "translate": 50_000_000}.get(name, 80_000_000 if name.startswith("ai-") else -1)
    return 0 if uses <= 3 else nanos


LESSON = {"school": 2_000_000, "student": 4_000_000, "pro": 20_000_000}
MILLION = 1_000_000
PRICES = {
    ("media-and-ai", "article"): Price("told", ("item",)).flat(5_000_000, most=1),
    ("media-and-ai", "tokens-in"): Price("month", ("item",)).graduated((10 * MILLION, 500), (None, 400)),
    ("media-and-ai", "tokens-out"): Price("month", ("item",)).flat(1500),
    ("music", "song"): Price("told", ("item", "session")).seconds(20_000, cap=4_000_000),
    ("cars", "card"): Price("told", ("item", "session")).flat(10_000_000, most=1),
    ("appliances", "reading"): Price("month", ("creator",)).flat(1000),
    ("models", "tokens-in"): Price("month", ("item",)).graduated(
        (10 * MILLION, 500), (1000 * MILLION, 400), (None, 250)
    ),
    ("models", "tokens-out"): Price("month", ("item",)).graduated((None, 1500)),
    ("tutor", "trial"): Price("life").flat(0),
    ("tutor", "lesson"): Price("month", ("module",)).each(lambda a, uses: LESSON[a["segment"]]),
    ("games", "extra"): Price("life", ("item",)).flat(190_000_000, most=1),
    ("games", "game"): Price("life", ("item",)).flat(990_000_000, most=1),
    ("house", "article"): Price("day", ("item",), "Europe/Berlin").flat(100_000_000, most=1),
    ("house", "video"): Price("day", ("item",), "Europe/Berlin").flat(2_000_000),
    ("editor", "feature"): Price("month", ("feature",)).each(of_feature),
    ("phones", "call"): Price("hour").flat(1_000_000),
}
MINIMUMS = {("phones", "call"): 50_000_000}


# --- the audit ---


class Auditor:
    """Reads everything and remembers what it found."""

    def __init__(self, kafka: str, prefix: str, http: str, database: str, schemas: Path) -> None:
        self.kafka, self.prefix, self.http, self.database = kafka, prefix, http, database
        self.types = Types(schemas)
        self.differences: list[str] = []
        self.counts: Counter[str] = Counter()
        self.lost = self.twice = 0
        self.owed: Counter[str] = Counter()  # by payer and currency
        self.earned: Counter[str] = Counter()  # by account and currency
        self.known: dict[tuple[str, str, str], str] = {}  # (product, payer, id) of uses that were kept -> place
        self.offsets: dict[str, dict[int, dict[int, int]]] = defaultdict(dict)  # topic, partition, offset -> nanos

    def wrong(self, what: str) -> None:
        self.counts["differences"] += 1
        if len(self.differences) < SHOWN:
            self.differences.append(what)

    def same(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self.wrong(f"{what}: {found} instead of {expected}")

    def records(self, topic: str, partition: int) -> Iterator[Any]:
        """All committed records of a partition."""
        place = TopicPartition(self.prefix + topic, partition)
        consumer = KafkaConsumer(
            bootstrap_servers=self.kafka, isolation_level="read_committed", enable_auto_commit=False,
            max_partition_fetch_bytes=8 << 20,
        )  # fmt: skip
        try:
            consumer.assign([place])
            consumer.seek_to_beginning(place)
            end = consumer.end_offsets([place])[place]
            while consumer.position(place) < end:
                yield from consumer.poll(timeout_ms=500, max_records=5000).get(place, [])
        finally:
            consumer.close(autocommit=False)

    def partitions(self, topic: str) -> list[int]:
        consumer = KafkaConsumer(bootstrap_servers=self.kafka)
        try:
            return sorted(consumer.partitions_for_topic(self.prefix + topic) or ())
        finally:
            consumer.close(autocommit=False)

    def typed(self, topic: str) -> Iterator[tuple[int, int, str, Record]]:
        """(partition, offset, type, fields) of a topic that nanotally alone writes."""
        for partition in self.partitions(topic):
            here = self.offsets[topic].setdefault(partition, {})
            for record in self.records(topic, partition):
                name, fields = self.types.read(record.value)
                if name != "Chunk":
                    here[record.offset] = nanos_of(name, fields)
                yield partition, record.offset, name, fields

    def audit(self, arrived: Path) -> None:
        """Everything."""
        for partition in self.partitions("usage"):
            Ledger(self, partition).audit()
        for line in arrived.read_text(encoding="utf-8").splitlines():
            product, payer, event_id = line.split("\t")
            if (product, payer, event_id) not in self.known:
                self.lost += 1
                self.wrong(f"use {event_id} of {payer} arrived in Kafka and has no outcome")
        self.accounts()
        self.settled()
        self.warehouse()

    def accounts(self) -> None:
        """Earnings, tallies of accounts, tallies of payers: each sums to the ledger."""
        sums: Counter[str] = Counter()
        for *_, name, fields in self.typed("earnings"):
            if name == "Earning":
                sums[f"{fields['account']} {fields['currency']}"] += fields["amount_nanos"]
        self.agree("earnings", sums, self.earned)
        self.tallies("account_tallies", self.earned)
        self.tallies("payer_tallies", Counter({f"payer:{payer}": n for payer, n in self.owed.items()}))

    def tallies(self, topic: str, expected: Counter[str]) -> None:
        sums: dict[str, Counter[str]] = defaultdict(Counter)
        seen: set[tuple[Any, ...]] = set()
        for *_, name, fields in self.typed(topic):
            if name != "Tally":
                continue
            key = tuple(fields[f] for f in ("account", "size", "window_start", "product", "meter", "scale", "currency"))
            if key in seen:
                self.twice += 1
                self.wrong(f"{topic}: {key} twice")
            seen.add(key)
            sums[fields["size"]][f"{fields['account']} {fields['currency']}"] += int(fields["amount_nanos"])
        self.same(f"{topic}: sizes", sorted(sums), ["day", "hour", "month"])
        for size, found in sums.items():
            self.agree(f"{topic} by {size}", found, expected)

    def agree(self, what: str, found: Counter[str], expected: Counter[str]) -> None:
        """Sums by account; those of zero may be absent."""
        for account in found.keys() | expected.keys():
            self.same(f"{what}: {account}", found[account], expected[account])

    def settled(self) -> None:
        """Statements sum to what is owed; payouts carry on what they do not pay, and sum to what is earned."""
        due: Counter[str] = Counter()
        for *_, fields in self.typed("statements"):
            due[f"{fields['account'].removeprefix('payer:')} {fields['currency']}"] += int(fields["due_nanos"])
        self.agree("statements", due, self.owed)
        earned: Counter[str] = Counter()
        by_account: dict[str, list[Record]] = defaultdict(list)
        for *_, fields in self.typed("payouts"):
            by_account[f"{fields['account']} {fields['currency']}"].append(fields)
        for account, payouts in by_account.items():
            carried = 0
            for fields in sorted(payouts, key=lambda f: int(f["period_start"])):
                brought, here, paid = (int(fields[f"{what}_nanos"]) for what in ("brought", "earned", "paid"))
                self.same(f"payouts: {account} brought", brought, carried)
                carried = int(fields["carried_nanos"])
                self.same(f"payouts: {account} paid and carried", paid + carried, brought + here)
                earned[account] += here
        self.agree("payouts", earned, self.earned)

    def warehouse(self) -> None:
        """ClickHouse has each record of the ledger and its topics once, with the same amounts."""
        for topic, amount in AMOUNTS.items():
            found: dict[int, Counter[tuple[int, int]]] = defaultdict(Counter)
            sql = f"SELECT kafka_partition, kafka_offset, {amount} FROM {self.database}.{topic}"
            if topic == "charges":
                sql += f" UNION ALL SELECT kafka_partition, kafka_offset, 0 FROM {self.database}.controls"
            for line in self.ask(sql):
                partition, offset, nanos = map(int, line.split("\t"))
                found[partition][offset, nanos] += 1
            for partition, expected in self.offsets[topic].items():
                rows = found.pop(partition, Counter())
                again = [row for row, times in rows.items() if times > 1]
                missing = expected.items() - rows.keys()
                self.twice += len(again)
                self.lost += len(missing)
                for what, places in (("twice", again), ("missing", missing), ("new", rows.keys() - expected.items())):
                    if places:
                        self.wrong(f"ClickHouse {topic}[{partition}]: {len(places)} rows {what}, as {min(places)}")
                self.counts["rows in ClickHouse"] += rows.total()
            self.same(f"ClickHouse {topic}: strange partitions", dict(found), {})

    def ask(self, sql: str) -> list[str]:
        url = f"http://{self.http}/?{urllib.parse.urlencode({'query': sql})}"
        with urllib.request.urlopen(url, timeout=300) as answer:
            return str(answer.read().decode()).splitlines()


# What ClickHouse has as the amount of a row, in nanos.
AMOUNTS = {
    "charges": "paid_nanos",
    "payer_tallies": "toInt128(amount * 1000000000)",
    "account_tallies": "toInt128(amount * 1000000000)",
    "statements": "toInt128(due * 1000000000)",
    "payouts": "toInt128(earned * 1000000000)",
    "rejects": "0",
}
FIELDS = {"Charge": "paid_nanos", "Tally": "amount_nanos", "Statement": "due_nanos", "Payout": "earned_nanos"}


def nanos_of(name: str, fields: Record) -> int:
    return int(fields[FIELDS[name]]) if name in FIELDS else 0


class Ledger:
    """One partition: each use against its one outcome, each charge worked out again."""

    def __init__(self, auditor: Auditor, partition: int) -> None:
        self.all, self.partition = auditor, partition
        self.usage = {r.offset: r.value for r in auditor.records("usage", partition)}
        self.outcomes: dict[int, list[str]] = defaultdict(list)
        self.keys: set[tuple[int, int]] = set()
        self.unpriced: dict[int, Record] = {}  # uses by offset
        self.redriven: set[int] = set()  # offsets of those that came once more
        self.scopes: dict[tuple[Any, ...], State] = {}
        self.bases: dict[tuple[int, int], int] = {}
        self.sums: Counter[str] = Counter()
        self.ended: list[tuple[State, int]] = []  # scopes whose minimum the charge in hand makes up for
        self.place = ""

    def audit(self) -> None:
        offsets = self.all.offsets["charges"].setdefault(self.partition, {})
        for record in self.all.records("charges", self.partition):
            self.place = f"charges[{self.partition}] {record.offset}"
            name, fields = self.all.types.read(record.value)
            if name == "Charge":
                self.charge(fields)
                offsets[record.offset] = fields["paid_nanos"]
            elif name == "ControlTaken":
                self.outcomes[fields["usage_offset"]].append("control")
                offsets[record.offset] = 0
            else:
                self.chunk(fields)
        self.rejects()
        self.every_use_has_one()
        for (tariff, rule, *_), scope in self.scopes.items():
            least = MINIMUMS.get((tariff, rule), 0)
            if scope.charged < least:
                self.all.wrong(f"a scope of {rule} was charged {scope.charged}, at least {least} are due")

    def charge(self, charge: Record) -> None:
        use, same = charge["event"], self.all.same
        key = (charge["usage_offset"], charge["n"])
        if key in self.keys:
            self.all.twice += 1
            self.all.wrong(f"{self.place}: {key} a second time")
        self.keys.add(key)
        if use is not None:
            self.outcomes[charge["usage_offset"]].append(charge["outcome"])
            name, published = self.all.types.read(self.usage[charge["usage_offset"]])
            if name == "Control":
                self.redriven_use(charge, published)
            else:
                self.new_use(charge, published)
        same(f"{self.place}: partition", charge["usage_partition"], self.partition)
        if charge["outcome"] not in ("charged", "due"):
            same(
                f"{self.place}: lines of what is {charge['outcome']}", (charge["lines"], charge["paid_nanos"]), ([], 0)
            )
        same(f"{self.place}: paid", charge["paid_nanos"], sum(line["paid_nanos"] for line in charge["lines"]))
        for line in charge["lines"]:
            self.line(charge, line)
        for scope, least in self.ended:
            same(f"{self.place}: charged at least", scope.charged, least)
        self.ended.clear()
        self.all.owed[f"{charge['payer']} {charge['currency']}"] += charge["paid_nanos"]
        self.all.counts[charge["outcome"]] += 1
        if charge["currency"]:
            self.sums[f"paid.{charge['currency']}"] += charge["paid_nanos"]

    def new_use(self, charge: Record, published: Record) -> None:
        use = charge["event"]
        self.all.same(f"{self.place}: the use", use, published)
        self.all.same(f"{self.place}: flags of a new use", "redrive" in charge["flags"], False)
        identity = (use["product"], use["payer"], use["event_id"])
        if identity in self.all.known:
            self.all.twice += 1
            self.all.wrong(f"{identity} is charged at {self.all.known[identity]} and at {self.place}")
        self.all.known[identity] = self.place
        if charge["outcome"] == "unpriced":
            self.unpriced[charge["usage_offset"]] = use

    def redriven_use(self, charge: Record, control: Record) -> None:
        """It found no price at the offset that the control names, and comes once more."""
        before, same = control["usage_offset"], self.all.same
        same(f"{self.place}: kind of the control", control["kind"], "redrive")
        same(f"{self.place}: the redriven use", charge["event"], control["use"])
        same(f"{self.place}: what was unpriced at {before}", self.unpriced.get(before), control["use"])
        same(f"{self.place}: flag of a redriven use", charge["flags"].split()[-1:], [f"redrive:{before}"])
        if before in self.redriven:
            self.all.twice += 1
            self.all.wrong(f"the use at {before} is redriven a second time at {self.place}")
        self.redriven.add(before)
        self.all.counts["redriven"] += 1

    def line(self, charge: Record, line: Record) -> None:
        same, paid = self.all.same, line["paid_nanos"]
        same(f"{self.place}: shares", sum(share["nanos"] for share in line["shares"]), paid)
        for share in line["shares"]:
            self.all.earned[f"{share['account']} {charge['currency']}"] += share["nanos"]
        if line["link"] == "rule":
            self.rule(charge, line)
            self.split(line)
        elif line["link"] == "minimum":
            self.minimum(charge, line)
            self.split(line)
        self.all.counts[f"lines: {line['link']}"] += 1

    def rule(self, charge: Record, line: Record) -> None:
        """The price, from the use and the scope's own history alone."""
        use, price = charge["event"], PRICES[line["tariff"], line["rule"]]
        start = price.start(charge["booked_at"], line["scope_start"])
        per = [use["attributes"].get(name) if name in use["attributes"] else use.get(name) for name in price.per]
        key = (line["tariff"], line["rule"], charge["payer"], start, *per)
        scope = self.scopes.setdefault(key, State())
        scope.quantity += use["quantity"]
        scope.uses += 1
        scope.use = use
        scope.exact = price.total(scope)
        capped = scope.exact // 1 if price.cap is None else min(scope.exact // 1, price.cap)
        rest = Fraction(line["remainder_after"], line["remainder_den"]) if line["remainder_after"] else 0
        told = (line["total_after"] + rest, line["charged_before"], line["amount_nanos"])
        self.all.same(f"{self.place}: {line['rule']}", told, (scope.exact, scope.charged, capped - scope.charged))
        scope.charged = capped
        self.all.same(
            f"{self.place}: paid beside a pass", line["paid_nanos"], 0 if line["pass"] else line["amount_nanos"]
        )
        self.all.counts["prices worked out again"] += 1

    def minimum(self, charge: Record, line: Record) -> None:
        """What is missing to it, in as many lines as the scope's charges had splits."""
        scope = self.scopes[line["tariff"], line["rule"], charge["payer"], line["scope_start"]]
        scope.charged += line["amount_nanos"]
        self.ended.append((scope, MINIMUMS[line["tariff"], line["rule"]]))

    def split(self, line: Record) -> None:
        """Each share but the last is the difference of floors of its fraction of all that was divided so far."""
        key, paid = (line["split_key_high"], line["split_key_low"]), line["paid_nanos"]
        before = self.bases.get(key, 0)
        if line["pass"] or not line["shares"]:
            return
        self.all.same(f"{self.place}: divided before", line["base_before"], before)
        self.bases[key] = before + paid
        rest = paid
        for share in line["shares"][:-1]:
            num, den = share["fraction_num"], share["fraction_den"]
            nanos = (before + paid) * num // den - before * num // den
            rest -= nanos
            self.all.same(f"{self.place}: share of {share['account']}", share["nanos"], nanos)
        self.all.same(f"{self.place}: the rest", line["shares"][-1]["nanos"], rest)
        self.all.counts["splits worked out again"] += 1

    def chunk(self, chunk: Record) -> None:
        """What the chunk record says of duplicates, and its running sums."""
        for offset in chunk["duplicates"]:
            self.outcomes[offset].append("duplicate")
            name, use = self.all.types.read(self.usage[offset])
            if name == "Control":
                known = use["usage_offset"] in self.redriven
            else:
                known = (use["product"], use["payer"], use["event_id"]) in self.all.known
            if not known:
                self.all.wrong(f"{self.place}: offset {offset} is said to be a repeat, and its use is not there")
        for name, found in self.sums.items():
            self.all.same(f"{self.place}: {name}", int(chunk["sums"].get(name, 0)), found)

    def rejects(self) -> None:
        offsets = self.all.offsets["rejects"].setdefault(self.partition, {})
        for record in self.all.records("rejects", self.partition):
            reject = self.all.types.read(record.value)[1]
            offsets[record.offset] = 0
            self.outcomes[reject["offset"]].append("rejected")
            self.all.same(f"rejects[{self.partition}] {record.offset}", reject["value"], self.usage[reject["offset"]])
            self.all.counts[f"rejected: {reject['reason']}"] += 1

    def every_use_has_one(self) -> None:
        for offset, value in self.usage.items():
            found = self.outcomes.pop(offset, [])
            if not found and self.may_be_silent(value):
                continue  # one that came again
            self.all.counts["records of usage"] += 1
            self.all.counts["duplicates"] += found == ["duplicate"]
            if not found:
                self.all.lost += 1
                self.all.wrong(f"usage[{self.partition}] {offset} has no outcome")
            elif len(found) > 1:
                self.all.twice += 1
                self.all.wrong(f"usage[{self.partition}] {offset} has {len(found)} outcomes: {', '.join(found)}")
        for offset, found in self.outcomes.items():
            self.all.wrong(f"usage[{self.partition}] {offset} is not there and has an outcome: {', '.join(found)}")

    def may_be_silent(self, value: bytes | None) -> bool:
        """A control that changes nothing leaves no record, but for one that carries a use."""
        try:
            name, record = self.all.types.read(value or b"")
            return name == "Control" and record["kind"] != "redrive"
        except (KeyError, IndexError, ValueError):
            return False


def main(arguments: list[str]) -> int:
    kafka, prefix, http, database, schemas, arrived = arguments
    began = datetime.now(UTC)
    auditor = Auditor(kafka, prefix, http, database, Path(schemas))
    auditor.audit(Path(arrived))
    took: timedelta = datetime.now(UTC) - began
    figures = {"lost": auditor.lost, "duplicated": auditor.twice, "took_s": round(took.total_seconds(), 1)}
    print(json.dumps({**figures, "counts": dict(auditor.counts), "differences": auditor.differences}))
    return 1 if auditor.differences else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
