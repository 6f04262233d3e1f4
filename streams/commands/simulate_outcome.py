"""What goes into and comes out of one side of a simulation: uses as columns, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nanotally.streams.domain.keys import Interner
from nanotally.streams.domain.records import Int64Array
from nanotally.streams.domain.uses import Uses

NONE = np.zeros(0, dtype=np.int64)


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


def joined(columns: list[Int64Array]) -> Int64Array:
    """One column after the other."""
    return columns[0] if len(columns) == 1 else np.concatenate(columns) if columns else NONE
