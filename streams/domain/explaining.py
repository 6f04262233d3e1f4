"""Why a charge is what it is, worked out again in exact rationals from the charge and the tariff versions alone.

Shares no arithmetic with the columns that rated it: fractions here, whole-number columns there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanotally.streams.domain.catalogs import CatalogItem, CatalogVersion
from nanotally.streams.domain.explaining_dues import check_due, due_line
from nanotally.streams.domain.explaining_lines import pass_line, rule_line
from nanotally.streams.domain.explaining_model import (
    Differs,
    Explanation,
    LineExplained,
    Part,
    charge_name,
    same,
)
from nanotally.streams.domain.explaining_pieces import pieces_of_use
from nanotally.streams.domain.explaining_refusals import why_nothing, why_refused
from nanotally.streams.domain.explaining_terms import Extra, Piece
from nanotally.streams.domain.redriven import offset_of
from nanotally.streams.domain.tariff import TariffVersion

__all__ = [
    "HASH_DIGITS",
    "Differs",
    "Explanation",
    "Extra",
    "LineExplained",
    "Part",
    "Piece",
    "charge_name",
    "explain",
    "why_nothing",
]

HASH_DIGITS = 16  # of a version's content hash, in a charge

Versions = TariffVersion | Sequence[TariffVersion] | None


def explain(charge: Mapping[str, Any], versions: Versions, catalogs: Sequence[CatalogVersion] = ()) -> Explanation:
    """Works the charge out again from the tariff versions and catalogs it names.

    `charge`: a decoded Charge record; `versions`: one or several that it may name; of a charge without lines the one
    that was in force, to say more, or none. Raises Differs where the charge is not what they give."""
    known = (versions,) if isinstance(versions, TariffVersion) else tuple(versions or ())
    mine = [_version(f"line {number}", line, known) for number, line in enumerate(charge["lines"])]
    lines = _due(charge, mine) if charge["outcome"] == "due" else _use(charge, mine, catalogs)
    same("paid_nanos", sum(line.paid for line in lines), charge["paid_nanos"])
    for version in mine:
        same("currency", version.currency, charge["currency"])
    in_force = known[0] if known else None
    item = None if charge["event"] is None else _item(charge["event"], catalogs)
    return Explanation(
        charge_name(charge),
        charge["outcome"],
        charge["reason"],
        charge["event"],
        charge["booked_at"],
        charge["late"],
        charge["currency"],
        charge["paid_nanos"],
        mine[0] if mine else None,
        tuple(lines),
        "" if lines else why_refused(charge, in_force, item),
        charge["payer"],
        _before(charge),
        charge["recorded_at"],
    )


def _before(charge: Mapping[str, Any]) -> str:
    """Name of the record at which a redriven use found no price; empty for all others."""
    offset = offset_of(charge["flags"])
    return f"{charge['usage_partition']}-{offset}" if offset >= 0 else ""


def _version(at: str, line: Mapping[str, Any], known: Sequence[TariffVersion]) -> TariffVersion:
    """The version that the line names, by name, number and content."""
    rated_by = f"{line['tariff']} v{line['version']} {line['tariff_hash']}"
    if not known:
        raise Differs(f"{at}, tariff", "without a version", f"{line['tariff']} v{line['version']}")
    names = {f"{v.tariff} v{v.version} {v.content_hash[:HASH_DIGITS]}": v for v in known}
    if rated_by not in names:
        raise Differs(f"{at}, tariff", " or ".join(names), rated_by)
    return names[rated_by]


def _item(event: Mapping[str, Any], catalogs: Sequence[CatalogVersion]) -> CatalogItem | None:
    found = _catalog(event, catalogs)
    return None if found is None else found.item_by_id[event["item"]]


def _catalog(event: Mapping[str, Any], catalogs: Sequence[CatalogVersion]) -> CatalogVersion | None:
    """The newest version that was in force at the use and has its item; None where no catalog has it."""
    begun = [c for c in catalogs if c.effective_from_us <= event["occurred_at"]]
    newest = {c.catalog: c for c in sorted(begun, key=lambda c: (c.effective_from_us, c.version))}
    mine = (c for _, c in sorted(newest.items()) if not c.products or event["product"] in c.products)
    return next((c for c in mine if event["item"] in c.item_by_id), None)


def _use(
    charge: Mapping[str, Any], versions: Sequence[TariffVersion], catalogs: Sequence[CatalogVersion]
) -> list[LineExplained]:
    rule_lines = [(i, line) for i, line in enumerate(charge["lines"]) if line["link"] == "rule"]
    if not rule_lines:
        same("number of lines", 0, len(charge["lines"]))
        return []
    event: Mapping[str, Any] = charge["event"]
    meter = versions[0].meter_by_name.get(event["meter"])
    if meter is not None:
        same("event, scale", meter.scale, event["scale"])
    catalog = _catalog(event, catalogs)
    item = None if catalog is None else catalog.item_by_id[event["item"]]
    pieces = pieces_of_use(event, [versions[i] for i, _ in rule_lines], item)
    same("number of rule lines", len(pieces), len(rule_lines))
    out: list[LineExplained] = []
    for (i, line), piece in zip(rule_lines, pieces, strict=True):
        out.append(rule_line(f"line {i}", line, charge, piece, _is_first(line, out), catalog, item))
    for i, line in enumerate(charge["lines"][len(out) :], len(out)):
        same(f"line {i}, link", "pass", line["link"])
        out.append(pass_line(f"line {i}", line, out, versions[i]))
    passes = {f"{line.pass_name} v{line.version.version}" for line in out if line.link == "rule" and line.pass_name}
    settled = sorted(f"{line.name} v{line.version.version}" for line in out if line.link == "pass")
    same("passes with a line", sorted(passes), settled)
    return out


def _is_first(line: Mapping[str, Any], above: Sequence[LineExplained]) -> bool:
    """Whether no line above is of the same use in the same scope; what counts each use by itself counts it once."""
    return not any(
        other.name == line["rule"]
        and other.rule.scope == line["scope"]
        and (line["scope"] == "event" or other.scope_start_us == line["scope_start"])
        for other in above
    )


def _due(charge: Mapping[str, Any], versions: Sequence[TariffVersion]) -> list[LineExplained]:
    out: list[LineExplained] = []
    for i, (line, version) in enumerate(zip(charge["lines"], versions, strict=True)):
        if line["link"] == "pass":
            out.append(pass_line(f"line {i}", line, out, version))
        else:
            out.append(due_line(f"line {i}", line, version))
    check_due(charge, out)
    return out
