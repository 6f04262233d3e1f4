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
    number = {price: place for place, price in enumerate(dict.fromkeys(prices))}
    if len(number) == 1:
        return rate(prices[0], groups, before, asked)
    return _rate(list(number), np.array([number[price] for price in prices], dtype=np.int64), groups, before, asked)


def _rate(prices: list[Price], which: Int64Array, groups: Groups, before: ScopeRows, asked: Asked) -> Rated:
    """By columns where that is possible, scope by scope."""
    n = len(which)
    if not n:
        return Rated.refused(0, CHARGED)
    uses = _uses(prices, which, before, asked)
    if uses is not None:
        den, slow = _denominators(uses, groups, before)
        slow |= _slow_scopes(uses, groups, before, asked)
        slow_rows = slow[groups.codes]
        if not slow.any():
            rated = rate_columns(uses, groups, before, den)
            if rated is not None:
                return rated
        elif not slow.all():
            out = Rated.refused(n, CHARGED)
            for chosen, rows in ((~slow, np.flatnonzero(~slow_rows)), (slow, np.flatnonzero(slow_rows))):
                places, part = np.flatnonzero(chosen), _part(groups, chosen, rows)
                some = before.pick(places)
                rated = None if chosen is slow else rate_columns(uses.pick(rows), part, some, den[places])
                if rated is None:
                    rated = exact.rate([prices[place] for place in which[rows].tolist()], part, some, asked.pick(rows))
                out.put(rows, rated)
            return out
    return exact.rate([prices[place] for place in which.tolist()], groups, before, asked)


def _uses(prices: list[Price], which: Int64Array, before: ScopeRows, asked: Asked) -> Uses | None:
    """The uses as columns; None where quantities might not fit."""
    n = len(which)
    counted = asked.quantity.copy()
    most = int(asked.quantity.max(initial=0)) + int(before.quantity.max(initial=0))
    unit = has_unit = None
    for place, price in enumerate(prices):
        if price.columns.bound(most) >= LIMIT:
            return None
        rounding = price.rule.rounding
        if rounding is not None and rounding.event:
            mine = np.flatnonzero(which == place)
            counted[mine] = price.columns.counted(asked.quantity[mine])
    if asked.unit_price is not None and any(price.rule.price_from is not None for price in prices):
        units = [
            None if prices[place].refuses(came) else prices[place].unit_of(came)
            for place, came in zip(which.tolist(), asked.unit_price, strict=True)
        ]
        unit = np.array([0 if value is None else value for value in units], dtype=np.int64)
        has_unit = np.array([value is not None for value in units], dtype=bool)
    if int(counted.max(initial=0)) * (n + 1) >= LIMIT:
        return None
    return Uses(prices, which, counted, asked.first, unit, has_unit)


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


def _slow_scopes(uses: Uses, groups: Groups, before: ScopeRows, asked: Asked) -> BoolArray:
    """Scopes whose uses are rated one by one: bool[g]."""
    n, prices = len(uses.which), uses.prices
    rows = np.zeros(n, dtype=bool)
    if asked.max_price is not None:
        rows |= np.array([price is not None for price in asked.max_price], dtype=bool)
    if asked.tier_quantity is not None and any(price.rule.tier_by for price in prices):
        rows |= np.array([quantity is not None for quantity in asked.tier_quantity], dtype=bool)
    for place, price in enumerate(prices):
        rule, mine = price.rule, uses.which == place
        if rule.refuse or (len(prices) > 1 and (rule.falling or price.carries)):
            rows |= mine
        elif rule.price_from is not None:
            came = asked.unit_price if asked.unit_price is not None else [None] * n
            rows[[row for row in np.flatnonzero(mine).tolist() if price.refuses(came[row])]] = True
    slow = np.zeros(len(groups), dtype=bool)
    slow[groups.codes[rows]] = True
    if len(prices) == 1 and prices[0].carries:
        price = prices[0]
        slow |= before.over != price.columns.over(before.quantity)
    limits = [price.rule.limit for price in prices if price.rule.limit is not None]
    if limits:
        used = np.add.reduceat(uses.counted[groups.order], groups.starts)
        slow |= used > min(limits) - before.quantity
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
