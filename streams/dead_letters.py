"""Dead letters: what the bytes of a record of `usage` still tell, and what is put in again in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nanotally.schemas import catalog, codec
from nanotally.schemas.catalog import HEADER_BYTES
from nanotally.schemas.datum import read_as_far
from nanotally.streams.domain.admission import REASONS as OF_USES
from nanotally.streams.errors import InvalidInput

UNPRICED = "unpriced"
STILL_UNPRICED = "still_unpriced"
# Why a record of `usage` is rejected.
REASONS = tuple(
    dict.fromkeys(("malformed", "unknown_schema", *filter(None, OF_USES), "bad_control", "bad_book", STILL_UNPRICED))
)
# What may be accepted now although nothing of it changed: the clock went on, its key is new, its schema or price known.
MAY_PASS_NOW = ("future", "wrong_partition", "unknown_schema", STILL_UNPRICED)

Place = tuple[int, int]  # partition and offset in `usage`


def name_of(place: Place) -> str:
    """How people write a place: '2-1047'."""
    return f"{place[0]}-{place[1]}"


# ---- what bytes tell ----


@dataclass(frozen=True)
class Told:
    """What the bytes of a record of `usage` tell.

    what: 'use'; 'redrive', a control that carries an unpriced use once more; 'control', another one; '': neither.
    fields: of the usage event, or of the other control, as far as they can be read; fault: why not more; usage_offset:
    of the unpriced use that is carried; guessed: bytes of no known schema that are no whole usage event either, so that
    what was read may be anything."""

    what: str
    fields: Mapping[str, Any]
    fault: str = ""
    usage_offset: int | None = None
    guessed: bool = False


def told(value: bytes | None) -> Told:
    """Bytes with another or no header are read as a usage event too: often only the header is wrong."""
    if value is None:
        return Told("", {}, "there is no value")
    writer = catalog.writer(value[:HEADER_BYTES])
    if writer is None:
        start = HEADER_BYTES if value[:2] == catalog.MARKER else 0
        fields, fault = read_as_far(catalog.schema("UsageEvent").shape, value, start)
        strange = "its header is that of no known schema"
        said = f"{strange}; {fault}" if fault else f"{strange}; read by the current one"
        return Told("use", fields, said, guessed=bool(fault))
    if writer.name == "UsageEvent":
        return Told("use", *read_as_far(writer.shape, value, HEADER_BYTES))
    if writer.name != "Control":
        return Told("", {}, f"it is a {writer.name}, no use")
    fields, fault = read_as_far(writer.shape, value, HEADER_BYTES)
    offset, use = fields.get("usage_offset"), fields.get("use")
    if fields.get("kind") == "redrive" and offset is not None and use is not None:
        return Told("redrive", use, fault, offset)
    return Told("control", fields, fault)


# ---- what is put in ----


@dataclass(frozen=True)
class Again:
    """A record to be put into `usage`: the place it takes over from, what had become of that, and the new bytes.

    partition: of the new record, None for that of the payer."""

    place: Place
    reason: str
    payer: str
    event_id: str
    value: bytes
    mended: bool
    partition: int | None = None


def as_it_was(place: Place, reason: str, value: bytes | None) -> Again:
    """The same again. Raises InvalidInput where it cannot be accepted, however often it comes."""
    name, found = name_of(place), told(value)
    if found.what == "control":
        raise no_use(name, found)
    if reason not in MAY_PASS_NOW or (found.what, reason) == ("redrive", "wrong_partition"):
        raise InvalidInput(f"{name} would be rejected again ({reason}): mend it (nanotally rejects mend {name})")
    if found.fault or value is None:
        raise InvalidInput(f"{name} cannot be read ({found.fault}): mend it (nanotally rejects mend {name})")
    if found.usage_offset is not None:
        return carried(place, reason, found.usage_offset, found.fields)
    return Again(place, reason, found.fields["payer"], found.fields["event_id"], value, mended=False)


def carried(place: Place, reason: str, usage_offset: int, use: Mapping[str, Any]) -> Again:
    """A control that carries an unpriced use once more, in the partition where it was.

    place: of the use, or of the last control that did so in vain; usage_offset: of the use; use: its usage event."""
    control = {
        "control_id": f"redrive-{place[0]}-{usage_offset}",
        "kind": "redrive",
        "at": None,
        "book_number": None,
        "book_hash": None,
        "note": "",
        "usage_offset": usage_offset,
        "use": use,
    }
    value = codec.encode_one("Control", control)
    return Again(place, reason, use["payer"], use["event_id"], value, mended=False, partition=place[0])


def no_use(name: str, found: Told) -> InvalidInput:
    """What to say of a rejected control that somebody wants to mend or redrive."""
    kind = found.fields.get("kind") or "unreadable"
    return InvalidInput(
        f"{name} is a control ({kind}), no use: none of it is charged, and nothing of it is lost. Give the order anew: "
        f"nanotally tariff publish (activate) or nanotally books close (close)"
    )
