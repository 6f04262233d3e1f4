"""Stable hashes of columns: 128 bits of strings and of keys made of several.

They are written to the ledger (scope keys), so they never change: a function of the bytes alone, built from the
finalizer of MurmurHash3 (public domain, Austin Appleby) in two independent 64-bit lanes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nanotally.streams.domain.records import Int64Array, UInt64Array

Hash = tuple[UInt64Array, UInt64Array]

_SEED_HIGH, _SEED_LOW = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_MIX_A, _MIX_B = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_MULTIPLY_HIGH, _MULTIPLY_LOW = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)
_33, _29, _31 = np.uint64(33), np.uint64(29), np.uint64(31)
_MURMUR2_SEED, _MURMUR2 = np.uint32(0x9747B28C), np.uint32(0x5BD1E995)
_TAIL_MASK = np.array([(1 << (8 * k)) - 1 for k in range(8)], dtype=np.uint64)


def mix(values: UInt64Array) -> UInt64Array:
    """MurmurHash3's 64-bit finalizer, element by element; a bijection."""
    x = values ^ (values >> _33)
    x *= _MIX_A
    x ^= x >> _33
    x *= _MIX_B
    x ^= x >> _33
    return x


def combine(key: Hash, more: Hash) -> Hash:
    """Hash of an ordered pair of hashes."""
    with np.errstate(over="ignore"):
        high = mix((key[0] * _MULTIPLY_HIGH) ^ more[0] ^ _29)
        low = mix((key[1] * _MULTIPLY_LOW) ^ more[1] ^ _31)
    return high, low


def combine_int(key: Hash, values: Int64Array) -> Hash:
    """Hash of a key and an integer column."""
    as_words = values.view(np.uint64)
    return combine(key, (as_words, as_words ^ _SEED_LOW))


def hash_bytes(data: npt.NDArray[np.uint8], offsets: Int64Array, lengths: Int64Array) -> Hash:
    """Hashes of n byte strings: string i is data[offsets[i] : offsets[i] + lengths[i]]."""
    padded = np.empty(len(data) + 8, dtype=np.uint8)
    padded[: len(data)] = data
    padded[len(data) :] = 0
    # A view of 8 bytes at every byte address: little-endian words at any offset without copying.
    words = np.ndarray((len(data) + 1,), dtype="<u8", buffer=padded.data, strides=(1,))
    with np.errstate(over="ignore"):
        high = lengths.view(np.uint64) ^ _SEED_HIGH
        low = lengths.view(np.uint64) ^ _SEED_LOW
        longest = int(lengths.max(initial=0))
        at, left = offsets, lengths
        rows: npt.NDArray[np.intp] | None = None
        for _ in range((longest + 7) // 8):
            alive = left > 0
            if not alive.all():
                kept = np.flatnonzero(alive)
                rows = kept if rows is None else rows[kept]
                at, left = at[kept], left[kept]
            word = words[at]
            short = left < 8
            if short.any():
                word = np.where(short, word & _TAIL_MASK[left & 7], word)
            if rows is None:
                high = _absorb(high, word, _MULTIPLY_HIGH)
                low = _absorb(low, word, _MULTIPLY_LOW)
            else:
                high[rows] = _absorb(high[rows], word, _MULTIPLY_HIGH)
                low[rows] = _absorb(low[rows], word, _MULTIPLY_LOW)
            at, left = at + 8, left - 8
        return mix(high), mix(low)


def _absorb(state: UInt64Array, word: UInt64Array, multiplier: np.uint64) -> UInt64Array:
    x = (state ^ word) * multiplier
    x ^= x >> _29
    x *= _MIX_A
    x ^= x >> _31
    return x


def hash_strings(array: pa.Array) -> Hash:
    """Hashes of a string column; null counts as the empty string."""
    n = len(array)
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int32)[array.offset : array.offset + n + 1].astype(np.int64)
    buffer = array.buffers()[2]
    data = np.frombuffer(buffer, dtype=np.uint8) if buffer is not None else np.zeros(0, dtype=np.uint8)
    return hash_bytes(data, offsets[:-1], np.diff(offsets))


def hash_text(text: str) -> Hash:
    """Hash of one text, as arrays of one element."""
    raw = np.frombuffer(text.encode(), dtype=np.uint8)
    return hash_bytes(raw, np.zeros(1, dtype=np.int64), np.array([len(raw)], dtype=np.int64))


def partitions_of(keys: Sequence[bytes], partitions: int) -> Int64Array:
    """`keys.partition_of` of many keys at once: int64[n]."""
    lengths = np.fromiter(map(len, keys), dtype=np.int64, count=len(keys))
    at = np.cumsum(lengths) - lengths
    padded = np.frombuffer(b"".join(keys) + bytes(8), dtype=np.uint8)
    words = np.ndarray((len(padded) - 7,), dtype="<u4", buffer=padded.data, strides=(1,))  # at any offset
    with np.errstate(over="ignore"):
        h = lengths.astype(np.uint32) ^ _MURMUR2_SEED
        rows = np.arange(len(keys))
        for i in range(int(lengths.max(initial=0)) // 4):
            rows = rows[lengths[rows] >= 4 * i + 4]
            k = words[at[rows] + 4 * i] * _MURMUR2
            h[rows] = (h[rows] * _MURMUR2) ^ ((k ^ (k >> np.uint32(24))) * _MURMUR2)
        rows = np.flatnonzero(lengths & 3)
        tail = words[(at + (lengths & ~3))[rows]] & _TAIL_MASK[lengths[rows] & 3].astype(np.uint32)
        h[rows] = (h[rows] ^ tail) * _MURMUR2
        h = (h ^ (h >> np.uint32(13))) * _MURMUR2
        h ^= h >> np.uint32(15)
    return (h & np.uint32(0x7FFFFFFF)).astype(np.int64) % partitions
