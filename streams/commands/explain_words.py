"""An explanation as text for people and as a document for scripts; every figure is exact."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from nanotally.streams.commands.output import instant
from nanotally.streams.domain.decimals import decimal_text, fixed_text
from nanotally.streams.domain.explaining import HASH_DIGITS, Explanation, LineExplained, Piece
from nanotally.streams.domain.records import NO_END
from nanotally.streams.domain.tariff import Meter
from nanotally.streams.tariffs import figures

CHECK = "\N{HEAVY CHECK MARK}"
_REASONS = {
    "max_price": "the tariff asks more than the use's max_price allows",
    "out_of_range": "the scope's quantity or total would leave what can be counted",
    "no_tariff": "no tariff was in force for the product",
    "unknown_meter": "the product's tariff has no such meter",
    "no_rule": "no rule of the tariff matches the use",
}


def words(explained: Explanation) -> str:
    """The explanation, a few lines of text."""
    out = _head(explained)
    for line in explained.lines:
        out += _line(line, explained.currency)
    if explained.version is not None:
        version = explained.version
        out.append(f"  tariff {version.tariff} v{version.version} {version.content_hash[:HASH_DIGITS]}")
        out.append(f"  worked out again in fractions from the charge and the tariff: the same {CHECK}")
    else:
        said = _REASONS.get(explained.reason, explained.reason)
        out.append(f"  {explained.outcome}: {said}")
    return "\n".join(out)


def _head(explained: Explanation) -> list[str]:
    event = explained.event
    amount = f"{fixed_text(explained.paid)} {explained.currency}" if explained.currency else "NOTHING"
    at = explained.booked_at_us if event is None else event["occurred_at"]
    who = "what fell due" if event is None else event["payer"]
    out = [f"WHY WAS {who} CHARGED {amount} AT {instant(at)}?   (charge {explained.name})"]
    if event is not None:
        creator = f", creator {event['creator']}" if event["creator"] else ""
        out.append(f"  {event['product']}: {event['meter']} of {event['item']}{creator}   event {event['event_id']}")
    if explained.late:
        out.append(f"  came late: booked at {instant(explained.booked_at_us)}")
    return out


def _line(line: LineExplained, currency: str) -> list[str]:
    used = figures.quantity(line.quantity, line.meter)
    out = [f"  {used} by rule {line.rule.name}{_scope(line)}"]
    rows = [_piece(piece, line.meter, currency) for piece in line.pieces]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
    for count, border, price, nanos in rows:
        cells = [
            f"{count:>{widths[0]}}",
            f"{border:<{widths[1]}}",
            f"× {price:<{widths[2]}}",
            f"= {nanos:>{widths[3]}}",
        ]
        out.append("    " + " ".join(cell for cell in cells if cell.strip()) + " nanos")
    out += _whole_nanos(line, currency)
    out.append(f"  split {line.rule.split}   of {line.paid:,} nanos, {line.base_before:,} divided like this before")
    widest = max(len(part.account) for part in line.parts)
    for part in reversed(line.parts):
        share = "rest" if part.rest else figures.percent(part.fraction)
        out.append(f"    {part.account:<{widest}}  {share:>6}  {part.nanos:>15,}")
    out.append(f"    {'sum':<{widest}}          {sum(part.nanos for part in line.parts):>15,} {CHECK}")
    return out


def _scope(line: LineExplained) -> str:
    kind = line.rule.scope
    if kind == "event":
        return ", each use by itself"
    before = figures.number(Fraction(line.quantity_before, 10**line.meter.scale))
    after = figures.number(Fraction(line.quantity_before + line.quantity, 10**line.meter.scale))
    per = f" per {', '.join(line.rule.per)}" if line.rule.per else ""
    since = (
        "so far"
        if line.scope_end_us == NO_END or kind == "life"
        else f"this {kind} ({instant(line.scope_start_us)[:10]})"
    )
    return f"; {since}{per} {before} -> {after}"


def _piece(piece: Piece, meter: Meter, currency: str) -> tuple[str, str, str, str]:
    count = figures.number(Fraction(piece.quantity, 10**meter.scale))
    lower = figures.number(Fraction(piece.lower, 10**meter.scale))
    if piece.upper is None:
        border = f"above {lower}" if piece.lower else ""
    else:
        upper = figures.number(Fraction(piece.upper, 10**meter.scale))
        border = f"above {lower} to {upper}" if piece.lower else f"to {upper}"
    return count, border, figures.price(piece.price, meter, currency), _exact(piece.nanos)


def _whole_nanos(line: LineExplained, currency: str) -> list[str]:
    """How the exact total becomes whole nanos, where that is not plain already."""
    out = []
    asked = sum((piece.nanos for piece in line.pieces), Fraction(0))
    cap = line.rule.cap_nanos
    if cap is not None and int(line.total_after) > cap:
        out.append(f"    exact total {_exact(line.total_after)} nanos, capped at {figures.money(cap, currency)}")
    elif asked != line.amount:
        out.append(
            f"    exact total {_exact(line.total_before)} -> {_exact(line.total_after)} nanos; whole nanos "
            f"{int(line.total_after):,} less {line.charged_before:,} charged before = {line.amount:,}"
        )
    if line.nothing:
        out.append(f"    {line.nothing}")
    return out


def _exact(value: Fraction) -> str:
    whole, rest = divmod(value, 1)
    return f"{whole:,} {rest}" if rest else f"{whole:,}"


def document(explained: Explanation) -> dict[str, Any]:
    """The explanation for scripts: nanos as whole numbers or exact fractions ('20000/3'), amounts as decimals."""
    version = explained.version
    event = explained.event or {}
    rated = {} if version is None else {
        "tariff": version.tariff, "version": version.version, "tariff_hash": version.content_hash,
    }  # fmt: skip
    return {
        "charge": explained.name,
        "outcome": explained.outcome,
        "reason": explained.reason,
        **{name: event.get(name) for name in ("event_id", "product", "payer", "creator", "item", "meter")},
        "occurred_at": instant(event["occurred_at"]) if event else None,
        "booked_at": instant(explained.booked_at_us),
        "late": explained.late,
        "amount": decimal_text(explained.paid),
        "currency": explained.currency,
        **rated,
        "lines": [_line_document(line) for line in explained.lines],
        "verified": version is not None,
    }


def _line_document(line: LineExplained) -> dict[str, Any]:
    scale = line.meter.scale
    return {
        "rule": line.rule.name,
        "scope": line.rule.scope,
        "scope_start": instant(line.scope_start_us),
        "scope_end": instant(line.scope_end_us),
        "quantity_before": decimal_text(line.quantity_before, scale),
        "quantity": decimal_text(line.quantity, scale),
        "quantity_after": decimal_text(line.quantity_before + line.quantity, scale),
        "pieces": [
            {
                "quantity": decimal_text(piece.quantity, scale),
                "above": decimal_text(piece.lower, scale),
                "to": None if piece.upper is None else decimal_text(piece.upper, scale),
                "nanos_per_unit": str(piece.price * 10**scale),
                "nanos": str(piece.nanos),
            }
            for piece in line.pieces
        ],
        "exact_nanos_before": str(line.total_before),
        "exact_nanos_after": str(line.total_after),
        "charged_nanos_before": line.charged_before,
        "amount_nanos": line.amount,
        "paid_nanos": line.paid,
        "split": line.rule.split,
        "base_nanos_before": line.base_before,
        "shares": [
            {"account": part.account, "fraction": str(part.fraction), "nanos": part.nanos, "rest": part.rest}
            for part in line.parts
        ],
        "nothing": line.nothing,
    }
