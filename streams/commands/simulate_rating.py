"""One side of a simulation: what uses would be charged by a tariff, with the worker's own code, as columns.

A tariff whose scopes are windows is rated straight from columns to columns. What needs the run of records in order
(sessions, anchored scopes, cuts, passes, minimums, catalogs) goes through the whole payers' stage in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.schemas import codec
from nanotally.streams.domain.asking import limits_of
from nanotally.streams.domain.keys import Interner
from nanotally.streams.domain.matching import UNPRICED_REASONS, CompiledBook
from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.pricing import Priced, price_run
from nanotally.streams.domain.rated import REFUSALS
from nanotally.streams.domain.records import Int64Array, RawChunk
from nanotally.streams.domain.rules import Rule
from nanotally.streams.domain.scopes import Scopes
from nanotally.streams.domain.splitting import Splits
from nanotally.streams.domain.tariff import OPENED_SCOPES, RuleBook
from nanotally.streams.domain.uses import Uses, int64
from nanotally.streams.tariffs.publishing import activation, closing


@dataclass(frozen=True)
class Taken:
    """n uses of one partition that a worker would take: no rejects, no repeats. booked_at: int64[n]; watermark_us:
    before the next of them nothing is booked."""

    partition: int
    uses: Uses
    booked_at: Int64Array
    watermark_us: int


@dataclass(frozen=True)
class Names:
    """Texts behind the codes of both sides: parties, rules, and what became of uses ('charged', 'refused: limit')."""

    accounts: Interner
    rules: Interner
    outcomes: Interner

    @staticmethod
    def new() -> Names:
        return Names(Interner(), Interner(), Interner(["charged"]))


@dataclass(frozen=True)
class Outcome:
    """What became of n uses. paid: int64[n] nanos; rule, outcome: int64[n] codes (rule -1: not charged by
    any); account, nanos: int64[m], shares of all of them in any order; due_payers with due_rule, due_paid: what fell
    due besides."""

    paid: Int64Array
    rule: Int64Array
    outcome: Int64Array
    account: Int64Array
    nanos: Int64Array
    due_payers: list[str]
    due_rule: Int64Array
    due_paid: Int64Array


class Side(Protocol):
    """One partition under one tariff."""

    def rate(self, taken: Taken) -> Outcome:
        """The uses, which come after those before."""
        ...

    def close(self, at_us: int) -> Outcome:
        """What falls due up to an instant, after the last use; with no uses."""
        ...


def side(book: RuleBook, names: Names) -> Side:
    """A partition without anything used yet."""
    return ColumnSide(book, names) if in_columns(book) else StageSide(book, names)


def in_columns(book: RuleBook) -> bool:
    """Whether nothing of the book depends on more than the uses of its windows."""
    return not book.catalogs and all(not t.passes and all(map(_windowed, t.rules)) for t in book.tariffs)


def _windowed(rule: Rule) -> bool:
    dues = rule.minimum_nanos and rule.scope != "event"
    return rule.scope not in OPENED_SCOPES and not dues and not rule.cut


_NONE = np.zeros(0, dtype=np.int64)


class ColumnSide:
    """Rates from columns to columns: match, price, split."""

    def __init__(self, book: RuleBook, names: Names) -> None:
        self._book = CompiledBook(book)
        self._scopes, self._splits = Scopes(), Splits(names.accounts)
        # The last is for uses without a rule, whose numbers are below zero.
        self._rules = np.array([*(names.rules.add(r.rule.name) for r in self._book.rules), -1], dtype=np.int64)
        self._refused = {code: names.outcomes.add(f"refused: {reason}") for code, reason in REFUSALS.items()}
        self._unpriced = {code: names.outcomes.add(f"unpriced: {r}") for code, r in UNPRICED_REASONS.items()}
        self._unfit = names.outcomes.add("rejected")

    def rate(self, taken: Taken) -> Outcome:
        uses, n = taken.uses, len(taken.uses)
        number = self._book.match(uses)
        rows = np.flatnonzero(number >= 0)
        priced = Priced(n)
        limits = limits_of(uses).nanos
        charged = price_run(self._book, uses, rows, number, taken.booked_at, limits, self._scopes, self._splits, priced)
        self._scopes.forget(taken.watermark_us)
        outcome = np.zeros(n, dtype=np.int64)
        if len(rows) < n:
            outcome[number < 0] = self._unfit
            for code, place in self._unpriced.items():
                outcome[number == code] = place
        rule = self._rules[number if len(rows) == n else np.maximum(number, -1)]
        if len(charged) < len(rows):
            refusal = priced.numbers["refusal"]
            for code, place in self._refused.items():
                outcome[refusal == code] = place
            rule[refusal > 0] = -1
        accounts, nanos = [], []
        for mine, shares in priced.shares:
            resolved = priced.numbers["resolved"][mine] if len(mine) < n else priced.numbers["resolved"]
            width = shares.shape[1]
            for party in range(width):
                accounts.append(self._splits.account[resolved, party])
                nanos.append(shares[:, party])
        return Outcome(priced.numbers["amount"], rule, outcome, _joined(accounts), _joined(nanos), [], _NONE, _NONE)

    def close(self, at_us: int) -> Outcome:
        return Outcome(_NONE, _NONE, _NONE, _NONE, _NONE, [], _NONE, _NONE)


class Nothing:
    """No tariff at all: nothing is charged, so that a draft may stand alone."""

    def __init__(self, names: Names) -> None:
        self._outcome = names.outcomes.add("not compared")

    def rate(self, taken: Taken) -> Outcome:
        zero, n = np.zeros(len(taken.uses), dtype=np.int64), len(taken.uses)
        outcome = np.full(n, self._outcome, dtype=np.int64)
        return Outcome(zero, np.full(n, -1, dtype=np.int64), outcome, _NONE, _NONE, [], _NONE, _NONE)

    def close(self, at_us: int) -> Outcome:
        return Outcome(_NONE, _NONE, _NONE, _NONE, _NONE, [], _NONE, _NONE)


class StageSide:
    """The payers' stage in memory: usage records in, charges out, both read as columns."""

    def __init__(self, book: RuleBook, names: Names) -> None:
        self._names = names
        self._logic = PayersLogic(partition=0, partitions=1, account_partitions=1)
        self._logic.learn(book)
        self._offset = 0
        self._now_us = 0
        list(self._records([activation(book).datum()], np.zeros(1, dtype=np.int64)))

    def rate(self, taken: Taken) -> Outcome:
        first, n = self._offset, len(taken.uses)
        times = np.maximum.accumulate(np.maximum(taken.uses.occurred_at_us, self._now_us))
        self._now_us = int(times[-1]) if n else self._now_us
        return self._outcome(list(self._records(codec.encode("UsageEvent", taken.uses.batch), times)), first, n)

    def close(self, at_us: int) -> Outcome:
        times = np.full(1, max(self._now_us, at_us), dtype=np.int64)
        return self._outcome(list(self._records([closing(at_us).datum()], times)), self._offset, 0)

    def _records(self, values: list[bytes], times: Int64Array) -> Iterator[bytes]:
        """What the stage writes into the ledger for these records."""
        offsets = np.arange(self._offset, self._offset + len(values), dtype=np.int64)
        self._offset += len(values)
        chunk = RawChunk("usage", 0, offsets, times, [None] * len(values), values)
        done = not values
        while not done:
            step = self._logic.decide(chunk)
            done, chunk = step.done, chunk.since(step.next_offset)
            for emission in step.emissions:
                if emission.topic == "charges":
                    yield from (value for value in emission.values if value is not None)

    def _outcome(self, values: list[bytes], first: int, n: int) -> Outcome:
        """The ledger's charges as columns; `n` uses from offset `first` on."""
        names = self._names
        paid, rule = np.zeros(n, dtype=np.int64), np.full(n, -1, dtype=np.int64)
        outcome = np.full(n, names.outcomes.add("rejected"), dtype=np.int64)
        mine = codec.split_by_schema(values).get("Charge", _NONE)
        batch = codec.decode("Charge", [values[i] for i in mine.tolist()]).batch
        lines = batch.column("lines")
        counts = np.diff(np.asarray(lines.offsets))
        flat = lines.flatten()
        rules = names.rules.codes(flat.field("rule")).astype(np.int64)
        # A use's rule is that of its first line; what fell due by a pass or a minimum is named so as well.
        first_rule = np.full(len(batch), -1, dtype=np.int64)
        starts = np.cumsum(counts) - counts
        first_rule[counts > 0] = rules[starts[counts > 0]]
        text = pc.binary_join_element_wise(batch.column("outcome"), batch.column("reason"), ": ")
        codes = names.outcomes.codes(pc.if_else(pc.equal(batch.column("reason"), ""), batch.column("outcome"), text))
        nanos = int64(batch.column("paid_nanos"))
        due = pc.equal(batch.column("outcome"), "due").to_numpy(zero_copy_only=False)
        place = int64(batch.column("usage_offset"))[~due] - first
        paid[place], rule[place], outcome[place] = nanos[~due], first_rule[~due], codes[~due]
        shares = flat.field("shares").flatten()
        payers = batch.column("payer").filter(pa.array(due)).to_pylist()
        return Outcome(
            paid, rule, outcome,
            names.accounts.codes(shares.field("account")).astype(np.int64), int64(shares.field("nanos")),
            payers, first_rule[due], nanos[due],
        )  # fmt: skip


def _joined(columns: list[Int64Array]) -> Int64Array:
    return columns[0] if len(columns) == 1 else np.concatenate(columns) if columns else _NONE
