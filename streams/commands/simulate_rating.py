"""One side of a simulation: what uses would be charged by a tariff, with the worker's own code, as columns.

A tariff whose scopes are windows is rated straight from columns to columns. What needs the run of records in order
(sessions, anchored scopes, cuts, passes, minimums, catalogs) goes through the whole payers' stage in memory."""

from __future__ import annotations

import numpy as np

from nanotally.streams.commands.simulate_outcome import NONE, Names, Outcome, Side, Taken, joined
from nanotally.streams.commands.simulate_stage import StageSide
from nanotally.streams.domain.asking import limits_of
from nanotally.streams.domain.matching import UNPRICED_REASONS, CompiledBook
from nanotally.streams.domain.pricing import Priced, price_run
from nanotally.streams.domain.rated import REFUSALS
from nanotally.streams.domain.rules import Rule
from nanotally.streams.domain.scopes import Scopes
from nanotally.streams.domain.splitting import Splits
from nanotally.streams.domain.tariff import OPENED_SCOPES, RuleBook


def side(book: RuleBook, names: Names) -> Side:
    """A partition without anything used yet."""
    return ColumnSide(book, names) if in_columns(book) else StageSide(book, names)


def in_columns(book: RuleBook) -> bool:
    """Whether nothing of the book depends on more than the uses of its windows."""
    return not book.catalogs and all(not t.passes and all(map(_windowed, t.rules)) for t in book.tariffs)


def _windowed(rule: Rule) -> bool:
    dues = rule.minimum_nanos and rule.scope != "event"
    return rule.scope not in OPENED_SCOPES and not dues and not rule.cut


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
        return Outcome(priced.numbers["amount"], rule, outcome, joined(accounts), joined(nanos), [], NONE, NONE)

    def close(self, at_us: int) -> Outcome:
        return Outcome(NONE, NONE, NONE, NONE, NONE, [], NONE, NONE)


class Nothing:
    """No tariff at all: nothing is charged, so that a draft may stand alone."""

    def __init__(self, names: Names) -> None:
        self._outcome = names.outcomes.add("not compared")

    def rate(self, taken: Taken) -> Outcome:
        zero, n = np.zeros(len(taken.uses), dtype=np.int64), len(taken.uses)
        outcome = np.full(n, self._outcome, dtype=np.int64)
        return Outcome(zero, np.full(n, -1, dtype=np.int64), outcome, NONE, NONE, [], NONE, NONE)

    def close(self, at_us: int) -> Outcome:
        return Outcome(NONE, NONE, NONE, NONE, NONE, [], NONE, NONE)
