"""Hand-worked values of the reference's price functions, bands, cut uses, passes, dues and catalogs."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from nanotally.streams.domain.catalogs import CatalogItem, CatalogVersion
from nanotally.streams.domain.tariff import (
    Condition,
    Meter,
    Party,
    Pass,
    Rule,
    RuleBook,
    Settings,
    Split,
    TariffVersion,
    Tier,
)
from nanotally.streams.domain.terms import Each, Free, Overage, PriceFrom, Rounding
from tests.support.reference import PayersReference
from tests.support.reference_bands import borders, in_band
from tests.support.reference_price import State, Use, price_of, take, walk
from tests.support.reference_pricing import holds
from tests.support.reference_splits import Part, divide
from tests.support.reference_values import Charge, Control, Record
from tests.support.reference_windows import to_us

SECOND, MINUTE, HOUR, DAY = 10**6, 60 * 10**6, 3600 * 10**6, 86400 * 10**6
NOON = to_us(dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC))  # a Monday
SPLIT = Split("s", (Party("platform", Fraction(1, 10)), Party("creator", None)))
RULE = Rule("page", "page", (), (Tier(None, Fraction(3)),), (), "day", "s")
TARIFF = TariffVersion("t", 1, 0, "USD", "UTC", (), (Meter("page", "page"), Meter("s", "second")), (SPLIT,), (RULE,))


def amounts(rule: Rule, *quantities: int) -> list[int | str]:
    """What uses of the quantities are charged one after the other, or why they are refused."""
    state, told = State(), list[int | str]()
    for quantity in quantities:
        taken = take(rule, state, Use(quantity))
        told.append(taken if isinstance(taken, str) else taken.amount)
        state = state if isinstance(taken, str) else taken.after
    return told


def tiers(*parts: tuple[int | None, Any]) -> tuple[Tier, ...]:
    return tuple(Tier(end, Fraction(price)) for end, price in parts)


def rule(**terms: Any) -> Rule:
    return replace(RULE, **terms)


def test_a_fee_is_due_when_its_tier_is_entered() -> None:
    graduated = rule(tiers=(Tier(10, Fraction(2), Fraction(100)), Tier(None, Fraction(1), Fraction(50))))
    assert amounts(graduated, 0, 4, 6, 1, 1) == [0, 108, 12, 51, 1]
    assert amounts(replace(graduated, zero_fee=True), 0, 4) == [100, 8]


def test_started_packages_inside_a_tier() -> None:
    packages = rule(tiers=(Tier(25, Fraction(2), step=10), Tier(None, Fraction(1), step=4)))
    # 1 begins a package of 10 for 20; 25 needs three of them; then started fours of 4 each from 25 on
    assert amounts(packages, 1, 9, 15, 1, 4) == [20, 0, 40, 4, 4]


def test_a_volume_tier_prices_all_units_and_waits_or_gives_back_where_that_is_less() -> None:
    volume = rule(tiers=tiers((10, 5), (None, 2)), volume=True)
    assert amounts(volume, 10, 1, 13, 2) == [50, 0, 0, 2]
    assert amounts(replace(volume, falling=True), 10, 1, 13, 2) == [50, -28, 26, 4]


def test_a_volume_tier_may_be_chosen_by_another_quantity() -> None:
    volume = rule(tiers=(Tier(10, Fraction(5), Fraction(7)), Tier(None, Fraction(2), Fraction(3))), volume=True)
    taken = take(replace(volume, scope="event"), State(), Use(4, tier_quantity=Fraction(21, 2)))
    assert not isinstance(taken, str) and taken.amount == 3 + 8
    rest = take(replace(volume, scope="event"), taken.after, Use(7, first=False, tier_quantity=Fraction(21, 2)))
    assert not isinstance(rest, str) and rest.amount == 2 * 7  # cut by a band, it stays in its tier


@pytest.mark.parametrize(
    ("mode", "told"),
    [("up", [60, 0, 60]), ("down", [0, 0, 60]), ("half_up", [0, 60, 0])],
)
def test_a_scope_is_rounded_as_a_whole(mode: str, told: list[int]) -> None:
    minutes = rule(tiers=tiers((None, 1)), rounding=Rounding(60, mode))
    assert amounts(minutes, 29, 1, 31) == told


def test_single_uses_are_rounded_one_by_one() -> None:
    minutes = rule(tiers=tiers((None, 1)), rounding=Rounding(60, "up", event=True))
    assert amounts(minutes, 1, 0, 61) == [60, 0, 120]


def test_an_allowance_comes_before_rounding_or_after_it() -> None:
    free = rule(tiers=tiers((None, 1)), free=Free(25), rounding=Rounding(10, "up"))
    assert amounts(free, 25, 1, 10) == [0, 10, 10]  # 1 -> 10, 11 -> 20
    after = replace(free, free=Free(25, after_rounding=True))
    assert amounts(after, 25, 1, 10) == [5, 0, 10]  # 30 - 25, 30 - 25, 40 - 25


def test_each_use_pays_its_fee_within_its_bounds() -> None:
    each = rule(tiers=tiers((None, Fraction(29, 1000))), each=Each(Fraction(30), Fraction(40), Fraction(100)))
    assert amounts(each, 0, 100, 1000, 10**6) == [40, 40, 59, 100]


def test_free_uses_and_free_units_end_with_the_first_that_is_used_up() -> None:
    free = rule(tiers=tiers((None, 1)), free=Free(500, 3), each=Each(Fraction(30)))
    assert amounts(free, 100, 100, 100, 100) == [0, 0, 0, 130]
    assert amounts(free, 400, 100, 1) == [0, 0, 31]
    assert amounts(free, 400, 200) == [0, 130]
    assert amounts(replace(free, free=Free(500, 3, reached=True)), 400, 100) == [0, 30]
    assert amounts(rule(free=Free(events=2)), 5, 5, 5) == [0, 0, 15]


def test_steps_are_carried_over_the_border_of_a_tier() -> None:
    steps = rule(tiers=(Tier(90, Fraction(2), step=60), Tier(None, Fraction(1), step=10)), carry=True)
    # two steps of 60 reach to 120; from there on steps of 10
    assert amounts(steps, 1, 90, 29, 1, 9) == [120, 120, 0, 10, 0]
    assert walk(steps, 0, 125) == (Fraction(2 * 120 + 10), 130)


def test_connecting_costs_once_and_not_for_nothing() -> None:
    assert amounts(rule(connect=Fraction(40)), 0, 2, 2) == [0, 46, 6]


def test_what_is_beyond_a_commitment_costs_more() -> None:
    assert amounts(rule(overage=Overage(Fraction(10), Fraction(2))), 3, 1, 1) == [9, 5, 6]


def test_a_limit_and_a_price_that_is_refused() -> None:
    assert amounts(rule(limit=5), 3, 3, 2) == [9, "limit", 6]
    assert amounts(rule(refuse=True, limit=5), 3, 6) == ["price", "limit"]
    assert amounts(rule(tiers=()), 3) == ["price"]


def test_the_first_use_and_only_it_makes_a_price_of_nothing_due() -> None:
    fee = rule(tiers=(Tier(None, Fraction(1), Fraction(9)),), zero_fee=True)
    assert [price_of(fee, q, n) for q, n in ((0, 0), (0, 1), (0, 2), (3, 2))] == [0, 9, 9, 12]


# ---- bands ----


def band(begin: str, end: str, days: str = "", dates: str = "", zone: str = "UTC") -> Condition:
    return Condition("occurred_at", "band", (zone, days, dates, begin, end))


def test_a_band_after_midnight_belongs_to_the_day_it_began_on() -> None:
    night = band("22:00:00", "06:00:00", days="1")  # the night from Monday on
    hours = [h for h in range(-14, 40) if in_band(night, NOON + h * HOUR)]
    assert hours == list(range(10, 18))
    assert not in_band(band("08:00:00", "08:00:00"), NOON - 4 * HOUR)
    assert in_band(band("00:00:00", "24:00:00", dates="05-31,06-01"), NOON - 12 * HOUR)


def test_borders_are_where_the_local_clock_says() -> None:
    spring = to_us(dt.datetime(2026, 3, 29, tzinfo=dt.UTC))  # Berlin leaps from 02:00 to 03:00 at 01:00 UTC
    early = band("02:30:00", "08:00:00", zone="Europe/Berlin")
    assert borders([early], spring, spring + DAY) == [spring + HOUR, spring + 6 * HOUR]
    autumn = to_us(dt.datetime(2026, 10, 25, tzinfo=dt.UTC))  # and shows 02:00 to 03:00 twice
    twice = band("02:00:00", "02:30:00", zone="Europe/Berlin")
    assert borders([twice], autumn - HOUR, autumn + DAY) == [
        autumn,
        autumn + HOUR // 2,
        autumn + HOUR,
        autumn + 3 * HOUR // 2,
    ]


def test_ranges_hold_for_numbers_within() -> None:
    def holds_for(height: str, low: str, high: str) -> bool:
        return holds(Condition("height", "range", (low, high)), use("page", attributes={"height": height}))

    assert holds_for("720", "720", "1080") and holds_for("1080.0", "720", "1080") and holds_for("-3.5", "", "0")
    assert not holds_for("719.999", "720", "") and not holds_for("tall", "", "") and not holds_for("1e3", "", "")
    seconds = use("page", quantity=1500, scale=3, duration_us=2_500_000)
    assert holds(Condition("quantity", "range", ("1.5", "1.5")), seconds)
    assert holds(Condition("duration", "range", ("2.5", "")), seconds)
    assert not holds(Condition("duration", "range", ("", "")), use("page"))


# ---- the whole way ----


def use(meter: str, **fields: Any) -> dict[str, Any]:
    plain = {"event_id": "e", "occurred_at": NOON, "product": "news", "payer": "p", "creator": "ana", "item": "i"}
    rest = {"meter": meter, "quantity": 1, "scale": 0, "session": None, "duration_us": None, "attributes": {}}
    return {**plain, **rest, **fields}


class Desk:
    """A reference with a book in force."""

    def __init__(self, *versions: TariffVersion, catalogs: tuple[CatalogVersion, ...] = ()) -> None:
        book = RuleBook(0, Settings(lateness_us=0, skew_us=DAY), versions, catalogs)
        self.reference = PayersReference(0, 1, {0: book})
        self.offset = 0
        self.reference.take(Record(0, NOON, None, Control("b", "activate", None, 0, book.book_hash)))

    def use(self, meter: str = "page", after: int = 0, **fields: Any) -> Charge:
        self.offset += 1
        value = use(meter, event_id=str(self.offset), occurred_at=NOON + after, **fields)
        self.reference.take(Record(self.offset, NOON + 300 * DAY, None, value))
        return self.charges[-1]

    def close(self, after: int) -> list[Charge]:
        before = len(self.charges)
        self.offset += 1
        self.reference.take(Record(self.offset, NOON + 300 * DAY, None, Control("c", "close", NOON + after)))
        return self.charges[before:]

    @property
    def charges(self) -> list[Charge]:
        return self.reference.out.charges


def paid(charges: list[Charge]) -> list[int]:
    return [c.paid_nanos for c in charges]


def test_a_session_goes_on_while_it_is_used() -> None:
    desk = Desk(replace(TARIFF, rules=(rule(scope="session", length_us=MINUTE, connect=Fraction(100)),)))
    charges = [desk.use(after=after * SECOND) for after in (0, 59, 118, 178)]
    assert paid(charges) == [103, 3, 3, 103]
    lines = [c.lines[0] for c in charges]
    assert [(x.scope_start_us - NOON) // SECOND for x in lines] == [0, 0, 0, 178]
    assert [(x.scope_end_us - NOON) // SECOND for x in lines] == [60, 119, 178, 238]


def test_an_anchored_scope_lasts_from_its_first_use_on() -> None:
    desk = Desk(replace(TARIFF, rules=(rule(scope="anchored", length_us=DAY, limit=2),)))
    told = [desk.use(after=after).reason for after in (0, HOUR, DAY - 1, DAY)]
    assert told == ["", "", "limit", ""]


def test_a_year_of_the_calendar() -> None:
    desk = Desk(replace(TARIFF, calendar="Europe/Berlin", rules=(rule(scope="year"),)))
    line = desk.use().lines[0]
    assert line.scope_start_us == to_us(dt.datetime(2025, 12, 31, 23, tzinfo=dt.UTC))
    assert line.scope_end_us == to_us(dt.datetime(2026, 12, 31, 23, tzinfo=dt.UTC))


def test_a_use_is_cut_where_a_band_ends_and_where_a_version_begins() -> None:
    day = rule(name="call", meter="s", variant="day", when=(band("08:00:00", "19:00:00"),), cut=True)
    night = replace(day, variant="night", when=(), tiers=tiers((None, 1)))
    second = replace(
        TARIFF, version=2, effective_from_us=NOON + 8 * HOUR, rules=(replace(night, tiers=tiers((None, 2))),)
    )
    desk = Desk(replace(TARIFF, rules=(day, night)), second)
    # from 18:59:50 on for 2 hours: 10 s by day, an hour less 0 s by night, the rest under the next version
    charge = desk.use("s", after=7 * HOUR - 10 * SECOND, quantity=7200, duration_us=2 * HOUR)
    lines = charge.lines
    assert [(x.version, x.variant, x.quantity) for x in lines] == [
        (1, "day", 10),
        (1, "night", 3600),
        (2, "night", 3590),
    ]
    assert [x.amount_nanos for x in lines] == [30, 3600, 7180]
    assert [(x.uses_before, x.quantity_before) for x in lines] == [(0, 0), (1, 10), (1, 3610)]
    by_start = Desk(replace(TARIFF, rules=(replace(day, cut=False), night)))
    assert by_start.use("s", after=7 * HOUR - SECOND, quantity=7200, duration_us=2 * HOUR).paid_nanos == 21600


def test_a_piece_in_a_scope_of_its_own_is_a_use_of_it() -> None:
    fee = (Tier(None, Fraction(1), Fraction(50)),)
    day = rule(name="call", meter="s", variant="day", when=(band("08:00:00", "19:00:00"),), cut=True, tiers=fee)
    night = replace(day, variant="night", when=(), scope="hour")
    desk = Desk(replace(TARIFF, rules=(day, night)))
    charge = desk.use("s", after=7 * HOUR - 10 * SECOND, quantity=20, duration_us=20 * SECOND)
    assert [(x.scope, x.uses_before, x.amount_nanos) for x in charge.lines] == [("day", 0, 60), ("hour", 0, 60)]


def test_all_pieces_are_charged_or_none() -> None:
    day = rule(name="call", meter="s", variant="day", when=(band("08:00:00", "19:00:00"),), cut=True)
    desk = Desk(replace(TARIFF, rules=(day, replace(day, variant="night", when=(), refuse=True))))
    charge = desk.use("s", after=7 * HOUR - 10 * SECOND, quantity=20, duration_us=20 * SECOND)
    assert (charge.outcome, charge.reason, charge.lines) == ("refused", "price", ())
    assert desk.use("s", quantity=1).lines[0].uses_before == 0


def test_a_pass_takes_what_it_lets_be_paid_and_shares_it_out_by_list_price() -> None:
    second = rule(name="call", meter="s", tiers=tiers((None, 1)))
    price = Rule("day", "", (), tiers((None, 1)), (), "day", "", cap_nanos=10)
    desk = Desk(replace(TARIFF, rules=(RULE, second), passes=(Pass("day", ("page", "call"), price),)))
    charges = [desk.use(quantity=2), desk.use("s", quantity=6, creator="bo"), desk.use(quantity=2)]
    assert paid(charges) == [6, 4, 0]
    listed, settled = charges[1].lines
    assert (listed.amount_nanos, listed.paid_nanos, listed.pass_name) == (6, 0, "day")
    assert [s.nanos for s in listed.shares] == [0, 0]
    assert (settled.link, settled.rule, settled.quantity_before, settled.quantity) == ("pass", "day", 6, 6)
    assert [(s.account, s.nanos) for s in settled.shares] == [("pool:t/day", 4)]
    (due,) = desk.close(DAY)
    assert (due.outcome, due.reason, due.paid_nanos, due.booked_at_us) == ("due", "pass", 0, NOON + 12 * HOUR - 1)
    # 10 nanos by list prices of 12 for ana and 6 for bo: 6 and 4, of each a tenth for the platform
    shares = {s.account: s.nanos for line in due.lines for s in line.shares if not s.account.startswith("pool")}
    assert [line.amount_nanos for line in due.lines] == [6, 4]
    assert shares == {"platform": 0, "creator:ana": 6, "creator:bo": 4}
    assert [s.nanos for line in due.lines for s in line.shares if s.account == "pool:t/day"] == [-6, -4]


def test_what_is_missing_to_the_minimum_is_due_at_the_end() -> None:
    desk = Desk(replace(TARIFF, rules=(rule(minimum_nanos=100, scope="session", length_us=MINUTE),)))
    desk.use(quantity=10)
    desk.use(quantity=2, creator="bo")
    desk.use(quantity=50, after=HOUR)
    dues = [c for c in desk.charges if c.outcome == "due"]
    assert paid(dues) == [64] and dues[0].booked_at_us == NOON + MINUTE - 1
    assert [(x.link, x.amount_nanos) for x in dues[0].lines] == [("minimum", 53), ("minimum", 11)]
    assert desk.charges[-1].n == 1 and desk.close(2 * HOUR) == []


def test_a_minimum_may_fall_under_a_pass_that_ends_with_it() -> None:
    price = Rule("half", "", (), tiers((None, Fraction(1, 2))), (), "day", "")
    desk = Desk(replace(TARIFF, rules=(rule(minimum_nanos=100),), passes=(Pass("half", ("page",), price),)))
    assert desk.use(quantity=10).paid_nanos == 15
    minimum, sharing = desk.close(DAY)
    assert [(x.link, x.amount_nanos, x.paid_nanos) for x in minimum.lines] == [("minimum", 70, 0), ("pass", 35, 35)]
    assert [(x.link, x.amount_nanos) for x in sharing.lines] == [("sharing", 50)]
    assert [minimum.n, sharing.n] == [0, 1]


def test_a_price_that_comes_with_the_use_is_held_to_its_bounds() -> None:
    own = PriceFrom("event", "price", Fraction(1), Fraction(10), Fraction(10**9))
    desk = Desk(replace(TARIFF, rules=(rule(price_from=own),)))
    prices = ("0.000000005", "0.00000000100", "0.000000011", "0", "five", None)
    charges = [desk.use(quantity=2, attributes={} if p is None else {"price": p}) for p in prices]
    assert paid(charges) == [10, 2, 0, 0, 0, 6]
    assert [c.reason for c in charges] == ["", "", "price", "price", "price", ""]


def test_a_price_that_comes_with_the_use_is_paid_up_to_what_is_charged_at_most() -> None:
    own = PriceFrom("event", "price", Fraction(1), Fraction(10), Fraction(10**9), 3)
    desk = Desk(replace(TARIFF, rules=(rule(price_from=own),)))
    assert paid([desk.use(quantity=2, attributes={"price": "0.000000005"}) for _ in range(3)]) == [10, 5, 0]


def test_a_catalog_fills_in_who_made_an_item_and_what_it_costs() -> None:
    items = (
        CatalogItem("i", "zoe", "label", (), "0.000000007"),
        CatalogItem("duet", None, None, (("a", Fraction(1, 3)), ("b", Fraction(2, 3)))),
    )
    price = PriceFrom("catalog", "", Fraction(0), Fraction(100), Fraction(10**9))
    catalog = CatalogVersion("songs", 3, NOON, (), items)
    desk = Desk(replace(TARIFF, rules=(rule(price_from=price),)), catalogs=(catalog,))
    own, filled, duet = desk.use(), desk.use(creator=None), desk.use(item="duet", creator=None, quantity=20)
    assert [c.lines[0].catalog for c in (own, filled, duet)] == ["songs v3", "songs v3", "songs v3"]
    assert [s.account for s in own.lines[0].shares] == ["platform", "creator:ana"]
    assert [(s.account, s.nanos) for s in filled.lines[0].shares] == [("platform", 0), ("creator:zoe", 7)]
    assert [(s.account, s.nanos) for s in duet.lines[0].shares] == [
        ("creator:a", 18),
        ("platform", 6),
        ("creator:b", 36),
    ]
    assert desk.use(item="other").lines[0].catalog == ""


def test_caps_of_parties_and_what_is_left() -> None:
    fee = Part("party:fee", Fraction(1, 10), 5, "party:fund")
    first, rest = Part("party:first", Fraction(1), 20, None, True), Part("creator:ana", Fraction(9, 10))
    shares = divide((fee, first, rest), 0, 100)
    assert [(s.account, s.nanos) for s in shares] == [
        ("party:fee", 5),
        ("party:first", 20),
        ("party:fund", 5),
        ("creator:ana", 70),
    ]
    assert [s.nanos for s in divide((first, rest), 0, 15)] == [15, 0]
