"""What falls due at the end of a scope: the rest of its minimum, and the sharing-out of what a pass took in.

Booked an instant before the end, by the version that rated the scope's last use. A minimum is divided by what the uses
of each resolved split came to; under a pass it is a use of it like any other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanotally.streams.domain.asking import price_of
from nanotally.streams.domain.dues import SHARINGS, Due, Dues, share_out
from nanotally.streams.domain.hashing import Hash
from nanotally.streams.domain.keys import group
from nanotally.streams.domain.lines import MINIMUM, PASS, SHARING, Lines
from nanotally.streams.domain.matching import CompiledBook, NumberedRule
from nanotally.streams.domain.opened import instances
from nanotally.streams.domain.parties import PLATFORM
from nanotally.streams.domain.pricing import only, pool_of
from nanotally.streams.domain.rated import COLUMNS, Asked
from nanotally.streams.domain.rating import rate
from nanotally.streams.domain.records import LONG_AGO, Int64Array
from nanotally.streams.domain.scope_keys import scope_of_payer
from nanotally.streams.domain.scopes import ScopeRows, Scopes
from nanotally.streams.domain.splitting import Splits
from nanotally.streams.domain.tariff import OPENED_SCOPES
from nanotally.streams.errors import BrokenInvariant

REASONS = ("minimum", "pass")


@dataclass
class FallenDue:
    """A charge without a use, hence without product and meter: `lines`, all of row 0."""

    payer: str
    reason: str
    currency: str
    booked_at_us: int
    lines: Lines
    book: CompiledBook  # in which the numbers of its rules are
    pool: str | None = None  # what is shared out leaves it

    @property
    def paid(self) -> int:
        """What the payer owes, nanos."""
        return int(self.lines.paid.sum())


def fallen_due(due: Due, book: CompiledBook, scopes: Scopes, splits: Splits, dues: Dues) -> FallenDue:
    """The charge for a scope that has ended and owes something; moves bases, and the scope of a pass that covers it.
    book: the one in force at the scope's last use."""
    link = link_of(due, book)
    currency = link.version.currency
    parts = parts_of(due, currency, splits)
    kind = SHARING if due.kind == SHARINGS else MINIMUM
    lines = _lines_of(due, link, kind, parts)
    covering = -1 if kind == SHARING else int(book.covering[link.number])
    if kind == MINIMUM:
        lines.covering[:] = covering
        lines.named[:] = sum(due.weights.values()) > 0
        lines.paid = np.zeros(len(lines), dtype=np.int64) if covering >= 0 else lines.numbers["amount"]
    divided = splits.divide(lines.numbers["resolved"], lines.moved)
    lines.numbers["base_before"], lines.nanos = divided.base_before, divided.nanos
    if covering >= 0:
        settled = _through_pass(due, book.links[covering], scopes, splits)
        lines = Lines.joined([lines, settled])
        dues.note(book, lines, {0: due.payer})
    pool = pool_of(link) if kind == SHARING else None
    return FallenDue(due.payer, REASONS[due.kind], currency, due.end_us - 1, lines, book, pool)


def link_of(due: Due, book: CompiledBook) -> NumberedRule:
    """The rule or pass of a scope, in the book that was in force at its last use."""
    return book.named[due.name]


def parts_of(due: Due, currency: str, splits: Splits) -> list[tuple[int, int]]:
    """What is due by resolved split; all of it is the platform's where no use came to anything."""
    parts = share_out(due.total, due.weights, splits)
    return parts or [(splits.number(currency, only(PLATFORM)), due.total)]


def _lines_of(due: Due, link: NumberedRule, kind: int, parts: list[tuple[int, int]]) -> Lines:
    m = len(parts)
    lines = Lines.of(np.zeros(m, dtype=np.int64), np.full(m, link.number), np.full(m, due.end_us - 1), kind)
    lines.key_high[:], lines.key_low[:] = np.uint64(due.place[0]), np.uint64(due.place[1])
    lines.numbers["scope_start"][:], lines.numbers["scope_end"][:] = due.place[2], due.end_us
    lines.numbers["charged_before"][:] = due.charged
    lines.numbers["remainder_den"][:] = 1
    lines.numbers["resolved"][:] = [number for number, _ in parts]
    lines.numbers["amount"][:] = [nanos for _, nanos in parts]
    return lines


def _through_pass(due: Due, link: NumberedRule, scopes: Scopes, splits: Splits) -> Lines:
    """The line by which a pass settles a minimum; its scope moves."""
    booked_at = np.array([due.end_us - 1], dtype=np.int64)
    key, start, end = scope_of_payer(link, due.payer, due.end_us - 1, 0)
    opening = np.array([start], dtype=np.int64), np.array([end], dtype=np.int64)
    before = ScopeRows.new(1, 1) if link.rule.scope == "event" else scopes.get(*key, 1)
    bounds, before = _instance(link, key, booked_at, opening, before)
    rated = rate(price_of(link), group(*key), before, Asked(np.array([due.total], dtype=np.int64)))
    if rated.refusal[0]:
        raise BrokenInvariant(f"pass {link.rule.name} of {link.version.tariff} refuses {due.total} nanos that are due")
    lines = Lines.of(np.zeros(1, dtype=np.int64), np.array([link.number]), booked_at, PASS)
    for name in COLUMNS:
        lines.numbers[name] = getattr(rated, name)
    lines.numbers["scope_start"], lines.numbers["scope_end"] = bounds
    lines.key_high, lines.key_low = key
    lines.paid = rated.amount
    lines.nanos = rated.amount.reshape(1, 1).copy()
    pool = splits.number(link.version.currency, only(pool_of(link)))
    lines.numbers["resolved"] = np.array([pool], dtype=np.int64)
    if link.rule.scope != "event":
        after = ScopeRows(
            uses=rated.uses_before + 1,
            quantity=rated.quantity_before + rated.counted,
            over=rated.over_after,
            total=rated.total_after,
            remainder=rated.remainder_after,
            den=rated.remainder_den,
            charged=rated.charged_before + rated.amount,
            start=bounds[0],
            end=bounds[1],
        )
        scopes.put(*key, after)
    return lines


def _instance(
    link: NumberedRule, key: Hash, booked_at: Int64Array, opening: tuple[Int64Array, Int64Array], before: ScopeRows
) -> tuple[tuple[Int64Array, Int64Array], ScopeRows]:
    """Start and end of the pass's scope, and what it was before."""
    if link.rule.scope not in OPENED_SCOPES:
        return opening, before
    start, end = instances(link.rule.scope, link.rule.length_us, group(*key), booked_at, before)
    known = before.start[0] == start[0] and before.end[0] > LONG_AGO
    return (start, end), before if known else ScopeRows.new(1, 1)
