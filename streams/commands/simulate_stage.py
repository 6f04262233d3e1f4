"""The whole payers' stage in memory for a simulation: what it decides is taken as columns before it is encoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanotally.schemas import codec
from nanotally.streams.commands.simulate_outcome import NONE, Names, Outcome, Taken, joined
from nanotally.streams.domain.falling_due import FallenDue
from nanotally.streams.domain.ledger import ChargeRows, share_nanos
from nanotally.streams.domain.ledger_lines import shares_of
from nanotally.streams.domain.outputs import Outputs
from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.pricing import Priced
from nanotally.streams.domain.records import Int64Array, RawChunk
from nanotally.streams.domain.tallies_rows import Closed
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.tariffs.publishing import activation, closing


class _Collected:
    """What the stage decided on records from offset `first` on."""

    def __init__(self, names: Names, logic: PayersLogic, first: int, n: int) -> None:
        self._names, self._logic, self._first = names, logic, first
        self.paid = np.zeros(n, dtype=np.int64)
        self.rule = np.full(n, -1, dtype=np.int64)
        self.outcome = np.full(n, names.outcomes.add("rejected"), dtype=np.int64)
        self.accounts: list[Int64Array] = []
        self.nanos: list[Int64Array] = []
        self.dues: list[tuple[str, int, int]] = []

    def uses(self, taken: ChargeRows, priced: Priced) -> None:
        """Uses that are charged, refused or unpriced."""
        rows, names, book = taken.rows, self._names, self._logic.state.book
        texts = [f"{outcome}: {reason}" if reason else outcome for outcome, reason in taken.outcomes]
        codes = np.array([names.outcomes.add(text) for text in texts], dtype=np.int64)
        place = taken.uses.offsets - self._first
        self.outcome[place[rows]] = codes[taken.outcome_code]
        if book is None or not taken.charged.any():
            return
        rules = np.array([names.rules.add(link.rule.name) for link in book.links], dtype=np.int64)
        charged = np.flatnonzero(taken.charged)
        single = charged if priced.several is None else charged[~priced.several[charged]]
        self.paid[place[single]] = priced.numbers["amount"][single]
        self.rule[place[charged]] = rules[taken.rule[charged]]
        self._share(priced.numbers["resolved"][single], share_nanos(priced, len(taken.uses))[single])
        for lines in priced.lines:
            np.add.at(self.paid, place[lines.row], lines.paid)
            self._share(lines.numbers["resolved"], lines.nanos)

    def _share(self, resolved: Int64Array, nanos: Int64Array) -> None:
        account = self._logic.state.splits.account
        for party in range(min(nanos.shape[1], account.shape[1])):
            self.accounts.append(account[resolved, party])
            self.nanos.append(nanos[:, party])

    def due(self, fallen: FallenDue) -> None:
        """What fell due at an end."""
        account, nanos = shares_of(fallen, self._logic.state.splits)
        self.accounts.append(account)
        self.nanos.append(nanos)
        link = fallen.book.links[int(fallen.lines.link[0])]
        self.dues.append((fallen.payer, self._names.rules.add(link.rule.name), fallen.paid))

    def result(self) -> Outcome:
        """All of it; accounts by their common codes."""
        account = joined(self.accounts)
        texts = self._logic.state.accounts.texts
        present = np.unique(account)
        table = np.zeros(len(texts) + 1, dtype=np.int64)
        table[present] = [self._names.accounts.add(texts[code]) for code in present.tolist()]
        return Outcome(
            self.paid, self.rule, self.outcome, table[account], joined(self.nanos),
            [payer for payer, _, _ in self.dues],
            np.array([rule for _, rule, _ in self.dues], dtype=np.int64),
            np.array([paid for _, _, paid in self.dues], dtype=np.int64),
        )  # fmt: skip


class _Logic(PayersLogic):
    """The stage, whose outputs are collected instead of encoded."""

    collected: _Collected

    def outputs(self) -> Outputs:
        return _Outputs(self.state, self.partition, self.partitions, self._places).into(self.collected)


class _Outputs(Outputs):
    def into(self, collected: _Collected) -> Outputs:
        self._collected = collected
        return self

    def charges(self, taken: ChargeRows, priced: Priced) -> None:
        self._collected.uses(taken, priced)

    def dues(self, fallen: Sequence[FallenDue], offset: int, recorded_at_us: int) -> None:
        self.closed_rows += len(fallen)
        for one in fallen:
            self._collected.due(one)

    def closed(self, closed: Closed) -> None:
        self.closed_rows += len(closed)


class StageSide:
    """One partition, record by record as the worker takes them."""

    def __init__(self, book: RuleBook, names: Names) -> None:
        self._names = names
        self._logic = _Logic(partition=0, partitions=1, account_partitions=1)
        self._logic.learn(book)
        self._offset = 0
        self._now_us = 0
        self._decide([activation(book).datum()], np.zeros(1, dtype=np.int64))

    def rate(self, taken: Taken) -> Outcome:
        times = np.maximum.accumulate(np.maximum(taken.uses.occurred_at_us, self._now_us))
        self._now_us = int(times[-1]) if len(times) else self._now_us
        return self._decide(codec.encode("UsageEvent", taken.uses.batch), times)

    def close(self, at_us: int) -> Outcome:
        outcome = self._decide([closing(at_us).datum()], np.full(1, max(self._now_us, at_us), dtype=np.int64))
        return Outcome(
            NONE, NONE, NONE, outcome.account, outcome.nanos, outcome.due_payers, outcome.due_rule, outcome.due_paid
        )

    def _decide(self, values: list[bytes], times: Int64Array) -> Outcome:
        collected = self._logic.collected = _Collected(self._names, self._logic, self._offset, len(values))
        offsets = np.arange(self._offset, self._offset + len(values), dtype=np.int64)
        self._offset += len(values)
        chunk = RawChunk("usage", 0, offsets, times, [None] * len(values), values)
        done = not values
        while not done:
            step = self._logic.decide(chunk)
            done, chunk = step.done, chunk.since(step.next_offset)
        return collected.result()
