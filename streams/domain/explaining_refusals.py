"""What came with a use that decides its price, why a use was refused, and why one costs nothing: for people."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil, floor
from typing import Any

from nanotally.streams.domain.catalogs import CatalogItem
from nanotally.streams.domain.decimals import decimal_text
from nanotally.streams.domain.explaining_matches import first_match, number_of, value_of
from nanotally.streams.domain.explaining_terms import Piece, State, step_of, with_overage
from nanotally.streams.domain.rules import Rule
from nanotally.streams.domain.tariff import Meter, TariffVersion
from nanotally.streams.domain.terms import MONEY_PLACES
from nanotally.streams.domain.windows import HOUR_US

_UNRATED = {
    "max_price": "the tariff asks more than the use's max_price allows",
    "out_of_range": "the scope's quantity or total would leave what can be counted",
    "price": "the tariff refuses such a use",
    "limit": "the scope would hold more than its rule allows",
    "no_tariff": "no tariff was in force for the product",
    "unknown_meter": "the product's tariff has no such meter",
    "no_rule": "no rule of the tariff matches the use",
}


def asked_price(rule: Rule, event: Mapping[str, Any], item: CatalogItem | None) -> tuple[Fraction | None, str]:
    """The price that came with the use, exact nanos per unscaled unit, None where the tiers count; and what is wrong
    with it, if anything."""
    source = rule.price_from
    if source is None:
        return None, ""
    if source.source == "catalog":
        text = None if item is None else item.price
    else:
        text = value_of(event, source.name)
    where = "the catalog" if source.source == "catalog" else f"the use's {source.name}"
    if text is None:
        return None, "" if rule.tiers else f"{where} gives no price"
    number = number_of(text, MONEY_PLACES)
    if number is None:
        return None, f"{where} gives {text!r}, which is no price with at most {MONEY_PLACES} decimal places"
    price = number * source.unit
    if not source.at_least <= price <= source.at_most:
        low, high = (decimal_fraction(bound / source.unit) for bound in (source.at_least, source.at_most))
        return None, f"{where} gives {text}, the tariff takes {low} to {high}"
    return price, ""


def asked_tier(rule: Rule, event: Mapping[str, Any], meter: Meter) -> int | None:
    """The quantity that chooses the volume tier, unscaled and rounded up, where an attribute gives it."""
    number = None if rule.tier_by is None else number_of(value_of(event, rule.tier_by))
    return None if number is None else ceil(number * 10**meter.scale)


def decimal_fraction(value: Fraction) -> str:
    """An exact number as text: a decimal where it ends within MONEY_PLACES, else a fraction."""
    scaled = value * 10**MONEY_PLACES
    return decimal_text(int(scaled), MONEY_PLACES) if scaled.denominator == 1 else str(value)


def why_refused(charge: Mapping[str, Any], version: TariffVersion | None, item: CatalogItem | None) -> str:
    """Why a use was not charged; with the version in force it names the rule and its bound."""
    reason, event = charge["reason"], charge["event"]
    said: str = _UNRATED.get(reason, reason)
    rule = None if version is None or event is None else first_match(version, event, event["occurred_at"], item)
    if rule is None or version is None or charge["outcome"] != "refused":
        return said
    name = f"rule {rule.name}" + (f" ({rule.variant})" if rule.variant else "")
    meter = version.meter_by_name[rule.meter]
    if reason == "price":
        problem = asked_price(rule, event, item)[1]
        return f"{name} refuses such uses" if rule.refuse else f"{name}: {problem}" if problem else said
    if reason == "limit" and rule.limit is not None:
        most = f"{decimal_text(rule.limit, meter.scale)} {meter.unit}"
        asked = f"{decimal_text(event['quantity'], meter.scale)} more would be above it"
        return f"{name} allows {most} in a {rule.scope}; {asked}"
    if reason == "max_price":
        most = f"{event['attributes'].get('max_price', '?')} {version.currency}"
        return f"{name} asks more than the {most} that the use allows (max_price)"
    return f"{name}: {said}"


def why_nothing(line: Mapping[str, Any], version: TariffVersion) -> str:
    """Why a line of 0 nanos costs nothing, for people: 'free: counted already in this day'."""
    rules = [r for r in version.rules if r.name == line["rule"]]
    rule = next((r for r in rules if r.variant == line["variant"]), None)
    if rule is None:
        return "free"
    if line["pass"] is not None:
        return f"paid by pass {line['pass']}"
    within = {"event": "", "life": " before", "anchored": _while(rule.length_us)}.get(
        rule.scope, f" in this {rule.scope}"
    )
    if line["quantity"] == 0 and not line["amount_nanos"]:
        return "free: nothing was used"
    if line["amount_nanos"] < 0:
        return ""
    if rule.cap_nanos is not None and line["charged_before"] >= rule.cap_nanos:
        return f"free: the cap of {decimal_text(rule.cap_nanos)} {version.currency} is reached{within}"
    total = Fraction(line["total_before"]) + Fraction(line["remainder_before"], line["remainder_den"])
    after = Fraction(line["total_after"]) + Fraction(line["remainder_after"], line["remainder_den"])
    if after > total:
        return _not_yet(rule, line, after, within)
    return _free(rule, line, version, within)


def _while(length_us: int) -> str:
    """' within 24 h' of an anchored scope that lasts whole hours."""
    hours, rest = divmod(length_us, HOUR_US)
    return " in this period" if rest else f" within {hours} h"


def _not_yet(rule: Rule, line: Mapping[str, Any], after: Fraction, within: str) -> str:
    """The exact total rose, and still nothing is charged."""
    if floor(with_overage(rule, after)) < line["charged_before"]:
        return f"free so far: {decimal_text(line['charged_before'])} was charged{within} when it cost more"
    return "free so far: below one nano, the exact value is carried on" if within else "free: below one nano"


def _free(rule: Rule, line: Mapping[str, Any], version: TariffVersion, within: str) -> str:
    """The use adds nothing to the exact total."""
    meter = version.meter_by_name[rule.meter]
    state = State(line["uses_before"], line["quantity_before"], line["over_before"], Fraction(0), 0)
    step = step_of(rule, state, line["quantity"]) if rule.price_from is None else None
    if step is not None and step.allowance and rule.free is not None:
        units = None if rule.free.units is None else f"{decimal_text(rule.free.units, meter.scale)} {meter.unit}"
        events = None if rule.free.events is None else f"{rule.free.events} uses"
        return f"free: within the first {' and '.join(part for part in (units, events) if part)}{within}"
    if rule.carry:
        return f"free: a started step{within} was paid before"
    pieces = [] if step is None else [item for item in step.items if isinstance(item, Piece)]
    if not pieces:
        return "free by its rule" if rule.rounding is None else f"free: rounded, no more than was paid{within}"
    last = pieces[-1]
    if last.lower:
        return f"free: counted already{within}"
    if last.upper is None:
        return "free by its rule"
    return f"free: within the first {decimal_text(last.upper, meter.scale)} {meter.unit}{within}"
