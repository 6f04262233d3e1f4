"""From what a rule says of its price to the rules that the engine rates by: one for each variant."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

from nanotally.streams.domain.tariff import Rule, Tier
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.body import Body
from nanotally.streams.tariffs.extras import read_extras
from nanotally.streams.tariffs.prices import multiplied, read_factors, read_prices
from nanotally.streams.tariffs.sense import check_sense
from nanotally.streams.tariffs.tiers import Priced
from nanotally.streams.tariffs.totals import billable, cut, limit_of, opened
from nanotally.streams.tariffs.variants import Part

VARIANTS_MAX = 200


@dataclass(frozen=True)
class Variant:
    """One compiled rule and what it is called in each respect: price, multipliers, band."""

    rule: Rule
    parts: tuple[Part, ...] = ()


def variants_of(body: Body, base: Rule, at_most: int | None) -> list[Variant]:
    """The variants of a rule, or of one band of it, first match first. `base` has all but the price; `at_most` is the
    unscaled quantity beyond which nothing is charged. Empty with the errors noted."""
    before = len(body.findings)
    rule = read_extras(body, base)
    prices = read_prices(body)
    factors = read_factors(body)
    if body.findings.errors_since(before) or prices is None:
        return []
    function, alternatives = prices
    count = len(alternatives) * prod(len(f) for f in factors)
    if count > VARIANTS_MAX:
        body.error(
            function,
            f"{count:,} variants of one rule, at most {VARIANTS_MAX}",
            "write several rules, or fewer values with multiply",
        )
        return []
    found: list[Variant] = []
    for priced, scaled in itertools.product(alternatives, itertools.product(*factors)):
        one = _compiled(body, function, rule, priced.value, [s.value for s in scaled], at_most)
        when = (*priced.conditions, *(c for s in scaled for c in s.conditions))
        parts = tuple(p for p in (priced.part, *(s.part for s in scaled)) if p is not None)
        label = ", ".join(p.label for p in parts)
        found.append(Variant(replace(one, when=(*rule.when, *when), variant=label), parts))
    return found


def _compiled(
    body: Body, function: str, rule: Rule, priced: Priced, factors: Sequence[Fraction | None], at_most: int | None
) -> Rule:
    """One variant without its conditions; the errors are noted."""
    if (priced.refused and not priced.tiers) or None in factors:
        return replace(rule, refuse=True, tiers=(Tier(None, Fraction(0)),), text="refuse")
    tiers, limit, taken = priced.tiers, None, priced.price_from
    volume, carry = function == "volume", function == "steps"
    border = None if at_most is None else billable(at_most, rule)
    if border == 0:
        body.error("free", "at_most ends within the allowance: nothing is ever charged", "write price: free instead")
    elif tiers:
        tiers, limit = _closed(body, function, rule, priced, border)
    taken = taken and replace(taken, up_to=border)
    one = replace(rule, tiers=tiers, limit=limit, volume=volume, carry=carry, price_from=taken, text=priced.text)
    check_sense(body, function, one, at_most)
    for factor in factors:
        assert factor is not None, "a refused one has been told"
        one = _scaled(one, factor)
    times = "".join(f" x {figures.number(factor)}" for factor in factors if factor not in (None, 1))
    return replace(one, text=one.text + times)


def _closed(
    body: Body, function: str, rule: Rule, priced: Priced, border: int | None
) -> tuple[tuple[Tier, ...], int | None]:
    """The tiers for every quantity, and the quantity above which uses are refused. border: the billable quantity beyond
    which nothing is charged."""
    last = priced.tiers[-1].up_to
    volume = function == "volume"
    if last is None:
        return (priced.tiers if border is None else cut(priced.tiers, border, volume)), None
    tiers = opened(priced.tiers, volume)
    if priced.refused:
        return (tiers if border is None else cut(tiers, border, volume)), limit_of(last, rule)
    if border is None or border > last:
        beyond = figures.quantity(last, body.context.meter)
        words = "is priced like the last tier" if volume else "is free"
        body.warning(
            function,
            f"a hole: nothing is said of what is above {beyond}, so it {words}",
            "add above: with a price, free or refuse",
        )
    return (tiers if border is None else cut(tiers, border, volume)), None


def _scaled(rule: Rule, factor: Fraction) -> Rule:
    """The rule with its prices and fees times the factor; caps, minimum and bounds stay."""
    each = rule.each and replace(rule.each, fee=rule.each.fee * factor)
    taken = rule.price_from
    if taken is not None:
        low, high = taken.at_least * factor, taken.at_most * factor
        taken = replace(taken, unit=taken.unit * factor, at_least=low, at_most=high)
    return replace(
        rule,
        tiers=tuple(multiplied(t, factor) for t in rule.tiers),
        connect=rule.connect * factor,
        each=each,
        price_from=taken,
    )
