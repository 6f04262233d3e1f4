"""Tables of tiers, as they stand behind `graduated`, `volume` and `steps`."""

from __future__ import annotations

from dataclasses import dataclass

from nanotally.streams.domain.tariff import Meter, Tier
from nanotally.streams.domain.terms import PriceFrom
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.findings import Findings, Unreadable
from nanotally.streams.tariffs.price_text import PriceText, read_price
from nanotally.streams.tariffs.yaml_nodes import Node, Scalar, Table, describe

TIERS_EXAMPLE = "{to 10M: 0.50 per 1M, above: 0.40 per 1M}"


@dataclass(frozen=True)
class Priced:
    """Tiers as far as they were given (the last one open, or bounded where nothing was said beyond), the price as it
    was written; `refused`: what is above the last border is refused, or, without tiers, every use; `price_from`: the
    price comes with the use, the tiers hold where it does not."""

    tiers: tuple[Tier, ...]
    text: str
    refused: bool = False
    price_from: PriceFrom | None = None


@dataclass(frozen=True)
class PriceContext:
    """What a price function needs to know besides its own text."""

    meter: Meter
    currency: str
    findings: Findings


def read_price_node(node: Node, field: str, context: PriceContext, example: str) -> PriceText | None:
    """The price that stands in `node`; None with the error noted."""
    if not isinstance(node, Scalar) or not node.text:
        context.findings.error(
            node.place, field, f"{describe(node)} where a price is due", f"write a price as in {example}"
        )
        return None
    try:
        return read_price(node.text, context.meter, context.currency)
    except Unreadable as e:
        context.findings.unreadable(node.place, field, e)
        return None


def is_refuse(node: Node) -> bool:
    """Whether the word `refuse` stands there."""
    return isinstance(node, Scalar) and node.text == "refuse" and not node.quoted


def text_of(node: Node) -> str:
    """A price as it was written, white space apart."""
    return " ".join(node.text.split()) if isinstance(node, Scalar) else ""


def read_tiers(node: Node, field: str, context: PriceContext) -> Priced | None:
    """`{to 10M: ..., above: ...}`: borders belong to the tier below. None with the errors noted."""
    findings = context.findings
    if not isinstance(node, Table) or not node.entries:
        name = field.rpartition(".")[2]
        findings.error(node.place, field, f"{describe(node)} where tiers are due", f"write {name}: {TIERS_EXAMPLE}")
        return None
    before = len(findings)
    tiers: list[Tier] = []
    refused = False
    for key, value in node.entries:
        here = f"{field}.{key.text}"
        if refused or (tiers and tiers[-1].up_to is None):
            findings.error(key.place, here, f"{key.text!r} stands behind 'above'", "'above' is the last tier")
            return None
        border = _border(key, here, context)
        if is_refuse(value):
            if border is not None or not tiers:
                findings.error(
                    value.place,
                    here,
                    "only what is above the last border can be refused",
                    "write above: refuse behind the other tiers, or price: refuse",
                )
            refused = True
            continue
        price = read_price_node(value, here, context, "0.50 per 1M")
        if findings.errors_since(before) or price is None:
            continue
        low = tiers[-1].up_to if tiers else None
        if border is not None and low is not None and border <= low:
            findings.error(
                key.place,
                here,
                f"the border is not above the one before ({figures.quantity(low, context.meter)})",
                "write the borders in rising order",
            )
            continue
        tiers.append(price.tier(border))
    if findings.errors_since(before):
        return None
    text = ", ".join(f"{key.text}: {text_of(value)}" for key, value in node.entries)
    return Priced(tuple(tiers), text, refused)


def _border(key: Scalar, field: str, context: PriceContext) -> int | None:
    """Upper border of a tier, unscaled; None for 'above' and where it cannot be read, which is noted."""
    words = key.text.split(maxsplit=1)
    if words == ["above"]:
        return None
    try:
        if len(words) != 2 or words[0] != "to":
            raise Unreadable(f"{key.text!r} names no tier", f"write tiers as in {TIERS_EXAMPLE}")
        return values.quantity(words[1], context.meter)
    except Unreadable as e:
        context.findings.unreadable(key.place, field, e)
        return None
