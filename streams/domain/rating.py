"""From quantity to money: cumulated exact value, whole nanos charged (docs/architecture.md, invariant 3).

For a scope with cumulated quantity q, exact total T (whole nanos and a remainder over a common denominator) and what
has been charged C, a use of quantity d under a rule with price function F gives
    T' = T + F(q + d) - F(q);   charge = max(0, min(cap, floor(T')) - C).
The columns below do this for all uses of one rule at once; what could leave 64 bits, carries a `max_price` or meets
another denominator takes the exact path in exact.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanotally.streams.domain import exact
from nanotally.streams.domain.hashing import Hash
from nanotally.streams.domain.keys import Groups
from nanotally.streams.domain.records import Int64Array
from nanotally.streams.domain.scopes import ScopeRows, Scopes
from nanotally.streams.domain.tariff import Rule

LIMIT = 2**62


@dataclass
class Rated:
    """n uses of one rule, rated. Columns as in the Line of charge.avsc: int64[n]; refusal: int64[n], 0 charged,
    1 above its max_price, 2 out of range."""

    quantity_before: Int64Array
    total_before: Int64Array
    remainder_before: Int64Array
    total_after: Int64Array
    remainder_after: Int64Array
    remainder_den: Int64Array
    charged_before: Int64Array
    amount: Int64Array
    refusal: Int64Array


class Price:
    """A rule's price function with numerators over the rule's denominator."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.den = rule.denominator
        self.lower = [0]  # where each piece begins, unscaled quantity
        self.value = [0]  # numerator of F there
        self.slope: list[int] = []  # numerator per unscaled unit
        for tier in rule.tiers:
            slope = tier.price * self.den
            self.slope.append(int(slope))
            if tier.up_to is not None:
                self.value.append(self.value[-1] + (tier.up_to - self.lower[-1]) * self.slope[-1])
                self.lower.append(tier.up_to)
        del self.lower[len(self.slope) :], self.value[len(self.slope) :]
        self.fits = max(self.lower + self.value + self.slope) < LIMIT
        if self.fits:
            self._lower = np.array(self.lower, dtype=np.int64)
            self._value = np.array(self.value, dtype=np.int64)
            self._slope = np.array(self.slope, dtype=np.int64)

    def numerator(self, quantity: int) -> int:
        """F(quantity) times the denominator, exactly."""
        piece = max(i for i, low in enumerate(self.lower) if low <= quantity)
        return self.value[piece] + (quantity - self.lower[piece]) * self.slope[piece]

    def numerators(self, quantity: Int64Array) -> Int64Array:
        """The same for a column; the caller has made sure that the greatest one fits."""
        if len(self.slope) == 1:
            flat: Int64Array = quantity * self._slope[0]
            return flat
        piece = np.searchsorted(self._lower, quantity, side="right") - 1
        value: Int64Array = self._value[piece] + (quantity - self._lower[piece]) * self._slope[piece]
        return value


def rate(
    price: Price,
    groups: Groups,
    key: Hash,
    quantity: Int64Array,
    max_price: list[exact.MaxPrice | None] | None,
    scopes: Scopes,
) -> Rated:
    """Rates n uses of one rule in row order. key: scope of each, groups: rows by it; max_price: of each, None where
    there is none at all. Reads the scopes and changes nothing."""
    before = scopes.get(key[0][groups.first], key[1][groups.first], price.den)
    if max_price is None and _fits(price, before, quantity):
        return _rate_columns(price, groups, before, quantity)
    return exact.rate([price] * len(quantity), groups, before, quantity, max_price)


def _fits(price: Price, before: ScopeRows, quantity: Int64Array) -> bool:
    """Whether nothing on the way can leave 64 bits, worked out in Python integers from maxima."""
    if not price.fits or (before.den % price.den).any():
        return False
    most = int(before.quantity.max(initial=0)) + int(quantity.max(initial=0)) * len(quantity)
    den = int(before.den.max(initial=1))
    value = price.numerator(most) * (den // price.den + 1)
    return most < LIMIT and value + den < LIMIT and int(before.total.max(initial=0)) + value < LIMIT


def _rate_columns(price: Price, groups: Groups, before: ScopeRows, quantity: Int64Array) -> Rated:
    sizes = np.diff(np.append(groups.starts, len(quantity)))
    of_row = np.repeat(np.arange(len(groups)), sizes)  # group of each row, in sorted order
    sorted_quantity = quantity[groups.order]
    running = np.cumsum(sorted_quantity)
    start = running[groups.starts] - sorted_quantity[groups.starts]
    after = running + (before.quantity - start)[of_row]
    den = before.den[of_row]
    step = price.numerators(after) - price.numerators(before.quantity)[of_row]
    if (before.den != price.den).any():
        step *= den // price.den
    value = step + before.remainder[of_row]
    if int(before.den.max(initial=1)) == 1:
        total, remainder = value + before.total[of_row], np.zeros_like(value)
    else:
        total, remainder = np.divmod(value, den)
        total += before.total[of_row]
    charged = total if price.rule.cap_nanos is None else np.minimum(total, price.rule.cap_nanos)
    charged = np.maximum(charged, before.charged[of_row])
    total_before = _shifted(total, groups, before.total)
    remainder_before = _shifted(remainder, groups, before.remainder)
    charged_before = _shifted(charged, groups, before.charged)
    columns = (
        after - sorted_quantity,
        total_before,
        remainder_before,
        total,
        remainder,
        den,
        charged_before,
        charged - charged_before,
    )
    refusal = np.zeros(len(quantity), dtype=np.int64)
    return Rated(*(*(_unsorted(column, groups) for column in columns), refusal))


def _unsorted(column: Int64Array, groups: Groups) -> Int64Array:
    """A column sorted by group, back in row order."""
    out = np.empty_like(column)
    out[groups.order] = column
    return out


def _shifted(column: Int64Array, groups: Groups, first: Int64Array) -> Int64Array:
    """Each row's value before it: that of the row above in its group, `first` of the group for its first row."""
    before = np.empty_like(column)
    before[1:] = column[:-1]
    before[groups.starts] = first
    return before
