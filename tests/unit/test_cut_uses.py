"""Uses that are cut, through the payers' stage: one charge of several lines, in hand-worked values."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from nanotally.streams.domain.tariff import Condition, Party, Pass, Rule, Split, Tier
from tests.support.payers_bench import (
    HOUR,
    SECOND,
    T0,
    PayersBench,
    activate,
    book,
    close,
    event,
    rule,
    values_of,
    version,
)
from tests.support.payers_twins import accounts, alike

PEAK = Condition("occurred_at", "band", ("UTC", "", "", "08:00:00", "19:00:00"))


def call(**more: Any) -> tuple[Rule, ...]:
    """Seven nanos a page from eight to seven, else two."""
    return (
        rule("call", variant="peak", when=(PEAK,), tiers=(Tier(None, Fraction(7)),), cut=True, **more),
        rule("call", variant="otherwise", tiers=(Tier(None, Fraction(2)),), cut=True, **more),
    )


def over_eight(event_id: str = "a", **more: object) -> bytes:
    return event(event_id, T0 + 8 * HOUR - 30 * SECOND, quantity=90, duration_us=90 * SECOND, **more)


def test_each_side_of_a_border_has_its_own_price_and_line() -> None:
    bench = alike(book(version(*call())), over_eight(), close(T0 + 24 * HOUR))
    charge = bench.charge()
    assert charge["paid_nanos"] == 30 * 2 + 60 * 7 == 480
    assert [(n["variant"], n["quantity_before"], n["quantity"], n["uses_before"]) for n in charge["lines"]] == [
        ("otherwise", 0, 30, 0), ("peak", 30, 60, 1),
    ]  # fmt: skip
    assert accounts(bench) == {"platform": 48, "creator:ana": 432}
    hour = next(t for t in bench.of("Tally") if t["size"] == "hour")
    assert (hour["count"], hour["quantity"], hour["amount_nanos"]) == (1, "90", "480")
    earned = {e["account"]: (e["count"], e["quantity"]) for e in bench.of("Earning")}
    assert earned == {"platform": (1, 90), "creator:ana": (1, 90)}


def test_uses_after_a_cut_one_count_on_from_it() -> None:
    uses = [over_eight(), event("b", T0 + 9 * HOUR), over_eight("c", payer="q"), event("d", T0 + 20 * HOUR)]
    bench = alike(book(version(*call())), *uses)
    assert bench.paid() == [480, 7, 480, 2]
    assert values_of(bench.of("Charge"), "uses_before") == [0, 1, 0, 2]


def test_a_piece_in_a_scope_of_its_own_is_the_first_of_its_use_there() -> None:
    bench = alike(book(version(*call(scope="hour"))), over_eight(), event("b", T0 + 8 * HOUR + SECOND))
    assert [(n["quantity_before"], n["uses_before"]) for n in bench.of("Charge")[0]["lines"]] == [(0, 0), (0, 0)]
    assert (bench.charge()["lines"][0]["quantity_before"], bench.charge()["lines"][0]["uses_before"]) == (60, 1)


def test_pieces_of_one_use_are_floored_together_where_each_use_is() -> None:
    halves = tuple(
        rule("call", variant=r.variant, when=r.when, tiers=(Tier(None, Fraction(1, 2)),), cut=True, scope="event")
        for r in call()
    )
    odd = event("a", T0 + 8 * HOUR - SECOND, quantity=2, duration_us=2 * SECOND)
    bench = alike(book(version(*halves)), odd)
    assert [line["amount_nanos"] for line in bench.charge()["lines"]] == [0, 1]


def test_a_piece_that_is_refused_refuses_the_use_and_one_without_a_rule_leaves_it_unpriced() -> None:
    refusing = rule("call", variant="otherwise", tiers=(), refuse=True, cut=True)
    bench = alike(book(version(call()[0], refusing)), over_eight(), event("b", T0 + 9 * HOUR))
    assert [(c["outcome"], c["reason"], c["paid_nanos"]) for c in bench.of("Charge")] == [
        ("refused", "price", 0), ("charged", "", 7),
    ]  # fmt: skip
    only = book(version(call()[0]))
    late = event("a", T0 + 19 * HOUR - SECOND, quantity=2, duration_us=2 * SECOND)
    bench = alike(only, late, event("b", T0 + 18 * HOUR))
    assert [(c["outcome"], c["reason"]) for c in bench.of("Charge")] == [("unpriced", "no_rule"), ("charged", "")]


def test_max_price_holds_for_the_whole_use() -> None:
    asks = [
        over_eight(name, attributes={"max_price": limit}) for name, limit in (("a", "0.000000479"), ("b", "0.00000048"))
    ]
    bench = alike(book(version(*call())), *asks)
    assert [(c["reason"], c["paid_nanos"]) for c in bench.of("Charge")] == [("max_price", 0), ("", 480)]


def test_a_use_over_a_change_of_version_is_rated_by_both() -> None:
    half = Split("half", (Party("platform", Fraction(1, 2)), Party("creator", None)))
    new = version(rule("call", price="4", split="half"), number=2, since_us=T0 + HOUR, splits=(half,))
    both = book(version(rule("call", price="2", cut=True)), new)
    bench = alike(both, event("a", T0, quantity=100, duration_us=2 * HOUR), event("b", T0 + 2 * HOUR))
    assert bench.paid() == [50 * 2 + 50 * 4, 4]
    assert [line["version"] for line in bench.of("Charge")[0]["lines"]] == [1, 2]
    assert accounts(bench) == {"platform": 10 + 100 + 2, "creator:ana": 90 + 100 + 2}


def test_uses_that_are_cut_and_uses_that_are_not_share_bases_in_their_order() -> None:
    values = [over_eight("a"), event("b", T0 + 9 * HOUR), event("c", T0 + 9 * HOUR, item="/z"), over_eight("d")]
    plain = rule("other", when=(Condition("item", "equals", ("/z",)),), price="3")
    bench = alike(book(version(plain, *call())), *values)
    before = [line["base_before"] for charge in bench.of("Charge") for line in charge["lines"]]
    assert before == [0, 60, 480, 487, 490, 490 + 30 * 2]


def test_cut_uses_among_many_leave_what_one_by_one_leaves() -> None:
    values = [
        over_eight(f"e{i}", payer=f"p{i % 3}") if i % 3 else event(f"e{i}", T0 + 9 * HOUR, payer=f"p{i % 3}")
        for i in range(30)
    ]
    single = PayersBench(book(version(*call())))
    for value in values:
        single.take(value)
    assert PayersBench(book(version(*call()))).take(*values).of("Charge") == single.of("Charge")


def test_a_use_of_which_any_piece_had_a_late_version_is_flagged() -> None:
    old, new = version(*call()), version(rule("call", price="4", cut=True), number=2, since_us=T0 + HOUR)
    newest = version(rule("call", price="5"), number=3, since_us=T0 + 2 * HOUR)
    bench = PayersBench(book(old, newest))
    bench.books[1] = book(old, new, newest, number=1)
    bench.take(activate(bench.books[1]), recorded_at_us=T0 + 3 * HOUR)
    bench.take(event("a", T0, quantity=3, duration_us=3 * HOUR), event("b", T0, quantity=1, duration_us=HOUR))
    assert [(c["paid_nanos"], c["flags"], len(c["lines"])) for c in bench.of("Charge")] == [
        (2 + 4 + 5, "late_version", 3), (2, "", 1),
    ]  # fmt: skip


def test_pieces_that_come_to_more_than_62_bits_together_are_refused_though_each_fits() -> None:
    hours = rule(price="13800", when=(Condition("occurred_at", "band", ("UTC", "", "", "01:00:00", "02:00:00")),))
    rules = [replace(x, cut=True, scope="hour") for x in (hours, replace(hours, variant="otherwise", when=()))]
    nanos = Pass("day", ("article",), Rule("day", "", (), (Tier(None, Fraction(1)),), (), "day", ""))
    for passes in ((), (nanos,)):
        bench = PayersBench(book(version(*rules, passes=passes)))
        bench.take(event("a", quantity=10**15, duration_us=3 * HOUR))
        assert (bench.charge()["outcome"], bench.charge()["reason"]) == ("refused", "out_of_range")
        # a fifth of it still fits
        bench.take(event("b", quantity=2 * 10**14, duration_us=3 * HOUR))
        assert sum(values["amount_nanos"] for values in bench.charge()["lines"][:3]) == 138 * 2 * 10**16
