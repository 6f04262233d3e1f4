"""Where uses with a duration are cut, in hand-worked pieces."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from nanotally.schemas import codec
from nanotally.streams.domain.cutting import Pieces, cut, cut_rows
from nanotally.streams.domain.matching import NO_RULE, CompiledBook
from nanotally.streams.domain.tariff import Condition, RuleBook, Tier
from nanotally.streams.domain.uses import Uses
from tests.support.payers_bench import HOUR, SECOND, T0, book, event, rule, version

PEAK = Condition("occurred_at", "band", ("UTC", "", "", "08:00:00", "19:00:00"))
CALL = (
    rule("call", variant="peak", when=(PEAK,), tiers=(Tier(None, Fraction(7)),), cut=True),
    rule("call", variant="otherwise", tiers=(Tier(None, Fraction(2)),), cut=True),
)


def pieces(rule_book: RuleBook, *events: bytes) -> Pieces:
    decoded = codec.decode("UsageEvent", list(events))
    n = len(events)
    uses = Uses(decoded.batch, np.arange(n), np.zeros(n, dtype=np.int64), [b""] * n)
    compiled = CompiledBook(rule_book)
    found = compiled.match(uses)
    rows, cuts = cut_rows(compiled, uses, np.flatnonzero(found >= 0), found)
    return cut(compiled, uses, rows, found, cuts)


def told(found: Pieces) -> list[tuple[int, int, int, int]]:
    columns = (found.row, found.rule, found.at_us - T0, found.quantity)
    return list(zip(*(c.tolist() for c in columns), strict=True))


def test_a_use_over_a_border_is_cut_there_and_its_quantity_by_time() -> None:
    over_eight = event("a", T0 + 8 * HOUR - 30 * SECOND, quantity=90, duration_us=90 * SECOND)
    assert told(pieces(book(version(*CALL)), over_eight)) == [
        (0, 1, 8 * HOUR - 30 * SECOND, 30),
        (0, 0, 8 * HOUR, 60),
    ]


def test_pieces_of_an_odd_quantity_add_up_to_it() -> None:
    long = event("a", T0 + 7 * HOUR, quantity=10, duration_us=13 * HOUR)  # 1 h, 11 h, 1 h
    assert told(pieces(book(version(*CALL)), long)) == [
        (0, 1, 7 * HOUR, 0), (0, 0, 8 * HOUR, 9), (0, 1, 19 * HOUR, 1),
    ]  # fmt: skip


def test_what_ends_at_a_border_or_has_no_duration_is_one_piece() -> None:
    at_border = event("a", T0 + 7 * HOUR, duration_us=HOUR)
    without = event("b", T0 + 7 * HOUR)
    assert not len(pieces(book(version(*CALL)), at_border, without))
    by_start = tuple(rule("call", when=r.when, tiers=r.tiers) for r in CALL)
    assert not len(pieces(book(version(*by_start)), event("a", T0 + 7 * HOUR, duration_us=9 * HOUR)))


def test_a_use_is_cut_where_the_next_version_begins() -> None:
    old, new = version(*CALL), version(rule("call", price="1"), number=2, since_us=T0 + 8 * HOUR + 1)
    found = pieces(book(old, new), event("a", T0 + 7 * HOUR, quantity=7200, duration_us=2 * HOUR))
    assert told(found) == [(0, 1, 7 * HOUR, 3600), (0, 0, 8 * HOUR, 0), (0, 2, 8 * HOUR + 1, 3600)]


def test_after_a_piece_without_a_rule_nothing_is_looked_for() -> None:
    only = rule("call", when=(PEAK,), cut=True)
    found = pieces(book(version(only)), event("a", T0 + 9 * HOUR, quantity=24, duration_us=24 * HOUR))
    assert told(found) == [(0, 0, 9 * HOUR, 10), (0, NO_RULE, 19 * HOUR, 14)]
