"""Schemas of other versions, told by those who write with them: tried before anything is read with them.

A version that is taken has to be readable both ways by the rules of `compatibility`, and the codec has to read samples
of it as Avro says. Who tells may be wrong or hostile: whatever is told is taken or refused with a reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from fastavro.schema import SchemaParseException

from nanotally.schemas import catalog
from nanotally.schemas.catalog import HEADER_BYTES, HEADER_FIELDS, MARKER, Schema
from nanotally.schemas.columns import is_panic, write_datum
from nanotally.schemas.compatibility import breaks, unread
from nanotally.schemas.samples import samples
from nanotally.schemas.shape import Shape, shape_of

TEXT_BYTES_MAX: Final = 256 << 10
DEPTH_MAX: Final = 24  # of the JSON: libraries in other languages descend without looking at their stack
PARTS_MAX: Final = 4096  # types in it, each time it is named
FINGERPRINT_BYTES: Final = HEADER_BYTES - len(MARKER)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OUR_OWN = frozenset(part["name"] for part in HEADER_FIELDS)
_NO_SCHEMA = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, SchemaParseException)


class RefusedSchema(ValueError):
    """A schema that nothing is read with; the message says why, for people."""


def told(text: str) -> str:
    """A schema as it is told to others: its JSON without what is for people only."""
    return json.dumps(_without_docs(json.loads(text)), separators=(",", ":"), sort_keys=True)


def learn(text: str | bytes, fingerprint: bytes | None = None) -> Schema:
    """Makes the schema known, if it is not yet, and gives it. fingerprint: what it is told to have, 8 bytes.

    Raises RefusedSchema where it cannot be used; records that were written with it are then told why."""
    try:
        return _learn(text, fingerprint)
    except RefusedSchema as error:
        if fingerprint is not None and len(fingerprint) == FINGERPRINT_BYTES:
            catalog.refuse(MARKER + fingerprint, str(error))
        raise


def _learn(text: str | bytes, fingerprint: bytes | None) -> Schema:
    shape = _shape(text)
    try:
        found = catalog.load(text if isinstance(text, str) else text.decode())
    except _NO_SCHEMA as error:
        raise RefusedSchema(f"it is no Avro schema: {_said(error)}") from error
    except BaseException as error:
        raise _panic(error) from error
    if fingerprint is not None and found.fingerprint != fingerprint:
        raise RefusedSchema(f"its fingerprint is {found.fingerprint.hex()}, not {fingerprint.hex()} as it was told")
    known = catalog.known(found.header)
    if known is not None and known.name == found.name:
        return known
    if found.name not in catalog.names():
        raise RefusedSchema(f"this release has no record type {found.name!r}; it is told by a newer one, or by another")
    current = catalog.schema(found.name)
    faults = [f"{field or shape.full_name}: {what}" for field, what in _faults(found, current)]
    if faults:
        raise RefusedSchema(f"it is no version of {found.name}: {'; '.join(faults[:3])}")
    catalog.accept(found)
    return found


def _shape(text: str | bytes) -> Shape:
    """The shape, within limits, before any library sees the schema."""
    size = len(text.encode() if isinstance(text, str) else text)
    if size > TEXT_BYTES_MAX:
        raise RefusedSchema(f"it takes {size:,} bytes, at most {TEXT_BYTES_MAX:,}")
    try:
        document = json.loads(text)
        if _deeper(document, DEPTH_MAX):
            raise RefusedSchema(f"its JSON is nested more than {DEPTH_MAX} deep")
        shape = shape_of(document)
    except RefusedSchema:
        raise
    except _NO_SCHEMA as error:
        raise RefusedSchema(f"it is no schema that the codec handles: {_said(error)}") from error
    if shape.kind != "record" or shape.optional:
        raise RefusedSchema("it is no record")
    parts = list(islice(shape.walk(), PARTS_MAX + 1))
    if len(parts) > PARTS_MAX:
        raise RefusedSchema(f"it has more than {PARTS_MAX:,} types")
    for part in parts:
        names = [field.name for field in part.fields]
        for name in names:
            if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _OUR_OWN or names.count(name) > 1:
                raise RefusedSchema(f"a field of {part.full_name} is named {str(name)[:100]!r}, which no field may be")
        if part.kind == "record" and not part.fields:
            raise RefusedSchema(f"{part.full_name} has no fields")
    return shape


def _faults(found: Schema, current: Schema) -> Iterator[tuple[str, str]]:
    """Why records of `found` cannot be read, or not as they were meant: field and what."""
    by_rule = breaks(found, current, 0)
    if by_rule:
        yield from ((fault.field, fault.what) for fault in by_rule)
        return
    try:
        datums = [write_datum(found, sample) for sample in samples(found.shape)]
        yield from ((fault.field, fault.what) for fault in unread(current, found, 0, datums))
    except _NO_SCHEMA as error:
        yield "", f"samples of it cannot be read: {_said(error)}"
    except BaseException as error:  # noqa: BLE001  a panic is none of Exception; anything else goes on
        yield "", str(_panic(error))


def _panic(error: BaseException) -> RefusedSchema:
    """What to say of a panic in the columnar codec; any other error goes on."""
    if not is_panic(error):
        raise error
    return RefusedSchema(f"the columnar codec cannot handle it: {_said(error)}")


def _said(error: BaseException) -> str:
    return f"{type(error).__name__} {error}"[:300]


def _deeper(document: Any, depth: int) -> bool:
    if depth < 0:
        return True
    parts = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return any(_deeper(part, depth - 1) for part in parts)


def _without_docs(document: Any) -> Any:
    if isinstance(document, list):
        return [_without_docs(part) for part in document]
    if isinstance(document, dict):
        keep = {key: value for key, value in document.items() if key != "doc"}
        return {key: value if key == "default" else _without_docs(value) for key, value in keep.items()}
    return document
