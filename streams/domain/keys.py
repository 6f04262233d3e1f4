"""Keys of state in columns: a table from 128-bit keys to slots, grouping, interning, and partitions of keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.hashing import Hash
from nanotally.streams.domain.records import BoolArray, Int32Array, Int64Array, UInt64Array

# Odd numbers that scramble the bits of keys (from MurmurHash3's 128-bit variant).
_MULTIPLY_HIGH, _MULTIPLY_LOW = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)

COPIED_FREELY = 1 << 16  # texts


@dataclass(frozen=True)
class Groups:
    """Rows by equal key. codes: int64[n] group of each row; first: int64[g] first row of each group; order: int64[n]
    rows sorted by group, in row order within it; starts: int64[g] place in `order` where each group begins."""

    codes: Int64Array
    first: Int64Array
    order: Int64Array
    starts: Int64Array

    def __len__(self) -> int:
        return len(self.first)

    @property
    def last(self) -> Int64Array:
        """Last row of each group: int64[g]."""
        rows: Int64Array = self.order[np.append(self.starts[1:], len(self.order)) - 1] if len(self) else self.first
        return rows


def group(high: UInt64Array, low: UInt64Array) -> Groups:
    """Groups rows by 128-bit key; the groups are in no particular order."""
    with np.errstate(over="ignore"):
        scrambled = (low ^ (high * _MULTIPLY_HIGH)) * _MULTIPLY_LOW
    groups, begins = _sorted(scrambled >> _row_bits(len(high)))
    if _differs(high[groups.order], begins) or _differs(low[groups.order], begins):  # the lost bits told them apart
        _, inverse = np.unique(np.stack((high, low), axis=1), axis=0, return_inverse=True)
        return group_codes(inverse.reshape(-1).astype(np.int64))
    return groups


def group_codes(codes: Int64Array) -> Groups:
    """Groups rows by an integer column; the groups are in no particular order."""
    if len(codes) and (int(codes.min()) < 0 or int(codes.max()) >> (64 - int(_row_bits(len(codes))))):
        return group(np.zeros(len(codes), dtype=np.uint64), codes.view(np.uint64))
    return _sorted(codes.view(np.uint64))[0]


def _row_bits(n: int) -> np.uint64:
    """Bits that the number of a row takes."""
    return np.uint64(max(1, (n - 1).bit_length()))


def _sorted(keys: UInt64Array) -> tuple[Groups, BoolArray]:
    """Rows grouped by keys that leave their upper bits for the number of the row, in order of the keys; and where in
    `order` a group begins. One sort of plain integers, which numpy does very quickly, brings rows together."""
    n = len(keys)
    bits = _row_bits(n)
    by_key = np.sort((keys << bits) | np.arange(n, dtype=np.uint64))
    order = (by_key & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    begins = np.ones(n, dtype=bool)
    begins[1:] = (by_key[1:] ^ by_key[:-1]) >> bits != 0
    starts = np.flatnonzero(begins)
    codes = np.empty(n, dtype=np.int64)
    codes[order] = np.cumsum(begins) - 1
    return Groups(codes, order[starts], order, starts), begins


def _differs(ordered: UInt64Array, begins: BoolArray) -> bool:
    """Whether an element that begins no group differs from the one before it."""
    return bool(((ordered[1:] != ordered[:-1]) & ~begins[1:]).any())


def one_group(n: int) -> Groups:
    """n rows, one or more, in one group."""
    zero = np.zeros(1, dtype=np.int64)
    return Groups(np.zeros(n, dtype=np.int64), zero, np.arange(n), zero)


class KeyTable:
    """Open-addressing map from 128-bit keys to dense slots 0..n-1, all operations on columns."""

    def __init__(self, capacity: int = 1024) -> None:
        capacity = 1 << (capacity - 1).bit_length()
        self._high = np.zeros(capacity, dtype=np.uint64)
        self._low = np.zeros(capacity, dtype=np.uint64)
        self._count = 0
        self._index = np.full(2 * capacity, -1, dtype=np.int32)

    def __len__(self) -> int:
        return self._count

    def keys(self) -> Hash:
        """Keys by slot: two uint64[n]."""
        return self._high[: self._count], self._low[: self._count]

    def lookup(self, high: UInt64Array, low: UInt64Array) -> Int64Array:
        """Slot of each key, -1 where it is absent."""
        size = len(self._index)
        place = self._home(high, low)
        slots = self._index[place].astype(np.int64)
        # Rows that neither hit nor met an empty place go on to the next place.
        wrong = slots >= 0
        wrong &= (self._low[slots] != low) | (self._high[slots] != high)
        rows = np.flatnonzero(wrong)
        while len(rows):
            at = (place[rows] + 1) & (size - 1)
            found = self._index[at]
            place[rows], slots[rows] = at, found
            again = found >= 0
            again &= (self._low[found] != low[rows]) | (self._high[found] != high[rows])
            rows = rows[again]
        return slots

    def _home(self, high: UInt64Array, low: UInt64Array) -> Int64Array:
        """Where a key's probing begins. Keys may be plain integers, so they are scrambled; high bits are the best."""
        with np.errstate(over="ignore"):
            scrambled = (low ^ (high * _MULTIPLY_HIGH)) * _MULTIPLY_LOW
        bits = len(self._index).bit_length() - 1
        return (scrambled >> np.uint64(64 - bits)).astype(np.int64)

    def insert(self, high: UInt64Array, low: UInt64Array) -> Int64Array:
        """Slot of each key; new keys get the next slots in row order. Keys must be distinct within a call."""
        slots = self.lookup(high, low)
        new = np.flatnonzero(slots < 0)
        if len(new):
            first, end = self._count, self._count + len(new)
            self._reserve(end)
            self._high[first:end], self._low[first:end] = high[new], low[new]
            self._count = end
            slots[new] = np.arange(first, end)
            self._place(np.arange(first, end))
        return slots

    def _reserve(self, count: int) -> None:
        capacity = len(self._high)
        if count <= capacity:
            return
        while capacity < count:
            capacity *= 2
        for name in ("_high", "_low"):
            grown = np.zeros(capacity, dtype=np.uint64)
            grown[: self._count] = getattr(self, name)[: self._count]
            setattr(self, name, grown)
        self._index = np.full(2 * capacity, -1, dtype=np.int32)
        self._place(np.arange(self._count))

    def _place(self, slots: Int64Array) -> None:
        """Enters slots whose keys are not in the index yet."""
        size = len(self._index)
        place = self._home(self._high[slots], self._low[slots])
        while len(slots):
            free = self._index[place] < 0
            self._index[place[free]] = slots[free]  # of several for one place the last one stays
            lost = self._index[place] != slots
            slots, place = slots[lost], (place[lost] + 1) & (size - 1)

    def keep(self, alive: Int64Array) -> None:
        """Keeps only the given slots, renumbered 0.. in the order given."""
        high, low = self._high[alive], self._low[alive]
        self.__init__(max(1024, len(alive)))  # type: ignore[misc]  # same object, so that holders of a reference see it
        self._high[: len(alive)], self._low[: len(alive)] = high, low
        self._count = len(alive)
        self._place(np.arange(self._count))


class Interner:
    """Texts as small integers, in the order of first appearance."""

    def __init__(self, texts: list[str] | None = None) -> None:
        self.texts: list[str] = texts or []
        self._codes: dict[str, int] = {t: i for i, t in enumerate(self.texts)}
        self._column = pa.array([], pa.string())  # the first of the texts

    def __len__(self) -> int:
        return len(self.texts)

    def code(self, text: str) -> int | None:
        """Code of the text, None where it was never seen."""
        return self._codes.get(text)

    def add(self, text: str) -> int:
        """Code of the text, a new one where it was never seen."""
        code = self._codes.setdefault(text, len(self.texts))
        if code == len(self.texts):
            self.texts.append(text)
        return code

    def codes(self, array: pa.Array) -> Int32Array:
        """Codes of a string column without nulls: int32[n]."""
        encoded = array.dictionary_encode()
        unique = encoded.dictionary.to_pylist()
        table = np.fromiter((self.add(t) for t in unique), dtype=np.int32, count=len(unique))
        codes: Int32Array = table[encoded.indices.to_numpy()]
        return codes

    def text(self, codes: Int32Array | Int64Array) -> list[str]:
        """Texts of codes."""
        texts = self.texts
        return [texts[c] for c in codes.tolist()]

    def column(self, codes: Int64Array) -> pa.Array:
        """Texts of codes as a string column."""
        known = len(self._column)
        if int(codes.max(initial=-1)) >= known:
            # Copying all of them for a few new ones pays only while they are not many.
            if len(self.texts) - known <= known // 8 and known > COPIED_FREELY:
                distinct, place = np.unique(codes, return_inverse=True)
                return pa.array(self.text(distinct), pa.string()).take(pa.array(place.reshape(-1)))
            self._column = pa.concat_arrays([self._column, pa.array(self.texts[known:], pa.string())])
        return self._column.take(pa.array(codes))


def partition_of(key: bytes, partitions: int) -> int:
    """Partition of a key: murmur2 as Kafka's Java client and kafka-python's default partitioner.

    Source: org.apache.kafka.common.utils.Utils.murmur2 (Apache Kafka); toPositive, then the remainder."""
    length, m, mask = len(key), 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ length) & mask
    whole = length - length % 4
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    tail = key[whole:]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    h ^= h >> 15
    return (h & 0x7FFFFFFF) % partitions
