"""The accounts' side: earnings against the shares of charges, payouts against what was brought, earned and paid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from nanotally.streams.domain.keys import partition_of
from nanotally.streams.domain.reconciling import Check, Difference
from nanotally.streams.domain.reconciling_frames import SERIES, SUMS, by_currency, summed

KEYS = ("account", "at", *SERIES)


def compare_earnings(
    source: int, partitions: int, shares: pl.DataFrame, earnings: pl.DataFrame, counts: Mapping[str, int]
) -> Check:
    """What one source told the accounts against the shares of its charges.

    shares: columns USE_SCHEMA by minute; earnings: likewise, all rows of this source, with the partition of `earnings`
    they are in as `partition`; partitions: how many there are; counts: of the chunk record. Rows beyond those that it
    counts were written after it."""
    check = Check("earnings = shares", compared=len(earnings))
    parts = []
    for q in range(partitions):
        mine, wanted = earnings.filter(pl.col("partition") == q).sort("offset"), counts.get(f"rows.earnings.{q}", 0)
        check.same(f"rows of source {source}", ("earnings", q, -1), wanted, min(wanted, len(mine)))
        parts.append(mine.head(wanted))
    told = pl.concat([earnings.head(0), *parts])
    places = {account: partition_of(account.encode(), partitions) for account in told["account"].unique()}
    astray = told.with_columns(
        pl.col("account").replace_strict(places, default=None, return_dtype=pl.Int64).alias("right")
    ).filter(pl.col("right") != pl.col("partition"))
    for account, partition, offset in astray.select("account", "partition", "offset").iter_rows():
        said = str(places[account]), str(partition)
        check.differ(Difference(f"partition of {account}", "earnings", partition, offset, *said))
    joined = shares.join(summed(told), on=list(KEYS), how="full", suffix="_told", coalesce=True)
    wrong = pl.any_horizontal([pl.col(name).fill_null(0) != pl.col(f"{name}_told").fill_null(0) for name in SUMS])
    for row in joined.filter(wrong).sort(["offset_told", *KEYS]).iter_rows(named=True):
        partition = partition_of(row["account"].encode(), partitions)
        offset = -1 if row["offset_told"] is None else row["offset_told"]
        what = f"earnings of {row['account']} at {row['at']} for {row['product']} {row['meter']}, source {source}"
        expected, found = (
            "none" if row[f"count{end}"] is None else ", ".join(f"{name} {row[name + end]}" for name in SUMS)
            for end in ("", "_told")
        )
        check.differ(Difference(what, "earnings", partition, offset, expected, found))
    return check


def compare_payouts(partition: int, payouts: pl.DataFrame, thresholds: Mapping[str, int] | None) -> Check:
    """Each payout: brought and earned are paid or carried, and what one carries the next one brings.

    payouts: columns account, currency, end, brought, amount (earned), paid, carried as Int128, offset; thresholds: in
    nanos by currency, None where books had different ones."""
    check = Check("payouts carry forward", compared=len(payouts))
    rows = payouts.sort("account", "currency", "end", "offset").with_columns(
        pl.col("carried").shift(1).over("account", "currency").fill_null(0).alias("left")
    )
    for row in rows.sort("offset").iter_rows(named=True):
        total, account, currency = row["brought"] + row["amount"], row["account"], row["currency"]
        place = ("payouts", partition, row["offset"])
        pays = not account.startswith("pool:") and total >= max(1, (thresholds or {}).get(currency, 0))
        if thresholds is None and row["paid"] == 0:
            pays = False  # below a threshold that was in force then
        for name, expected, found in (
            ("brought", row["left"], row["brought"]),
            ("paid + carried", total, row["paid"] + row["carried"]),
            ("paid", total if pays else 0, row["paid"]),
        ):
            if expected != found:
                said = f"{name} of the payout of {account}"
                check.differ(Difference(said, *place, f"{expected:,}", f"{found:,}"))
    return check


def carried_by_currency(payouts: pl.DataFrame) -> dict[str, int]:
    """What accounts carry after their last payout, nanos by currency."""
    last = payouts.sort("end", "offset").group_by("account", "currency", maintain_order=True).last()
    return by_currency(last, "carried")


def compare_chunk(chunk: Mapping[str, Any], partition: int, offset: int, sums: Mapping[str, int]) -> Check:
    """The accounts' last chunk record against sums made here, by the names it uses."""
    check = Check("accounts' chunk: sums")
    place = ("account_tallies", partition, offset)
    for name in sorted({*sums, *(n for n in chunk["sums"] if n.split(".")[0] in _SUMMED)}):
        check.same(f"sum {name}", place, sums.get(name, 0), int(chunk["sums"].get(name, 0)))
    return check


_SUMMED = {"earned", "tallies", "settled", "paid", "carried"}


def sums_of_accounts(earned: pl.DataFrame, tallies: pl.DataFrame, payouts: pl.DataFrame) -> dict[str, int]:
    """Sums by the names of the accounts' chunk record: earned, tallies by size, settled, paid, carried."""
    sums = {f"earned.{c}": n for c, n in by_currency(earned).items()}
    for size in tallies["size"].unique().to_list():
        sums |= {f"tallies.{size}.{c}": n for c, n in by_currency(tallies.filter(pl.col("size") == size)).items()}
    sums |= {f"settled.{c}": n for c, n in by_currency(payouts).items()}
    sums |= {f"paid.{c}": n for c, n in by_currency(payouts, "paid").items()}
    return sums | {f"carried.{c}": n for c, n in carried_by_currency(payouts).items()}
