"""Tallies and settlements told plainly: every use counted in every window that holds it, nothing folded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.tallies import OpenTallies
from nanotally.streams.domain.tallies_rows import Closed
from nanotally.streams.domain.tariff import Settings
from nanotally.streams.domain.windows import Calendar

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Use:
    account: str
    at_us: int
    amount: int
    count: int = 1
    quantity: int = 1
    product: str = "news"
    meter: str = "page.view"
    scale: int = 0
    currency: str = "USD"


def closed_rows(uses: Iterable[Use], settings: Settings, to_us: int, prefix: str = "") -> list[Row]:
    """All rows of windows that end at or before `to_us`, in the order of closing. A row: end, place of size, account,
    product, meter, scale, currency, size, start, count, quantity, amount; a settlement has no quantity."""
    calendar, sums = Calendar(settings.zone), dict[Row, list[int]]()
    sizes = (*settings.windows, settings.settlement)
    for use in uses:
        for place, size in enumerate(sizes):
            start = calendar.starts(size, np.array([use.at_us]))
            end = int(calendar.ends(size, start)[0])
            series: Row = (use.product, use.meter, use.scale, use.currency)
            if place == len(settings.windows):
                size, series = "settlement", ("", "", 0, use.currency)
            row = sums.setdefault((end, place, prefix + use.account, *series, size, int(start[0])), [0, 0, 0])
            row[0] += use.count
            row[1] += use.quantity if size != "settlement" else 0
            row[2] += use.amount
    return [(*key, *values) for key, values in sorted(sums.items()) if key[0] <= to_us]


def add(tallies: OpenTallies, uses: Iterable[Use]) -> None:
    """Adds uses in one call."""
    uses = list(uses)
    wide = max((abs(n) for u in uses for n in (u.quantity, u.amount)), default=0) >= 2**63
    kind = object if wide else np.int64
    tallies.add(
        tallies.accounts.codes(pa.array([u.account for u in uses], type=pa.string())),
        np.array([tallies.series_code(u.product, u.meter, u.scale, u.currency) for u in uses], dtype=np.int32),
        np.array([u.at_us for u in uses], dtype=np.int64),
        np.array([u.count for u in uses], dtype=np.int64),
        np.array([u.quantity for u in uses], dtype=kind),
        np.array([u.amount for u in uses], dtype=kind),
    )


def rows_of(closed: Closed, settings: Settings) -> list[Row]:
    """What a call closed, as `closed_rows` tells it: tallies, then settlements."""
    tallies = [
        (
            r["window_end"], settings.windows.index(r["size"]), r["account"], r["product"], r["meter"], r["scale"],
            r["currency"], r["size"], r["window_start"], r["count"], int(r["quantity"]), int(r["amount_nanos"]),
        )
        for r in closed.tallies.to_pylist()
    ]  # fmt: skip
    s = closed.settlements
    columns = (
        s.account.to_pylist(),
        s.currency.to_pylist(),
        s.period_start_us,
        s.period_end_us,
        s.count,
        s.amount_nanos,
    )
    place = len(settings.windows)
    return tallies + [
        (int(end), place, account, "", "", 0, currency, "settlement", int(start), int(count), 0, int(amount))
        for account, currency, start, end, count, amount in zip(*columns, strict=True)
    ]


def close_all(tallies: OpenTallies, to_us: int, limit: int) -> tuple[list[Row], list[str | None]]:
    """Rows of all slices up to `to_us`, and the cursor after each slice."""
    rows: list[Row] = []
    cursors: list[str | None] = [None]
    while True:
        closed = tallies.close(to_us, cursors[-1], limit)
        rows += rows_of(closed, tallies.settings)
        cursors.append(closed.cursor)
        if closed.done:
            return rows, cursors[1:]
