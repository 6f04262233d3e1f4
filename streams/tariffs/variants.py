"""Values by an attribute, `{by: segment, school: ..., otherwise: ...}`: one alternative for each value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from nanotally.streams.domain.tariff import Condition
from nanotally.streams.tariffs.conditions import check_field, read_condition, warn_of_slip
from nanotally.streams.tariffs.findings import Findings, Place, Unreadable
from nanotally.streams.tariffs.yaml_nodes import Node, Scalar, Table, describe

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """What a variant is called in one respect, and where it stands: 'school' of a price by segment."""

    label: str
    place: Place
    field: str


@dataclass(frozen=True)
class Alternative(Generic[T]):
    """One of several values of a place, for the uses that fulfil `conditions`. `part` None: there is but this one."""

    value: T
    conditions: tuple[Condition, ...] = ()
    part: Part | None = None


def is_by(node: Node) -> bool:
    """Whether a table by attribute stands there."""
    return isinstance(node, Table) and any(key.text == "by" and not key.quoted for key, _ in node.entries)


def read_by(
    node: Table, field: str, findings: Findings, read: Callable[[Node, str], T | None], example: str
) -> Sequence[Alternative[T]]:
    """The alternatives in the order of the file, as far as they can be read; the errors are noted."""
    attribute = _attribute(next(value for key, value in node.entries if key.text == "by"), field, findings)
    found: list[Alternative[T]] = []
    last: Scalar | None = None
    for key, value in node.entries:
        if key.text == "by" and not key.quoted:
            continue
        here = f"{field}.{key.text}"
        if last is not None:
            findings.error(
                key.place, here, f"{key.text!r} stands behind 'otherwise'", "'otherwise' takes all: write it last"
            )
        conditions: tuple[Condition, ...] = ()
        if key.text == "otherwise" and not key.quoted:
            last = key
        elif attribute is not None:
            condition = read_condition(attribute, key, here, findings)
            conditions = () if condition is None else (condition,)
        alternative = read(value, here)
        if alternative is not None:
            found.append(Alternative(alternative, conditions, Part(key.text, key.place, here)))
    if not found and len(node.entries) == 1:
        findings.error(node.place, field, "no values", f"write one for each value, as in {example}")
    return found


def _attribute(node: Node, field: str, findings: Findings) -> str | None:
    here = f"{field}.by"
    if not isinstance(node, Scalar) or not node.text:
        findings.error(node.place, here, f"{describe(node)} where an attribute is due", "name it, as in by: segment")
        return None
    try:
        check_field(node.text)
        if node.text == "meter":
            raise Unreadable("a rule has exactly one meter", "write one rule for each meter")
    except Unreadable as e:
        findings.unreadable(node.place, here, e)
        return None
    warn_of_slip(node, here, findings)
    return node.text
