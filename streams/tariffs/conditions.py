"""`when`: which uses a rule is for. One meter, and conditions on the other fields and attributes of the use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nanotally.streams.domain.tariff import EVENT_FIELDS, Condition, Meter
from nanotally.streams.tariffs import values
from nanotally.streams.tariffs.findings import Findings, Unreadable, choose, nearest
from nanotally.streams.tariffs.ranges import NUMBER_FIELDS, RANGE_EXAMPLE, read_number, read_range
from nanotally.streams.tariffs.yaml_nodes import Items, Node, Scalar, Table, describe

EXAMPLE = "{meter: page.view, product: news}"
# Fields of a usage event that are no ground to choose or count by.
NOT_ASKED = ("event_id", "occurred_at", "quantity", "duration", "scale", "duration_us", "attributes")
ASKED = (*EVENT_FIELDS, *NUMBER_FIELDS, "group")
ITEM_BYTES_MAX = 1024  # the longest text that a use may hold: an item's name
SLIP = 0.8  # how like a field's name an attribute must be to be doubted: 'sesion' is, 'region' is not
_ATTRIBUTE = re.compile(r"[^\W\d][\w.\-]*")


@dataclass(frozen=True)
class When:
    """The rule's meter (None where it could not be read) and its other conditions, in the order of the file."""

    meter: Meter | None
    conditions: tuple[Condition, ...]


def read_when(
    node: Node,
    field: str,
    meters: Mapping[str, Meter | None],
    groups: Mapping[str, tuple[str, ...]],
    findings: Findings,
) -> When:
    """What can be read of a rule's `when`; `groups` gives the patterns of payers by name. The errors are noted."""
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
        if key.text == "group":
            condition = read_group(value, here, groups, findings)
        else:
            try:
                if key.text not in NUMBER_FIELDS:
                    check_field(key.text)
            except Unreadable as e:
                findings.unreadable(key.place, here, e)
                continue
            warn_of_slip(key, here, findings)
            condition = read_condition(key.text, value, here, findings)
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


def attribute_name(text: str) -> str:
    """The name of an attribute of a use, as a value of the language. Raises Unreadable."""
    check_field(text)
    if text in EVENT_FIELDS:
        raise Unreadable(f"{text!r} is a field of a use, not an attribute", "name an attribute, as in region")
    return text


def warn_of_slip(key: Scalar, field: str, findings: Findings) -> None:
    """Any name may be an attribute; one that is nearly a field's name is probably a slip."""
    near = None if key.text in ASKED else nearest(key.text, ASKED, SLIP)
    if near:
        findings.warning(
            key.place,
            field,
            f"{key.text!r} is taken as an attribute of the use",
            f"write {near!r} if you mean the field",
        )


def read_group(value: Node, field: str, groups: Mapping[str, tuple[str, ...]], findings: Findings) -> Condition | None:
    """`group: students` or a list of such: the payers of these groups; None with the error noted."""
    patterns: list[str] = []
    nodes = value.items if isinstance(value, Items) else (value,)
    for node in nodes:
        if not isinstance(node, Scalar) or not node.text:
            findings.error(
                node.place, field, f"{describe(node)} where a group is due", "name one, as in group: students"
            )
            return None
        if node.text not in groups:
            remedy = choose(node.text, groups) if groups else 'list it, as in groups: {students: ["edu-*"]}'
            findings.error(node.place, field, f"{node.text!r} is not among the groups of this tariff", remedy)
            return None
        patterns += groups[node.text]
    if not nodes:
        findings.error(value.place, field, "an empty list", "name a group, or leave the condition out")
    return texts_condition("payer", patterns) if patterns else None


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


def read_condition(name: str, value: Node, field: str, findings: Findings) -> Condition | None:
    """The condition that a value sets for a field of the use; None with the error noted."""
    if isinstance(value, Table):
        findings.error(value.place, field, "a table where a value is due", f"write a value, or {RANGE_EXAMPLE}")
        return None
    nodes = value.items if isinstance(value, Items) else (value,)
    if not nodes:
        findings.error(value.place, field, "an empty list", "list the values, or leave the condition out")
        return None
    if len(nodes) == 1 or name in NUMBER_FIELDS:
        ranged = _number(name, nodes, field, findings)
        if ranged is not None or name in NUMBER_FIELDS:
            return ranged
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
    return texts_condition(name, texts)


def texts_condition(name: str, texts: Iterable[str]) -> Condition:
    """One of these texts; with * or ? in any of them, patterns."""
    distinct = tuple(dict.fromkeys(texts))
    return Condition(name, "pattern" if any("*" in t or "?" in t for t in distinct) else "equals", distinct)


def _number(name: str, nodes: Sequence[Node], field: str, findings: Findings) -> Condition | None:
    """A range of numbers; None where none is meant, and for fields that only have numbers with the error noted."""
    node = nodes[0]
    try:
        if name in NUMBER_FIELDS:
            if len(nodes) > 1 or not isinstance(node, Scalar):
                raise Unreadable("several values", f"write one range: {RANGE_EXAMPLE}")
            return read_number(name, node.text)
        if not isinstance(node, Scalar) or node.quoted:
            return None
        found = read_range(name, node.text)
        if found is not None and name in EVENT_FIELDS:
            raise Unreadable(f"a range of {name} texts", f"put the text in quotes if it is a {name}, or list them")
        return found
    except Unreadable as e:
        findings.unreadable(node.place, field, e)
        return None


def _readable(node: Scalar, name: str, field: str, *, alone: bool, findings: Findings) -> bool:
    if not node.quoted and node.text[0] in "<>=":
        findings.error(node.place, field, f"{node.text!r} is no range", f"write {RANGE_EXAMPLE}; both ends are in it")
        return False
    if not node.quoted and not alone and (node.text in ("present", "absent") or read_range(name, node.text)):
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
