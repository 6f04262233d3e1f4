"""The meters of a tariff: what is counted, and how finely."""

from __future__ import annotations

from nanotally.streams.domain.tariff import Meter
from nanotally.streams.tariffs import values
from nanotally.streams.tariffs.findings import Findings, Unreadable, choose
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.yaml_nodes import Node, Scalar, Table, describe

SCALE_MAX = 15
METER_KEYS = {"unit": "page", "scale": "0", "needs": "session"}
# Fields of a usage event that may be absent and that a meter may demand.
NEEDS = ("session",)


def read_meters(node: Node, findings: Findings) -> dict[str, Meter | None]:
    """The meters by name; None for one that cannot be read, which is noted."""
    if not isinstance(node, Table) or not node.entries:
        findings.error(
            node.place, "meters", f"{describe(node)} where meters are due", "write meters: {page.view: {unit: page}}"
        )
        return {}
    return {key.text: _meter(key, value, findings) for key, value in node.entries}


def _meter(key: Scalar, value: Node, findings: Findings) -> Meter | None:
    before = len(findings)
    field = f"meters.{key.text}"
    try:
        values.label(key.text)
    except Unreadable as e:
        findings.unreadable(key.place, field, e)
    section = Section(value, field, findings, METER_KEYS)
    unit = section.read("unit", values.label, required=True)
    scale = section.read("scale", lambda text: values.whole(text, 0, SCALE_MAX)) if section.has("scale") else 0
    needs = section.texts("needs") if section.has("needs") else ()
    for need in needs or ():
        if need.text not in NEEDS:
            findings.error(need.place, f"{field}.needs", f"a meter cannot need {need.text!r}", choose(need.text, NEEDS))
    if unit is None or scale is None or needs is None or findings.errors_since(before):
        return None
    return Meter(key.text, unit, scale, tuple(dict.fromkeys(n.text for n in needs)))
