"""Rating in columns gives what the exact path gives, for every kind of price, in whatever chunks."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nanotally.streams.domain import exact
from nanotally.streams.domain.keys import group_codes
from nanotally.streams.domain.prices import Price
from nanotally.streams.domain.rated import UNUSABLE, Rated
from nanotally.streams.domain.rating import Asked, rate, rate_mixed
from nanotally.streams.domain.scopes import ScopeRows
from nanotally.streams.domain.tariff import Rule, Tier
from nanotally.streams.domain.terms import Each, Free, Overage, PriceFrom, Rounding

SELDOM = st.integers(0, 4).map(lambda drawn: drawn == 0)
COLUMNS = [field.name for field in fields(Rated)]
PRICES = st.fractions(min_value=0, max_value=30, max_denominator=7)


class Scoped:
    """Scopes by small numbers, kept as the payers' stage keeps them."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[int, ...]] = {}

    def get(self, numbers: list[int], den: int) -> ScopeRows:
        new = (0, 0, 0, 0, 0, den, 0, 0, 0)
        columns = zip(*(self.rows.get(number, new) for number in numbers), strict=True)
        return ScopeRows(*(np.array(column, dtype=np.int64) for column in columns))

    def put(self, scope: np.ndarray, rated: Rated, first: np.ndarray) -> None:
        for row, number in enumerate(scope.tolist()):
            if rated.refusal[row] == 0:
                self.rows[number] = (
                    int(rated.uses_before[row]) + int(first[row]),
                    int(rated.quantity_before[row] + rated.counted[row]),
                    int(rated.over_after[row]),
                    int(rated.total_after[row]),
                    int(rated.remainder_after[row]),
                    int(rated.remainder_den[row]),
                    int(rated.charged_before[row] + rated.amount[row]),
                    0,
                    0,
                )


def run(
    prices: list[Price], scope: list[int], asked: Asked, cuts: list[int], way: str, single_den: int = 1
) -> list[dict[str, int]]:
    """All uses in chunks that end at the cuts; way: 'columns' or 'exact'."""
    scopes, out = Scoped(), []
    numbers = np.array(scope, dtype=np.int64)
    for start, end in zip([0, *cuts], [*cuts, len(scope)], strict=True):
        if start == end:
            continue
        rows = np.arange(start, end)
        groups, some, part = group_codes(numbers[rows]), asked.pick(rows), prices[start:end]
        before = scopes.get(numbers[rows][groups.first].tolist(), single_den)
        if way == "exact":
            rated = exact.rate(part, groups, before, some)
        elif len(set(part)) == 1:
            rated = rate(part[0], groups, before, some)
        else:
            rated = rate_mixed(part, groups, before, some)
        scopes.put(numbers[rows], rated, np.ones(len(rows), dtype=bool) if some.first is None else some.first)
        out += [{name: int(getattr(rated, name)[row]) for name in COLUMNS} for row in range(len(rows))]
    return out


@st.composite
def tiers_of(draw: st.DrawFn, least: int = 1) -> tuple[Tier, ...]:
    """Tiers, now and then with fees and steps."""
    count = draw(st.integers(least, 3))
    borders = sorted(draw(st.sets(st.integers(1, 60), min_size=count - 1, max_size=count - 1)))
    fees, steps = draw(st.booleans()), draw(st.booleans())
    return tuple(
        Tier(
            border,
            draw(PRICES),
            draw(PRICES) if fees else Fraction(0),
            draw(st.one_of(st.none(), st.integers(1, 13))) if steps else None,
        )
        for border in [*borders, None]
    )


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """A rule of any kind that the language has."""
    more: dict[str, Any] = {"scope": draw(st.sampled_from(["life", "day", "event"]))}
    if draw(SELDOM):
        more |= {"cap_nanos": draw(st.integers(0, 200))} if draw(st.booleans()) else {}
        bare = tuple(Tier(tier.up_to, tier.price) for tier in draw(tiers_of()))
        return Rule("plain", "page", (), bare, (), split="standard", **more)
    kind = draw(st.sampled_from(["plain", "graduated", "volume", "carry", "each", "allowance", "from"]))
    tiers: tuple[Tier, ...] = (Tier(None, draw(PRICES)),)
    if kind in ("graduated", "volume", "carry", "each"):
        tiers = draw(tiers_of(1 if kind == "each" else 2))
        more["zero_fee"] = draw(SELDOM)
    if kind == "volume":
        more |= {"volume": True, "falling": draw(st.booleans()), "tier_by": "full" if draw(SELDOM) else None}
    if kind == "carry":
        more["carry"] = True
    if kind in ("each", "allowance") and draw(st.booleans()):
        low, high = draw(st.none() | PRICES), draw(st.none() | PRICES)
        more["each"] = Each(draw(PRICES), low, high)
    if kind == "allowance":
        units, events = draw(st.none() | st.integers(0, 40)), draw(st.none() | st.integers(0, 4))
        more["free"] = Free(units, events, reached=draw(st.booleans()))
    elif kind not in ("plain", "each") and draw(SELDOM):
        more["free"] = Free(draw(st.integers(0, 30)), after_rounding=draw(st.booleans()))
    if draw(SELDOM):
        mode = draw(st.sampled_from(["up", "down", "half_up"]))
        more["rounding"] = Rounding(draw(st.integers(1, 9)), mode, draw(st.booleans()))
    if kind == "from":
        tiers = draw(st.sampled_from([(), (Tier(None, Fraction(3, 7)),)]))
        up_to = draw(st.none() | st.integers(1, 60))
        more["price_from"] = PriceFrom("event", "price", Fraction(1, 2), Fraction(40), Fraction(10**9, 3), up_to)
    more |= {"connect": draw(PRICES)} if draw(SELDOM) else {}
    if draw(SELDOM):
        more["overage"] = Overage(draw(PRICES) * 10, draw(st.fractions(0, 3, max_denominator=5)))
    more |= {"cap_nanos": draw(st.integers(0, 200))} if draw(SELDOM) else {}
    more |= {"minimum_nanos": draw(st.integers(0, 50))} if draw(SELDOM) else {}
    more |= {"limit": draw(st.integers(0, 90))} if draw(SELDOM) else {}
    more |= {"refuse": True} if draw(SELDOM) and draw(SELDOM) else {}
    return Rule("any", "page", (), tiers, (), split="standard", **more)


@st.composite
def uses(draw: st.DrawFn) -> tuple[list[int], Asked, list[int]]:
    """Scopes, what is asked, and where chunks end."""
    n = draw(st.integers(1, 14))
    scope = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    far = st.integers(0, 10**15) if draw(SELDOM) and draw(SELDOM) else st.integers(0, 20)
    quantity = np.array(draw(st.lists(far, min_size=n, max_size=n)), dtype=np.int64)

    def some(values: st.SearchStrategy[Any], whether: bool) -> list[Any] | None:
        chosen = st.lists(st.none() | values, min_size=n, max_size=n)
        return draw(chosen) if whether else None

    first = draw(st.lists(st.booleans(), min_size=n, max_size=n)) if draw(SELDOM) else None
    came = st.sampled_from([Fraction(3, 10**9), Fraction(1, 10**8), UNUSABLE, Fraction(1), Fraction(5, 10**13)])
    asked = Asked(
        quantity,
        None if first is None else np.array(first, dtype=bool),
        some(st.fractions(0, 100, max_denominator=3), draw(SELDOM)),
        some(st.integers(0, 70), draw(SELDOM)),
        some(came, draw(st.booleans())),
    )
    return scope, asked, sorted(draw(st.lists(st.integers(0, n), max_size=3)))


@settings(max_examples=300, deadline=None)
@given(rules(), uses())
def test_columns_give_what_the_exact_path_gives(made: Rule, given_uses: tuple[list[int], Asked, list[int]]) -> None:
    scope, asked, cuts = given_uses
    prices = [Price(made)] * len(scope)
    expected = run(prices, scope, asked, [], "exact")
    assert run(prices, scope, asked, [], "columns", made.denominator) == expected
    assert run(prices, scope, asked, cuts, "columns") == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(rules(), min_size=2, max_size=3), uses(), st.data())
def test_prices_that_meet_in_a_scope_are_rated_in_the_order_of_uses(
    made: list[Rule], given_uses: tuple[list[int], Asked, list[int]], data: st.DataObject
) -> None:
    scope, asked, cuts = given_uses
    all_prices = [Price(one) for one in made]
    prices = data.draw(st.lists(st.sampled_from(all_prices), min_size=len(scope), max_size=len(scope)))
    expected = run(prices, scope, asked, [], "exact")
    assert run(prices, scope, asked, [], "columns") == run(prices, scope, asked, cuts, "columns") == expected


def test_a_single_use_never_gives_back_even_where_its_price_falls_below_what_another_one_left() -> None:
    # the first four at 0, then a volume price falls from 1 to 0 between 1 and 2: a total of -1 that is not paid out
    tiers = (Tier(1, Fraction(1)), Tier(None, Fraction(0)))
    falling = Price(Rule("any", "page", (), tiers, (), "event", "standard", volume=True, zero_fee=True, falling=True))
    nothing = Price(Rule("any", "page", (), (Tier(None, Fraction(0)),), (), "event", "standard"))
    prices = [falling, *[nothing] * 4, *[falling] * 5]
    asked = Asked(np.array([0, 0, 0, 0, 1, 0, 0, 0, 0, 1]), None, None, None, None)
    found = run(prices, [0] * 10, asked, [5], "columns")
    assert found == run(prices, [0] * 10, asked, [], "exact")
    assert (found[9]["total_after"], found[9]["amount"]) == (-1, 0)
