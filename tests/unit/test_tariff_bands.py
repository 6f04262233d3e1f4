"""Bands of time, passes over several rules, and splits with limits: what the reader makes of them."""

# One case a line reads best.
# ruff: noqa: E501

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

import pytest

from nanotally.streams.domain.tariff import Condition, Party, Pass, Rule, TariffVersion, Tier, from_document
from nanotally.streams.tariffs.band_times import in_band
from nanotally.streams.tariffs.reader import read_tariff
from tests.support.tariff_texts import indented, version_of

UNIT = 10**9
SECONDS = "{unit: second, scale: 3, needs: session}"
SESSION = "count: {per: [payer, session], over: session, ends_after: 30m idle}\n"


def banded(bands: str, rest: str = "") -> tuple[Rule, ...]:
    """The variants of a rule of seconds with these bands."""
    text = f"rule: r\nwhen: {{meter: m}}\n{rest}bands:\n{indented(bands, 2)}\nsplit: standard"
    version = version_of("-" + indented(text, 2)[1:], SECONDS)
    assert from_document(version.document()) == version
    return version.rules


def band(
    days: str = "", dates: str = "", start: str = "00:00:00", end: str = "24:00:00", zone: str = "UTC"
) -> Condition:
    return Condition("occurred_at", "band", (zone, days, dates, start, end))


@pytest.mark.parametrize(
    ("times", "condition"),
    [
        ("days: mon-fri, from: 08:00, to: 19:00", band("12345", start="08:00:00", end="19:00:00")),
        ("days: [sat, sunday]", band("67")),
        ("days: sat", band("6")),
        ("days: 'sat, mon'", band("16")),
        ("days: fri-mon", band("1567")),
        ("dates: [12-25, 01-01]", band(dates="01-01,12-25")),
        ("dates: 02-29", band(dates="02-29")),
        ("from: '22:00', to: 06:30:15", band(start="22:00:00", end="06:30:15")),
        ("from: 8:00", band(start="08:00:00")),
        ("from: 22:00, to: 00:00", band(start="22:00:00", end="00:00:00")),
    ],
)
def test_when_a_band_holds(times: str, condition: Condition) -> None:
    first, last = banded(f"- {{name: b, {times}, price: 2}}\n- {{otherwise: 1}}")[:2]
    assert first.when == (condition,)
    assert (last.when, last.variant) == ((), "otherwise")


@pytest.mark.parametrize("times", ["", ", days: mon-sun", ", to: 24:00", ", days: [mon-fri, sat, sun], from: 0:00"])
def test_a_band_of_all_times_holds_always(times: str) -> None:
    assert (
        banded(f"- {{name: noon, from: 12:00, to: 13:00, price: 2}}\n- {{name: rest{times}, price: 1}}")[1].when == ()
    )


def test_bands_are_variants_in_the_zone_of_the_rule() -> None:
    peak, night, rest = banded(
        "- {name: peak, days: mon-fri, from: 08:00, to: 19:00, price: 0.10 per 60 seconds, connect: 0.40}\n"
        "- {name: night, from: 22:00, to: 06:00, price: free}\n"
        "- {otherwise: {price: 0.05 per 60 seconds, cap: 2}}",
        "zone: Europe/Berlin\ncrossing: cut\nconnect: 0.20\ncap: 4\ncount: {over: day}\n",
    )
    assert [r.variant for r in (peak, night, rest)] == ["peak", "night", "otherwise"]
    assert peak.when == (band("12345", start="08:00:00", end="19:00:00", zone="Europe/Berlin"),)
    assert (peak.tiers[0].price, rest.tiers[0].price) == (Fraction(UNIT, 600_000), Fraction(UNIT, 1_200_000))
    # What a band does not say, the rule says for it.
    assert [r.connect for r in (peak, night, rest)] == [400_000_000, 200_000_000, 200_000_000]
    assert [r.cap_nanos for r in (peak, night, rest)] == [4 * UNIT, 4 * UNIT, 2 * UNIT]
    assert {(r.name, r.cut, r.scope) for r in (peak, night, rest)} == {("r", True, "day")}


def test_the_last_band_may_refuse() -> None:
    assert [r.refuse for r in banded("- {name: day, from: 08:00, price: 1}\n- {otherwise: refuse}")] == [False, True]


def test_bands_of_which_some_have_steps_all_go_by_steps() -> None:
    peak, free, rest = banded(
        "- {name: peak, from: 08:00, to: 19:00, steps: {above: 0.10 per 60 seconds by 60 seconds}}\n"
        "- {name: xmas, dates: 12-25, price: free}\n"
        "- {otherwise: refuse}",
        SESSION,
    )
    assert (peak.carry, free.carry, rest.carry) == (True, True, False)


def test_bands_and_attributes_make_a_variant_for_each_combination() -> None:
    found = banded(
        "- {name: day, from: 08:00, price: {by: segment, school: 1, otherwise: 2}}\n- {otherwise: 3}",
        "multiply: {by: region, eu: 2, otherwise: 1}\n",
    )
    assert [(r.variant, int(r.tiers[0].price * 1000 / UNIT)) for r in found] == [
        ("day, school, eu", 2),
        ("day, school, otherwise", 1),
        ("day, otherwise, eu", 4),
        ("day, otherwise, otherwise", 2),
        ("otherwise, eu", 6),
        ("otherwise, otherwise", 3),
    ]


def test_the_tariff_says_how_uses_cross_a_border_where_the_rule_does_not() -> None:
    text = (
        "tariff: t\nversion: 1\neffective_from: 2026-12-01T00:00:00Z\ncurrency: USD\ncrossing: cut\n"
        "calendar: Asia/Tokyo\nmeters: {m: {unit: page}, n: {unit: page}}\nsplits: {s: {creator: rest}}\nrules:\n"
        "- {rule: a, when: {meter: m}, bands: [{name: b, days: sun, price: 1}, {otherwise: 2}], split: s}\n"
        "- {rule: b, when: {meter: n}, price: 1, crossing: start, split: s}\n"
    )
    first, _, last = read_tariff(text).rules
    assert (first.cut, last.cut) == (True, False)
    assert first.when == (band("7", zone="Asia/Tokyo"),)  # the calendar is the zone of bands without one


@pytest.mark.parametrize(
    ("condition", "inside", "outside"),
    [
        (band("12345", start="08:00:00", end="19:00:00"), ["2026-12-04 08:00:00", "2026-12-04 18:59:59"], ["2026-12-04 19:00:00", "2026-12-05 12:00:00"]),
        (band(dates="12-25"), ["2026-12-25 00:00:00", "2027-12-25 23:59:59"], ["2026-12-24 23:59:59"]),
        # what wraps midnight belongs to the day on which it began: Friday night goes on into Saturday
        (band("5", start="22:00:00", end="06:00:00"), ["2026-12-04 22:00:00", "2026-12-05 05:59:59"], ["2026-12-04 05:00:00", "2026-12-05 22:00:00", "2026-12-05 06:00:00"]),
        (band(dates="12-31", start="22:00:00", end="00:00:00"), ["2026-12-31 23:00:00"], ["2027-01-01 00:00:00", "2026-12-30 23:00:00"]),
    ],
)  # fmt: skip
def test_times_in_and_out_of_a_band(condition: Condition, inside: list[str], outside: list[str]) -> None:
    assert [t for t in inside if not in_band(condition, datetime.fromisoformat(t))] == []
    assert [t for t in outside if in_band(condition, datetime.fromisoformat(t))] == []


# ---- passes ----


def passes(text: str) -> tuple[Pass, ...]:
    version = with_passes(text)
    assert from_document(version.document()) == version
    return version.passes


def with_passes(text: str) -> TariffVersion:
    return read_tariff(
        "tariff: t\nversion: 1\neffective_from: 2026-12-01T00:00:00Z\ncurrency: USD\n"
        "meters: {m: {unit: page}, n: {unit: second}}\nsplits: {s: {creator: rest}}\nrules:\n"
        "- {rule: article, when: {meter: m}, price: 0.005, split: s}\n"
        "- {rule: song, when: {meter: n}, price: 0.00002, split: s}\n"
        f"passes:\n{text}\n",
        "t.yaml",
    )


def test_a_cap_over_several_rules() -> None:
    (one,) = passes(
        "- {pass: day, covers: [article, song], count: {per: [payer, product], over: day}, cap: 0.50, "
        "share: by list price}"
    )
    assert (one.name, one.covers) == ("day", ("article", "song"))
    rule = one.price
    assert (rule.tiers, rule.cap_nanos) == ((Tier(None, Fraction(1)),), UNIT // 2)
    assert (rule.name, rule.meter, rule.per, rule.scope, rule.split) == ("day", "", ("product",), "day", "")


@pytest.mark.parametrize(
    ("price", "tiers", "cap"),
    [
        ("discount: 20%", [Tier(None, Fraction(4, 5))], None),
        ("discount: 1/3, cap: 2", [Tier(None, Fraction(2, 3))], 2 * UNIT),
        ("price: 0.50", [Tier(None, Fraction(0), Fraction(UNIT, 2))], None),
        ("graduated: {to 5: 100%, to 20 USD: 80%, above: free}", [Tier(5 * UNIT, Fraction(1)), Tier(20 * UNIT, Fraction(4, 5)), Tier(None, Fraction(0))], None),
    ],
)  # fmt: skip
def test_what_a_payer_pays_of_the_list_prices(price: str, tiers: list[Tier], cap: int | None) -> None:
    (one,) = passes(f"- {{pass: p, covers: song, count: {{over: 24h from first paid}}, {price}}}")
    assert (list(one.price.tiers), one.price.cap_nanos) == (tiers, cap)
    assert (one.covers, one.price.scope, one.price.length_us) == (("song",), "anchored", 86_400 * 10**6)


# ---- splits ----


def parties(split: str) -> tuple[Party, ...]:
    version = version_of("- {rule: r, when: {meter: m}, price: 1, split: s}", splits=f"s: {{{split}}}")
    assert from_document(version.document()) == version
    return version.splits[0].parties


def test_a_party_may_have_a_limit_and_another_what_is_beyond() -> None:
    assert parties('platform: 10% at most 0.10, "party:fee": 1/3 at most 2 USD rest to party:x, creator: rest') == (
        Party("platform", Fraction(1, 10), UNIT // 10),
        Party("party:fee", Fraction(1, 3), 2 * UNIT, "party:x"),
        Party("creator", None),
    )


def test_a_party_may_take_the_first_of_what_is_left() -> None:
    assert parties('platform: 10%, "party:a": first 10.00, "party:b": first 5 rest to platform, creator: rest') == (
        Party("platform", Fraction(1, 10)),
        Party("party:a", Fraction(1), 10 * UNIT, None, of_left=True),
        Party("party:b", Fraction(1), 5 * UNIT, "platform", of_left=True),
        Party("creator", None),
    )


def test_parts_of_a_part_are_exact_products() -> None:
    assert parties(
        'label: {of: 15%, "party:a": 1/3, inner: {of: rest, "party:b": 25%, "party:c": rest}}, creator: rest'
    ) == (
        Party("party:a", Fraction(1, 20)),
        Party("party:b", Fraction(1, 40)),
        Party("party:c", Fraction(3, 40)),
        Party("creator", None),
    )


def test_the_rest_may_be_divided_too() -> None:
    assert parties('platform: 10%, others: {of: rest, "party:a": 1/3, creator: rest}') == (
        Party("platform", Fraction(1, 10)),
        Party("party:a", Fraction(3, 10)),
        Party("creator", None),
    )
