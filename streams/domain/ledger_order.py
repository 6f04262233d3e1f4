"""The charges of one transaction in the order of the ledger: by offset in `usage`, what fell due before the use."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.falling_due import FallenDue
from nanotally.streams.domain.ledger import ChargeRows
from nanotally.streams.domain.ledger_flat import charge_values, payers_of
from nanotally.streams.domain.ledger_lines import due_values, use_values
from nanotally.streams.domain.lines import Lines, Priced
from nanotally.streams.domain.records import BoolArray, Int64Array
from nanotally.streams.domain.state import PayersState


class LedgerOrder:
    """keys, values: the records so far. What falls due waits until the uses before it are there: see `flush`."""

    def __init__(self, state: PayersState, partition: int) -> None:
        self.state, self.partition = state, partition
        self.keys: list[bytes | None] = []
        self.values: list[bytes] = []
        self._waiting: list[tuple[int, list[bytes], list[bytes]]] = []  # offset, keys, values
        self.numbers: dict[int, int] = {}  # charges written at an offset before its use

    def dues(self, fallen: Sequence[FallenDue], offset: int, recorded_at_us: int) -> None:
        """What fell due at the record of that offset."""
        state, first = self.state, self.numbers.get(offset, 0)
        self.numbers[offset] = first + len(fallen)
        values: list[bytes] = []
        for _, of_book in groupby(fallen, key=lambda due: due.book.book.number):
            some = list(of_book)
            n = first + len(values)
            values += due_values(some, offset, n, recorded_at_us, state.splits, self.partition, state.book_number)
        self._waiting.append((offset, [due.payer.encode() for due in fallen], values))

    def flush(self) -> None:
        """Writes what fell due and still waits."""
        for _, keys, values in self._waiting:
            self.keys += keys
            self.values += values
        self._waiting = []

    def uses(self, taken: ChargeRows, priced: Priced, came_at: Int64Array) -> None:
        """Uses, with what fell due at them before each. came_at: see `charge_batch`."""
        uses, rows = taken.uses, taken.rows
        keys: list[bytes] = payers_of(uses, rows).cast(pa.binary()).to_pylist()
        apart = self._apart(taken, priced)
        if apart is None:
            values = self._plain(taken, priced, came_at)
        else:
            values = [b""] * len(rows)
            for places, some in (
                (np.flatnonzero(~apart), self._plain(taken.part(~apart), priced, came_at)),
                (np.flatnonzero(apart), self._any(taken.part(apart), priced, came_at)),
            ):
                for place, value in zip(places.tolist(), some, strict=True):
                    values[place] = value
        done = 0
        for offset, due_keys, due_datums in self._waiting:
            place = int(np.searchsorted(uses.offsets[rows], offset))
            self.keys += keys[done:place] + due_keys
            self.values += values[done:place] + due_datums
            done = place
        self._waiting = []
        self.keys += keys[done:]
        self.values += values[done:]

    def _apart(self, taken: ChargeRows, priced: Priced) -> BoolArray | None:
        """Which of the taken rows have several lines or are not the first charge at their offset; None: none."""
        if priced.several is None and not self.numbers:
            return None
        apart = np.zeros(len(taken.rows), dtype=bool)
        if priced.several is not None:
            apart |= priced.several[taken.rows]
        if self.numbers:
            apart |= np.isin(taken.uses.offsets[taken.rows], np.array(list(self.numbers), dtype=np.int64))
        return apart if apart.any() else None

    def _plain(self, taken: ChargeRows, priced: Priced, came_at: Int64Array) -> list[bytes]:
        state = self.state
        if not len(taken.rows):
            return []
        return charge_values(taken, priced, state.book, state.splits, self.partition, state.book_number, came_at)

    def _any(self, taken: ChargeRows, priced: Priced, came_at: Int64Array) -> list[bytes]:
        state, rows, uses = self.state, taken.rows, taken.uses
        several = np.zeros(len(uses), dtype=bool) if priced.several is None else priced.several
        single = rows[taken.charged[rows] & ~several[rows]]
        parts = [priced.lines_of(single, taken.rule, uses.occurred_at_us)]
        parts += [lines.pick(np.flatnonzero(np.isin(lines.row, rows))) for lines in priced.lines]
        lines = Lines.joined(parts)
        lines = lines.pick(np.argsort(lines.row, kind="stable"))
        n = np.array([self.numbers.get(offset, 0) for offset in uses.offsets[rows].tolist()], dtype=np.int64)
        return use_values(taken, lines, n, state.book, state.splits, self.partition, state.book_number, came_at)
