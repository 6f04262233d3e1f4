"""`count`: over which scope the quantity of a rule cumulates, and up to where it is charged."""

from __future__ import annotations

from dataclasses import dataclass

from nanotally.streams.domain.tariff import EVENT_FIELDS, SCOPES, Meter
from nanotally.streams.tariffs import values
from nanotally.streams.tariffs.conditions import check_field, warn_of_slip
from nanotally.streams.tariffs.findings import Findings, Unreadable, choose
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.yaml_nodes import Node, Scalar

COUNT_KEYS = {"per": "[payer, item]", "over": "day", "at_most": "1 page"}
LATER_COUNT = {
    "ends_after": "a scope that ends when idle",
    "free": "a free allowance",
    "anchor": "a scope with an anchor",
}
LATER_SCOPES = {"session": "a scope per session", "year": "a scope per year", "week": "a scope per week"}


@dataclass(frozen=True)
class Counting:
    """`per` what opens a scope of its own besides the payer; `scope` one of SCOPES; `at_most` unscaled or None."""

    per: tuple[str, ...] = ()
    scope: str = "life"
    at_most: int | None = None


def read_count(node: Node, field: str, meter: Meter | None, findings: Findings) -> Counting:
    """The scope of a rule as far as it can be read; the errors are noted."""
    section = Section(node, field, findings, COUNT_KEYS, LATER_COUNT)
    at_most = None
    if meter is not None and section.has("at_most"):
        at_most = section.read("at_most", lambda text: values.quantity(text, meter))
    return Counting(_per(section, meter, findings), _over(section, findings), at_most)


def _over(section: Section, findings: Findings) -> str:
    scalar = section.scalar("over") if section.has("over") else None
    if scalar is None or scalar.text in SCOPES:
        return "life" if scalar is None else scalar.text
    field = section.path("over")
    word = scalar.text.split()[0] if scalar.text.split() else ""
    if word in LATER_SCOPES or "from" in scalar.text.split():
        words = LATER_SCOPES.get(word, f"a scope with an anchor ({scalar.text!r})")
        findings.error(scalar.place, field, f"{words} is not supported yet", f"use one of {', '.join(SCOPES)}")
    else:
        findings.error(scalar.place, field, f"{scalar.text!r} is no scope", choose(scalar.text, SCOPES))
    return "life"


def _per(section: Section, meter: Meter | None, findings: Findings) -> tuple[str, ...]:
    scalars = section.texts("per") if section.has("per") else None
    if scalars is None:
        return ()
    field = section.path("per")
    for scalar in scalars:
        try:
            check_field(scalar.text)
        except Unreadable as e:
            findings.unreadable(scalar.place, field, e)
        warn_of_slip(scalar, field, findings)
    names = list(dict.fromkeys(s.text for s in scalars))
    if "payer" not in names:
        findings.error(
            section.node.place if not scalars else scalars[0].place,
            field,
            "no payer: every count is kept for each payer",
            f"write per: [{', '.join(['payer', *names])}]",
        )
    _warn_of_session(scalars, field, meter, findings)
    # In a fixed order, so that another order in the file is the same tariff and the same scopes.
    return tuple(sorted((n for n in names if n != "payer"), key=lambda n: (n not in EVENT_FIELDS, n)))


def _warn_of_session(scalars: tuple[Scalar, ...], field: str, meter: Meter | None, findings: Findings) -> None:
    session = next((s for s in scalars if s.text == "session"), None)
    if session is not None and meter is not None and "session" not in meter.needs:
        findings.warning(
            session.place,
            field,
            f"uses of {meter.name!r} without a session are counted together",
            "write needs: session at the meter to have them rejected",
        )
