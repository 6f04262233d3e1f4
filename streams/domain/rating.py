"""From quantity to money: cumulated exact value, whole nanos charged (docs/architecture.md, invariant 3).

For a scope with cumulated quantity q, exact total T (whole nanos and a remainder over a common denominator) and what
has been charged C, a use of quantity d under a rule with price function F gives
    T' = T + F(q + d) - F(q);   charge = max(0, min(cap, floor(T')) - C);
prices.py has all that a rule may have besides. The columns below do this for all uses at once; scopes in which the
order of uses decides more than that (a use with a `max_price`, a limit, a price that gives back beside one that does
not ...), and what could leave 64 bits, take the exact path in exact.py. Both give the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanotally.streams.domain import exact
from nanotally.streams.domain.keys import Groups
from nanotally.streams.domain.prices import LIMIT, Price
from nanotally.streams.domain.rated import CHARGED
from nanotally.streams.domain.rated import Asked as Asked
from nanotally.streams.domain.rated import Rated as Rated
from nanotally.streams.domain.rating_columns import Uses, rate_columns, rate_plain
from nanotally.streams.domain.records import BoolArray, Int64Array
from nanotally.streams.domain.scopes import ScopeRows

QUANTITY_MAX = 2**60  # far below 64 bits, so that quantities may be rounded and doubled
QUANTITY_USUAL = 2**32


def rate(price: Price, groups: Groups, before: ScopeRows, asked: Asked) -> Rated:
    """Rates n uses of one rule in row order. groups: the uses by their scope; before: the scopes' state, by group.
    Reads only. Raises BrokenInvariant where denominators have no common one up to 2^62."""
    if price.columns.plain and asked.max_price is None and asked.first is None:
        rated = rate_plain(price, groups, before, asked.quantity)
        if rated is not None:
            return rated
    return _rate([price], np.zeros(len(asked.quantity), dtype=np.int64), groups, before, asked)


def rate_mixed(prices: Sequence[Price], groups: Groups, before: ScopeRows, asked: Asked) -> Rated:
    """As `rate`, with a price of each use: variants or versions of a rule that meet in one scope."""
    if not prices:
        return Rated.refused(0, CHARGED)
    number = {price: place for place, price in enumerate(dict.fromkeys(prices))}
    if len(number) == 1:
        return rate(prices[0], groups, before, asked)
    which = np.array([number[price] for price in prices], dtype=np.int64)
    by_order = [place for price, place in number.items() if _by_order(price)]
    if not by_order:
        return _rate(list(number), which, groups, before, asked)
    # Among others their uses are rated one by one, but not in scopes that have no other.
    ordered = which[groups.order]
    least = np.minimum.reduceat(ordered, groups.starts)
    alone = (least == np.maximum.reduceat(ordered, groups.starts)) & np.isin(least, by_order)
    out = Rated.refused(len(which), CHARGED)
    for place in (*by_order, None):
        chosen = ~alone if place is None else alone & (least == place)
        rows, places = np.flatnonzero(chosen[groups.codes]), np.flatnonzero(chosen)
        if len(rows):
            part, some = _part(groups, chosen, rows), before.pick(places)
            if place is None:
                out.put(rows, _rate(list(number), which[rows], part, some, asked.pick(rows)))
            else:
                out.put(rows, rate(list(number)[place], part, some, asked.pick(rows)))
    return out


def _by_order(price: Price) -> bool:
    """Whether columns can do with the price only where it is alone in its scope."""
    return price.rule.falling or price.carries


def _rate(prices: list[Price], which: Int64Array, groups: Groups, before: ScopeRows, asked: Asked) -> Rated:
    """By columns where that is possible, scope by scope."""
    n = len(which)
    most = max(int(asked.quantity.max(initial=0)), int(before.quantity.max(initial=0)))
    if not n or most >= QUANTITY_MAX or not all(price.columns.fits for price in prices):
        return exact.rate([prices[place] for place in which.tolist()], groups, before, asked)
    uses, refused = _uses(prices, which, asked)
    den, slow = _denominators(uses, groups, before)
    slow |= _slow_scopes(uses, refused, groups, before, asked)
    out = _by_columns(uses, groups, before, den, slow)
    if out is None:  # a few uses beyond all measure leave the columns to the others
        slow |= _huge(uses, groups, before)
        out = _by_columns(uses, groups, before, den, slow)
    if out is None:
        return exact.rate([prices[place] for place in which.tolist()], groups, before, asked)
    if asked.max_price is not None:
        slow[groups.codes[exact.too_dear(out, prices, which, asked.max_price)]] = True
    rows = np.flatnonzero(slow[groups.codes])
    if len(rows):
        by_row = [prices[place] for place in which[rows].tolist()]
        part, places = _part(groups, slow, rows), np.flatnonzero(slow)
        out.put(rows, exact.rate(by_row, part, before.pick(places), asked.pick(rows)))
    return out


def _by_columns(uses: Uses, groups: Groups, before: ScopeRows, den: Int64Array, slow: BoolArray) -> Rated | None:
    """The uses of scopes that are not slow, the others zero; None where they do not fit."""
    if not slow.any():
        return rate_columns(uses, groups, before, den)
    out, rows = Rated.refused(len(uses.which), CHARGED), np.flatnonzero(~slow[groups.codes])
    if len(rows):
        places = np.flatnonzero(~slow)
        rated = rate_columns(uses.pick(rows), _part(groups, ~slow, rows), before.pick(places), den[places])
        if rated is None:
            return None
        out.put(rows, rated)
    return out


def _huge(uses: Uses, groups: Groups, before: ScopeRows) -> BoolArray:
    """Scopes with quantities and totals that are far from usual: bool[g]."""
    most = np.maximum.reduceat(uses.counted[groups.order], groups.starts)
    huge: BoolArray = (most >= QUANTITY_USUAL) | (before.quantity >= 2**48) | (np.abs(before.total) >= 2**60)
    return huge


def _uses(prices: list[Price], which: Int64Array, asked: Asked) -> tuple[Uses, BoolArray]:
    """The uses as columns, and which of them have no price: bool[n]."""
    counted = asked.quantity.copy()
    for place, price in enumerate(prices):
        rounding = price.rule.rounding
        if rounding is not None and rounding.event:
            mine = np.flatnonzero(which == place)
            counted[mine] = price.columns.counted(asked.quantity[mine])
    refused = np.array([price.refuses(None) for price in prices], dtype=bool)[which]
    if asked.unit_price is None or all(price.rule.price_from is None for price in prices):
        return Uses(prices, which, counted, asked.first, None, None), refused
    # Uses share the objects of equal prices, so that each is looked at once.
    known: dict[tuple[int, int], tuple[bool, int | None]] = {}
    unit, has_unit = np.zeros(len(which), dtype=np.int64), np.zeros(len(which), dtype=bool)
    for row, (place, came) in enumerate(zip(which.tolist(), asked.unit_price, strict=True)):
        key = place, id(came)
        if key not in known:
            no_price = prices[place].refuses(came)
            known[key] = no_price, None if no_price else prices[place].unit_of(came)
        refused[row], value = known[key]
        if value is not None:
            unit[row], has_unit[row] = value, True
    return Uses(prices, which, counted, asked.first, unit, has_unit), refused


def _denominators(uses: Uses, groups: Groups, before: ScopeRows) -> tuple[Int64Array, BoolArray]:
    """Denominator of each scope from its first use on, and whether it changes with a later one: int64[g], bool[g]."""
    of_price = np.array([price.den for price in uses.prices], dtype=np.int64)
    of_row = of_price[uses.which]
    begin = of_row[groups.first]
    slow = before.den % begin != 0
    den = before.den
    if slow.any() and int(before.den.max()) * int(begin.max()) < LIMIT:
        den, slow = np.lcm(before.den, begin), np.zeros(len(groups), dtype=bool)
    if len(uses.prices) > 1:
        slow[groups.codes[den[groups.codes] % of_row != 0]] = True
    return den, slow


def _slow_scopes(uses: Uses, refused: BoolArray, groups: Groups, before: ScopeRows, asked: Asked) -> BoolArray:
    """Scopes whose uses are rated one by one: bool[g]."""
    rows, prices = refused, uses.prices
    if asked.tier_quantity is not None and any(price.rule.tier_by for price in prices):
        rows = rows | np.array([quantity is not None for quantity in asked.tier_quantity], dtype=bool)
    if len(prices) > 1:
        rows = rows | np.array([_by_order(price) for price in prices], dtype=bool)[uses.which]
    slow = np.zeros(len(groups), dtype=bool)
    slow[groups.codes[rows]] = True
    if len(prices) == 1 and prices[0].carries:
        price = prices[0]
        slow |= before.over != price.columns.over(before.quantity)
    limits = [price.rule.limit for price in prices if price.rule.limit is not None]
    if limits:
        counted = uses.counted[groups.order]
        used = np.add.reduceat(np.minimum(counted, QUANTITY_USUAL), groups.starts)
        slow |= (used > min(limits) - before.quantity) | (np.maximum.reduceat(counted, groups.starts) > QUANTITY_USUAL)
    return slow


def _part(groups: Groups, chosen: BoolArray, rows: Int64Array) -> Groups:
    """The chosen groups alone, bool[g]; rows: int64[n] those in them, which are numbered anew."""
    place = np.cumsum(chosen) - 1
    number = np.full(len(groups.codes), -1, dtype=np.int64)
    number[rows] = np.arange(len(rows))
    order = number[groups.order]
    order = order[order >= 0]
    sizes = np.diff(np.append(groups.starts, len(groups.order)))[chosen]
    starts = np.cumsum(sizes) - sizes
    return Groups(place[groups.codes[rows]], order[starts], order, starts)
