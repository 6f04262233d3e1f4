"""Which rule a use falls under in another version: an example use of each rule, matched by the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.matching import UNPRICED_REASONS, CompiledBook
from nanotally.streams.domain.tariff import EVENT_FIELDS, Rule, RuleBook, Settings, TariffVersion
from nanotally.streams.domain.uses import Uses

HOUR_US = 3_600_000_000
WEEK_HOURS = 168
_MONDAY_US = 1_796_601_600_000_000  # 2026-12-07T00:00:00Z


@dataclass(frozen=True)
class Moved:
    """Uses of a rule that fall under another one in the other version. use: what one of them is like."""

    rule: str
    use: str
    to: str


def moved_uses(before: TariffVersion, after: TariffVersion) -> list[Moved]:
    """For each rule of `before` an example use, where `after` has another rule or none for it."""
    books = [_book(before), _book(after)]
    found: list[Moved] = []
    for rule in before.rules:
        example = _example(before, rule)
        if example is None:
            continue
        uses, words = example
        mine, theirs = (book.match_at(uses, np.arange(len(uses)), uses.occurred_at_us).tolist() for book in books)
        for was, now in zip(mine, theirs, strict=True):
            if was < 0 or books[0].rules[was].rule is not rule:
                continue
            name = books[1].rules[now].rule.name if now >= 0 else ""
            if name != rule.name:
                to = f"rule {name}" if name else f"unpriced ({UNPRICED_REASONS.get(now, 'its meter has changed')})"
                found.append(Moved(rule.name, words, to))
            break
    return list(dict.fromkeys(found))


def _book(version: TariffVersion) -> CompiledBook:
    """A book of the version alone, in force always."""
    return CompiledBook(RuleBook(0, Settings(), (replace(version, effective_from_us=0),)))


def _example(version: TariffVersion, rule: Rule) -> tuple[Uses, str] | None:
    """A use that the rule's conditions ask for, at each hour of a week, and its words; None where it has none that
    can be made up."""
    meter = version.meter_by_name[rule.meter]
    fields: dict[str, str | None] = {"product": version.products[0] if version.products else "any", "item": "x"}
    fields |= {"meter": rule.meter, "payer": "x", "session": "x"}
    attributes: dict[str, str] = {}
    quantity, duration_us = 10**meter.scale, None
    told: list[str] = []
    for c in rule.when:
        match c.kind:
            case "equals":
                value: str | None = c.values[0]
            case "pattern":
                value = c.values[0].replace("*", "x").replace("?", "x")
            case "present":
                value = "x"
            case "range":
                value = c.values[0] or c.values[1] or "0"
            case "absent":
                value = None
            case _:
                continue
        if c.kind == "range" and c.field == "quantity":
            quantity = ceil(Fraction(value or "0") * 10**meter.scale)
        elif c.kind == "range" and c.field == "duration":
            duration_us = ceil(Fraction(value or "0") * 10**6)
        elif c.field in EVENT_FIELDS:
            fields[c.field] = value
        elif value is not None:
            attributes[c.field] = value
        told.append(f"without {c.field}" if value is None else f"{c.field} {value}")
    if fields["product"] is None or fields["item"] is None or fields["payer"] is None:
        return None
    return _uses(fields, attributes, quantity, meter.scale, duration_us), ", ".join([f"meter {rule.meter}", *told])


def _uses(
    fields: dict[str, str | None], attributes: dict[str, str], quantity: int, scale: int, duration_us: int | None
) -> Uses:
    n = WEEK_HOURS
    columns: dict[str, pa.Array] = {
        "event_id": pa.array([str(i) for i in range(n)]),
        "occurred_at": pa.array(_MONDAY_US + np.arange(n) * HOUR_US),
        **{name: pa.array([fields.get(name)] * n, pa.string()) for name in (*EVENT_FIELDS,)},
        "quantity": pa.array([quantity] * n),
        "scale": pa.array([scale] * n, pa.int32()),
        "duration_us": pa.array([duration_us] * n, pa.int64()),
        "attributes": pa.array([list(attributes.items())] * n, pa.map_(pa.string(), pa.string())),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return Uses(batch, np.arange(n), np.full(n, _MONDAY_US), [b""] * n)
