"""Arrow columns as the tables want them, and as the driver wants them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

TIME = pa.timestamp("us", "UTC")
MONEY = pa.decimal128(38, 9)
WHOLE = pa.decimal128(38, 0)
TIME_MIN_US = -2_208_988_800_000_000  # 1900-01-01, the least that DateTime64 shows
TIME_MAX_US = 7_258_118_400_000_000  # 2200-01-01: the end of what never ends


def time(column: pa.Array) -> pa.Array:
    """Times of int64 microseconds UTC; the same memory."""
    return column.view(pa.int64()).view(TIME)


def clipped_time(column: pa.Array) -> pa.Array:
    """Times that may never begin or never end, cut to what ClickHouse can show."""
    values = column.view(pa.int64())
    least = pc.min_element_wise(values, TIME_MAX_US, skip_nulls=False)  # a null stays one
    return pc.max_element_wise(least, TIME_MIN_US, skip_nulls=False).view(TIME)


def small(column: pa.Array, type_: pa.DataType) -> pa.Array:
    """Integers in a narrower type; raises pa.ArrowInvalid for one that does not fit."""
    return column.cast(type_)


def present(column: pa.Array) -> pa.Array:
    """Texts with an empty one for null."""
    return column.fill_null("") if column.null_count else column


def money(digits: pa.Array) -> pa.Array:
    """Currency units of nanos in decimal digits: '1500000000' is 1.500000000. Raises pa.ArrowInvalid beyond 38 digits.

    A decimal of scale 9 and a whole number of nanos are the same 128 bits, so only the type changes."""
    whole = whole_number(digits)
    return pa.Array.from_buffers(MONEY, len(whole), whole.buffers(), whole.null_count, whole.offset)


def whole_number(digits: pa.Array) -> pa.Array:
    """Whole numbers of decimal digits, up to 38. Raises pa.ArrowInvalid for what is none."""
    return digits.cast(WHOLE)


def repeated(value: int, n: int, type_: npt.DTypeLike) -> pa.Array:
    """A column of n times the same number."""
    return pa.array(np.full(n, value, dtype=type_))


def for_driver(column: pa.Array) -> list[Any]:
    """Python values as clickhouse-driver takes them fastest: times as whole microseconds, maps as dicts."""
    if pa.types.is_map(column.type):
        return [None if value is None else dict(value) for value in column.to_pylist()]
    values: list[Any] = _without_times(column).to_pylist()
    return values


def _without_times(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return column.view(pa.int64())
    if pa.types.is_list(column.type):
        return pa.ListArray.from_arrays(column.offsets, _without_times(column.values))
    return column
