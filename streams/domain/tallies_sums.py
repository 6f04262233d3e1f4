"""Columns of sums that stay exact: int64 while it holds, Python integers beyond.

A column of values is an `Exact`: int64[n], or object[n] of Python integers where one might not fit into 64 bits. numpy
computes both by the same expressions; only the first of them could wrap, hence the bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.streams.domain.records import Int64Array

Exact = npt.NDArray[Any]

INT64_MAX = 2**63 - 1
# A sum of this size or more is kept as a Python integer, so that what is in int64 has room to grow.
CARRIED_FROM = 2**62
_LOW_BITS = 32


def bound_of(values: Exact) -> int:
    """A number that no sum of any of the values exceeds, by absolute value; a little too great at most."""
    if values.dtype == object:
        return sum(abs(v) for v in values.tolist())
    # Shifted first: 2**24 values cannot make the sum wrap, and the least int64 has an absolute value.
    return sum((int(np.abs(part >> 24).sum()) + len(part)) << 24 for part in _parts(values))


def _parts(values: Int64Array) -> list[Int64Array]:
    return [values[i : i + (1 << 23)] for i in range(0, len(values), 1 << 23)]


class Sums:
    """A growing column of exact sums, by slot."""

    def __init__(self, values: Exact | None = None) -> None:
        self._low = np.zeros(1024, dtype=np.int64)
        self._beyond: dict[int, int] = {}  # slot -> what its sum has over `_low`
        self._bound = 0  # no |_low| is greater
        if values is not None:
            self.reserve(len(values))
            self.add(np.arange(len(values)), values)

    def reserve(self, slots: int) -> None:
        """Makes room for slots 0..slots-1; new ones are zero."""
        if slots > len(self._low):
            grown = np.zeros(max(slots, 2 * len(self._low)), dtype=np.int64)
            grown[: len(self._low)] = self._low
            self._low = grown

    def add(self, slots: Int64Array, values: Exact) -> None:
        """Adds values[i] to the sum at slots[i]; slots may repeat."""
        if values.dtype != object:
            bound = bound_of(values)
            if self._bound + bound > INT64_MAX:
                self._bound = bound_of_each(self._low)
            if self._bound + bound <= INT64_MAX:
                np.add.at(self._low, slots, values)
                self._bound += bound
                return
        for slot, value in zip(slots.tolist(), values.tolist(), strict=True):
            total = int(self._low[slot]) + self._beyond.pop(slot, 0) + value
            carried = total if abs(total) >= CARRIED_FROM else 0
            self._low[slot] = total - carried
            if carried:
                self._beyond[slot] = carried
        self._bound = max(self._bound, CARRIED_FROM)

    def take(self, slots: Int64Array) -> Exact:
        """The sums at the slots."""
        low = self._low[slots]
        if not self._beyond:
            return low
        exact = low.astype(object)
        for i, slot in enumerate(slots.tolist()):
            exact[i] += self._beyond.get(slot, 0)
        return exact

    def forget(self, slots: Int64Array) -> None:
        """Lets go of sums beyond int64 at slots that nobody will ask for again."""
        if self._beyond:
            for slot in slots.tolist():
                self._beyond.pop(slot, None)

    def keep(self, alive: Int64Array) -> None:
        """Keeps only the given slots, renumbered 0.. in the order given."""
        self.__init__(self.take(alive))  # type: ignore[misc]  # the same object: others hold it


def bound_of_each(values: Int64Array) -> int:
    """The greatest absolute value."""
    return max(int(values.max(initial=0)), -int(values.min(initial=0)))


def exact(values: list[int]) -> Exact:
    """Python integers as a column."""
    fits = bound_of_list(values) <= INT64_MAX
    column = np.empty(len(values), dtype=np.int64 if fits else object)
    column[:] = values
    return column


def bound_of_list(values: list[int]) -> int:
    """The greatest absolute value; 0 where there is none."""
    return max(map(abs, values), default=0)


def plus(left: Exact, right: Exact) -> Exact:
    """Exact sums, row by row."""
    if left.dtype != object and right.dtype != object and bound_of_each(left) + bound_of_each(right) > INT64_MAX:
        left = left.astype(object)
    return left + right


def sums_by(codes: Int64Array, groups: int, values: Exact) -> list[int]:
    """Exact sum of the values of each group 0..groups-1."""
    if values.dtype == object:
        totals = [0] * groups
        for code, value in zip(codes.tolist(), values.tolist(), strict=True):
            totals[code] += value
        return totals
    low, high = np.zeros(groups, dtype=np.int64), np.zeros(groups, dtype=np.int64)
    np.add.at(low, codes, values & ((1 << _LOW_BITS) - 1))
    np.add.at(high, codes, values >> _LOW_BITS)
    return [(above << _LOW_BITS) + below for above, below in zip(high.tolist(), low.tolist(), strict=True)]


def digits(values: Exact) -> pa.Array:
    """The values as decimal digits, a string column."""
    if values.dtype == object:
        return pa.array([str(v) for v in values.tolist()], type=pa.string())
    return pc.cast(pa.array(values), pa.string())
