"""What uses say that their price depends on: quantity, the most they may cost, prices and quantities in attributes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.exact import max_price_nanos
from nanotally.streams.domain.matching import NumberedRule
from nanotally.streams.domain.prices import Price
from nanotally.streams.domain.rated import UNUSABLE, Asked
from nanotally.streams.domain.records import BoolArray, Int64Array
from nanotally.streams.domain.terms import MONEY_PLACES, PriceFrom
from nanotally.streams.domain.uses import Uses

_PRICE = re.compile(rf"\d{{1,18}}(\.\d{{1,{MONEY_PLACES}}})?", re.ASCII)
_QUANTITY = re.compile(r"\d{1,18}(\.\d{1,24})?", re.ASCII)


@lru_cache(maxsize=4096)
def price_of(link: NumberedRule) -> Price:
    """The price of a rule or pass, made ready once."""
    return Price(link.rule)


@dataclass
class Limits:
    """`max_price` of n uses in nanos, None without one; `bad`: rows whose attribute is no price."""

    nanos: list[Fraction | None] | None
    bad: Int64Array

    def of(self, rows: Int64Array) -> list[Fraction | None] | None:
        """Those of the rows; None where none of them has one."""
        if self.nanos is None:
            return None
        asked = [self.nanos[row] for row in rows.tolist()]
        return asked if any(limit is not None for limit in asked) else None


def limits_of(uses: Uses) -> Limits:
    """What the uses' attribute max_price says."""
    texts = uses.attribute("max_price")
    if texts.null_count == len(texts):
        return Limits(None, np.zeros(0, dtype=np.int64))
    told = texts.to_pylist()
    nanos = [None if text is None else max_price_nanos(text) for text in told]
    bad = [i for i, (text, value) in enumerate(zip(told, nanos, strict=True)) if text is not None and value is None]
    return Limits(nanos, np.array(bad, dtype=np.int64))


def asked_of(
    links: list[NumberedRule],
    uses: Uses,
    rows: Int64Array,
    link: Int64Array,
    quantity: Int64Array,
    first: BoolArray | None = None,
    limits: list[Fraction | None] | None = None,
) -> Asked:
    """What is asked of the prices of links that share their scopes. link, quantity, first: of each of the rows, which
    may repeat."""
    asked = Asked(quantity, first, limits)
    for of in links:
        if of.link != "rule" or (of.rule.tier_by is None and of.rule.price_from is None):
            continue
        places = np.flatnonzero(link == of.number).tolist()
        if of.rule.tier_by is not None:
            asked.tier_quantity = asked.tier_quantity or [None] * len(rows)
            for place, told in zip(places, _tier_quantities(of.rule.tier_by, uses, rows[places]), strict=True):
                asked.tier_quantity[place] = told
        if of.rule.price_from is not None:
            asked.unit_price = asked.unit_price or [None] * len(rows)
            for place, price in zip(places, _unit_prices(of.rule.price_from, uses, rows[places]), strict=True):
                asked.unit_price[place] = price
    return asked


def _tier_quantities(name: str, uses: Uses, rows: Int64Array) -> list[int | None]:
    """Unscaled; what is between two units is in the tier of the upper one, since borders are whole."""
    texts, scales = uses.text(name).take(pa.array(rows)).to_pylist(), uses.scale[rows].tolist()
    return [
        ceil(Fraction(text) * 10**scale) if text is not None and _QUANTITY.fullmatch(text) else None
        for text, scale in zip(texts, scales, strict=True)
    ]


def _unit_prices(source: PriceFrom, uses: Uses, rows: Int64Array) -> list[Fraction | None]:
    """Prices in currency units that came with the uses."""
    if source.source == "catalog":
        return [None] * len(rows) if uses.found is None else uses.found.prices(rows)
    prices: dict[str | None, Fraction | None] = {None: None}
    found = []
    for text in uses.text(source.name).take(pa.array(rows)).to_pylist():
        if text not in prices:
            prices[text] = Fraction(text) if _PRICE.fullmatch(text) else UNUSABLE
        found.append(prices[text])
    return found
