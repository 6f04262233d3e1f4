"""One partition of the payers' stage at its last chunk record: the ledger, and what was written beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from nanotally.streams.domain.reconciling import Check, Difference
from nanotally.streams.domain.reconciling_frames import by_currency
from nanotally.streams.domain.reconciling_ledger import OUTCOMES, LedgerFold
from nanotally.streams.domain.reconciling_windows import Closing, compare_settlements, compare_tallies
from nanotally.streams.domain.tariff import Settings
from nanotally.streams.domain.windows import Calendar


@dataclass
class Beside:
    """What was read of the topics that the stage writes besides the ledger, in order: columns of the records with
    `offset`; sums as Int128. Rows beyond those that the chunk record counts were written after it."""

    rejects: pl.DataFrame
    payer_tallies: pl.DataFrame
    statements: pl.DataFrame


def check_payers(
    fold: LedgerFold, beside: Beside, settings: Settings | None, expired: Set[str] = frozenset()
) -> Iterator[Check]:
    """All checks of one partition. expired: topics whose oldest rows are gone; what needs them is left out."""
    if fold.left:
        fold.chunks.differ(
            Difference("records after the last chunk record", "charges", fold.partition, -1, "0", str(fold.left))
        )
    yield from (fold.records, fold.chained, fold.chunks, fold.balance, fold.redriven.check())
    if fold.cut is None:
        yield from _nothing(fold, beside)
        return
    chunk = fold.cut.chunk
    counts = chunk["counts"]
    if "rejects" not in expired:
        rejects = _rows(beside.rejects, "rejects", fold, counts)
        yield rejects.check
        yield _rejects(fold, rejects.frame, counts)
        yield _outcomes(fold, rejects.frame, chunk)
    if settings is None:
        return
    closing = Closing(chunk["closed_to_us"], chunk["watermark_us"], chunk["cursor"] is not None)
    calendar = Calendar(settings.zone)
    if "payer_tallies" not in expired:
        tallies = _rows(beside.payer_tallies, "payer_tallies", fold, counts)
        yield tallies.check
        yield from _tallies(fold, tallies.frame, settings, calendar, closing)
    if "statements" not in expired:
        statements = _rows(beside.statements, "statements", fold, counts)
        yield statements.check
        yield _statements(fold, statements.frame, settings, calendar, closing)


@dataclass
class _Rows:
    frame: pl.DataFrame
    check: Check


def _rows(frame: pl.DataFrame, topic: str, fold: LedgerFold, counts: Mapping[str, int]) -> _Rows:
    """The rows that the chunk record counts; fewer is a difference."""
    check, wanted = Check("rows as the chunk counts"), counts.get(f"rows.{topic}", 0)
    kept = frame.head(wanted)
    check.same("rows", (topic, fold.partition, -1), wanted, len(kept))
    return _Rows(kept, check)


def _nothing(fold: LedgerFold, beside: Beside) -> Iterator[Check]:
    """Without a chunk record there must be no row anywhere."""
    check = Check("rows as the chunk counts")
    for topic, frame in vars(beside).items():
        check.same("rows without a chunk record", (topic, fold.partition, -1), 0, len(frame))
    yield check


def _rejects(fold: LedgerFold, rejects: pl.DataFrame, counts: Mapping[str, int]) -> Check:
    place = ("rejects", fold.partition, -1)
    found = dict(rejects.group_by("reason").len().sort("reason").iter_rows())
    check = Check("rejects by reason", figures=Counter(found))
    for reason in sorted({*found, *(n.removeprefix("rejected.") for n in counts if n.startswith("rejected."))}):
        check.same(f"rejects {reason}", place, counts.get(f"rejected.{reason}", 0), found.get(reason, 0))
    check.same("rejects", place, counts.get("rejected", 0), len(rejects))
    return check


def _outcomes(fold: LedgerFold, rejects: pl.DataFrame, chunk: Mapping[str, Any]) -> Check:
    """Every usage offset has one outcome. A control that changed nothing leaves a count and no record."""
    counts, records, p = chunk["counts"], chunk["records"], fold.partition
    told = np.sort(np.concatenate([fold.usage_offsets(), rejects["offset_of_input"].to_numpy().astype(np.int64)]))
    check = Check("usage: one outcome each", records, Counter({name: counts.get(name, 0) for name in OUTCOMES}))
    twice = told[1:][np.diff(told) == 0]
    for offset in np.unique(twice).tolist():
        check.differ(Difference("outcomes", "usage", p, offset, "one", "several"))
    for offset in np.unique(told[told >= chunk["next_offset"]]).tolist():
        check.differ(
            Difference("outcome of a record", "usage", p, offset, f"before {chunk['next_offset']:,}", "beyond")
        )
    silent = counts.get("control", 0) - fold.controls
    distinct = len(told) - len(twice)
    if distinct != records - silent:
        untold = np.setdiff1d(np.arange(chunk["next_offset"]), told, assume_unique=False)
        first = int(untold[0]) if len(untold) else -1
        what = f"records with an outcome (without one is {', '.join(map(str, untold[:3].tolist())) or 'none'})"
        check.differ(Difference(what, "usage", p, first, f"{records - silent:,}", f"{distinct:,}"))
    return check


def _tallies(
    fold: LedgerFold, rows: pl.DataFrame, settings: Settings, calendar: Calendar, closing: Closing
) -> Iterator[Check]:
    assert fold.cut is not None
    name, p = "payer tallies + open = charges", fold.partition
    yield compare_tallies(name, "payer_tallies", p, fold.payers.frame(), rows, settings.windows, calendar, closing)
    check = Check(name)
    for size in settings.windows:
        for currency, nanos in by_currency(rows.filter(pl.col("size") == size)).items():
            said = int(fold.cut.chunk["sums"].get(f"tallies.{size}.{currency}", 0))
            check.same(f"sum of {size} in {currency}", ("payer_tallies", p, -1), said, nanos)
    yield check


def _statements(
    fold: LedgerFold, rows: pl.DataFrame, settings: Settings, calendar: Calendar, closing: Closing
) -> Check:
    assert fold.cut is not None
    p, sums, uses = fold.partition, fold.cut.chunk["sums"], fold.payers.frame()
    settled = compare_settlements("statement", "statements", p, uses, rows, settings.settlement, calendar, closing)
    check = settled.check
    check.name = "statements + open = paid"
    for currency in sorted({*settled.closed, *settled.open}):
        closed = settled.closed.get(currency, 0)
        place = ("charges", p, fold.cut.offset)
        paid = int(sums.get(f"paid.{currency}", 0))
        check.same(f"statements and open windows, {currency}", place, closed + settled.open.get(currency, 0), paid)
        check.same(f"sum settled.{currency}", place, closed, int(sums.get(f"settled.{currency}", 0)))
        check.figures[f"nanos {currency} settled"] += closed
        check.figures[f"nanos {currency} open"] += settled.open.get(currency, 0)
    return check
