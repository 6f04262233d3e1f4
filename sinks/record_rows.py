"""Rows of every table but `charges`: columns by the table's names, from decoded batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.sinks.columns import TIME, money, repeated, small, time, whole_number
from nanotally.sinks.warehouse import Position
from nanotally.streams.dead_letters import told
from nanotally.streams.domain.records import LONG_AGO, Int64Array
from nanotally.streams.errors import BrokenInvariant

PAYER = "payer:"

# What `chunks` says where a write held no chunk record: nothing, and the least of what only goes up.
_NO_CHUNK: dict[str, Any] = {
    "stage": "",
    "input_partition": 0,
    "next_offset": -1,
    "next_n": 0,
    "watermark_us": LONG_AGO,
    "closed_to_us": LONG_AGO,
    "cursor": None,
    "book_number": -1,
    "book_hash": "",
    "records": 0,
    "counts": {},
    "sums": {},
    "source_watermarks": {},
}


def _with_place(columns: dict[str, pa.Array], partition: int, offsets: Int64Array) -> pa.RecordBatch:
    n = len(offsets)
    columns |= {"kafka_partition": repeated(partition, n, np.uint16), "kafka_offset": pa.array(offsets)}
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _payer(accounts: pa.Array) -> pa.Array:
    """Payers of accounts 'payer:ID'."""
    if not pc.all(pc.starts_with(accounts, PAYER)).as_py():
        raise BrokenInvariant(f"an account of a payer does not begin with {PAYER!r}: {accounts.to_pylist()[:5]}")
    return pc.utf8_slice_codeunits(accounts, len(PAYER))


def _tallies(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return {
        "size": batch.column("size"),
        "window_start": time(batch.column("window_start")),
        "window_end": time(batch.column("window_end")),
        "product": batch.column("product"),
        "meter": batch.column("meter"),
        "scale": small(batch.column("scale"), pa.uint8()),
        "currency": batch.column("currency"),
        "uses": batch.column("count"),
        "quantity": whole_number(batch.column("quantity")),
        "amount": money(batch.column("amount_nanos")),
    }


def payer_tallies(batch: pa.RecordBatch, partition: int, offsets: Int64Array) -> pa.RecordBatch:
    """Closed windows of payers, from Tally."""
    return _with_place({"payer": _payer(batch.column("account"))} | _tallies(batch), partition, offsets)


def account_tallies(batch: pa.RecordBatch, partition: int, offsets: Int64Array) -> pa.RecordBatch:
    """Closed windows of accounts that earn, from Tally."""
    return _with_place({"account": batch.column("account")} | _tallies(batch), partition, offsets)


def _settled(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return {
        "period": batch.column("period"),
        "period_start": time(batch.column("period_start")),
        "period_end": time(batch.column("period_end")),
        "currency": batch.column("currency"),
        "uses": batch.column("count"),
    }


def statements(batch: pa.RecordBatch, partition: int, offsets: Int64Array) -> pa.RecordBatch:
    """What payers owe, from Statement."""
    columns = {"statement_id": batch.column("statement_id"), "payer": _payer(batch.column("account"))}
    columns |= _settled(batch) | {"due": money(batch.column("due_nanos"))}
    return _with_place(columns, partition, offsets)


def payouts(batch: pa.RecordBatch, partition: int, offsets: Int64Array) -> pa.RecordBatch:
    """What accounts get, from Payout."""
    columns = {"payout_id": batch.column("payout_id"), "account": batch.column("account")} | _settled(batch)
    columns |= {name: money(batch.column(f"{name}_nanos")) for name in ("brought", "earned", "paid", "carried")}
    return _with_place(columns, partition, offsets)


def rejects(batch: pa.RecordBatch, partition: int, offsets: Int64Array) -> pa.RecordBatch:
    """What could not be used, from Reject."""
    columns = {name: batch.column(name) for name in ("reason", "detail", "fingerprint", "key", "value")}
    columns |= {
        "recorded_at": time(batch.column("recorded_at")),
        "input_topic": batch.column("topic"),
        "input_partition": small(batch.column("partition"), pa.uint16()),
        "input_offset": batch.column("offset"),
        "product": pa.array([_product(value) for value in batch.column("value").to_pylist()], pa.string()),
    }
    return _with_place(columns, partition, offsets)


def _product(value: bytes | None) -> str:
    """The product of a rejected use, where its bytes tell it."""
    found = told(value)
    return "" if found.guessed or found.what == "control" else str(found.fields.get("product") or "")


def redrives(batch: pa.RecordBatch, partition: int, offsets: Int64Array) -> pa.RecordBatch:
    """What was put in once more, from Redrive."""
    columns = {name: batch.column(name) for name in ("reason", "event_id", "mended", "note", "to_offset")}
    columns |= {
        "input_partition": small(batch.column("partition"), pa.uint16()),
        "input_offset": batch.column("offset"),
        "to_partition": small(batch.column("to_partition"), pa.uint16()),
        "at": time(batch.column("at")),
    }
    return _with_place(columns, partition, offsets)


def controls(batch: pa.RecordBatch, partition: int, offsets: Int64Array) -> pa.RecordBatch:
    """Controls that took effect, from ControlTaken."""
    columns = {name: batch.column(name) for name in ("usage_offset", "control_id", "kind", "book_number", "book_hash")}
    columns |= {
        "usage_partition": small(batch.column("usage_partition"), pa.uint16()),
        "recorded_at": time(batch.column("recorded_at")),
        "at": time(batch.column("at")),
    }
    return _with_place(columns, partition, offsets)


def books(batch: pa.RecordBatch, partition: int, offsets: Int64Array) -> pa.RecordBatch:
    """Rule books, from RuleBook; the number is the offset."""
    columns = {name: batch.column(name) for name in ("book_hash", "note", "settings")}
    columns |= {"published_at": time(batch.column("published_at")), "book_number": pa.array(offsets)}
    return _with_place(columns, partition, offsets)


def tariffs(batch: pa.RecordBatch, partition: int, offsets: Int64Array) -> pa.RecordBatch:
    """The tariff versions of rule books, from RuleBook: as many rows as each lists, all of its offset."""
    return _listed(batch, "tariffs", "tariff", partition, offsets)


def catalogs(batch: pa.RecordBatch, partition: int, offsets: Int64Array) -> pa.RecordBatch:
    """The catalogs' versions of rule books, likewise."""
    return _listed(batch, "catalogs", "catalog", partition, offsets)


def _listed(batch: pa.RecordBatch, lists_of: str, named: str, partition: int, offsets: Int64Array) -> pa.RecordBatch:
    lists = batch.column(lists_of)
    numbers = np.repeat(offsets, np.diff(np.asarray(lists.offsets)))
    listed = lists.flatten()
    columns = {name: listed.field(name) for name in (named, "version", "content_hash", "document", "source")}
    columns |= {"effective_from": listed.field("effective_from").view(pa.int64()).view(TIME)}
    columns |= {"book_number": pa.array(numbers)}
    return _with_place(columns, partition, numbers)


def chunk_row(
    topic: str, partition: int, after: Position, chunk: tuple[int, Mapping[str, Any]] | None, duplicates: Sequence[int]
) -> pa.RecordBatch:
    """The row of `chunks` that says that everything before `after` is written.

    chunk: offset and fields of the last chunk record of the write, if it held one."""
    offset, fields = chunk or (-1, _NO_CHUNK)
    columns = {
        "topic": pa.array([topic]),
        "kafka_partition": pa.array([partition], pa.uint16()),
        "kafka_offset": pa.array([after.next_offset - 1], pa.int64()),
        "records": pa.array([after.records], pa.int64()),
        "chunk_offset": pa.array([offset], pa.int64()),
        "stage": pa.array([fields["stage"]]),
        "input_partition": pa.array([fields["input_partition"]], pa.uint16()),
        "input_offset": pa.array([fields["next_offset"]], pa.int64()),
        "input_n": pa.array([fields["next_n"]], pa.int32()),
        "watermark_us": pa.array([fields["watermark_us"]], pa.int64()),
        "closed_to_us": pa.array([fields["closed_to_us"]], pa.int64()),
        "cursor": pa.array([fields["cursor"]], pa.string()),
        "book_number": pa.array([fields["book_number"]], pa.int64()),
        "book_hash": pa.array([fields["book_hash"]]),
        "input_records": pa.array([fields["records"]], pa.int64()),
        "counts": _numbers(fields["counts"]),
        "sums": _one_map(fields["sums"], money(pa.array(fields["sums"].values(), pa.string()))),
        "duplicates": pa.array([list(duplicates)], pa.list_(pa.int64())),
        "source_watermarks": _numbers(fields["source_watermarks"]),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _numbers(values: Mapping[str, int]) -> pa.MapArray:
    return _one_map(values, pa.array(values.values(), pa.int64()))


def _one_map(keys: Mapping[str, Any], values: pa.Array) -> pa.MapArray:
    return pa.MapArray.from_arrays(pa.array([0, len(keys)], pa.int32()), pa.array(keys, pa.string()), values)
