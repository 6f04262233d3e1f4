"""What charges add up to: the uses and shares that tallies, settlements and earnings must therefore hold.

Sums are polars Int128: of 64-bit numbers no count of rows that fits a disk can leave them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from nanotally.streams.domain.windows import Calendar

SERIES = ("product", "meter", "scale", "currency")
SUMS = ("count", "quantity", "amount")
ROWS_BEFORE_SUMMING = 500_000

USE_SCHEMA = {
    "account": pl.String,
    "at": pl.Int64,
    "product": pl.String,
    "meter": pl.String,
    "scale": pl.Int32,
    "currency": pl.String,
    "count": pl.Int64,
    "quantity": pl.Int128,
    "amount": pl.Int128,
    "offset": pl.Int64,
}


class Sums:
    """Rows of uses added up by account, instant and series, as they come; `at` is the start of a window.

    A sum keeps the least offset of its rows, to say where a difference begins."""

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []
        self._rows = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Adds rows with the columns of USE_SCHEMA."""
        self._parts.append(summed(rows))
        self._rows += len(self._parts[-1])
        if self._rows > ROWS_BEFORE_SUMMING:
            self._parts = [summed(pl.concat(self._parts))]
            self._rows = 0  # again when as many came on top

    def frame(self) -> pl.DataFrame:
        """All sums."""
        if not self._parts:
            return pl.DataFrame(schema=USE_SCHEMA)
        self._parts = [summed(pl.concat(self._parts))]
        return self._parts[0]


def summed(rows: pl.DataFrame, by: Sequence[str] = ("account", "at", *SERIES)) -> pl.DataFrame:
    """The rows added up by the columns given."""
    return rows.group_by(by).agg(
        pl.col("count").sum(),
        pl.col("quantity").cast(pl.Int128).sum(),
        pl.col("amount").cast(pl.Int128).sum(),
        pl.col("offset").min(),
    )


def at_windows(rows: pl.DataFrame, calendar: Calendar, size: str) -> pl.DataFrame:
    """The rows added up by the windows of `size` that hold their instants."""
    starts = calendar.around(size, rows["at"].to_numpy().astype(np.int64))
    return summed(rows.with_columns(pl.Series("at", starts)))


def whole_numbers(frame: pl.DataFrame, *names: str) -> pl.DataFrame:
    """Columns of decimal digits as Int128."""
    return frame.with_columns(pl.col(name).cast(pl.Int128) for name in names)


def total(frame: pl.DataFrame, name: str = "amount") -> int:
    """Sum of a column as a Python integer."""
    return int(frame[name].sum() or 0)


def by_currency(frame: pl.DataFrame, name: str = "amount") -> dict[str, int]:
    """Sums of a column by currency, zero ones too."""
    sums = frame.group_by("currency").agg(pl.col(name).cast(pl.Int128).sum()).sort("currency")
    return {currency: int(value) for currency, value in sums.iter_rows()}
