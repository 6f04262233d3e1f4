"""Conditions of rules: whether texts, numbers and instants of uses fulfil them, for columns of uses."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache, reduce
from math import ceil, floor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.streams.domain.bands import in_band
from nanotally.streams.domain.records import BoolArray, Int64Array
from nanotally.streams.domain.tariff import Condition
from nanotally.streams.domain.uses import Uses

# What a range may ask of the event itself, in units of the meter and in seconds; of kind 'range' only.
EVENT_NUMBERS = ("quantity", "duration")
PATTERNS_CHARACTERS = 50_000  # of one regular expression
_DECIMAL = re.compile(r"-?\d{1,18}(\.\d{1,24})?", re.ASCII)
_LEAST, _MOST = -(2**62), 2**62


def fulfilled(condition: Condition, uses: Uses, rows: Int64Array, at_us: Int64Array) -> BoolArray:
    """Whether each of the rows fulfils the condition: bool[rows]. at_us: int64[rows], when it counts as used."""
    if condition.kind == "band":
        return in_band(condition, at_us)
    if condition.kind == "range" and condition.field in EVENT_NUMBERS:
        return _number_in_range(condition, uses, rows)
    return matches(condition, uses.text(condition.field).take(pa.array(rows)))


def matches(condition: Condition, column: pa.Array) -> BoolArray:
    """Whether each text fulfils the condition; an absent one (null) only fulfils `absent`: bool[n]."""
    if condition.kind == "absent":
        result = column.is_null()
    elif condition.kind == "present":
        result = column.is_valid()
    elif condition.kind == "equals":
        result = pc.is_in(column, value_set=pa.array(condition.values, pa.string()))
    elif condition.kind == "pattern":
        fits = (pc.match_substring_regex(column, glob_regex(some)) for some in _pieces(condition.values))
        result = pc.fill_null(reduce(pc.or_, fits), False)
    elif condition.kind == "range":
        return _text_in_range(condition, column)
    else:
        raise ValueError(f"no such condition: {condition.kind!r}")
    fulfilled: BoolArray = result.to_numpy(zero_copy_only=False).astype(bool)
    return fulfilled


def _pieces(patterns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The patterns in pieces: of all of them together there might be a regular expression that Arrow refuses."""
    pieces: list[list[str]] = [[]]
    room = PATTERNS_CHARACTERS
    for pattern in patterns:
        if len(pattern) > room and pieces[-1]:
            pieces.append([])
            room = PATTERNS_CHARACTERS
        pieces[-1].append(pattern)
        room -= len(pattern)
    return [tuple(piece) for piece in pieces]


def glob_regex(patterns: tuple[str, ...]) -> str:
    """Regular expression for globs: * any characters, ? one, the rest stands for itself."""
    parts = []
    for pattern in patterns:
        parts.append("".join({"*": "(?s:.*)", "?": "(?s:.)"}.get(c, re.escape(c)) for c in pattern))
    return f"^(?:{'|'.join(parts)})\\z"


def in_range(condition: Condition, value: Fraction) -> bool:
    """Whether a number is within a range, both ends inclusive; an empty end is open."""
    low, high = _bounds(condition)
    return (low is None or value >= low) and (high is None or value <= high)


@lru_cache(maxsize=4096)
def _bounds(condition: Condition) -> tuple[Fraction | None, Fraction | None]:
    low, high = (Fraction(text) if text else None for text in condition.values)
    return low, high


def _text_in_range(condition: Condition, column: pa.Array) -> BoolArray:
    """A text that is no decimal number is in no range."""
    encoded = column.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    inside = [bool(_DECIMAL.fullmatch(text)) and in_range(condition, Fraction(text)) for text in texts]
    table = np.array([*inside, False], dtype=bool)  # the last for absent ones
    found: BoolArray = table[encoded.indices.fill_null(len(inside)).to_numpy()]
    return found


def _number_in_range(condition: Condition, uses: Uses, rows: Int64Array) -> BoolArray:
    if condition.field == "duration":
        column = uses.column("duration_us")
        there: BoolArray = column.is_valid().to_numpy(zero_copy_only=False)[rows]
        return there & _within(condition, column.fill_null(0).to_numpy(zero_copy_only=False)[rows], 6)
    value, scale = uses.quantity[rows], uses.scale[rows]
    found = np.zeros(len(rows), dtype=bool)
    for places in np.unique(scale).tolist():
        mine = scale == places
        found[mine] = _within(condition, value[mine], places)
    return found


def _within(condition: Condition, unscaled: Int64Array, places: int) -> BoolArray:
    """Whether unscaled numbers of so many decimal places, below 2^62, are within the range."""
    low, high = _bounds(condition)
    least = _LEAST if low is None else min(max(ceil(low * Fraction(10) ** places), _LEAST), _MOST)
    most = _MOST if high is None else min(max(floor(high * Fraction(10) ** places), _LEAST), _MOST)
    inside: BoolArray = (unscaled >= least) & (unscaled <= most)
    return inside
