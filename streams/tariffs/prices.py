"""The price functions of a rule: `price`, `graduated`, `volume` and `steps`, and multipliers by attribute.

Each turns what stands behind its name into tiers: a piecewise linear function of the cumulated quantity, in exact
nanos per unscaled unit. A price by attribute gives several alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from nanotally.streams.domain.tariff import Tier
from nanotally.streams.tariffs import values
from nanotally.streams.tariffs.body import Body
from nanotally.streams.tariffs.findings import Findings, Unreadable
from nanotally.streams.tariffs.price_from import is_from, read_price_from
from nanotally.streams.tariffs.price_text import PRICE_EXAMPLE
from nanotally.streams.tariffs.tiers import (
    TIERS_EXAMPLE,
    PriceContext,
    Priced,
    is_refuse,
    read_price_node,
    read_tiers,
    text_of,
)
from nanotally.streams.tariffs.variants import Alternative, is_by, read_by
from nanotally.streams.tariffs.yaml_nodes import Items, Node, Scalar, Table, describe

# Name -> an example of what stands behind it.
PRICE_FUNCTIONS = {
    "price": PRICE_EXAMPLE,
    "graduated": TIERS_EXAMPLE,
    "volume": TIERS_EXAMPLE,
    "steps": "{to 60 seconds: 0.02 per started second, above: 0.10 per 60 seconds by 1 second}",
}
BY_EXAMPLE = "{by: segment, school: 0.002, otherwise: 0.02}"
MULTIPLY_EXAMPLE = "{by: region, eu: 1.2, otherwise: 1}"
FACTOR_MAX = 1000


def read_prices(body: Body) -> tuple[str, Sequence[Alternative[Priced]]] | None:
    """The name of the one price function and its alternatives; None with the errors noted."""
    given = [name for name in PRICE_FUNCTIONS if body.has(name)]
    if len(given) != 1:
        if given:
            second = body.place(given[1])
            body.findings.error(second, body.path("price"), f"two prices: {' and '.join(given)}", "keep one of them")
        else:
            body.error("price", "no price", "write price: 0.005 per page, or graduated: {...}")
        return None
    name = given[0]
    node, field, context = body.node(name), body.path(name), body.context
    assert node is not None, "the name is there"
    if name == "price" and isinstance(node, Table) and is_by(node):
        return name, read_by(node, field, body.findings, lambda n, f: _one_price(n, f, context), BY_EXAMPLE)
    priced = _one_price(node, field, context) if name == "price" else read_tiers(node, field, context)
    return None if priced is None else (name, [Alternative(priced)])


def _one_price(node: Node, field: str, context: PriceContext) -> Priced | None:
    """`0.005 per page`, `refuse`, or a price that comes with the use."""
    if is_refuse(node):
        return Priced((), "refuse", refused=True)
    if isinstance(node, Table):
        if is_from(node):
            return read_price_from(node, field, context)
        context.findings.error(
            node.place, field, "a table that is no price", f"write a price as in {PRICE_EXAMPLE}, or {BY_EXAMPLE}"
        )
        return None
    price = read_price_node(node, field, context, PRICE_EXAMPLE)
    return None if price is None else Priced((price.tier(),), text_of(node))


def read_factors(body: Body) -> Sequence[Sequence[Alternative[Fraction | None]]]:
    """The factors of `multiply`, a list for each attribute; None among them refuses. The errors are noted."""
    node = body.node("multiply")
    if node is None:
        return ()
    field = body.path("multiply")
    nodes = node.items if isinstance(node, Items) else (node,)
    found = []
    for one in nodes:
        if not isinstance(one, Table) or not is_by(one):
            body.findings.error(
                one.place, field, f"{describe(one)} that names no attribute", f"write multiply: {MULTIPLY_EXAMPLE}"
            )
            continue
        read = read_by(one, field, body.findings, lambda n, f: _factor(n, f, body.findings), MULTIPLY_EXAMPLE)
        found.append([Alternative(_unboxed(a.value), a.conditions, a.part) for a in read])
    if not nodes:
        body.findings.error(node.place, field, "an empty list", f"write multiply: {MULTIPLY_EXAMPLE}")
    return found


# A factor in a list of one, so that a refused one differs from one that could not be read.
_Boxed = tuple[Fraction | None]


def _unboxed(boxed: _Boxed) -> Fraction | None:
    return boxed[0]


def _factor(node: Node, field: str, findings: Findings) -> _Boxed | None:
    if is_refuse(node):
        return (None,)
    if not isinstance(node, Scalar) or not node.text:
        findings.error(node.place, field, f"{describe(node)} where a factor is due", "write one, as in 1.2 or 80%")
        return None
    text = node.text
    try:
        factor = values.decimal(text[:-1].rstrip()) / 100 if text.endswith("%") else values.decimal(text)
        if not 0 <= factor <= FACTOR_MAX:
            raise Unreadable(f"{text!r} is no factor from 0 to {FACTOR_MAX:,}", "write one, as in 1.2 or 80%")
    except Unreadable as e:
        findings.unreadable(node.place, field, e)
        return None
    return (factor,)


def multiplied(tier: Tier, factor: Fraction) -> Tier:
    """The tier with its price and fee times the factor."""
    return Tier(tier.up_to, tier.price * factor, tier.fee * factor, tier.step)
