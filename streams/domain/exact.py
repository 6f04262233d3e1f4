"""The exact path of rating in Python integers: slower, never wraps, decides use by use."""

from __future__ import annotations

import re
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING

import numpy as np

from nanotally.streams.domain.keys import Groups
from nanotally.streams.domain.records import Int64Array
from nanotally.streams.domain.scopes import ScopeRows
from nanotally.streams.domain.tariff import DENOMINATOR_MAX, NANOS_PER_UNIT
from nanotally.streams.errors import BrokenInvariant

if TYPE_CHECKING:
    from nanotally.streams.domain.rating import Price, Rated

MaxPrice = Fraction  # nanos
CHARGED, ABOVE_MAX_PRICE, OUT_OF_RANGE = 0, 1, 2
REFUSALS = {ABOVE_MAX_PRICE: "max_price", OUT_OF_RANGE: "out_of_range"}
_LIMIT = 2**62
_DECIMAL = re.compile(r"\d{1,18}(\.\d{1,24})?", re.ASCII)


def max_price_nanos(text: str) -> Fraction | None:
    """Nanos of a `max_price` attribute; None where it is no decimal number of units from 0."""
    return Fraction(text) * NANOS_PER_UNIT if _DECIMAL.fullmatch(text) else None


def rate(
    price: Price, groups: Groups, before: ScopeRows, quantity: Int64Array, max_price: list[MaxPrice | None] | None
) -> Rated:
    """As rating.rate: each scope's uses in row order. A use above its max_price, compared with its exact step under
    what the cap leaves, is refused and changes nothing; so is one whose scope would leave 62 bits."""
    from nanotally.streams.domain.rating import Rated

    columns = [[0] * len(quantity) for _ in range(9)]
    ends = np.append(groups.starts[1:], len(quantity)).tolist()
    quantities = quantity.tolist()
    for place, (start, end) in enumerate(zip(groups.starts.tolist(), ends, strict=True)):
        used, total = int(before.quantity[place]), int(before.total[place])
        remainder, den, charged = int(before.remainder[place]), int(before.den[place]), int(before.charged[place])
        common = lcm(den, price.den)
        if common > DENOMINATOR_MAX:
            raise BrokenInvariant(
                f"denominators {den} and {price.den} of rule {price.rule.name!r} have no common one up to 2^62; "
                "publishing should have refused the book"
            )
        remainder, den = remainder * (common // den), common
        for row in groups.order[start:end].tolist():
            step = (price.numerator(used + quantities[row]) - price.numerator(used)) * (common // price.den)
            whole, rest = divmod(remainder + step, common)
            new_total = total + whole
            new_charged = new_total if price.rule.cap_nanos is None else min(new_total, price.rule.cap_nanos)
            new_charged = max(new_charged, charged)
            refusal = CHARGED
            limit = max_price[row] if max_price is not None else None
            if used + quantities[row] >= _LIMIT or new_total >= _LIMIT:
                refusal = OUT_OF_RANGE
            elif limit is not None:
                asked = Fraction(step, common)
                if price.rule.cap_nanos is not None:
                    asked = min(asked, Fraction(max(0, price.rule.cap_nanos - charged)))
                refusal = ABOVE_MAX_PRICE if asked > limit else CHARGED
            values = (used, total, remainder, new_total, rest, common, charged, new_charged - charged, refusal)
            for column, value in zip(columns, values if refusal == CHARGED else (0,) * 8 + (refusal,), strict=True):
                column[row] = value
            if refusal == CHARGED:
                used, total, remainder, charged = used + quantities[row], new_total, rest, new_charged
    return Rated(*(np.array(column, dtype=np.int64) for column in columns))
