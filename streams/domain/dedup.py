"""Ids that were used: told again within the horizon they are duplicates, or conflicts where the content differs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanotally.streams.domain.hashing import Hash
from nanotally.streams.domain.keys import KeyTable, group
from nanotally.streams.domain.records import LONG_AGO, BoolArray, Int64Array, UInt64Array

GENERATION_IDS = 1 << 20  # at most; so many fill their tables exactly
_32 = np.uint64(32)
GENERATIONS = 8  # in a horizon, at least, so that what is kept beyond it is little


@dataclass
class Found:
    """What is known of n ids. known: bool[n]; content: int64[n] content hash; occurred_at_us: int64[n]."""

    known: BoolArray
    content: Int64Array
    occurred_at_us: Int64Array

    def put(self, rows: Int64Array, content: Int64Array, at: Int64Array) -> None:
        """Sets what is known of some of them."""
        self.known[rows], self.content[rows], self.occurred_at_us[rows] = True, content, at


@dataclass
class Ids:
    """n ids: key uint64[n] twice, content hash and time of use int64[n]."""

    high: UInt64Array
    low: UInt64Array
    content: Int64Array
    at: Int64Array


def _latest(ids: Ids) -> Ids:
    """Of an id that was used twice, forgotten in between, the later use alone."""
    high = np.sort(ids.high)
    if not (high[1:] == high[:-1]).any():
        return ids
    by_time = np.argsort(ids.at, kind="stable")
    rows = by_time[group(ids.high[by_time], ids.low[by_time]).last]
    return Ids(ids.high[rows], ids.low[rows], ids.content[rows], ids.at[rows])


class _Asked:
    """Keys that are looked for; sorted once for all sealed generations."""

    def __init__(self, high: UInt64Array, low: UInt64Array, *, sort: bool) -> None:
        self.high, self.low = high, low
        self.order: Int64Array = np.argsort(high) if sort else np.zeros(0, dtype=np.int64)
        self.first = (high[self.order] >> _32).astype(np.uint32)


class _Open:
    """The ids that came last, in the order in which they were used: 40 to 80 bytes each."""

    def __init__(self) -> None:
        self._table = KeyTable()
        self._content = np.zeros(1024, dtype=np.int64)
        self._at = np.zeros(1024, dtype=np.int64)
        self.newest = LONG_AGO
        self.began = LONG_AGO  # the newest use of the first that were added

    def __len__(self) -> int:
        return len(self._table)

    def add(self, ids: Ids) -> None:
        ids = _latest(ids)
        slots = self._table.insert(ids.high, ids.low)
        size = len(self._content)
        if len(self) > size:
            while size < len(self):
                size *= 2
            self._content, self._at = np.resize(self._content, size), np.resize(self._at, size)
        self._content[slots], self._at[slots] = ids.content, ids.at
        self.newest = int(ids.at.max(initial=self.newest))
        if self.began == LONG_AGO:
            self.began = self.newest

    def find(self, asked: _Asked, found: Found) -> None:
        slots = self._table.lookup(asked.high, asked.low)
        rows = np.flatnonzero(slots >= 0)
        found.put(rows, self._content[slots[rows]], self._at[slots[rows]])

    def ids(self) -> Ids:
        (high, low), n = self._table.keys(), len(self)
        return Ids(high, low, self._content[:n], self._at[:n])


class _Sealed:
    """Ids of a generation that takes no more, in the order of their keys: 28 to 32 bytes each. Looking one up is a
    search among the first halves of the high words, which are small enough to stay in the cache."""

    def __init__(self, ids: Ids, began: int) -> None:
        """ids: one or more, distinct."""
        order = np.argsort(ids.high)
        high = ids.high[order]
        self._first, self._second = (high >> _32).astype(np.uint32), high.astype(np.uint32)
        self._low, self._content = ids.low[order], ids.content[order]
        self.newest, self.began = int(ids.at.max()), began
        self._oldest = int(ids.at.min())
        since = (ids.at - self._oldest).view(np.uint64)[order]
        beyond = since >> _32
        self._since = since.astype(np.uint32)
        self._beyond = beyond.astype(np.min_scalar_type(int(beyond.max()))) if beyond.any() else None

    def __len__(self) -> int:
        return len(self._first)

    def find(self, asked: _Asked, found: Found) -> None:
        place = np.searchsorted(self._first, asked.first)
        hits = np.flatnonzero(self._first[np.minimum(place, len(self) - 1)] == asked.first)
        rows, place = asked.order[hits], place[hits]
        while len(rows):  # as many rounds as keys have a first half in common: one, and now and then two
            same = (self._second[place] == asked.high[rows].astype(np.uint32)) & (self._low[place] == asked.low[rows])
            found.put(rows[same], self._content[place[same]], self._at(place[same]))
            rows, place = rows[~same], place[~same] + 1
            again = place < len(self)
            again[again] = self._first[place[again]] == (asked.high[rows[again]] >> _32)
            rows, place = rows[again], place[again]

    def _at(self, places: Int64Array | slice) -> Int64Array:
        since = self._since[places].astype(np.int64)
        if self._beyond is not None:
            since += self._beyond[places].astype(np.int64) << 32
        return since + self._oldest

    def ids(self) -> Ids:
        high = (self._first.astype(np.uint64) << _32) | self._second
        return Ids(high, self._low, self._content, self._at(slice(None)))


class SeenIds:
    """Ids of one partition by 128-bit key, in generations of about a million; the last one takes what comes, and each
    is dropped whole once its newest id is beyond the horizon."""

    def __init__(self) -> None:
        self._open = _Open()
        self._sealed: list[_Sealed] = []  # oldest first

    def __len__(self) -> int:
        return sum(map(len, self._sealed), len(self._open))

    def _generations(self) -> list[_Sealed | _Open]:
        """Oldest first."""
        return [*self._sealed, self._open]

    def find(self, key: Hash) -> Found:
        """What is known of each id; of one that was used again after it was forgotten, the later use."""
        n = len(key[0])
        found = Found(np.zeros(n, dtype=bool), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64))
        asked = _Asked(*key, sort=bool(self._sealed))
        for generation in self._generations():
            generation.find(asked, found)
        return found

    def add(self, key: Hash, content: Int64Array, occurred_at_us: Int64Array) -> None:
        """Takes ids as used. One may come twice in a call: where a chunk spans more than the horizon."""
        if len(self._open) + len(key[0]) > GENERATION_IDS:
            self._begin()
        self._open.add(Ids(*key, content, occurred_at_us))

    def _begin(self) -> None:
        """Seals the open generation, and begins a new one."""
        if len(self._open):
            self._sealed.append(_Sealed(self._open.ids(), self._open.began))
            self._open = _Open()

    def forget(self, before_us: int, horizon_us: int) -> None:
        """Drops generations in which all uses happened before, and begins a new one where the last one has taken ids
        for a good part of the horizon. Only tidies: whether an id counts as forgotten is decided by its
        `occurred_at_us` when it is asked for."""
        if self._open.newest - self._open.began >= horizon_us // GENERATIONS:
            self._begin()
        self._sealed = [g for g in self._sealed if g.newest >= before_us]

    def arrays(self) -> dict[str, np.ndarray]:
        """Columns by name, oldest first, for a snapshot."""
        out: dict[str, np.ndarray] = {}
        for i, g in enumerate(self._generations()):
            ids = g.ids()
            out |= {f"{i}.high": ids.high, f"{i}.low": ids.low, f"{i}.content": ids.content, f"{i}.at": ids.at}
            out[f"{i}.began"] = np.array([g.began], dtype=np.int64)
        return out

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """The ids of a snapshot."""
        self.__init__()  # type: ignore[misc]
        i = 0
        while f"{i}.high" in arrays:
            self._begin()
            self._open.add(Ids(*(arrays[f"{i}.{name}"] for name in ("high", "low", "content", "at"))))
            if f"{i}.began" in arrays:  # not in snapshots of earlier releases
                self._open.began = int(arrays[f"{i}.began"][0])
            i += 1
