"""The price functions of a rule. Each turns what stands behind its name into tiers: a piecewise linear function of
the cumulated quantity, in exact nanos per unscaled unit.

A new price function is a new entry of PRICE_FUNCTIONS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from nanotally.streams.domain.tariff import NANOS_PER_UNIT, Meter, Tier
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.findings import Findings, Place, Unreadable
from nanotally.streams.tariffs.yaml_nodes import Node, Scalar, Table, describe

PRICE_EXAMPLE = "0.005 per page"
GRADUATED_EXAMPLE = "{to 10M: 0.50 per 1M, above: 0.40 per 1M}"
# What the language will know; never passed over.
LATER_PRICES = {
    "volume": "volume tiers",
    "package": "prices per started package",
    "packages": "prices per started package",
    "percentage": "a percentage of an amount",
    "free": "a free allowance",
    "connect": "a connect fee",
    "steps": "steps by elapsed time",
    "bands": "bands by time of day",
    "multiply": "multipliers by attribute",
}


@dataclass(frozen=True)
class Priced:
    """Tiers as far as they were given (the last one open, or bounded where nothing was said beyond), and the price as
    it was written."""

    tiers: tuple[Tier, ...]
    text: str


@dataclass(frozen=True)
class PriceContext:
    """What a price function needs to know besides its own text."""

    meter: Meter
    currency: str
    findings: Findings


def per_unit(text: str, meter: Meter, currency: str) -> Fraction:
    """'0.50 per 1M tokens' as exact nanos per unscaled unit of the meter. Raises Unreadable."""
    words = text.split()
    if words == ["free"]:
        return Fraction(0)
    if "per" not in words:
        amount, rest = text, []
    else:
        amount, rest = " ".join(words[: words.index("per")]), words[words.index("per") + 1 :]
        if not rest:
            raise Unreadable(f"{text!r} ends after 'per'", f"say what it is for, as in {amount} per {meter.unit}")
    try:
        price = values.money(amount, currency)
    except Unreadable as e:
        raise Unreadable(f"{text!r} is no price: {e.problem}", e.remedy) from None
    each = price / _units(text, rest, meter)
    if each > values.AMOUNT_MAX:
        most = f"{figures.number(values.AMOUNT_MAX)} {currency} per {meter.unit}"
        raise Unreadable(f"{text!r} is more than {most}", "check the number of digits")
    return each * Fraction(NANOS_PER_UNIT, 10**meter.scale)


def _units(text: str, words: list[str], meter: Meter) -> Fraction:
    """How many units the price is for: [] and ['page'] 1, ['1M'] and ['1M', 'tokens'] a million."""
    if not words:
        return Fraction(1)
    counted = words[0][0].isdigit() or words[0][0] in "-.+"
    try:
        number = values.suffixed(words[0]) if counted else Fraction(1)
        values.check_unit(" ".join(words[1:] if counted else words), meter)
    except Unreadable as e:
        raise Unreadable(f"{text!r} is no price: {e.problem}", e.remedy) from None
    if not 0 < number <= values.QUANTITY_MAX:
        raise Unreadable(f"{text!r} is no price: {words[0]} units", "give the price of one unit or more")
    return number


def _price(node: Node, field: str, context: PriceContext) -> Priced | None:
    """`price: 0.005 per page`: the same for every unit."""
    if isinstance(node, Table):
        by = any(key.text == "by" for key, _ in node.entries)
        words = "a price by attribute" if by else "a price that is a table"
        context.findings.error(
            node.place, field, f"{words} is not supported yet", "write one rule for each value, with `when`"
        )
        return None
    price = _read(node, field, context, PRICE_EXAMPLE)
    return None if price is None else Priced((Tier(None, price),), _text(node))


def _graduated(node: Node, field: str, context: PriceContext) -> Priced | None:
    """`graduated: {to 10M: ..., above: ...}`: each unit at the price of the tier it falls into; borders inclusive."""
    findings = context.findings
    if not isinstance(node, Table) or not node.entries:
        findings.error(
            node.place, field, f"{describe(node)} where tiers are due", f"write graduated: {GRADUATED_EXAMPLE}"
        )
        return None
    before = len(findings)
    tiers: list[Tier] = []
    for key, value in node.entries:
        here = f"{field}.{key.text}"
        if tiers and tiers[-1].up_to is None:
            findings.error(key.place, here, f"{key.text!r} stands behind 'above'", "'above' is the last tier")
            return None
        border = _border(key, here, context)
        price = _read(value, here, context, "0.50 per 1M")
        if findings.errors_since(before):
            continue
        assert price is not None
        low = tiers[-1].up_to if tiers else None
        if border is not None and low is not None and border <= low:
            findings.error(
                key.place,
                here,
                f"the border is not above the one before ({figures.quantity(low, context.meter)})",
                "write the borders in rising order",
            )
            continue
        tiers.append(Tier(border, price))
    if findings.errors_since(before):
        return None
    text = ", ".join(f"{key.text}: {_text(value)}" for key, value in node.entries)
    return Priced(tuple(tiers), text)


def _border(key: Scalar, field: str, context: PriceContext) -> int | None:
    """Upper border of a tier, unscaled; None for 'above' and where it cannot be read, which is noted."""
    words = key.text.split(maxsplit=1)
    if words == ["above"]:
        return None
    try:
        if len(words) != 2 or words[0] != "to":
            raise Unreadable(f"{key.text!r} names no tier", f"write tiers as in {GRADUATED_EXAMPLE}")
        return values.quantity(words[1], context.meter)
    except Unreadable as e:
        context.findings.unreadable(key.place, field, e)
        return None


def _read(node: Node, field: str, context: PriceContext, example: str) -> Fraction | None:
    if not isinstance(node, Scalar) or not node.text:
        context.findings.error(
            node.place, field, f"{describe(node)} where a price is due", f"write a price as in {example}"
        )
        return None
    try:
        return per_unit(node.text, context.meter, context.currency)
    except Unreadable as e:
        context.findings.unreadable(node.place, field, e)
        return None


def _text(node: Node) -> str:
    return " ".join(node.text.split()) if isinstance(node, Scalar) else ""


def close_tiers(priced: Priced, at_most: int | None, place: Place, field: str, context: PriceContext) -> Priced | None:
    """The price for every quantity: cut at `at_most` (unscaled), beyond which nothing is charged. None with the error
    noted where some quantity has no price."""
    tiers = list(priced.tiers)
    last = tiers[-1].up_to
    if last is not None and (at_most is None or at_most > last):
        beyond = figures.quantity(last, context.meter)
        context.findings.error(
            place, field, f"a gap: nothing is said of what is above {beyond}", "add above: with a price, 0 for free"
        )
        return None
    if at_most is None:
        return priced
    kept = [t for t in tiers if t.up_to is not None and t.up_to < at_most]
    cut = tiers[len(kept)]
    return Priced((*kept, Tier(at_most, cut.price), Tier(None, Fraction(0))), priced.text)


PriceFunction = Callable[[Node, str, PriceContext], Priced | None]
PRICE_FUNCTIONS: dict[str, tuple[PriceFunction, str]] = {
    "price": (_price, PRICE_EXAMPLE),
    "graduated": (_graduated, GRADUATED_EXAMPLE),
}
