"""Controls among the records of `usage`: activation of a rule book, tick, close of the books."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanotally.schemas import codec
from nanotally.streams.domain.records import RawChunk
from nanotally.streams.domain.tariff import RuleBook, Settings
from nanotally.streams.domain.validation import OCCURRED_AT_MAX_US

KINDS = ("activate", "tick", "close", "redrive")


@dataclass(frozen=True)
class Taken:
    """A control that is none of use. record: the ControlTaken to write, None where it changes nothing (a smaller
    book, an earlier close); watermark_us: what it raises the watermark to; book: what it puts in force."""

    record: dict[str, Any] | None
    watermark_us: int
    book: RuleBook | None = None


@dataclass(frozen=True)
class Redrive:
    """A control that carries an unpriced use once more. usage_offset: where it stood; use: its UsageEvent."""

    usage_offset: int
    use: Mapping[str, Any]


@dataclass(frozen=True)
class Refused:
    """A control that cannot be used."""

    reason: str
    detail: str


def book_numbers(values: Sequence[bytes | None]) -> list[int]:
    """Numbers of the books that activations among the values name, in `usage` or in the ledger."""
    numbers: list[int] = []
    by_name = codec.split_by_schema(values)
    for name in ("Control", "ControlTaken"):
        for place in by_name.get(name, ()):
            try:
                _, record = codec.decode_one(values[place])
            except codec.InvalidDatum:
                continue  # decide refuses it and keeps its bytes
            if record["kind"] == "activate" and record["book_number"] is not None:
                numbers.append(record["book_number"])
    return numbers


def decide(
    chunk: RawChunk,
    place: int,
    watermark_us: int,
    book_number: int,
    settings: Settings,
    books: Mapping[int, RuleBook],
) -> Taken | Redrive | Refused:
    """What the control at a place of the chunk does. Controls are idempotent by nature: a book that is not newer, a
    time that is not later and a use that was redriven before change nothing."""
    try:
        _, control = codec.decode_one(chunk.values[place])
    except codec.InvalidDatum as error:
        return Refused("malformed", str(error))
    recorded_at = int(chunk.recorded_at_us[place])
    kind, at, number = control["kind"], control["at"], control["book_number"]
    if kind == "redrive":
        return _redrive(control, int(chunk.offsets[place]))
    record = {
        "usage_partition": chunk.partition,
        "usage_offset": int(chunk.offsets[place]),
        "recorded_at": recorded_at,
        "control_id": control["control_id"],
        "kind": kind,
        "at": at,
        "book_number": None,
        "book_hash": None,
    }
    if kind == "activate":
        if number is None or number < 0 or not control["book_hash"]:
            return Refused("bad_control", "an activation needs book_number (from 0) and book_hash")
        book = books.get(number)
        if book is None or book.book_hash != control["book_hash"]:
            return Refused("bad_book", f"topic books has no book {number} with hash {control['book_hash'][:16]}...")
        if number <= book_number:
            return Taken(None, watermark_us)
        record |= {"book_number": number, "book_hash": book.book_hash}
        return Taken(record, watermark_us, book)
    if kind == "close" and (at is None or not 0 <= at < OCCURRED_AT_MAX_US):
        return Refused("bad_control", "a close needs `at`, microseconds UTC, from 1970 to 2199")
    if kind not in KINDS:
        return Refused("bad_control", f"no such kind of control: {kind!r}; there are {', '.join(KINDS)}")
    raised = at if kind == "close" else recorded_at - settings.lateness_us
    if raised <= watermark_us:
        return Taken(None, watermark_us)
    return Taken(record | {"at": raised}, raised)


def redrive_at(chunk: RawChunk, place: int) -> Redrive | None:
    """The redrive at a place of the chunk; None where something else is there, or one that cannot be used."""
    try:
        name, control = codec.decode_one(chunk.values[place])
    except codec.InvalidDatum:
        return None
    found = (
        _redrive(control, int(chunk.offsets[place])) if (name, control.get("kind")) == ("Control", "redrive") else None
    )
    return found if isinstance(found, Redrive) else None


def _redrive(control: Mapping[str, Any], own_offset: int) -> Redrive | Refused:
    usage_offset, use = control["usage_offset"], control["use"]
    if usage_offset is None or use is None:
        return Refused("bad_control", "a redrive needs usage_offset and use")
    if not 0 <= usage_offset < own_offset:
        return Refused(
            "bad_control", f"a redrive at offset {own_offset} cannot be of the use at {usage_offset}: it comes after it"
        )
    return Redrive(usage_offset, use)
