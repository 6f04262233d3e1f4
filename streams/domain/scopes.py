"""State of scopes: what has been used and charged in each, by 128-bit key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanotally.streams.domain.keys import KeyTable
from nanotally.streams.domain.records import Int64Array, UInt64Array

_COLUMNS = ("quantity", "total", "remainder", "den", "charged", "end")


@dataclass
class ScopeRows:
    """g scopes, int64[g] each: unscaled quantity; exact total as whole nanos and remainder over den; nanos charged."""

    quantity: Int64Array
    total: Int64Array
    remainder: Int64Array
    den: Int64Array
    charged: Int64Array


class Scopes:
    """All scopes of one partition that may still be used."""

    def __init__(self) -> None:
        self._table = KeyTable()
        self._columns = {name: np.zeros(1024, dtype=np.int64) for name in _COLUMNS}

    def __len__(self) -> int:
        return len(self._table)

    def get(self, high: UInt64Array, low: UInt64Array, den: int) -> ScopeRows:
        """The scopes' rows; a new scope begins at zero with the denominator given."""
        slots = self._table.lookup(high, low)
        known = slots >= 0
        if not known.any():
            zero = np.zeros(len(slots), dtype=np.int64)
            return ScopeRows(zero, zero, zero, np.full(len(slots), den, dtype=np.int64), zero)

        def column(name: str, otherwise: int = 0) -> Int64Array:
            return np.where(known, self._columns[name][slots], otherwise)

        return ScopeRows(
            column("quantity"), column("total"), column("remainder"), column("den", den), column("charged")
        )

    def put(self, high: UInt64Array, low: UInt64Array, rows: ScopeRows, end: Int64Array) -> None:
        """Sets scopes to their newest state; end: microseconds UTC. Keys must be distinct."""
        slots = self._table.insert(high, low)
        size = len(self._columns["end"])
        if len(self._table) > size:
            while size < len(self._table):
                size *= 2
            self._columns = {name: np.resize(column, size) for name, column in self._columns.items()}
        for name in _COLUMNS[:-1]:
            self._columns[name][slots] = getattr(rows, name)
        self._columns["end"][slots] = end

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
        rows = ScopeRows(*(arrays[name] for name in _COLUMNS[:-1]))
        self.put(arrays["high"], arrays["low"], rows, arrays["end"])
