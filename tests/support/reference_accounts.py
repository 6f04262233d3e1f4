"""The accounts' stage told plainly: earnings and marks of all sources, in the order of their partition."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nanotally.streams.domain.tariff import Settings
from tests.support.reference import row_id
from tests.support.reference_values import LONG_AGO, EarningKey, Sum, Tally
from tests.support.reference_windows import window


@dataclass(frozen=True)
class Earned:
    """A delta of one source."""

    source: int
    key: EarningKey
    count: int
    quantity: int
    amount_nanos: int


@dataclass(frozen=True)
class Mark:
    """All that the source has booked before `watermark_us` has been sent."""

    source: int
    sources: int
    watermark_us: int
    book_number: int
    settings: Settings


@dataclass(frozen=True, order=True)
class Payout:
    payout_id: str
    account: str
    period: str
    period_start_us: int
    period_end_us: int
    currency: str
    count: int
    brought_nanos: int
    earned_nanos: int
    paid_nanos: int
    carried_nanos: int


@dataclass
class AccountsReference:
    """One partition of `earnings`."""

    marks: dict[int, list[Mark]] = field(default_factory=dict)  # of each source, in order
    closed_to: int = LONG_AGO
    waiting: list[Earned] = field(default_factory=list)  # earned and not settled
    open: list[Earned] = field(default_factory=list)
    carried: dict[tuple[str, str], int] = field(default_factory=dict)
    tallies: list[Tally] = field(default_factory=list)
    payouts: list[Payout] = field(default_factory=list)

    def run(self, messages: Iterable[Earned | Mark]) -> AccountsReference:
        for message in messages:
            if isinstance(message, Earned):
                self.waiting.append(message)
                self.open.append(message)
                continue
            self.marks.setdefault(message.source, []).append(message)
            if len(self.marks) == message.sources:
                self.close(min(max(m.watermark_us for m in marks) for marks in self.marks.values()))
        return self

    def ruling(self, end: int) -> Settings:
        """Settings for what ends then: of the least book among those under which the sources first got past it."""
        first = [next(m for m in marks if m.watermark_us >= end) for marks in self.marks.values()]
        return min(first, key=lambda m: m.book_number).settings

    def close(self, to: int) -> None:
        """What has ended in every source, period by period."""
        if to <= self.closed_to:
            return
        settings = self.ruling(to)  # zone, windows and settlement are the same in all books
        for size in settings.windows:
            self.close_windows(size, settings, to)
        self.open = [e for e in self.open if window("month", e.key.minute_us, settings.zone)[1] > to]
        ended: dict[tuple[int, int, str, str], Sum] = {}
        rest: list[Earned] = []
        for e in self.waiting:
            start, end = window(settings.settlement, e.key.minute_us, settings.zone)
            if end > to:
                rest.append(e)
                continue
            ended.setdefault((end, start, e.key.account, e.key.currency), Sum()).add(e.count, 0, e.amount_nanos)
        self.waiting = rest
        for (end, start, account, currency), earned in sorted(ended.items()):
            self.pay(self.ruling(end), account, currency, start, end, earned)
        self.closed_to = to

    def close_windows(self, size: str, settings: Settings, to: int) -> None:
        sums: dict[tuple[int, int, EarningKey], Sum] = {}
        for e in self.open:
            start, end = window(size, e.key.minute_us, settings.zone)
            if self.closed_to < end <= to:
                k = e.key
                whole = EarningKey(k.account, start, k.product, k.meter, k.scale, k.currency)
                sums.setdefault((end, start, whole), Sum()).add(e.count, e.quantity, e.amount_nanos)
        for (end, start, k), s in sums.items():
            self.tallies.append(
                Tally(
                    k.account,
                    size,
                    start,
                    end,
                    k.product,
                    k.meter,
                    k.scale,
                    k.currency,
                    s.count,
                    s.quantity,
                    s.amount_nanos,
                )
            )

    def pay(self, settings: Settings, account: str, currency: str, start: int, end: int, earned: Sum) -> None:
        brought = self.carried.get((account, currency), 0)
        threshold = max(1, dict(settings.thresholds).get(currency, 0))
        pays = not account.startswith("pool:") and brought + earned.amount_nanos >= threshold
        paid = brought + earned.amount_nanos if pays else 0
        carried = brought + earned.amount_nanos - paid
        self.carried[account, currency] = carried
        period = settings.settlement
        self.payouts.append(
            Payout(
                row_id("payout", account, period, start, currency),
                account,
                period,
                start,
                end,
                currency,
                earned.count,
                brought,
                earned.amount_nanos,
                paid,
                carried,
            )
        )
