"""Charges of the ledger as plain columns: what the checks need of each charge, line and share."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.streams.domain.hashing import combine_int
from nanotally.streams.domain.reconciling_chains import Links
from nanotally.streams.domain.reconciling_frames import USE_SCHEMA
from nanotally.streams.domain.records import BoolArray, Int64Array
from nanotally.streams.domain.redriven import offsets_of
from nanotally.streams.domain.tariff import OPENED_SCOPES
from nanotally.streams.domain.windows import MINUTE_US, Calendar


def ints(column: pa.Array) -> Int64Array:
    """An integer column without nulls as int64[n]."""
    values: Int64Array = column.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    return values


class Charges:
    """n charges, their m lines and k shares. batch: Charge as the codec decodes it; offsets: int64[n] in the ledger."""

    def __init__(self, batch: pa.RecordBatch, offsets: Int64Array) -> None:
        self.batch, self.offsets = batch, offsets
        lists = batch.column("lines")
        self.lines = lists.flatten()
        self.charge_of_line = np.repeat(np.arange(len(batch)), np.diff(np.asarray(lists.offsets)))
        share_lists = self.lines.field("shares")
        self.shares = share_lists.flatten()
        self.line_of_share = np.repeat(np.arange(len(self.lines)), np.diff(np.asarray(share_lists.offsets)))

    def __len__(self) -> int:
        return len(self.offsets)

    def column(self, name: str) -> Int64Array:
        """An integer column of the charges."""
        return ints(self.batch.column(name))

    def line(self, name: str) -> Int64Array:
        """An integer column of the lines."""
        return ints(self.lines.field(name))

    @cached_property
    def nanos(self) -> Int64Array:
        """What each share is, int64[k]."""
        return ints(self.shares.field("nanos"))

    @cached_property
    def shares_of_lines(self) -> Int64Array:
        """Sum of each line's shares, int64[m]."""
        return runs(self.nanos, np.asarray(self.lines.field("shares").offsets))

    @cached_property
    def shares_of_charges(self) -> Int64Array:
        """Sum of the shares of each charge, int64[n]."""
        lines = np.asarray(self.batch.column("lines").offsets)
        return runs(self.nanos, np.asarray(self.lines.field("shares").offsets)[lines - lines[0]])

    @cached_property
    def lines_paid(self) -> Int64Array:
        """Sum of each charge's lines, int64[n]."""
        return runs(self.line("paid_nanos"), np.asarray(self.batch.column("lines").offsets))

    @cached_property
    def charged(self) -> BoolArray:
        """Which charges may have lines: charged ones and what fell due."""
        flags: BoolArray = pc.is_in(self.batch.column("outcome"), pa.array(["charged", "due"])).to_numpy(
            zero_copy_only=False
        )
        return flags

    @cached_property
    def redriven_from(self) -> Int64Array:
        """Usage offset at which each redriven use found no price before, -1 of all others: int64[n]."""
        return offsets_of(self.batch.column("flags"))

    def _event(self, name: str, otherwise: str | int) -> pa.Array:
        found = pc.struct_field(self.batch.column("event"), name)
        return found if not found.null_count else pc.fill_null(found, otherwise)

    @cached_property
    def _series(self) -> dict[str, pa.Array]:
        return {
            "product": self._event("product", ""),
            "meter": self._event("meter", ""),
            "scale": self._event("scale", 0),
            "currency": self.batch.column("currency"),
        }

    @cached_property
    def _used(self) -> Int64Array:
        """1 for a use, 0 for what fell due."""
        used: Int64Array = self.batch.column("event").is_valid().to_numpy(zero_copy_only=False).astype(np.int64)
        return used

    def paid_by_payers(self, calendar: Calendar, size: str) -> pl.DataFrame:
        """A row for each charged use or due: columns USE_SCHEMA, account 'payer:ID', `at` the start of its window."""
        rows = np.flatnonzero(self.charged)
        at = calendar.starts(size, self.column("booked_at")[rows])
        payers = pc.binary_join_element_wise("payer:", self.batch.column("payer").take(pa.array(rows)), "")
        return self._rows(rows, payers, at, self.column("paid_nanos")[rows], self._used[rows])

    def earned_by_accounts(self) -> pl.DataFrame:
        """A row for each share: columns USE_SCHEMA, `at` the minute of booked_at. The use and its quantity
        count with the shares of its first line."""
        rows = self.charge_of_line[self.line_of_share]
        booked_at = self.column("booked_at")[rows]
        first = np.ones(len(self.lines), dtype=np.int64)
        first[1:] = np.diff(self.charge_of_line) != 0
        counted = self._used[rows] * first[self.line_of_share]
        return self._rows(rows, self.shares.field("account"), booked_at - booked_at % MINUTE_US, self.nanos, counted)

    def _rows(
        self, rows: Int64Array, account: pa.Array, at: Int64Array, amount: Int64Array, used: Int64Array
    ) -> pl.DataFrame:
        take = pa.array(rows)
        columns: dict[str, object] = {"account": pl.from_arrow(account), "at": at}
        columns |= {name: pl.from_arrow(column.take(take)) for name, column in self._series.items()}
        columns |= {"count": used, "quantity": ints(self._event("quantity", 0))[rows] * used}
        columns |= {"amount": amount, "offset": self.offsets[rows]}
        return pl.DataFrame(columns, schema=USE_SCHEMA)

    def scope_links(self) -> Links:
        """The lines of rules and passes whose scope lasts, as links of the scopes' chains. A session and an anchored
        scope have their start in the key here: each instance is a chain of its own."""
        lasting = pc.and_(
            pc.is_in(self.lines.field("link"), pa.array(["rule", "pass"])),
            pc.not_equal(self.lines.field("scope"), "event"),
        ).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(lasting)
        line = {name: self.line(name)[rows] for name in _SCOPE_COLUMNS}
        before = {
            "quantity": line["quantity_before"],
            "over": line["over_before"],
            "total": line["total_before"],
            "charged": line["charged_before"],
        }
        after = {
            "quantity": line["quantity_before"] + line["quantity"],
            "over": line["over_after"],
            "total": line["total_after"],
            "charged": line["charged_before"] + line["amount_nanos"],
        }
        links = self._links("scope", rows, before, after)
        opened = pc.is_in(self.lines.field("scope"), pa.array(OPENED_SCOPES)).to_numpy(zero_copy_only=False)[rows]
        if opened.any():
            key = combine_int((links.high, links.low), np.where(opened, self.line("scope_start")[rows], 0))
            links.high, links.low = key
        return links

    def split_links(self) -> Links:
        """All lines that are divided, as links of the chains of their splits' bases: not those of a pass, whose money
        goes to its pool."""
        rows = np.flatnonzero(pc.not_equal(self.lines.field("link"), "pass").to_numpy(zero_copy_only=False))
        before = self.line("base_before")[rows]
        sharing = pc.equal(self.lines.field("link"), "sharing").to_numpy(zero_copy_only=False)[rows]
        moved = np.where(sharing, self.line("amount_nanos")[rows], self.line("paid_nanos")[rows])
        return self._links("split", rows, {"base": before}, {"base": before + moved})

    def _links(self, key: str, rows: Int64Array, before: dict[str, Int64Array], after: dict[str, Int64Array]) -> Links:
        high, low = (self.line(f"{key}_key_{half}")[rows].view(np.uint64) for half in ("high", "low"))
        return Links(high, low, before, after, self.offsets[self.charge_of_line[rows]])


_SCOPE_COLUMNS = (
    "quantity_before", "quantity", "over_before", "over_after", "total_before", "total_after", "charged_before",
    "amount_nanos",
)  # fmt: skip


def runs(values: Int64Array, starts: Int64Array) -> Int64Array:
    """Sums of the runs values[starts[i] : starts[i + 1]]; each sum fits 64 bits, so a wrapped running sum is right."""
    with np.errstate(over="ignore"):
        running = np.concatenate(([0], np.cumsum(values)))
        sums: Int64Array = running[starts[1:] - starts[0]] - running[starts[:-1] - starts[0]]
        return sums
