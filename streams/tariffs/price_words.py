"""What a use costs under a rule, in plain words: told from the compiled terms."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from nanotally.streams.domain.tariff import NANOS_PER_UNIT, Meter, Rule, Tier
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.totals import fall


def price_words(rule: Rule, meter: Meter, currency: str) -> str:
    """'0.30 USD flat + 2.9 % of the amount; the first 3 uses free; at most 12 USD in all'."""
    return "; ".join(price_parts(rule, meter, currency))


def price_parts(rule: Rule, meter: Meter, currency: str) -> list[str]:
    """The same in parts: the price first, then what is said besides."""
    if rule.refuse:
        return ["refused"]
    return [_function(rule, meter, currency), *_further(rule, meter, currency)]


def tier_words(tier: Tier, meter: Meter, currency: str) -> str:
    """'5 USD flat + 0.02 USD per page', '15 USD per started 10 pages', 'free'."""
    fee = f"{figures.amount(tier.fee / NANOS_PER_UNIT, currency)} flat" if tier.fee else ""
    if tier.price == 0:
        return fee or "free"
    return f"{fee} + {_unit_words(tier, meter, currency)}" if fee else _unit_words(tier, meter, currency)


def _unit_words(tier: Tier, meter: Meter, currency: str) -> str:
    if meter.unit == currency:
        words = f"{figures.percent(tier.price * 10**meter.scale / NANOS_PER_UNIT)} of the amount"
        return words if tier.step is None else f"{words}, by started {figures.quantity(tier.step, meter)}"
    words = figures.price(tier.price, meter, currency)
    if tier.step is None:
        return words
    step = figures.quantity(tier.step, meter).removeprefix("1 ")
    for_step = figures.amount(tier.price * tier.step / NANOS_PER_UNIT, currency)
    return f"{words}, by started {step}" if "/" in for_step else f"{for_step} per started {step}"


def _function(rule: Rule, meter: Meter, currency: str) -> str:
    """What the quantity costs, without fees and limits of other kinds."""
    if rule.price_from is not None:
        return _taken(rule, meter, currency)
    tiers = rule.tiers
    if rule.limit is not None and len(tiers) > 1 and tiers[-1] == Tier(None, Fraction(0)):
        tiers = tiers[:-1]  # above it nothing is rated
    words = tier_words(tiers[-1], meter, currency)
    if len(rule.tiers) > 1:
        steps = [
            f"{tier_words(tier, meter, currency)} up to {figures.quantity(tier.up_to, meter)}"
            for tier in tiers
            if tier.up_to is not None
        ]
        words = ", ".join(steps) if tiers[-1].up_to is not None else f"{', '.join(steps)}, {words} above"
        if rule.volume:
            chosen = "reached" if rule.tier_by is None else f"that {rule.tier_by} reaches"
            words = f"all of it at the price of the tier {chosen}: {words}"
        if rule.carry:
            words = f"by what was used of the {rule.scope} before: {words}"
    return words


def _taken(rule: Rule, meter: Meter, currency: str) -> str:
    """A price that comes with the use."""
    taken = rule.price_from
    assert taken is not None, "the price comes with the use"
    each = taken.unit * 10**meter.scale / NANOS_PER_UNIT  # currency units per whole unit for a price of 1
    count = each.denominator if each.numerator == 1 else 1
    unit = meter.unit if count == 1 else figures.units(Fraction(count), meter)
    times = f" times {figures.number(each)}" if each.numerator != 1 else ""
    name = "the item's own price in the catalog" if taken.source == "catalog" else f"the price in {taken.name!r}"
    if taken.unit:
        low, high = (figures.amount(bound / taken.unit, currency) for bound in (taken.at_least, taken.at_most))
        name += f", from {low} to {high},"
    otherwise = tier_words(rule.tiers[0], meter, currency) if rule.tiers else "refused"
    above = "" if taken.up_to is None else f", free above {figures.quantity(taken.up_to, meter)}"
    return f"{name}{times} per {unit}{above}; without one {otherwise}"


def _further(rule: Rule, meter: Meter, currency: str) -> Iterator[str]:
    """What is said besides the price, each in a few words."""

    def exact(nanos: Fraction) -> str:
        return figures.amount(nanos / NANOS_PER_UNIT, currency)

    if rule.limit is not None:
        yield f"more than {figures.quantity(rule.limit, meter)} is refused"
    if rule.rounding is not None:
        what = "each use" if rule.rounding.event else "the sum"
        mode = rule.rounding.mode.replace("_", " ")
        yield f"{what} rounded {mode} to steps of {figures.quantity(rule.rounding.step, meter)}"
    yield from _free_words(rule, meter)
    if rule.each is not None:
        if rule.each.fee:
            yield f"{exact(rule.each.fee)} more for each use"
        if rule.each.at_least is not None:
            yield f"at least {exact(rule.each.at_least)} a use"
        if rule.each.at_most is not None:
            yield f"at most {exact(rule.each.at_most)} a use"
    if rule.connect:
        yield f"{exact(rule.connect)} once, with the first use"
    if rule.zero_fee:
        yield "the flat fee is due even for a use of nothing"
    if rule.overage is not None:
        yield f"what is above {exact(rule.overage.above)} counts {figures.number(rule.overage.factor)} times"
    if rule.cap_nanos is not None:
        yield f"at most {figures.money(rule.cap_nanos, currency)} in all"
    if rule.minimum_nanos:
        when = "" if rule.scope == "event" else " in all, due at the end"
        yield f"at least {figures.money(rule.minimum_nanos, currency)}{when}"
    if rule.falling:
        yield "where the total falls, the difference is paid back"
    elif rule.volume and rule.scope != "event" and fall(rule) is not None:
        yield "where the total falls, what was charged stays"
    if rule.cut:
        yield "a use is cut where a band or a version ends"


def _free_words(rule: Rule, meter: Meter) -> Iterator[str]:
    free = rule.free
    if free is None:
        return
    units = figures.quantity(free.units, meter) if free.units is not None else ""
    uses = ("first use" if free.events == 1 else f"first {figures.number(free.events)} uses") if free.events else ""
    if units and uses:
        words = f"the first {units} of the {uses} free"
    else:
        words = f"the {uses} free" if uses else f"the first {units} free"
    if free.after_rounding:
        words += ", after rounding"
    if free.reached:
        words += ", and the use that takes the last of it pays its fee"
    yield words
