"""Folds charges of the ledger into the state of the payers' stage: nothing is priced, all is in the records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.streams.domain.dues import MINIMUMS, SHARINGS
from nanotally.streams.domain.falling_due import link_of, parts_of
from nanotally.streams.domain.hashing import combine, combine_int, hash_strings
from nanotally.streams.domain.keys import group
from nanotally.streams.domain.lines import LINKS, MINIMUM, PASS, RULE, Lines
from nanotally.streams.domain.matching import CompiledBook
from nanotally.streams.domain.records import BoolArray, Int64Array
from nanotally.streams.domain.redriven import offsets_of
from nanotally.streams.domain.scopes import ScopeRows
from nanotally.streams.domain.uses import Uses, int64
from nanotally.streams.errors import BrokenInvariant

if TYPE_CHECKING:
    from nanotally.streams.domain.state import PayersState

_NUMBERS = (
    "scope_key_high", "scope_key_low", "scope_start", "scope_end", "uses_before", "quantity_before", "quantity",
    "over_after", "total_after", "remainder_after", "remainder_den", "charged_before", "amount_nanos", "paid_nanos",
    "split_key_high", "split_key_low", "base_before",
)  # fmt: skip


def fold_charges(state: PayersState, batch: pa.RecordBatch) -> None:
    """Folds ledger records, in order: columns of charge.avsc, as the codec decodes them."""
    if len(batch):
        _Fold(state, batch).run()


class _Fold:
    """n charges; rows of uses and of what fell due, their m lines, and which charge each line is of."""

    def __init__(self, state: PayersState, batch: pa.RecordBatch) -> None:
        self.state, self.batch = state, batch
        valid = batch.column("event").is_valid().to_numpy(zero_copy_only=False)
        self.used, self.due = np.flatnonzero(valid), np.flatnonzero(~valid)
        lists = batch.column("lines")
        lines = lists.flatten()
        self.counts = np.diff(np.asarray(lists.offsets))
        self.row = np.repeat(np.arange(len(batch)), self.counts)
        self.line = {f.name: lines.field(i) for i, f in enumerate(lines.type)}
        self.number = {name: int64(self.line[name]) for name in _NUMBERS}
        events = batch.column("event")
        events = events if not len(self.due) else events.take(pa.array(self.used))
        self.event = {f.name: events.field(i) for i, f in enumerate(events.type)}
        self.events = events

    def run(self) -> None:
        if len(self.used):
            self._uses()
        if not len(self.row):
            return
        self._scopes()
        self._bases()
        self._tallies()
        self._dues()

    def _uses(self) -> None:
        state, event = self.state, self.event
        payer = combine(hash_strings(event["payer"]), hash_strings(event["product"]))
        key = combine(payer, hash_strings(event["event_id"]))
        occurred_at = int64(event["occurred_at"])
        state.watermark_us = max(state.watermark_us, int(occurred_at.max()) - state.settings.lateness_us)
        content = int64(self.batch.column("content_hash"))[self.used]
        fresh = self._fresh()
        if len(fresh) < len(occurred_at):
            key, content, occurred_at = (key[0][fresh], key[1][fresh]), content[fresh], occurred_at[fresh]
        state.seen.add(key, content, occurred_at)

    def _fresh(self) -> Int64Array:
        """Places of the uses that came for the first time; notes which of the others were redriven."""
        redriven = offsets_of(self.batch.column("flags"))[self.used]
        for offset in redriven[redriven >= 0].tolist():
            self.state.redriven.add(offset)
        return np.flatnonzero(redriven < 0)

    def _is(self, name: str, *values: str) -> BoolArray:
        found: BoolArray = pc.is_in(self.line[name], pa.array(values, pa.string())).to_numpy(zero_copy_only=False)
        return found

    def _scopes(self) -> None:
        number = self.number
        kept = np.flatnonzero(self._is("link", "rule", "pass") & ~self._is("scope", "event"))
        if not len(kept):
            return
        high, low = number["scope_key_high"].view(np.uint64), number["scope_key_low"].view(np.uint64)
        last = kept[group(high[kept], low[kept]).last]
        rows = ScopeRows(
            uses=number["uses_before"][last] + self._first_of_use()[last],
            quantity=number["quantity_before"][last] + number["quantity"][last],
            over=number["over_after"][last],
            total=number["total_after"][last],
            remainder=number["remainder_after"][last],
            den=number["remainder_den"][last],
            charged=number["charged_before"][last] + number["amount_nanos"][last],
            start=number["scope_start"][last],
            end=number["scope_end"][last],
        )
        self.state.scopes.put(high[last], low[last], rows)

    def _first_of_use(self) -> BoolArray:
        """Whether each line is the first of its charge in its scope."""
        if int(self.counts.max()) <= 1:
            return np.ones(len(self.row), dtype=bool)
        number = self.number
        key = number["scope_key_high"].view(np.uint64), number["scope_key_low"].view(np.uint64)
        first = np.zeros(len(self.row), dtype=bool)
        first[group(*combine_int(combine_int(key, number["scope_start"]), self.row)).first] = True
        return first

    def _bases(self) -> None:
        """What goes into a pool is not divided; what is shared out of it is."""
        number = self.number
        mine = np.flatnonzero(~self._is("link", "pass"))
        if not len(mine):
            return
        moved = np.where(self._is("link", "sharing"), number["amount_nanos"], number["paid_nanos"])
        high, low = number["split_key_high"].view(np.uint64), number["split_key_low"].view(np.uint64)
        last = mine[group(high[mine], low[mine]).last]
        self.state.splits.put(high[last], low[last], number["base_before"][last] + moved[last])

    def _tallies(self) -> None:
        tallies, batch, event = self.state.tallies, self.batch, self.event
        if tallies is None:
            raise BrokenInvariant("the ledger has a charge before any rule book came into force")
        places = np.flatnonzero(self.counts[self.used])
        rows, take = self.used[places], pa.array(places)
        if len(rows):
            series = tallies.series.codes(
                event["product"].take(take), event["meter"].take(take), int64(event["scale"])[places],
                batch.column("currency").take(pa.array(rows)),
            )  # fmt: skip
            tallies.add(
                tallies.accounts.codes(batch.column("payer").take(pa.array(rows))),
                series,
                int64(batch.column("booked_at"))[rows],
                np.ones(len(rows), dtype=np.int64),
                int64(event["quantity"])[places],
                int64(batch.column("paid_nanos"))[rows],
            )

    # ---- what may be or was due ----

    def _dues(self) -> None:
        book = self.state.book
        if book is None or not (len(self.due) or book.tracked.any()):
            return
        maybe = self._is("link", "pass") | self.line["pass"].is_valid().to_numpy(zero_copy_only=False)
        names = sorted({n.rule.name for n in book.rules if book.tracked[n.number]})
        maybe |= self._is("rule", *names)
        first = 0
        for row in [*self.due.tolist(), len(self.batch)]:
            self._note(book, np.flatnonzero(maybe & (self.row >= first) & (self.row < row)))
            if row < len(self.batch):
                self._fallen(np.flatnonzero(self.row == row), row)
            first = row + 1

    def _links(self, book: CompiledBook, lines: Int64Array) -> Int64Array:
        """Numbers of the lines' rules and passes in the book."""
        columns = (self.line[name].take(pa.array(lines)).to_pylist() for name in _NAMES)
        return np.array([book.named[name].number for name in zip(*columns, strict=True)], dtype=np.int64)

    def _lines(self, book: CompiledBook, lines: Int64Array, link: Int64Array) -> Lines:
        kinds = [LINKS.index(text) for text in self.line["link"].take(pa.array(lines)).to_pylist()]
        told = Lines.of(self.row[lines], link, np.zeros(len(lines), dtype=np.int64))
        told.kind = np.array(kinds, dtype=np.int64)
        rules = np.flatnonzero(told.kind != PASS)
        told.covering[rules] = book.covering[link[rules]]
        told.key_high = self.number["scope_key_high"].view(np.uint64)[lines]
        told.key_low = self.number["scope_key_low"].view(np.uint64)[lines]
        for name in ("scope_start", "scope_end", "charged_before"):
            told.numbers[name] = self.number[name][lines]
        told.numbers["amount"] = self.number["amount_nanos"][lines]
        return told

    def _note(self, book: CompiledBook, lines: Int64Array) -> None:
        if not len(lines):
            return
        told = self._lines(book, lines, self._links(book, lines))
        place = np.searchsorted(self.used, told.row)
        uses = Uses(pa.RecordBatch.from_struct_array(self.events), self.used, self.used, [])
        book.enrich(uses)
        for number in np.unique(told.link[told.kind == RULE]).tolist():
            mine = np.flatnonzero((told.link == number) & (told.kind == RULE))
            rows, back = np.unique(place[mine], return_inverse=True)
            told.numbers["resolved"][mine] = self.state.splits.resolve_uses(book.links[number], uses, rows)[back]
        self.state.dues.note(book, told, self._payers(told.row))

    def _payers(self, rows: Int64Array) -> dict[int, str]:
        distinct = np.unique(rows)
        payers = self.batch.column("payer").take(pa.array(distinct)).to_pylist()
        return dict(zip(distinct.tolist(), payers, strict=True))

    def _fallen(self, lines: Int64Array, row: int) -> None:
        state, number = self.state, self.number
        texts: list[str] = self.line["link"].take(pa.array(lines)).to_pylist()
        high, low = (int(number[f"scope_key_{half}"].view(np.uint64)[lines[0]]) for half in ("high", "low"))
        place = high, low, int(number["scope_start"][lines[0]])
        due = state.dues.get(SHARINGS if texts[0] == "sharing" else MINIMUMS, place)
        if due is None or state.tallies is None:
            offset = self.batch.column("usage_offset")[row].as_py()
            raise BrokenInvariant(f"the ledger has a {texts[0]} at usage offset {offset} of a scope that owes nothing")
        state.dues.drop(due)
        book = state.book_of(due)
        link = link_of(due, book)
        currency = link.version.currency
        if "pass" in texts:
            covering = int(book.covering[link.number])
            told = self._lines(book, lines, np.where(np.array(texts) == "pass", covering, link.number))
            parts = [resolved for resolved, _ in parts_of(due, currency, state.splits)]
            told.numbers["resolved"][told.kind == MINIMUM] = parts
            state.dues.note(book, told, {row: due.payer})
        state.tally_due(due.payer, currency, due.end_us - 1, self._paid(row))

    def _paid(self, row: int) -> int:
        paid: Any = self.batch.column("paid_nanos")[row].as_py()
        return int(paid)


_NAMES = ("tariff", "version", "link", "rule", "variant")
