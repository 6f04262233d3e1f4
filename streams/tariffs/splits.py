"""The splits of a tariff: who gets which part of each charge, with exactly one party that takes the rest."""

from __future__ import annotations

import re
from fractions import Fraction
from math import lcm

from nanotally.streams.domain.tariff import EVENT_FIELDS, Party, Split
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.findings import Findings, Unreadable, choose
from nanotally.streams.tariffs.yaml_nodes import Node, Scalar, Table, describe

EXAMPLE = "standard: {platform: 10%, creator: rest}"
_TEMPLATE = re.compile(r"\{([^{}]*)\}")
_ATTRIBUTE = re.compile(r"[^\W\d][\w.\-]*")


def read_splits(node: Node, findings: Findings) -> dict[str, Split | None]:
    """The splits by name; None for one that cannot be read, which is noted."""
    if not isinstance(node, Table) or not node.entries:
        findings.error(node.place, "splits", f"{describe(node)} where splits are due", f"write splits: {{{EXAMPLE}}}")
        return {}
    return {key.text: _split(key, value, findings) for key, value in node.entries}


def _split(key: Scalar, value: Node, findings: Findings) -> Split | None:
    before = len(findings)
    field = f"splits.{key.text}"
    try:
        values.name(key.text)
    except Unreadable as e:
        findings.unreadable(key.place, field, e)
    if not isinstance(value, Table) or not value.entries:
        findings.error(value.place, field, f"{describe(value)} where parties are due", f"write {EXAMPLE}")
        return None
    parties = [_party(party, part, f"{field}.{party.text}", findings) for party, part in value.entries]
    if findings.errors_since(before):
        return None
    split = Split(key.text, tuple(p for p in parties if p is not None))
    _check_sum(key, field, split, findings)
    return None if findings.errors_since(before) else split


def _check_sum(key: Scalar, field: str, split: Split, findings: Findings) -> None:
    rests = [p.account for p in split.parties if p.fraction is None]
    total = sum((p.fraction for p in split.parties if p.fraction is not None), Fraction(0))
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
    elif (
        lcm(*(p.fraction.denominator for p in split.parties if p.fraction is not None))
        > values.FRACTION_DENOMINATOR_MAX
    ):
        findings.error(
            key.place, field, "the parts have no common fraction down to a billionth", "write them with fewer digits"
        )
    elif total == 1:
        findings.warning(key.place, field, f"nothing is left for {rests[0]}", "lower a part, or take it as it is")


def _party(party: Scalar, part: Node, field: str, findings: Findings) -> Party | None:
    try:
        _check_account(party.text)
    except Unreadable as e:
        findings.unreadable(party.place, field, e)
        return None
    if not isinstance(part, Scalar) or not part.text:
        findings.error(part.place, field, f"{describe(part)} where a part is due", "write 10%, 1/3, 0.1 or rest")
        return None
    if part.text == "rest":
        return Party(party.text, None)
    try:
        share = values.fraction(part.text)
    except Unreadable as e:
        findings.unreadable(part.place, field, e)
        return None
    if share == 0:
        findings.warning(part.place, field, "a part of nothing", "take the party out")
    return Party(party.text, share)


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
