"""Open windows to bytes and back: one Arrow stream for each size, the accounts' texts, and the rest as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.keys import Interner
from nanotally.streams.domain.records import Int64Array
from nanotally.streams.domain.tallies_level import Level, pack
from nanotally.streams.domain.tallies_rows import Series, SeriesTable
from nanotally.streams.domain.tallies_sums import Exact, digits
from nanotally.streams.domain.tariff import Settings
from nanotally.streams.errors import BrokenInvariant


def save(
    settings: Settings, closed_to_us: int, levels: Sequence[Level], accounts: Interner, series: SeriesTable
) -> dict[str, bytes]:
    """Named blobs of the open windows. Accounts that have none are left out: codes start afresh."""
    parts = [level.rows(level.alive()) for level in levels]
    used = np.unique(np.concatenate([rows.account for rows in parts]))
    code = np.zeros(len(accounts) + 1, dtype=np.int64)
    code[used] = np.arange(len(used))
    meta = {"closed_to_us": closed_to_us, "windows": _windows(settings), "series": series.rows}
    texts = pa.array(accounts.text(used.astype(np.int32)), type=pa.string())
    blobs = {
        "tallies.meta": json.dumps(meta, ensure_ascii=False).encode(),
        "tallies.accounts": to_bytes(pa.RecordBatch.from_pydict({"text": texts})),
    }
    for i, rows in enumerate(parts):
        columns = {
            "account": pa.array(code[rows.account]),
            "series": pa.array(rows.series),
            "start_us": pa.array(rows.start_us),
            "count": exact_column(rows.count),
            "quantity": exact_column(rows.quantity),
            "amount_nanos": exact_column(rows.amount_nanos),
        }
        blobs[f"tallies.{i}"] = to_bytes(pa.RecordBatch.from_pydict(columns))
    return blobs


def load(
    parts: Mapping[str, bytes], settings: Settings, levels: Sequence[Level], accounts: Interner, series: SeriesTable
) -> int:
    """Fills empty levels, accounts and series from `save`'s blobs; gives closed_to_us."""
    meta = json.loads(parts["tallies.meta"])
    if meta["windows"] != _windows(settings):
        raise BrokenInvariant(f"a snapshot has windows {meta['windows']}, the rule book {_windows(settings)}")
    for text in from_bytes(parts["tallies.accounts"])["text"].to_pylist():
        accounts.add(text)
    for row in meta["series"]:
        series.code(Series(*row))
    for i, level in enumerate(levels):
        columns = from_bytes(parts[f"tallies.{i}"])
        key = pack(integers(columns["account"]), integers(columns["series"]))
        sums = (exact_values(columns[name]) for name in ("count", "quantity", "amount_nanos"))
        level.add(key, integers(columns["start_us"]), *sums)
    return int(meta["closed_to_us"])


def _windows(settings: Settings) -> list[object]:
    return [settings.zone, list(settings.windows), settings.settlement]


def to_bytes(batch: pa.RecordBatch) -> bytes:
    """Columns as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def from_bytes(blob: bytes) -> pa.RecordBatch:
    """Columns from `to_bytes`."""
    return pa.ipc.open_stream(blob).read_next_batch()


def integers(column: pa.Array) -> Int64Array:
    """An int64 column that may be written to."""
    return np.array(column.to_numpy(), dtype=np.int64)


def exact_column(values: Exact) -> pa.Array:
    """Exact sums as int64, or as decimal digits where one might not fit."""
    return digits(values) if values.dtype == object else pa.array(values)


def exact_values(column: pa.Array) -> Exact:
    """Exact sums from `exact_column`."""
    if column.type == pa.int64():
        return integers(column)
    values = np.empty(len(column), dtype=object)
    values[:] = [int(v) for v in column.to_pylist()]
    return values
