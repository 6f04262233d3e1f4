"""The open windows of one size: a table of sums by (account, series, window)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np

from nanotally.streams.domain.keys import KeyTable, group
from nanotally.streams.domain.records import NO_END, Int32Array, Int64Array, UInt64Array
from nanotally.streams.domain.tallies_sums import Exact, Sums

_SERIES_BITS = np.uint64(32)
_SERIES_MASK = np.uint64(2**32 - 1)
_ROWS_WORTH_SHRINKING = 1024


def pack(account: Int64Array | Int32Array, series: Int64Array | Int32Array) -> UInt64Array:
    """Account and series codes as one word."""
    return (account.astype(np.uint64) << _SERIES_BITS) | series.astype(np.uint64)


@dataclass
class Rows:
    """Sums of windows, in columns of n rows: codes of account and series, the window in microseconds UTC."""

    account: Int64Array
    series: Int64Array
    start_us: Int64Array
    end_us: Int64Array
    count: Exact
    quantity: Exact
    amount_nanos: Exact

    def __len__(self) -> int:
        return len(self.account)

    def part(self, where: Int64Array | slice) -> Rows:
        """The rows at the given places."""
        return Rows(*(getattr(self, f.name)[where] for f in fields(self)))

    @staticmethod
    def joined(parts: list[Rows]) -> Rows:
        """Rows of all parts, in order; no part gives no row."""
        parts = parts or [Rows(*(np.zeros(0, dtype=np.int64) for _ in fields(Rows)))]
        return Rows(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Rows)))


class Codes(NamedTuple):
    """What rows are sorted by: codes of account and series, end of the window in microseconds UTC."""

    account: Int64Array
    series: Int64Array
    end_us: Int64Array


class Level:
    """Open windows of one size. `ends` gives the ends of windows by their starts."""

    def __init__(self, ends: Callable[[Int64Array], Int64Array]) -> None:
        self._ends = ends
        self._table = KeyTable()
        self._end = np.full(1024, NO_END, dtype=np.int64)  # NO_END: the slot is dead
        self._count, self._quantity, self._amount = Sums(), Sums(), Sums()
        self._open: set[int] = set()  # distinct ends of open windows; the heap may hold ended ones too
        self._heap: list[int] = []
        self._live = 0

    def __len__(self) -> int:
        """Open rows."""
        return self._live

    def next_end(self) -> int:
        """Least end of an open window, NO_END where there is none."""
        while self._heap and self._heap[0] not in self._open:
            heappop(self._heap)
        return self._heap[0] if self._heap else NO_END

    def add(self, key: UInt64Array, start_us: Int64Array, count: Exact, quantity: Exact, amount_nanos: Exact) -> None:
        """Adds rows by packed key and window start; keys may repeat."""
        low = start_us.view(np.uint64)
        slots = self._table.lookup(key, low)
        new = np.flatnonzero(slots < 0)
        if len(new):
            groups = group(key[new], low[new])
            first = new[groups.first]
            added = self._table.insert(key[first], low[first])
            self._enter(added, self._ends(start_us[first]))
            slots[new] = added[groups.codes]
        for column, values in ((self._count, count), (self._quantity, quantity), (self._amount, amount_nanos)):
            column.add(slots, values)

    def _enter(self, slots: Int64Array, end_us: Int64Array) -> None:
        """Makes room for new slots and notes when their windows end."""
        used = len(self._table)
        if used > len(self._end):
            grown = np.full(max(used, 2 * len(self._end)), NO_END, dtype=np.int64)
            grown[: len(self._end)] = self._end
            self._end = grown
        self._end[slots] = end_us
        for column in (self._count, self._quantity, self._amount):
            column.reserve(used)
        self._live += len(slots)
        for end in set(np.unique(end_us).tolist()) - self._open:
            self._open.add(end)
            heappush(self._heap, end)

    def ended(self, to_us: int) -> Int64Array:
        """Slots of the open windows that end at or before `to_us`."""
        return np.flatnonzero(self._end[: len(self._table)] <= to_us)

    def alive(self) -> Int64Array:
        """Slots of all open windows."""
        return np.flatnonzero(self._end[: len(self._table)] != NO_END)

    def codes(self, slots: Int64Array) -> Codes:
        """What the rows at the slots are sorted by."""
        key = self._table.keys()[0][slots]
        return Codes((key >> _SERIES_BITS).astype(np.int64), (key & _SERIES_MASK).astype(np.int64), self._end[slots])

    def rows(self, slots: Int64Array) -> Rows:
        """The rows at the slots."""
        account, series, end = self.codes(slots)
        start = self._table.keys()[1][slots].view(np.int64)
        sums = (column.take(slots) for column in (self._count, self._quantity, self._amount))
        return Rows(account, series, start, end, *sums)

    def slots_of(self, account: int) -> Int64Array:
        """Slots of the account's open windows."""
        key, _ = self._table.keys()
        mine = (key >> _SERIES_BITS) == np.uint64(account)
        return np.flatnonzero(mine & (self._end[: len(self._table)] != NO_END))

    def kill(self, slots: Int64Array, left: Int64Array) -> None:
        """Closes the rows at the slots; of their windows only the rows at the slots `left` are still open."""
        ended = set(np.unique(self._end[slots]).tolist())
        self._open -= ended - set(np.unique(self._end[left]).tolist())
        self._end[slots] = NO_END
        for column in (self._count, self._quantity, self._amount):
            column.forget(slots)
        self._live -= len(slots)

    def shrink(self) -> None:
        """Frees dead slots where they are the greater part; slots get other numbers."""
        used = len(self._table)
        if 2 * self._live > used or used < _ROWS_WORTH_SHRINKING:
            return
        alive = self.alive()
        self._table.keep(alive)
        ends = np.full(max(1024, len(alive)), NO_END, dtype=np.int64)
        ends[: len(alive)] = self._end[alive]
        self._end = ends
        for column in (self._count, self._quantity, self._amount):
            column.keep(alive)
