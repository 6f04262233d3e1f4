"""The ledger's columns: from rated uses to Charge batches, and back into the state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.keys import Interner
from nanotally.streams.domain.matching import CompiledBook
from nanotally.streams.domain.pricing import Priced
from nanotally.streams.domain.records import BoolArray, Int64Array, UInt64Array, pick
from nanotally.streams.domain.splitting import Splits
from nanotally.streams.domain.uses import Uses

CHARGED, REFUSED, UNPRICED = "charged", "refused", "unpriced"
HASH_DIGITS = 16


def signed(words: UInt64Array) -> pa.Array:
    """Half of a key as the ledger writes it: the same 64 bits as a signed long."""
    return pa.array(words.view(np.int64))


def texts(values: list[str], codes: Int64Array) -> pa.Array:
    """A string column from few distinct values."""
    return pa.array(values, pa.string()).take(pa.array(codes))


class ChargeRows:
    """What is needed of n taken uses to write them to the ledger.

    uses: all uses of the run; rows: int64[m] those taken, in order; rule: int64[n]; booked_at: int64[n];
    charged: bool[n]; reason: list of texts and int64[m] code of each taken row's; flags: further flags of each of the
    n uses, None: there are none."""

    def __init__(
        self,
        uses: Uses,
        rows: Int64Array,
        rule: Int64Array,
        booked_at: Int64Array,
        charged: BoolArray,
        outcome_code: Int64Array,
        outcomes: list[tuple[str, str]],
        flags: Sequence[str] | None = None,
    ) -> None:
        self.uses, self.rows, self.rule, self.booked_at = uses, rows, rule, booked_at
        self.charged, self.outcome_code, self.outcomes, self.flags = charged, outcome_code, outcomes, flags

    def part(self, chosen: Int64Array | BoolArray) -> ChargeRows:
        """Some of the taken rows, by their places or as bool[m]."""
        return ChargeRows(
            self.uses, self.rows[chosen], self.rule, self.booked_at, self.charged, self.outcome_code[chosen],
            self.outcomes, self.flags,
        )  # fmt: skip

    def flag_column(self, late_version: Int64Array) -> pa.Array:
        """Flags of the taken rows. late_version: int64[m], 1 where the version that priced it came after the use."""
        known = texts(["", "late_version"], late_version)
        if self.flags is None:
            return known
        further = [self.flags[row] for row in self.rows.tolist()]
        both = [" ".join(filter(None, pair)) for pair in zip(known.to_pylist(), further, strict=True)]
        return pa.array(both, pa.string())


def charge_batch(
    taken: ChargeRows,
    priced: Priced,
    book: CompiledBook | None,
    splits: Splits,
    partition: int,
    book_number: int,
    came_at: Int64Array,
) -> pa.RecordBatch:
    """The taken uses as columns of charge.avsc but `event`. came_at: int64[rules], the broker's time at which the
    version of each rule came into force where that was late; uses before it are flagged."""
    uses, rows = taken.uses, taken.rows
    m = len(rows)
    charged = pick(taken.charged, rows)
    lines = rows if charged.all() else rows[charged]
    numbers = priced.numbers
    book_rules = [] if book is None else book.rules
    rule = pick(taken.rule, lines)

    def by_rule(values: list[str]) -> pa.Array:
        return texts(values, rule)

    amount = pa.array(pick(numbers["amount"], lines))
    minimum = pa.array([0 if r.rule.scope == "event" else r.rule.minimum_nanos for r in book_rules], pa.int64())
    resolved = pick(numbers["resolved"], lines)
    columns: dict[str, pa.Array] = {
        "link": pa.repeat("rule", len(lines)),
        "tariff": by_rule([r.version.tariff for r in book_rules]),
        "version": pa.array([r.version.version for r in book_rules], pa.int32()).take(pa.array(rule)),
        "tariff_hash": by_rule([r.version.content_hash[:HASH_DIGITS] for r in book_rules]),
        "rule": by_rule([r.rule.name for r in book_rules]),
        "variant": by_rule([r.rule.variant for r in book_rules]),
        "scope": by_rule([r.rule.scope for r in book_rules]),
        "scope_key_high": signed(pick(priced.key_high, lines)),
        "scope_key_low": signed(pick(priced.key_low, lines)),
        "scope_start": pa.array(pick(numbers["scope_start"], lines)),
        "scope_end": pa.array(pick(numbers["scope_end"], lines)),
        "uses_before": pa.array(pick(numbers["uses_before"], lines)),
        "quantity_before": pa.array(pick(numbers["quantity_before"], lines)),
        "quantity": pa.array(pick(numbers["counted"], lines)),
        "over_before": pa.array(pick(numbers["over_before"], lines)),
        "over_after": pa.array(pick(numbers["over_after"], lines)),
    }
    for name in ("total_before", "remainder_before", "total_after", "remainder_after", "remainder_den"):
        columns[name] = pa.array(pick(numbers[name], lines))
    columns |= {
        "charged_before": pa.array(pick(numbers["charged_before"], lines)),
        "minimum_nanos": minimum.take(pa.array(rule)),
        "amount_nanos": amount,
        "paid_nanos": amount,
        "pass": pa.nulls(len(lines), pa.string()),
        "catalog": pa.repeat("", len(lines)) if uses.found is None else uses.found.names(lines),
        "split": by_rule([r.rule.split for r in book_rules]),
        "split_key_high": signed(splits.key_high[resolved]),
        "split_key_low": signed(splits.key_low[resolved]),
        "base_before": pa.array(pick(numbers["base_before"], lines)),
        "shares": _shares(resolved, pick(share_nanos(priced, len(uses)), lines), splits),
    }
    line_struct = pa.StructArray.from_arrays(list(columns.values()), names=list(columns))
    outcomes = [outcome for outcome, _ in taken.outcomes]
    reasons = [reason for _, reason in taken.outcomes]
    with_rule = pick(taken.rule, rows)
    currency = np.where(with_rule >= 0, with_rule, len(book_rules))
    booked_at, occurred_at = pick(taken.booked_at, rows), pick(uses.occurred_at_us, rows)
    flag = np.zeros(m, dtype=np.int64)
    flag[charged] = occurred_at[charged] < came_at[rule]
    top = {
        "usage_partition": pa.repeat(pa.scalar(partition, pa.int32()), m),
        "usage_offset": pa.array(pick(uses.offsets, rows)),
        "n": pa.repeat(pa.scalar(0, pa.int32()), m),
        "payer": uses.column("payer") if m == len(uses) else uses.column("payer").take(pa.array(rows)),
        "recorded_at": pa.array(pick(uses.recorded_at_us, rows)),
        "booked_at": pa.array(booked_at),
        "late": pa.array(booked_at > occurred_at),
        "flags": taken.flag_column(flag),
        "outcome": texts(outcomes, taken.outcome_code),
        "reason": texts(reasons, taken.outcome_code),
        "currency": texts([*(r.version.currency for r in book_rules), ""], currency),
        "paid_nanos": pa.array(np.where(charged, pick(numbers["amount"], rows), 0)),
        "book_number": pa.repeat(pa.scalar(book_number, pa.int64()), m),
        "content_hash": pa.array(pick(uses.content_hash, rows)),
        "lines": pa.ListArray.from_arrays(
            pa.array(np.concatenate(([0], np.cumsum(charged))).astype(np.int32)), line_struct
        ),
    }
    return pa.RecordBatch.from_arrays(list(top.values()), names=list(top))


def share_nanos(priced: Priced, n: int) -> Int64Array:
    """Nanos by party of each use: int64[n, k]; 0 where there is none."""
    if len(priced.shares) == 1 and len(priced.shares[0][0]) == n:
        return priced.shares[0][1]
    width = max((nanos.shape[1] for _, nanos in priced.shares), default=1)
    out = np.zeros((n, width), dtype=np.int64)
    for rows, nanos in priced.shares:
        out[rows, : nanos.shape[1]] = nanos
    return out


def _shares(resolved: Int64Array, nanos: Int64Array, splits: Splits) -> pa.Array:
    """The shares column of m lines: nanos int64[m, k] of their resolved splits."""
    counts = splits.count[resolved]
    width = nanos.shape[1]
    even = int(counts.min(initial=width)) == width
    there = None if even else np.arange(width)[None, :] < counts[:, None]

    def column(by_party: Int64Array) -> Int64Array:
        flat: Int64Array = by_party.reshape(-1) if there is None else by_party[there]
        return flat

    struct = pa.StructArray.from_arrays(
        [
            account_column(splits.accounts, column(splits.account[resolved, :width])),
            pa.array(column(splits.num[resolved, :width])),
            pa.array(column(splits.den[resolved, :width])),
            pa.array(column(nanos)),
        ],
        names=["account", "fraction_num", "fraction_den", "nanos"],
    )
    offsets = np.zeros(len(resolved) + 1, dtype=np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), struct)


def account_column(accounts: Interner, codes: Int64Array) -> pa.Array:
    """Texts of account codes, looked up once for each distinct one."""
    present = np.zeros(len(accounts), dtype=bool)
    present[codes] = True
    distinct = np.flatnonzero(present)
    place = np.cumsum(present) - 1
    return pa.array(accounts.text(distinct), pa.string()).take(pa.array(place[codes]))
