"""A price that comes with the use: `{from: event, at_most: 2}` or `{from: catalog, at_most: 2}`, within bounds."""

from __future__ import annotations

from fractions import Fraction

from nanotally.streams.domain.tariff import NANOS_PER_UNIT, Tier
from nanotally.streams.domain.terms import PriceFrom
from nanotally.streams.tariffs import values
from nanotally.streams.tariffs.conditions import attribute_name
from nanotally.streams.tariffs.findings import Unreadable, choose
from nanotally.streams.tariffs.price_text import PRICE_EXAMPLE, units
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.tiers import PriceContext, Priced, is_refuse, read_price_node, text_of
from nanotally.streams.tariffs.yaml_nodes import Node, Table

FROM_KEYS = {
    "from": "event",
    "attribute": "price",
    "per": "60 seconds",
    "at_least": "0",
    "at_most": "2.00",
    "otherwise": "refuse",
}
SOURCES = ("event", "catalog")


def is_from(node: Node) -> bool:
    """Whether a price that comes with the use stands there."""
    return isinstance(node, Table) and any(key.text == "from" for key, _ in node.entries)


def read_price_from(node: Node, field: str, context: PriceContext) -> Priced | None:
    """The bounds and what holds where the use brings no price; None with the errors noted."""
    before = len(context.findings)
    section = Section(node, field, context.findings, FROM_KEYS)
    source = section.read("from", _source, required=True)
    name = section.read("attribute", attribute_name) if section.has("attribute") else "price"
    if source == "catalog" and section.has("attribute"):
        context.findings.error(
            section.key("attribute").place,
            section.path("attribute"),
            "an item of a catalog has one price",
            "take it out, or write from: event",
        )
    count = section.read("per", lambda t: units(t, t.split(), context.meter)) if section.has("per") else Fraction(1)
    least = (
        section.read("at_least", lambda t: values.money(t, context.currency))
        if section.has("at_least")
        else Fraction(0)
    )
    most = section.read("at_most", lambda t: values.money(t, context.currency), required=True)
    if least is not None and most is not None and least > most:
        context.findings.error(
            section.key("at_least").place,
            section.path("at_least"),
            "at_least is more than at_most",
            "write the lesser of the two at at_least",
        )
    tiers: tuple[Tier, ...] = ()
    otherwise = section.node_of("otherwise")
    if otherwise is not None and not is_refuse(otherwise):
        price = read_price_node(otherwise, section.path("otherwise"), context, PRICE_EXAMPLE)
        if price is not None and (price.fee or price.step):
            context.findings.error(
                otherwise.place,
                section.path("otherwise"),
                "a price with a fee or steps beside one that comes with the use",
                "write one price per unit, or refuse",
            )
        tiers = () if price is None else (price.tier(),)
    if context.findings.errors_since(before) or not (source and name and count) or least is None or most is None:
        return None
    unit = Fraction(NANOS_PER_UNIT, 10**context.meter.scale) / count
    text = f"from {source}, {text_of(otherwise) if otherwise else 'refuse'} otherwise"
    taken = PriceFrom(source, name if source == "event" else "", least * unit, most * unit, unit)
    return Priced(tiers, text, price_from=taken)


def _source(text: str) -> str:
    if text in SOURCES:
        return text
    raise Unreadable(f"{text!r} brings no price", choose(text, SOURCES))
