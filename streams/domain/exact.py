"""The exact path of rating in Python integers: slower, never wraps, decides use by use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np

from nanotally.streams.domain.keys import Groups
from nanotally.streams.domain.prices import LIMIT, Price
from nanotally.streams.domain.rated import (
    ABOVE_LIMIT,
    ABOVE_MAX_PRICE,
    CHARGED,
    COLUMNS,
    NO_PRICE,
    OUT_OF_RANGE,
    REFUSALS,
    Asked,
    Rated,
)
from nanotally.streams.domain.records import Int64Array
from nanotally.streams.domain.scopes import ScopeRows
from nanotally.streams.domain.tariff import DENOMINATOR_MAX, NANOS_PER_UNIT
from nanotally.streams.errors import BrokenInvariant

__all__ = ["REFUSALS", "ScopeState", "Use", "Verdict", "max_price_nanos", "rate"]

_DECIMAL = re.compile(r"\d{1,18}(\.\d{1,24})?", re.ASCII)
_NOTHING: tuple[int, ...] = (0,) * (len(COLUMNS) - 1)


def max_price_nanos(text: str) -> Fraction | None:
    """Nanos of a `max_price` attribute; None where it is no decimal number of units from 0."""
    return Fraction(text) * NANOS_PER_UNIT if _DECIMAL.fullmatch(text) else None


def rate(prices: Sequence[Price], groups: Groups, before: ScopeRows, asked: Asked) -> Rated:
    """As rating.rate with a price of each use: each scope's uses in row order, under whatever variants and versions.
    A use above its max_price, compared with its exact step under what the cap leaves, is refused and changes nothing;
    so is one whose scope would leave 62 bits, one without a price, and one above the rule's limit."""
    n = len(asked.quantity)
    numbers = [_NOTHING] * n
    ends = np.append(groups.starts[1:], n).tolist()
    uses = uses_of(asked)
    for place, (start, end) in enumerate(zip(groups.starts.tolist(), ends, strict=True)):
        scope = ScopeState.of(before, place)
        for row in groups.order[start:end].tolist():
            verdict = scope.weigh(prices[row], uses[row])
            numbers[row] = verdict.numbers
            if verdict.after is not None:
                scope = verdict.after
    table = np.array(numbers, dtype=np.int64).reshape(n, len(COLUMNS))
    return Rated(*(table[:, place].copy() for place in range(len(COLUMNS))))


def too_dear(
    rated: Rated, prices: Sequence[Price], which: Int64Array, max_price: Sequence[Fraction | None]
) -> list[int]:
    """Rows of uses, rated as if they had no max_price, that ask for more than it; which: place of each use's price."""
    # Most are far from it, as whole nanos tell; only the others are looked at exactly.
    below = (rated.total_after - rated.total_before + 1).tolist()
    plain = [price.rule.overage is None and not price.rule.minimum_nanos for price in prices]
    found = []
    for row, most in enumerate(max_price):
        if most is None or not rated.remainder_den[row]:
            continue
        place = int(which[row])
        if plain[place] and below[row] <= most.numerator // most.denominator:
            continue
        before, after = _states(rated, row)
        if before.too_dear(prices[place], after, most):
            found.append(row)
    return found


def _states(rated: Rated, row: int) -> tuple[ScopeState, ScopeState]:
    """The scope before and after a use that was rated; the uses it had do not matter any more."""
    n = {name: int(column[row]) for name, column in vars(rated).items()}
    den, charged = n["remainder_den"], n["charged_before"]
    quantity, total, rest = n["quantity_before"], n["total_before"], n["remainder_before"]
    before = ScopeState(0, quantity, n["over_before"], total, rest, den, charged)
    total, rest, charged = n["total_after"], n["remainder_after"], charged + n["amount"]
    return before, ScopeState(0, quantity + n["counted"], n["over_after"], total, rest, den, charged)


@dataclass(frozen=True)
class Use:
    """One use, or a piece of one, as Asked has it."""

    quantity: int
    first: bool = True
    max_price: Fraction | None = None
    tier_quantity: int | None = None
    unit_price: Fraction | None = None


def uses_of(asked: Asked) -> list[Use]:
    """The uses one by one."""
    n = len(asked.quantity)
    first = [True] * n if asked.first is None else asked.first.tolist()
    lists = (asked.max_price, asked.tier_quantity, asked.unit_price)
    further = ([None] * n if values is None else values for values in lists)
    return [Use(*values) for values in zip(asked.quantity.tolist(), first, *further, strict=True)]


@dataclass(frozen=True)
class Verdict:
    """What one use comes to. numbers: the fields of Rated. after: the scope after it; None where it is refused."""

    numbers: tuple[int, ...]
    after: ScopeState | None = None

    @staticmethod
    def refused(code: int) -> Verdict:
        """A use that changes nothing."""
        return Verdict((*_NOTHING, code))


@dataclass(frozen=True)
class ScopeState:
    """One scope in Python integers; see ScopeRows."""

    uses: int
    quantity: int
    over: int
    total: int
    remainder: int
    den: int
    charged: int

    @staticmethod
    def of(rows: ScopeRows, place: int) -> ScopeState:
        """The scope at a place of the columns."""
        columns = (rows.uses, rows.quantity, rows.over, rows.total, rows.remainder, rows.den, rows.charged)
        return ScopeState(*(int(column[place]) for column in columns))

    def weigh(self, price: Price, use: Use) -> Verdict:
        """What a use comes to in this scope. Raises BrokenInvariant where denominators have no common one."""
        rule, counted = price.rule, price.counted(use.quantity)
        if rule.limit is not None and self.quantity + counted > rule.limit:
            return Verdict.refused(ABOVE_LIMIT)
        if price.refuses(use.unit_price):
            return Verdict.refused(NO_PRICE)
        common = self._common(price)
        step, over = price.step(
            self.uses,
            self.quantity,
            self.over,
            counted,
            use.first,
            use.tier_quantity if rule.tier_by is not None else None,
            price.unit_of(use.unit_price),
        )
        remainder = self.remainder * (common // self.den)
        whole, rest = divmod(remainder + step * (common // price.den), common)
        quantity, total = self.quantity + counted, self.total + whole
        due = price.due(total, rest, common)
        amount = price.charge(due, self.charged)
        if max(quantity + over, abs(total), abs(due), abs(amount)) >= LIMIT:
            return Verdict.refused(OUT_OF_RANGE)
        after = ScopeState(self.uses + use.first, quantity, over, total, rest, common, self.charged + amount)
        if use.max_price is not None and self.too_dear(price, after, use.max_price):
            return Verdict.refused(ABOVE_MAX_PRICE)
        numbers = (counted, self.uses, self.quantity, self.over, over, self.total, remainder, total, rest, common,
                   self.charged, amount, CHARGED)  # fmt: skip
        return Verdict(numbers, after)

    def _common(self, price: Price) -> int:
        common = lcm(self.den, price.den)
        if common > DENOMINATOR_MAX:
            raise BrokenInvariant(
                f"denominators {self.den} and {price.den} of rule {price.rule.name!r} have no common one up to 2^62; "
                "publishing should have refused the book"
            )
        return common

    def asks(self, price: Price, after: ScopeState) -> Fraction:
        """Exact nanos that a use asks for, which a max_price is compared with: by how much the scope is worth more
        after it, under what its cap leaves."""
        rule = price.rule
        asked = max(Fraction(0), price.worth(after.exact) - price.worth(self.exact))
        if rule.cap_nanos is not None:
            asked = min(asked, Fraction(max(0, rule.cap_nanos - self.charged)))
        return max(asked, Fraction(rule.minimum_nanos - self.charged)) if rule.scope == "event" else asked

    def too_dear(self, price: Price, after: ScopeState, most: Fraction) -> bool:
        """Whether a use asks for more than it may cost."""
        return self.asks(price, after) > most

    @property
    def exact(self) -> Fraction:
        """The exact total."""
        return self.total + Fraction(self.remainder, self.den)
