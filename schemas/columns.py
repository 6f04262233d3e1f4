"""Reads a chunk of datums into columns: fast for the chunk, strict for each datum.

A chunk is read as a whole and its validity is proved for the whole: headers as columns, UTF-8, and the sum of the
lengths (see `lengths`). Where the proof fails, the chunk is halved until the odd datums stand alone; those are read
slowly (see `datum`), which settles whether they are valid and says why not. So whether a datum is accepted never
depends on the chunk it came in, and k odd ones among n cost k log n readings.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import fastavro
import numpy as np
import pyarrow as pa
from pyruhvro import deserialize_array

from nanotally.schemas.catalog import HEADER_BYTES, Schema
from nanotally.schemas.datum import InvalidDatum, read_datum
from nanotally.schemas.lengths import Suspect, shortest_length
from nanotally.schemas.shape import Shape

MARKER_AS_INT: Final = -98
FEW: Final = 8  # so few are looked at one by one rather than halved

# Quicker to ask for than pa.types, for as many columns as a record has.
_STRING, _STRUCT, _MAP, _LIST = (
    kind.id for kind in (pa.string(), pa.struct([]), pa.map_(pa.string(), pa.null()), pa.list_(pa.null()))
)

Piece = tuple[pa.RecordBatch, Sequence[int]]


def read_whole(writer: Schema, values: Sequence[bytes | None]) -> pa.RecordBatch | None:
    """Columns of datums that all have the header of `writer` and are all beyond doubt; else None."""
    if writer.has_bytes:
        return None
    try:
        batch = _read(writer, values)  # so none of them is None
        columns = batch.columns
        sound = _headers_match(writer, columns) and _lengths_match(writer, columns[2:], cast("Sequence[bytes]", values))
        if sound:
            _validate(batch, columns)
    except (ValueError, TypeError, Suspect):  # pyruhvro's and pyarrow's refusals; TypeError: a value is None
        return None
    except BaseException as error:
        if not is_panic(error):
            raise
        return None
    return pa.RecordBatch.from_arrays(columns[2:], schema=writer.arrow) if sound else None


def read_each(
    writer: Schema, values: Sequence[bytes | None], positions: Sequence[int], bad: dict[int, str]
) -> Iterator[Piece]:
    """Columns of the valid ones among the values at `positions`, in pieces with their positions.

    All have the header of `writer`. Enters the others in `bad`: position and what is wrong.
    """
    odd: list[tuple[int, dict[str, Any]]] = []
    stack = [positions] if positions else []
    while stack:
        some = stack.pop()
        batch = read_whole(writer, [values[position] for position in some])
        if batch is not None:
            yield batch, some
        elif len(some) == 1:
            try:
                odd.append((some[0], read_datum(writer.shape, cast("bytes", values[some[0]]), HEADER_BYTES)))
            except InvalidDatum as error:
                bad[some[0]] = str(error)
        else:
            step = 1 if len(some) <= FEW or writer.has_bytes else (len(some) + 1) // 2
            stack.extend(some[first : first + step] for first in range(0, len(some), step))
    if odd:
        yield _columns_of(writer, [record for _, record in odd]), [position for position, _ in odd]


def write_datum(writer: Schema, record: Any, *, strict: bool = False) -> bytes:
    """One datum with its header, by fastavro, whose errors pass."""
    out = io.BytesIO()
    out.write(writer.header)
    fastavro.schemaless_writer(out, writer.parsed, record, strict_allow_default=strict)
    return out.getvalue()


def records_of(batch: pa.RecordBatch, shape: Shape) -> list[dict[str, Any]]:
    """The rows as records, with maps as dicts, where Arrow gives lists of pairs."""
    return [_record_of(row, shape) for row in batch.to_pylist()]


def _record_of(value: Any, shape: Shape) -> Any:
    if value is None:
        return None
    match shape.kind:
        case "record":
            return {field.name: _record_of(value[field.name], field.shape) for field in shape.fields}
        case "array":
            return [_record_of(item, shape.of) for item in value]
        case "map":
            return {key: _record_of(item, shape.of) for key, item in value}
    return value


def is_panic(error: BaseException) -> bool:
    """Whether this is a panic of Rust code, which pyruhvro raises as a BaseException of a type it does not export."""
    return type(error).__name__ == "PanicException" and type(error).__module__ == "pyo3_runtime"


def _read(writer: Schema, values: Sequence[bytes | None]) -> pa.RecordBatch:
    return deserialize_array(values if isinstance(values, list) else list(values), writer.columnar_text)


def _columns_of(writer: Schema, records: list[dict[str, Any]]) -> pa.RecordBatch:
    if writer.has_bytes:
        return pa.RecordBatch.from_pylist(records, schema=writer.arrow)
    batch = _read(writer, [write_datum(writer, record) for record in records])
    return pa.RecordBatch.from_arrays(batch.columns[2:], schema=writer.arrow)


def _headers_match(writer: Schema, columns: Sequence[pa.Array]) -> bool:
    marker = np.frombuffer(columns[0].buffers()[1], dtype=np.int32, count=len(columns[0]))
    fingerprint = np.frombuffer(columns[1].buffers()[1], dtype="<i8", count=len(columns[0]))
    return bool(
        (marker == MARKER_AS_INT).all()
        and (fingerprint == int.from_bytes(writer.fingerprint, "little", signed=True)).all()
    )


def _validate(batch: pa.RecordBatch, columns: Sequence[pa.Array]) -> None:
    """Raises pa.ArrowInvalid above all where a string is not UTF-8, which plain ASCII is at a glance."""
    batch.validate()
    for column in columns:
        if not _is_ascii(column):
            column.validate(full=True)


def _is_ascii(array: pa.Array) -> bool:
    """Whether all strings in the array, at any depth, are of ASCII characters."""
    kind = array.type
    if kind.id == _STRING:
        data = array.buffers()[2]
        return data is None or not data.size or int(np.frombuffer(data, dtype=np.int8).min()) >= 0
    if kind.id == _STRUCT:
        return all(_is_ascii(array.field(i)) for i in range(kind.num_fields))
    if kind.id == _MAP:
        return _is_ascii(array.keys) and _is_ascii(array.items)
    if kind.id == _LIST:
        return _is_ascii(array.values)
    return True


def _lengths_match(writer: Schema, columns: Sequence[pa.Array], values: Sequence[bytes]) -> bool:
    """columns: those of the datum's fields, without its header's."""
    wide = not writer.from_outside
    size = len(values) * HEADER_BYTES
    for field, column in zip(writer.shape.fields, columns, strict=True):
        size += shortest_length(field.shape, column, wide)
    return size == sum(map(len, values))
