"""Nothing is missing between two charges of a scope, or of a split: each begins where the one before it ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanotally.streams.domain.keys import KeyTable, group
from nanotally.streams.domain.reconciling import Check, Difference
from nanotally.streams.domain.records import Int64Array, UInt64Array
from nanotally.streams.domain.splitting import BASE_LIMIT


@dataclass
class Links:
    """n lines in the order of the ledger. high, low: uint64[n] key of the chain; before, after: int64[n] by name of
    what must go on; offsets: int64[n] of their records."""

    high: UInt64Array
    low: UInt64Array
    before: dict[str, Int64Array]
    after: dict[str, Int64Array]
    offsets: Int64Array


class Chains:
    """The state after the last line of each key, by name; new keys begin at zero."""

    def __init__(self, what: str, partition: int, names: tuple[str, ...]) -> None:
        self.what, self.partition, self.names = what, partition, names
        self._table = KeyTable()
        self._last = {name: np.zeros(1024, dtype=np.int64) for name in names}

    def add(self, links: Links, check: Check) -> None:
        """Compares what each line has before it with what the line before left."""
        n = len(links.offsets)
        if not n:
            return
        groups = group(links.high, links.low)
        slots = self._slots(links.high[groups.first], links.low[groups.first])
        check.compared += n
        for name in self.names:
            after, before = links.after[name], links.before[name]
            expected = np.empty(n, dtype=np.int64)
            ordered = after[groups.order]
            shifted = np.empty(n, dtype=np.int64)
            shifted[1:] = ordered[:-1]
            shifted[groups.starts] = self._last[name][slots]
            expected[groups.order] = shifted
            wrong = np.flatnonzero(expected != before)
            for row in wrong[self._differ(name, expected[wrong], before[wrong])].tolist():
                where = ("charges", self.partition, int(links.offsets[row]))
                said = f"{int(expected[row]):,}", f"{int(before[row]):,}"
                check.differ(Difference(f"{self.what}: {name} before", *where, *said))
            ends = np.append(groups.starts[1:], n) - 1
            self._last[name][slots] = ordered[ends]

    def _differ(self, name: str, expected: Int64Array, found: Int64Array) -> Int64Array:
        """Of rows that are not equal, which are wrong: a base past its limit may begin again, equivalently."""
        if name != "base":
            return np.arange(len(expected))
        return np.flatnonzero(expected < BASE_LIMIT)

    def _slots(self, high: UInt64Array, low: UInt64Array) -> Int64Array:
        slots = self._table.insert(high, low)
        size = len(self._last[self.names[0]])
        while size < len(self._table):
            size *= 2
        for name in self.names:
            if size > len(self._last[name]):
                grown = np.zeros(size, dtype=np.int64)
                grown[: len(self._last[name])] = self._last[name]
                self._last[name] = grown
        return slots
