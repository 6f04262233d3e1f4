"""Passes through the payers' stage, in hand-worked values: what the payer pays, the pool, and the sharing-out."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest

from nanotally.streams.domain.tariff import Condition, Pass, Rule, TariffVersion, Tier
from tests.support.payers_bench import DAY, HOUR, MINUTE, SECOND, T0, PayersBench, book, close, event, rule, version
from tests.support.payers_twins import accounts, alike

SONG = Condition("item", "equals", ("/song",))


def by_day(**more: Any) -> Rule:
    """What a pass costs: by default the list price, 25 nanos a day at most."""
    fields: dict[str, Any] = {"meter": "", "price": "1", "scope": "day", "split": "", "cap_nanos": 25}
    return rule("day", **(fields | more))


def passing(price: Rule | None = None, *more: Rule, **fields: Any) -> TariffVersion:
    """Articles for ten nanos and songs for three under a pass 'day', and rules that are not."""
    rules = (*more, rule("song", when=(SONG,), price="3"), rule(price="10"))
    return version(*rules, passes=(Pass("day", ("article", "song"), price or by_day()),), **fields)


def links(charge: Mapping[str, Any]) -> list[tuple[str, str, int, int]]:
    return [(line["link"], line["rule"], line["amount_nanos"], line["paid_nanos"]) for line in charge["lines"]]


def song(event_id: str, at_us: int = T0, **fields: Any) -> bytes:
    return event(event_id, at_us, item="/song", **fields)


def test_all_you_can_read_costs_no_more_than_the_pass_and_is_shared_out_by_list_price() -> None:
    values = [event("a"), song("b", creator="bob"), event("c", quantity=2, creator="bob"), song("d"), close(T0 + DAY)]
    bench = alike(book(passing()), *values)
    charges = bench.of("Charge")
    assert bench.paid() == [10, 3, 12, 0, 0]
    assert links(charges[2]) == [("rule", "article", 20, 0), ("pass", "day", 12, 12)]
    rule_line, pass_line = charges[2]["lines"]
    assert (rule_line["pass"], pass_line["pass"], pass_line["quantity"], pass_line["split"]) == ("day", None, 20, "")
    assert [s["nanos"] for s in rule_line["shares"]] == [0, 0]
    assert [(s["account"], s["nanos"]) for s in pass_line["shares"]] == [("pool:t/day", 12)]
    # 25 by 13 of ana (10 and 3) and 23 of bob (3 and 20): 25 * 13 // 36 = 9, the rest 16.
    due = charges[4]
    assert (due["outcome"], due["reason"], due["booked_at"], due["event"]) == ("due", "pass", T0 + DAY - 1, None)
    assert links(due) == [("sharing", "day", 9, 0), ("sharing", "day", 16, 0)]
    assert [(s["account"], s["nanos"]) for s in due["lines"][0]["shares"]] == [
        ("platform", 0), ("creator:ana", 9), ("pool:t/day", -9),
    ]  # fmt: skip
    assert accounts(bench) == {"platform": 0 + 1, "creator:ana": 9, "creator:bob": 15, "pool:t/day": 0}
    assert bench.logic.state.counts["free"] == 1 and bench.logic.state.counts["due.pass"] == 1
    assert [(s["due_nanos"], s["count"]) for s in bench.of("Statement")] == [("25", 4)]


def test_the_next_day_is_another_pass_and_what_is_not_covered_is_paid_beside_it() -> None:
    extra = rule("extra", when=(Condition("item", "equals", ("/x",)),), price="100")
    values = [event("a", quantity=3), event("x", item="/x"), event("b", T0 + DAY), event("c", payer="q")]
    bench = alike(book(passing(None, extra)), *values)
    assert [(c["outcome"], c["paid_nanos"]) for c in bench.of("Charge")] == [
        ("charged", 25), ("charged", 100), ("due", 0), ("charged", 10), ("charged", 10),
    ]  # fmt: skip
    assert accounts(bench)["pool:t/day"] == 20


def test_a_discount_a_price_once_and_falling_percentages_are_passes_too() -> None:
    off = by_day(tiers=(Tier(None, Fraction(4, 5)),), cap_nanos=None)
    assert alike(book(passing(off)), event("a"), song("b"), song("c")).paid() == [8, 2, 2]  # 8, 10.4, 12.8
    once = by_day(tiers=(Tier(None, Fraction(0), fee=Fraction(50)),), cap_nanos=None, zero_fee=True)
    bench = alike(book(passing(once)), song("a"), event("b"), close(T0 + DAY))
    assert bench.paid() == [50, 0, 0]
    assert links(bench.charge()) == [("sharing", "day", 50, 0)]
    less = by_day(tiers=(Tier(15, Fraction(1)), Tier(None, Fraction(1, 2))), cap_nanos=None)
    assert alike(book(passing(less)), event("a"), event("b"), event("c")).paid() == [10, 7, 5]


def test_the_sharing_goes_to_the_platform_where_no_use_has_a_list_price() -> None:
    once = by_day(tiers=(Tier(None, Fraction(0), fee=Fraction(50)),), cap_nanos=None, zero_fee=True)
    free = version(rule(price="0"), passes=(Pass("day", ("article",), once),))
    bench = alike(book(free), event("a"), close(T0 + DAY))
    assert bench.paid() == [50, 0] and accounts(bench) == {"platform": 50, "creator:ana": 0, "pool:t/day": 0}


def test_max_price_is_compared_with_what_the_pass_lets_be_paid() -> None:
    dear: dict[str, Any] = {"attributes": {"max_price": "0.000000006"}}
    bench = alike(book(passing()), event("a", **dear), event("b", quantity=2), event("c", **dear))
    assert [(c["reason"], c["paid_nanos"]) for c in bench.of("Charge")] == [("max_price", 0), ("", 20), ("", 5)]


def test_a_refused_use_moves_neither_its_scope_nor_the_pass() -> None:
    price = by_day(limit=25, cap_nanos=None)
    bench = alike(book(passing(price)), event("a", quantity=2), event("b"), song("c"), event("d", T0 + DAY))
    uses = [c for c in bench.of("Charge") if c["event"]]
    assert [(c["reason"], c["paid_nanos"]) for c in uses] == [("", 20), ("limit", 0), ("", 3), ("", 10)]
    assert [c["lines"][0]["quantity_before"] for c in uses if c["lines"]] == [0, 0, 2]


@pytest.mark.parametrize("scope", ["session", "anchored"])
def test_a_pass_may_open_with_its_first_use(scope: str) -> None:
    price = by_day(scope=scope, length_us=HOUR)
    minutes = (0, 30, 59, 90, 121)
    bench = alike(book(passing(price)), *(event(f"e{m}", T0 + m * MINUTE) for m in minutes), close(T0 + DAY))
    uses = [c["paid_nanos"] for c in bench.of("Charge") if c["event"]]
    assert uses == ([10, 10, 5, 0, 0] if scope == "session" else [10, 10, 5, 10, 10])
    assert accounts(bench)["pool:t/day"] == 0


def test_a_minimum_under_a_pass_is_a_use_of_it() -> None:
    hourly = rule(price="10", scope="hour", minimum_nanos=18)
    covering = version(hourly, passes=(Pass("day", ("article",), by_day()),))
    bench = alike(book(covering), event("a"), event("b", T0 + HOUR, creator="bob"), close(T0 + DAY))
    told = [(c["outcome"], c["reason"], c["paid_nanos"], links(c)) for c in bench.of("Charge")]
    assert told == [
        ("charged", "", 10, [("rule", "article", 10, 0), ("pass", "day", 10, 10)]),
        ("due", "minimum", 8, [("minimum", "article", 8, 0), ("pass", "day", 8, 8)]),
        ("charged", "", 7, [("rule", "article", 10, 0), ("pass", "day", 7, 7)]),
        ("due", "minimum", 0, [("minimum", "article", 8, 0), ("pass", "day", 0, 0)]),
        ("due", "pass", 0, [("sharing", "day", 12, 0), ("sharing", "day", 13, 0)]),
    ]
    assert accounts(bench)["pool:t/day"] == 0


def test_a_minimum_and_a_pass_that_end_together_fall_due_in_that_order() -> None:
    daily = rule(price="10", scope="day", minimum_nanos=18)
    covering = version(daily, passes=(Pass("day", ("article",), by_day()),))
    bench = alike(book(covering), event("a"), event("b", payer="q"), close(T0 + DAY))
    dues = [(c["reason"], c["n"], c["paid_nanos"]) for c in bench.of("Charge") if c["outcome"] == "due"]
    assert dues == [("minimum", 0, 8), ("minimum", 1, 8), ("pass", 2, 0), ("pass", 3, 0)]
    assert accounts(bench) == {"platform": 1 + 2, "creator:ana": 33, "pool:t/day": 0}


def test_a_pass_over_single_uses_is_shared_out_at_once() -> None:
    each = by_day(scope="event", cap_nanos=4)
    bench = alike(book(passing(each)), event("a"), event("b", T0 + SECOND), close(T0 + DAY))
    assert [(c["outcome"], c["paid_nanos"]) for c in bench.of("Charge")] == [
        ("charged", 4), ("due", 0), ("charged", 4), ("due", 0),
    ]  # fmt: skip


def test_a_cut_use_goes_through_its_pass_as_a_whole() -> None:
    peak = Condition("occurred_at", "band", ("UTC", "", "", "08:00:00", "19:00:00"))
    variants = (
        rule("call", variant="peak", when=(peak,), tiers=(Tier(None, Fraction(7)),), cut=True),
        rule("call", variant="otherwise", tiers=(Tier(None, Fraction(2)),), cut=True),
    )
    covering = version(*variants, passes=(Pass("day", ("call",), by_day()),))
    over_eight = event("a", T0 + 8 * HOUR - SECOND, quantity=6, duration_us=2 * SECOND)
    bench = alike(book(covering), over_eight, close(T0 + DAY))
    assert links(bench.of("Charge")[0]) == [("rule", "call", 6, 0), ("rule", "call", 21, 0), ("pass", "day", 25, 25)]


def test_many_uses_of_a_pass_at_once_leave_what_one_by_one_leaves() -> None:
    values = [
        (event if i % 3 else song)(f"e{i}", T0 + i * HOUR, payer=f"p{i % 4}", creator=f"c{i % 3}") for i in range(60)
    ]
    single = PayersBench(book(passing()))
    for value in values:
        single.take(value)
    assert PayersBench(book(passing())).take(*values).of("Charge") == single.of("Charge")
