"""The splits of a tariff: who gets which part of each charge, with exactly one party that takes the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from nanotally.streams.domain.tariff import EVENT_FIELDS, Party, Split
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.findings import Findings, Unreadable, choose
from nanotally.streams.tariffs.yaml_nodes import Node, Scalar, Table, describe

EXAMPLE = "standard: {platform: 10%, creator: rest}"
PART_EXAMPLE = "10%, 1/3, 0.1 or rest"
_TEMPLATE = re.compile(r"\{([^{}]*)\}")
_ATTRIBUTE = re.compile(r"[^\W\d][\w.\-]*")
_LIMITED = re.compile(r"(?P<part>\S+(?: %)?) at most (?P<cap>.+?)(?:,? rest to (?P<overflow>.+))?")
_FIRST = re.compile(r"first (?P<cap>.+?)(?:,? rest to (?P<overflow>.+))?")


@dataclass(frozen=True)
class _Given:
    """A party with its place, for the checks of the whole split."""

    party: Party
    name: Scalar
    field: str


def read_splits(node: Node, currency: str, findings: Findings) -> dict[str, Split | None]:
    """The splits by name; None for one that cannot be read, which is noted."""
    if not isinstance(node, Table) or not node.entries:
        findings.error(node.place, "splits", f"{describe(node)} where splits are due", f"write splits: {{{EXAMPLE}}}")
        return {}
    return {key.text: _split(key, value, currency, findings) for key, value in node.entries}


def _split(key: Scalar, value: Node, currency: str, findings: Findings) -> Split | None:
    before = len(findings)
    field = f"splits.{key.text}"
    try:
        values.name(key.text)
    except Unreadable as e:
        findings.unreadable(key.place, field, e)
    given = _parties(value, field, currency, findings)
    if findings.errors_since(before):
        return None
    _check_order(given, findings)
    split = Split(key.text, tuple(g.party for g in given))
    _check_sum(key, field, split, findings)
    return None if findings.errors_since(before) else split


def _parties(value: Node, field: str, currency: str, findings: Findings) -> list[_Given]:
    """The parties of a split or of a table within it; the errors are noted."""
    if not isinstance(value, Table) or not value.entries:
        findings.error(value.place, field, f"{describe(value)} where parties are due", f"write {EXAMPLE}")
        return []
    found: list[_Given] = []
    for name, part in value.entries:
        here = f"{field}.{name.text}"
        if isinstance(part, Table):
            found += _nested(part, here, currency, findings)
            continue
        party = _party(name, part, here, currency, findings)
        if party is not None:
            found.append(_Given(party, name, here))
    return found


def _nested(node: Table, field: str, currency: str, findings: Findings) -> list[_Given]:
    """`{of: 15%, "party:a": 20%, "party:b": rest}`: parts of a part, as the exact products of the fractions."""
    of = next((value for key, value in node.entries if key.text == "of"), None)
    inner = Table(node.place, tuple((key, value) for key, value in node.entries if key.text != "of"))
    if not isinstance(of, Scalar):
        findings.error(node.place, f"{field}.of", "no part to divide", "say which, as in {of: 15%, ...}")
        return []
    try:
        whole = values.fraction(of.text)
    except Unreadable as e:
        findings.error(of.place, f"{field}.of", e.problem, "write the part that is divided, as in 15% or 1/3")
        return []
    before = len(findings)
    given = _parties(inner, field, currency, findings)
    if findings.errors_since(before):
        return []
    limited = next((g for g in given if g.party.of_left), None)
    if limited is not None:
        findings.error(limited.name.place, limited.field, "a first amount within a part", "write it beside the parts")
        return []
    rests = [g for g in given if g.party.fraction is None]
    left = 1 - sum((g.party.fraction for g in given if g.party.fraction is not None), Fraction(0))
    if left < 0 or (not rests and left) or len(rests) > 1:
        findings.error(
            node.place,
            field,
            "the parts of this part are not the whole of it",
            "make them 100%, or give exactly one of them `rest`",
        )
        return []
    return [
        _Given(
            Party(
                g.party.account,
                whole * (left if g.party.fraction is None else g.party.fraction),
                g.party.cap_nanos,
                g.party.overflow,
            ),
            g.name,
            g.field,
        )
        for g in given
    ]


def _check_order(given: Sequence[_Given], findings: Findings) -> None:
    """A first amount takes of what is left, so no part of the whole may come behind it."""
    first: _Given | None = None
    for g in given:
        first = g if g.party.of_left and first is None else first
        if first is not None and not g.party.of_left and g.party.fraction is not None:
            findings.error(
                g.name.place,
                g.field,
                f"a part of the charge behind {first.party.account}, which takes from what is left",
                "write the parts in per cent before the first amounts",
            )


def _check_sum(key: Scalar, field: str, split: Split, findings: Findings) -> None:
    rests = [p.account for p in split.parties if p.fraction is None]
    parts = [p.fraction for p in split.parties if p.fraction is not None and not p.of_left]
    total = sum(parts, Fraction(0))
    if total > 1:
        findings.error(
            key.place,
            field,
            f"the parts come to {figures.percent(total)}, more than the whole",
            "make them 100% or less",
        )
    elif not rests:
        missing = "" if total == 1 else f", and {figures.percent(1 - total)} go to nobody"
        findings.error(key.place, field, f"no party takes the rest{missing}", "give one party `rest`")
    elif len(rests) > 1:
        findings.error(
            key.place,
            field,
            f"{' and '.join(rests)} both take the rest",
            "give all but one of them a part of their own",
        )
    elif lcm(*(part.denominator for part in parts)) > values.FRACTION_DENOMINATOR_MAX:
        findings.error(
            key.place, field, "the parts have no common fraction down to a billionth", "write them with fewer digits"
        )
    elif total == 1 and all(p.cap_nanos is None for p in split.parties):
        findings.warning(key.place, field, f"nothing is left for {rests[0]}", "lower a part, or take it as it is")


def _party(name: Scalar, part: Node, field: str, currency: str, findings: Findings) -> Party | None:
    try:
        _check_account(name.text)
    except Unreadable as e:
        findings.unreadable(name.place, field, e)
        return None
    if not isinstance(part, Scalar) or not part.text:
        findings.error(part.place, field, f"{describe(part)} where a part is due", f"write {PART_EXAMPLE}")
        return None
    if part.text == "rest":
        return Party(name.text, None)
    try:
        party = _part(name.text, " ".join(part.text.split()), currency)
    except Unreadable as e:
        findings.unreadable(part.place, field, e)
        return None
    if party.fraction == 0:
        findings.warning(part.place, field, "a part of nothing", "take the party out")
    return party


def _part(account: str, text: str, currency: str) -> Party:
    """'10%', '10% at most 0.10', '10% at most 0.10 rest to party:x', 'first 10.00'. Raises Unreadable."""
    limited, first = _LIMITED.fullmatch(text), _FIRST.fullmatch(text)
    found = limited or first
    if found is None:
        return Party(account, values.fraction(text))
    if limited is not None and limited["part"] == "rest":
        raise Unreadable(f"{text!r} limits the rest", "limit the other parties, or name one that takes what is beyond")
    fraction = Fraction(1) if limited is None else values.fraction(limited["part"])
    cap = values.nanos(found["cap"], currency)
    if cap == 0:
        raise Unreadable(f"{text!r} is nothing", "take the party out")
    overflow = found["overflow"]
    if overflow is not None:
        _check_account(overflow)
        if overflow == account:
            raise Unreadable(f"{text!r} sends what is beyond back to {account}", "name another party, or none")
    return Party(account, fraction, cap, overflow, of_left=limited is None)


def _check_account(account: str) -> None:
    if account in ("platform", "creator"):
        return
    kind, _, text = account.partition(":")
    if kind != "party":
        remedy = choose(account, ("platform", "creator")) if not text else "did you mean 'party:...'?"
        if "known" in remedy:
            remedy = f'parties are platform, creator and "party:NAME": write "party:{account}"'
        raise Unreadable(f"{account!r} is no party", remedy)
    values.label(text)
    if "{" in _TEMPLATE.sub("", text) or "}" in _TEMPLATE.sub("", text):
        raise Unreadable(f"{account!r} has a bracket without its partner", 'write "party:{item.label}"')
    for name in _TEMPLATE.findall(text):
        if not _ATTRIBUTE.fullmatch(name) or name in EVENT_FIELDS:
            raise Unreadable(f"{{{name}}} names no attribute of a use", "name one, as in {item.label} or {publisher}")
