"""Rows of table `charges` from a decoded batch of Charge records: column by column, nothing row by row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.sinks.columns import clipped_time, present, repeated, small, time
from nanotally.streams.domain.records import Int64Array

# Fields of a line that stay in the ledger: hashed keys, which say nothing to people and do not compress.
_LEFT_OUT = {"scope_key_high", "scope_key_low", "split_key_high", "split_key_low", "shares"}
_EVENT_TEXTS = ("event_id", "product", "creator", "item", "meter", "session")


def charge_rows(batch: pa.RecordBatch, partition: int, offsets: Int64Array) -> pa.RecordBatch:
    """Columns by the table's names. batch: Charge as the codec decodes it; offsets: int64[n] in topic `charges`."""
    n = len(batch)
    columns: dict[str, pa.Array] = _event(batch)
    for name in ("payer", "outcome", "reason", "flags", "currency", "paid_nanos", "book_number", "late"):
        columns[name] = batch.column(name)
    for name in ("recorded_at", "booked_at"):
        columns[name] = time(batch.column(name))
    columns |= _lines(batch.column("lines"))
    columns["usage_partition"] = small(batch.column("usage_partition"), pa.uint16())
    columns["usage_offset"] = batch.column("usage_offset")
    columns["n"] = small(batch.column("n"), pa.uint32())
    columns["kafka_partition"] = repeated(partition, n, np.uint16)
    columns["kafka_offset"] = pa.array(offsets)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _event(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """The use's columns; where nothing was used (what fell due), empty texts, 0, and booked_at for occurred_at."""
    event = batch.column("event")

    def field(name: str) -> pa.Array:
        # The child as it is, unless an event is null and its children mean nothing.
        return pc.struct_field(event, name) if event.null_count else event.field(name)

    columns = {name: present(field(name)) for name in _EVENT_TEXTS}
    occurred_at, quantity, scale, attributes = (
        field(name) for name in ("occurred_at", "quantity", "scale", "attributes")
    )
    if event.null_count:
        occurred_at = pc.coalesce(occurred_at.view(pa.int64()), batch.column("booked_at").view(pa.int64()))
        quantity, scale = quantity.fill_null(0), scale.fill_null(0)
        attributes = _no_null_maps(attributes)
    columns["occurred_at"] = time(occurred_at)
    columns["quantity"] = quantity
    columns["scale"] = small(scale, pa.uint8())
    columns["duration_us"] = field("duration_us")
    columns["attributes"] = attributes
    return columns


def _no_null_maps(maps: pa.MapArray) -> pa.MapArray:
    """Empty maps for nulls: ClickHouse's maps cannot be null."""
    lengths = np.where(maps.is_valid().to_numpy(zero_copy_only=False), np.diff(np.asarray(maps.offsets)), 0)
    entries = pa.ListArray.from_arrays(maps.offsets, pa.StructArray.from_arrays([maps.keys, maps.items], ["k", "v"]))
    kept = pc.list_flatten(entries.filter(maps.is_valid()))
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.MapArray.from_arrays(pa.array(offsets), kept.field("k"), kept.field("v"))


def _lines(lines: pa.ListArray) -> dict[str, pa.Array]:
    """Lines and their shares as parallel lists: `lines.NAME` by charge, `shares.NAME` by charge over all its lines."""
    starts, line = lines.offsets, lines.values
    columns = {
        f"lines.{part.name}": pa.ListArray.from_arrays(starts, _line_column(part.name, line.field(part.name)))
        for part in line.type
        if part.name not in _LEFT_OUT
    }
    share_lists = line.field("shares")
    first_line, first_share = np.asarray(starts), np.asarray(share_lists.offsets)
    share_starts = pa.array(first_share[first_line])
    share = share_lists.values
    columns["shares.line"] = pa.ListArray.from_arrays(share_starts, _line_numbers(first_line, first_share, len(share)))
    for part in share.type:
        columns[f"shares.{part.name}"] = pa.ListArray.from_arrays(share_starts, share.field(part.name))
    return columns


def _line_column(name: str, column: pa.Array) -> pa.Array:
    if name in ("scope_start", "scope_end"):
        return clipped_time(column)
    return present(column) if name == "pass" else column


def _line_numbers(first_line: np.ndarray, first_share: np.ndarray, shares: int) -> pa.Array:
    """For each share the number of its line within the charge: uint16[shares]."""
    begin, end = int(first_line[0]), int(first_line[-1])
    numbers = np.arange(begin, end) - np.repeat(first_line[:-1], np.diff(first_line))
    of_shares = np.repeat(numbers, np.diff(first_share[begin : end + 1]))
    all_shares = np.zeros(shares, dtype=np.uint16)
    all_shares[first_share[begin] : first_share[end]] = of_shares
    return pa.array(all_shares)
