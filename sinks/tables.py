"""Which tables there are, and what the writer must know of each; their columns are in migrations/."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Topic (logical name) -> tables that its records go to. `chunks` comes on top for each of them.
TABLES_BY_TOPIC: dict[str, tuple[str, ...]] = {
    "charges": ("charges", "controls"),
    "payer_tallies": ("payer_tallies",),
    "statements": ("statements",),
    "rejects": ("rejects",),
    "account_tallies": ("account_tallies",),
    "payouts": ("payouts",),
    "books": ("books", "tariffs", "catalogs"),
    "redrives": ("redrives",),
}
TOPICS: tuple[str, ...] = tuple(TABLES_BY_TOPIC)
CHUNKS = "chunks"

# Table -> time column by whose month it is partitioned.
MONTH_OF: dict[str, str] = {
    "charges": "booked_at",
    "payer_tallies": "window_start",
    "account_tallies": "window_start",
    "statements": "period_start",
    "payouts": "period_start",
    "rejects": "recorded_at",
}
MONTHS_MAX = 100  # ClickHouse refuses an insert that touches more partitions


def by_months(table: str, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The rows in as few batches as ClickHouse takes: each touches at most MONTHS_MAX months."""
    column = MONTH_OF.get(table)
    if column is None or not len(batch):
        yield batch
        return
    ends = pc.min_max(batch.column(column).view(pa.int64())).as_py()
    first, last = (np.datetime64(ends[name], "us").astype("datetime64[M]").astype(np.int64) for name in ("min", "max"))
    if last - first < MONTHS_MAX:
        yield batch
        return
    times = batch.column(column).view(pa.int64()).to_numpy().astype("datetime64[us]")
    months = times.astype("datetime64[M]").astype(np.int64)
    distinct = np.unique(months)
    for start in range(0, len(distinct), MONTHS_MAX):
        some = distinct[start : start + MONTHS_MAX]
        yield batch.filter(pa.array((months >= some[0]) & (months <= some[-1])))
