"""What one more use costs in a scope: every price function said plainly, in fractions, one use at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor

from nanotally.streams.domain.rules import Rule
from nanotally.streams.domain.terms import Rounding, Tier
from tests.support.reference_values import TOO_MUCH


@dataclass(frozen=True)
class State:
    """What a scope has cumulated: uses, unscaled quantity, quantity beyond it that started steps have paid for, the
    exact total without cap, whole nanos charged."""

    uses: int = 0
    quantity: int = 0
    over: int = 0
    total: Fraction = Fraction(0)
    charged: int = 0


@dataclass(frozen=True)
class Use:
    """A use or a piece of it. `first`: the first piece of its use in the scope. `tier_quantity`: the unscaled quantity
    that chooses the volume tier; `unit_price`: exact nanos per unscaled unit in place of the rule's own."""

    quantity: int
    first: bool = True
    tier_quantity: Fraction | None = None
    unit_price: Fraction | None = None


@dataclass(frozen=True)
class Taken:
    """`counted`: the quantity counted; `asked`: exact nanos to hold against a max_price; `amount`: whole nanos."""

    counted: int
    asked: Fraction
    amount: int
    after: State


def to_step(quantity: int, rounding: Rounding) -> int:
    """A multiple of the step: up, down, or the nearer one (ties up)."""
    steps = Fraction(quantity, rounding.step)
    whole = {"up": ceil(steps), "down": floor(steps), "half_up": floor(steps + Fraction(1, 2))}[rounding.mode]
    return whole * rounding.step


def in_steps(quantity: int, step: int | None) -> int:
    """Quantity as started steps bill it."""
    return quantity if step is None else ceil(Fraction(quantity, step)) * step


def billable(rule: Rule, quantity: int) -> int:
    """B: what is left of a cumulated quantity after allowance and rounding."""
    free = (rule.free.units or 0) if rule.free and not single_use(rule) else 0
    after_rounding = rule.free is not None and rule.free.after_rounding
    if not after_rounding:
        quantity = max(0, quantity - free)
    if rule.rounding is not None and not rule.rounding.event:
        quantity = to_step(quantity, rule.rounding)
    return max(0, quantity - free) if after_rounding else quantity


def single_use(rule: Rule) -> bool:
    """Whether each use is looked at by itself."""
    return rule.each is not None or (rule.free is not None and rule.free.events is not None)


def graduated(tiers: tuple[Tier, ...], quantity: int, zero_fee: bool) -> Fraction:
    """G: tier by tier; the fee of each tier that is entered, and its units or started steps."""
    total, lower = Fraction(0), 0
    for i, tier in enumerate(tiers):
        if quantity > lower or (i == 0 and zero_fee):
            total += tier.fee
        within = (quantity if tier.up_to is None else min(quantity, tier.up_to)) - lower
        if within > 0:
            total += tier.price * in_steps(within, tier.step)
        lower = tier.up_to or lower
    return total


def volume(tiers: tuple[Tier, ...], quantity: int, chosen_by: Fraction, zero_fee: bool) -> Fraction:
    """G where all units have the price of one tier: the first whose border is not passed, else the last."""
    fitting = [t for t in tiers if t.up_to is None or chosen_by <= t.up_to]
    tier = fitting[0] if fitting else tiers[-1]
    fee = tier.fee if quantity > 0 or zero_fee else Fraction(0)
    return fee + tier.price * in_steps(quantity, tier.step)


def price_of(rule: Rule, quantity: int, uses: int, by: Fraction | None = None) -> Fraction:
    """F: exact nanos of a cumulated quantity after that many uses."""
    if uses == 0:
        return Fraction(0)
    quantity = billable(rule, quantity)
    if rule.volume:
        return volume(rule.tiers, quantity, Fraction(quantity) if by is None else by, rule.zero_fee)
    return graduated(rule.tiers, quantity, rule.zero_fee)


def walk(rule: Rule, begin: int, end: int) -> tuple[Fraction, int]:
    """From the position that is paid for to `end`, step by started step through the tiers: price and where it ends."""
    price, at = Fraction(0), begin
    while at < end:
        tier = next((t for t in rule.tiers if t.up_to is None or at < t.up_to), rule.tiers[-1])
        inside = end if tier.up_to is None or at >= tier.up_to else min(end, tier.up_to)
        paid = in_steps(inside - at, tier.step)
        price, at = price + tier.price * paid, at + paid
    return price, at


def fees(rule: Rule, quantity: int, uses: int) -> Fraction:
    """The fees of the tiers entered, where started steps are carried on."""
    lower, total = 0, Fraction(0)
    for i, tier in enumerate(rule.tiers):
        if quantity > lower or (i == 0 and rule.zero_fee and uses > 0):
            total += tier.fee
        lower = tier.up_to or lower
    return total


def allowed(rule: Rule, before: State, use: Use, counted: int) -> Fraction:
    """The price of one use by itself where an allowance of units or of uses takes off a part, or all of it."""
    free, uses_before = rule.free, before.uses if use.first else before.uses - 1
    assert free is not None
    if free.events is not None and uses_before >= free.events:
        return bounded(rule, rule.tiers[0].price * counted)
    if free.units is None:
        return Fraction(0)
    reach = before.quantity + counted
    if reach < free.units or (reach == free.units and not free.reached):
        return Fraction(0)
    off = min(counted, max(0, free.units - before.quantity))
    return bounded(rule, rule.tiers[0].price * (counted - off))


def bounded(rule: Rule, step: Fraction) -> Fraction:
    """Fee and bounds of each use."""
    if rule.each is None:
        return step
    step += rule.each.fee
    step = step if rule.each.at_least is None else max(step, rule.each.at_least)
    return step if rule.each.at_most is None else min(step, rule.each.at_most)


def step_of(rule: Rule, before: State, use: Use, counted: int) -> tuple[Fraction, int]:
    """What the use adds to the exact total, and the scope's `over` afterwards."""
    after, over = before.quantity + counted, 0
    uses = before.uses + 1 if use.first else before.uses
    if rule.free is not None and single_use(rule):
        step = allowed(rule, before, use, counted)
    elif rule.carry:
        begin, end = billable(rule, before.quantity), billable(rule, after)
        step, at = walk(rule, begin + before.over, end)
        over = at - end
        step = bounded(rule, step + fees(rule, end, uses) - fees(rule, begin, before.uses))
    else:
        by = use.tier_quantity
        step = price_of(rule, after, uses, by) - price_of(rule, before.quantity, before.uses, by)
        step = bounded(rule, step)
    if before.quantity == 0 and counted > 0:
        step += rule.connect
    return step, over


def with_overage(rule: Rule, total: Fraction) -> Fraction:
    """H: what is above the commitment costs more."""
    if rule.overage is None or total <= rule.overage.above:
        return total
    return rule.overage.above + (total - rule.overage.above) * rule.overage.factor


def take(rule: Rule, before: State, use: Use) -> Taken | str:
    """The use in its scope, or why it is refused: limit, price, out_of_range. A max_price is the caller's."""
    counted = use.quantity
    if rule.rounding is not None and rule.rounding.event:
        counted = to_step(counted, rule.rounding)
    quantity = before.quantity + counted
    if rule.limit is not None and quantity > rule.limit:
        return "limit"
    if rule.refuse:
        return "price"
    if rule.price_from is not None and use.unit_price is not None:
        own, most = Tier(None, use.unit_price), rule.price_from.up_to
        rule = replace(rule, tiers=(own,) if most is None else (replace(own, up_to=most), Tier(None, Fraction(0))))
    if not rule.tiers:
        return "price"
    step, over = step_of(rule, before, use, counted)
    total = before.total + step
    owed, owed_before = with_overage(rule, total), with_overage(rule, before.total)
    due, asked = floor(owed), max(Fraction(0), owed - owed_before)
    if rule.cap_nanos is not None:
        due, asked = min(due, rule.cap_nanos), min(asked, Fraction(max(0, rule.cap_nanos - before.charged)))
    if rule.scope == "event":
        due, asked = max(due, rule.minimum_nanos), max(asked, Fraction(rule.minimum_nanos - before.charged))
    amount = due - before.charged if rule.falling else max(0, due - before.charged)
    if max(abs(floor(total)), abs(due), abs(amount), quantity + over) >= TOO_MUCH:
        return "out_of_range"
    uses = before.uses + 1 if use.first else before.uses
    return Taken(counted, asked, amount, State(uses, quantity, over, total, before.charged + amount))
