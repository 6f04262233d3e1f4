"""What the reader makes of prices, fees, limits and scopes: the exact terms that the engine rates by."""

# One case a line reads best.
# ruff: noqa: E501

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from nanotally.streams.domain.tariff import Condition, Tier, from_document
from nanotally.streams.domain.terms import Each, Free, Overage, PriceFrom, Rounding
from nanotally.streams.tariffs.price_text import PriceText, read_price
from nanotally.streams.tariffs.reader import examine_tariff
from nanotally.streams.tariffs.totals import billable, fall, limit_of, volume_total
from tests.support.tariff_texts import rule_of, version_of

PAGES = "{unit: page}"
SECONDS = "{unit: second, scale: 3}"
MONEY = "{unit: USD, scale: 2}"
UNIT = 10**9  # nanos of a currency unit
OVER_EVENT = "\ncount: {over: event}"
SESSION = "\ncount: {per: [payer, session], over: session, ends_after: 30m idle}"


@pytest.mark.parametrize(
    ("text", "meter", "price", "fee", "step"),
    [
        ("5 flat", PAGES, 0, 5 * UNIT, None),
        ("5 USD flat", PAGES, 0, 5 * UNIT, None),
        ("0.30 flat + 0.02 per page", PAGES, 20_000_000, 300_000_000, None),
        ("0.30 flat+0.02 per page", PAGES, 20_000_000, 300_000_000, None),
        ("15 per started 10 pages", PAGES, Fraction(15 * UNIT, 10), 0, 10),
        ("1 per started page", PAGES, UNIT, 0, 1),
        ("0.10 per 60 seconds by 1 second", SECONDS, Fraction(UNIT, 10 * 60_000), 0, 1000),
        ("0.10 per 60 seconds by second", SECONDS, Fraction(UNIT, 10 * 60_000), 0, 1000),
        ("0.10 per started 60 seconds", SECONDS, Fraction(UNIT, 10 * 60_000), 0, 60_000),
        ("1 per started 0.5 seconds", SECONDS, Fraction(UNIT, 500), 0, 500),
        ("2.9%", MONEY, 290_000, 0, None),  # of a cent, which is 10,000,000 nanos
        ("0.30 flat + 2.9 %", MONEY, 290_000, 300_000_000, None),
        ("100%", MONEY, 10_000_000, 0, None),
    ],
)
def test_fees_steps_and_percentages_are_exact(
    text: str, meter: str, price: int | Fraction, fee: int, step: int | None
) -> None:
    rule = rule_of(f"price: {text}", meter)
    assert rule.tiers == (Tier(None, Fraction(price), Fraction(fee), step),)
    assert rule.text == text


def test_a_price_is_read_without_a_rule_too() -> None:
    meter = version_of("- {rule: r, when: {meter: m}, price: 1, split: standard}", PAGES).meters[0]
    assert read_price("free", meter, "USD") == PriceText(Fraction(0))


def test_every_unit_at_the_price_of_the_tier_reached() -> None:
    rule = rule_of("volume: {to 10: 2, to 20: 5 flat + 1.6, above: 3}", PAGES)
    assert (rule.volume, rule.falling, rule.carry) == (True, False, False)
    assert rule.tiers == (
        Tier(10, Fraction(2 * UNIT)),
        Tier(20, Fraction(16 * UNIT, 10), Fraction(5 * UNIT)),
        Tier(None, Fraction(3 * UNIT)),
    )
    # 10 cost 20; 11 cost 5 + 17.60 = 22.60; 20 cost 37; 21 cost 63.
    assert [volume_total(n, rule.tiers) for n in (10, 11, 20, 21)] == [
        20 * UNIT,
        Fraction(226 * UNIT, 10),
        37 * UNIT,
        63 * UNIT,
    ]


@pytest.mark.parametrize(("word", "falling"), [("down", True), ("never", False)])
def test_a_total_that_falls_must_be_wanted(word: str, falling: bool) -> None:
    rule = rule_of(f"volume: {{to 10: 2, above: 1}}\nreprice: {word}", PAGES)
    assert rule.falling is falling
    assert fall(rule) == (10, Fraction(20 * UNIT), Fraction(11 * UNIT))


def test_a_total_on_a_grid_of_rounding_falls_only_where_it_meets_the_grid() -> None:
    # 1,000 cost 1,000; the next that is billed, 1,100, cost 1,045; 1,001 would cost 950.95.
    rule = rule_of("volume: {to 1000: 1, above: 0.95}\nround: up to 100 pages", PAGES)
    assert fall(rule) is None


def test_steps_of_a_session_carry_what_was_begun() -> None:
    rule = rule_of(
        f"steps: {{to 60 seconds: 0.02 per started second, above: 0.10 per 60 seconds by 1 second}}{SESSION}", SECONDS
    )
    assert rule.carry
    assert rule.tiers == (Tier(60_000, Fraction(20_000), step=1000), Tier(None, Fraction(UNIT, 600_000), step=1000))


@pytest.mark.parametrize(
    ("lines", "tiers", "limit"),
    [
        ("graduated: {to 5: 1, above: free}", [Tier(5, Fraction(UNIT)), Tier(None, Fraction(0))], None),
        ("graduated: {to 5: 1, above: refuse}", [Tier(5, Fraction(UNIT)), Tier(None, Fraction(0))], 5),
        ("volume: {to 5: 1, above: refuse}", [Tier(None, Fraction(UNIT))], 5),
        ("graduated: {to 5: 1, above: refuse}\nfree: 3 pages", [Tier(5, Fraction(UNIT)), Tier(None, Fraction(0))], 8),
        ("graduated: {to 5: 1, above: refuse}\nround: up to 2 pages", [Tier(5, Fraction(UNIT)), Tier(None, Fraction(0))], 4),
        ("graduated: {to 5: 1, above: refuse}\nround: down to 2 pages", [Tier(5, Fraction(UNIT)), Tier(None, Fraction(0))], 5),
        ("graduated: {to 5: 1, above: refuse}\nround: down to 2 pages\nfree: {units: 3, after: rounding}", [Tier(5, Fraction(UNIT)), Tier(None, Fraction(0))], 9),
        # at_most: nothing more is charged beyond; the price of what was used up to there stays
        ("volume: {to 5: 2, above: 3}\ncount: {at_most: 8}", [Tier(5, Fraction(2 * UNIT)), Tier(8, Fraction(3 * UNIT)), Tier(None, Fraction(0), Fraction(24 * UNIT))], None),
        ("price: 1\nfree: 3 pages\ncount: {at_most: 8}", [Tier(5, Fraction(UNIT)), Tier(None, Fraction(0))], None),
        ("price: 1\nround: up to 5 pages\ncount: {at_most: 8}", [Tier(10, Fraction(UNIT)), Tier(None, Fraction(0))], None),
    ],
)  # fmt: skip
def test_what_is_above_the_last_border(lines: str, tiers: list[Tier], limit: int | None) -> None:
    rule = rule_of(lines, PAGES)
    assert (list(rule.tiers), rule.limit) == (tiers, limit)


@pytest.mark.parametrize(
    ("lines", "quantity", "billed"),
    [
        ("free: 3 pages", 10, 7),
        ("free: 3 pages", 2, 0),
        ("round: up to 5 pages", 11, 15),
        ("round: down to 5 pages", 14, 10),
        ("round: half_up to 5 pages", 12, 10),
        ("round: half_up to 4 pages", 10, 12),
        ("free: 3 pages\nround: up to 5 pages", 11, 10),  # 8 are left, rounded up
        ("free: {units: 3, after: rounding}\nround: up to 5 pages", 11, 12),  # 15 less 3
        ("round: up to 5 pages per event", 11, 11),  # each use was rounded before
    ],
)
def test_what_is_billed_of_a_quantity(lines: str, quantity: int, billed: int) -> None:
    rule = rule_of(f"price: 1\n{lines}", PAGES)
    assert billable(quantity, rule) == billed
    assert billable(limit_of(billed, rule), rule) <= billed < billable(limit_of(billed, rule) + 1, rule)


@pytest.mark.parametrize(
    ("lines", "meter", "terms"),
    [
        ("free: 1000 pages", PAGES, {"free": Free(1000)}),
        ("free: 1.5 seconds", SECONDS, {"free": Free(1500)}),
        ("free: 3 events", PAGES, {"free": Free(events=3)}),
        ("free: 1 use", PAGES, {"free": Free(events=1)}),
        ("free: {units: 500, events: 3}", MONEY, {"free": Free(50_000, 3)}),
        ("free: {units: 500, fee: when reached}\neach: {fee: 0.30}", MONEY, {"free": Free(50_000, reached=True), "each": Each(Fraction(300_000_000))}),
        ("free: {units: 5, after: rounding}\nround: up to 5 pages", PAGES, {"free": Free(5, after_rounding=True), "rounding": Rounding(5, "up")}),
        ("round: up to 1 second", SECONDS, {"rounding": Rounding(1000, "up")}),
        ("round: down to second per event", SECONDS, {"rounding": Rounding(1000, "down", event=True)}),
        ("round: half_up to 0.1 seconds per use", SECONDS, {"rounding": Rounding(100, "half_up", event=True)}),
        ("each: {fee: 0.30, at_least: 0.05, at_most: 12}", PAGES, {"each": Each(Fraction(300_000_000), Fraction(50_000_000), Fraction(12 * UNIT))}),
        ("each: {at_most: 0.0000000001}", PAGES, {"each": Each(at_most=Fraction(1, 10))}),
        ("connect: 0.40", PAGES, {"connect": Fraction(400_000_000)}),
        ("cap: 4\ncount: {over: day}", PAGES, {"cap_nanos": 4 * UNIT, "scope": "day"}),
        ("minimum: 5\ncount: {over: month}", PAGES, {"minimum_nanos": 5 * UNIT, "scope": "month"}),
        ("minimum: 0.01\ncount: {over: event}", PAGES, {"minimum_nanos": 10_000_000, "scope": "event"}),
        ("commitment: {amount: 10, overage: 2}\ncount: {over: month}", PAGES, {"overage": Overage(Fraction(10 * UNIT), Fraction(2)), "minimum_nanos": 10 * UNIT}),
        ("commitment: {amount: 10, overage: 150%, due: never}\ncount: {over: month}", PAGES, {"overage": Overage(Fraction(10 * UNIT), Fraction(3, 2)), "minimum_nanos": 0}),
        ("commitment: {amount: 137.8/31, overage: 4/3}\ncount: {over: month}", PAGES, {"overage": Overage(Fraction(1378 * UNIT, 310), Fraction(4, 3)), "minimum_nanos": 4_445_161_290}),
        ("commitment: {amount: 10}\ncount: {over: month}", PAGES, {"overage": None, "minimum_nanos": 10 * UNIT}),
        ("count: {over: year}", PAGES, {"scope": "year"}),
        ("count: {over: 24h from first paid}", PAGES, {"scope": "anchored", "length_us": 86_400 * 10**6}),
        ("count: {over: 30d from first use}", PAGES, {"scope": "anchored", "length_us": 30 * 86_400 * 10**6}),
        ("count: {per: [payer, session], over: session, ends_after: 30m idle}", PAGES, {"scope": "session", "length_us": 1800 * 10**6, "per": ("session",)}),
        ("count: {over: session, ends_after: 1h}", PAGES, {"scope": "session", "length_us": 3600 * 10**6, "per": ()}),
        ("crossing: cut", PAGES, {"cut": True}),
        ("crossing: start", PAGES, {"cut": False}),
    ],
)  # fmt: skip
def test_what_stands_beside_the_price(lines: str, meter: str, terms: dict[str, Any]) -> None:
    rule = rule_of(f"price: 1\n{lines}", meter)
    assert {name: getattr(rule, name) for name in terms} == terms


def test_a_flat_fee_may_be_due_for_a_use_of_nothing() -> None:
    assert rule_of("price: 5 flat + 1\nzero_usage: fee").zero_fee
    assert not rule_of("price: 5 flat + 1\nzero_usage: none").zero_fee
    assert not rule_of("price: 5 flat + 1").zero_fee


def test_a_tier_may_be_chosen_by_another_quantity() -> None:
    rule = rule_of(f"volume: {{to 10: 2, above: 1}}\ntier_by: full_quantity{OVER_EVENT}")
    assert (rule.tier_by, rule.volume, rule.scope) == ("full_quantity", True, "event")


def test_a_rule_may_refuse() -> None:
    rule = rule_of("price: refuse")
    assert (rule.refuse, rule.tiers) == (True, (Tier(None, Fraction(0)),))


# ---- by attribute ----


def variants(lines: str, meter: str = PAGES) -> list[tuple[str, tuple[Condition, ...], bool, Fraction | int]]:
    """Label, conditions, whether refused and price of each variant."""
    rules = "\n".join(f"  {line}" for line in lines.splitlines())
    version = version_of(f"- rule: r\n  when: {{meter: m, creator: present}}\n{rules}\n  split: standard", meter)
    assert {(r.name, r.when[0]) for r in version.rules} == {("r", Condition("creator", "present"))}
    assert from_document(version.document()) == version
    return [(r.variant, r.when[1:], r.refuse, r.tiers[0].price) for r in version.rules]


def test_a_price_by_attribute_has_a_variant_for_each_value() -> None:
    assert variants(
        "price: {by: segment, school: 0.002, 'pro*': 0.02, 10 to 20: 3, absent: free, otherwise: refuse}"
    ) == [
        ("school", (Condition("segment", "equals", ("school",)),), False, 2_000_000),
        ("pro*", (Condition("segment", "pattern", ("pro*",)),), False, 20_000_000),
        ("10 to 20", (Condition("segment", "range", ("10", "20")),), False, 3 * UNIT),
        ("absent", (Condition("segment", "absent"),), False, 0),
        ("otherwise", (), True, 0),
    ]


def test_a_value_called_by_the_words_of_the_language_is_quoted() -> None:
    assert variants("price: {by: segment, 'otherwise': 1, 'absent': 2}") == [
        ("otherwise", (Condition("segment", "equals", ("otherwise",)),), False, UNIT),
        ("absent", (Condition("segment", "equals", ("absent",)),), False, 2 * UNIT),
    ]


def test_multipliers_and_prices_make_a_variant_for_each_combination() -> None:
    school, eu = Condition("segment", "equals", ("school",)), Condition("region", "equals", ("eu",))
    assert variants(
        "price: {by: segment, school: 2, otherwise: 10}\nmultiply: {by: region, eu: 1.2, otherwise: 100%}"
    ) == [
        ("school, eu", (school, eu), False, Fraction(24 * UNIT, 10)),
        ("school, otherwise", (school,), False, 2 * UNIT),
        ("otherwise, eu", (eu,), False, 12 * UNIT),
        ("otherwise, otherwise", (), False, 10 * UNIT),
    ]


def test_a_multiplier_is_for_prices_and_fees_and_leaves_the_limits() -> None:
    lines = (
        "graduated: {to 10: 3 flat + 1, above: 0.5}\neach: {fee: 0.30, at_most: 12}\nconnect: 0.40\ncap: 4\n"
        "minimum: 1\ncount: {over: day}\nmultiply: [{by: region, eu: 2, us: refuse, otherwise: 0}]"
    )
    version = version_of(
        "- rule: r\n  when: {meter: m}\n" + "\n".join("  " + x for x in lines.splitlines()) + "\n  split: standard"
    )
    eu, us, otherwise = version.rules
    assert eu.tiers == (Tier(10, Fraction(2 * UNIT), Fraction(6 * UNIT)), Tier(None, Fraction(UNIT)))
    assert (eu.each, eu.connect) == (Each(Fraction(600_000_000), None, Fraction(12 * UNIT)), Fraction(800_000_000))
    assert (eu.cap_nanos, eu.minimum_nanos) == (4 * UNIT, UNIT)
    assert us.refuse
    assert otherwise.tiers[0] == Tier(10, Fraction(0))
    assert eu.text == "to 10: 3 flat + 1, above: 0.5 x 2"


@pytest.mark.parametrize(
    ("price", "meter", "taken", "tiers"),
    [
        ("{from: event, at_most: 2}", PAGES, PriceFrom("event", "price", Fraction(0), Fraction(2 * UNIT), Fraction(UNIT)), ()),
        ("{from: event, attribute: asked, at_least: 1, at_most: 2, otherwise: refuse}", PAGES, PriceFrom("event", "asked", Fraction(UNIT), Fraction(2 * UNIT), Fraction(UNIT)), ()),
        ("{from: catalog, at_most: 0.10, otherwise: 0.02}", PAGES, PriceFrom("catalog", "", Fraction(0), Fraction(UNIT, 10), Fraction(UNIT)), (Tier(None, Fraction(UNIT, 50)),)),
        ("{from: event, per: 60 seconds, at_most: 3}", SECONDS, PriceFrom("event", "price", Fraction(0), Fraction(50_000), Fraction(UNIT, 60_000)), ()),
    ],
)  # fmt: skip
def test_a_price_may_come_with_the_use(price: str, meter: str, taken: PriceFrom, tiers: tuple[Tier, ...]) -> None:
    rule = rule_of(f"price: {price}", meter)
    assert (rule.price_from, rule.tiers) == (taken, tiers)


def test_a_price_that_comes_with_the_use_counts_up_to_what_is_charged_at_most() -> None:
    own = rule_of("price: {from: catalog, at_most: 2}\ncount: {per: [payer, item], over: day, at_most: 1 page}", PAGES)
    assert own.price_from == PriceFrom("catalog", "", Fraction(0), Fraction(2 * UNIT), Fraction(UNIT), 1)
    assert own.tiers == ()
    free = rule_of("price: {from: event, at_most: 2, otherwise: 1}\nfree: 3\ncount: {over: day, at_most: 5}", PAGES)
    assert free.price_from is not None and free.price_from.up_to == 2
    assert free.tiers == (Tier(2, Fraction(UNIT)), Tier(None, Fraction(0)))


def test_a_price_that_comes_with_the_use_is_multiplied_with_its_bounds() -> None:
    version = version_of(
        "- {rule: r, when: {meter: m}, price: {from: event, at_least: 1, at_most: 2}, multiply: {by: region, eu: 3, otherwise: 1}, split: standard}"
    )
    assert version.rules[0].price_from == PriceFrom(
        "event", "price", Fraction(3 * UNIT), Fraction(6 * UNIT), Fraction(3 * UNIT)
    )


# ---- which uses ----


@pytest.mark.parametrize(
    ("when", "condition"),
    [
        ("level: 720 to 1080", Condition("level", "range", ("720", "1080"))),
        ("level: from 720", Condition("level", "range", ("720", ""))),
        ("level: from 1k to 2.5M", Condition("level", "range", ("1000", "2500000"))),
        ("level: to -0.5", Condition("level", "range", ("", "-0.5"))),
        ("level: 'from 720'", Condition("level", "equals", ("from 720",))),
        ("level: from here to there", Condition("level", "equals", ("from here to there",))),
        ("quantity: from 2.5", Condition("quantity", "range", ("2.5", ""))),
        ("quantity: 5", Condition("quantity", "range", ("5", "5"))),
        ("duration: 60 to 3600", Condition("duration", "range", ("60", "3600"))),
        ("group: students", Condition("payer", "pattern", ("edu-*", "p-17"))),
        ("group: [staff, students]", Condition("payer", "pattern", ("p-1", "edu-*", "p-17"))),
        ("group: staff", Condition("payer", "equals", ("p-1",))),
    ],
)
def test_ranges_and_groups_in_when(when: str, condition: Condition) -> None:
    text = (
        "tariff: t\nversion: 1\neffective_from: 2026-12-01T00:00:00Z\ncurrency: USD\nmeters: {m: {unit: page}}\n"
        'groups: {students: ["edu-*", p-17], staff: p-1}\nsplits: {s: {creator: rest}}\n'
        f"rules:\n- {{rule: r, when: {{meter: m, {when}}}, price: 1, split: s}}\n"
    )
    assert examine_tariff(text).version.rules[0].when == (condition,)
