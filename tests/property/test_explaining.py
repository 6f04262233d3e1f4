"""Three statements of every price agree on random rules and uses: the one that rates (exact integers), the one that
explains (fractions) and the shipped script that verifies proofs; and two of every split."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from nanotally.streams import verify_proof
from nanotally.streams.domain.catalogs import CatalogItem
from nanotally.streams.domain.exact import ScopeState, Use
from nanotally.streams.domain.explaining_shares import claims_of, parts_of
from nanotally.streams.domain.explaining_terms import State, amount_of, counted, step_of
from nanotally.streams.domain.parties import divide_one, places_of, resolve
from nanotally.streams.domain.prices import Price
from nanotally.streams.domain.rules import Party, Rule, Split, rule_document
from nanotally.streams.domain.terms import Each, Free, Overage, PriceFrom, Rounding, Tier

SEEDS = range(400)


def random_rule(r: random.Random) -> Rule:
    """A rule of one price function with whatever goes with it."""

    def price() -> Fraction:
        return Fraction(r.randrange(0, 400), r.choice((1, 3, 7, 1000)))

    borders = sorted(r.sample(range(1, 200), r.randrange(0, 3)))
    tiers = tuple(
        Tier(up_to, price(), r.choice((Fraction(0), price())), r.choice((None, None, r.randrange(1, 40))))
        for up_to in (*borders, None)
    )
    rule = Rule("r", "m", (), tiers, (), r.choice(("month", "event")), "s")
    kind = r.choice(("graduated", "volume", "carry", "each", "free", "rounded", "events", "price_from"))
    flat = (Tier(None, price()),)
    each = Each(price(), r.choice((None, Fraction(50))), r.choice((None, Fraction(900))))
    free = Free(r.choice((None, r.randrange(1, 90))), r.randrange(1, 5), reached=r.random() < 0.5)
    rounding = Rounding(r.randrange(1, 30), r.choice(("up", "down", "half_up")), r.random() < 0.5)
    own = PriceFrom("event", "price", Fraction(0), Fraction(10**12), Fraction(10**9))
    terms: dict[str, dict[str, Any]] = {
        "graduated": {},
        "volume": {"volume": True, "falling": r.random() < 0.5, "tier_by": r.choice((None, "seats"))},
        "carry": {"carry": True},
        "each": {"each": each, "rounding": r.choice((None, rounding))},
        "free": {"tiers": flat, "free": Free(r.randrange(1, 90), None, reached=True), "each": each},
        "rounded": {"rounding": rounding, "free": Free(r.randrange(1, 90), after_rounding=r.random() < 0.5)},
        "events": {"tiers": flat, "free": free, "each": r.choice((None, each))},
        "price_from": {"price_from": replace(own, up_to=r.choice((None, r.randrange(1, 200))))},
    }
    return replace(
        rule,
        **terms[kind],
        zero_fee=r.random() < 0.3,
        connect=r.choice((Fraction(0), price())),
        cap_nanos=r.choice((None, None, 5000)),
        overage=r.choice((None, None, Overage(Fraction(3000), Fraction(3, 2)))),
        minimum_nanos=r.choice((0, 0, 40)),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_engine_the_explanation_and_the_script_agree(seed: int) -> None:
    r = random.Random(seed)
    rule = random_rule(r)
    price, document = Price(rule), rule_document(rule)
    scope = ScopeState(0, 0, 0, 0, 0, price.den, 0)
    for _ in range(r.randrange(1, 12)):
        units = 0 if rule.free is None else rule.free.units or 0
        to_the_border = max(0, units - scope.quantity)
        quantity = r.choice((0, 1, to_the_border, r.randrange(0, 30), r.randrange(0, 150)))
        came = Fraction(r.randrange(0, 900), 10**9) if rule.price_from is not None and r.random() < 0.7 else None
        seats = r.choice((None, r.randrange(0, 250))) if rule.tier_by is not None else None
        first = scope.uses == 0 or r.random() < 0.8
        verdict = scope.weigh(price, Use(quantity, first, None, seats, came))
        assert verdict.after is not None
        d = counted(rule, quantity)
        before = State(scope.uses, scope.quantity, scope.over, scope.exact, scope.charged)
        unit_price = None if came is None or rule.price_from is None else came * rule.price_from.unit
        step = step_of(rule, before, d, first, unit_price, seats)
        total = scope.exact + step.nanos
        charged = amount_of(rule, total, scope.charged)
        assert (total, step.over) == (verdict.after.exact, verdict.after.over)
        assert charged == verdict.after.charged - scope.charged
        line = {
            "uses_before": scope.uses,
            "quantity_before": scope.quantity,
            "over_before": scope.over,
            "quantity": d,
            "first": first,
            "unit_price": None if unit_price is None else str(unit_price),
            "tier_quantity": seats,
        }
        assert verify_proof.step_of(document, line) == step.nanos
        assert verify_proof.amount_of(document, total, scope.charged) == charged
        scope = verdict.after


@pytest.mark.parametrize("seed", range(300))
def test_splits_of_the_engine_and_of_the_explanation_agree(seed: int) -> None:
    r = random.Random(seed)
    names = r.sample(("platform", "creator", "party:{item.label}", "party:a", "party:b", "party:c"), r.randrange(2, 6))
    capped = r.random() < 0.5
    parties = [
        Party(
            name,
            Fraction(1) if capped and place == 1 and r.random() < 0.3 else Fraction(r.randrange(0, 20), 100),
            r.choice((None, r.randrange(0, 50))) if capped else None,
            r.choice((None, "party:fund", "creator", names[0])) if capped else None,
        )
        for place, name in enumerate(names[:-1])
    ]
    parties = [replace(p, of_left=True) if p.fraction == 1 else p for p in parties]
    parties = [replace(p, overflow=None) if p.cap_nanos is None else p for p in parties]
    split = Split("s", (*parties, Party(names[-1], None)))
    writers = r.choice(((), (("ann", Fraction(1, 3)), ("bob", Fraction(2, 3)))))
    creator, label = r.choice((None, "eve")), r.choice((None, "blue"))
    event = {"creator": creator, "attributes": {} if label is None else {"item.label": label}}
    item = CatalogItem("i", writers=writers) if writers else None
    resolved = resolve(split, {"creator": creator, "item.label": label}, () if creator else writers)
    base, amount = r.randrange(0, 10**6), r.choice((r.randrange(0, 400), -r.randrange(0, 400)))
    parts = parts_of(claims_of(split, event, item), base, amount)
    assert {p.account: p.nanos for p in parts} == dict(divide_one(resolved, base, amount))
    assert tuple((p.account, p.fraction) for p in parts) == places_of(resolved)
