"""The schemas by name, with what the codec needs of each, and of the older versions that still have to be read.

A datum is `header + body`: the Avro specification's single-object header (`c3 01`, then the 8 bytes of the CRC-64-AVRO
fingerprint of the schema's Parsing Canonical Form, little-endian) and the datum itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import fastavro
import pyarrow as pa
from fastavro.schema import fingerprint, to_parsing_canonical_form
from pyruhvro import avro_to_arrow_schema

from nanotally.schemas.shape import Shape, shape_of
from nanotally.schemas.sources import look_up

MARKER: Final = b"\xc3\x01"
HEADER_BYTES: Final = 10
FOLDER: Final = Path(__file__).parent
CURRENT: Final = FOLDER / "avsc"
RECORDED: Final = FOLDER / "recorded"

FROM_OUTSIDE: Final = frozenset({"UsageEvent", "Control"})

# The header read as two fields in front of the record: the marker is the int -98, the fingerprint the bits of a double.
HEADER_FIELDS: Final = [{"name": "header_marker", "type": "int"}, {"name": "header_fingerprint", "type": "double"}]


@dataclass(frozen=True)
class Schema:
    """One version of one record type.

    `text` is the file's content; `parsed` is for fastavro and has no logical types, so that times are whole
    microseconds both ways; `arrow` is what `codec.decode` returns. `columnar_text` (header and record) and `body_text`
    (record alone) are for pyruhvro; `has_bytes` says that it cannot handle the record, because it panics on fields of
    bytes. `from_outside` marks what others than nanotally write.
    """

    name: str
    text: str
    fingerprint: bytes
    header: bytes
    shape: Shape
    parsed: Any
    arrow: pa.Schema
    columnar_text: str
    body_text: str
    has_bytes: bool
    from_outside: bool


# Versions that are not in this release: told by those who write with them (see `learning`), by header.
_learned: Final[dict[bytes, Schema]] = {}
_refused: Final[dict[bytes, str]] = {}


def schema(name: str) -> Schema:
    """The current schema of a record type, e.g. 'UsageEvent'. Raises KeyError for a name that is not in the catalog."""
    return writers(name)[0]


@cache
def names() -> tuple[str, ...]:
    """Names of all record types, sorted."""
    return tuple(sorted(_current()))


@cache
def writers(name: str) -> tuple[Schema, ...]:
    """Every version of a record type that can be read: the current one first, then the recorded ones, latest first,
    then the learned ones.

    Raises KeyError for a name that is not in the catalog.
    """
    if name not in _current():
        raise KeyError(f"no record type {name!r}; there are {', '.join(names())}")
    found = [load(_current()[name].read_text())]
    others = [load(path.read_text()) for _, path in sorted(recorded(name).items(), reverse=True)]
    for other in (*others, *(other for other in tuple(_learned.values()) if other.name == name)):
        if all(other.fingerprint != known.fingerprint for known in found):
            found.append(other)
    return tuple(found)


@cache
def first(name: str) -> Schema:
    """The first recorded version of a record type: the current one where none is recorded. Raises KeyError."""
    paths = recorded(name)
    return load(paths[min(paths)].read_text()) if paths else schema(name)


def recorded(name: str, folder: Path = RECORDED) -> dict[int, Path]:
    """Schema files of the recorded versions of a record type, by version."""
    return {int(path.stem): path for path in (folder / name).glob("*.avsc")}


def name_of(header: bytes) -> str | None:
    """Record type of a datum by its first 10 bytes, of any version; None where there is no header or an unknown one."""
    known = writer(header)
    return None if known is None else known.name


def writer(header: bytes) -> Schema | None:
    """The schema, of any version, that a datum was written with, by its first 10 bytes; None as in `name_of`.

    Looks up what is not known yet. Raises what a source raises where it cannot be asked."""
    found = known(header)
    if found is None and is_strange(header) and look_up():
        found = known(header)
    return found


def known(header: bytes) -> Schema | None:
    """As `writer`, of what is known already."""
    return _by_header().get(header[:HEADER_BYTES])


def is_strange(header: bytes) -> bool:
    """Whether these first bytes of a datum are a header, but of no schema that is known."""
    return len(header) >= HEADER_BYTES and header[:2] == MARKER and known(header) is None


def accept(found: Schema) -> None:
    """Makes a version known that is not of this release; for `learning`, which has tried it. What is known stays."""
    if known(found.header) is None:
        _learned[found.header] = found
        _refused.pop(found.header, None)
        writers.cache_clear()
        _by_header.cache_clear()


def refuse(header: bytes, why: str) -> None:
    """Keeps why the schema of this header cannot be used."""
    _refused[header] = why


def refusal(header: bytes) -> str:
    """Why the schema of this header cannot be used although it was found; '' where it was not found."""
    return _refused.get(header[:HEADER_BYTES], "")


def load(text: str) -> Schema:
    """The schema of an .avsc file's text. Raises TypeError for a type that the codec does not handle."""
    document = json.loads(text)
    shape = shape_of(document)
    canonical = to_parsing_canonical_form(document)
    digest = bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))
    body = json.loads(canonical)
    has_bytes = any(part.kind == "bytes" for part in shape.walk())
    return Schema(
        name=document["name"],
        text=text,
        fingerprint=digest,
        header=MARKER + digest,
        shape=shape,
        parsed=fastavro.parse_schema(without_logical_types(document)),
        arrow=avro_to_arrow_schema(canonical),
        columnar_text=json.dumps({**body, "fields": HEADER_FIELDS + body["fields"]}),
        body_text=canonical,
        has_bytes=has_bytes,
        from_outside=document["name"] in FROM_OUTSIDE,
    )


@cache
def _current() -> dict[str, Path]:
    return {json.loads(path.read_text())["name"]: path for path in CURRENT.glob("*.avsc")}


@cache
def _by_header() -> Mapping[bytes, Schema]:
    return {version.header: version for name in names() for version in writers(name)}


def without_logical_types(avro: Any) -> Any:
    """A schema's JSON for libraries that would turn times into datetimes, which end with the year 9999."""
    if isinstance(avro, list):
        return [without_logical_types(part) for part in avro]
    if isinstance(avro, dict):
        return {key: without_logical_types(value) for key, value in avro.items() if key != "logicalType"}
    return avro
