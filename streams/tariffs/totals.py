"""What a scope's quantity comes to, as far as the reader must know it to close tiers and to find totals that fall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from nanotally.streams.domain.tariff import Rule, Tier
from nanotally.streams.domain.terms import Rounding


def billable(quantity: int, rule: Rule) -> int:
    """What is billed of a scope's cumulated quantity: less its allowance, rounded where the scope is."""
    units = rule.free.units or 0 if rule.free is not None else 0
    rounding = rule.rounding if rule.rounding is not None and not rule.rounding.event else None
    if rule.free is not None and rule.free.after_rounding:
        return max(0, rounded(quantity, rounding) - units)
    return rounded(max(0, quantity - units), rounding)


def rounded(quantity: int, rounding: Rounding | None) -> int:
    """The quantity brought to a multiple of the step."""
    if rounding is None:
        return quantity
    step = rounding.step
    match rounding.mode:
        case "up":
            return -(-quantity // step) * step
        case "down":
            return quantity // step * step
        case _:
            return (2 * quantity + step) // (2 * step) * step


def limit_of(border: int, rule: Rule) -> int:
    """The greatest quantity of a scope that is billed as `border` or less."""
    low = border
    high = border + (rule.free.units or 0 if rule.free else 0) + (rule.rounding.step if rule.rounding else 0)
    if billable(low, rule) > border:  # rounded up beyond it
        low = 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if billable(middle, rule) <= border else (low, middle - 1)
    return low


def volume_total(quantity: int, tiers: Sequence[Tier]) -> Fraction:
    """What a billed quantity above zero costs where all of it is at the price of the tier that it reaches."""
    tier = next((t for t in tiers if t.up_to is None or quantity <= t.up_to), tiers[-1])
    return tier.fee + tier.price * (quantity if tier.step is None else -(-quantity // tier.step) * tier.step)


def fall(rule: Rule) -> tuple[int, Fraction, Fraction] | None:
    """The first border of volume tiers beyond which a total is lower, with the totals at it and one billable step
    beyond; None where there is none."""
    grid = 1
    if rule.rounding is not None and not rule.rounding.event and not (rule.free and rule.free.after_rounding):
        grid = rule.rounding.step
    for tier in rule.tiers:
        if tier.up_to is not None:
            at = volume_total(tier.up_to // grid * grid, rule.tiers)
            beyond = volume_total((tier.up_to // grid + 1) * grid, rule.tiers)
            if beyond < at and tier.up_to >= grid:
                return tier.up_to, at, beyond
    return None


def opened(tiers: tuple[Tier, ...], volume: bool) -> tuple[Tier, ...]:
    """Tiers for every quantity: above a bounded last one nothing more is charged; of volume tiers the last goes on."""
    last = tiers[-1]
    if last.up_to is None:
        return tiers
    return (*tiers[:-1], replace(last, up_to=None)) if volume else (*tiers, Tier(None, Fraction(0)))


def cut(tiers: tuple[Tier, ...], border: int, volume: bool) -> tuple[Tier, ...]:
    """Tiers beyond whose `border` nothing more is charged."""
    kept = [t for t in tiers if t.up_to is not None and t.up_to < border]
    last = replace(tiers[min(len(kept), len(tiers) - 1)], up_to=border)
    beyond = Tier(None, Fraction(0), volume_total(border, tiers)) if volume else Tier(None, Fraction(0))
    return (*kept, last, beyond)
