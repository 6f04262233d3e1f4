"""A corrected use in place of one that could not be used: what a person wrote over what the old bytes tell."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from nanotally.streams.commands.rejects_reading import Source, use_of
from nanotally.streams.dead_letters import UNPRICED, Again, no_use
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.domain.validation import OCCURRED_AT_MAX_US, OCCURRED_AT_MIN_US
from nanotally.streams.errors import InvalidInput
from nanotally.streams.publisher_files import open_usage, read_usage
from nanotally.streams.publisher_uses import EPOCH, InvalidUse, KnownMeters, datum, usage_record


def mended(found: Source, file: str, book: RuleBook) -> Again:
    """The corrected use of the file: one JSON object; '-' is standard input. Raises InvalidInput that names record,
    file and field."""
    if found.told.what == "control":
        raise no_use(found.name, found.told)
    wanted = {**_kept(found), **_written(file)}
    for needed in ("occurred_at", "quantity"):  # a product may leave them out: now, and 1
        if wanted.get(needed) is None:
            raise InvalidInput(f"{found.name}: {file}: {needed} is missing, and the old bytes do not tell it: give it")
    # The ids of these stay used.
    stays_used = found.reason in ("conflict", UNPRICED) or found.told.what == "redrive"
    old_id = str((not found.told.guessed and found.told.fields.get("event_id")) or "redriven")
    if not wanted.get("event_id") or (stays_used and wanted["event_id"] == old_id):
        wanted["event_id"] = f"{old_id}~{found.name}"
    try:
        record = usage_record(wanted, KnownMeters(book), None, None, datetime.now(UTC))
    except (InvalidUse, TypeError) as e:
        field = getattr(e, "field", "")
        named = f"{field}: {e}" if field not in str(e) else str(e)
        raise InvalidInput(f"{found.name}: {file}: {named}") from e
    return Again(found.place, found.reason, record["payer"], record["event_id"], datum(record), mended=True)


def _written(file: str) -> dict[str, Any]:
    with open_usage(file, sys.stdin.buffer) as text:
        lines = list(read_usage(file, [b" ".join(line.strip() for line in text)], form="jsonl"))
    if not lines:
        raise InvalidInput(f"{file} is empty; write one JSON object")
    if lines[0].error:
        raise InvalidInput(f"{file}: {lines[0].error}")
    return lines[0].use


def _kept(found: Source) -> dict[str, Any]:
    """What the old bytes tell, as the Publisher takes it: the quantity as a decimal, no scale; what cannot be right is
    left out."""
    fields = {} if found.told.guessed else found.told.fields
    kept = use_of(fields)
    if kept.pop("occurred_at", None) and OCCURRED_AT_MIN_US <= fields["occurred_at"] < OCCURRED_AT_MAX_US:
        kept["occurred_at"] = EPOCH + timedelta(microseconds=fields["occurred_at"])
    return kept
