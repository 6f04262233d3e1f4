"""The payers' stage told plainly: one record after the other, dicts and exact numbers, nothing clever.

The columnar stage must agree with it field by field. The order of the questions asked of a record is the contract's:
can it be read, is it sound by itself, is it for this partition and this time, was it seen, what does the tariff say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from math import lcm

from kafka.partitioner.default import murmur2

from nanotally.streams.domain.tariff import RuleBook, Settings
from tests.support.reference_dues import Order, by_text, lines_due, next_due
from tests.support.reference_scopes import Priced, Scopes
from tests.support.reference_splits import Part, Parts, divide
from tests.support.reference_uses import Found, look_up, pieces_of, rate_use
from tests.support.reference_values import (
    LONG_AGO,
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
    Share,
    Statement,
    Sum,
    Tally,
)
from tests.support.reference_windows import window

BASE_MUCH = 2**61
ID_BYTES, ITEM_BYTES, ATTRIBUTE_BYTES, ATTRIBUTES = 256, 1024, 1024, 64
QUANTITY_MAX, SCALE_MAX = 10**15, 18
YEAR_2000_US, YEAR_2200_US = 946_684_800_000_000, 7_258_118_400_000_000


def partition_of(payer: str, partitions: int) -> int:
    return int((murmur2(payer.encode()) & 0x7FFFFFFF) % partitions)


def pool_of(tariff: str, name: str) -> str:
    """Where a pass keeps what it took in."""
    return f"pool:{tariff}/{name}"


def row_id(what: str, account: str, period: str, start_us: int, currency: str) -> str:
    return hashlib.sha256(f"{what}|{account}|{period}|{start_us}|{currency}".encode()).hexdigest()[:32]


class PayersReference:
    """One partition. `books` are all that were ever published, by number; `due_order` is how scopes that end together
    follow each other."""

    def __init__(
        self, partition: int, partitions: int, books: Mapping[int, RuleBook], due_order: Order = by_text
    ) -> None:
        self.partition, self.partitions, self.books = partition, partitions, books
        self.due_order = due_order
        self.out = Outputs()
        self.book: RuleBook | None = None
        self.watermark = LONG_AGO
        self.closed_to = LONG_AGO
        self.forgotten_to = LONG_AGO  # ids of uses before this are forgotten; a running maximum
        self.seen: dict[tuple[str, str, str], Event] = {}
        self.redriven: set[int] = set()  # where uses stood that were taken once more
        self.scopes = Scopes()
        self.bases: dict[tuple[str, Parts], int] = {}
        self.at_offset = 0  # charges written at the offset of the record that is being taken
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
        self.at_offset = 0
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
            self.activate(record, book)
            self.taken(record, control, None, book.number, book.book_hash)
        elif control.kind == "redrive":
            return self.redrive(record, control.usage_offset, control.use)
        elif control.kind == "tick":
            self.move(record, record.recorded_at_us - self.settings.lateness_us)
            if self.watermark > before:
                self.taken(record, control, self.watermark, None, None)
        elif control.kind == "close":
            if at is None or not 0 <= at < YEAR_2200_US:
                return "rejected", "bad_control"
            self.move(record, at)
            if self.watermark > before:
                self.taken(record, control, at, None, None)
        else:
            return "rejected", "bad_control"
        return "control", ""

    def activate(self, record: Record, book: RuleBook) -> None:
        recorded_at = record.recorded_at_us
        before = {(v.tariff, v.version) for v in self.book.tariffs} if self.book else None
        for v in book.tariffs:
            if before is not None and (v.tariff, v.version) not in before and v.effective_from_us < recorded_at:
                self.late_versions[v.tariff, v.version] = recorded_at
        self.book = book
        self.move(record, self.watermark)

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
        reason = twice or self.unsound(event) or self.misplaced(record, event) or self.too_old(event)
        if reason:
            return "rejected", reason
        key = (event["payer"], event["product"], event["event_id"])
        before = self.seen.get(key)
        if before is not None and before["occurred_at"] >= self.forgotten_to:
            return ("duplicate", "") if before == event else ("rejected", "conflict")
        outcome, reason, found = look_up(self.book, event)
        if outcome == "rejected":
            return outcome, reason
        self.seen[key] = event
        return self.charge(record, event, outcome, reason, found)

    def redrive(self, record: Record, first: int | None, event: Event | None) -> tuple[str, str]:
        """The use that found no price at the offset `first`, once more: its age and its id do not count, and one that
        still has no price is told so and leaves no trace."""
        if first is None or event is None or first < 0 or first >= record.offset:
            return "rejected", "bad_control"
        reason = self.unsound(event) or self.misplaced(record, event)
        if reason:
            return "rejected", reason
        if first in self.redriven:
            return "duplicate", ""
        outcome, reason, found = look_up(self.book, event)
        if outcome == "rejected":
            return outcome, reason
        if found is None or self.book is None or isinstance(pieces_of(self.book, event, found), tuple):
            return "rejected", "still_unpriced"
        self.redriven.add(first)
        self.count("redriven")
        return self.charge(record, event, outcome, reason, found, f"redrive:{first}")

    def charge(
        self, record: Record, event: Event, outcome: str, reason: str, found: Found | None, flag: str = ""
    ) -> tuple[str, str]:
        """A use that enters the ledger."""
        # What has ended is due and closed before the use is priced: both may divide by the same base.
        self.move(record, event["occurred_at"] - self.settings.lateness_us)
        booked_at, lines = max(event["occurred_at"], self.watermark), list[Priced]()
        if found is not None:
            assert self.book is not None
            trial = self.scopes.trial()
            priced = rate_use(trial, self.book, event, found, self.watermark, record.offset)
            if isinstance(priced, tuple):
                outcome, reason = priced
            else:
                lines = priced
                self.scopes.keep(trial, priced)
        self.book_charge(record, event, booked_at, outcome, reason, found, lines, flag)
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
        return None

    def too_old(self, event: Event) -> str | None:
        """A repeat of it might not be known as one any more."""
        return "too_old" if event["occurred_at"] < self.forgotten_to else None

    def book_charge(
        self,
        record: Record,
        event: Event,
        booked_at: int,
        outcome: str,
        reason: str,
        found: Found | None,
        lines: list[Priced],
        flag: str,
    ) -> None:
        flags = ["late_version"] if any(map(self.came_late, lines)) else []
        late = booked_at > event["occurred_at"]
        currency = found.version.currency if found and outcome != "unpriced" else ""
        divided = tuple(self.divided(p, currency) for p in lines)
        charge = Charge(
            usage_offset=record.offset,
            n=self.at_offset,
            event=event,
            payer=event["payer"],
            series=(event["product"], event["meter"], event["scale"]),
            recorded_at_us=record.recorded_at_us,
            booked_at_us=booked_at,
            late=late,
            flags=" ".join([*flags, flag] if flag else flags),
            outcome=outcome,
            reason=reason,
            currency=currency,
            paid_nanos=sum(line.paid_nanos for line in divided),
            book_number=self.book.number if self.book else -1,
            lines=divided,
        )
        self.out.charges.append(charge)
        self.count("late", late)
        if charge.lines:
            self.count("free", charge.paid_nanos == 0)
            self.book_money(charge)

    def came_late(self, priced: Priced) -> bool:
        """Whether the version that priced the use came into force after it."""
        came = self.late_versions.get((priced.version.tariff, priced.version.version), LONG_AGO)
        return priced.start_us is not None and priced.start_us < came

    def divided(self, priced: Priced, currency: str) -> Line:
        """The line with who gets what of it; the base moves. A pass keeps all in its pool until it is shared out."""
        line = priced.line
        if priced.parts is None:
            pool = Part(pool_of(line.tariff, line.rule), Fraction(1))
            return replace(line, shares=divide((pool,), 0, line.paid_nanos))
        key, base = (currency, priced.parts), self.base(currency, priced.parts)
        if line.link == "sharing":
            shares = divide(priced.parts, base, line.amount_nanos)
            shares += (Share(pool_of(line.tariff, line.rule), Fraction(1), -line.amount_nanos),)
            self.bases[key] = base + line.amount_nanos
        else:
            shares = divide(priced.parts, base, line.paid_nanos)
            if line.pass_name is None:
                self.bases[key] = base + line.paid_nanos
        return replace(line, split_key=key, base_before=base, shares=shares)

    def base(self, currency: str, parts: Parts) -> int:
        base = self.bases.get((currency, parts), 0)
        if abs(base) >= BASE_MUCH:  # a base less by the common denominator divides alike
            base %= lcm(*(part.fraction.denominator for part in parts))
        return base

    def book_money(self, charge: Charge) -> None:
        """A charge into open windows, period, earnings and sums."""
        one, quantity = (1, charge.event["quantity"]) if charge.event is not None else (0, 0)
        currency, booked_at = charge.currency, charge.booked_at_us
        self.sum(f"paid.{currency}", charge.paid_nanos)
        account, series = f"payer:{charge.payer}", (*charge.series, currency)
        for size in self.settings.windows:
            start, end = window(size, booked_at, self.settings.zone)
            key = (end, size, start, account, *series)
            self.windows.setdefault(key, Sum()).add(one, quantity, charge.paid_nanos)
        start, end = window(self.settings.settlement, booked_at, self.settings.zone)
        self.periods.setdefault((end, start, account, currency), Sum()).add(one, 0, charge.paid_nanos)
        minute, _ = window("minute", booked_at, self.settings.zone)
        for i, line in enumerate(charge.lines):
            self.sum(f"shares.{currency}", sum(s.nanos for s in line.shares))
            for share in line.shares:
                earned = self.out.earnings.setdefault(EarningKey(share.account, minute, *series), Sum())
                earned.add(*((one, quantity) if i == 0 else (0, 0)), share.nanos)

    # ---- time ----

    def move(self, record: Record, to: int) -> None:
        """The watermark is a running maximum; what has ended behind it falls due and is closed."""
        self.watermark = max(self.watermark, to)
        if self.watermark > LONG_AGO:
            self.forgotten_to = max(self.forgotten_to, self.watermark - self.settings.horizon_us)
        if self.watermark > self.closed_to:
            while (due := next_due(self.scopes, self.watermark, self.due_order)) is not None:
                self.write_due(record, *lines_due(self.scopes, due))
            self.close()

    def write_due(self, record: Record, end_us: int, lines: list[Priced]) -> None:
        """What a scope that has ended still asks for, or what a pass took in: booked at its last instant."""
        line, version = lines[0].line, lines[0].version
        reason = "pass" if line.link == "sharing" else "minimum"
        divided = tuple(self.divided(p, version.currency) for p in lines)
        charge = Charge(
            usage_offset=record.offset,
            n=self.at_offset,
            event=None,
            payer=lines[0].place[0].payer,
            series=("", "", 0),
            recorded_at_us=record.recorded_at_us,
            booked_at_us=end_us - 1,
            late=False,
            flags="",
            outcome="due",
            reason=reason,
            currency=version.currency,
            paid_nanos=sum(x.paid_nanos for x in divided),
            book_number=self.book.number if self.book else -1,
            lines=divided,
        )
        self.out.charges.append(charge)
        self.at_offset += 1
        self.count("due")
        self.count(f"due.{reason}")
        self.book_money(charge)

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
