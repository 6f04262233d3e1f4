"""From quantity to money: cumulated exact value, whole nanos charged (docs/architecture.md, invariant 3).

For a scope with cumulated quantity q, exact total T (whole nanos and a remainder over a common denominator) and what
has been charged C, a use of quantity d under a rule with price function F gives
    T' = T + F(q + d) - F(q);   charge = max(0, min(cap, floor(T')) - C).
The columns below do this for all uses of one rule at once; what could leave 64 bits, carries a `max_price` or meets
another denominator takes the exact path in exact.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanotally.streams.domain import exact
from nanotally.streams.domain.keys import Groups
from nanotally.streams.domain.prices import LIMIT, Price
from nanotally.streams.domain.rated import Asked as Asked
from nanotally.streams.domain.rated import Rated as Rated
from nanotally.streams.domain.records import Int64Array
from nanotally.streams.domain.scopes import ScopeRows


def rate(price: Price, groups: Groups, before: ScopeRows, asked: Asked) -> Rated:
    """Rates n uses of one rule in row order. groups: the uses by their scope; before: the scopes' state, by group.
    Reads only."""
    if asked.max_price is None and _fits(price, before, asked.quantity):
        return _rate_columns(price, groups, before, asked.quantity)
    return exact.rate([price] * len(asked.quantity), groups, before, asked)


def rate_mixed(prices: Sequence[Price], groups: Groups, before: ScopeRows, asked: Asked) -> Rated:
    """As `rate`, with a price of each use: variants or versions of a rule that meet in one scope."""
    return exact.rate(prices, groups, before, asked)


def _fits(price: Price, before: ScopeRows, quantity: Int64Array) -> bool:
    """Whether nothing on the way can leave 64 bits, worked out in Python integers from maxima."""
    if not price.fits or (before.den % price.den).any():
        return False
    most = int(before.quantity.max(initial=0)) + int(quantity.max(initial=0)) * len(quantity)
    den = int(before.den.max(initial=1))
    value = price.numerator(most) * (den // price.den + 1)
    return most < LIMIT and value + den < LIMIT and int(before.total.max(initial=0)) + value < LIMIT


def _rate_columns(price: Price, groups: Groups, before: ScopeRows, quantity: Int64Array) -> Rated:
    n = len(quantity)
    sizes = np.diff(np.append(groups.starts, n))
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

    def unsorted(column: Int64Array) -> Int64Array:
        out = np.empty_like(column)
        out[groups.order] = column
        return out

    return Rated(
        counted=quantity,
        uses_before=unsorted(np.arange(n) + (before.uses - groups.starts)[of_row]),
        quantity_before=unsorted(after - sorted_quantity),
        over_before=np.zeros(n, dtype=np.int64),
        over_after=np.zeros(n, dtype=np.int64),
        total_before=unsorted(total_before),
        remainder_before=unsorted(remainder_before),
        total_after=unsorted(total),
        remainder_after=unsorted(remainder),
        remainder_den=unsorted(den),
        charged_before=unsorted(charged_before),
        amount=unsorted(charged - charged_before),
        refusal=np.zeros(n, dtype=np.int64),
    )


def _shifted(column: Int64Array, groups: Groups, first: Int64Array) -> Int64Array:
    """Each row's value before it: that of the row above in its group, `first` of the group for its first row."""
    before = np.empty_like(column)
    before[1:] = column[:-1]
    before[groups.starts] = first
    return before
