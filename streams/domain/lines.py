"""Lines of charges as columns: what rating, dividing and the ledger hand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanotally.streams.domain.hashing import Hash
from nanotally.streams.domain.prices import LIMIT
from nanotally.streams.domain.rated import COLUMNS as RATED
from nanotally.streams.domain.records import BoolArray, Int64Array, UInt64Array

# Links of a chain; `Lines.kind` is a place in it.
LINKS = ("rule", "pass", "minimum", "sharing")
RULE, PASS, MINIMUM, SHARING = range(4)
OF_SCOPE = (*RATED, "scope_start", "scope_end")
NUMBERS = (*OF_SCOPE, "resolved", "base_before")


class Priced:
    """Columns of the lines of n uses, filled run by run; rows that were never priced stay zero.

    numbers: int64[n] by name (see NUMBERS); key_high, key_low: uint64[n] scope keys; shares: list of (rows, int64[rows,
    k] nanos by party) in the order of pricing. Charges of more than one line, or under a pass, are in `lines` instead,
    by `Lines.row`: `several` says which, and of theirs only `amount` is here, what is paid by all lines."""

    def __init__(self, n: int) -> None:
        self.numbers = {name: np.zeros(n, dtype=np.int64) for name in NUMBERS}
        self.key_high: UInt64Array = np.zeros(n, dtype=np.uint64)
        self.key_low: UInt64Array = np.zeros(n, dtype=np.uint64)
        self.shares: list[tuple[Int64Array, Int64Array]] = []
        self.lines: list[Lines] = []
        self.several: BoolArray | None = None

    def put(self, name: str, rows: Int64Array, values: Int64Array) -> None:
        """Sets rows, which rise, of a column; all of them without a copy."""
        if len(rows) == len(self.key_high):
            self.numbers[name] = values
        else:
            self.numbers[name][rows] = values

    def put_keys(self, rows: Int64Array, key: Hash) -> None:
        """Sets the scope keys of rows."""
        if len(rows) == len(self.key_high):
            self.key_high, self.key_low = key
        else:
            self.key_high[rows], self.key_low[rows] = key

    def put_lines(self, lines: Lines) -> None:
        """Takes the lines of charges that have several."""
        self.lines.append(lines)
        if self.several is None:
            self.several = np.zeros(len(self.key_high), dtype=bool)
        self.several[lines.row] = True
        self.numbers["amount"][lines.row] = 0
        np.add.at(self.numbers["amount"], lines.row, lines.paid)

    def lines_of(self, rows: Int64Array, rule: Int64Array, at_us: Int64Array) -> Lines:
        """Charges of one line each as lines, for rows that rise. rule, at_us: int64[n]."""
        numbers = {name: column[rows] for name, column in self.numbers.items()}
        width = max((nanos.shape[1] for _, nanos in self.shares), default=1)
        nanos = np.zeros((len(self.key_high), width), dtype=np.int64)
        for some, parts in self.shares:
            nanos[some, : parts.shape[1]] = parts
        lines = Lines.of(rows, rule[rows], at_us[rows])
        lines.key_high, lines.key_low = self.key_high[rows], self.key_low[rows]
        lines.numbers, lines.nanos, lines.paid = numbers, nanos[rows], numbers["amount"].copy()
        return lines


@dataclass
class Lines:
    """m lines, those of a charge one after the other; int64[m] each unless told otherwise.

    row: which charge; link: number of the rule or pass in the book; at_us: when the use or its piece began; kind: place
    in LINKS; covering: number of the pass it is under, else -1; named: bool[m], whether its split has a name; paid:
    nanos; key_high, key_low: uint64[m]; numbers: by name (see NUMBERS); nanos: int64[m, k] shares by party."""

    row: Int64Array
    link: Int64Array
    at_us: Int64Array
    kind: Int64Array
    covering: Int64Array
    named: BoolArray
    paid: Int64Array
    key_high: UInt64Array
    key_low: UInt64Array
    numbers: dict[str, Int64Array]
    nanos: Int64Array

    @staticmethod
    def of(row: Int64Array, link: Int64Array, at_us: Int64Array, kind: int = RULE) -> Lines:
        """Lines of one kind without numbers yet."""
        m = len(row)
        return Lines(
            row,
            link,
            at_us,
            np.full(m, kind, dtype=np.int64),
            np.full(m, -1, dtype=np.int64),
            np.full(m, kind == RULE, dtype=bool),
            np.zeros(m, dtype=np.int64),
            np.zeros(m, dtype=np.uint64),
            np.zeros(m, dtype=np.uint64),
            {name: np.zeros(m, dtype=np.int64) for name in NUMBERS},
            np.zeros((m, 1), dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.row)

    @property
    def moved(self) -> Int64Array:
        """By how much each line moves the base of its split: a sharing divides what the pool paid in before."""
        return np.where(self.kind == SHARING, self.numbers["amount"], self.paid)

    def too_much(self, nanos: Int64Array) -> list[int]:
        """Rows whose lines come to 2^62 nanos or more together, though each comes to less: int64[m] nanos of each."""
        if int(np.abs(nanos).max(initial=0)) * len(nanos) < LIMIT:
            return []
        sums: dict[int, int] = {}
        for row, of_line in zip(self.row.tolist(), nanos.tolist(), strict=True):
            sums[row] = sums.get(row, 0) + of_line
        return [row for row, total in sums.items() if abs(total) >= LIMIT]

    def pick(self, places: Int64Array) -> Lines:
        """Some of the lines."""
        numbers = {name: column[places] for name, column in self.numbers.items()}
        columns: dict[str, Any] = {name: getattr(self, name)[places] for name in _COLUMNS}
        return Lines(**columns, numbers=numbers, nanos=self.nanos[places])

    @staticmethod
    def joined(parts: Sequence[Lines]) -> Lines:
        """All lines of the parts, in order."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            none = np.zeros(0, dtype=np.int64)
            return Lines.of(none, none, none)
        width = max(p.nanos.shape[1] for p in parts)
        nanos = np.zeros((sum(map(len, parts)), width), dtype=np.int64)
        first = 0
        for p in parts:
            nanos[first : first + len(p), : p.nanos.shape[1]] = p.nanos
            first += len(p)
        numbers = {name: np.concatenate([p.numbers[name] for p in parts]) for name in NUMBERS}
        columns: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name in _COLUMNS}
        return Lines(**columns, numbers=numbers, nanos=nanos)


_COLUMNS = ("row", "link", "at_us", "kind", "covering", "named", "paid", "key_high", "key_low")
