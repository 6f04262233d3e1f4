"""Sessions and anchored scopes through the payers' stage, in hand-worked values."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from nanotally.streams.domain.tariff import Condition, Rule, Tier
from tests.support.payers_bench import HOUR, MINUTE, SECOND, T0, PayersBench, book, event, rule, values_of, version
from tests.support.payers_twins import alike

DEAR_FIRST = (Tier(1, Fraction(10)), Tier(None, Fraction(1)))


def idle(**more: Any) -> Rule:
    """Ten nanos for the first page of a session, one for each further one; it ends after 30 minutes."""
    return rule(tiers=DEAR_FIRST, scope="session", length_us=30 * MINUTE, **more)


def test_a_session_goes_on_until_nothing_was_used_for_its_gap() -> None:
    bench = alike(book(version(idle())), *(event(f"e{m}", T0 + m * MINUTE) for m in (0, 29, 58, 88, 100)))
    assert bench.paid() == [10, 1, 1, 10, 1]
    ends = [(line - T0) // MINUTE for line in values_of(bench.of("Charge"), "scope_end")]
    assert ends == [30, 59, 88, 118, 130]
    assert values_of(bench.of("Charge"), "scope_start") == [T0] * 3 + [T0 + 88 * MINUTE] * 2


def test_what_is_booked_early_joins_the_newest_session() -> None:
    late = book(version(idle()), lateness_us=2 * HOUR)
    bench = alike(late, event("a"), event("b", T0 + 60 * MINUTE), event("c", T0 + 10 * MINUTE))
    assert bench.paid() == [10, 10, 1]
    assert bench.charge()["lines"][0]["scope_start"] == T0 + 60 * MINUTE


def test_a_refused_use_extends_no_session() -> None:
    uses = [event("a"), event("b", T0 + 20 * MINUTE, attributes={"max_price": "0"}), event("c", T0 + 40 * MINUTE)]
    bench = alike(book(version(idle())), *uses)
    assert [(c["outcome"], c["paid_nanos"]) for c in bench.of("Charge")] == [
        ("charged", 10), ("refused", 0), ("charged", 10),
    ]  # fmt: skip


def test_a_use_above_the_limit_of_a_session_is_refused_and_the_next_session_begins_anew() -> None:
    bench = alike(
        book(version(idle(limit=2))), *(event(f"e{m}", T0 + m * MINUTE) for m in (0, 10, 20, 29, 45, 60)),
    )  # fmt: skip
    assert [c["reason"] for c in bench.of("Charge")] == ["", "", "limit", "limit", "", ""]
    assert bench.logic.state.counts["refused.limit"] == 2


def test_sessions_of_payers_and_items_are_their_own() -> None:
    bench = alike(
        book(version(idle(per=("item",)))), event("a"), event("b", item="/b"), event("c", payer="q"), event("d")
    )
    assert bench.paid() == [10, 10, 10, 1]


def test_twenty_four_hours_from_the_first_use_are_one_scope() -> None:
    day = rule(tiers=DEAR_FIRST, scope="anchored", length_us=24 * HOUR)
    hours = (5, 28, 29, 52, 53)
    bench = alike(book(version(day)), *(event(f"e{h}", T0 + h * HOUR) for h in hours))
    assert bench.paid() == [10, 1, 10, 1, 10]
    assert bench.charge()["lines"][0]["scope_end"] == T0 + 77 * HOUR


def test_variants_of_a_session_count_together() -> None:
    evening = Condition("occurred_at", "band", ("UTC", "", "", "01:00:00", "24:00:00"))
    variants = (
        idle(variant="evening", when=(evening,)),
        rule(variant="otherwise", tiers=(Tier(1, Fraction(20)), Tier(None, Fraction(2))), scope="session",
             length_us=30 * MINUTE),
    )  # fmt: skip
    bench = alike(book(version(*variants)), *(event(f"e{m}", T0 + m * MINUTE) for m in (50, 59, 60, 61)))
    assert bench.paid() == [20, 2, 1, 1]
    assert values_of(bench.of("Charge"), "quantity_before") == [0, 1, 2, 3]


def test_a_session_of_another_length_in_a_new_version_begins_anew() -> None:
    longer = rule(tiers=DEAR_FIRST, scope="session", length_us=60 * MINUTE)
    both = book(version(idle()), version(longer, number=2, since_us=T0 + 10 * MINUTE))
    assert alike(both, event("a"), event("b", T0 + 10 * MINUTE)).paid() == [10, 10]


def test_many_refusals_among_many_uses_leave_what_one_by_one_leaves() -> None:
    many = [
        event(
            f"e{i}", T0 + i * MINUTE, payer=f"p{i % 3}", attributes={"max_price": "0.000000001"} if i % 4 == 1 else {}
        )
        for i in range(60)
    ]
    one_by_one = PayersBench(book(version(idle())))
    for use in many:
        one_by_one.take(use)
    assert PayersBench(book(version(idle()))).take(*many).of("Charge") == one_by_one.of("Charge")
    assert one_by_one.logic.state.counts["refused.max_price"] > 0


def test_a_refusing_variant_refuses_for_its_price() -> None:
    school = Condition("segment", "equals", ("school",))
    refusing = (idle(variant="school", when=(school,)), rule(variant="otherwise", scope="session",
                length_us=30 * MINUTE, tiers=(), refuse=True))  # fmt: skip
    bench = alike(
        book(version(*refusing)), event("a", attributes={"segment": "school"}), event("b", T0 + SECOND),
        event("c", T0 + 31 * MINUTE, attributes={"segment": "school"}),
    )  # fmt: skip
    assert [(c["reason"], c["paid_nanos"]) for c in bench.of("Charge")] == [("", 10), ("price", 0), ("", 10)]
