"""Prices uses whose refusal must leave no trace: in scopes that a use opens or extends, under passes, cut in pieces.

Uses are rated as columns as if none were refused. Where one is, what its payer used before it is kept, the refused one
changes nothing, and what the payer used after it is rated anew, first one use, then two, four ...: so a use that is
refused extends no session. A scope is always of one payer, so that other payers' uses stand as they were rated."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from nanotally.streams.domain.asking import asked_of, price_of
from nanotally.streams.domain.cutting import Pieces
from nanotally.streams.domain.hashing import Hash, combine_int
from nanotally.streams.domain.keys import Groups, group, group_codes
from nanotally.streams.domain.lines import PASS, RULE, Lines
from nanotally.streams.domain.matching import CompiledBook, NumberedRule
from nanotally.streams.domain.opened import instances
from nanotally.streams.domain.rated import ABOVE_MAX_PRICE, COLUMNS, NO_PRICE, OUT_OF_RANGE
from nanotally.streams.domain.rating import rate, rate_mixed
from nanotally.streams.domain.records import LONG_AGO, NO_END, BoolArray, Int64Array
from nanotally.streams.domain.scope_keys import scope_of
from nanotally.streams.domain.scopes import ScopeRows, Scopes
from nanotally.streams.domain.tariff import OPENED_SCOPES, Rule
from nanotally.streams.domain.uses import Uses

BLOCK = 2048  # uses taken together where some are refused


@dataclass
class _Kept:
    """Scopes as they are after a block."""

    key: Hash
    rows: ScopeRows


@dataclass
class _Plan:
    """Uses rated and not kept yet. refused: codes by row, right for the first one of each payer."""

    lines: Lines
    kept: list[_Kept]
    refused: dict[int, int]


class Careful:
    """Rates the pieces of uses, in order, and moves the scopes.

    pieces: all with a rule; booked_at: int64[n] of the uses; limits: max_price of the uses, nanos."""

    def __init__(
        self,
        book: CompiledBook,
        uses: Uses,
        pieces: Pieces,
        booked_at: Int64Array,
        limits: list[Fraction | None] | None,
        scopes: Scopes,
    ) -> None:
        self.book, self.uses, self.booked_at, self.limits, self.scopes = book, uses, booked_at, limits, scopes
        self.refusal = np.zeros(len(uses), dtype=np.int64)  # by row, codes of Rated.refusal
        self.pieces = self._without_refusing(pieces)
        self._family = np.array(book.family, dtype=np.int64)

    def _without_refusing(self, pieces: Pieces) -> Pieces:
        """Uses of one piece whose rule refuses all are refused at once."""
        book = self.book
        for_sure = np.array([r.rule.refuse and r.rule.limit is None for r in book.rules], dtype=bool)
        if not for_sure.any() or not len(pieces):
            return pieces
        alone = np.bincount(pieces.row)[pieces.row] == 1
        out = alone & for_sure[pieces.rule]
        self.refusal[pieces.row[out]] = NO_PRICE
        return pieces.pick(np.flatnonzero(~out))

    def run(self) -> Lines:
        """The lines of all that are charged, without resolved splits and shares; `refusal` tells of the others."""
        rows = np.unique(self.pieces.row)
        plan = self._plan(rows)
        if not plan.refused:
            return self._keep(plan)
        done: list[Lines] = []
        for start in range(0, len(rows), BLOCK):
            self._by_payers(rows[start : start + BLOCK], done)
        lines = Lines.joined(done)
        return lines.pick(np.argsort(lines.row, kind="stable"))

    def _by_payers(self, rows: Int64Array, done: list[Lines]) -> None:
        """Rates uses of which some are refused; adds the lines of the others."""
        payer = group(*(half[rows] for half in self.uses.payer_hash)).codes
        size = np.full(int(payer.max()) + 1, len(rows), dtype=np.int64)  # uses that a payer has rated next
        while len(rows):
            taken = _places_within(payer) < size[payer]
            refused = self._plan(rows[taken]).refused if taken.any() else {}
            first = np.full(len(size), NO_END, dtype=np.int64)  # each payer's first refused row
            for row in sorted(refused, reverse=True):
                first[payer[np.searchsorted(rows, row)]] = row
            good, bad = taken & (rows < first[payer]), rows == first[payer]
            if good.any():
                done.append(self._keep(self._plan(rows[good])))
            for row in rows[bad].tolist():
                self.refusal[row] = refused[row]
            size = np.where(first < NO_END, 1, np.minimum(2 * size, BLOCK))
            rows, payer = rows[~(good | bad)], payer[~(good | bad)]

    def _keep(self, plan: _Plan) -> Lines:
        for kept in plan.kept:
            self.scopes.put(*kept.key, kept.rows)
        return plan.lines

    def _plan(self, rows: Int64Array) -> _Plan:
        chosen = np.zeros(len(self.uses), dtype=bool)
        chosen[rows] = True
        some = self.pieces.pick(np.flatnonzero(chosen[self.pieces.row]))
        booked_at = np.maximum(some.at_us, self.booked_at[some.row])
        lines, kept = self._rate(Lines.of(some.row, some.rule, some.at_us, RULE), some.quantity, booked_at)
        lines.covering = self.book.covering[some.rule]
        under = np.flatnonzero(lines.covering >= 0)
        refused = dict.fromkeys(lines.too_much(lines.numbers["amount"]), OUT_OF_RANGE) | _refused(lines)
        lines.paid = np.where(lines.covering >= 0, 0, lines.numbers["amount"])
        passes = None
        if len(under):
            passes, more = self._passes(lines, under)
            kept += more
            refused = _refused(passes) | refused
        refused |= {row: ABOVE_MAX_PRICE for row in self._too_dear(lines, passes) if row not in refused}
        if passes is not None:
            lines = Lines.joined([lines, passes])
            lines = lines.pick(np.lexsort((np.arange(len(lines)), lines.kind == PASS, lines.row)))
            refused = dict.fromkeys(lines.too_much(lines.paid), OUT_OF_RANGE) | refused
        return _Plan(lines, kept, refused)

    def _passes(self, lines: Lines, under: Int64Array) -> tuple[Lines, list[_Kept]]:
        """A line for each use and pass: a use of it is what its lines under the pass would cost."""
        by_pass = lines.row[under] * len(self.book.links) + lines.covering[under]
        groups = group_codes(by_pass)
        nanos = np.zeros(len(groups), dtype=np.int64)
        np.add.at(nanos, groups.codes, lines.numbers["amount"][under])
        order = np.argsort(groups.first)
        nanos, first = nanos[order], under[groups.first[order]]
        row = lines.row[first]
        # What gives money back is not passed on: a pass never pays out.
        passes, kept = self._rate(
            Lines.of(row, lines.covering[first], lines.at_us[first], PASS), np.maximum(nanos, 0), self.booked_at[row]
        )
        passes.paid = passes.numbers["amount"]
        return passes, kept

    def _rate(self, lines: Lines, quantity: Int64Array, booked_at: Int64Array) -> tuple[Lines, list[_Kept]]:
        """Fills in what the lines come to; also the scopes as they are then."""
        kept = []
        family = self._family[lines.link]
        for number in np.unique(family).tolist():
            places = np.flatnonzero(family == number)
            kept += self._rate_family(lines, places, quantity[places], booked_at[places])
        return lines, kept

    def _rate_family(
        self, lines: Lines, places: Int64Array, quantity: Int64Array, booked_at: Int64Array
    ) -> list[_Kept]:
        row, link = lines.row[places], lines.link[places]
        links = [self.book.links[number] for number in np.unique(link).tolist()]
        key, start, end = self._scopes_of(links, row, link, booked_at)
        rule = links[0].rule
        groups = group(*key)
        opened = rule.scope in OPENED_SCOPES
        if rule.scope == "event":
            before = ScopeRows.new(len(groups), 1)
        else:
            before = self.scopes.get(key[0][groups.first], key[1][groups.first], 1)
        each = groups
        if opened:
            start, end = instances(rule.scope, rule.length_us, groups, booked_at, before)
            each = group(*combine_int(key, start))
            before = _of_instances(before.pick(groups.codes[each.first]), start[each.first])
        first = _first_of_use(row, each)
        asked = asked_of(links, self.uses, row, link, quantity, None if first.all() else first)
        if len(links) == 1:
            rated = rate(price_of(links[0]), each, before, asked)
        else:
            prices = {of.number: price_of(of) for of in links}
            rated = rate_mixed([prices[n] for n in link.tolist()], each, before, asked)
        for name in COLUMNS:
            lines.numbers[name][places] = getattr(rated, name)
        lines.numbers["scope_start"][places], lines.numbers["scope_end"][places] = start, end
        lines.key_high[places], lines.key_low[places] = key
        if rule.scope == "event":
            return []
        last = groups.last
        after = ScopeRows(
            uses=rated.uses_before[last] + first[last],
            quantity=rated.quantity_before[last] + rated.counted[last],
            over=rated.over_after[last],
            total=rated.total_after[last],
            remainder=rated.remainder_after[last],
            den=rated.remainder_den[last],
            charged=rated.charged_before[last] + rated.amount[last],
            start=start[last],
            end=end[last],
        )
        return [_Kept((key[0][last], key[1][last]), after)]

    def _scopes_of(
        self, links: list[NumberedRule], row: Int64Array, link: Int64Array, booked_at: Int64Array
    ) -> tuple[Hash, Int64Array, Int64Array]:
        if len(links) == 1:
            return scope_of(links[0], self.uses, row, booked_at)
        high, low = np.zeros(len(row), dtype=np.uint64), np.zeros(len(row), dtype=np.uint64)
        start, end = np.zeros(len(row), dtype=np.int64), np.zeros(len(row), dtype=np.int64)
        for of in links:
            mine = np.flatnonzero(link == of.number)
            key, start[mine], end[mine] = scope_of(of, self.uses, row[mine], booked_at[mine])
            high[mine], low[mine] = key
        return (high, low), start, end

    def _too_dear(self, lines: Lines, passes: Lines | None) -> list[int]:
        """Rows of the uses above their max_price."""
        if self.limits is None:
            return []
        asked: dict[int, Fraction] = {}
        covered: dict[tuple[int, int], Fraction] = {}
        limited = np.array([self.limits[row] is not None for row in lines.row.tolist()], dtype=bool)
        for place in np.flatnonzero(limited).tolist():
            row, pass_number = int(lines.row[place]), int(lines.covering[place])
            nanos = _asked(self.book.links[int(lines.link[place])].rule, lines, place)
            if pass_number < 0:
                asked[row] = asked.get(row, Fraction(0)) + nanos
            else:
                covered[row, pass_number] = covered.get((row, pass_number), Fraction(0)) + nanos
        if passes is not None:
            for place, of in enumerate(zip(passes.row.tolist(), passes.link.tolist(), strict=True)):
                if of in covered:
                    most = _asked(self.book.links[of[1]].rule, passes, place)
                    asked[of[0]] = asked.get(of[0], Fraction(0)) + min(most, covered[of])
        return [row for row, nanos in asked.items() if (limit := self.limits[row]) is not None and nanos > limit]


def _of_instances(newest: ScopeRows, start: Int64Array) -> ScopeRows:
    """State before the first use of each instance: that of the newest one where it is that, else none."""
    known = (newest.start == start) & (newest.end > LONG_AGO)
    fresh = ScopeRows.new(len(start), 1)
    return ScopeRows(*(np.where(known, a, b) for a, b in zip(vars(newest).values(), vars(fresh).values(), strict=True)))


def _first_of_use(row: Int64Array, groups: Groups) -> BoolArray:
    """Whether each line is the first of its use in its scope; rows never fall."""
    ordered = row[groups.order]
    begins = np.ones(len(row), dtype=bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    begins[groups.starts] = True
    first = np.empty(len(row), dtype=bool)
    first[groups.order] = begins
    return first


def _refused(lines: Lines) -> dict[int, int]:
    """Codes of the refused by row, of the first line of each that is."""
    refused = np.flatnonzero(lines.numbers["refusal"])[::-1]
    return dict(zip(lines.row[refused].tolist(), lines.numbers["refusal"][refused].tolist(), strict=True))


def _places_within(codes: Int64Array) -> Int64Array:
    """How many before each element have the same code."""
    groups = group_codes(codes)
    place = np.empty(len(codes), dtype=np.int64)
    sizes = np.diff(np.append(groups.starts, len(codes)))
    place[groups.order] = np.arange(len(codes)) - np.repeat(groups.starts, sizes)
    return place


def _asked(rule: Rule, lines: Lines, place: int) -> Fraction:
    """Exact nanos by which a line raises what its scope owes, under what the cap leaves: held against a max_price."""
    n = {name: int(column[place]) for name, column in lines.numbers.items()}
    before = _owed(rule, n["total_before"] + Fraction(n["remainder_before"], max(1, n["remainder_den"])))
    after = _owed(rule, n["total_after"] + Fraction(n["remainder_after"], max(1, n["remainder_den"])))
    asked = max(Fraction(0), after - before)
    if rule.cap_nanos is not None:
        asked = min(asked, Fraction(max(0, rule.cap_nanos - n["charged_before"])))
    if rule.scope == "event" and rule.minimum_nanos:
        asked = max(asked, Fraction(rule.minimum_nanos))
    return asked


def _owed(rule: Rule, total: Fraction) -> Fraction:
    """What a total comes to under the rule's commitment."""
    over = rule.overage
    return total if over is None or total <= over.above else over.above + (total - over.above) * over.factor
