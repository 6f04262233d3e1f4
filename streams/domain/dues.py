"""Scopes at whose end something may be due: what they were charged so far, and by whose uses.

A minimum is divided, and what a pass took in is shared out, by the nanos of list price that the uses of each resolved
split came to in the scope. All of it is told by the lines of the ledger, so that a rebuild finds the same."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nanotally.streams.domain.lines import PASS, RULE, Lines
from nanotally.streams.domain.matching import CompiledBook, NumberedRule
from nanotally.streams.domain.parties import Parties
from nanotally.streams.domain.records import NO_END
from nanotally.streams.domain.rules import party_document, party_from
from nanotally.streams.domain.splitting import Splits

MINIMUMS, SHARINGS = 0, 1  # kinds, in the order in which what ends together falls due
Name = tuple[str, int, str, str, str]  # tariff, version, link, name and variant of a rule or pass
Place = tuple[int, int, int]  # scope key, high and low, and start


@dataclass
class Due:
    """One scope: charged is nanos so far, minimum what it costs at least, by the version of its last use, which is
    named, and the number of the book in force then; weights: nanos of list price by resolved split."""

    kind: int
    place: Place
    end_us: int
    payer: str
    name: Name
    book: int
    minimum: int
    charged: int
    weights: dict[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Nanos that are due at the end; 0 where nothing is."""
        return max(0, self.charged if self.kind == SHARINGS else self.minimum - self.charged)

    @property
    def order(self) -> tuple[int, int, Place]:
        """When it is its turn."""
        return self.end_us, self.kind, self.place


def name_of(link: NumberedRule) -> Name:
    """What a rule or pass is known by in any book."""
    return link.version.tariff, link.version.version, link.link, link.rule.name, link.rule.variant


class Dues:
    """All such scopes of one partition."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, Place], Due] = {}
        self._heap: list[tuple[int, int, Place]] = []  # may hold ends that were moved on or are gone

    def __len__(self) -> int:
        return len(self._known)

    def next_end(self) -> int:
        """Least end of a scope, microseconds UTC; NO_END where there is none."""
        while self._heap:
            end, kind, place = self._heap[0]
            due = self._known.get((kind, place))
            if due is not None and due.end_us == end:
                return end
            heapq.heappop(self._heap)
        return NO_END

    def first(self) -> Due | None:
        """The one whose turn is next."""
        return None if self.next_end() == NO_END else self._known[self._heap[0][1], self._heap[0][2]]

    def get(self, kind: int, place: Place) -> Due | None:
        """A scope, None where it is not known."""
        return self._known.get((kind, place))

    def drop(self, due: Due) -> None:
        """Lets go of a scope."""
        self._known.pop((due.kind, due.place), None)

    def forget(self, closed_to_us: int) -> None:
        """Drops what ended without owing anything."""
        while self.next_end() <= closed_to_us:
            self.drop(self._known[self._heap[0][1], self._heap[0][2]])

    def put(self, due: Due) -> None:
        """Takes a scope, new or with another end."""
        self._known[due.kind, due.place] = due
        heapq.heappush(self._heap, due.order)

    def books(self) -> set[int]:
        """Numbers of the books that say what is due."""
        return {due.book for due in self._known.values()}

    def note(self, book: CompiledBook, lines: Lines, payers: Mapping[int, str]) -> None:
        """Notes lines of rules and passes, in order. payers: of the charges that have such lines, by row."""
        tracked = book.tracked[lines.link] | (lines.covering >= 0)
        passes: dict[tuple[int, int], Due] = {}
        number = book.book.number
        mine = np.flatnonzero(tracked)
        for line in sorted(_told(lines, mine), key=lambda told: told.kind != PASS):
            link = book.links[line.link]
            if line.kind == PASS:
                passes[line.row, line.link] = self._of(SHARINGS, line, link, number, payers[line.row], 0)
                continue
            if line.covering >= 0:
                _weigh(passes[line.row, line.covering], line.resolved, line.amount)
            if line.kind == RULE and book.tracked[line.link] and line.end != NO_END:
                minimum = link.rule.minimum_nanos
                fresh = self.get(MINIMUMS, line.place) is None
                due = self._of(MINIMUMS, line, link, number, payers[line.row], minimum)
                # What came before the scope was tracked counts as this split's.
                _weigh(due, line.resolved, line.amount + (line.before if fresh else 0))

    def _of(self, kind: int, line: _Line, link: NumberedRule, book: int, payer: str, minimum: int) -> Due:
        """Notes what one line came to in its scope."""
        due = self.get(kind, line.place)
        if due is None or due.end_us != line.end:
            weights = {} if due is None else due.weights
            due = Due(kind, line.place, line.end, payer, name_of(link), book, minimum, 0, weights)
            self.put(due)
        due.name, due.book, due.minimum, due.charged = name_of(link), book, minimum, line.before + line.amount
        return due

    # ---- to bytes and back ----

    def snapshot(self, splits: Splits) -> bytes:
        """All of it as one blob, resolved splits by what they are."""
        numbers = sorted({n for due in self._known.values() for n in due.weights})
        told = [
            [d.kind, d.place, d.end_us, d.payer, d.name, d.book, d.minimum, d.charged, list(d.weights.items())]
            for d in self._known.values()
        ]
        return json.dumps({"splits": [[n, *_document(splits, n)] for n in numbers], "dues": told}).encode()

    def restore(self, blob: bytes, splits: Splits) -> None:
        """What `snapshot` gave; resolved splits get numbers of their own here."""
        doc = json.loads(blob)
        number = {n: _number(splits, currency, parties) for n, currency, parties in doc["splits"]}
        self.__init__()  # type: ignore[misc]
        for kind, place, end, payer, name, book, minimum, charged, weights in doc["dues"]:
            tariff, version, link, rule, variant = name
            known = {number[n]: nanos for n, nanos in weights}
            named = (tariff, version, link, rule, variant)
            self.put(Due(kind, (place[0], place[1], place[2]), end, payer, named, book, minimum, charged, known))


def _weigh(due: Due, resolved: int, nanos: int) -> None:
    due.weights[resolved] = due.weights.get(resolved, 0) + nanos


def share_out(total: int, weights: Mapping[int, int], splits: Splits) -> list[tuple[int, int]]:
    """Whole nanos by resolved split in proportion to weights: differences of cumulated floors in the order of the
    splits, so that they sum to the total; parts of 0 are left out. Empty where nothing weighs anything."""
    whole, seen, parts = sum(weights.values()), 0, []
    if whole <= 0:
        return []
    for number in sorted(weights, key=lambda n: _sorting(splits.parties[n])):
        after = seen + weights[number]
        parts.append((number, total * after // whole - total * seen // whole))
        seen = after
    return [(number, nanos) for number, nanos in parts if nanos]


def _document(splits: Splits, number: int) -> tuple[str, list[dict[str, Any]]]:
    """Currency and parties of a resolved split as plain values."""
    currency = splits.currencies.texts[int(splits.currency[number])]
    return currency, [party_document(party) for party in splits.parties[number]]


def _number(splits: Splits, currency: str, parties: list[dict[str, Any]]) -> int:
    return splits.number(currency, tuple(party_from(doc) for doc in parties))


def _sorting(parties: Parties) -> tuple[Any, ...]:
    """Order among resolved splits."""
    return tuple(
        (p.account, p.fraction, -1 if p.cap_nanos is None else p.cap_nanos, p.overflow or "", p.of_left)
        for p in parties
    )


@dataclass
class _Line:
    """What is noted of a line, in Python's numbers."""

    row: int
    link: int
    kind: int
    covering: int
    resolved: int
    place: Place
    end: int
    before: int
    amount: int


def _told(lines: Lines, places: Any) -> Iterator[_Line]:
    numbers = lines.numbers
    columns = (
        lines.row, lines.link, lines.kind, lines.covering, numbers["resolved"], lines.key_high, lines.key_low,
        numbers["scope_start"], numbers["scope_end"], numbers["charged_before"], numbers["amount"],
    )  # fmt: skip
    for row, link, kind, covering, resolved, high, low, start, end, before, amount in zip(
        *(column[places].tolist() for column in columns), strict=True
    ):
        yield _Line(row, link, kind, covering, resolved, (high, low, start), end, before, amount)
