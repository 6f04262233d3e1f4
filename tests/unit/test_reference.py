"""Hand-worked values of the plain reference itself: who checks the checker."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from fractions import Fraction
from importlib import resources
from typing import Any

import pytest

from nanotally.streams.domain.tariff import (
    Condition,
    Meter,
    Party,
    Rule,
    RuleBook,
    Settings,
    Split,
    TariffVersion,
    Tier,
)
from tests.support.reference import PayersReference, partition_of
from tests.support.reference_accounts import AccountsReference, Earned, Mark
from tests.support.reference_pricing import exact_price, glob, holds, max_price_nanos
from tests.support.reference_splits import PLATFORM_ALONE, Part, account_of, divide, resolve_split
from tests.support.reference_values import Charge, Control, EarningKey, Garbage, Record
from tests.support.reference_windows import to_us, window

ZONES = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
NOON = to_us(dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC))
SECOND, MINUTE, HOUR, DAY = 10**6, 60 * 10**6, 3600 * 10**6, 86400 * 10**6
SPLIT = Split("s", (Party("platform", Fraction(1, 10)), Party("creator", None)))
RULE = Rule("page", "page", (), (Tier(None, Fraction(1, 3)),), (), "day", "s")
TARIFF = TariffVersion("t", 1, 0, "USD", "UTC", (), (Meter("page", "page"),), (SPLIT,), (RULE,))
SETTINGS = Settings(lateness_us=MINUTE, skew_us=MINUTE, horizon_us=DAY)


def use(**fields: Any) -> dict[str, Any]:
    plain = {
        "event_id": "e",
        "occurred_at": NOON,
        "product": "news",
        "payer": "p",
        "creator": "ana",
        "item": "i",
        "meter": "page",
        "quantity": 1,
        "scale": 0,
        "session": None,
        "duration_us": None,
        "attributes": {},
    }
    return plain | fields


class Desk:
    """One partition under one or more books, fed by hand."""

    def __init__(self, *versions: TariffVersion, settings: Settings = SETTINGS) -> None:
        self.books = {0: RuleBook(0, settings, versions or (TARIFF,))}
        self.reference = PayersReference(0, 1, self.books)
        self.offset = 0
        self.control("activate", book_number=0, book_hash=self.books[0].book_hash)

    def publish(self, number: int, settings: Settings, *versions: TariffVersion) -> None:
        self.books[number] = RuleBook(number, settings, versions)
        self.control("activate", book_number=number, book_hash=self.books[number].book_hash)

    def control(self, kind: str, recorded_at: int = NOON, **fields: Any) -> tuple[str, str]:
        return self.take(recorded_at, Control("c", kind, **fields))

    def use(self, recorded_at: int = NOON, **fields: Any) -> tuple[str, str]:
        fields.setdefault("event_id", f"e{self.offset}")
        return self.take(recorded_at, use(**fields))

    def take(self, recorded_at: int, value: Any) -> tuple[str, str]:
        self.offset += 1
        return self.reference.take(Record(self.offset, recorded_at, None, value))

    @property
    def charges(self) -> list[Charge]:
        return self.reference.out.charges

    @property
    def amounts(self) -> list[int]:
        return [c.paid_nanos for c in self.charges]


def test_a_third_of_a_nano_three_times_costs_one_nano() -> None:
    desk = Desk()
    for _ in range(7):
        assert desk.use() == ("charged", "")
    assert desk.amounts == [0, 0, 1, 0, 0, 1, 0]
    line = desk.charges[3].lines[0]
    assert (line.total_before, line.total_after, line.charged_before) == (Fraction(1), Fraction(4, 3), 1)
    assert desk.reference.out.counts["free"] == 5


def test_each_event_is_floored_alone_where_the_scope_is_the_event() -> None:
    rule = replace(RULE, scope="event", tiers=(Tier(None, Fraction(5, 3)),))
    desk = Desk(replace(TARIFF, rules=(rule,)))
    for quantity in (1, 1, 2):
        desk.use(quantity=quantity)
    assert desk.amounts == [1, 1, 3]


def test_tiers_are_walked_by_the_cumulated_quantity() -> None:
    rule = replace(RULE, tiers=(Tier(10, Fraction(5)), Tier(20, Fraction(3)), Tier(None, Fraction(1, 2))))
    assert [exact_price(rule, q) for q in (0, 10, 11, 20, 23)] == [0, 50, 53, 80, Fraction(163, 2)]
    desk = Desk(replace(TARIFF, rules=(rule,)))
    for quantity in (9, 2, 10, 1):
        desk.use(quantity=quantity)
    assert desk.amounts == [45, 8, 27, 1]


def test_a_cap_ends_charging_but_the_exact_total_goes_on() -> None:
    desk = Desk(replace(TARIFF, rules=(replace(RULE, tiers=(Tier(None, Fraction(4)),), cap_nanos=10),)))
    for _ in range(4):
        desk.use()
    assert desk.amounts == [4, 4, 2, 0]
    assert desk.charges[-1].lines[0].total_after == 16


def test_remainders_go_over_a_change_of_version() -> None:
    second = replace(
        TARIFF, version=2, effective_from_us=NOON + 1, rules=(replace(RULE, tiers=(Tier(None, Fraction(2, 3)),)),)
    )
    desk = Desk(TARIFF, second)
    desk.use()
    desk.use(occurred_at=NOON + 1)
    assert desk.amounts == [0, 1]
    assert [c.lines[0].version for c in desk.charges] == [1, 2]


def test_a_scope_ends_with_its_day() -> None:
    desk = Desk(replace(TARIFF, rules=(replace(RULE, tiers=(Tier(None, Fraction(1, 2)),)),)))
    desk.use()
    desk.use(occurred_at=NOON + DAY, recorded_at=NOON + DAY)
    desk.use(occurred_at=NOON + DAY, recorded_at=NOON + DAY)
    assert desk.amounts == [0, 0, 1]
    assert desk.charges[0].lines[0].scope_end_us == NOON + 12 * HOUR


def test_per_opens_scopes_and_an_absent_value_is_not_an_empty_one() -> None:
    desk = Desk(replace(TARIFF, rules=(replace(RULE, per=("segment",), tiers=(Tier(None, Fraction(1, 2)),)),)))
    for attributes in ({}, {"segment": ""}, {"segment": "a"}, {}, {"segment": ""}):
        desk.use(attributes=attributes)
    assert desk.amounts == [0, 0, 0, 1, 1]


def test_shares_are_differences_of_floors_and_the_rest_comes_last() -> None:
    parties = (
        Part("party:l", Fraction(1, 3)),
        Part("platform", Fraction(1, 10)),
        Part("creator:a", Fraction(17, 30)),
    )
    assert [s.nanos for s in divide(parties, 0, 7)] == [2, 0, 5]
    assert [s.nanos for s in divide(parties, 7, 7)] == [2, 1, 4]
    assert [s.nanos for s in divide(parties, 14, 7)] == [3, 1, 3]


def test_absent_parties_leave_it_to_the_platform_and_equal_accounts_merge() -> None:
    split = Split(
        "s", (Party("creator", None), Party("party:{item.label}", Fraction(1, 4)), Party("platform", Fraction(1, 8)))
    )
    assert resolve_split(split, use(attributes={"item.label": "l"})) == (
        Part("party:l", Fraction(1, 4)),
        Part("platform", Fraction(1, 8)),
        Part("creator:ana", Fraction(5, 8)),
    )
    assert resolve_split(split, use()) == (Part("platform", Fraction(3, 8)), Part("creator:ana", Fraction(5, 8)))
    assert resolve_split(split, use(creator=None)) == PLATFORM_ALONE
    assert account_of("party:{item.label}", use(attributes={"item.label": ""})) == "platform"


def test_a_base_is_kept_per_resolved_split() -> None:
    desk = Desk(replace(TARIFF, rules=(replace(RULE, tiers=(Tier(None, Fraction(5)),)),)))
    for creator in ("ana", "bo", "ana"):
        desk.use(creator=creator)
    assert [c.lines[0].base_before for c in desk.charges] == [0, 0, 5]
    assert [[s.nanos for s in c.lines[0].shares] for c in desk.charges] == [[0, 5], [0, 5], [1, 4]]


def test_reasons_are_told_in_their_order() -> None:
    desk = Desk()
    wrong: dict[str, Any] = {"occurred_at": 0, "quantity": -1, "payer": "", "scale": 3}
    assert desk.use(**wrong) == ("rejected", "invalid_id")
    assert desk.use(**wrong | {"payer": "p"}) == ("rejected", "negative")
    assert desk.use(**wrong | {"payer": "p", "quantity": 1}) == ("rejected", "absurd")
    assert desk.use(quantity=10**15 + 1) == ("rejected", "absurd")
    assert desk.use(item="i" * 1025) == ("rejected", "invalid_id")
    assert desk.use(attributes={str(i): "" for i in range(65)}) == ("rejected", "invalid_id")
    assert desk.use(creator="") == ("rejected", "invalid_id")
    assert desk.use(occurred_at=NOON + MINUTE + 1) == ("rejected", "future")
    assert desk.use(occurred_at=NOON + MINUTE) == ("charged", "")
    assert desk.use(scale=1) == ("rejected", "wrong_scale")
    assert desk.use(meter="gone") == ("unpriced", "unknown_meter")
    assert desk.take(NOON, Garbage(b"", "malformed")) == ("rejected", "malformed")
    assert desk.reference.out.counts["rejected"] == 10
    assert desk.reference.out.counts["rejected.absurd"] == 2


def test_a_partition_knows_its_payers() -> None:
    # Kafka's own test values of murmur2: -973932308, -790332482, -985981536, made positive
    assert [partition_of(p, 1000) for p in ("21", "foobar", "a-little-bit-long-string")] == [340, 166, 112]
    reference = PayersReference(0, 4, {})
    assert reference.take(Record(0, NOON, None, use(payer="foobar"))) == ("rejected", "wrong_partition")


def test_a_repeat_is_a_duplicate_and_other_content_a_conflict_until_the_horizon() -> None:
    desk = Desk()
    assert desk.use(event_id="a", attributes={"x": "1", "y": "2"}) == ("charged", "")
    assert desk.use(event_id="a", attributes={"y": "2", "x": "1"}) == ("duplicate", "")
    assert desk.use(event_id="a", attributes={"x": "1"}) == ("rejected", "conflict")
    assert desk.use(event_id="a", product="music") == ("charged", "")
    assert desk.control("close", at_us=NOON + DAY) == ("control", "")
    assert desk.use(event_id="a", attributes={"x": "1", "y": "2"}) == ("duplicate", "")
    assert desk.control("close", at_us=NOON + DAY + 1) == ("control", "")
    assert desk.use(event_id="a", attributes={"x": "1", "y": "2"}) == ("rejected", "too_old")
    assert desk.use(event_id="a", occurred_at=NOON + DAY, recorded_at=NOON + DAY) == ("charged", "")


def test_what_was_forgotten_stays_forgotten_under_a_longer_horizon() -> None:
    desk = Desk()
    desk.use(event_id="a")
    desk.control("close", at_us=NOON + 2 * DAY)
    desk.publish(1, replace(SETTINGS, horizon_us=10 * DAY), TARIFF)
    assert desk.use(event_id="a") == ("rejected", "too_old")


def test_refused_and_unpriced_ids_stay_used_and_rejected_ones_do_not() -> None:
    desk = Desk(replace(TARIFF, rules=(replace(RULE, tiers=(Tier(None, Fraction(5)),)),)))
    assert desk.use(event_id="a", attributes={"max_price": "0.000000004"}) == ("refused", "max_price")
    assert desk.use(event_id="a", attributes={"max_price": "0.000000004"}) == ("duplicate", "")
    assert desk.use(event_id="b", meter="gone") == ("unpriced", "unknown_meter")
    assert desk.use(event_id="b") == ("rejected", "conflict")
    assert desk.use(event_id="c", scale=2) == ("rejected", "wrong_scale")
    assert desk.use(event_id="c") == ("charged", "")
    assert desk.use(attributes={"max_price": "0.000000005"}) == ("charged", "")
    assert desk.use(attributes={"max_price": "5 nanos"}) == ("rejected", "bad_price")
    assert desk.amounts == [0, 0, 5, 5]


def test_the_price_compared_is_the_exact_step_under_what_the_cap_leaves() -> None:
    desk = Desk(replace(TARIFF, rules=(replace(RULE, tiers=(Tier(None, Fraction(5, 2)),), cap_nanos=6),)))
    assert desk.use(attributes={"max_price": "0.000000002"}) == ("refused", "max_price")
    assert desk.use(attributes={"max_price": "0.0000000025"}) == ("charged", "")
    assert desk.use(quantity=100, attributes={"max_price": "0.000000004"}) == ("charged", "")
    assert desk.use(quantity=100, attributes={"max_price": "0"}) == ("charged", "")
    assert desk.amounts == [0, 2, 4, 0]


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0", 0),
        ("0.05", 50_000_000),
        ("0.0000000005", Fraction(1, 2)),
        ("1e3", None),
        ("-1", None),
        ("", None),
        ("١", None),
    ],
)
def test_a_price_is_a_plain_decimal_number(text: str, nanos: Fraction | None) -> None:
    assert max_price_nanos(text) == nanos


def test_a_total_beyond_62_bits_is_refused_and_changes_no_scope() -> None:
    desk = Desk(replace(TARIFF, rules=(replace(RULE, tiers=(Tier(None, Fraction(4611)),)),)))
    assert desk.use(quantity=10**15) == ("charged", "")
    assert desk.use(quantity=10**15, occurred_at=NOON + 1) == ("refused", "out_of_range")
    assert desk.reference.watermark == NOON + 1 - MINUTE
    assert desk.use(quantity=10**6) == ("charged", "")
    assert desk.amounts == [4611 * 10**15, 0, 4611 * 10**6]


def test_a_great_base_is_reduced_without_a_change_of_shares() -> None:
    desk = Desk(replace(TARIFF, rules=(replace(RULE, scope="event", tiers=(Tier(None, Fraction(4001)),)),)))
    for _ in range(2):
        desk.use(quantity=10**15 - 3)
    desk.use(quantity=1)
    much = 4001 * (10**15 - 3)  # above 2^61, ends in 7 as 4001 * 7 does
    assert [c.lines[0].base_before for c in desk.charges] == [0, 7, (7 + much) % 10]
    assert [s.nanos for s in desk.charges[2].lines[0].shares] == [(4 + 4001) // 10, 4001 - 400]


def test_late_uses_are_booked_at_the_watermark_and_windows_close_once() -> None:
    desk = Desk()
    desk.use(quantity=3)
    desk.use(quantity=6, occurred_at=NOON + HOUR + MINUTE, recorded_at=NOON + HOUR + MINUTE)
    out = desk.reference.out
    hour = [t for t in out.tallies if t.size == "hour"]
    assert [(t.account, t.window_start_us, t.window_end_us, t.count, t.quantity, t.amount_nanos) for t in hour] == [
        ("payer:p", NOON, NOON + HOUR, 1, 3, 1)
    ]
    desk.use(quantity=3)
    late = desk.charges[-1]
    assert (late.booked_at_us, late.late) == (NOON + HOUR, True)
    desk.control("close", at_us=NOON + 12 * HOUR)
    assert [(t.size, t.count, t.amount_nanos) for t in out.tallies] == [("hour", 1, 1), ("hour", 2, 3), ("day", 3, 4)]
    assert [(s.account, s.period, s.count, s.due_nanos) for s in out.statements] == [("payer:p", "day", 3, 4)]
    assert out.sums == {"paid.USD": 4, "shares.USD": 4, "tallies.hour.USD": 4, "tallies.day.USD": 4, "settled.USD": 4}
    assert out.counts["late"] == 1


def test_controls_take_effect_once() -> None:
    desk = Desk()
    assert desk.control("tick") == ("control", "")
    assert desk.control("tick") == ("control", "")
    assert desk.control("close", at_us=NOON - HOUR) == ("control", "")
    assert desk.control("close") == ("rejected", "bad_control")
    assert desk.control("open") == ("rejected", "bad_control")
    assert desk.control("activate", book_number=7, book_hash="0") == ("rejected", "bad_book")
    assert desk.control("activate", book_number=0, book_hash=desk.books[0].book_hash) == ("control", "")
    taken = desk.reference.out.controls
    assert [(c.kind, c.at_us, c.book_number) for c in taken] == [("activate", None, 0), ("tick", NOON - MINUTE, None)]


def test_rejects_and_duplicates_move_no_watermark() -> None:
    desk = Desk()
    desk.use(event_id="a")
    before = desk.reference.watermark
    desk.use(scale=1, occurred_at=NOON + 5)
    desk.use(event_id="a")
    assert desk.reference.watermark == before
    desk.use(meter="gone", occurred_at=NOON + 5)
    assert desk.reference.watermark == before + 5


def test_conditions_and_globs() -> None:
    assert glob("/blog/*", "/blog/a/b\n") and glob("a?c", "aüc") and not glob("a.c", "abc") and not glob("a*", "ba")
    assert holds(Condition("creator", "absent"), use(creator=None))
    assert not holds(Condition("segment", "equals", ("",)), use())
    assert holds(Condition("segment", "equals", ("", "x")), use(attributes={"segment": ""}))
    assert not holds(Condition("segment", "pattern", ("*",)), use())


def utc(*moment: int) -> int:
    return to_us(dt.datetime(*moment, tzinfo=dt.UTC))  # type: ignore[arg-type, misc]


def test_windows_follow_the_local_day() -> None:
    spring = utc(2026, 3, 29, 12)
    assert window("day", spring, "Europe/Berlin") == (utc(2026, 3, 28, 23), utc(2026, 3, 29, 22))
    assert window("month", spring, "Europe/Berlin") == (utc(2026, 2, 28, 23), utc(2026, 3, 31, 22))
    assert window("hour", utc(2026, 6, 1, 12), "Asia/Kolkata") == (utc(2026, 6, 1, 11, 30), utc(2026, 6, 1, 12, 30))
    # Lord Howe's clocks go forward by half an hour: the day's last hour is half an hour long.
    last = utc(2026, 10, 4, 12, 45)
    assert window("hour", last, "Australia/Lord_Howe") == (utc(2026, 10, 4, 12, 30), utc(2026, 10, 4, 13))
    # Samoa left out the 30th of December 2011.
    assert window("day", utc(2011, 12, 30, 9), "Pacific/Apia") == (utc(2011, 12, 29, 10), utc(2011, 12, 30, 10))


@pytest.mark.parametrize("zone", ZONES[::9])
def test_windows_of_every_zone_hold_their_moment_and_follow_each_other(zone: str) -> None:
    for year in (2000, 2007, 2011, 2026, 2100):
        at = utc(year, 1, 1)
        while at < utc(year + 1, 1, 1):
            start, end = window("day", at, zone)
            assert start <= at < end and window("day", start, zone) == (start, end)
            hour = window("hour", at, zone)
            assert start <= hour[0] <= at < hour[1] <= end
            at = end if end - at < 40 * DAY and at % 5 else end + 11 * DAY + 7


def test_payouts_wait_for_the_slowest_source_and_carry_what_is_small() -> None:
    settings = replace(SETTINGS, thresholds=(("USD", 10),), windows=("day",))
    key = EarningKey("creator:ana", NOON, "news", "page", 0, "USD")
    tomorrow = replace(key, minute_us=NOON + DAY)
    end = NOON + 12 * HOUR
    accounts = AccountsReference().run(
        [
            Earned(0, key, 1, 1, 4),
            Earned(1, key, 1, 1, 3),
            Mark(0, 2, end + DAY, 0, settings),
        ]
    )
    assert accounts.payouts == []
    accounts.run([Mark(1, 2, end, 0, settings), Earned(1, tomorrow, 2, 2, 3), Mark(1, 2, end + DAY, 0, settings)])
    assert [(p.brought_nanos, p.earned_nanos, p.paid_nanos, p.carried_nanos) for p in accounts.payouts] == [
        (0, 7, 0, 7),
        (7, 3, 10, 0),
    ]
    assert [(t.window_end_us, t.count, t.amount_nanos) for t in accounts.tallies] == [(end, 2, 7), (end + DAY, 2, 3)]
