"""State of scopes: what has been used and charged in each, by 128-bit key."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from nanotally.streams.domain.keys import KeyTable
from nanotally.streams.domain.records import LONG_AGO, Int64Array, UInt64Array


@dataclass
class ScopeRows:
    """g scopes, int64[g] each: number of uses; unscaled quantity, and what started steps have paid for beyond it;
    exact total as whole nanos and remainder over den; nanos charged; start and end in microseconds UTC."""

    uses: Int64Array
    quantity: Int64Array
    over: Int64Array
    total: Int64Array
    remainder: Int64Array
    den: Int64Array
    charged: Int64Array
    start: Int64Array
    end: Int64Array

    @staticmethod
    def new(count: int, den: int) -> ScopeRows:
        """Scopes that nothing was used in yet: zeros, with the denominator given; their end is LONG_AGO."""
        zero = np.zeros(count, dtype=np.int64)
        dens, end = np.full(count, den, dtype=np.int64), np.full(count, LONG_AGO, dtype=np.int64)
        return ScopeRows(zero, zero, zero, zero, zero, dens, zero, zero, end)

    def pick(self, places: Int64Array) -> ScopeRows:
        """The rows at the places."""
        return ScopeRows(*(getattr(self, name)[places] for name in _COLUMNS))


_COLUMNS = tuple(field.name for field in fields(ScopeRows))


class Scopes:
    """All scopes of one partition that may still be used."""

    def __init__(self) -> None:
        self._table = KeyTable()
        self._columns = {name: np.zeros(1024, dtype=np.int64) for name in _COLUMNS}

    def __len__(self) -> int:
        return len(self._table)

    def get(self, high: UInt64Array, low: UInt64Array, den: int) -> ScopeRows:
        """The scopes' rows; one that is not known begins as ScopeRows.new with the denominator given."""
        slots = self._table.lookup(high, low)
        known = slots >= 0
        rows = ScopeRows(*(self._columns[name][slots] for name in _COLUMNS))
        if not known.all():
            for name in _COLUMNS:
                getattr(rows, name)[~known] = {"den": den, "end": LONG_AGO}.get(name, 0)
        return rows

    def put(self, high: UInt64Array, low: UInt64Array, rows: ScopeRows) -> None:
        """Sets scopes to their newest state. Keys must be distinct."""
        slots = self._table.insert(high, low)
        size = len(self._columns["end"])
        if len(self._table) > size:
            while size < len(self._table):
                size *= 2
            self._columns = {name: np.resize(column, size) for name, column in self._columns.items()}
        for name in _COLUMNS:
            self._columns[name][slots] = getattr(rows, name)

    def forget(self, closed_to_us: int) -> None:
        """Drops scopes that have ended. Only tidies: what is booked later never falls into them."""
        ends = self._columns["end"][: len(self._table)]
        alive = np.flatnonzero(ends > closed_to_us)
        if len(alive) < len(ends):
            self._table.keep(alive)
            for name in _COLUMNS:
                self._columns[name][: len(alive)] = self._columns[name][alive]

    def arrays(self) -> dict[str, np.ndarray]:
        """Keys and columns by name, for a snapshot."""
        high, low = self._table.keys()
        return {"high": high, "low": low} | {n: c[: len(self._table)] for n, c in self._columns.items()}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """The scopes of a snapshot."""
        self.__init__()  # type: ignore[misc]
        self.put(arrays["high"], arrays["low"], ScopeRows(*(arrays[name] for name in _COLUMNS)))
