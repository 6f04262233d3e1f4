"""Which uses a rule takes by ranges and bands, in hand-worked values."""

from __future__ import annotations

from fractions import Fraction

from nanotally.streams.domain.tariff import Condition, Tier
from tests.support.payers_bench import HOUR, SECOND, T0, PayersBench, book, event, rule, version

MONDAY = T0 + 48 * HOUR  # 2026-11-09T00:00:00Z


def test_a_range_takes_numbers_within_it_both_ends_inclusive() -> None:
    tall = rule("tall", when=(Condition("height", "range", ("720", "1080.5")),), price="1")
    bench = PayersBench(book(version(tall)))
    texts = ("719.999", "720", "1080.50", "1080.6", "tall", "-800", "", "0800")
    bench.take(*(event(f"e{i}", attributes={"height": t}) for i, t in enumerate(texts)), event("none"))
    taken = [c["event"]["event_id"] for c in bench.of("Charge") if c["outcome"] == "charged"]
    assert taken == ["e1", "e2", "e7"]


def test_a_range_of_the_events_quantity_is_in_units_and_of_its_duration_in_seconds() -> None:
    long = rule("long", "play", when=(Condition("duration", "range", ("1.5", "")),), price="2")
    many = rule("many", "play", when=(Condition("quantity", "range", ("", "2.5")),), price="3")
    bench = PayersBench(book(version(long, many)))
    fields = ((2501, None), (2500, None), (9999, 1_500_000), (9999, 1_499_999))
    bench.take(
        *(
            event(f"e{i}", meter="play", scale=3, session="s", quantity=q, duration_us=d)
            for i, (q, d) in enumerate(fields)
        )
    )
    assert [c["lines"][0]["rule"] if c["lines"] else "" for c in bench.of("Charge")] == ["", "many", "long", ""]


def test_the_first_band_that_holds_prices_the_use_by_when_it_occurred() -> None:
    peak = Condition("occurred_at", "band", ("Europe/Berlin", "12345", "", "08:00:00", "19:00:00"))
    variants = (
        rule("call", variant="peak", when=(peak,), tiers=(Tier(None, Fraction(7)),)),
        rule("call", variant="otherwise", tiers=(Tier(None, Fraction(2)),)),
    )
    bench = PayersBench(book(version(*variants)))
    bench.take(  # Berlin is an hour ahead
        event("saturday", T0 + 10 * HOUR), event("early", MONDAY + 7 * HOUR - 1), event("eight", MONDAY + 7 * HOUR),
        event("late", MONDAY + 18 * HOUR),
    )  # fmt: skip
    assert bench.paid() == [2, 2, 7, 2]
    assert [c["lines"][0]["variant"] for c in bench.of("Charge")] == ["otherwise", "otherwise", "peak", "otherwise"]


def test_a_year_of_uses_is_one_scope() -> None:
    bench = PayersBench(book(version(rule(scope="year", price="1", cap_nanos=2))))
    end = 1_798_761_600_000_000  # 2027-01-01
    bench.take(event("a", quantity=5), event("b", end - SECOND), event("c", end))
    assert bench.paid() == [2, 0, 1]
