"""Between lists of datums and Arrow columns, and between one datum and one record.

Times are int64 microseconds since 1970-01-01 UTC throughout; Arrow's types are those of `catalog.schema(name).arrow`.
"""

from __future__ import annotations

import difflib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from fastavro.validation import ValidationError, validate
from pyruhvro import serialize_record_batch

from nanotally.schemas import catalog
from nanotally.schemas.catalog import HEADER_BYTES, HEADER_FIELDS, MARKER, Schema
from nanotally.schemas.charges import encode_flat, encode_rest
from nanotally.schemas.columns import MARKER_AS_INT, read_each, read_whole, records_of, write_datum
from nanotally.schemas.datum import InvalidDatum, read_datum
from nanotally.schemas.fitting import fitted
from nanotally.schemas.projection import project, projected
from nanotally.schemas.shape import Shape
from nanotally.schemas.sources import look_up

__all__ = [
    "BadDatum",
    "Decoded",
    "InvalidDatum",
    "decode",
    "decode_one",
    "encode",
    "encode_flat",
    "encode_one",
    "encode_rest",
    "event_datums",
    "lasting_content",
    "split_by_schema",
]

Positions = npt.NDArray[np.int64]
Value = bytes | None  # None: a Kafka record without a value


@dataclass(frozen=True)
class BadDatum:
    """A value that cannot be used: its position in the input, why, and what is wrong with it, for people."""

    index: int
    reason: Literal["malformed", "unknown_schema"]
    detail: str


@dataclass(frozen=True)
class Decoded:
    """`index[i]` is the position in the input of row i of `batch`, rising; `bad` are the other values, by position.

    `older` are the rows of the batch that were written with another version of the schema, rising; `whole` says that
    the chunk was read as one: there are neither older nor bad ones, nor any in another than the canonical encoding.
    """

    batch: pa.RecordBatch
    index: Positions
    bad: tuple[BadDatum, ...] = ()
    older: Positions = field(default_factory=lambda: np.empty(0, np.int64))
    whole: bool = False


def split_by_schema(values: Sequence[Value]) -> dict[str | None, Positions]:
    """Positions by record type, each rising; under None the values without a header or with an unknown one.

    Unknown headers are looked up once for all values (see `sources.look_up_in`, which says what is raised)."""
    if not values:
        return {}
    try:
        # What begins alike sorts together: every value lies between the least and the greatest.
        header = min(values)[:HEADER_BYTES]  # type: ignore[type-var, index]
        if header == max(values)[:HEADER_BYTES]:  # type: ignore[type-var, index]
            return {catalog.name_of(header): np.arange(len(values), dtype=np.int64)}
    except TypeError:  # a value is None
        pass
    found = _split(values)
    if None in found and any(_is_strange(values[position]) for position in found[None]) and look_up():
        found = _split(values)
    return {name: np.array(positions, dtype=np.int64) for name, positions in found.items()}


def _split(values: Sequence[Value]) -> dict[str | None, list[int]]:
    found: dict[str | None, list[int]] = {}
    for position, value in enumerate(values):
        writer = None if value is None else catalog.known(value)
        found.setdefault(None if writer is None else writer.name, []).append(position)
    return found


def _is_strange(value: Value) -> bool:
    return value is not None and catalog.is_strange(value)


def decode(name: str, values: Sequence[Value]) -> Decoded:
    """Columns of datums of one record type, and which of them are bad and why.

    Other versions, recorded or learned, are projected to the current one. A value is bad without a header
    ('malformed'), with one that is not of the record type ('unknown_schema'), and where its bytes are not exactly one
    datum ('malformed'): cut off, bytes left over, invalid UTF-8, integers beyond their type. Raises KeyError for an
    unknown name.
    """
    writers = catalog.writers(name)
    batch = read_whole(writers[0], values)
    if batch is not None:
        return Decoded(batch, np.arange(len(values), dtype=np.int64), whole=True)
    if any(map(_is_strange, values)) and look_up():
        writers = catalog.writers(name)
    return _decode_each(writers, values)


def _decode_each(writers: tuple[Schema, ...], values: Sequence[Value]) -> Decoded:
    current = writers[0]
    by_header: dict[bytes, list[int]] = {writer.header: [] for writer in writers}
    bad: list[BadDatum] = []
    for position, value in enumerate(values):
        if value is not None and value[:HEADER_BYTES] in by_header:
            by_header[value[:HEADER_BYTES]].append(position)
        else:
            bad.append(BadDatum(position, *_header_fault(current.name, value)))
    batches = [pa.RecordBatch.from_pylist([], schema=current.arrow)]  # so that there is one in any case
    index: list[int] = []
    older: list[int] = []
    for writer in writers:
        faults: dict[int, str] = {}
        for batch, positions in read_each(writer, values, by_header[writer.header], faults):
            if writer is not current:
                batch = project(batch, writer.shape, current.shape, current.arrow)
                older.extend(positions)
            batches.append(batch)
            index.extend(positions)
        bad.extend(BadDatum(position, "malformed", detail) for position, detail in faults.items())
    rows = np.array(index, dtype=np.int64)
    order = np.argsort(rows)
    batch = pa.concat_batches(batches).take(pa.array(order))
    found = rows[order]
    return Decoded(
        batch,
        found,
        tuple(sorted(bad, key=lambda datum: datum.index)),
        np.flatnonzero(np.isin(found, np.array(older, dtype=np.int64))),
    )


def _header_fault(name: str, value: Value) -> tuple[Literal["malformed", "unknown_schema"], str]:
    if not value:
        return "malformed", "there is no value" if value is None else "the value is empty"
    if value[:2] != MARKER:
        return "malformed", f"it begins with {value[:2].hex(' ')}, not with c3 01 of Avro's single-object header"
    if len(value) < HEADER_BYTES:
        return "malformed", f"it ends within the header: {len(value)} of {HEADER_BYTES} bytes"
    fingerprint, other = value[2:HEADER_BYTES].hex(), catalog.known(value)
    if other is not None:
        return "unknown_schema", f"fingerprint {fingerprint} is of {other.name}, not of {name}"
    why = catalog.refusal(value)
    if why:
        return "unknown_schema", f"the schema of fingerprint {fingerprint} is refused: {why}"
    return (
        "unknown_schema",
        f"fingerprint {fingerprint} is of no version of {name}; publish with the schema of this release",
    )


def event_datums(values: Sequence[bytes], decoded: Decoded) -> list[bytes]:
    """For each row of `decoded = decode('UsageEvent', values)` its datum, with header, by the current schema.

    They are as they were published, but for events of another version and those that are not in the one canonical
    encoding (maps in several blocks, overlong integers): these are encoded anew, so that the same event has the same
    bytes whatever library wrote it.
    """
    if decoded.whole:  # the proof of the lengths is one of canonical encoding
        return list(values)
    return encode("UsageEvent", decoded.batch)


def lasting_content(batch: pa.RecordBatch, datums: Sequence[bytes]) -> tuple[Sequence[bytes], dict[int, bytes]]:
    """What usage events say, in bytes that later versions of the schema give too: datums of the first version, and by
    row what stands in fields that came later, where it is not their default.

    batch: columns of the current version; datums: as `event_datums` gives them."""
    current, first = catalog.schema("UsageEvent"), catalog.first("UsageEvent")
    if current.fingerprint == first.fingerprint:
        return datums, {}
    known = {part.name for part in first.shape.fields}
    later: dict[int, dict[str, Any]] = {}
    for part in current.shape.fields:
        column = batch.column(part.name)
        if part.name not in known and not (part.default is None and column.null_count == len(batch)):
            rows = records_of(pa.RecordBatch.from_arrays([column], [part.name]), Shape("record", fields=(part,)))
            for row, record in enumerate(rows):
                if record[part.name] != part.default:
                    later.setdefault(row, {})[part.name] = record[part.name]
    texts = {row: json.dumps(fields, sort_keys=True, default=bytes.hex).encode() for row, fields in later.items()}
    return _encoded(first, project(batch, current.shape, first.shape, first.arrow)), texts


def encode(name: str, batch: pa.RecordBatch) -> list[bytes]:
    """Datums of the rows. Columns are found by the record's field names; further columns are ignored.

    Dictionary, large and view strings and other integers are cast. Raises ValueError, which names the column, where one
    is missing, has another type (times are int64), or has a null that the schema does not allow; KeyError for an
    unknown name.
    """
    return _encoded(catalog.schema(name), batch)


def _encoded(known: Schema, batch: pa.RecordBatch) -> list[bytes]:
    columns = fitted(known.shape, known.arrow, batch)
    if known.has_bytes:
        rows = records_of(pa.RecordBatch.from_arrays(columns, schema=known.arrow), known.shape)
        return [write_datum(known, row) for row in rows]
    header = [
        pa.array(np.full(len(batch), MARKER_AS_INT, dtype=np.int32)),
        pa.array(np.full(len(batch), int.from_bytes(known.fingerprint, "little"), dtype=np.uint64).view(np.float64)),
    ]
    names = [part["name"] for part in HEADER_FIELDS] + known.arrow.names
    return _serialized(header + columns, names, known.columnar_text)


def _serialized(columns: list[pa.Array], names: list[str], text: str) -> list[bytes]:
    if not columns or not len(columns[0]):
        return []
    datums: list[bytes] = serialize_record_batch(pa.RecordBatch.from_arrays(columns, names=names), text, 1)[
        0
    ].to_pylist()
    return datums


def encode_one(name: str, record: Mapping[str, Any]) -> bytes:
    """One datum; fields with a default may be left out.

    Raises InvalidDatum, which names the field, for what does not fit the schema; KeyError for an unknown name.
    """
    known = catalog.schema(name)
    fields = [part.name for part in known.shape.fields]
    for key in record:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its fields are {', '.join(fields)}"
            raise InvalidDatum(f"{name} has no field {key!r}; {hint}")
    try:
        validate(record, known.parsed, raise_errors=True)
        return write_datum(known, record, strict=True)
    except (ValidationError, ValueError, TypeError, KeyError, OverflowError, struct.error) as error:
        raise InvalidDatum(f"{name}: {error}") from error


def decode_one(value: Value) -> tuple[str, dict[str, Any]]:
    """Record type and record of one datum, with the fields of the current version. Raises InvalidDatum.

    An unknown header is looked up, as in `split_by_schema`."""
    header = b"" if value is None else value[:HEADER_BYTES]
    writer = catalog.writer(header)
    if value is None or writer is None:
        raise InvalidDatum(_header_fault("any record", value)[1])
    record, wanted = read_datum(writer.shape, value, HEADER_BYTES), catalog.schema(writer.name)
    return writer.name, record if writer is wanted else projected(record, writer.shape, wanted.shape)
