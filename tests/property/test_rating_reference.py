"""Rating in columns says what the plain reference says: of every price function, and beyond 64 bits."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from nanotally.streams.domain.keys import group_codes
from nanotally.streams.domain.parties import divide_one, places_of, resolve
from nanotally.streams.domain.prices import Price
from nanotally.streams.domain.rated import REFUSALS, UNUSABLE, Rated
from nanotally.streams.domain.rating import Asked, rate, rate_mixed
from nanotally.streams.domain.scopes import ScopeRows
from nanotally.streams.domain.tariff import Rule
from tests.support.reference_price import State, Taken, Use, take
from tests.support.reference_pricing import Known
from tests.support.reference_splits import divide, resolve_split
from tests.support.scenario_books import Tariff
from tests.support.scenario_rules import Denominators, Variants, scope_shape

FIRST = int(os.environ.get("NANOTALLY_FIRST_SEED", "0"))
SEEDS = int(os.environ.get("NANOTALLY_SEEDS", "60")) * 10


@dataclass(frozen=True)
class Asking:
    """One use: by which variant, in which scope, and what it brings."""

    rule: Rule
    scope: int
    use: Use
    came: Fraction | None
    max_price: Fraction | None


class Story:
    """Random uses of a random rule, drawn with the reference at hand."""

    def __init__(self, seed: int) -> None:
        self.r = r = random.Random(f"rating {seed}")
        amounts = Denominators(r, small=r.random() < 0.2)
        base = Rule("r", "play", (), (), (), split="s", **scope_shape(r))
        self.rules = Variants(r, base, amounts, r.choice((0, 3)), r.random() < 0.5).some()
        self.most = r.choice((10, 100, 1000, 10**6, 10**15))
        self.scopes = r.choice((1, 1, 3, 20))
        self.pieces, self.limited = r.random() < 0.4, r.random() < 0.4
        self.states: dict[int, State] = {}

    def asking(self, number: int) -> Asking:
        r = self.r
        rule = r.choice(self.rules)
        scope = number if rule.scope == "event" else r.randrange(self.scopes)
        first = not (self.pieces and scope in self.states and r.random() < 0.5)
        came = r.choice((None, Fraction(1, 10**9), Fraction(1, 1000), Fraction(0), Fraction(1, 10**12), UNUSABLE))
        by = Fraction(r.choice((0, 5, 59, 60, 10**6))) if rule.tier_by and r.random() < 0.7 else None
        unit = came * rule.price_from.unit if rule.price_from and came is not None else None
        limit = Fraction(r.choice((0, 1, 50, 10**6)), r.choice((1, 2))) if self.limited and r.random() < 0.3 else None
        quantity = r.choice((0, 1, r.randint(0, self.most), r.randint(0, self.most)))
        ends = [t.up_to for t in rule.tiers if t.up_to is not None]
        if ends and r.random() < 0.2:  # just to a border
            free = rule.free.units or 0 if rule.free else 0
            quantity = max(0, r.choice(ends) + free - self.states.get(scope, State()).quantity)
        return Asking(rule, scope, Use(quantity, first, by, unit), came, limit)

    def told(self, asking: Asking) -> Taken | str:
        """What the reference says; moves the scope."""
        rule, source = asking.rule, asking.rule.price_from
        before = self.states.get(asking.scope, State())
        taken = take(rule, before, asking.use)
        unit = asking.use.unit_price
        if source is not None and unit is not None and not source.at_least <= unit <= source.at_most:
            taken = taken if taken == "limit" else "price"
        if not isinstance(taken, str) and asking.max_price is not None and taken.asked > asking.max_price:
            taken = "max_price"
        if not isinstance(taken, str):
            self.states[asking.scope] = taken.after
        return taken


class Kept:
    """Scopes of the columns by small numbers."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[int, ...]] = {}

    def get(self, numbers: list[int], den: int) -> ScopeRows:
        rows = [self.rows.get(number, (0, 0, 0, 0, 0, den, 0, 0, 0)) for number in numbers]
        return ScopeRows(*(np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)))

    def put(self, asked: list[Asking], rated: Rated) -> None:
        for i, asking in enumerate(asked):
            if not rated.refusal[i]:
                uses, quantity = rated.uses_before[i] + asking.use.first, rated.quantity_before[i] + rated.counted[i]
                rest = (rated.over_after, rated.total_after, rated.remainder_after, rated.remainder_den)
                charged = rated.charged_before[i] + rated.amount[i]
                self.rows[asking.scope] = (uses, quantity, *(column[i] for column in rest), charged, 0, 0)


def columns(asked: list[Asking], prices: dict[Rule, Price], kept: Kept) -> Rated:
    groups = group_codes(np.array([a.scope for a in asked], dtype=np.int64))
    scopes = [asked[i].scope for i in groups.first.tolist()]
    mine = [prices[a.rule] for a in asked]
    asking = Asked(
        np.array([a.use.quantity for a in asked], dtype=np.int64),
        None if all(a.use.first for a in asked) else np.array([a.use.first for a in asked]),
        [a.max_price for a in asked] if any(a.max_price is not None for a in asked) else None,
        [None if a.use.tier_quantity is None else int(a.use.tier_quantity) for a in asked],
        [a.came for a in asked],
    )
    before = kept.get(scopes, mine[0].den)
    rated = rate(mine[0], groups, before, asking) if len(set(mine)) == 1 else rate_mixed(mine, groups, before, asking)
    kept.put(asked, rated)
    return rated


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, 10))
def test_columns_and_reference_agree_on_every_price(first: int) -> None:
    for seed in range(first, first + 10):
        story = Story(seed)
        prices = {rule: Price(rule) for rule in story.rules}
        kept, number = Kept(), 0
        for _ in range(story.r.choice((1, 2, 5))):
            states = dict(story.states)
            asked, expected = list[Asking](), list[tuple[State, Taken | str]]()
            for _ in range(story.r.choice((1, 7, 40))):
                asking = story.asking(number)
                number += 1
                asked.append(asking)
                before = story.states.get(asking.scope, State())
                expected.append((before, story.told(asking)))
            rated = columns(asked, prices, kept)
            for i, (before, taken) in enumerate(expected):
                assert told(rated, i) == wanted(before, taken), (seed, number, i, asked[i], before, states)


def wanted(before: State, taken: Taken | str) -> dict[str, object]:
    if isinstance(taken, str):
        return {"refused": taken}
    return {
        "counted": taken.counted,
        "uses": before.uses,
        "quantity": before.quantity,
        "over": (before.over, taken.after.over),
        "total": (before.total, taken.after.total),
        "charged": before.charged,
        "amount": taken.amount,
    }


def told(rated: Rated, i: int) -> dict[str, object]:
    if rated.refusal[i]:
        return {"refused": REFUSALS[int(rated.refusal[i])]}
    den = int(rated.remainder_den[i])
    totals = ((rated.total_before, rated.remainder_before), (rated.total_after, rated.remainder_after))
    return {
        "counted": int(rated.counted[i]),
        "uses": int(rated.uses_before[i]),
        "quantity": int(rated.quantity_before[i]),
        "over": (int(rated.over_before[i]), int(rated.over_after[i])),
        "total": tuple(int(whole[i]) + Fraction(int(rest[i]), den) for whole, rest in totals),
        "charged": int(rated.charged_before[i]),
        "amount": int(rated.amount[i]),
    }


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS // 10))
def test_caps_of_parties_and_what_is_beyond_them_are_divided_alike(seed: int) -> None:
    r = random.Random(f"splits {seed}")
    creator, writers = r.choice((None, "x", "y")), r.choice(((), (("x", Fraction(1, 3)), ("w", Fraction(2, 3)))))
    drawn = {"item.label": r.choice((None, "l", "k", "")), "segment": r.choice((None, "a")), "region": "eu"}
    attributes = {name: value for name, value in drawn.items() if value is not None}
    for split in Tariff(r, "t", 0, rich=True).splits():
        parts = resolve_split(split, Known({"creator": creator, "attributes": attributes}, writers))
        parties = resolve(split, {"creator": creator, **attributes}, writers)
        for _ in range(5):
            base = r.choice((0, r.randint(-(10**6), 10**6), r.randint(0, 2**61)))
            amount = r.choice((0, r.randint(-100, 100), r.randint(0, 10**12), r.randint(-(2**70), 2**70)))
            shares = divide(parts, base, amount)
            assert sum(s.nanos for s in shares) == amount
            assert [(s.account, s.nanos) for s in shares] == list(divide_one(parties, base, amount))
            assert [(s.account, s.fraction) for s in shares] == list(places_of(parties))
