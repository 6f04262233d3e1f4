"""An explanation as a document for scripts: nanos as whole numbers or exact fractions, amounts as decimals."""

from __future__ import annotations

from typing import Any

from nanotally.streams.commands.output import instant
from nanotally.streams.domain.decimals import decimal_text
from nanotally.streams.domain.explaining import Explanation, Extra, LineExplained, Piece


def document(explained: Explanation) -> dict[str, Any]:
    """The explanation: nanos as whole numbers or exact fractions ('20000/3'), amounts and quantities as decimals."""
    version = explained.version
    event = explained.event or {}
    rated = {} if version is None else {
        "tariff": version.tariff, "version": version.version, "tariff_hash": version.content_hash,
    }  # fmt: skip
    return {
        "charge": explained.name,
        "outcome": explained.outcome,
        "reason": explained.reason,
        "said": explained.said,
        "payer": explained.payer,
        **{name: event.get(name) for name in ("event_id", "product", "creator", "item", "meter")},
        "occurred_at": instant(event["occurred_at"]) if event else None,
        "booked_at": instant(explained.booked_at_us),
        "late": explained.late,
        "redriven": {"from": explained.before, "at": instant(explained.recorded_at_us)} if explained.before else None,
        "amount": decimal_text(explained.paid),
        "currency": explained.currency,
        **rated,
        "lines": [_line(line) for line in explained.lines],
        "verified": version is not None,
    }


def _line(line: LineExplained) -> dict[str, Any]:
    scale = line.meter.scale
    rule = (
        {"pass": line.name} if line.link in ("pass", "sharing") else {"rule": line.name, "variant": line.rule.variant}
    )
    return {
        "link": line.link,
        **rule,
        "unit": line.meter.unit,
        "starts_at": None if line.starts_us is None else instant(line.starts_us),
        "scope": line.rule.scope,
        "scope_start": instant(line.scope_start_us),
        "scope_end": instant(line.scope_end_us),
        "uses_before": line.before.uses,
        "quantity_before": decimal_text(line.quantity_before, scale),
        "quantity": decimal_text(line.quantity, scale),
        "quantity_after": decimal_text(line.quantity_before + line.quantity, scale),
        "priced_before": None if line.step is None else decimal_text(line.step.billable_before, scale),
        "priced_after": None if line.step is None else decimal_text(line.step.billable_after, scale),
        "pieces": [_item(item, scale) for item in line.pieces],
        "exact_nanos_before": str(line.total_before),
        "exact_nanos_after": str(line.total_after),
        "charged_nanos_before": line.charged_before,
        "amount_nanos": line.amount,
        "paid_nanos": line.paid,
        "settled_by_pass": line.pass_name or None,
        "catalog": line.catalog or None,
        "split": line.rule.split if line.link == "rule" else "",
        "base_nanos_before": line.base_before,
        "shares": [
            {"account": part.account, "fraction": str(part.fraction), "nanos": part.nanos, "rest": part.rest}
            for part in line.parts
        ],
        "nothing": line.nothing,
    }


def _item(item: Piece | Extra, scale: int) -> dict[str, Any]:
    """A row: a quantity in a tier, or an amount that is of none, told by `of`."""
    if isinstance(item, Extra):
        return {"of": item.what, "nanos": str(item.nanos)}
    return {
        "quantity": decimal_text(item.quantity, scale),
        "above": decimal_text(item.lower, scale),
        "to": None if item.upper is None else decimal_text(item.upper, scale),
        "nanos_per_unit": str(item.price * 10**scale),
        "nanos": str(item.nanos),
    }
