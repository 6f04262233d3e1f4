"""Makes a batch fit a schema before it is encoded. The encoder itself writes 0 and '' for nulls without a word."""

from __future__ import annotations

import pyarrow as pa

from nanotally.schemas.shape import Shape


def fitted(shape: Shape, arrow: pa.Schema, batch: pa.RecordBatch) -> list[pa.Array]:
    """The columns of a record in the order of its fields, in Arrow's types of the schema, found by name.

    Raises ValueError, which names the column: one that is missing, of another type, or with a null where none may be.
    """
    columns = []
    for field, kind in zip(shape.fields, arrow.types, strict=True):
        place = batch.schema.get_field_index(field.name)
        if place < 0:
            raise ValueError(f"column {field.name!r} of {shape.full_name} is missing; there are {batch.schema.names}")
        column = _cast(batch.column(place), kind, field.name)
        _refuse_nulls(field.shape, column, field.name)
        columns.append(column)
    return columns


def _cast(column: pa.Array, kind: pa.DataType, path: str) -> pa.Array:
    if column.type == kind:
        return column
    if pa.types.is_temporal(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        raise ValueError(f"column {path!r} is {column.type}; {kind} is needed (times as whole microseconds)")
    try:
        return column.cast(kind)
    except pa.ArrowException as error:
        raise ValueError(f"column {path!r} is {column.type}; {kind} is needed: {error}") from error


def _refuse_nulls(shape: Shape, array: pa.Array, path: str) -> None:
    if array.null_count:
        if not shape.optional:
            raise ValueError(f"column {path!r} has {array.null_count} nulls; it may have none")
        array = array.drop_null()
    match shape.kind:
        case "record":
            for field, column in zip(shape.fields, array.flatten(), strict=True):
                _refuse_nulls(field.shape, column, f"{path}.{field.name}")
        case "array":
            _refuse_nulls(shape.of, array.flatten(), path)
        case "map":
            _refuse_nulls(shape.of, array.items, path)
