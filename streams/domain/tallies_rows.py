"""What closing gives: rows of tallies and settlements; and the series that they are told by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.streams.domain.keys import Interner
from nanotally.streams.domain.records import Int32Array, Int64Array
from nanotally.streams.domain.tallies_level import Rows
from nanotally.streams.domain.tallies_sums import Exact, digits, sums_by


class Series(NamedTuple):
    """What sums of one account are kept apart by. A settlement's series has a currency only."""

    product: str
    meter: str
    scale: int
    currency: str


class SeriesColumns(NamedTuple):
    """All series in columns, by code. rank: place in the order of texts; settlement: code of the settlement's series
    of the same currency; money: place of the currency in `currencies`."""

    product: pa.Array
    meter: pa.Array
    scale: Int64Array
    currency: pa.Array
    rank: Int64Array
    settlement: Int64Array
    money: Int64Array
    currencies: tuple[str, ...]


class SeriesTable:
    """Series as small integers, in the order of first appearance."""

    def __init__(self) -> None:
        self.rows: list[Series] = []
        self._codes: dict[Series, int] = {}
        self._columns: SeriesColumns | None = None

    def code(self, series: Series) -> int:
        """Code of the series, a new one where it was never seen."""
        code = self._codes.get(series)
        if code is None:
            code = self._codes[series] = len(self.rows)
            self.rows.append(series)
            self._columns = None
            self.code(_settlement_of(series))
        return code

    def codes(self, product: pa.Array, meter: pa.Array, scale: Int64Array, currency: pa.Array) -> Int32Array:
        """Codes of the series in four columns of n: int32[n]."""
        columns = [pc.dictionary_encode(c) for c in (product, meter, pa.array(scale), currency)]
        combined = np.zeros(len(product), dtype=np.int64)
        for column in columns:  # few series in a chunk: the product of their numbers stays far below 2**63
            combined = combined * max(1, len(column.dictionary)) + column.indices.to_numpy()
        encoded = pc.dictionary_encode(pa.array(combined))
        found = np.zeros(len(encoded.dictionary), dtype=np.int32)
        for i, value in enumerate(encoded.dictionary.to_pylist()):
            parts = []
            for column in reversed(columns):
                value, place = divmod(value, max(1, len(column.dictionary)))
                parts.append(column.dictionary[place].as_py())
            found[i] = self.code(Series(*reversed(parts)))
        places: Int64Array = encoded.indices.to_numpy()
        return found[places]

    def columns(self) -> SeriesColumns:
        """All series in columns."""
        if self._columns is None:
            currencies = Interner()
            order = sorted(range(len(self.rows)), key=self.rows.__getitem__)
            rank = np.zeros(len(order), dtype=np.int64)
            rank[order] = np.arange(len(order))
            self._columns = SeriesColumns(
                pa.array([s.product for s in self.rows], type=pa.string()),
                pa.array([s.meter for s in self.rows], type=pa.string()),
                np.array([s.scale for s in self.rows], dtype=np.int64),
                pa.array([s.currency for s in self.rows], type=pa.string()),
                rank,
                np.array([self._codes[_settlement_of(s)] for s in self.rows], dtype=np.int64),
                np.array([currencies.add(s.currency) for s in self.rows], dtype=np.int64),
                tuple(currencies.texts),
            )
        return self._columns


def _settlement_of(series: Series) -> Series:
    return Series("", "", 0, series.currency)


@dataclass
class Settlements:
    """Closed settlement periods, n rows in the order of closing: full account names, periods in microseconds UTC,
    number of uses, and the sum of the amounts in nanos."""

    account: pa.Array
    currency: pa.Array
    period_start_us: Int64Array
    period_end_us: Int64Array
    count: Int64Array
    amount_nanos: Exact

    def __len__(self) -> int:
        return len(self.account)


class Part(NamedTuple):
    """Closed rows of windows of one size with the full names of their accounts."""

    size: str
    rows: Rows
    names: pa.Array


@dataclass
class Closed:
    """What one call closed, each in the order of closing.

    settlements; sums: nanos by the chunk record's names, 'tallies.SIZE.CUR' and 'settled.CUR'; cursor: JSON list [end,
    size index, account, product, meter, scale, currency] of the last row while windows that have ended are still open,
    None when there are none left."""

    parts: list[Part]
    series: SeriesColumns
    settlements: Settlements
    sums: dict[str, int]
    cursor: str | None

    @cached_property
    def tallies(self) -> pa.RecordBatch:
        """Columns of tally.avsc."""
        return tally_batch(self.parts, self.series)

    @property
    def done(self) -> bool:
        """No window that had ended is left open."""
        return self.cursor is None

    def __len__(self) -> int:
        return sum(len(p.rows) for p in self.parts) + len(self.settlements)


def sorted_names(codes: Int64Array, accounts: Interner, prefix: str) -> tuple[pa.Array, Int64Array]:
    """Full names of the accounts among the codes, sorted by code point, and the place of each row's name in them."""
    present, place = _distinct(codes, len(accounts))
    names = pa.array([prefix + text for text in accounts.text(present.astype(np.int32))], type=pa.string())
    order = pc.sort_indices(names)
    rank = np.empty(len(present), dtype=np.int64)
    rank[order.to_numpy()] = np.arange(len(present))
    return names.take(order), rank[place]


def _distinct(codes: Int64Array, known: int) -> tuple[Int64Array, Int64Array]:
    """Distinct codes out of 0..known-1, and the place of each row's code among them."""
    if 16 * len(codes) < known:
        present, place = np.unique(codes, return_inverse=True)
        return present, place
    flags = np.zeros(known, dtype=np.bool_)
    flags[codes] = True
    present = np.flatnonzero(flags)
    place_of = np.empty(known, dtype=np.int64)
    place_of[present] = np.arange(len(present))
    return present, place_of[codes]


def tally_batch(parts: list[Part], series: SeriesColumns) -> pa.RecordBatch:
    """Columns of tally.avsc of the parts in order."""
    rows = Rows.joined([p.rows for p in parts])
    sizes = pa.array([p.size for p in parts], type=pa.string())
    size = np.repeat(np.arange(len(parts)), [len(p.rows) for p in parts]).astype(np.int64)
    code = pa.array(rows.series)
    return pa.RecordBatch.from_pydict(
        {
            "account": joined_names(parts),
            "size": sizes.take(pa.array(size)),
            "window_start": pa.array(rows.start_us),
            "window_end": pa.array(rows.end_us),
            "product": series.product.take(code),
            "meter": series.meter.take(code),
            "scale": pa.array(series.scale[rows.series].astype(np.int32)),
            "currency": series.currency.take(code),
            "count": pa.array(rows.count.astype(np.int64)),
            "quantity": digits(rows.quantity),
            "amount_nanos": digits(rows.amount_nanos),
        }
    )


def joined_names(parts: list[Part]) -> pa.Array:
    """Full account names of the parts' rows in order."""
    return pa.concat_arrays([p.names for p in parts]) if parts else pa.array([], type=pa.string())


def settlements_of(parts: list[Part], series: SeriesColumns) -> Settlements:
    """Settlements from the rows of their level."""
    rows = Rows.joined([p.rows for p in parts])
    return Settlements(
        account=joined_names(parts),
        currency=series.currency.take(pa.array(rows.series)),
        period_start_us=rows.start_us,
        period_end_us=rows.end_us,
        count=rows.count.astype(np.int64),
        amount_nanos=rows.amount_nanos,
    )


def money_by_name(name: str, rows: Rows, series: SeriesColumns) -> dict[str, int]:
    """Sums of the rows' amounts by currency: nanos by 'NAME.CUR', for the currencies of the rows."""
    money = series.money[rows.series]
    totals = sums_by(money, len(series.currencies), rows.amount_nanos)
    return {f"{name}.{series.currencies[c]}": totals[c] for c in np.unique(money).tolist()}
