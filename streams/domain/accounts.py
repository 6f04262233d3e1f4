"""The accounts' stage: earnings of all sources in; tallies and payouts of closed windows out.

Windows close by the least watermark over all sources, once each of them was heard. A chunk is cut only at the marks
that bring that watermark to the end of an open window; what is between is added in one go. The state is a fold over
the input itself, so a rebuild takes the records before the position again without writing, and what it comes to must be
what the last chunk record says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nanotally.streams.domain.accounts_input import Earnings, add, earned, read
from nanotally.streams.domain.accounts_output import Output
from nanotally.streams.domain.accounts_state import ROWS, AccountsState
from nanotally.streams.domain.decimals import decimal_text
from nanotally.streams.domain.records import LONG_AGO, RawChunk, Step
from nanotally.streams.domain.tallies import OpenTallies
from nanotally.streams.domain.tariff import RuleBook, Settings
from nanotally.streams.errors import BrokenInvariant

SLICE_ROWS = 20_000  # rows of closed windows in one transaction
_ALL = 2**62


class AccountsLogic:
    """The accounts' stage for one partition of `earnings`."""

    stage = "accounts"
    input_topic = "earnings"
    log_topic = "earnings"
    chunk_topic = "account_tallies"

    def __init__(self, partition: int, slice_rows: int = SLICE_ROWS) -> None:
        self.partition, self.slice_rows = partition, slice_rows
        self.state = AccountsState(partition)
        self._unfinished: Mapping[str, Any] | None = None  # last chunk record, where it cut a close not done again yet

    def needed_books(self, values: Sequence[bytes | None]) -> tuple[int, ...]:
        """None ever: marks carry the settings."""
        return ()

    def learn(self, book: RuleBook) -> None:
        """Nothing to keep of a book that was not asked for."""

    # ---- deciding ----

    def decide(self, chunk: RawChunk) -> Step:
        """One chunk, or as much of it as one transaction should close.

        Raises BrokenInvariant for a chunk before the position and for records that the payers' stage does not write."""
        state = self.state
        if len(chunk) and int(chunk.offsets[0]) < state.next_offset:
            raise BrokenInvariant(f"offset {int(chunk.offsets[0])} comes again; the position is {state.next_offset}")
        output = Output(self.partition, self.slice_rows)
        taken = self._take(chunk.values, output)
        if taken:
            state.next_offset = int(chunk.offsets[taken - 1]) + 1
        return output.step(taken, taken == len(chunk), state.chunk())

    def _take(self, values: Sequence[bytes | None], output: Output | None) -> int:
        """Takes records in order, writing what they close to `output` if there is one; gives how many were taken."""
        state, given = self.state, read(values)
        if state.tallies is None and given.marks:
            state.tallies = OpenTallies(Settings.from_document(json.loads(given.marks[0][1]["settings"])))
            for batch in state.waiting:
                add(state.tallies, batch)
            state.waiting = []
        earnings, taken, heard = Earnings(given, state.tallies), len(values), 0
        for place, mark in given.marks:
            earnings.pass_to(place)
            if (output and output.room < 1) or not self._hear(mark, earnings, output):
                taken = place
                break
            heard += 1
        earnings.pass_to(taken)
        earnings.add()
        if state.tallies is None and taken:
            state.waiting.append(earnings.taken())
        state.records += taken
        state.counts.update(earnings=taken - heard, marks=heard)
        state.sums.update(earned(earnings.taken()))
        return taken

    def _hear(self, mark: Mapping[str, Any], earnings: Earnings, output: Output | None) -> bool:
        """Takes a mark and closes what all sources have passed; False where a slice was full before all was closed."""
        state = self.state
        assert state.tallies is not None
        state.sources.hear(mark)
        to_us = state.sources.least()
        if to_us <= state.closed_to_us:
            return True
        if earnings.next_end() <= to_us:
            earnings.add()
            if not self._close(state.tallies, to_us, output):
                return False
        state.closed_to_us = state.tallies.closed_to_us = to_us
        state.sources.forget(to_us)
        return True

    def _close(self, tallies: OpenTallies, to_us: int, output: Output | None) -> bool:
        """Closes windows up to an instant, or a slice of them; True when all are closed."""
        state, period = self.state, tallies.settings.settlement
        if self._unfinished:
            chunk, self._unfinished = self._unfinished, None
            written = sum(chunk["counts"].get(name, 0) - state.counts[name] for name in ROWS)
            state.settle(tallies.close(to_us, state.cursor, written), period)
            state.agree(chunk)
        closed = tallies.close(to_us, state.cursor, output.room if output else _ALL)
        payouts = state.settle(closed, period)
        if output:
            output.put(closed, payouts)
        return closed.done

    # ---- folding ----

    def evolve(self, values: Sequence[bytes | None], first_offset: int) -> None:
        """Takes records of `earnings` before the position again, writing nothing."""
        self._take(values, None)

    def resume(self, chunk: Mapping[str, Any] | None) -> int:
        """Position after the records before it were taken again.

        Raises BrokenInvariant where they do not come to what the last chunk record says."""
        state = self.state
        if chunk is None:
            if state.records:
                raise BrokenInvariant(f"{state.records} earnings were folded, but there is no chunk record")
            return 0
        state.next_offset = chunk["next_offset"]
        if chunk["cursor"] is not None and chunk["cursor"] != state.cursor:
            # The mark that began the close comes next, for it was not taken whole; what it closed is closed again then.
            self._unfinished = chunk
        else:
            state.agree(chunk)
        state.balance()
        return state.next_offset

    def snapshot(self) -> dict[str, bytes]:
        """The state as named blobs."""
        return self.state.snapshot()

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """The state from what `snapshot` gave."""
        self.state = AccountsState(self.partition)
        self.state.restore(parts)

    # ---- questions ----

    def size(self) -> int:
        """Rows of state."""
        tallies = self.state.tallies
        return len(self.state.carry) + (tallies.size() if tallies else 0)

    def account(self, account: str) -> dict[str, Any] | None:
        """Open windows of an account, and what it carries as decimals by currency; None where it has neither."""
        carried = {currency: decimal_text(nanos) for currency, nanos in self.state.carry.of(account).items()}
        found = self.state.tallies.account(account) if self.state.tallies else None
        if not found and not carried:
            return None
        return {"account": account, "windows": [], "settlement": [], **(found or {}), "carried": carried}

    def metrics(self) -> dict[str, int]:
        """Watermark and closed-to where there are any, position and running counts."""
        state = self.state
        times = {"watermark_us": state.sources.least(), "closed_to_us": state.closed_to_us}
        told = {name: at for name, at in times.items() if at != LONG_AGO}
        return {**told, "next_offset": state.next_offset, "records": state.records, **state.counts}
