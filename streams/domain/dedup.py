"""Ids that were used: told again within the horizon they are duplicates, or conflicts where the content differs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanotally.streams.domain.hashing import Hash
from nanotally.streams.domain.keys import KeyTable
from nanotally.streams.domain.records import LONG_AGO, BoolArray, Int64Array

GENERATION_IDS = 1 << 20  # at most; so many fill their tables exactly
GENERATIONS = 8  # in a horizon, at least, so that what is kept beyond it is little


@dataclass
class Found:
    """What is known of n ids. known: bool[n]; content: int64[n] content hash; occurred_at_us: int64[n]."""

    known: BoolArray
    content: Int64Array
    occurred_at_us: Int64Array


class _Generation:
    """Some ids in the order in which they were used; dropped whole once its newest is beyond the horizon."""

    def __init__(self) -> None:
        self.table = KeyTable()
        self.content = np.zeros(1024, dtype=np.int64)
        self.occurred_at = np.zeros(1024, dtype=np.int64)
        self.newest = LONG_AGO
        self.began = LONG_AGO  # the newest use of the first that were added

    def add(self, key: Hash, content: Int64Array, occurred_at: Int64Array) -> None:
        slots = self.table.insert(*key)
        size = len(self.content)
        if len(self.table) > size:
            while size < len(self.table):
                size *= 2
            self.content, self.occurred_at = np.resize(self.content, size), np.resize(self.occurred_at, size)
        self.content[slots], self.occurred_at[slots] = content, occurred_at
        self.newest = int(occurred_at.max(initial=self.newest))
        if self.began == LONG_AGO:
            self.began = self.newest


class SeenIds:
    """Ids of one partition by 128-bit key, in generations of about a million."""

    def __init__(self) -> None:
        self._generations = [_Generation()]

    def __len__(self) -> int:
        return sum(len(g.table) for g in self._generations)

    def find(self, key: Hash) -> Found:
        """What is known of each id; of one that was used again after it was forgotten, the later use."""
        n = len(key[0])
        found = Found(np.zeros(n, dtype=bool), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64))
        for generation in self._generations:
            slots = generation.table.lookup(*key)
            rows = np.flatnonzero(slots >= 0)
            found.known[rows] = True
            found.content[rows] = generation.content[slots[rows]]
            found.occurred_at_us[rows] = generation.occurred_at[slots[rows]]
        return found

    def add(self, key: Hash, content: Int64Array, occurred_at_us: Int64Array) -> None:
        """Takes ids as used; distinct within a call."""
        held = len(self._generations[-1].table)
        if held and held + len(key[0]) > GENERATION_IDS:
            self._generations.append(_Generation())
        self._generations[-1].add(key, content, occurred_at_us)

    def forget(self, before_us: int, horizon_us: int) -> None:
        """Drops generations in which all uses happened before, and begins a new one where the last one has taken ids
        for a good part of the horizon. Only tidies: whether an id counts as forgotten is decided by its
        `occurred_at_us` when it is asked for."""
        last = self._generations[-1]
        if last.newest - last.began >= horizon_us // GENERATIONS:
            self._generations.append(_Generation())
        kept = [g for g in self._generations[:-1] if g.newest >= before_us]
        self._generations = [*kept, self._generations[-1]]

    def arrays(self) -> dict[str, np.ndarray]:
        """Columns by name, oldest first, for a snapshot."""
        out: dict[str, np.ndarray] = {}
        for i, g in enumerate(self._generations):
            (high, low), n = g.table.keys(), len(g.table)
            out |= {f"{i}.high": high, f"{i}.low": low, f"{i}.content": g.content[:n], f"{i}.at": g.occurred_at[:n]}
            out[f"{i}.began"] = np.array([g.began], dtype=np.int64)
        return out

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """The ids of a snapshot."""
        self._generations = []
        while f"{len(self._generations)}.high" in arrays:
            i = len(self._generations)
            generation = _Generation()
            generation.add((arrays[f"{i}.high"], arrays[f"{i}.low"]), arrays[f"{i}.content"], arrays[f"{i}.at"])
            if f"{i}.began" in arrays:  # not in snapshots of earlier releases
                generation.began = int(arrays[f"{i}.began"][0])
            self._generations.append(generation)
        self._generations = self._generations or [_Generation()]
