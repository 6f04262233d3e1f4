"""`count`: over which scope the quantity of a rule cumulates, and up to where it is charged."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nanotally.streams.domain.tariff import EVENT_FIELDS, SCOPES, Meter
from nanotally.streams.tariffs import values
from nanotally.streams.tariffs.conditions import check_field, warn_of_slip
from nanotally.streams.tariffs.findings import Findings, Unreadable, choose
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.yaml_nodes import Node, Scalar

COUNT_KEYS = {"per": "[payer, item]", "over": "day", "ends_after": "30m idle", "at_most": "1 page"}
NAMED_SCOPES = tuple(s for s in SCOPES if s != "anchored")
ANCHORED_EXAMPLE = "24h from first paid"
LENGTH_US_MAX = 3660 * 86400 * 10**6  # ten years
_ANCHORED = re.compile(r"(\S+) from first (?:paid|use)")


@dataclass(frozen=True)
class Counting:
    """`per` what opens a scope of its own besides the payer; `scope` one of SCOPES; `length_us` idle gap of a session
    or length of an anchored scope; `at_most` unscaled or None."""

    per: tuple[str, ...] = ()
    scope: str = "life"
    length_us: int = 0
    at_most: int | None = None


def read_count(node: Node, field: str, meter: Meter | None, findings: Findings, at_most: bool = True) -> Counting:
    """The scope of a rule as far as it can be read; the errors are noted. `at_most` False: nothing is limited."""
    known = {name: example for name, example in COUNT_KEYS.items() if at_most or name != "at_most"}
    section = Section(node, field, findings, known)
    most = None
    if meter is not None and section.has("at_most"):
        most = section.read("at_most", lambda text: values.quantity(text, meter))
    scope, length_us = section.read("over", _over) or ("life", 0)
    if section.has("ends_after"):
        gap_us = section.read("ends_after", _gap)
        if scope != "session":
            findings.error(
                section.key("ends_after").place,
                section.path("ends_after"),
                f"only a session ends when it is idle, not {scope}",
                "write over: session, or take it out",
            )
        length_us = gap_us or length_us
    elif scope == "session":
        findings.error(
            section.key("over").place,
            section.path("ends_after"),
            "nothing says when a session has ended",
            "say after how long without a use, as in ends_after: 30m idle",
        )
    return Counting(_per(section, meter, findings), scope, length_us, most)


def _over(text: str) -> tuple[str, int]:
    """Scope and length: 'day', '24h from first paid'."""
    if text in NAMED_SCOPES:
        return text, 0
    found = _ANCHORED.fullmatch(" ".join(text.split()))
    if found:
        return "anchored", _length(found[1])
    if "from" in text.split():
        raise Unreadable(f"{text!r} is no scope", f"write {ANCHORED_EXAMPLE}")
    raise Unreadable(f"{text!r} is no scope", f"{choose(text, NAMED_SCOPES)}, or write {ANCHORED_EXAMPLE}")


def _gap(text: str) -> int:
    """'30m idle' or '30m'."""
    return _length(text.removesuffix("idle").strip())


def _length(text: str) -> int:
    length_us = values.duration_us(text)
    if not 0 < length_us <= LENGTH_US_MAX:
        raise Unreadable(f"{text!r} is no time or more than ten years", "write a time such as 30m or 24h")
    return length_us


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
