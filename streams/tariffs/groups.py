"""Groups of payers, by their names or patterns of them."""

from __future__ import annotations

from nanotally.streams.tariffs import values
from nanotally.streams.tariffs.findings import Findings, Unreadable
from nanotally.streams.tariffs.yaml_nodes import Items, Node, Scalar, Table, describe

EXAMPLE = '{students: ["edu-*", p-17]}'


def read_groups(node: Node | None, findings: Findings) -> dict[str, tuple[str, ...]]:
    """Patterns of payers by the name of the group, as far as they can be read; the errors are noted."""
    if node is None:
        return {}
    if not isinstance(node, Table) or not node.entries:
        findings.error(node.place, "groups", f"{describe(node)} where groups are due", f"write groups: {EXAMPLE}")
        return {}
    groups: dict[str, tuple[str, ...]] = {}
    for key, value in node.entries:
        field = f"groups.{key.text}"
        try:
            values.name(key.text)
        except Unreadable as e:
            findings.unreadable(key.place, field, e)
        payers = value.items if isinstance(value, Items) else (value,)
        found: list[str] = []
        for payer in payers:
            if not isinstance(payer, Scalar) or not payer.text:
                findings.error(payer.place, field, f"{describe(payer)} where a payer is due", f"write {EXAMPLE}")
                continue
            try:
                found.append(values.label(payer.text))
            except Unreadable as e:
                findings.unreadable(payer.place, field, e)
        if not payers:
            findings.error(value.place, field, "an empty list", "name payers, or take the group out")
        groups[key.text] = tuple(dict.fromkeys(found))
    return groups
