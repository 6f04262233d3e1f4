"""The payers' stage: usage in, charges, tallies, statements, rejects and earnings out.

For each record in this order: validate, look for repeats, find the rule, move the watermark, close what has ended,
price. In columns a chunk is cut at controls and where a record's watermark reaches the end of an open window; between
the cuts all uses are priced at once. Everything here is a pure function of the records and the rule books."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nanotally.schemas import codec
from nanotally.streams.domain import controls
from nanotally.streams.domain.earnings import AccountPlaces
from nanotally.streams.domain.falling_due import FallenDue
from nanotally.streams.domain.outputs import Outputs
from nanotally.streams.domain.records import LONG_AGO, RawChunk, Step
from nanotally.streams.domain.redrive_runs import RedriveRun, redrives_from
from nanotally.streams.domain.runs import UsageRun
from nanotally.streams.domain.state import PAYER_PREFIX, PayersState
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.errors import BrokenInvariant

SLICE_ROWS = 20_000  # rows of closed windows in one transaction


class PayersLogic:
    """The payers' stage for one partition of `usage`."""

    stage = "payers"
    input_topic = "usage"
    log_topic = "charges"
    chunk_topic = "charges"

    def __init__(self, partition: int, partitions: int, account_partitions: int, slice_rows: int = SLICE_ROWS) -> None:
        self.partition = partition
        self.partitions = partitions
        self.slice_rows = slice_rows
        self.state = PayersState()
        self._places = AccountPlaces(self.state.accounts, account_partitions)
        self.books: dict[int, RuleBook] = {}
        self._snapshot: Mapping[str, bytes] | None = None  # restored, but its book has not been learned yet

    # ---- books ----

    def needed_books(self, values: Sequence[bytes | None]) -> tuple[int, ...]:
        """Books that activations among the values name, and the one in force, where they are not known yet."""
        named = set(controls.book_numbers(values))
        if self._snapshot is not None:
            named |= self._of_snapshot()
        return tuple(sorted(number for number in named if number >= 0 and number not in self.books))

    def learn(self, book: RuleBook) -> None:
        """Takes a book; one that a restored snapshot waits for is put in force."""
        self.books[book.number] = book
        if self._snapshot is not None and self._of_snapshot() <= self.books.keys():
            older = [self.books[number] for number in sorted(self.state.dues.books())]
            self.state.hold(self.books[self.state.book_number], self._snapshot, older)
            self._snapshot = None

    def _of_snapshot(self) -> set[int]:
        """Numbers of the books that a restored snapshot needs: the one in force, and those that say what is due."""
        return {self.state.book_number, *self.state.dues.books()}

    # ---- deciding ----

    def decide(self, chunk: RawChunk) -> Step:
        """One chunk, or as much of it as one transaction should close. Raises BrokenInvariant for a chunk that does
        not begin at the position."""
        state = self.state
        if len(chunk) and int(chunk.offsets[0]) < state.next_offset:
            raise BrokenInvariant(f"offset {int(chunk.offsets[0])} comes again; the position is {state.next_offset}")
        out = self.outputs()
        taken = 0
        if len(chunk):
            # A close that was cut goes on at the record that began it: the first one that was not taken.
            first = int(chunk.offsets[0])
            out.number_from(first, state.next_n)
            if self.close_to_watermark(out, first, int(chunk.recorded_at_us[0])):
                taken = self._take(chunk, out)
        done = taken == len(chunk)
        if taken:
            state.next_offset = int(chunk.offsets[taken - 1]) + 1
            state.records += taken
        if len(chunk):
            state.next_n = 0 if done else out.number_at(int(chunk.offsets[taken]))
        if done:
            state.tidy()
        return out.step(taken, done)

    def outputs(self) -> Outputs:
        """Where one transaction's results go; a simulation has its own, which are not encoded."""
        return Outputs(self.state, self.partition, self.partitions, self._places)

    def _take(self, chunk: RawChunk, out: Outputs) -> int:
        """Takes records in order; gives how many were taken whole."""
        by_name = codec.split_by_schema(chunk.values)
        run = UsageRun(chunk, by_name.pop("UsageEvent", np.zeros(0, dtype=np.int64)), self, out)
        controls_at = by_name.pop("Control", np.zeros(0, dtype=np.int64)).tolist()
        taken, whole = 0, True
        for stop in [*controls_at, len(chunk)]:
            if stop < taken:
                continue  # taken with the one before
            taken = run.take_until(stop)
            if taken == stop < len(chunk):
                taken, whole = self._take_control(chunk, stop, out)
            if taken < stop or not whole:
                break
        for positions in by_name.values():
            for place in positions[positions < taken].tolist():
                out.reject_foreign(chunk, place)
        return taken

    def _take_control(self, chunk: RawChunk, place: int, out: Outputs) -> tuple[int, bool]:
        """One control, or several redrives; gives the place after what was taken, and False where a close was cut."""
        state = self.state
        taken = controls.decide(chunk, place, state.watermark_us, state.book_number, state.settings, self.books)
        if isinstance(taken, controls.Refused):
            out.reject(chunk, place, taken.reason, taken.detail)
            return place + 1, True
        if isinstance(taken, controls.Redrive):
            redrives = redrives_from(chunk, place, taken)
            end = place + len(redrives)
            reached = RedriveRun(chunk, place, redrives, self, out).take_until(end)
            return reached, reached == end
        if taken.record is not None:
            out.control_taken(taken.record)
            if taken.book is not None:
                out.mark_before_new_book()
                state.activate(taken.book, int(chunk.recorded_at_us[place]))
            state.watermark_us = max(state.watermark_us, taken.watermark_us)
        if not self.close_to_watermark(out, int(chunk.offsets[place]), int(chunk.recorded_at_us[place])):
            return place, False
        state.counts["control"] += 1
        return place + 1, True

    def close_to_watermark(self, out: Outputs, offset: int | None, recorded_at_us: int) -> bool:
        """Writes what is due up to the watermark, then closes windows; False where a slice was full before all was
        done. offset, recorded_at_us: of the record that moved the watermark, None where nothing can be due."""
        state = self.state
        if state.closed_to_us == state.watermark_us:
            return True
        if state.dues.next_end() <= state.watermark_us and not self._fall_due(out, offset, recorded_at_us):
            return False
        tallies = state.tallies
        if tallies is not None and (state.cursor is not None or tallies.next_end() <= state.watermark_us):
            closed = tallies.close(state.watermark_us, state.cursor, max(1, self.slice_rows - out.closed_rows))
            out.closed(closed)
            state.cursor = closed.cursor
            if not closed.done:
                return False
        state.closed_to_us = state.watermark_us
        return True

    def _fall_due(self, out: Outputs, offset: int | None, recorded_at_us: int) -> bool:
        """Writes what is due up to the watermark, in order; False where a slice was full before all was written."""
        state = self.state
        if offset is None:
            raise AssertionError("something that was due was left behind the watermark")
        fallen: list[FallenDue] = []
        room = max(1, self.slice_rows - out.closed_rows)
        while (due := state.dues.first()) is not None and due.end_us <= state.watermark_us:
            if due.total and len(fallen) == room:
                break
            state.dues.drop(due)
            if due.total:
                fallen.append(state.fall_due(due))
        if fallen:
            out.dues(fallen, offset, recorded_at_us)
        return state.dues.next_end() > state.watermark_us

    # ---- folding ----

    def evolve(self, values: Sequence[bytes | None], first_offset: int) -> None:
        """Folds records of `charges`, in order, into the state. first_offset: of the first in the ledger."""
        by_name = codec.split_by_schema(values)
        charges = by_name.pop("Charge", np.zeros(0, dtype=np.int64))
        others = np.sort(np.concatenate([*by_name.values(), np.zeros(0, dtype=np.int64)])).tolist()
        for name in by_name:
            if name not in ("ControlTaken", "Chunk"):
                raise BrokenInvariant(f"ledger partition {self.partition} has a {name or 'foreign'} record")
        done = 0
        for stop in [*others, len(values)]:
            upto = int(np.searchsorted(charges, stop))
            if upto > done:
                decoded = codec.decode("Charge", [values[i] for i in charges[done:upto].tolist()])
                if decoded.bad:
                    where = first_offset + int(charges[done + decoded.bad[0].index])
                    raise BrokenInvariant(f"ledger {self.partition} near offset {where}: {decoded.bad[0].detail}")
                self.state.fold_charges(decoded.batch)
                done = upto
            if stop < len(values):
                self._fold_other(values[stop])

    def _fold_other(self, value: bytes | None) -> None:
        name, record = codec.decode_one(value)
        if name == "Chunk":
            self.state.fold_chunk(record)
        elif record["kind"] == "activate":
            self.state.activate(self.books[record["book_number"]], record["recorded_at"])
        else:
            self.state.watermark_us = max(self.state.watermark_us, record["at"])

    def resume(self, chunk: Mapping[str, Any] | None) -> int:
        """Position after the ledger was folded. Raises BrokenInvariant where the fold is not at the last chunk."""
        if chunk is None:
            if self.state.records or self.state.next_offset:
                raise BrokenInvariant(f"ledger partition {self.partition} has records but no chunk record")
            return 0
        if chunk["next_offset"] != self.state.next_offset:
            raise BrokenInvariant(
                f"ledger partition {self.partition}: the last chunk says input offset {chunk['next_offset']}, the "
                f"folded state {self.state.next_offset}"
            )
        return self.state.next_offset

    def snapshot(self) -> dict[str, bytes]:
        """The state as named blobs."""
        return self.state.snapshot()

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """The state of a snapshot; complete once the book in force has been learned."""
        self.state.restore(parts)
        if self.state.book_number >= 0:
            self._snapshot = parts
            if self.state.book_number in self.books:
                self.learn(self.books[self.state.book_number])

    # ---- questions ----

    def size(self) -> int:
        """Rows of state."""
        return self.state.size()

    def account(self, account: str) -> dict[str, Any] | None:
        """Open windows of 'payer:ID'; None where it has none."""
        if self.state.tallies is None or not account.startswith(PAYER_PREFIX):
            return None
        return self.state.tallies.account(account)

    def metrics(self) -> dict[str, int]:
        """Watermark, closed-to, position and running counts."""
        state = self.state
        times = {} if state.watermark_us == LONG_AGO else {"watermark_us": state.watermark_us}
        if state.closed_to_us != LONG_AGO:
            times["closed_to_us"] = state.closed_to_us
        return {**times, "next_offset": state.next_offset, "records": state.records, **state.counts}
