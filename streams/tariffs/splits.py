"""The splits of a tariff: who gets which part of each charge, with exactly one party that takes the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

from nanotally.streams.domain.tariff import Party, Split
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.findings import Findings, Unreadable
from nanotally.streams.tariffs.parties import check_account, read_party
from nanotally.streams.tariffs.yaml_nodes import Node, Scalar, Table, describe

EXAMPLE = "standard: {platform: 10%, creator: rest}"
PART_EXAMPLE = "10%, 1/3, 0.1 or rest"
PARTIES_MAX = 100  # of one split: each is a share of every charge


@dataclass(frozen=True)
class _Given:
    """A party with its place, for the checks of the whole split."""

    party: Party
    name: Scalar
    field: str


@dataclass(frozen=True)
class _Nested:
    """Parties that divide a part of the charge, `whole` (None: the rest); `left` of it is for the one with `rest`."""

    whole: Fraction | None
    given: tuple[_Given, ...]
    left: Fraction

    def written_out(self, rest: Fraction) -> list[_Given]:
        """The parties with their parts of the charge, as exact products; `rest` is what there is for `rest`."""
        whole = rest if self.whole is None else self.whole
        found = []
        for g in self.given:
            part: Fraction | None = whole * (self.left if g.party.fraction is None else g.party.fraction)
            if self.whole is None and g.party.fraction is None:
                part = None  # the rest of the rest
            found.append(replace(g, party=replace(g.party, fraction=part)))
        return found


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
    """The parties of a split or of a table within it, tables within that written out; the errors are noted."""
    if not isinstance(value, Table) or not value.entries:
        findings.error(value.place, field, f"{describe(value)} where parties are due", f"write {EXAMPLE}")
        return []
    if len(value.entries) > PARTIES_MAX:
        problem = f"{len(value.entries):,} parties of one split, at most {PARTIES_MAX}"
        findings.error(value.place, field, problem, "name one account, and divide among them by yourself")
        return []
    found: list[_Given | _Nested] = []
    for name, part in value.entries:
        here = f"{field}.{name.text}"
        if isinstance(part, Table):
            nested = _nested(part, name, here, currency, findings)
            found += [] if nested is None else [nested]
            continue
        party = _party(name, part, here, currency, findings)
        if party is not None:
            found.append(_Given(party, name, here))
    taken = [g.whole if isinstance(g, _Nested) else g.party.fraction for g in found if not _is_first(g)]
    left = 1 - sum((part for part in taken if part is not None), Fraction(0))
    return [given for g in found for given in ([g] if isinstance(g, _Given) else g.written_out(left))]


def _is_first(given: _Given | _Nested) -> bool:
    return isinstance(given, _Given) and given.party.of_left


def _nested(node: Table, name: Scalar, field: str, currency: str, findings: Findings) -> _Nested | None:
    """`{of: 15%, "party:a": 20%, "party:b": rest}`: parts of a part. None with the errors noted."""
    of = next((value for key, value in node.entries if key.text == "of"), None)
    if not isinstance(of, Scalar):
        findings.error(node.place, f"{field}.of", "no part to divide", "say which, as in {of: 15%, ...}")
        return None
    try:
        whole = None if of.text == "rest" else values.fraction(of.text)
    except Unreadable as e:
        findings.unreadable(of.place, f"{field}.of", e)
        return None
    before = len(findings)
    inner = Table(node.place, tuple((key, value) for key, value in node.entries if key.text != "of"))
    given = _parties(inner, field, currency, findings)
    if findings.errors_since(before):
        return None
    first = next((g for g in given if g.party.of_left), None)
    if first is not None:
        findings.error(first.name.place, first.field, "a first amount within a part", "write it beside the parts")
    parts = [g.party.fraction for g in given]
    left = 1 - sum((part for part in parts if part is not None), Fraction(0))
    rests = parts.count(None)
    if left < 0 or rests > 1 or (not rests and (left or whole is None)):
        findings.error(
            node.place,
            field,
            "the parts of this part are not the whole of it",
            "give exactly one of them `rest`, and make the others 100% or less",
        )
    return None if findings.errors_since(before) else _Nested(whole, tuple(given), left)


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
        check_account(name.text)
    except Unreadable as e:
        findings.unreadable(name.place, field, e)
        return None
    if not isinstance(part, Scalar) or not part.text:
        findings.error(part.place, field, f"{describe(part)} where a part is due", f"write {PART_EXAMPLE}")
        return None
    if part.text == "rest":
        return Party(name.text, None)
    try:
        party = read_party(name.text, " ".join(part.text.split()), currency)
    except Unreadable as e:
        findings.unreadable(part.place, field, e)
        return None
    if party.fraction == 0:
        findings.warning(part.place, field, "a part of nothing", "take the party out")
    return party
