"""What one use costs by one rule, worked out in exact fractions from the rule's terms and the scope's state before.

The plain statement of the price functions: shares no code with the columns and whole numbers that rate. Quantities
are unscaled, money is exact nanos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor

from nanotally.streams.domain.rules import Rule
from nanotally.streams.domain.terms import Rounding, Tier

NOTHING = Fraction(0)


@dataclass(frozen=True)
class Piece:
    """A quantity at the price of one tier; below zero where a total that falls back takes it away again. `lower`
    exclusive, `upper` inclusive, None: open; price in exact nanos per unscaled unit."""

    quantity: int
    lower: int
    upper: int | None
    price: Fraction

    @property
    def nanos(self) -> Fraction:
        """What this part costs, exact nanos."""
        return self.quantity * self.price


@dataclass(frozen=True)
class Extra:
    """An amount that is of no quantity. `what` says of what, for people: 'connect fee'."""

    what: str
    nanos: Fraction


Item = Piece | Extra


@dataclass(frozen=True)
class State:
    """A scope before a use: uses, cumulated quantity, quantity that started steps paid for beyond it, exact total and
    whole nanos charged."""

    uses: int
    quantity: int
    over: int
    total: Fraction
    charged: int


@dataclass(frozen=True)
class Step:
    """What a use adds. `billable_before` and `billable_after`: the cumulated quantity that is priced, after allowance
    and rounding. `over`: of the scope afterwards. `allowance`: the use lies wholly within it."""

    items: tuple[Item, ...]
    billable_before: int
    billable_after: int
    over: int = 0
    allowance: bool = False

    @property
    def nanos(self) -> Fraction:
        """The exact step of the scope's total."""
        return sum((item.nanos for item in self.items), NOTHING)


def step_of(
    rule: Rule,
    state: State,
    quantity: int,
    first: bool = True,
    unit_price: Fraction | None = None,
    tier_quantity: int | None = None,
) -> Step:
    """What `quantity` more adds to the scope. `first`: it is the first piece of its use; `unit_price`: exact nanos per
    unscaled unit, where the price came with the use; `tier_quantity`: what chooses the volume tier instead."""
    tiers = rule.tiers
    if unit_price is not None and rule.price_from is not None:
        tiers = rule.price_from.tiers(unit_price)
    if rule.free is not None and (rule.each is not None or rule.free.events is not None):
        step = _with_allowance(rule, tiers, state, quantity, first)
    else:
        uses_after = state.uses + first
        if rule.carry and unit_price is None:
            step = _walk(rule, tiers, state, quantity, uses_after)
        else:
            step = _difference(rule, tiers, state, quantity, uses_after, tier_quantity)
        step = replace(step, items=(*step.items, *_bounds(rule, step.nanos)))
    if rule.connect and state.quantity == 0 and quantity > 0:
        step = replace(step, items=(*step.items, Extra("connect fee", rule.connect)))
    return step


def rounded(quantity: int, rounding: Rounding | None) -> int:
    """The quantity brought to a multiple of the step."""
    if rounding is None:
        return quantity
    count = Fraction(quantity, rounding.step)
    by_mode = {"up": ceil(count), "down": floor(count), "half_up": floor(count + Fraction(1, 2))}
    return by_mode[rounding.mode] * rounding.step


def counted(rule: Rule, quantity: int) -> int:
    """What a use of `quantity` counts: rounded, where the rule rounds each use by itself."""
    return rounded(quantity, rule.rounding) if rule.rounding is not None and rule.rounding.event else quantity


def billable(rule: Rule, cumulated: int) -> int:
    """What of a cumulated quantity is priced: less the allowance, and rounded."""
    rounding = rule.rounding if rule.rounding is not None and not rule.rounding.event else None
    units = (rule.free.units or 0) if rule.free is not None else 0
    if rule.free is not None and rule.free.after_rounding:
        return max(0, rounded(cumulated, rounding) - units)
    return rounded(max(0, cumulated - units), rounding)


def _difference(
    rule: Rule, tiers: Sequence[Tier], state: State, quantity: int, uses_after: int, tier_quantity: int | None
) -> Step:
    """The function after less the function before, tier by tier."""
    before = billable(rule, state.quantity)
    after = billable(rule, state.quantity + quantity)
    was = _filled(rule, tiers, before, state.uses, tier_quantity)
    now = _filled(rule, tiers, after, uses_after, tier_quantity)
    items: list[Item] = []
    lower = 0
    for tier, (had, entered), (has, enters) in zip(tiers, was, now, strict=True):
        if has != had:
            items.append(Piece(has - had, lower, tier.up_to, tier.price))
        if tier.fee and enters != entered:
            what = "fee of the tier" if enters else "less the fee of the tier"
            items.append(Extra(f"{what} above {lower}" if lower else what, tier.fee if enters else -tier.fee))
        lower = tier.up_to if tier.up_to is not None else lower
    allowance = rule.free is not None and after == 0
    return Step(tuple(items), before, after, 0, allowance)


def _filled(rule: Rule, tiers: Sequence[Tier], x: int, uses: int, tier_quantity: int | None) -> list[tuple[int, bool]]:
    """What each tier counts of the billable quantity x, in whole steps, and whether it is entered; the first one is
    entered by nothing where its fee is asked for at zero usage."""
    zero = rule.zero_fee and uses > 0
    if rule.volume:
        chooser = x if tier_quantity is None else tier_quantity
        reached = next((i for i, t in enumerate(tiers) if t.up_to is None or chooser <= t.up_to), len(tiers) - 1)
        step = tiers[reached].step or 1
        whole = (ceil(Fraction(x, step)) * step, x > 0 or zero)
        return [whole if i == reached else (0, False) for i in range(len(tiers))]
    filled, lower = [], 0
    for i, tier in enumerate(tiers):
        high = x if tier.up_to is None or i == len(tiers) - 1 else min(x, tier.up_to)
        step = tier.step or 1
        filled.append((max(0, ceil(Fraction(high - lower, step)) * step), x > lower or (i == 0 and zero)))
        lower = tier.up_to if tier.up_to is not None else lower
    return filled


def _with_allowance(rule: Rule, tiers: Sequence[Tier], state: State, quantity: int, first: bool) -> Step:
    """A price of each use by itself, with an allowance in uses or units that takes off a part."""
    free = rule.free
    assert free is not None, "asked only where there is an allowance"
    inside = free.events is None or (state.uses if first else state.uses - 1) < free.events
    units, reaches = free.units, state.quantity + quantity
    if inside and (units is None or reaches < units or (reaches == units and not free.reached)):
        return Step((), 0, 0, 0, True)
    given = 0 if not inside or units is None else min(quantity, max(0, units - state.quantity))
    priced = [Piece(quantity - given, 0, None, tiers[0].price)] if quantity > given else []
    asked = (quantity - given) * tiers[0].price
    return Step((*priced, *_bounds(rule, asked)), 0, quantity - given)


def _bounds(rule: Rule, asked: Fraction) -> Iterator[Extra]:
    """What the fee and the bounds of each use add to, or take off, what it asks."""
    each = rule.each
    if each is None:
        return
    if each.fee:
        yield Extra("fee of the use", each.fee)
        asked += each.fee
    if each.at_least is not None and asked < each.at_least:
        yield Extra("raised to the least of a use", each.at_least - asked)
        asked = each.at_least
    if each.at_most is not None and asked > each.at_most:
        yield Extra("lowered to the most of a use", each.at_most - asked)


def _walk(rule: Rule, tiers: Sequence[Tier], state: State, quantity: int, uses_after: int) -> Step:
    """Started steps that go on beyond their tier: from what is paid for, step by step, to what is reached; and the
    fees of the tiers that are entered."""
    used, end = billable(rule, state.quantity), billable(rule, state.quantity + quantity)
    begun = used + state.over
    at, items = begun, list[Item]()
    while at < end:
        lower = max((t.up_to for t in tiers if t.up_to is not None and t.up_to <= at), default=0)
        tier = next((t for t in tiers if t.up_to is None or at < t.up_to), tiers[-1])
        upper = end if tier.up_to is None or tier is tiers[-1] else min(end, tier.up_to)
        size = tier.step or 1
        count = ceil(Fraction(upper - at, size)) * size
        items.append(Piece(count, lower, tier.up_to, tier.price))
        at += count
    was = _filled(rule, tiers, used, state.uses, None)
    now = _filled(rule, tiers, end, uses_after, None)
    for tier, (_, entered), (_, enters) in zip(tiers, was, now, strict=True):
        if tier.fee and enters and not entered:
            items.append(Extra("fee of the tier", tier.fee))
    return Step(tuple(items), begun, at, at - end)


def with_overage(rule: Rule, total: Fraction) -> Fraction:
    """The exact total with what is above a commitment multiplied."""
    if rule.overage is None or total <= rule.overage.above:
        return total
    return rule.overage.above + (total - rule.overage.above) * rule.overage.factor


def due_of(rule: Rule, total: Fraction) -> int:
    """Whole nanos that a scope of this exact total costs: overage, floor, cap, and the minimum of a single use."""
    due = floor(with_overage(rule, total))
    if rule.cap_nanos is not None:
        due = min(due, rule.cap_nanos)
    return max(due, rule.minimum_nanos) if rule.scope == "event" else due


def amount_of(rule: Rule, total: Fraction, charged: int) -> int:
    """What is charged now, where the scope's total has become `total`; below zero only where a price may fall."""
    due = due_of(rule, total)
    return due - charged if rule.falling else max(0, due - charged)
