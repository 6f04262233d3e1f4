"""The exact path of rating in Python integers: slower, never wraps, decides use by use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from math import lcm

import numpy as np

from nanotally.streams.domain.keys import Groups
from nanotally.streams.domain.prices import LIMIT, Price
from nanotally.streams.domain.rated import ABOVE_MAX_PRICE, CHARGED, COLUMNS, OUT_OF_RANGE, REFUSALS, Asked, Rated
from nanotally.streams.domain.scopes import ScopeRows
from nanotally.streams.domain.tariff import DENOMINATOR_MAX, NANOS_PER_UNIT
from nanotally.streams.errors import BrokenInvariant

__all__ = ["REFUSALS", "max_price_nanos", "rate"]

_DECIMAL = re.compile(r"\d{1,18}(\.\d{1,24})?", re.ASCII)


def max_price_nanos(text: str) -> Fraction | None:
    """Nanos of a `max_price` attribute; None where it is no decimal number of units from 0."""
    return Fraction(text) * NANOS_PER_UNIT if _DECIMAL.fullmatch(text) else None


def rate(prices: Sequence[Price], groups: Groups, before: ScopeRows, asked: Asked) -> Rated:
    """As rating.rate with a price of each use: each scope's uses in row order, under whatever versions. A use above its
    max_price, compared with its exact step under what the cap leaves, is refused and changes nothing; so is one whose
    scope would leave 62 bits."""
    n = len(asked.quantity)
    columns = [[0] * n for _ in COLUMNS]
    ends = np.append(groups.starts[1:], n).tolist()
    quantities = asked.quantity.tolist()
    for place, (start, end) in enumerate(zip(groups.starts.tolist(), ends, strict=True)):
        scope = _Scope(before, place)
        for row in groups.order[start:end].tolist():
            limit = asked.max_price[row] if asked.max_price is not None else None
            for column, value in zip(columns, scope.take(prices[row], quantities[row], limit), strict=True):
                column[row] = value
    return Rated(*(np.array(column, dtype=np.int64) for column in columns))


class _Scope:
    """One scope in Python integers."""

    def __init__(self, before: ScopeRows, place: int) -> None:
        self.uses = int(before.uses[place])
        self.used, self.total = int(before.quantity[place]), int(before.total[place])
        self.remainder, self.den = int(before.remainder[place]), int(before.den[place])
        self.charged = int(before.charged[place])

    def take(self, price: Price, quantity: int, limit: Fraction | None) -> tuple[int, ...]:
        """Rates one use and moves the scope, unless it is refused; gives the fields of Rated."""
        common = lcm(self.den, price.den)
        if common > DENOMINATOR_MAX:
            raise BrokenInvariant(
                f"denominators {self.den} and {price.den} of rule {price.rule.name!r} have no common one up to 2^62; "
                "publishing should have refused the book"
            )
        remainder = self.remainder * (common // self.den)
        step = (price.numerator(self.used + quantity) - price.numerator(self.used)) * (common // price.den)
        whole, rest = divmod(remainder + step, common)
        total, cap = self.total + whole, price.rule.cap_nanos
        if self.used + quantity >= LIMIT or total >= LIMIT:
            return (0,) * 12 + (OUT_OF_RANGE,)
        asked = Fraction(step, common)
        if cap is not None:
            asked = min(asked, Fraction(max(0, cap - self.charged)))
        if limit is not None and asked > limit:
            return (0,) * 12 + (ABOVE_MAX_PRICE,)
        charged = max(total if cap is None else min(total, cap), self.charged)
        out = (quantity, self.uses, self.used, 0, 0, self.total, remainder, total, rest, common, self.charged,
               charged - self.charged, CHARGED)  # fmt: skip
        self.used, self.total, self.remainder, self.den = self.used + quantity, total, rest, common
        self.uses, self.charged = self.uses + 1, charged
        return out
