"""`when`: which uses a rule is for. One meter, and conditions on the other fields and attributes of the use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nanotally.streams.domain.tariff import EVENT_FIELDS, Condition, Meter
from nanotally.streams.tariffs import values
from nanotally.streams.tariffs.findings import Findings, Unreadable, choose, nearest
from nanotally.streams.tariffs.yaml_nodes import Items, Node, Scalar, Table, describe

EXAMPLE = "{meter: page.view, product: news}"
# Fields of a usage event that are no ground to choose or count by.
NOT_ASKED = ("event_id", "occurred_at", "quantity", "scale", "duration_us", "attributes")
ITEM_BYTES_MAX = 1024  # the longest text that a use may hold: an item's name
SLIP = 0.8  # how like a field's name an attribute must be to be doubted: 'sesion' is, 'region' is not
_ATTRIBUTE = re.compile(r"[^\W\d][\w.\-]*")


@dataclass(frozen=True)
class When:
    """The rule's meter (None where it could not be read) and its other conditions, in the order of the file."""

    meter: Meter | None
    conditions: tuple[Condition, ...]


def read_when(node: Node, field: str, meters: Mapping[str, Meter | None], findings: Findings) -> When:
    """What can be read of a rule's `when`; the errors are noted."""
    if not isinstance(node, Table):
        findings.error(node.place, field, f"{describe(node)} where conditions are due", f"write when: {EXAMPLE}")
        return When(None, ())
    meter: Meter | None = None
    named = False
    conditions: list[Condition] = []
    for key, value in node.entries:
        here = f"{field}.{key.text}"
        if key.text == "meter":
            named = True
            meter = _meter(value, here, meters, findings)
            continue
        try:
            check_field(key.text)
        except Unreadable as e:
            findings.unreadable(key.place, here, e)
            continue
        warn_of_slip(key, here, findings)
        condition = _condition(key.text, value, here, findings)
        if condition is not None:
            conditions.append(condition)
    if not named:
        findings.error(node.place, f"{field}.meter", "no meter", "name the one meter of the rule, as in " + EXAMPLE)
    return When(meter, tuple(conditions))


def check_field(name: str) -> None:
    """Raises Unreadable where `name` is neither a field that a rule may ask for nor the name of an attribute."""
    if name in NOT_ASKED:
        raise Unreadable(f"{name!r} cannot be chosen by", f"use {', '.join(EVENT_FIELDS)} or the name of an attribute")
    if not _ATTRIBUTE.fullmatch(name):
        raise Unreadable(
            f"{name!r} names no field and no attribute", "attributes are named as in segment or item.label"
        )


def warn_of_slip(key: Scalar, field: str, findings: Findings) -> None:
    """Any name may be an attribute; one that is nearly a field's name is probably a slip."""
    near = None if key.text in EVENT_FIELDS else nearest(key.text, EVENT_FIELDS, SLIP)
    if near:
        findings.warning(
            key.place,
            field,
            f"{key.text!r} is taken as an attribute of the use",
            f"write {near!r} if you mean the field",
        )


def _meter(value: Node, field: str, meters: Mapping[str, Meter | None], findings: Findings) -> Meter | None:
    if isinstance(value, Items):
        findings.error(value.place, field, "several meters", "a rule has exactly one: write one rule for each meter")
        return None
    if not isinstance(value, Scalar) or not value.text:
        findings.error(value.place, field, f"{describe(value)} where a meter is due", f"write when: {EXAMPLE}")
        return None
    if value.text in meters:
        return meters[value.text]  # None: what is wrong with the meter is noted there
    if "*" in value.text or "?" in value.text:
        findings.error(
            value.place, field, f"the pattern {value.text!r}", "a rule has exactly one meter: name it in full"
        )
        return None
    remedy = choose(value.text, meters) if meters else "list it there, as in meters: {page.view: {unit: page}}"
    findings.error(value.place, field, f"{value.text!r} is not among the meters of this tariff", remedy)
    return None


def _condition(name: str, value: Node, field: str, findings: Findings) -> Condition | None:
    if isinstance(value, Table):
        findings.error(value.place, field, "a range or a formula is not supported yet", "list the values: [a, b]")
        return None
    nodes = value.items if isinstance(value, Items) else (value,)
    if not nodes:
        findings.error(value.place, field, "an empty list", "list the values, or leave the condition out")
        return None
    texts: list[str] = []
    for node in nodes:
        if isinstance(node, Scalar) and (node.text or node.quoted):
            if not _readable(node, name, field, alone=len(nodes) == 1, findings=findings):
                return None
            texts.append(node.text)
        else:
            findings.error(node.place, field, f"{describe(node)} where a value is due", 'write a text, or "" for none')
            return None
    only = nodes[0]
    if isinstance(only, Scalar) and not only.quoted and only.text in ("present", "absent"):
        return Condition(name, only.text)
    kind = "pattern" if any("*" in t or "?" in t for t in texts) else "equals"
    return Condition(name, kind, tuple(dict.fromkeys(texts)))


def _readable(node: Scalar, name: str, field: str, *, alone: bool, findings: Findings) -> bool:
    if not node.quoted and node.text[0] in "<>=":
        findings.error(node.place, field, "a range is not supported yet", "list the values: [a, b]")
        return False
    if not node.quoted and not alone and node.text in ("present", "absent"):
        findings.error(
            node.place,
            field,
            f"{node.text!r} inside a list",
            "let it stand alone, or quote it if it is the text itself",
        )
        return False
    if node.text == "" and name in EVENT_FIELDS:
        findings.error(node.place, field, f"no use has an empty {name}", "write absent, or a value")
        return False
    try:
        if node.text:
            values.label(node.text, ITEM_BYTES_MAX)
    except Unreadable as e:
        findings.unreadable(node.place, field, e)
        return False
    return True
