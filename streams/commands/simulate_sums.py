"""Sums of a simulation: by payer, party, item, feature, rule and day, before and after, exact in nanos."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pyarrow as pa

from nanotally.streams.commands.simulate_names import NameTable
from nanotally.streams.commands.simulate_outcome import Names, Outcome, Taken
from nanotally.streams.domain.records import Int64Array
from nanotally.streams.errors import InvalidInput

DAY_US = 86_400_000_000
SUM_MAX = 2**62  # nanos: some 4.6 billion of a currency
NOBODY = "(none)"  # uses without the attribute


class Totals:
    """Nanos and uses by code; grows as codes come."""

    def __init__(self) -> None:
        self.nanos: Int64Array = np.zeros(1024, dtype=np.int64)
        self.uses: Int64Array = np.zeros(1024, dtype=np.int64)

    def add(self, codes: Int64Array, nanos: Int64Array, uses: bool = True) -> None:
        """codes, nanos: int64[n]."""
        size = len(self.nanos)
        if len(codes) and (most := int(codes.max())) >= size:
            more = max(size, most + 1 - size)
            self.nanos = np.concatenate((self.nanos, np.zeros(more, dtype=np.int64)))
            self.uses = np.concatenate((self.uses, np.zeros(more, dtype=np.int64)))
        np.add.at(self.nanos, codes, nanos)
        if uses:
            self.uses += np.bincount(codes, minlength=len(self.uses))

    def sized(self, size: int) -> Int64Array:
        """Nanos of the first `size` codes."""
        out = np.zeros(size, dtype=np.int64)
        out[: min(size, len(self.nanos))] = self.nanos[:size]
        return out


@dataclass
class SideSums:
    """What one tariff would have charged. outcomes: uses by what became of them; turnover: sum of absolute nanos."""

    payers: Totals = field(default_factory=Totals)
    items: Totals = field(default_factory=Totals)
    features: Totals = field(default_factory=Totals)
    days: Totals = field(default_factory=Totals)
    rules: Totals = field(default_factory=Totals)
    accounts: Totals = field(default_factory=Totals)
    outcomes: Totals = field(default_factory=Totals)
    revenue: int = 0
    due: int = 0
    turnover: int = 0

    def guard(self, nanos: Int64Array) -> None:
        """Raises InvalidInput before anything could wrap; no sum is beyond the turnover."""
        most = max(int(nanos.max(initial=0)), -int(nanos.min(initial=0)))
        exact = most * len(nanos) < SUM_MAX
        self.turnover += int(np.abs(nanos).sum()) if exact else sum(abs(v) for v in nanos.tolist())
        if self.turnover >= SUM_MAX:
            raise InvalidInput("the sums are beyond 4.6 billion of the currency; simulate a shorter period")


class Simulation:
    """Sums of both sides over all uses. by: the attribute that `features` are of."""

    def __init__(self, by: str) -> None:
        self.by = by
        self.names = Names.new()
        self.payers, self.items, self.features = NameTable(), NameTable(), NameTable()
        self.sides = (SideSums(), SideSums())
        self.uses = 0
        self.first_us: int | None = None
        self.last_us: int | None = None
        self.days: dict[int, int] = {}  # code by day since 1970
        self.left_out: Counter[str] = Counter()  # uses that were not simulated, by why

    def add(self, taken: Taken, outcomes: tuple[Outcome, Outcome]) -> None:
        """Uses with what became of them on both sides."""
        uses, n = taken.uses, len(taken.uses)
        if not n:
            return
        occurred = uses.occurred_at_us
        first, last = int(occurred.min()), int(occurred.max())
        self.first_us = first if self.first_us is None else min(self.first_us, first)
        self.last_us = last if self.last_us is None else max(self.last_us, last)
        self.uses += n
        payers = self.payers.codes(uses.column("payer"))
        items = self.items.codes(uses.column("item"))
        feature = uses.attribute(self.by)
        if feature.null_count == n:
            features = np.repeat(self.features.codes(pa.array([NOBODY])), n)
        else:
            features = self.features.codes(feature.fill_null(NOBODY))
        days = self._day_codes(taken.booked_at)
        for sums, outcome in zip(self.sides, outcomes, strict=True):
            sums.guard(outcome.paid)
            sums.payers.add(payers, outcome.paid)
            sums.items.add(items, outcome.paid)
            sums.features.add(features, outcome.paid)
            sums.days.add(days, outcome.paid, uses=False)
            sums.rules.add(outcome.rule + 1, outcome.paid)
            sums.outcomes.add(outcome.outcome, outcome.paid)
            sums.revenue += _exact_sum(outcome.paid)
        self.add_dues(outcomes)

    def _day_codes(self, booked_at: Int64Array) -> Int64Array:
        """Code of the UTC day of each use."""
        days = booked_at // DAY_US
        first = int(days.min())
        codes = np.array([self.days.setdefault(day, len(self.days)) for day in range(first, int(days.max()) + 1)])
        chosen: Int64Array = codes[days - first]
        return chosen

    def add_dues(self, outcomes: tuple[Outcome, Outcome]) -> None:
        """All shares, and what fell due besides the uses, such as minimums."""
        for sums, outcome in zip(self.sides, outcomes, strict=True):
            sums.guard(outcome.nanos)
            sums.accounts.add(outcome.account, outcome.nanos, uses=False)
            if not outcome.due_payers:
                continue
            sums.guard(outcome.due_paid)
            codes = self.payers.codes(pa.array(outcome.due_payers, pa.string()))
            sums.payers.add(codes, outcome.due_paid, uses=False)
            sums.rules.add(outcome.due_rule + 1, outcome.due_paid, uses=False)
            sums.due += _exact_sum(outcome.due_paid)
            sums.revenue += _exact_sum(outcome.due_paid)


def _exact_sum(nanos: Int64Array) -> int:
    """Sum as a Python int; the guard has made sure that it fits."""
    return int(nanos.sum())


@dataclass(frozen=True)
class Change:
    """One payer, party, item, feature or rule: nanos and uses before and after (of rules these differ)."""

    name: str
    uses: int
    before: int
    after: int
    uses_before: int

    @property
    def difference(self) -> int:
        return self.after - self.before

    @property
    def percent(self) -> Fraction | None:
        """Change in percent; None where there was nothing before."""
        return Fraction(self.difference * 100, self.before) if self.before else None
