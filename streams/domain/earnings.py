"""What a chunk adds to each account: deltas for the accounts' stage."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from nanotally.schemas import codec
from nanotally.streams.domain.hashing import partitions_of
from nanotally.streams.domain.keys import Groups, Interner, group
from nanotally.streams.domain.ledger import account_column
from nanotally.streams.domain.records import BoolArray, Emission, Int64Array
from nanotally.streams.domain.splitting import Splits
from nanotally.streams.domain.uses import Uses
from nanotally.streams.domain.windows import MINUTE_US

PLACES = ("product", "meter", "scale", "currency")


class AccountPlaces:
    """Key and partition of each account's earnings, worked out once for each."""

    def __init__(self, accounts: Interner, partitions: int) -> None:
        self.accounts, self.partitions = accounts, partitions
        self.keys: list[bytes] = []
        self._partition = np.zeros(0, dtype=np.int64)

    def partition(self, codes: Int64Array) -> Int64Array:
        """Partition of each account by code: int64[n]. `keys` then has the keys of all of them."""
        new = [text.encode() for text in self.accounts.texts[len(self.keys) :]]
        if new:
            self._partition = np.concatenate((self._partition, partitions_of(new, self.partitions)))
            self.keys += new
        return self._partition[codes]


class Deltas:
    """Sums of shares by (account, minute of booked_at, product, meter, scale, currency) over the runs of a chunk."""

    def __init__(self, source: int, places: AccountPlaces) -> None:
        self.source, self.places, self.partitions = source, places, places.partitions
        self._series: dict[tuple[str, str, int, str], int] = {}
        self._keys: list[list[bytes | None]] = [[] for _ in range(self.partitions)]
        self._values: list[list[bytes]] = [[] for _ in range(self.partitions)]
        self.rows = [0] * self.partitions  # deltas by partition, without marks
        self._columns: list[tuple[Int64Array, ...]] = []  # account, series, minute, count, quantity, nanos

    def add(
        self,
        uses: Uses,
        rows: Int64Array,
        booked_at: Int64Array,
        resolved: Int64Array,
        nanos: Int64Array,
        splits: Splits,
        counted: BoolArray | None = None,
    ) -> None:
        """Adds the shares of charged rows, or of lines of theirs. nanos: int64[rows, k] by party of the resolved split;
        counted: bool[rows], where the use itself counts, by default everywhere: of a charge its first line."""
        series = self._series_of(uses, rows, resolved, splits)
        ones, quantity = np.ones(len(rows), dtype=np.int64), uses.quantity[rows]
        if counted is not None:
            ones, quantity = counted.astype(np.int64), np.where(counted, quantity, 0)
        minute = booked_at - booked_at % MINUTE_US
        counts = splits.count[resolved]
        for party in range(int(counts.max(initial=0))):
            mine = np.flatnonzero(counts > party)
            account = splits.account[resolved[mine], party]
            self._columns.append(
                _summed(account, series[mine], minute[mine], ones[mine], quantity[mine], nanos[mine, party])
            )

    def add_due(
        self, series: tuple[str, str, int, str], booked_at_us: int, account: Int64Array, nanos: Int64Array
    ) -> None:
        """Adds what accounts get by what fell due, where nothing was used. series: product, meter, scale, currency."""
        n = len(account)
        code, minute = self._series.setdefault(series, len(self._series)), booked_at_us - booked_at_us % MINUTE_US
        none = np.zeros(n, dtype=np.int64)
        self._columns.append((account, np.full(n, code), np.full(n, minute), none, none, nanos))

    def _series_of(self, uses: Uses, rows: Int64Array, resolved: Int64Array, splits: Splits) -> Int64Array:
        pairs, names = uses.pairs
        scale = uses.scale[rows]
        currency = splits.currency[resolved]
        code = (pairs.codes[rows] * 64 + scale) * max(1, len(splits.currencies)) + currency
        distinct, back = np.unique(code, return_inverse=True) if len(code) else (code, code)
        table = []
        for value in distinct.tolist():
            rest, currency_code = divmod(value, max(1, len(splits.currencies)))
            pair_code, scale_value = divmod(rest, 64)
            product, meter = names[pair_code]
            key = (product, meter, scale_value, splits.currencies.texts[currency_code])
            table.append(self._series.setdefault(key, len(self._series)))
        codes: Int64Array = np.array(table, dtype=np.int64)[back.reshape(-1)]
        return codes

    def mark(self, mark: bytes) -> None:
        """Puts the source's mark into every partition, behind the deltas added so far."""
        self._flush()
        for p in range(self.partitions):
            self._keys[p].append(None)
            self._values[p].append(mark)

    def emissions(self) -> list[Emission]:
        """All deltas and marks by partition of the account, in order."""
        self._flush()
        return [
            Emission("earnings", p, self._keys[p], self._values[p]) for p in range(self.partitions) if self._values[p]
        ]

    def _flush(self) -> None:
        if self._columns:
            columns = _summed(*(np.concatenate(parts) for parts in zip(*self._columns, strict=True)))
            self._encode(columns)
            self._columns = []

    def _encode(self, columns: tuple[Int64Array, ...]) -> None:
        account, series, minute, count, quantity, nanos = columns
        product, meter, scale, currency = (list(column) for column in zip(*self._series, strict=True))
        batch = pa.RecordBatch.from_arrays(
            [
                pa.repeat(pa.scalar(self.source, pa.int32()), len(account)),
                account_column(self.places.accounts, account),
                pa.array(minute),
                *(pa.array(texts, pa.string()).take(pa.array(series)) for texts in (product, meter)),
                pa.array(scale, pa.int32()).take(pa.array(series)),
                pa.array(currency, pa.string()).take(pa.array(series)),
                pa.array(count),
                pa.array(quantity),
                pa.array(nanos),
            ],
            names=["source", "account", "minute", *PLACES, "count", "quantity", "amount_nanos"],
        )
        encoded = codec.encode("Earning", batch)
        partition = self.places.partition(account)
        keys = self.places.keys
        for p in range(self.partitions):
            mine = np.flatnonzero(partition == p)
            self.rows[p] += len(mine)
            self._keys[p] += [keys[code] for code in account[mine].tolist()]
            self._values[p] += [encoded[row] for row in mine.tolist()]


def _summed(
    account: Int64Array,
    series: Int64Array,
    minute: Int64Array,
    count: Int64Array,
    quantity: Int64Array,
    nanos: Int64Array,
) -> tuple[Int64Array, ...]:
    """Rows summed by (account, series, minute). A sum that would leave 64 bits stays in several rows: deltas add up
    all the same."""
    groups = group(((account << 24) ^ series).view(np.uint64), minute.view(np.uint64))
    if len(groups) == len(account):
        return account, series, minute, count, quantity, nanos
    most = max(int(quantity.max(initial=0)), int(np.abs(nanos).max(initial=0)))
    if most * len(account) >= 2**62:
        return account, series, minute, count, quantity, nanos
    first = groups.first
    return account[first], series[first], minute[first], *(_sums(groups, c) for c in (count, quantity, nanos))


def _sums(groups: Groups, column: Int64Array) -> Int64Array:
    sums: Int64Array = np.add.reduceat(column[groups.order], groups.starts)
    return sums
