"""Closed windows and settlements against what charges or earnings add up to; what is open is what has no row yet."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from nanotally.streams.domain.reconciling import Check, Difference
from nanotally.streams.domain.reconciling_frames import SERIES, SUMS, at_windows, by_currency, summed
from nanotally.streams.domain.windows import Calendar

ID_DIGITS = 32


@dataclass(frozen=True)
class Closing:
    """How far a partition is closed, by its chunk record at the cut. cursor: a close is unfinished, so that windows up
    to the watermark may be there already."""

    closed_to_us: int
    watermark_us: int
    cursor: bool


@dataclass(frozen=True)
class Compared:
    """A check with the sums by currency of the rows that are there and of what is open, nanos."""

    check: Check
    closed: dict[str, int]
    open: dict[str, int]


def compare_tallies(
    name: str, topic: str, partition: int, uses: pl.DataFrame, rows: pl.DataFrame, sizes: Sequence[str],
    calendar: Calendar, closing: Closing,
) -> Check:  # fmt: skip
    """Windows of all sizes. uses: columns USE_SCHEMA, `at` the start of a window of the finest size (or an instant);
    rows: tally.avsc with sums as Int128 and `offset`."""
    check = Check(name)
    for size in sizes:
        expected = at_windows(uses, calendar, size)
        found = rows.filter(pl.col("size") == size).rename({"window_start": "at", "window_end": "end"})
        keys = ["account", "at", *SERIES]
        check.take(
            _compare(f"window of {size}", topic, partition, expected, found, keys, size, calendar, closing).check
        )
    other = rows.filter(~pl.col("size").is_in(list(sizes)))
    for account, size, offset in other.select("account", "size", "offset").iter_rows():
        check.differ(Difference(f"window of {account}", topic, partition, offset, f"one of {', '.join(sizes)}", size))
    return check


def compare_settlements(
    kind: str, topic: str, partition: int, uses: pl.DataFrame, rows: pl.DataFrame, period: str, calendar: Calendar,
    closing: Closing,
) -> Compared:  # fmt: skip
    """Statements or payouts (`kind` 'statement' or 'payout'). rows: columns account, period, at, end, currency,
    count, amount, id and offset."""
    keys = ["account", "at", "currency"]
    expected = summed(at_windows(uses, calendar, period), keys)
    compared = _compare(kind, topic, partition, expected, rows, keys, period, calendar, closing)
    for account, size, at, currency, found, offset in rows.select(
        "account", "period", "at", "currency", "id", "offset"
    ).iter_rows():
        text = f"{kind}|{account}|{period}|{at}|{currency}"
        right = hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]
        if (size, found) != (period, right):
            said = f"{period} {right}", f"{size} {found}"
            compared.check.differ(Difference(f"id of the {kind} of {account}", topic, partition, offset, *said))
    return compared


def _compare(
    what: str, topic: str, partition: int, expected: pl.DataFrame, found: pl.DataFrame, keys: list[str], size: str,
    calendar: Calendar, closing: Closing,
) -> Compared:  # fmt: skip
    sums = [name for name in SUMS if name in found.columns]
    check = Check(what, compared=len(found))
    ends = calendar.ends(size, expected["at"].to_numpy().astype(np.int64))
    joined = expected.with_columns(pl.Series("right_end", ends)).join(
        found.with_columns(pl.lit(True).alias("there")), on=keys, how="full", suffix="_found", coalesce=True
    )
    missing = joined.filter(pl.col("there").is_null())
    closed = missing.filter(pl.col("right_end") <= closing.closed_to_us)
    _note(check, closed, f"{what} missing", topic, partition, keys, sums, "")
    both = joined.filter(pl.col("there") & pl.col("right_end").is_not_null())
    wrong = pl.any_horizontal(
        [pl.col(name) != pl.col(f"{name}_found") for name in sums] + [pl.col("right_end") != pl.col("end")]
    )
    _note(check, both.filter(wrong), what, topic, partition, keys, [*sums, "right_end"], "_found")
    limit = closing.watermark_us if closing.cursor else closing.closed_to_us
    early = both.filter(pl.col("right_end") > limit)
    _note(check, early, f"{what} closed before its end", topic, partition, keys, ["right_end"], "_found")
    alone = joined.filter(pl.col("there") & pl.col("right_end").is_null())
    _note(check, alone, f"{what} without uses", topic, partition, keys, [], "_found")
    twice = found.filter(found.select(keys).is_duplicated()).sort("offset").filter(~pl.struct(keys).is_first_distinct())
    for row in twice.iter_rows(named=True):
        check.differ(
            Difference(f"{what} told twice: {_key(row, keys)}", topic, partition, row["offset"], "once", "twice")
        )
    return Compared(check, by_currency(found), by_currency(missing))


def _note(
    check: Check, rows: pl.DataFrame, what: str, topic: str, partition: int, keys: list[str], values: list[str],
    suffix: str,
) -> None:  # fmt: skip
    """A difference for each row: the values expected beside those found."""
    place = "offset_found" if "offset_found" in rows.columns else "offset"
    for row in rows.sort([place, *keys]).iter_rows(named=True):
        found = {"right_end": row.get("end")} | {name: row.get(f"{name}{suffix}") for name in values if name in SUMS}
        expected = ", ".join(f"{_NAMES.get(name, name)} {row[name]}" for name in values) or "no row"
        seen = ", ".join(f"{_NAMES.get(name, name)} {found[name]}" for name in values) if suffix and values else ""
        offset = row[place] if suffix else None
        said = (expected, seen or ("a row" if suffix else "no row"))
        check.differ(
            Difference(f"{what}: {_key(row, keys)}", topic, partition, -1 if offset is None else offset, *said)
        )


_NAMES = {"right_end": "end"}


def _key(row: dict[str, object], keys: Sequence[str]) -> str:
    return " ".join(str(row[name]) for name in keys)
