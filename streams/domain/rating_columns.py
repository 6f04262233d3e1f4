"""Rating in columns: all uses at once, sorted by scope. Gives None where something might leave 64 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nanotally.streams.domain.keys import Groups
from nanotally.streams.domain.prices import LIMIT, Price
from nanotally.streams.domain.rated import Rated
from nanotally.streams.domain.records import BoolArray, Int64Array
from nanotally.streams.domain.scopes import ScopeRows


def greatest(column: Int64Array) -> int:
    """How far from 0 the values go, as a Python integer."""
    return max(int(column.max(initial=0)), -int(column.min(initial=0)))


@dataclass
class Sorted:
    """The uses of a Groups sorted by scope, in row order within it. of_row: int64[n] group of each sorted use."""

    groups: Groups
    of_row: Int64Array

    @staticmethod
    def of(groups: Groups) -> Sorted:
        """The order of the groups."""
        sizes = np.diff(np.append(groups.starts, len(groups.order)))
        return Sorted(groups, np.repeat(np.arange(len(groups)), sizes))

    def running(self, column: Int64Array, begin: Int64Array) -> Int64Array:
        """Sum of a sorted column up to and with each use of its scope, which begins at `begin`."""
        sums = np.cumsum(column)
        starts = self.groups.starts
        running: Int64Array = sums + (begin - (sums[starts] - column[starts]))[self.of_row]
        return running

    def shifted(self, column: Int64Array, begin: Int64Array) -> Int64Array:
        """What each use has before it: the value of the use above in its scope, `begin` for the first."""
        before = np.empty_like(column)
        before[1:] = column[:-1]
        before[self.groups.starts] = begin
        return before

    def running_max(self, column: Int64Array, begin: Int64Array) -> Int64Array | None:
        """Greatest value so far in the scope, at least `begin`; None where it cannot be worked out in 64 bits."""
        falls = column[1:] < column[:-1]
        falls[self.groups.starts[1:] - 1] = False
        if falls.any():
            least = int(column.min())
            span = int(column.max()) - least + 1
            if span * len(self.groups) >= LIMIT:
                return None
            lift = self.of_row * span - least
            column = np.maximum.accumulate(column + lift) - lift
        return np.maximum(column, begin[self.of_row])

    def unsorted(self, column: Int64Array) -> Int64Array:
        """A sorted column back in row order."""
        out = np.empty_like(column)
        out[self.groups.order] = column
        return out


def rate_plain(price: Price, groups: Groups, before: ScopeRows, quantity: Int64Array) -> Rated | None:
    """Uses under one price whose function is plain: see PriceColumns.plain."""
    n, most = len(quantity), int(before.quantity.max(initial=0)) + int(quantity.max(initial=0)) * len(quantity)
    bound, den_most = price.columns.bound(most), int(before.den.max(initial=1))
    value_most = bound * (den_most // price.den + 1)
    if (before.den % price.den).any() or value_most + den_most + greatest(before.total) >= LIMIT:
        return None
    order = Sorted.of(groups)
    of_row = order.of_row
    counted = quantity[groups.order]
    after = order.running(counted, before.quantity)
    den = before.den[of_row]
    value = price.columns.plain_value(after) - price.columns.plain_value(before.quantity)[of_row]
    if (before.den != price.den).any():
        value *= den // price.den
    value += before.remainder[of_row]
    if den_most == 1:
        total = value + before.total[of_row]
        remainder_before, remainder_after = np.zeros_like(value), np.zeros_like(value)
    else:
        total, remainder = np.divmod(value, den)
        total += before.total[of_row]
        remainder_before = order.unsorted(order.shifted(remainder, before.remainder))
        remainder_after = order.unsorted(remainder)
    charged = total if price.rule.cap_nanos is None else np.minimum(total, price.rule.cap_nanos)
    charged = np.maximum(charged, before.charged[of_row])
    charged_before = order.shifted(charged, before.charged)
    return Rated(
        counted=quantity,
        uses_before=order.unsorted(np.arange(n) + (before.uses - groups.starts)[of_row]),
        quantity_before=order.unsorted(after - counted),
        over_before=_over_before(order, before, np.zeros_like(after)),
        over_after=np.zeros(n, dtype=np.int64),
        total_before=order.unsorted(order.shifted(total, before.total)),
        remainder_before=remainder_before,
        total_after=order.unsorted(total),
        remainder_after=remainder_after,
        remainder_den=np.ones_like(den) if den_most == 1 else order.unsorted(den),
        charged_before=order.unsorted(charged_before),
        amount=order.unsorted(charged - charged_before),
        refusal=np.zeros(n, dtype=np.int64),
    )


@dataclass
class Uses:
    """n uses none of which is refused, in row order. prices: the distinct ones; which: int64[n] place of each use's
    price; counted: int64[n], see Price.counted; first: bool[n] as in Asked; unit: int64[n], see Price.unit_of, for
    uses with which a price came (has_unit: bool[n]); None: with none."""

    prices: Sequence[Price]
    which: Int64Array
    counted: Int64Array
    first: BoolArray | None
    unit: Int64Array | None
    has_unit: BoolArray | None

    def pick(self, rows: Int64Array) -> Uses:
        """The uses at the rows, with the same `prices`."""
        first = None if self.first is None else self.first[rows]
        unit = None if self.unit is None else self.unit[rows]
        has_unit = None if self.has_unit is None else self.has_unit[rows]
        return Uses(self.prices, self.which[rows], self.counted[rows], first, unit, has_unit)


def rate_columns(uses: Uses, groups: Groups, before: ScopeRows, den: Int64Array) -> Rated | None:
    """Uses under whatever prices. den: int64[g] common denominator of each scope, with all its prices in it."""
    n, ordered, prices = len(uses.counted), uses.pick(groups.order), uses.prices
    most = int(before.quantity.max(initial=0)) + int(uses.counted.max(initial=0)) * n
    unit = 0 if uses.unit is None else int(uses.unit.max(initial=0))
    if any(price.columns.bound(most, unit) >= LIMIT for price in prices):
        return None
    order = Sorted.of(groups)
    of_row = order.of_row
    after = order.running(ordered.counted, before.quantity)
    began = np.ones(n, dtype=np.int64) if ordered.first is None else ordered.first.astype(np.int64)
    uses_after = order.running(began, before.uses)
    value = _values(ordered, order, before, den, after, uses_after)
    den_most = int(den.max(initial=1))
    if value is None or greatest(value) + den_most + greatest(before.total) >= LIMIT:
        return None
    rest = before.remainder * (den // before.den)
    value += rest[of_row]
    dens = den[of_row]
    total, remainder = np.divmod(value, dens)
    total += before.total[of_row]
    charged = _charged(ordered, order, before, total, remainder, dens)
    if charged is None:
        return None
    charged_before = order.shifted(charged, before.charged)
    amount = charged - charged_before
    if max(greatest(charged), greatest(amount)) >= LIMIT:
        return None
    # Only a price that is alone in its scopes carries steps on here, so that they follow from the quantity.
    over = prices[0].columns.over(after) if len(prices) == 1 else np.zeros_like(after)
    return Rated(
        counted=uses.counted,
        uses_before=order.unsorted(uses_after - began),
        quantity_before=order.unsorted(after - ordered.counted),
        over_before=_over_before(order, before, over),
        over_after=order.unsorted(over),
        total_before=order.unsorted(order.shifted(total, before.total)),
        remainder_before=order.unsorted(order.shifted(remainder, rest)),
        total_after=order.unsorted(total),
        remainder_after=order.unsorted(remainder),
        remainder_den=order.unsorted(dens),
        charged_before=order.unsorted(charged_before),
        amount=order.unsorted(amount),
        refusal=np.zeros(n, dtype=np.int64),
    )


def _values(
    ordered: Uses, order: Sorted, before: ScopeRows, den: Int64Array, after: Int64Array, uses_after: Int64Array
) -> Int64Array | None:
    """By how much each sorted use and those before it in its scope move the exact total, in parts of its `den`."""
    prices, of_row = ordered.prices, order.of_row
    if len(prices) == 1 and prices[0].columns.telescopes:
        columns = prices[0].columns
        value = columns.value(after, uses_after) - columns.value(before.quantity, before.uses)[of_row]
        factor = den // prices[0].den
        fits = greatest(value) * int(factor.max(initial=1)) < LIMIT
        return value * factor[of_row] if fits else None
    n = len(ordered.which)
    began = 1 if ordered.first is None else ordered.first
    steps = np.zeros(n, dtype=np.int64)
    for place, price in enumerate(prices):
        mine = np.flatnonzero(ordered.which == place)
        part = ordered.pick(mine)
        uses, quantity = (uses_after - began)[mine], (after - ordered.counted)[mine]
        steps[mine] = price.columns.steps(uses, quantity, part.counted, part.first, part.unit, part.has_unit)
    dens = np.array([price.den for price in prices], dtype=np.int64)[ordered.which]
    factors = den[of_row] // dens
    if greatest(steps) * int(factors.max(initial=1)) * n >= LIMIT:
        return None
    return order.running(steps * factors, np.zeros(len(order.groups), dtype=np.int64))


def _charged(
    ordered: Uses, order: Sorted, before: ScopeRows, total: Int64Array, remainder: Int64Array, den: Int64Array
) -> Int64Array | None:
    """What each scope has been charged after each sorted use."""
    due = np.zeros_like(total)
    for place, price in enumerate(ordered.prices):
        mine = slice(None) if len(ordered.prices) == 1 else np.flatnonzero(ordered.which == place)
        part = price.columns.due(total[mine], remainder[mine], den[mine])
        if part is None:
            return None
        due[mine] = part
    if len(ordered.prices) == 1 and ordered.prices[0].rule.falling:
        return due
    return order.running_max(due, before.charged)


def _over_before(order: Sorted, before: ScopeRows, over: Int64Array) -> Int64Array:
    """What was paid beyond the quantity before each use, in row order. over: int64[n] after each sorted one."""
    if not before.over.any() and not over.any():
        return over
    return order.unsorted(order.shifted(over, before.over))
