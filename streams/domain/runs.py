"""A run of uses between two controls, taken as columns: admitted, priced up to each closing, written."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from nanotally.schemas import codec
from nanotally.streams.domain import admission
from nanotally.streams.domain.admission import DUPLICATE, REJECTED, TAKEN, Admitted, admit
from nanotally.streams.domain.asking import limits_of
from nanotally.streams.domain.cutting import Pieces, cut, cut_rows
from nanotally.streams.domain.exact import REFUSALS
from nanotally.streams.domain.hashing import partitions_of
from nanotally.streams.domain.keys import Interner
from nanotally.streams.domain.ledger import CHARGED, REFUSED, UNPRICED, ChargeRows
from nanotally.streams.domain.matching import NO_RULE, NO_TARIFF, UNPRICED_REASONS
from nanotally.streams.domain.pricing import Priced, price_run
from nanotally.streams.domain.records import NO_END, BoolArray, Int32Array, Int64Array, RawChunk
from nanotally.streams.domain.scope_keys import bounds_of, calendar_of
from nanotally.streams.domain.uses import Uses
from nanotally.streams.domain.validation import ID_BYTES_MAX

if TYPE_CHECKING:
    from nanotally.streams.domain.outputs import Outputs
    from nanotally.streams.domain.payers import PayersLogic

LOOK_AHEAD = 2048  # rows searched at a time for the next closing
OUTCOMES = [
    (CHARGED, ""),
    *((REFUSED, reason) for reason in REFUSALS.values()),
    *((UNPRICED, reason) for reason in UNPRICED_REASONS.values()),
]
_REFUSED_CODE = {refusal: OUTCOMES.index((REFUSED, reason)) for refusal, reason in REFUSALS.items()}
_UNPRICED_CODE = {rule: OUTCOMES.index((UNPRICED, reason)) for rule, reason in UNPRICED_REASONS.items()}
WRONG_PARTITION = -1


class UsageRun:
    """The uses of one chunk, decoded once and taken run by run. positions: int64[m] places of usage events in it."""

    def __init__(self, chunk: RawChunk, positions: Int64Array, logic: PayersLogic, out: Outputs) -> None:
        self.chunk, self.logic, self.state, self.out = chunk, logic, logic.state, out
        values = [chunk.values[i] for i in positions.tolist()]
        decoded = codec.decode("UsageEvent", values)
        self.bad = [(int(positions[bad.index]), bad) for bad in decoded.bad]
        self.places = positions[decoded.index]  # place in the chunk of each decoded use
        datums = codec.event_datums(values, decoded)
        self.uses = Uses(decoded.batch, chunk.offsets[self.places], chunk.recorded_at_us[self.places], datums)
        self.done = 0  # decoded uses taken so far
        self.flags: list[str] | None = None  # of each use, where they have any

    def take_until(self, stop: int) -> int:
        """Takes the uses before a place of the chunk; gives that place, or that of the use at which a close was
        cut."""
        end = int(np.searchsorted(self.places, stop))
        first, self.done = self.done, end
        reached = stop
        if end > first:
            taken = self._take(self.uses.part(first, end), self.places[first:end])
            if taken < end - first:
                reached = int(self.places[first + taken])
        while self.bad and self.bad[0][0] < reached:
            place, bad = self.bad.pop(0)
            self.out.reject(self.chunk, place, bad.reason, bad.detail)
        return reached

    def _take(self, uses: Uses, places: Int64Array) -> int:
        """Gives how many uses were taken before a close was cut."""
        state = self.state
        rule = state.book.match(uses) if state.book is not None else np.full(len(uses), NO_TARIFF, dtype=np.int64)
        limits = limits_of(uses)
        payer = self._payer_codes(uses)
        admitted = self._admit(uses, rule, limits.bad, payer != WRONG_PARTITION)
        verdict, watermark = admitted.verdict, admitted.watermark_us
        booked_at = np.maximum(uses.occurred_at_us, watermark)
        in_ledger = verdict == TAKEN
        priced, n = Priced(len(uses)), len(uses)
        pieces = self._cut(uses, in_ledger, rule)
        ends = self._window_ends(booked_at, in_ledger)
        self._due_ends(ends, booked_at, in_ledger, rule, pieces)
        row, end = 0, 0
        while True:
            end = self._next_closing(row, ends, watermark)
            if end > row:
                self._price(uses, row, end, rule, in_ledger, booked_at, limits.nanos, payer, priced, pieces)
                state.watermark_us = max(state.watermark_us, int(watermark[end - 1]))
            if end == n:
                break
            state.watermark_us = int(watermark[end])
            if not self.logic.close_to_watermark(self.out, int(uses.offsets[end]), int(uses.recorded_at_us[end])):
                break
            row = end
        if end == n and not self.logic.close_to_watermark(self.out, None, 0):
            raise AssertionError("a window was left open behind the watermark")
        self._write(uses, end, rule, verdict, booked_at, priced, places)
        return end

    def _admit(self, uses: Uses, rule: Int64Array, bad_price: Int64Array, right_partition: BoolArray) -> Admitted:
        state = self.state
        return admit(
            uses,
            rule,
            bad_price,
            right_partition,
            state.seen,
            state.watermark_us,
            state.forgotten_us,
            state.settings,
        )

    def _remember(self, uses: Uses, rows: Int64Array) -> None:
        """Notes by what repeats of the rows will be told: their ids."""
        high, low = uses.id_hash
        self.state.seen.add((high[rows], low[rows]), uses.content_hash[rows], uses.occurred_at_us[rows])

    def _payer_codes(self, uses: Uses) -> Int32Array:
        """Codes of the payers, WRONG_PARTITION for those that belong elsewhere: int32[n]."""
        known: Interner = self.state.payers
        encoded = uses.column("payer").dictionary_encode()
        texts = encoded.dictionary.to_pylist()
        found = [known.code(text) for text in texts]
        table = np.array([WRONG_PARTITION if code is None else code for code in found], dtype=np.int32)
        new = [i for i, code in enumerate(found) if code is None]
        raw = [texts[i].encode() for i in new]
        right = partitions_of(raw, self.logic.partitions) == self.logic.partition
        for j in np.flatnonzero(right).tolist():
            table[new[j]] = known.add(texts[new[j]]) if 0 < len(raw[j]) <= ID_BYTES_MAX else len(known)
        codes: Int32Array = table[encoded.indices.to_numpy()]
        return codes

    def _window_ends(self, booked_at: Int64Array, in_ledger: np.ndarray) -> Int64Array:
        """End of the finest window that each use is booked in; NO_END for uses that open none: int64[n]."""
        ends = np.full(len(booked_at), NO_END, dtype=np.int64)
        if self.state.book is not None:
            settings = self.state.settings
            mine = booked_at[in_ledger]
            calendar, size = calendar_of(settings.zone), settings.windows[0]
            ends[in_ledger] = calendar.ends(size, calendar.starts(size, mine))
        return ends

    def _cut(self, uses: Uses, in_ledger: np.ndarray, rule: Int64Array) -> Pieces | None:
        """Pieces of the uses that are cut, None where none is. One with a piece that has no rule is not charged:
        `rule` then says so."""
        book = self.state.book
        if book is None:
            return None
        rows, cuts = cut_rows(book, uses, np.flatnonzero(in_ledger & (rule >= 0)), rule)
        if not len(rows):
            return None
        pieces = cut(book, uses, rows, rule, cuts)
        unpriced = pieces.pick(np.flatnonzero(pieces.rule < 0))
        rule[unpriced.row] = np.where(np.isin(unpriced.rule, list(UNPRICED_REASONS)), unpriced.rule, NO_RULE)
        return pieces.pick(np.flatnonzero(~np.isin(pieces.row, unpriced.row)))

    def _due_ends(
        self, ends: Int64Array, booked_at: Int64Array, in_ledger: np.ndarray, rule: Int64Array, pieces: Pieces | None
    ) -> None:
        """Brings `ends` forward to where something may be due in a scope of each use, or earlier: a closing too many
        changes nothing."""
        book = self.state.book
        if book is None or not book.tracked.any():
            return
        mine = np.flatnonzero(in_ledger & (rule >= 0))
        for number in np.unique(rule[mine]).tolist():
            rows = mine[rule[mine] == number]
            for link in (number, int(book.covering[number])):
                if link >= 0 and book.tracked[link]:
                    ends[rows] = np.minimum(ends[rows], bounds_of(book.links[link], booked_at[rows])[1])
        if pieces is not None:
            ends[pieces.row] = booked_at[pieces.row]  # its later pieces may open scopes of their own

    def _next_closing(self, row: int, ends: Int64Array, watermark: Int64Array) -> int:
        """First use from `row` on whose watermark reaches the end of a window open by then; n where there is none."""
        least = self.state.tallies.next_end() if self.state.tallies is not None else NO_END
        least = min(least, self.state.dues.next_end())
        for start in range(row, len(ends), LOOK_AHEAD):
            block = ends[start : start + LOOK_AHEAD]
            open_before = np.minimum.accumulate(np.concatenate(([least], block)))[:-1]
            reached = watermark[start : start + LOOK_AHEAD] >= open_before
            if reached.any():
                return start + int(reached.argmax())
            least = min(least, int(block.min()))
        return len(ends)

    def _price(
        self,
        uses: Uses,
        first: int,
        end: int,
        rule: Int64Array,
        in_ledger: np.ndarray,
        booked_at: Int64Array,
        limits: list[Fraction | None] | None,
        payer: Int32Array,
        priced: Priced,
        pieces: Pieces | None,
    ) -> None:
        """Prices uses first..end-1 and folds them into the state."""
        state = self.state
        rows = np.flatnonzero(in_ledger[first:end]) + first
        if not len(rows):
            return
        self._remember(uses, rows)
        with_rule = rows[rule[rows] >= 0]
        if not len(with_rule) or state.book is None or state.tallies is None:
            return
        if pieces is not None:
            pieces = pieces.pick(np.arange(*np.searchsorted(pieces.row, (first, end))))
        charged = price_run(
            state.book, uses, with_rule, rule, booked_at, limits, state.scopes, state.splits, priced, state.dues, pieces
        )
        if len(charged):
            state.tallies.add(
                payer[charged],
                self._series(uses, charged, rule[charged]),
                booked_at[charged],
                np.ones(len(charged), dtype=np.int64),
                uses.quantity[charged],
                priced.numbers["amount"][charged],
            )

    def _series(self, uses: Uses, rows: Int64Array, rule: Int64Array) -> Int32Array:
        """Code of (product, meter, scale, currency) of each row; rule: int64[rows]."""
        state = self.state
        assert state.book is not None and state.tallies is not None
        pairs, names = uses.pairs
        table: dict[int, int] = {}
        code = pairs.codes[rows] * len(state.book.rules) + rule
        distinct, first = np.unique(code, return_index=True)
        for value, place in zip(distinct.tolist(), first.tolist(), strict=True):
            product, meter = names[value // len(state.book.rules)]
            currency = state.book.rules[int(rule[place])].version.currency
            table[value] = state.tallies.series_code(product, meter, int(uses.scale[rows[place]]), currency)
        codes = np.array([table[v] for v in distinct.tolist()], dtype=np.int32)
        return codes[np.searchsorted(distinct, code)]

    def _write(
        self,
        uses: Uses,
        end: int,
        rule: Int64Array,
        verdict: Int64Array,
        booked_at: Int64Array,
        priced: Priced,
        places: Int64Array,
    ) -> None:
        """Hands what became of uses 0..end-1 to the outputs."""
        verdict = verdict[:end]
        rows = np.flatnonzero(verdict == TAKEN)
        code = np.zeros(len(rows), dtype=np.int64)
        of_rows = rule[rows]
        for missing, place in _UNPRICED_CODE.items():
            code[of_rows == missing] = place
        refusal = priced.numbers["refusal"][rows]
        if refusal.any():
            for refused, place in _REFUSED_CODE.items():
                code[refusal == refused] = place
        charged = np.zeros(len(uses), dtype=bool)
        charged[rows[code == 0]] = True
        self.out.charges(ChargeRows(uses, rows, rule, booked_at, charged, code, OUTCOMES, self.flags), priced)
        self.out.duplicates(uses.offsets[:end][verdict == DUPLICATE])
        for row in np.flatnonzero(verdict >= REJECTED).tolist():
            reason = admission.REASONS[int(verdict[row]) - REJECTED]
            self._reject(int(places[row]), reason, uses, row, int(rule[row]))

    def _reject(self, place: int, reason: str, uses: Uses, row: int, rule: int) -> None:
        """rule: what matching said of the use."""
        self.out.reject_use(self.chunk, place, reason, uses, row)
