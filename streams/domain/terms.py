"""The terms of a price, as the engine rates by them: pure values. The functions of them are in prices.py.

All prices are exact nanos per unscaled unit of the meter, all quantities unscaled."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanotally.streams.domain.tariff import Rule

MONEY_PLACES = 12  # decimal places of a price that comes from an event or a catalog


@dataclass(frozen=True)
class Tier:
    """One tier: up to `up_to` (inclusive, None: open) each unit costs `price`. `fee`: exact nanos, once, when the tier
    is entered. `step`: units are charged by started steps of this many, None: each for itself."""

    up_to: int | None
    price: Fraction
    fee: Fraction = Fraction(0)
    step: int | None = None

    def document(self) -> dict[str, Any]:
        """The tier as plain values."""
        doc: dict[str, Any] = {"up_to": self.up_to, "price": str(self.price)}
        return doc | ({"fee": str(self.fee)} if self.fee else {}) | ({} if self.step is None else {"step": self.step})

    @staticmethod
    def from_document(doc: dict[str, Any]) -> Tier:
        """A tier from its plain values."""
        return Tier(doc["up_to"], Fraction(doc["price"]), Fraction(doc.get("fee", 0)), doc.get("step"))


@dataclass(frozen=True)
class Free:
    """An allowance of a scope: its first `units` and, of its first `events` uses (None: of all), what is within them.

    `after_rounding`: taken off the rounded quantity. `reached`: with `each`, a use that takes the last of the units
    is no longer wholly free (its fee and limits count)."""

    units: int | None = None
    events: int | None = None
    after_rounding: bool = False
    reached: bool = False


@dataclass(frozen=True)
class Rounding:
    """Quantities are brought to a multiple of `step`. mode: up, down, half_up (ties up). `event`: each use by itself,
    else the scope's cumulated quantity."""

    step: int
    mode: str
    event: bool = False


@dataclass(frozen=True)
class Each:
    """What is added to and bounds the price of each single use: exact nanos. The fee first, then the bounds."""

    fee: Fraction = Fraction(0)
    at_least: Fraction | None = None
    at_most: Fraction | None = None


@dataclass(frozen=True)
class Overage:
    """What a scope's exact total has above `above` exact nanos is multiplied by `factor`."""

    above: Fraction
    factor: Fraction


@dataclass(frozen=True)
class PriceFrom:
    """The price per unit comes with the use. source: 'event' (decimal currency units in attribute `name`) or 'catalog'
    (the item's own price). Bounds are exact nanos per unscaled unit; below, above or no decimal number with at most
    MONEY_PLACES places: refused, reason 'price'. Where there is none, the rule's tiers count; without tiers: refused.
    `unit`: exact nanos per unscaled unit for a price of 1. `up_to`: billable quantity of a scope beyond which nothing
    is charged at such a price; None: without end."""

    source: str
    name: str
    at_least: Fraction
    at_most: Fraction
    unit: Fraction
    up_to: int | None = None

    def tiers(self, price: Fraction) -> tuple[Tier, ...]:
        """The tiers of a use that came with this price, exact nanos per unscaled unit."""
        return (Tier(None, price),) if self.up_to is None else (Tier(self.up_to, price), Tier(None, Fraction(0)))


def terms_denominator(rule: Rule) -> int:
    """Least common denominator of all that is added to an exact total under the rule."""
    values = [t.price for t in rule.tiers] + [t.fee for t in rule.tiers] + [rule.connect]
    if rule.each is not None:
        values += [v for v in (rule.each.fee, rule.each.at_least, rule.each.at_most) if v is not None]
    if rule.price_from is not None:
        values.append(rule.price_from.unit / 10**MONEY_PLACES)
    return lcm(*(v.denominator for v in values))


# Fields of a rule that stand in its document only where they are not as usual.
_PLAIN = (
    "variant", "refuse", "length_us", "cut", "volume", "carry", "zero_fee", "falling", "minimum_nanos", "limit",
    "tier_by",
)  # fmt: skip
_USUAL: dict[str, Any] = {
    "variant": "", "refuse": False, "length_us": 0, "cut": False, "volume": False, "carry": False, "zero_fee": False,
    "falling": False, "minimum_nanos": 0, "limit": None, "tier_by": None,
}  # fmt: skip
_GROUPS: dict[str, type] = {
    "free": Free,
    "rounding": Rounding,
    "each": Each,
    "overage": Overage,
    "price_from": PriceFrom,
}
_WHERE_GIVEN = ("up_to",)  # stand in a group only where they are given, as the hashes of older documents want it
_FRACTIONS = ("fee", "at_least", "at_most", "above", "factor", "unit")


def terms_document(rule: Rule) -> dict[str, Any]:
    """Plain values of the terms that are not as usual."""
    doc = {name: getattr(rule, name) for name in _PLAIN if getattr(rule, name) != _USUAL[name]}
    if rule.connect:
        doc["connect"] = str(rule.connect)
    for name in _GROUPS:
        group = getattr(rule, name)
        if group is not None:
            values = {f.name: getattr(group, f.name) for f in fields(group)}
            values = {n: v for n, v in values.items() if v is not None or n not in _WHERE_GIVEN}
            doc[name] = {n: str(v) if isinstance(v, Fraction) else v for n, v in values.items()}
    return doc


def terms_from_document(doc: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of Rule for the terms in a document."""
    terms: dict[str, Any] = {name: doc[name] for name in _PLAIN if name in doc}
    if "connect" in doc:
        terms["connect"] = Fraction(doc["connect"])
    for name, kind in _GROUPS.items():
        if name in doc:
            values = {n: Fraction(v) if n in _FRACTIONS and v is not None else v for n, v in doc[name].items()}
            terms[name] = kind(**values)
    return terms
