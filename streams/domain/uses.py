"""Decoded usage events as columns, with what is worked out from them once: hashes, attributes, content."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from nanotally.schemas import codec
from nanotally.streams.domain.catalog_items import ENRICHED, FoundItems
from nanotally.streams.domain.hashing import Hash, combine, hash_strings, mix
from nanotally.streams.domain.keys import Groups, group_codes, one_group
from nanotally.streams.domain.records import Int64Array, UInt64Array
from nanotally.streams.domain.tariff import EVENT_FIELDS


def int64(column: pa.Array) -> Int64Array:
    """An integer column without nulls as int64[n]."""
    array: npt.NDArray[np.int64] = column.to_numpy(zero_copy_only=False)
    return array if array.dtype == np.int64 else array.astype(np.int64)


def byte_lengths(column: pa.Array) -> Int64Array:
    """Length of each string in bytes: int64[n]; 0 for null."""
    n = len(column)
    offsets = np.frombuffer(column.buffers()[1], dtype=np.int32)[column.offset : column.offset + n + 1]
    return np.diff(offsets).astype(np.int64)


class Uses:
    """n usage events of one partition.

    batch: columns of usage_event.avsc; offsets, recorded_at_us: int64[n] of their Kafka records; datums: they
    themselves, as `codec.event_datums` gives them."""

    def __init__(
        self, batch: pa.RecordBatch, offsets: Int64Array, recorded_at_us: Int64Array, datums: Sequence[bytes]
    ) -> None:
        self.batch = batch
        self.offsets = offsets
        self.recorded_at_us = recorded_at_us
        self.datums = datums
        self._attributes: dict[str, pa.Array] = {}
        self.found: FoundItems | None = None  # what the catalogs in force have of the items; set by matching

    def __len__(self) -> int:
        return len(self.offsets)

    def part(self, first: int, end: int) -> Uses:
        """Rows first..end-1."""
        if first == 0 and end == len(self):
            return self
        return Uses(
            self.batch.slice(first, end - first),
            self.offsets[first:end],
            self.recorded_at_us[first:end],
            self.datums[first:end],
        )

    def column(self, name: str) -> pa.Array:
        return self.batch.column(name)

    @cached_property
    def occurred_at_us(self) -> Int64Array:
        return int64(self.column("occurred_at"))

    @cached_property
    def quantity(self) -> Int64Array:
        return int64(self.column("quantity"))

    @cached_property
    def scale(self) -> Int64Array:
        return int64(self.column("scale"))

    @cached_property
    def payer_hash(self) -> Hash:
        return hash_strings(self.column("payer"))

    @cached_property
    def id_hash(self) -> Hash:
        """Key of the event: payer, product and event id."""
        return combine(
            combine(self.payer_hash, hash_strings(self.column("product"))), hash_strings(self.column("event_id"))
        )

    @cached_property
    def content_hash(self) -> Int64Array:
        """64-bit hash of all fields, int64[n], the same for attributes in any order and in every version.

        XXH3 of the datum of the first version, whose encoding is canonical but for the order of attributes; where there
        are several of them, of what stands before them, and the sum of their hashes."""
        datums, later = codec.lasting_content(self.batch, self.datums)
        hashes = np.fromiter(map(xxh3_64_intdigest, datums), dtype=np.uint64, count=len(self))
        several = np.flatnonzero(np.diff(np.asarray(self.column("attributes").offsets)) > 1)
        if len(several):
            tail, attributes = self._attribute_bytes()
            heads = (
                datums[i][: len(datums[i]) - t] for i, t in zip(several.tolist(), tail[several].tolist(), strict=True)
            )
            head = np.fromiter(map(xxh3_64_intdigest, heads), dtype=np.uint64, count=len(several))
            with np.errstate(over="ignore"):
                hashes[several] = mix(head + attributes[several])
        for row, text in later.items():
            hashes[row] ^= np.uint64(xxh3_64_intdigest(text))
        return hashes.view(np.int64)

    def _attribute_bytes(self) -> tuple[Int64Array, UInt64Array]:
        """Bytes that the attributes take at the end of each datum, and a hash of them that order does not change."""
        maps = self.column("attributes")
        offsets = np.asarray(maps.offsets)
        counts = np.diff(offsets).astype(np.int64)
        if offsets[-1] == offsets[0]:
            return np.ones(len(self), dtype=np.int64), np.zeros(len(self), dtype=np.uint64)
        first, end = int(offsets[0]), int(offsets[-1])
        keys, items = maps.keys.slice(first, end - first), maps.items.slice(first, end - first)
        key_bytes, item_bytes = byte_lengths(keys), byte_lengths(items)
        entry = key_bytes + _varint_bytes(key_bytes) + item_bytes + _varint_bytes(item_bytes)
        hashes = combine(hash_strings(keys), hash_strings(items))[1]
        # Sums of runs by differences of a running sum; it wraps, which for a hash is as good as any sum.
        with np.errstate(over="ignore"):
            bytes_to = np.concatenate(([0], np.cumsum(entry)))
            hash_to = np.concatenate((np.zeros(1, dtype=np.uint64), np.cumsum(hashes, dtype=np.uint64)))
            at = offsets - first
            size, total = np.diff(bytes_to[at]), np.diff(hash_to[at])
        return np.where(counts > 0, size + _varint_bytes(counts) + 1, 1), total

    @cached_property
    def pairs(self) -> tuple[Groups, list[tuple[str, str]]]:
        """The uses by product and meter, and what each group stands for."""
        products, meters = self.column("product"), self.column("meter")
        if len(self) and uniform(products) and uniform(meters):  # as in most chunks
            return one_group(len(self)), [(products[0].as_py(), meters[0].as_py())]
        groups = group_codes(_codes(products) << 32 | _codes(meters))
        first = pa.array(groups.first)
        return groups, list(zip(products.take(first).to_pylist(), meters.take(first).to_pylist(), strict=True))

    def attribute(self, name: str) -> pa.Array:
        """One attribute of each use, null where it is absent; of a repeated key the last counts."""
        if name not in self._attributes:
            self._attributes[name] = self._find_attribute(name)
        return self._attributes[name]

    def _find_attribute(self, name: str) -> pa.Array:
        maps = self.column("attributes")
        offsets = np.asarray(maps.offsets)
        first, end = int(offsets[0]), int(offsets[-1])
        if first == end:
            return pa.nulls(len(self), pa.string())
        found = np.flatnonzero(pc.equal(maps.keys.slice(first, end - first), name).to_numpy(zero_copy_only=False))
        take = np.full(len(self), -1, dtype=np.int64)
        take[np.searchsorted(offsets - first, found, side="right") - 1] = found
        chosen = pa.array(take, mask=take < 0)
        return maps.items.slice(first, end - first).take(chosen)

    def text(self, field: str) -> pa.Array:
        """A field or attribute that a rule names, as strings; null where it is absent, in the item's catalog too."""
        own = self.column(field) if field in EVENT_FIELDS else self.attribute(field)
        return own if self.found is None or field not in ENRICHED else self.found.text(field, own)


def uniform(column: pa.Array) -> bool:
    """Whether all texts of a column, which has some and no null, are the same."""
    n = len(column)
    _, offsets_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[column.offset : column.offset + n + 1]
    size = int(offsets[1] - offsets[0])
    if int(offsets[n] - offsets[0]) != size * n or (np.diff(offsets) != size).any():
        return False
    if size == 0:
        return True
    data = np.frombuffer(data_buffer, dtype=np.uint8)[offsets[0] : offsets[n]]
    return bool((data[size:] == data[:-size]).all())


def _codes(column: pa.Array) -> Int64Array:
    """A number for each distinct text: int64[n]."""
    codes: Int64Array = column.dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes


def _varint_bytes(values: Int64Array) -> Int64Array:
    """Bytes of Avro's zigzag varint of numbers from 0 to 2^27."""
    size = np.ones(len(values), dtype=np.int64)
    for limit in (1 << 6, 1 << 13, 1 << 20):
        size += values >= limit
    return size
