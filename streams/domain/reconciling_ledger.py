"""The ledger read again: every charge against itself, and every chunk record against all charges before it.

Independent of the stage's state: sums are made here, from the records alone, and compared at each chunk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.schemas import codec
from nanotally.streams.domain.reconciling import Check, Difference
from nanotally.streams.domain.reconciling_chains import Chains
from nanotally.streams.domain.reconciling_columns import Charges
from nanotally.streams.domain.reconciling_frames import Sums
from nanotally.streams.domain.reconciling_redriven import RedrivenUses
from nanotally.streams.domain.reconciling_usage import told_uses
from nanotally.streams.domain.records import BoolArray, Int64Array
from nanotally.streams.domain.windows import Calendar

_ROWS = {"offset": pl.Int64, "currency": pl.String, "paid": pl.Int64, "shares": pl.Int64}
OUTCOMES = ("charged", "refused", "unpriced", "duplicate", "rejected", "control")
COUNTED = ("charged", "refused", "unpriced", "due", "duplicate", "free", "late", "redriven", "rows.charges")


@dataclass
class Cut:
    """Where a partition is reconciled: its last chunk record, and the ledger offset of it."""

    chunk: dict[str, Any]
    offset: int


@dataclass
class LedgerFold:
    """One partition of `charges`, read in order. finest: size of the tallies, by the calendar of the book; usage_from:
    oldest offset of `usage` that is kept."""

    partition: int
    calendar: Calendar | None
    finest: str
    usage_from: int = 0
    cut: Cut | None = None
    charges: int = 0
    controls: int = 0
    records: Check = field(default_factory=lambda: Check("charges: lines and shares sum"))
    chunks: Check = field(default_factory=lambda: Check("every chunk: counts and sums"))
    balance: Check = field(default_factory=lambda: Check("every chunk: debits = credits"))
    chained: Check = field(default_factory=lambda: Check("scopes and splits without gap"))
    payers: Sums = field(default_factory=Sums)
    accounts: Sums = field(default_factory=Sums)

    def __post_init__(self) -> None:
        self._values: list[bytes | None] = []
        self._offsets: list[Int64Array] = []
        self._counts: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self._rows: list[pl.DataFrame] = []
        self.control_offsets: list[int] = []
        self._seen: list[Int64Array] = []  # usage offsets that have their outcome
        self._uses: list[Int64Array] = []  # as `told_uses` gives them: of uses that `usage` still has
        self.redriven = RedrivenUses(self.partition)
        self._scopes = Chains("scope", self.partition, ("quantity", "over", "total", "charged"))
        self._splits = Chains("split", self.partition, ("base",))

    def add(self, offsets: Int64Array, values: Sequence[bytes | None]) -> None:
        """Takes records in order; what follows the last chunk waits for its own."""
        self._offsets.append(offsets)
        self._values += values
        by_name = codec.split_by_schema(self._values)
        chunks = by_name.pop("Chunk", np.zeros(0, dtype=np.int64)).tolist()
        end = chunks[-1] + 1 if chunks else 0
        decoded = [(place, codec.decode_one(self._values[place])[1]) for place in chunks]
        if end:
            all_offsets = np.concatenate(self._offsets)
            by_name = {name: places[places < end] for name, places in by_name.items()}
            self._take(all_offsets[:end], self._values[:end], by_name, decoded)
            self._offsets, self._values = [all_offsets[end:]], self._values[end:]

    @property
    def left(self) -> int:
        """Records after the last chunk; there are none in a ledger of whole transactions."""
        return len(self._values)

    def rows(self) -> pl.DataFrame:
        """Every charge as ClickHouse must have it: offset, currency, paid and shares in nanos."""
        return pl.concat([pl.DataFrame(schema=_ROWS), *self._rows])

    def usage_offsets(self) -> Int64Array:
        """Usage offsets that the ledger tells of, in any order: uses, controls that took effect, duplicates."""
        return np.concatenate([*self._seen, np.zeros(0, dtype=np.int64)])

    def uses(self) -> Int64Array:
        """The uses that `usage` still has, as `told_uses` gives them."""
        return np.concatenate([np.zeros((0, 2), dtype=np.int64), *self._uses])

    def _take(
        self,
        offsets: Int64Array,
        values: Sequence[bytes | None],
        by_name: dict[str | None, Int64Array],
        chunks: list[tuple[int, dict[str, Any]]],
    ) -> None:
        places = by_name.pop("Charge", np.zeros(0, dtype=np.int64))
        controls = by_name.pop("ControlTaken", np.zeros(0, dtype=np.int64))
        for name, foreign in by_name.items():
            for place in foreign.tolist():
                self._broken(int(offsets[place]), "Charge, ControlTaken or Chunk", name or "no known record")
        decoded = codec.decode("Charge", [values[i] for i in places.tolist()])
        for bad in decoded.bad:
            self._broken(int(offsets[places[bad.index]]), "a charge", bad.detail)
        places = places[decoded.index]
        charges = Charges(decoded.batch, offsets[places])
        self._check_charges(charges)
        self.control_offsets += offsets[controls].tolist()
        self._remember(charges, [codec.decode_one(values[i])[1] for i in controls.tolist()], chunks)
        self._check_chunks(charges, places, controls, chunks, offsets)
        last_place, last = chunks[-1]
        self.cut = Cut(last, int(offsets[last_place]))

    def _broken(self, offset: int, expected: str, found: str) -> None:
        self.records.differ(Difference("record", "charges", self.partition, offset, expected, found))

    def _check_charges(self, charges: Charges) -> None:
        check, place = self.records, ("charges", self.partition)
        check.compared += len(charges)
        pairs = (
            ("partition", charges.column("usage_partition"), np.full(len(charges), self.partition)),
            ("sum of the lines", charges.column("paid_nanos"), charges.lines_paid),
        )
        for what, expected, found in pairs:
            for row in np.flatnonzero(expected != found).tolist():
                said = f"{int(expected[row]):,}", f"{int(found[row]):,}"
                check.differ(Difference(what, *place, int(charges.offsets[row]), *said))
        paid = charges.line("paid_nanos")
        for line in np.flatnonzero(charges.shares_of_lines != paid).tolist():
            offset = int(charges.offsets[charges.charge_of_line[line]])
            said = f"{int(paid[line]):,}", f"{int(charges.shares_of_lines[line]):,}"
            check.differ(Difference("sum of the shares", *place, offset, *said))
        self._scopes.add(charges.scope_links(), self.chained)
        self._splits.add(charges.split_links(), self.chained)
        self.redriven.add(charges)

    def _remember(
        self, charges: Charges, controls: list[dict[str, Any]], chunks: list[tuple[int, dict[str, Any]]]
    ) -> None:
        due = charges.batch.column("event").is_null().to_numpy(zero_copy_only=False)
        at = charges.column("usage_offset")
        self._seen.append(at[~due])
        kept = np.flatnonzero(~due & (at >= self.usage_from))
        if len(kept):
            events = charges.batch.column("event").take(pa.array(kept))
            self._uses.append(told_uses(at[kept], lambda name: pc.struct_field(events, name)))
        self._seen.append(np.array([c["usage_offset"] for c in controls], dtype=np.int64))
        self._seen += [np.array(record["duplicates"], dtype=np.int64) for _, record in chunks]
        currency = pl.from_arrow(charges.batch.column("currency"))
        columns = (charges.offsets, currency, charges.column("paid_nanos"), charges.shares_of_charges)
        self._rows.append(pl.DataFrame(dict(zip(_ROWS, columns, strict=True)), schema=_ROWS))
        self.charges += len(charges)
        self.controls += len(controls)
        if self.calendar is not None:
            self.payers.add(charges.paid_by_payers(self.calendar, self.finest))
            self.accounts.add(charges.earned_by_accounts())

    def _check_chunks(
        self,
        charges: Charges,
        places: Int64Array,
        controls: Int64Array,
        chunks: list[tuple[int, dict[str, Any]]],
        offsets: Int64Array,
    ) -> None:
        """Running counts and sums at each chunk, made of the segments between them."""
        at = np.array([place for place, _ in chunks], dtype=np.int64)
        ends = np.searchsorted(places, at)
        starts = np.concatenate(([0], ends[:-1]))
        control_ends = np.searchsorted(controls, at)
        counts = _counts(charges)
        sums = _sums(charges)
        for i, (place, record) in enumerate(chunks):
            first, end = int(starts[i]), int(ends[i])
            for name, flags in counts.items():
                self._counts[name] += int(flags[first:end].sum())
            for name, values in sums.items():
                self.sums[name] += exact_sum(values[first:end])
            taken = int(control_ends[i]) - (int(control_ends[i - 1]) if i else 0)
            self._counts["rows.charges"] += end - first + taken
            self._counts["duplicate"] += len(record["duplicates"])
            self._compare(record, int(offsets[place]))

    def _compare(self, record: dict[str, Any], offset: int) -> None:
        place = ("charges", self.partition, offset)
        said = record["counts"]
        names = {*COUNTED, *self._counts, *(n for n in said if n.startswith(("refused.", "unpriced.", "due.")))}
        for name in sorted(names):
            self.chunks.same(f"count {name}", place, self._counts.get(name, 0), said.get(name, 0))
        for name in sorted({*self.sums, *(n for n in record["sums"] if n.startswith(("paid.", "shares.")))}):
            self.chunks.same(f"sum {name}", place, self.sums.get(name, 0), int(record["sums"].get(name, 0)))
        self.chunks.same("records", place, sum(said.get(name, 0) for name in OUTCOMES), record["records"])
        for name in sorted(name for name in self.sums if name.startswith("paid.")):
            credits = int(record["sums"].get(f"shares.{name[5:]}", 0))
            self.balance.same(f"credits of {name[5:]}", place, int(record["sums"].get(name, 0)), credits)


def _counts(charges: Charges) -> dict[str, BoolArray]:
    """Flags by the name under which a chunk counts them."""
    batch, none = charges.batch, np.zeros(len(charges), dtype=np.bool_)
    joined = pc.binary_join_element_wise(batch.column("outcome"), batch.column("reason"), ".").dictionary_encode()
    codes = joined.indices.to_numpy()
    flags: dict[str, BoolArray] = {}
    for code, text in enumerate(joined.dictionary.to_pylist()):
        outcome, reason = text.split(".", 1)
        for name in (outcome, f"{outcome}.{reason}") if reason else (outcome,):
            flags[name] = flags.get(name, none) | (codes == code)
    flags["late"] = batch.column("late").to_numpy(zero_copy_only=False)
    flags["redriven"] = charges.redriven_from >= 0
    flags["free"] = flags.get("charged", none) & (charges.column("paid_nanos") == 0)
    return flags


def _sums(charges: Charges) -> dict[str, Int64Array]:
    """Amounts of each charge by the name under which a chunk sums them; 0 where it is of another currency."""
    found: dict[str, Int64Array] = {}
    currency = charges.batch.column("currency").dictionary_encode()
    codes = currency.indices.to_numpy()
    for code, name in enumerate(currency.dictionary.to_pylist()):
        mine = (codes == code) & charges.charged
        if mine.any():
            found[f"paid.{name}"] = np.where(mine, charges.column("paid_nanos"), 0)
            found[f"shares.{name}"] = np.where(mine, charges.shares_of_charges, 0)
    return found


def exact_sum(values: Int64Array) -> int:
    """Sum as a Python integer, never wrapping."""
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())
