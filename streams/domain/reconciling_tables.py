"""ClickHouse against the ledger: rows and sums of each table; where they differ, the first row that does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from nanotally.streams.domain.reconciling import Check, Difference


@dataclass(frozen=True)
class Table:
    """A table, the topic that fills it, and its sums: by name the SQL of a row's value as a whole number."""

    name: str
    topic: str
    values: Mapping[str, str]
    currency: str = "currency"  # SQL of what sums are kept apart by


_TALLY = {
    "amount": "reinterpret(amount, 'Int128')",
    "count": "toInt128(uses)",
    "quantity": "reinterpret(quantity, 'Int128')",
}
TABLES = (
    Table("charges", "charges", {"paid": "toInt128(paid_nanos)", "shares": "toInt128(arraySum(shares.nanos))"}),
    Table("controls", "charges", {}, "''"),
    Table("payer_tallies", "payer_tallies", _TALLY),
    Table("statements", "statements", {"amount": "reinterpret(due, 'Int128')", "count": "toInt128(uses)"}),
    Table("rejects", "rejects", {"offset_of_input": "toInt128(input_offset)"}, "''"),
    Table("account_tallies", "account_tallies", _TALLY),
    Table(
        "payouts",
        "payouts",
        {"amount": "reinterpret(earned, 'Int128')"}
        | {name: f"reinterpret({name}, 'Int128')" for name in ("brought", "paid", "carried")}
        | {"count": "toInt128(uses)"},
    ),
    Table("books", "books", {}, "''"),
    Table("tariffs", "books", {}, "''"),
    Table("redrives", "redrives", {"offset_of_input": "toInt128(input_offset)"}, "''"),
)

Rows = Callable[[int], pl.DataFrame]


def compare_table(table: Table, expected: Mapping[int, pl.DataFrame], totals: pl.DataFrame, rows: Rows) -> Check:
    """One table. expected: by partition the records of the ledger, columns offset, currency and the table's values;
    totals: columns partition, currency, rows and the values' sums, of the rows up to the same records; rows: gives
    what the table holds of a partition, columns as `expected`, asked only where totals differ."""
    check = Check(f"ClickHouse {table.name}")
    for partition, ours in sorted(expected.items()):
        mine = totals.filter(pl.col("partition") == partition)
        theirs = {
            (row["currency"], name): row[name] for row in mine.iter_rows(named=True) for name in ("rows", *table.values)
        }
        sums = _totals(table, ours)
        check.compared += len(ours)
        if sums != theirs:
            found = _first(table, partition, ours, rows(partition))
            for difference in found:
                check.differ(difference)
            if not found:
                said = f"{sums}", f"{theirs}"
                check.differ(Difference("sums", f"ClickHouse {table.name}", partition, -1, *said))
    return check


def _totals(table: Table, frame: pl.DataFrame) -> dict[tuple[str, str], int]:
    if not len(frame):
        return {}
    summed = frame.group_by("currency").agg(
        pl.len().cast(pl.Int128).alias("rows"), *(pl.col(name).cast(pl.Int128).sum() for name in table.values)
    )
    return {
        (row["currency"], name): int(row[name])
        for row in summed.iter_rows(named=True)
        for name in ("rows", *table.values)
    }


def _first(table: Table, partition: int, ours: pl.DataFrame, theirs: pl.DataFrame) -> list[Difference]:
    """Rows that are missing, told twice, made up or of other content, in order of their offsets."""
    place = f"ClickHouse {table.name}", partition
    keys = ["offset"] if table.name != "tariffs" else ["offset", "number"]
    theirs = theirs.with_columns(pl.int_range(pl.len()).over("offset").alias("number"))
    ours = ours.with_columns(pl.int_range(pl.len()).over("offset").alias("number"))
    found = []
    for row in theirs.filter(theirs.select(keys).is_duplicated()).unique(keys).sort("offset").iter_rows(named=True):
        found.append(Difference("row told twice", *place, row["offset"], "once", "more often"))
    joined = ours.with_columns(pl.lit(True).alias("here")).join(
        theirs.with_columns(pl.lit(True).alias("there")), on=keys, how="full", suffix="_there", coalesce=True
    )
    values = ["currency", *table.values]
    wrong = pl.any_horizontal(
        [pl.col("here").is_null(), pl.col("there").is_null(), *(pl.col(n) != pl.col(f"{n}_there") for n in values)]
    )
    for row in joined.filter(wrong).sort("offset").iter_rows(named=True):
        sides = (
            ", ".join(f"{n} {row[n + end]}" for n in values) if row[there] else "no row"
            for end, there in (("", "here"), ("_there", "there"))
        )
        found.append(Difference("row", *place, row["offset"], *sides))
    return sorted(found, key=lambda d: d.offset)
