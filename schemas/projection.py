"""Records and columns of another version of a record type as those of the current one: Avro's schema resolution."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pyarrow as pa

from nanotally.schemas.shape import REQUIRED, Field, Shape


def project(batch: pa.RecordBatch, written: Shape, wanted: Shape, arrow: pa.Schema) -> pa.RecordBatch:
    """The batch, read by the shape it was written with, in the shape and Arrow schema that are wanted.

    Fields are told by name: new ones get their default, dropped ones are left out. Raises TypeError where a new field
    has no default or a type cannot be widened (the compatibility check refuses such versions).
    """
    columns = _fields(batch.columns, len(batch), written, wanted, list(arrow.types))
    return pa.RecordBatch.from_arrays(columns, schema=arrow)


def _fields(
    columns: list[pa.Array], length: int, written: Shape, wanted: Shape, types: list[pa.DataType]
) -> list[pa.Array]:
    known = {field.name: (field.shape, column) for field, column in zip(written.fields, columns, strict=True)}
    found = []
    for field, arrow_type in zip(wanted.fields, types, strict=True):
        if field.name in known:
            shape, column = known[field.name]
            found.append(_column(column, shape, field.shape, arrow_type))
        elif field.default is REQUIRED:
            raise TypeError(
                f"field {field.name!r} of {wanted.full_name} is not in the older version and has no default"
            )
        else:
            found.append(pa.repeat(pa.scalar(_value(field.default, arrow_type), arrow_type), length))
    return found


def _column(array: pa.Array, written: Shape, wanted: Shape, arrow_type: pa.DataType) -> pa.Array:
    if written == wanted:
        return array
    if written.kind != wanted.kind and not (written.kind == "int" and wanted.kind == "long"):
        raise TypeError(f"{written.kind} cannot be read as {wanted.kind}")
    if array.null_count and not wanted.optional:
        raise TypeError("null cannot be read where the current version has no null")
    match wanted.kind:
        case "record":
            types = [arrow_type.field(i).type for i in range(arrow_type.num_fields)]
            mask = array.is_null() if array.null_count else None
            columns = [array.field(i) for i in range(array.type.num_fields)]
            fields = list(arrow_type)
            return pa.StructArray.from_arrays(
                _fields(columns, len(array), written, wanted, types), fields=fields, mask=mask
            )
        case "array":
            items = _column(array.values, written.of, wanted.of, arrow_type.value_type)
            return pa.ListArray.from_arrays(array.offsets, items, type=arrow_type)
        case "map":
            items = _column(array.items, written.of, wanted.of, arrow_type.item_type)
            return pa.MapArray.from_arrays(array.offsets, array.keys, items, type=arrow_type)
    return array.cast(arrow_type)


def projected(value: Any, written: Shape, wanted: Shape) -> Any:
    """One value, read by the shape it was written with, in the shape that is wanted; `project` for a single record.

    Raises TypeError where a new field has no default (the compatibility check refuses such versions)."""
    if value is None or written == wanted:
        return value
    match wanted.kind:
        case "record":
            known = {field.name: field.shape for field in written.fields}
            return {
                field.name: projected(value[field.name], known[field.name], field.shape)
                if field.name in known
                else _default_of(field, wanted)
                for field in wanted.fields
            }
        case "array":
            return [projected(item, written.of, wanted.of) for item in value]
        case "map":
            return {key: projected(item, written.of, wanted.of) for key, item in value.items()}
    return value


def _default_of(field: Field, record: Shape) -> Any:
    if field.default is REQUIRED:
        raise TypeError(f"field {field.name!r} of {record.full_name} was not written and has no default")
    return field.default.encode("latin-1") if field.shape.kind == "bytes" and field.default else deepcopy(field.default)


def _value(default: Any, arrow_type: pa.DataType) -> Any:
    """A default of a schema as pyarrow takes it; bytes stand in JSON as code points."""
    if pa.types.is_binary(arrow_type) and default is not None:
        return default.encode("latin-1")
    return default
