"""How many bytes a column takes in Avro's shortest encoding, from Arrow's buffers, without encoding it.

A datum cannot be shorter than the shortest encoding of what was read from it. So where the sum over a chunk of datums
equals their length, none of them has bytes left over, and none is encoded in a roundabout way.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nanotally.schemas.shape import Shape

# pyruhvro keeps the low 32 bits of an int and the low 64 of a long and drops the rest without a word. For values in
# the longest class of varint the length does not show the loss.
SUSPECT_INT: Final = 1 << 27
SUSPECT_LONG: Final = 1 << 62


class Suspect(Exception):
    """The length does not tell whether the column is what was written: each datum has to be read with care."""


def shortest_length(shape: Shape, array: pa.Array, wide: bool = True) -> int:
    """Bytes of the shortest encoding of all values of the array together.

    `array` must have no nulls but where the shape is optional. `wide` says that longs may well use all their 64 bits.
    Raises Suspect where an int is 2^27 or more in size, or a long 2^62 or more and not `wide`.
    """
    branches = 0
    if shape.optional:
        branches = len(array)  # one byte each for the branch of the union
        if array.null_count:
            array = array.drop_null()
    if not len(array):
        return branches
    match shape.kind:
        case "int":
            return branches + _varints(_integers(array, np.int32), SUSPECT_INT)
        case "long":
            return branches + _varints(_integers(array, np.int64), None if wide else SUSPECT_LONG)
        case "string" | "bytes":
            offsets = _offsets(array)
            return branches + int(offsets[-1] - offsets[0]) + _varints(offsets[1:] - offsets[:-1])
        case "record":
            columns = array.flatten() if array.offset else map(array.field, range(array.type.num_fields))
            parts = zip(shape.fields, columns, strict=True)
            return branches + sum(shortest_length(field.shape, column, wide) for field, column in parts)
        case "array" | "map":
            return branches + _blocks(shape, array, wide)
        case "boolean":
            return branches + len(array)
        case "double" | "float":
            return branches + len(array) * (8 if shape.kind == "double" else 4)
    raise TypeError(f"no length known for {shape.kind}")


def _blocks(shape: Shape, array: pa.Array, wide: bool) -> int:
    """An array or map that is not empty is one block: a count, its items; and all end with a zero byte."""
    offsets = _offsets(array)
    counts = offsets[1:] - offsets[:-1]
    size = len(array) + _varints(counts) - int(np.count_nonzero(counts == 0))
    first, length = int(offsets[0]), int(offsets[-1] - offsets[0])
    if shape.kind == "map":
        size += shortest_length(Shape("string"), array.keys.slice(first, length))
        return size + shortest_length(shape.of, array.items.slice(first, length), wide)
    return size + shortest_length(shape.of, array.values.slice(first, length), wide)


def _varints(values: npt.NDArray[Any], suspect_from: int | None = None) -> int:
    """Bytes of signed integers as zigzag varints: k bytes hold -64 * 128^(k-1) up to one less than its opposite."""
    least = int(values.min())
    if least < 0:
        values = values ^ (values >> (values.itemsize * 8 - 1))  # -1 - v for v below zero: takes as many bytes
        least = int(values.min())
    greatest = int(values.max())
    if suspect_from is not None and greatest >= suspect_from:
        raise Suspect
    size = len(values)
    limit = 64
    while greatest >= limit:  # one more byte for each value that reaches the limit
        size += len(values) if least >= limit else int(np.count_nonzero(values >= limit))
        limit <<= 7
    return size


def _integers(array: pa.Array, dtype: type[np.signedinteger[Any]]) -> npt.NDArray[Any]:
    return np.frombuffer(array.buffers()[1], dtype=dtype)[array.offset : array.offset + len(array)]


def _offsets(array: pa.Array) -> npt.NDArray[np.int32]:
    return np.frombuffer(array.buffers()[1], dtype=np.int32)[array.offset : array.offset + len(array) + 1]
