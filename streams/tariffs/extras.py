"""What a rule may say besides its price: an allowance, rounding, fees and limits of single uses and of scopes."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from math import floor
from typing import Any

from nanotally.streams.domain.tariff import NANOS_PER_UNIT, Meter, Rule
from nanotally.streams.domain.terms import Each, Free, Overage, Rounding
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.body import Body
from nanotally.streams.tariffs.conditions import attribute_name
from nanotally.streams.tariffs.findings import Unreadable
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.yaml_nodes import Scalar, Table, describe

EXTRA_KEYS = {
    "free": "1000 tokens",
    "round": "up to 1 second",
    "each": "{fee: 0.30, at_least: 0.05, at_most: 12}",
    "connect": "0.40",
    "cap": "0.004",
    "minimum": "5",
    "commitment": "{amount: 10, overage: 2, due: at end}",
    "zero_usage": "fee",
    "tier_by": "full_quantity",
    "reprice": "down",
}
FREE_KEYS = {"units": "500", "events": "3", "after": "rounding", "fee": "when reached"}
EACH_KEYS = {"fee": "0.30", "at_least": "0.05", "at_most": "12"}
COMMITMENT_KEYS = {"amount": "10", "overage": "2", "due": "at end"}
MODES = ("up", "down", "half_up")
EVENTS_MAX = 10**9
OVERAGE_MAX = 1000
PARTS_MAX = 10**6
_ROUND = re.compile(r"(\w+) to (.+?)( per event| per use)?", re.DOTALL)


def read_extras(body: Body, rule: Rule) -> Rule:
    """The rule with all that is said besides its price; the errors are noted."""
    meter, currency = body.context.meter, body.context.currency
    terms: dict[str, Any] = {
        "free": _free(body, meter),
        "rounding": body.read("round", lambda text: _rounding(text, meter)),
        "each": _each(body, currency),
        "connect": body.read("connect", lambda text: exact_nanos(text, currency)) or Fraction(0),
        "cap_nanos": body.read("cap", lambda text: values.nanos(text, currency)),
        "minimum_nanos": body.read("minimum", lambda text: values.nanos(text, currency)) or 0,
        "zero_fee": body.choice("zero_usage", ("fee", "none")) == "fee",
        "tier_by": body.read("tier_by", attribute_name),
        "falling": body.choice("reprice", ("down", "never")) == "down",
    }
    return _committed(body, replace(rule, **terms))


def exact_nanos(text: str, currency: str) -> Fraction:
    """An amount as exact nanos. Raises Unreadable."""
    return values.money(text, currency) * NANOS_PER_UNIT


def _free(body: Body, meter: Meter) -> Free | None:
    node = body.node("free")
    if isinstance(node, Scalar) and node.text:
        return body.read("free", lambda text: _free_text(text, meter))
    if node is None:
        return None
    field = body.path("free")
    if not isinstance(node, Table):
        body.error("free", f"{describe(node)} where an allowance is due", "write free: 1000 tokens, or 3 events")
        return None
    section = Section(node, field, body.findings, FREE_KEYS)
    inner = Body([section], body.context)
    units = section.read("units", lambda text: values.quantity(text, meter)) if section.has("units") else None
    events = section.read("events", lambda text: values.whole(text, 1, EVENTS_MAX)) if section.has("events") else None
    if not section.has("units") and not section.has("events"):
        body.error("free", "an allowance of nothing", "say how much, as in {units: 500, events: 3}")
    after = inner.choice("after", ("rounding",))
    reached = inner.choice("fee", ("when reached",))
    return Free(units, events, after is not None, reached is not None)


def _free_text(text: str, meter: Meter) -> Free:
    """'1000 tokens', '3 events'."""
    number, _, word = text.strip().partition(" ")
    if word.strip() in ("event", "events", "use", "uses"):
        if figures.plural(meter.unit) == figures.plural(word.strip()):
            raise Unreadable(
                f"{text!r} may mean uses, or what meter {meter.name!r} counts", "write {units: 3} or {events: 3}"
            )
        return Free(events=values.whole(number, 1, EVENTS_MAX))
    return Free(values.quantity(text, meter))


def _rounding(text: str, meter: Meter) -> Rounding:
    """'up to 1 second', 'half_up to 0.1 kWh per event'."""
    found = _ROUND.fullmatch(" ".join(text.split()))
    if found is None or found[1] not in MODES:
        raise Unreadable(
            f"{text!r} is no rounding", f"write up, down or half_up and to what, as in up to 1 {meter.unit}"
        )
    step = found[2] if found[2][:1].isdigit() else f"1 {found[2]}"
    return Rounding(values.quantity(step, meter), found[1], found[3] is not None)


def _each(body: Body, currency: str) -> Each | None:
    node = body.node("each")
    if node is None:
        return None
    section = Section(node, body.path("each"), body.findings, EACH_KEYS)
    if section.readable and not any(section.has(name) for name in EACH_KEYS):
        body.error("each", "nothing is said of each use", "write each: {fee: 0.30, at_least: 0.05, at_most: 12}")
    given = {
        name: section.read(name, lambda text: exact_nanos(text, currency)) for name in EACH_KEYS if section.has(name)
    }
    least, most = given.get("at_least"), given.get("at_most")
    if least is not None and most is not None and least > most:
        body.error("each", "at_least is more than at_most", "write the lesser of the two at at_least")
    return Each(given.get("fee") or Fraction(0), least, most)


def _committed(body: Body, rule: Rule) -> Rule:
    """The rule with its commitment: what is due in any case, and what is beyond it at another rate."""
    node = body.node("commitment")
    if node is None:
        return rule
    section = Section(node, body.path("commitment"), body.findings, COMMITMENT_KEYS)
    amount = section.read("amount", lambda text: _committed_nanos(text, body.context.currency), required=True)
    factor = section.read("overage", _factor) if section.has("overage") else None
    due = Body([section], body.context).choice("due", ("at end", "never"))
    if amount is None:
        return rule
    if amount == 0:
        body.error("commitment", "a commitment to nothing", "say to how much, as in {amount: 10, overage: 2}")
    if factor is None and due == "never":
        body.error(
            "commitment", "neither due nor with an overage: it changes nothing", "say overage: 2, or due: at end"
        )
    if factor is not None and factor != 1:
        rule = replace(rule, overage=Overage(amount, factor))
    if due == "never":
        return rule
    if rule.minimum_nanos:
        body.error(
            "commitment", "two amounts are due at the end: minimum and commitment", "keep one, or write due: never"
        )
    return replace(rule, minimum_nanos=floor(amount))


def _committed_nanos(text: str, currency: str) -> Fraction:
    """Exact nanos of '10', or of a part of a month: '310/31'."""
    over, _, parts = text.partition("/")
    return exact_nanos(over, currency) / (values.whole(parts, 1, PARTS_MAX) if parts else 1)


def _factor(text: str) -> Fraction:
    """'2', '1.5', '150%', '4/3'."""
    over, _, parts = text.partition("/")
    factor = values.decimal(over[:-1].rstrip()) / 100 if over.endswith("%") else values.decimal(over)
    factor /= values.whole(parts, 1, PARTS_MAX) if parts else 1
    if not 0 <= factor <= OVERAGE_MAX:
        raise Unreadable(f"{text!r} is no factor from 0 to {OVERAGE_MAX:,}", "write one, as in 1.5 or 150%")
    return factor
