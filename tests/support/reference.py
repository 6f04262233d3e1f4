"""The payers' stage told plainly: one record after the other, dicts and exact numbers, nothing clever.

The columnar stage must agree with it field by field. The order of the questions asked of a record is the contract's:
can it be read, is it sound by itself, is it for this partition and this time, was it seen, what does the tariff say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor, lcm
from typing import Any

from kafka.partitioner.default import murmur2

from nanotally.streams.domain.tariff import Meter, Rule, RuleBook, Settings, TariffVersion
from tests.support.reference_pricing import (
    divide,
    exact_price,
    field_of,
    first_rule,
    max_price_nanos,
    resolve_split,
    scope_bounds,
    version_at,
    window,
)
from tests.support.reference_values import (
    LONG_AGO,
    TOO_MUCH,
    Charge,
    Control,
    ControlTaken,
    EarningKey,
    Event,
    Garbage,
    Line,
    Outputs,
    Record,
    Reject,
    Statement,
    Sum,
    Tally,
)

BASE_MUCH = 2**61
ID_BYTES, ITEM_BYTES, ATTRIBUTE_BYTES, ATTRIBUTES = 256, 1024, 1024, 64
QUANTITY_MAX, SCALE_MAX = 10**15, 18
YEAR_2000_US, YEAR_2200_US = 946_684_800_000_000, 7_258_118_400_000_000


@dataclass
class Scope:
    """What a scope has cumulated: unscaled quantity, the exact total without cap, whole nanos charged."""

    quantity: int = 0
    total: Fraction = Fraction(0)
    charged: int = 0


@dataclass(frozen=True)
class Found:
    """What the tariff says about a use."""

    version: TariffVersion
    rule: Rule
    meter: Meter
    max_price: Fraction | None


def partition_of(payer: str, partitions: int) -> int:
    return int((murmur2(payer.encode()) & 0x7FFFFFFF) % partitions)


def row_id(what: str, account: str, period: str, start_us: int, currency: str) -> str:
    return hashlib.sha256(f"{what}|{account}|{period}|{start_us}|{currency}".encode()).hexdigest()[:32]


class PayersReference:
    """One partition. `books` are all that were ever published, by number."""

    def __init__(self, partition: int, partitions: int, books: Mapping[int, RuleBook]) -> None:
        self.partition, self.partitions, self.books = partition, partitions, books
        self.out = Outputs()
        self.book: RuleBook | None = None
        self.watermark = LONG_AGO
        self.closed_to = LONG_AGO
        self.forgotten_to = LONG_AGO  # ids of uses before this are forgotten; a running maximum
        self.seen: dict[tuple[str, str, str], Event] = {}
        self.scopes: dict[tuple[Any, ...], Scope] = {}
        self.bases: dict[tuple[Any, ...], int] = {}
        self.windows: dict[tuple[int, str, int, str, str, str, int, str], Sum] = {}
        self.periods: dict[tuple[int, int, str, str], Sum] = {}
        self.late_versions: dict[tuple[str, int], int] = {}  # when they came, which was after their own time

    @property
    def settings(self) -> Settings:
        return self.book.settings if self.book else Settings()

    def run(self, records: Iterable[Record]) -> Outputs:
        for record in records:
            self.take(record)
        return self.out

    def take(self, record: Record) -> tuple[str, str]:
        """One record; gives outcome and reason, everything else is added to `out`."""
        value = record.value
        if isinstance(value, Garbage):
            outcome, reason = "rejected", value.reason
        elif isinstance(value, Control):
            outcome, reason = self.take_control(record, value)
        else:
            outcome, reason = self.take_use(record, value)
        if outcome == "rejected":
            self.out.rejects.append(Reject(record.offset, reason, record.recorded_at_us, record.key))
        self.out.outcomes[record.offset] = outcome, reason
        self.count(outcome)
        if reason:
            self.count(f"{outcome}.{reason}")
        return outcome, reason

    def count(self, name: str, by: int = 1) -> None:
        self.out.counts[name] = self.out.counts.get(name, 0) + by

    def sum(self, name: str, nanos: int) -> None:
        self.out.sums[name] = self.out.sums.get(name, 0) + nanos

    # ---- controls ----

    def take_control(self, record: Record, control: Control) -> tuple[str, str]:
        before = self.watermark
        at = control.at_us
        if control.kind == "activate":
            if control.book_number is None or control.book_number < 0 or not control.book_hash:
                return "rejected", "bad_control"
            book = self.books.get(control.book_number)
            if book is None or book.book_hash != control.book_hash:
                return "rejected", "bad_book"
            if self.book and book.number <= self.book.number:
                return "control", ""
            self.activate(book, record.recorded_at_us)
            self.taken(record, control, None, book.number, book.book_hash)
        elif control.kind == "tick":
            self.move(record.recorded_at_us - self.settings.lateness_us)
            if self.watermark > before:
                self.taken(record, control, self.watermark, None, None)
        elif control.kind == "close":
            if at is None or not 0 <= at < YEAR_2200_US:
                return "rejected", "bad_control"
            self.move(at)
            if self.watermark > before:
                self.taken(record, control, at, None, None)
        else:
            return "rejected", "bad_control"
        return "control", ""

    def activate(self, book: RuleBook, recorded_at: int) -> None:
        before = {(v.tariff, v.version) for v in self.book.tariffs} if self.book else None
        for v in book.tariffs:
            if before is not None and (v.tariff, v.version) not in before and v.effective_from_us < recorded_at:
                self.late_versions[v.tariff, v.version] = recorded_at
        self.book = book
        self.move(self.watermark)

    def taken(
        self, record: Record, control: Control, at: int | None, number: int | None, book_hash: str | None
    ) -> None:
        self.out.controls.append(
            ControlTaken(record.offset, record.recorded_at_us, control.control_id, control.kind, at, number, book_hash)
        )

    # ---- uses ----

    def take_use(self, record: Record, event: Event) -> tuple[str, str]:
        # A key that stands twice among the attributes cannot be told by a mapping, only by how it is written.
        twice = "invalid_id" if record.wire == "twice" and event["attributes"] else None
        reason = twice or self.unsound(event) or self.misplaced(record, event)
        if reason:
            return "rejected", reason
        key = (event["payer"], event["product"], event["event_id"])
        before = self.seen.get(key)
        if before is not None and before["occurred_at"] >= self.forgotten_to:
            return ("duplicate", "") if before == event else ("rejected", "conflict")
        outcome, reason, found = self.look_up(event)
        if outcome == "rejected":
            return outcome, reason
        watermark = max(self.watermark, event["occurred_at"] - self.settings.lateness_us)
        booked_at = max(event["occurred_at"], watermark)
        line: Line | None = None
        if found is not None:
            outcome, reason, line = self.price(event, found, booked_at, record.offset)
        self.move(watermark)
        self.seen[key] = event
        self.book_charge(record, event, booked_at, outcome, reason, found, line)
        return outcome, reason

    def unsound(self, event: Event) -> str | None:
        """What is wrong with the event whatever the time and the tariff."""
        ids = [(event[f], ID_BYTES) for f in ("event_id", "product", "payer", "meter")]
        ids += [(event["item"], ITEM_BYTES)]
        ids += [(event[f], ID_BYTES) for f in ("creator", "session") if event[f] is not None]
        if any(not 1 <= len(text.encode()) <= longest for text, longest in ids):
            return "invalid_id"
        attributes = event["attributes"]
        if len(attributes) > ATTRIBUTES or any(
            len(text.encode()) > ATTRIBUTE_BYTES for pair in attributes.items() for text in pair
        ):
            return "invalid_id"
        if event["quantity"] < 0:
            return "negative"
        if event["quantity"] > QUANTITY_MAX or not 0 <= event["scale"] <= SCALE_MAX:
            return "absurd"
        if not YEAR_2000_US <= event["occurred_at"] < YEAR_2200_US:
            return "absurd"
        return None

    def misplaced(self, record: Record, event: Event) -> str | None:
        """Wrong partition or wrong time."""
        if partition_of(event["payer"], self.partitions) != self.partition:
            return "wrong_partition"
        if event["occurred_at"] > record.recorded_at_us + self.settings.skew_us:
            return "future"
        if event["occurred_at"] < self.forgotten_to:
            return "too_old"
        return None

    def look_up(self, event: Event) -> tuple[str, str, Found | None]:
        """The rule for the use, or the outcome and reason why there is none."""
        tariff = self.book.tariff_of(event["product"]) if self.book else None
        version = version_at(self.book, tariff, event["occurred_at"]) if self.book and tariff else None
        if version is None:
            return "unpriced", "no_tariff", None
        meter = next((m for m in version.meters if m.name == event["meter"]), None)
        if meter is None:
            return "unpriced", "unknown_meter", None
        if event["scale"] != meter.scale:
            return "rejected", "wrong_scale", None
        if "session" in meter.needs and event["session"] is None:
            return "rejected", "no_session", None
        rule = first_rule(version, event)
        if rule is None:
            return "unpriced", "no_rule", None
        limit = None
        if "max_price" in event["attributes"]:
            limit = max_price_nanos(event["attributes"]["max_price"])
            if limit is None:
                return "rejected", "bad_price", None
        return "charged", "", Found(version, rule, meter, limit)

    def price(self, event: Event, found: Found, booked_at: int, offset: int) -> tuple[str, str, Line | None]:
        """The line of the use. Changes nothing yet."""
        rule, version = found.rule, found.version
        start, end = scope_bounds(rule.scope, booked_at, version.calendar)
        per = tuple((name, field_of(event, name)) for name in rule.per)
        own = offset if rule.scope == "event" else None
        key = (event["payer"], version.tariff, rule.name, rule.meter, rule.scope, per, start, own)
        scope = self.scopes.get(key, Scope())
        quantity = scope.quantity + event["quantity"]
        step = exact_price(rule, quantity) - exact_price(rule, scope.quantity)
        total = scope.total + step
        if max(floor(total), quantity) >= TOO_MUCH:
            return "refused", "out_of_range", None
        room = step if rule.cap_nanos is None else Fraction(max(0, rule.cap_nanos - scope.charged))
        if found.max_price is not None and min(step, room) > found.max_price:
            return "refused", "max_price", None
        due = floor(total) if rule.cap_nanos is None else min(floor(total), rule.cap_nanos)
        amount = max(0, due - scope.charged)
        parties = resolve_split(next(s for s in version.splits if s.name == rule.split), event)
        split_key = (version.currency, parties)
        base = self.bases.get(split_key, 0)
        if base >= BASE_MUCH:  # a base less by the common denominator divides alike
            base %= lcm(*(fraction.denominator for _, fraction in parties))
        line = Line(
            tariff=version.tariff,
            version=version.version,
            tariff_hash=version.content_hash[:16],
            rule=rule.name,
            scope=rule.scope,
            scope_key=key,
            scope_start_us=start,
            scope_end_us=end,
            quantity_before=scope.quantity,
            quantity=event["quantity"],
            total_before=scope.total,
            total_after=total,
            charged_before=scope.charged,
            amount_nanos=amount,
            paid_nanos=amount,
            split=rule.split,
            split_key=split_key,
            base_before=base,
            shares=divide(parties, base, amount),
        )
        return "charged", "", line

    def book_charge(
        self,
        record: Record,
        event: Event,
        booked_at: int,
        outcome: str,
        reason: str,
        found: Found | None,
        line: Line | None,
    ) -> None:
        late = booked_at > event["occurred_at"]
        self.out.charges.append(
            Charge(
                usage_offset=record.offset,
                n=0,
                event=event,
                payer=event["payer"],
                recorded_at_us=record.recorded_at_us,
                booked_at_us=booked_at,
                late=late,
                flags="late_version" if line and self.came_late(line, event) else "",
                outcome=outcome,
                reason=reason,
                currency=found.version.currency if found else "",
                paid_nanos=line.paid_nanos if line else 0,
                book_number=self.book.number if self.book else -1,
                lines=(line,) if line else (),
            )
        )
        self.count("late", late)
        if line and found:
            self.count("free", line.paid_nanos == 0)
            self.fold(event, line, booked_at, found.version.currency)

    def came_late(self, line: Line, event: Event) -> bool:
        """Whether the version that priced the use came into force after the use."""
        return bool(event["occurred_at"] < self.late_versions.get((line.tariff, line.version), LONG_AGO))

    def fold(self, event: Event, line: Line, booked_at: int, currency: str) -> None:
        """A charge into scope, base, open windows, period and earnings."""
        if line.scope != "event":
            self.scopes[line.scope_key] = Scope(
                line.quantity_before + line.quantity, line.total_after, line.charged_before + line.amount_nanos
            )
        self.bases[line.split_key] = line.base_before + line.paid_nanos
        self.sum(f"paid.{currency}", line.paid_nanos)
        self.sum(f"shares.{currency}", sum(s.nanos for s in line.shares))
        account, series = f"payer:{event['payer']}", (event["product"], event["meter"], event["scale"], currency)
        for size in self.settings.windows:
            start, end = window(size, booked_at, self.settings.zone)
            key = (end, size, start, account, *series)
            self.windows.setdefault(key, Sum()).add(1, event["quantity"], line.paid_nanos)
        start, end = window(self.settings.settlement, booked_at, self.settings.zone)
        self.periods.setdefault((end, start, account, currency), Sum()).add(1, 0, line.paid_nanos)
        minute, _ = window("minute", booked_at, self.settings.zone)
        for share in line.shares:
            earned = self.out.earnings.setdefault(EarningKey(share.account, minute, *series), Sum())
            earned.add(1, event["quantity"], share.nanos)

    # ---- time ----

    def move(self, to: int) -> None:
        """The watermark is a running maximum; what has ended behind it is closed."""
        self.watermark = max(self.watermark, to)
        if self.watermark > LONG_AGO:
            self.forgotten_to = max(self.forgotten_to, self.watermark - self.settings.horizon_us)
        if self.watermark > self.closed_to:
            self.close()

    def close(self) -> None:
        for key in sorted(k for k in self.windows if k[0] <= self.watermark):
            end, size, start, account, product, meter, scale, currency = key
            t = self.windows.pop(key)
            self.out.tallies.append(
                Tally(account, size, start, end, product, meter, scale, currency, t.count, t.quantity, t.amount_nanos)
            )
            self.sum(f"tallies.{size}.{currency}", t.amount_nanos)
        period = self.settings.settlement
        for ended in sorted(k for k in self.periods if k[0] <= self.watermark):
            end, start, account, currency = ended
            t = self.periods.pop(ended)
            name = row_id("statement", account, period, start, currency)
            self.out.statements.append(Statement(name, account, period, start, end, currency, t.count, t.amount_nanos))
            self.sum(f"settled.{currency}", t.amount_nanos)
        self.closed_to = self.watermark
