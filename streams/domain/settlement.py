"""Settlements: what every payer owes for a closed period, and what every account is paid or carries forward.

An id is a function of account, period and currency, so that a settlement told twice is seen to be the same one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.streams.domain.keys import Interner, KeyTable
from nanotally.streams.domain.records import Int32Array, Int64Array
from nanotally.streams.domain.tallies_level import pack
from nanotally.streams.domain.tallies_rows import Settlements
from nanotally.streams.domain.tallies_state import exact_column, exact_values, from_bytes, integers, to_bytes
from nanotally.streams.domain.tallies_sums import Exact, Sums, digits, exact, plus, sums_by

POOL_PREFIX = "pool:"  # money held until it is shared out: carried, never paid
_ID_DIGITS = 32


def settlement_id(kind: str, account: str, period: str, period_start_us: int, currency: str) -> str:
    """Id of a `statement` or `payout`: the first 32 hex digits of a SHA-256."""
    text = f"{kind}|{account}|{period}|{period_start_us}|{currency}"
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]


def statements(settled: Settlements, period: str) -> pa.RecordBatch:
    """Columns of statement.avsc, a row for each settlement; zero sums too."""
    return pa.RecordBatch.from_pydict(
        {
            "statement_id": _ids("statement", settled, period),
            **_head(settled, period),
            "due_nanos": digits(settled.amount_nanos),
        }
    )


def _ids(kind: str, settled: Settlements, period: str) -> pa.Array:
    columns = (settled.account.to_pylist(), settled.period_start_us.tolist(), settled.currency.to_pylist())
    ids = [settlement_id(kind, a, period, start, c) for a, start, c in zip(*columns, strict=True)]
    return pa.array(ids, type=pa.string())


def _head(settled: Settlements, period: str) -> dict[str, pa.Array]:
    return {
        "account": settled.account,
        "period": pa.repeat(pa.scalar(period), len(settled)),
        "period_start": pa.array(settled.period_start_us),
        "period_end": pa.array(settled.period_end_us),
        "currency": settled.currency,
        "count": pa.array(settled.count),
    }


@dataclass
class Payouts:
    """batch: columns of payout.avsc; sums: nanos by 'paid.CUR', and by 'carried.CUR' by how much more is carried."""

    batch: pa.RecordBatch
    sums: dict[str, int]


class Carry:
    """What each account carries forward, exact nanos by (account, currency)."""

    def __init__(self) -> None:
        self._accounts, self._currencies = Interner(), Interner()
        self._table, self._sums = KeyTable(), Sums()

    def __len__(self) -> int:
        return len(self._table)

    def settle(self, settled: Settlements, period: str, thresholds: Callable[[int], Mapping[str, int]]) -> Payouts:
        """Payouts of closed periods in order of their ends: all of brought and earned where that reaches the threshold
        and a nano, else nothing; then all of it is carried. What is in a pool is always carried.

        thresholds: nanos by currency, for the periods that end at an instant (microseconds UTC)."""
        earned = settled.amount_nanos
        account, currency = self._accounts.codes(settled.account), self._currencies.codes(settled.currency)
        key, zero = pack(account, currency), np.zeros(len(settled), dtype=np.uint64)
        pool = pc.starts_with(settled.account, POOL_PREFIX).to_numpy(zero_copy_only=False).astype(np.bool_)
        columns: list[tuple[Exact, Exact, Exact]] = []
        # An account comes once in each period: what one period leaves is what the next one brings.
        for rows in _periods(settled.period_end_us):
            slots = self._table.insert(key[rows], zero[rows])
            self._sums.reserve(len(self._table))
            brought = self._sums.take(slots)
            total = plus(brought, earned[rows])
            least = self._least(thresholds(int(settled.period_end_us[rows][0])))
            pays = ~pool[rows] & (total >= least[currency[rows]])
            paid = np.where(pays, total, 0)
            carried = total - paid
            self._sums.add(slots, plus(carried, -brought))
            columns.append((brought, paid, carried))
        brought, paid, carried = (_joined([c[i] for c in columns]) for i in range(3))
        batch = pa.RecordBatch.from_pydict(
            {
                "payout_id": _ids("payout", settled, period),
                **_head(settled, period),
                "brought_nanos": digits(brought),
                "earned_nanos": digits(earned),
                "paid_nanos": digits(paid),
                "carried_nanos": digits(carried),
            }
        )
        return Payouts(batch, self._sums_by_currency(currency, paid, carried, brought))

    def _least(self, thresholds: Mapping[str, int]) -> Exact:
        """The least sum that is paid out, by currency code."""
        return exact([max(1, thresholds.get(name, 0)) for name in self._currencies.texts])

    def _sums_by_currency(self, currency: Int32Array, paid: Exact, carried: Exact, brought: Exact) -> dict[str, int]:
        codes, n = currency.astype(np.int64), len(self._currencies)
        totals = [sums_by(codes, n, column) for column in (paid, carried, brought)]
        sums: dict[str, int] = {}
        for c in np.unique(codes).tolist():
            name = self._currencies.texts[c]
            sums[f"paid.{name}"] = totals[0][c]
            sums[f"carried.{name}"] = totals[1][c] - totals[2][c]
        return sums

    def of(self, account: str) -> dict[str, int]:
        """What the account carries, nanos by currency; currencies in which it was never settled are left out."""
        code = self._accounts.code(account)
        if code is None:
            return {}
        currencies = np.arange(len(self._currencies))
        slots = self._table.lookup(
            pack(np.full(len(currencies), code), currencies), np.zeros(len(currencies), np.uint64)
        )
        known = np.flatnonzero(slots >= 0)
        nanos = self._sums.take(slots[known]).tolist()
        return {self._currencies.texts[c]: n for c, n in zip(known.tolist(), nanos, strict=True)}

    def snapshot(self) -> dict[str, bytes]:
        """The state as named blobs."""
        key, _ = self._table.keys()
        nanos = exact_column(self._sums.take(np.arange(len(key))))
        return {
            "carry.texts": json.dumps([self._accounts.texts, self._currencies.texts], ensure_ascii=False).encode(),
            "carry.sums": to_bytes(pa.RecordBatch.from_pydict({"key": pa.array(key), "nanos": nanos})),
        }

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """The state from what `snapshot` gave."""
        accounts, currencies = json.loads(parts["carry.texts"])
        columns = from_bytes(parts["carry.sums"])
        key = integers(columns["key"]).view(np.uint64)
        self._accounts, self._currencies = Interner(accounts), Interner(currencies)
        self._table, self._sums = KeyTable(max(1, len(key))), Sums(exact_values(columns["nanos"]))
        self._table.insert(key, np.zeros(len(key), dtype=np.uint64))


def _periods(end_us: Int64Array) -> list[slice]:
    """Runs of rows whose periods end together; rows are in order of their ends."""
    cuts = [0, *(np.flatnonzero(np.diff(end_us)) + 1).tolist(), len(end_us)]
    return [slice(a, b) for a, b in pairwise(cuts) if b > a]


def _joined(columns: list[Exact]) -> Exact:
    return np.concatenate(columns) if columns else np.zeros(0, dtype=np.int64)
