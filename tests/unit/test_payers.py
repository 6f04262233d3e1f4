"""The payers' stage, in hand-worked values."""

from __future__ import annotations

from fractions import Fraction

import pytest

from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.tariff import Condition, Meter, Party, Split, Tier
from nanotally.streams.errors import BrokenInvariant
from tests.support.payers_bench import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    PayersBench,
    activate,
    book,
    close,
    control,
    event,
    rule,
    shares,
    values_of,
    version,
)  # fmt: skip


def test_an_article_at_half_a_cent_is_split_nine_to_one() -> None:
    bench = PayersBench(book(version(rule()))).take(event("a"))
    charge = bench.charge()
    assert (charge["outcome"], charge["paid_nanos"], charge["currency"]) == ("charged", 5_000_000, "USD")
    assert shares(charge) == {"platform": 500_000, "creator:ana": 4_500_000}


def test_sixty_seconds_cost_the_same_as_one_minute() -> None:
    third = rule("song", "play", "1/3")  # a third of a nano per millisecond
    ticks = PayersBench(book(version(third)))
    ticks.take(*(event(f"e{i}", meter="play", quantity=1, scale=3, session="s") for i in range(60)))
    whole = PayersBench(book(version(third))).take(event("e", meter="play", quantity=60, scale=3, session="s"))
    assert sum(ticks.paid()) == sum(whole.paid()) == 20
    assert ticks.paid()[:6] == [0, 0, 1, 0, 0, 1]
    assert values_of(ticks.of("Charge")[:3], "remainder_after") == [1, 2, 0]


def test_reading_again_on_the_same_day_is_free_and_the_next_day_is_not() -> None:
    once = rule(tiers=(Tier(1, Fraction(5_000_000)), Tier(None, Fraction(0))), per=("item",), scope="day")
    bench = PayersBench(book(version(once)))
    bench.take(event("a"), event("b", T0 + HOUR), event("c", T0 + HOUR, item="/b"), event("d", T0 + DAY))
    assert bench.paid() == [5_000_000, 0, 5_000_000, 5_000_000]
    assert bench.logic.state.counts["free"] == 1


def test_a_cap_limits_what_a_scope_is_charged() -> None:
    bench = PayersBench(book(version(rule(price="10", cap_nanos=25))))
    bench.take(*(event(f"e{i}") for i in range(4)))
    assert bench.paid() == [10, 10, 5, 0]
    assert values_of(bench.of("Charge"), "total_after") == [10, 20, 30, 40]


def test_tokens_that_cross_a_tier_are_priced_on_both_sides_of_it() -> None:
    tiers = (Tier(10_000_000, Fraction(500)), Tier(None, Fraction(400)))
    bench = PayersBench(book(version(rule(tiers=tiers, scope="month"))))
    bench.take(event("a", quantity=9_999_810), event("b", quantity=758))
    assert bench.paid()[1] == 190 * 500 + 568 * 400 == 322_200
    assert shares(bench.charge()) == {"platform": 32_220, "creator:ana": 289_980}


def test_each_event_of_scope_event_is_floored_by_itself() -> None:
    bench = PayersBench(book(version(rule(price="1/2", scope="event"))))
    bench.take(event("a"), event("b"), event("c", quantity=3))
    assert bench.paid() == [0, 0, 1]


def test_shares_of_many_small_charges_add_up_to_the_fraction_of_their_sum() -> None:
    bench = PayersBench(book(version(rule(price="1"))))
    bench.take(*(event(f"e{i}") for i in range(25)))
    platform = sum(shares(charge)["platform"] for charge in bench.of("Charge"))
    assert platform == 2 and sum(bench.paid()) == 25


def test_an_absent_creator_leaves_the_share_to_the_platform_and_a_label_gets_its_own() -> None:
    music = Split("music", (Party("platform", Fraction(1, 10)), Party("party:{item.label}", Fraction(15, 100)),
                            Party("creator", None)))  # fmt: skip
    bench = PayersBench(book(version(rule(price="1000", split="music"), splits=(music,))))
    bench.take(
        event("a", attributes={"item.label": "blue"}), event("b", creator=None, attributes={"item.label": "blue"}),
        event("c"),
    )  # fmt: skip
    assert [shares(c) for c in bench.of("Charge")] == [
        {"party:blue": 150, "platform": 100, "creator:ana": 750},
        {"party:blue": 150, "platform": 850},
        {"platform": 250, "creator:ana": 750},
    ]


def test_the_first_matching_rule_wins_and_no_rule_means_unpriced() -> None:
    pro = rule("pro", when=(Condition("segment", "equals", ("pro",)),), price="9")
    blog = rule("blog", when=(Condition("item", "pattern", ("/blog/*",)),), price="7")
    bench = PayersBench(book(version(pro, blog)))
    bench.take(
        event("a", attributes={"segment": "pro"}, item="/blog/x"), event("b", item="/blog/x"), event("c", item="/x"),
        event("d", meter="gone"),
    )  # fmt: skip
    assert [(c["outcome"], c["reason"]) for c in bench.of("Charge")] == [
        ("charged", ""), ("charged", ""), ("unpriced", "no_rule"), ("unpriced", "unknown_meter"),
    ]  # fmt: skip
    assert bench.paid() == [9, 7, 0, 0]


def test_an_attribute_may_be_called_as_a_number_of_the_event_is() -> None:
    odd = rule("odd", when=(Condition("duration_us", "equals", ("long",)),), per=("quantity",), price="3")
    bench = PayersBench(book(version(odd))).take(event("a", attributes={"duration_us": "long", "quantity": "x"}))
    assert bench.paid() == [3]


def test_before_any_book_a_use_is_kept_unpriced_and_its_id_stays_used() -> None:
    bench = PayersBench().take(event("a"))
    assert (bench.charge()["outcome"], bench.charge()["reason"]) == ("unpriced", "no_tariff")
    first = book(version(rule()))
    bench.books = {0: first}
    bench.take(activate(first), event("a"), event("b"))
    assert bench.logic.state.counts["duplicate"] == 1 and bench.paid() == [0, 5_000_000]


def test_a_repeat_is_charged_once_and_other_content_under_the_same_id_is_a_conflict() -> None:
    bench = PayersBench(book(version(rule())))
    bench.take(event("a"), event("a"), event("a", quantity=2)).take(event("a"), event("a", item="/b"))
    assert bench.paid() == [5_000_000]
    assert bench.logic.state.counts["duplicate"] == 2 and bench.reasons() == ["conflict", "conflict"]


def test_attributes_in_another_order_are_the_same_content() -> None:
    bench = PayersBench(book(version(rule())))
    bench.take(event("a", attributes={"x": "1", "y": "2"}), event("a", attributes={"y": "2", "x": "1"}))
    assert bench.logic.state.counts["duplicate"] == 1


def test_the_same_use_in_another_valid_encoding_is_a_repeat() -> None:
    plain = event("a", attributes={"x": "1"})
    assert plain.endswith(b"\x02\x02x\x021\x00")
    sized = plain[:-6] + b"\x01\x08\x02x\x021\x00"  # the map's block says its size in bytes, as Avro allows
    bench = PayersBench(book(version(rule()))).take(plain, sized)
    assert bench.logic.state.counts["duplicate"] == 1


def test_an_id_is_forgotten_only_when_its_repeat_is_too_old() -> None:
    bench = PayersBench(book(version(rule()), horizon_us=HOUR))
    bench.take(event("a"), event("b", T0 + HOUR), event("a"), event("c", T0 + HOUR + 1), event("a"))
    assert bench.logic.state.counts["duplicate"] == 1 and bench.reasons() == ["too_old"]


def test_an_id_that_is_used_again_in_the_chunk_in_which_it_is_forgotten_is_charged_once_more_only() -> None:
    """As where hours of a backlog are taken at once. No window ends in between."""
    bench = PayersBench(book(version(rule()), horizon_us=HOUR, windows=("day",)))
    names, later = [f"a{i}" for i in range(20)], T0 + 3 * HOUR
    bench.take(event("earlier"))
    bench.take(*(event(name) for name in names), event("b", later), *(event(name, later) for name in names))
    assert bench.logic.state.counts["charged"] == 42
    bench.take(*(event(name, later) for name in names))
    assert bench.logic.state.counts["duplicate"] == 20 and bench.logic.state.counts["charged"] == 42


def test_a_longer_horizon_in_a_new_book_brings_no_forgotten_id_back() -> None:
    short, long = book(version(rule()), horizon_us=HOUR), book(version(rule()), number=1, horizon_us=30 * DAY)
    bench = PayersBench(short)
    bench.take(event("a"), event("b", T0 + 2 * HOUR))
    bench.books[1] = long
    bench.take(activate(long), event("a"))
    assert bench.reasons() == ["too_old"]


def test_a_late_use_is_booked_at_the_watermark_and_settled_in_its_window() -> None:
    bench = PayersBench(book(version(rule()), lateness_us=10 * MINUTE))
    bench.take(event("a", T0 + HOUR + 20 * MINUTE), event("b", T0), close(T0 + DAY))
    late = bench.charge()
    assert late["late"] and late["booked_at"] == T0 + HOUR + 10 * MINUTE
    hours = [t for t in bench.of("Tally") if t["size"] == "hour"]
    assert [(t["window_start"], t["count"]) for t in hours] == [(T0 + HOUR, 2)]


def test_closing_gives_tallies_finest_first_and_then_the_statement() -> None:
    bench = PayersBench(book(version(rule())))
    bench.take(event("a"), event("b", T0 + HOUR), close(T0 + DAY))
    assert [(t["size"], t["amount_nanos"]) for t in bench.of("Tally")] == [
        ("hour", "5000000"), ("hour", "5000000"), ("day", "10000000"),
    ]  # fmt: skip
    (statement,) = bench.of("Statement")
    assert (statement["account"], statement["due_nanos"], statement["count"]) == ("payer:p", "10000000", 2)


def test_a_use_that_closes_a_window_is_counted_in_the_next_one() -> None:
    bench = PayersBench(book(version(rule())))
    bench.take(event("a"), event("b", T0 + HOUR))
    kinds = [kind for _, kind, _ in bench.records if kind in ("Tally", "Charge")]
    assert kinds.count("Tally") == 1 and bench.of("Tally")[0]["count"] == 1


def test_a_version_is_chosen_by_when_the_use_happened() -> None:
    old, new = version(rule(price="5")), version(rule(price="7"), number=2, since_us=T0 + HOUR)
    bench = PayersBench(book(old, new), book(old, new, number=1))
    bench.take(event("a", T0 + HOUR - 1), event("b", T0 + HOUR))
    assert bench.paid() == [5, 7] and values_of(bench.of("Charge"), "version") == [1, 2]


def test_a_version_that_came_after_its_own_time_is_flagged() -> None:
    old, new = version(rule(price="5")), version(rule(price="7"), number=2, since_us=T0)
    bench = PayersBench(book(old)).take(event("a"))
    bench.books[1] = book(old, new, number=1)
    bench.take(activate(bench.books[1]), event("b"), recorded_at_us=T0 + HOUR)
    assert [(c["paid_nanos"], c["flags"]) for c in bench.of("Charge")] == [(5, ""), (7, "late_version")]


def test_remainders_are_carried_over_versions_of_another_denominator() -> None:
    old = version(rule(price="1/2"))
    new = version(rule(price="1/3"), number=2, since_us=T0 + HOUR)
    bench = PayersBench(book(old, new))
    bench.take(event("a"), event("b", T0 + HOUR), event("c", T0 + HOUR), event("d", T0 + HOUR))
    # 1/2, 5/6, 7/6, 3/2
    assert bench.paid() == [0, 0, 1, 0]
    assert values_of(bench.of("Charge"), "remainder_den") == [2, 6, 6, 6]


def test_late_uses_of_an_old_version_among_those_of_a_new_one_count_in_their_order() -> None:
    old, new = version(rule(price="1/2")), version(rule(price="3"), number=2, since_us=T0 + HOUR)
    times = (T0, T0 + HOUR, T0 + 1, T0 + HOUR + 1, T0 + 2)
    whole = PayersBench(book(old, new)).take(*(event(f"e{i}", at) for i, at in enumerate(times)))
    assert whole.paid() == [0, 3, 1, 3, 0]
    assert values_of(whole.of("Charge"), "quantity_before") == [0, 1, 2, 3, 4]
    single = PayersBench(book(old, new))
    for i, at in enumerate(times):
        single.take(event(f"e{i}", at))
    assert [c["lines"] for c in single.of("Charge")] == [c["lines"] for c in whole.of("Charge")]


def test_above_its_max_price_a_use_is_refused_and_changes_no_scope() -> None:
    bench = PayersBench(book(version(rule(tiers=(Tier(1, Fraction(10)), Tier(None, Fraction(1)))))))
    bench.take(event("a", attributes={"max_price": "0.000000005"}), event("b"), event("c", quantity=2))
    assert [(c["outcome"], c["reason"], c["paid_nanos"]) for c in bench.of("Charge")] == [
        ("refused", "max_price", 0), ("charged", "", 10), ("charged", "", 2),
    ]  # fmt: skip


def test_beyond_64_bits_the_exact_path_gives_exact_values() -> None:
    huge = rule(price="4000000000000000/7")
    bench = PayersBench(book(version(huge)))
    bench.take(event("a", quantity=7_001), event("b", quantity=10**15), event("c", quantity=3))
    exact = [Fraction(4 * 10**15, 7) * q for q in (7_001, 7_004)]
    assert bench.paid() == [int(exact[0]), 0, int(exact[1]) - int(exact[0])]
    assert bench.of("Charge")[1]["reason"] == "out_of_range"


def test_a_smaller_book_than_the_one_in_force_is_ignored() -> None:
    first, second = book(version(rule(price="1"))), book(version(rule(price="2")), number=1)
    bench = PayersBench(first, second).take(activate(first), event("a"))
    assert bench.paid() == [2] and len(bench.of("ControlTaken")) == 2
    assert bench.logic.state.counts["control"] == 3


def test_two_tariffs_divide_the_products_among_them() -> None:
    mine = version(rule(price="3"), name="a", products=("music",))
    other = version(rule(price="4"), name="b", currency="EUR")
    bench = PayersBench(book(mine, other)).take(event("a", product="music"), event("b", product="anything"))
    assert [(c["paid_nanos"], c["currency"]) for c in bench.of("Charge")] == [(3, "USD"), (4, "EUR")]


def test_months_of_a_rule_follow_the_tariffs_calendar() -> None:
    berlin = version(rule(price="1", scope="month", cap_nanos=1), calendar="Europe/Berlin")
    last_hour = 1_796_079_600_000_000  # 2026-11-30T23:00Z is midnight of 1 December in Berlin
    bench = PayersBench(book(berlin))
    bench.take(event("a", last_hour - 1), event("b", last_hour - 1, quantity=3), event("c", last_hour))
    assert bench.paid() == [1, 0, 1]


@pytest.mark.parametrize("slice_rows", [1, 2, 3, 7])
def test_a_long_close_in_slices_writes_the_same_rows(slice_rows: int) -> None:
    def closed(limit: int) -> list[object]:
        bench = PayersBench(book(version(rule())), slice_rows=limit)
        bench.take(*(event(f"e{i}", T0 + i * HOUR, payer=f"p{i % 5}") for i in range(12)), close(T0 + DAY))
        return [record for _, kind, record in bench.records if kind in ("Tally", "Statement")]

    assert closed(slice_rows) == closed(20_000)


def test_the_state_folded_from_the_ledger_goes_on_as_the_one_that_wrote_it() -> None:
    third = version(rule(price="1/3", scope="day"), rule("song", "play", "1/7"))
    bench = PayersBench(book(third), slice_rows=2)
    bench.take(*(event(f"e{i}", T0 + i * HOUR, payer=f"p{i % 3}") for i in range(30)))
    again = PayersLogic(0, 1, 2, 2)
    again.learn(bench.books[0])
    again.evolve(bench.ledger, 0)
    assert again.resume(bench.of("Chunk")[-1]) == bench.offset
    twin = PayersBench(slice_rows=2)
    twin.books, twin.logic, twin.offset = bench.books, again, bench.offset
    before = len(bench.records)
    more = [event("e29"), *(event(f"f{i}", T0 + DAY + i * MINUTE) for i in range(9)), close(T0 + 40 * DAY)]
    assert bench.take(*more).records[before:] == twin.take(*more).records


def test_the_state_of_a_snapshot_goes_on_as_the_one_it_was_taken_of() -> None:
    bench = PayersBench(book(version(rule(price="1/3"))))
    bench.take(*(event(f"e{i}", T0 + i * SECOND, payer=f"p{i % 3}") for i in range(30)))
    again = PayersLogic(0, 1, 2)
    again.restore(bench.logic.snapshot())
    assert again.needed_books([]) == (0,)
    again.learn(bench.books[0])
    twin = PayersBench()
    twin.books, twin.logic, twin.offset = bench.books, again, bench.offset
    before = len(bench.records)
    more = [event("e1", T0 + SECOND, payer="p1"), event("x"), close(T0 + 40 * DAY)]
    assert bench.take(*more).records[before:] == twin.take(*more).records


def test_every_record_has_one_outcome_or_is_a_control() -> None:
    bench = PayersBench(book(version(rule())))
    bench.take(event("a"), event("a"), event("b", quantity=-1), b"", event("c", meter="gone"), control("tick"))
    counts = bench.logic.state.counts
    outcomes = ("charged", "refused", "unpriced", "duplicate", "rejected", "control")
    assert sum(counts[name] for name in outcomes) == bench.logic.state.records == 7


def test_at_every_chunk_record_debits_equal_credits() -> None:
    bench = PayersBench(book(version(rule(price="7/3"))))
    for i in range(5):
        bench.take(event(f"e{i}", quantity=i), event(f"f{i}", creator=None))
    assert all(c["sums"].get("paid.USD") == c["sums"].get("shares.USD") for c in bench.of("Chunk"))


def test_a_chunk_that_comes_again_is_a_broken_invariant() -> None:
    bench = PayersBench(book(version(rule()))).take(event("a"))
    bench.offset = 0
    with pytest.raises(BrokenInvariant, match="comes again"):
        bench.logic.decide(_chunk_at(0))


def _chunk_at(offset: int):  # type: ignore[no-untyped-def]
    import numpy as np

    from nanotally.streams.domain.records import RawChunk

    return RawChunk("usage", 0, np.array([offset]), np.array([T0]), [None], [event("a")])


def test_a_meter_that_needs_a_session_and_one_of_another_scale_are_told_apart() -> None:
    bench = PayersBench(book(version(rule("song", "play"), meters=(Meter("play", "second", 3, ("session",)),))))
    bench.take(event("a", meter="play", scale=3), event("b", meter="play", scale=2, session="s"))
    assert bench.reasons() == ["no_session", "wrong_scale"]
