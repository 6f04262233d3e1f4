"""Cuts uses with a duration into pieces, where a band of their rule or a version of the tariff begins or ends.

Each piece is matched again and is a line of its own. Its quantity is the difference of two floors of the use's quantity
by the time gone, so that the pieces add up to the use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanotally.streams.domain.bands import next_border
from nanotally.streams.domain.matching import CompiledBook
from nanotally.streams.domain.records import NO_END, Int64Array
from nanotally.streams.domain.uses import Uses


@dataclass
class Pieces:
    """m pieces of uses, the pieces of a use one after the other, int64[m] each: row of the use; number of the rule,
    or a verdict of matching where there is none; when the piece begins, microseconds UTC; its unscaled quantity."""

    row: Int64Array
    rule: Int64Array
    at_us: Int64Array
    quantity: Int64Array

    def __len__(self) -> int:
        return len(self.row)

    def pick(self, places: Int64Array) -> Pieces:
        """Some of the pieces."""
        return Pieces(self.row[places], self.rule[places], self.at_us[places], self.quantity[places])


def whole(uses: Uses, rows: Int64Array, rule: Int64Array) -> Pieces:
    """Uses that are one piece each. rule: int64[n] of all uses."""
    return Pieces(rows, rule[rows], uses.occurred_at_us[rows], uses.quantity[rows])


def cut_rows(book: CompiledBook, uses: Uses, rows: Int64Array, rule: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Those of the rows (all with a rule) that are cut, and the first cut of each."""
    empty = np.zeros(0, dtype=np.int64)
    if not book.cuts.any() or not len(rows):
        return empty, empty
    mine = rows[book.cuts[rule[rows]]]
    if not len(mine):
        return empty, empty
    begin = uses.occurred_at_us[mine]
    cuts = _next_cuts(book, rule[mine], begin, begin + _durations(uses)[mine])
    there = cuts < NO_END
    return mine[there], cuts[there]


def cut(book: CompiledBook, uses: Uses, rows: Int64Array, rule: Int64Array, first_cuts: Int64Array) -> Pieces:
    """The pieces of the rows that `cut_rows` gave. rule: int64[n] of all uses."""
    if not len(rows):
        return whole(uses, rows, rule)
    begin = uses.occurred_at_us[rows]
    end = begin + _durations(uses)[rows]
    parts: list[tuple[Int64Array, Int64Array, Int64Array, Int64Array]] = []  # row's place, rule, from, to
    places, found, at, cuts = np.arange(len(rows)), rule[rows], begin, first_cuts
    while len(places):
        stop = np.minimum(cuts, end[places])
        parts.append((places, found, at, stop))
        going_on = cuts < NO_END
        places, at = places[going_on], cuts[going_on]
        found = book.match_at(uses, rows[places], at)
        cuts = np.full(len(places), NO_END, dtype=np.int64)
        cutting = np.flatnonzero(found >= 0)  # a use with a piece that has no rule is not charged at all
        cutting = cutting[book.cuts[found[cutting]]]
        cuts[cutting] = _next_cuts(book, found[cutting], at[cutting], end[places[cutting]])
    place, rules, start, stop = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((start, place))
    place, rules, start, stop = place[order], rules[order], start[order], stop[order]
    quantity = [
        q * (stop_us - begin_us) // lasts - q * (start_us - begin_us) // lasts
        for q, begin_us, lasts, start_us, stop_us in zip(
            uses.quantity[rows[place]].tolist(),
            begin[place].tolist(),
            (end - begin)[place].tolist(),
            start.tolist(),
            stop.tolist(),
            strict=True,
        )
    ]
    return Pieces(rows[place], rules, start, np.array(quantity, dtype=np.int64))


def _durations(uses: Uses) -> Int64Array:
    """How long each use lasted, microseconds; 0 where it does not say or says something absurd."""
    durations: Int64Array = uses.column("duration_us").fill_null(0).to_numpy(zero_copy_only=False)
    return np.where((durations > 0) & (durations < NO_END // 4), durations, 0)


def _next_cuts(book: CompiledBook, rule: Int64Array, at_us: Int64Array, end_us: Int64Array) -> Int64Array:
    """First instant after `at_us` and before `end_us` at which uses of the rules are cut; NO_END: there is none."""
    cuts = np.full(len(rule), NO_END, dtype=np.int64)
    for number in np.unique(rule).tolist():
        mine = np.flatnonzero(rule == number)
        rule_of = book.rules[number]
        starts = np.array([v.effective_from_us for v in book.versions[rule_of.version.tariff]] + [NO_END])
        cuts[mine] = starts[np.searchsorted(starts, at_us[mine], side="right")]
        for condition in book.bands_of(rule_of):
            cuts[mine] = np.minimum(cuts[mine], next_border(condition, at_us[mine], end_us[mine]))
    return np.where(cuts < end_us, cuts, NO_END)
