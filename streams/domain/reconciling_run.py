"""All of a reconciliation from what was read: the partitions of both stages, and the tables that must hold the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from nanotally.streams.domain.reconciling import Check, Difference
from nanotally.streams.domain.reconciling_accounts import (
    compare_chunk,
    compare_earnings,
    compare_payouts,
    sums_of_accounts,
)
from nanotally.streams.domain.reconciling_ledger import LedgerFold
from nanotally.streams.domain.reconciling_payers import Beside, check_payers
from nanotally.streams.domain.reconciling_usage import KeptUsage
from nanotally.streams.domain.reconciling_windows import Closing, compare_settlements, compare_tallies
from nanotally.streams.domain.tariff import RuleBook, Settings
from nanotally.streams.domain.windows import Calendar


@dataclass
class AccountsPartition:
    """One partition of the accounts' stage: its last chunk record and offset (None: nothing written), its rows."""

    chunk: dict[str, Any] | None
    offset: int
    tallies: pl.DataFrame
    payouts: pl.DataFrame
    left: int = 0  # records after the last chunk record


@dataclass
class Material:
    """What was read. folds, beside: by partition of usage; accounts: by partition of earnings; earnings: all rows,
    with `source` and `partition`; reading: what could not be read; expired: partitions by topic whose oldest rows
    are gone, so that they cannot be compared; redrives: rows of that topic, None where it was never made; usage: what
    it still keeps of what was taken, by partition; waiting_uses, waiting_earnings: records that the payers' and the
    accounts' stage have not taken yet, so that nothing can be said of them; added_uses: those in partitions of usage
    that were added, which no stage takes."""

    books: Sequence[RuleBook]
    folds: dict[int, LedgerFold]
    beside: dict[int, Beside] = field(default_factory=dict)
    accounts: dict[int, AccountsPartition] = field(default_factory=dict)
    earnings: pl.DataFrame = field(default_factory=pl.DataFrame)
    reading: Check = field(default_factory=lambda: Check("records can be read"))
    expired: dict[str, list[int]] = field(default_factory=dict)
    redrives: pl.DataFrame | None = None
    usage: dict[int, KeptUsage] = field(default_factory=dict)
    waiting_uses: int = 0
    waiting_earnings: int = 0
    added_uses: int = 0

    @property
    def waiting(self) -> int:
        """Records of which nothing can be said yet."""
        return self.waiting_uses + self.waiting_earnings + self.added_uses

    @property
    def settings(self) -> Settings | None:
        """Zone, window sizes and period are those of the first book; None without one."""
        return self.books[0].settings if self.books else None

    @property
    def thresholds(self) -> Mapping[str, int] | None:
        """Payout thresholds, where all books have the same."""
        found = {book.settings.thresholds for book in self.books}
        return dict(next(iter(found))) if len(found) == 1 else None


def check_all(material: Material) -> Iterator[Check]:
    """Every check between topics, in the order in which money flows."""
    yield material.reading
    for p, fold in sorted(material.folds.items()):
        gone = {topic for topic, partitions in material.expired.items() if p in partitions}
        yield from check_payers(fold, material.beside[p], material.settings, gone)
        if p in material.usage:
            yield _usage(material.usage[p], fold, material.beside[p].rejects, "rejects" in gone)
    for p, fold in sorted(material.folds.items()):
        yield _earnings(material, p, fold)
    for q, part in sorted(material.accounts.items()):
        yield from _accounts(material, q, part)
    yield _through(material)
    if material.redrives is not None:
        yield redriven_once(material.redrives)


def _usage(kept: KeptUsage, fold: LedgerFold, rejects: pl.DataFrame, expired: bool) -> Check:
    rejected = rejects["offset_of_input"].to_numpy().astype(np.int64)
    told = np.concatenate([fold.usage_offsets(), rejected])
    counts = fold.cut.chunk["counts"] if fold.cut else {}
    rejects_from = int(rejected.min(initial=kept.position)) if expired else 0
    return kept.check(told, fold.uses(), counts.get("control", 0) - fold.controls, rejects_from)


def redriven_once(redrives: pl.DataFrame) -> Check:
    """No record was put in for two others, and none was put in for twice. redrives: a row for each Redrive record."""
    check = Check("dead letters: each redriven once", compared=len(redrives))
    check.figures = Counter({"mended": int(redrives["mended"].sum()), "as they were": int((~redrives["mended"]).sum())})
    for what, place in (
        ("old record", ["partition", "offset_of_input"]),
        ("new record", ["to_partition", "to_offset"]),
    ):
        for row in redrives.filter(redrives.select(place).is_duplicated()).unique(place).iter_rows(named=True):
            name = f"{row[place[0]]}-{row[place[1]]}"
            check.differ(Difference(f"{what} {name}", "redrives", 0, row["offset"], "once", "more often"))
    return check


def _earnings(material: Material, p: int, fold: LedgerFold) -> Check:
    mine = material.earnings.filter(pl.col("source") == p)
    counts = fold.cut.chunk["counts"] if fold.cut else {}
    return compare_earnings(p, len(material.accounts), fold.accounts.frame(), mine, counts)


def _taken(material: Material, q: int, part: AccountsPartition) -> pl.DataFrame:
    """Earnings of a partition that the accounts' stage has taken."""
    position = part.chunk["next_offset"] if part.chunk else 0
    return material.earnings.filter((pl.col("partition") == q) & (pl.col("offset") < position))


def _accounts(material: Material, q: int, part: AccountsPartition) -> Iterator[Check]:
    rows = Check("rows as the chunk counts")
    counts = part.chunk["counts"] if part.chunk else {}
    if part.left:
        said = "records after the last chunk record"
        rows.differ(Difference(said, "account_tallies", q, -1, "0", str(part.left)))
    gone = q in material.expired.get("payouts", ())
    payouts = part.payouts.head(counts.get("rows.payouts", 0))
    if not gone:
        rows.same("rows", ("payouts", q, -1), counts.get("rows.payouts", 0), len(payouts))
    rows.same("rows", ("account_tallies", q, -1), counts.get("rows.account_tallies", 0), len(part.tallies))
    yield rows
    settings = material.settings
    if part.chunk is None or settings is None:
        return
    taken, calendar, chunk = _taken(material, q, part), Calendar(settings.zone), part.chunk
    closing = Closing(chunk["closed_to_us"], chunk["watermark_us"], chunk["cursor"] is not None)
    finest = calendar.starts(settings.windows[0], taken["at"].to_numpy().astype(np.int64))
    uses = taken.with_columns(pl.Series("at", finest, pl.Int64))
    name = "account tallies + open = earnings"
    yield compare_tallies(name, "account_tallies", q, uses, part.tallies, settings.windows, calendar, closing)
    if gone:
        return
    settled = compare_settlements("payout", "payouts", q, uses, payouts, settings.settlement, calendar, closing)
    settled.check.name = "payouts + open = earned"
    place = ("payouts", q, -1)
    for currency in sorted({*settled.closed, *settled.open}):
        earned = int(chunk["sums"].get(f"earned.{currency}", 0))
        found = settled.closed.get(currency, 0) + settled.open.get(currency, 0)
        settled.check.same(f"payouts and open windows, {currency}", place, earned, found)
        settled.check.figures[f"nanos {currency} settled"] += settled.closed.get(currency, 0)
        settled.check.figures[f"nanos {currency} open"] += settled.open.get(currency, 0)
    yield settled.check
    yield compare_payouts(q, payouts, material.thresholds)
    sums = sums_of_accounts(taken, part.tallies, payouts)
    yield compare_chunk(chunk, q, part.offset, sums)


def _through(material: Material) -> Check:
    """Nothing gets lost between the stages: paid by payers = earned by accounts, taken or still on the way."""
    check = Check("paid = earned, over all")
    paid: dict[str, int] = {}
    for fold in material.folds.values():
        for name, nanos in fold.sums.items():
            if name.startswith("paid."):
                paid[name[5:]] = paid.get(name[5:], 0) + nanos
    earned: dict[str, int] = {}
    for fold in material.folds.values():
        for currency, nanos in fold.accounts.frame().group_by("currency").agg(pl.col("amount").sum()).iter_rows():
            earned[currency] = earned.get(currency, 0) + int(nanos)
    for currency in sorted({*paid, *earned}):
        check.same(f"paid and earned, {currency}", ("earnings", 0, -1), paid.get(currency, 0), earned.get(currency, 0))
        check.figures[f"nanos {currency}"] += paid.get(currency, 0)
    return check


def last_offset(frame: pl.DataFrame) -> int:
    """Offset of the last row; -1 without one."""
    return int(frame["offset"][-1]) if len(frame) else -1
