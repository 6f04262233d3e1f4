"""What a tariff file means: every number exact, every part of the language read as it is written."""

# One case a line reads best.
# ruff: noqa: E501

from __future__ import annotations

import string
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nanotally.streams.domain.tariff import Condition, Meter, Party, Tier, from_document
from nanotally.streams.errors import NotFound
from nanotally.streams.tariffs.findings import TariffErrors
from nanotally.streams.tariffs.reader import examine_tariff, read_tariff
from tests.support.reference_pricing import exact_price
from tests.support.tariff_texts import FILE, changed, rule_of, version_of


def test_the_whole_file_becomes_a_version() -> None:
    version = read_tariff(FILE, "t.yaml")
    assert (version.tariff, version.version, version.currency) == ("t", 1, "USD")
    assert version.effective_from_us == 1_796_083_200_000_000
    assert version.calendar == "UTC"
    assert version.products == ()
    assert version.meters == (
        Meter("page.view", "page"),
        Meter("play", "second", 3, ("session",)),
        Meter("token.input", "token"),
    )
    assert version.splits[0].parties == (Party("platform", Fraction(1, 10)), Party("creator", None))
    article, song, tokens = version.rules
    assert (article.name, article.meter, article.when) == ("article", "page.view", ())
    assert (article.per, article.scope, article.split, article.text) == (("item",), "day", "standard", "0.005 per page")
    assert (song.per, song.scope, song.cap_nanos) == (("session",), "day", 4_000_000)
    assert (tokens.per, tokens.scope, tokens.cap_nanos) == ((), "month", None)
    assert tokens.text == "to 10M: 0.50 per 1M, to 1B: 0.40 per 1M, above: 0.25 per 1M"


def test_the_version_survives_its_canonical_form() -> None:
    version = read_tariff(FILE, "t.yaml")
    assert from_document(version.document()) == version


def test_comments_order_of_names_and_layout_do_not_change_the_content() -> None:
    other = changed("currency: USD\n", "# in dollars\ncurrency: USD\ncalendar: UTC\n")
    other = changed("{meter: play}", "\n      meter: play", other)
    other = changed("[payer, item]", "[item, payer]", other)
    assert read_tariff(other).content_hash == read_tariff(FILE).content_hash


def test_a_file_is_read_from_disk(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(FILE, encoding="utf-8")
    read = examine_tariff(path)
    assert read.version == read_tariff(FILE)
    assert read.source == FILE
    assert read.warnings == ()
    with pytest.raises(NotFound, match=r"none\.yaml: there is no such file"):
        read_tariff(tmp_path / "none.yaml")


# ---- prices, worked by hand: nanos for a cumulated unscaled quantity ----


@pytest.mark.parametrize(
    ("price", "meter", "quantity", "nanos"),
    [
        ("0.005 per page", "{unit: page}", 1, 5_000_000),
        ("0.005 per page", "{unit: pages}", 1, 5_000_000),
        ("0.005", "{unit: page}", 3, 15_000_000),
        ("0.005 USD per page", "{unit: page}", 3, 15_000_000),
        ("0.50 per 1M tokens", "{unit: token}", 758, 379_000),
        ("0.50 per 1M token", "{unit: token}", 1, 500),
        ("0.50 per 1M", "{unit: token}", 3, 1_500),
        ("1.5 per 1B tokens", "{unit: token}", 2, 3),
        ("2 per 1k", "{unit: token}", 1, 2_000_000),
        ("1 per 1000", "{unit: token}", 1, 1_000_000),
        ("1 per 2.5M tokens", "{unit: token}", 5, 2_000),
        ("1 per 3 pages", "{unit: page}", 1, Fraction(10**9, 3)),
        ("0.00002 per second", "{unit: second, scale: 3}", 12_500, 250_000),  # 12.5 s
        ("0.01 per 60 seconds", "{unit: second, scale: 3}", 1, Fraction(10_000_000, 60_000)),  # a millisecond
        ("0.30 per kWh", "{unit: kWh, scale: 2}", 150, 450_000_000),  # 1.5 kWh
        ("0.02 per query", "{unit: query}", 1, 20_000_000),
        ("0.02 per 1000 queries", "{unit: query}", 1, 20_000),
        ("0.000000000000001 per token", "{unit: token}", 10**9, 1_000),  # 1e-15 a token
        ("1e-15 per token", "{unit: token}", 10**9, 1_000),
        ("free", "{unit: page}", 5, 0),
        ("0", "{unit: page}", 5, 0),
    ],
)
def test_a_flat_price_is_exact(price: str, meter: str, quantity: int, nanos: int | Fraction) -> None:
    rule = rule_of(f"price: {price}", meter)
    assert exact_price(rule, quantity) == nanos
    assert rule.text == price


@pytest.mark.parametrize(
    ("quantity", "nanos"),
    [
        (9_999_810, 4_999_905_000),
        (10_000_000, 5_000_000_000),  # the border itself is in the lower tier
        (10_000_568, 5_000_000_000 + 227_200),
        (1_000_000_000, 5_000_000_000 + 396_000_000_000),
        (1_000_000_004, 401_000_000_000 + 1_000),
    ],
)
def test_each_unit_costs_what_its_tier_says(quantity: int, nanos: int) -> None:
    rule = rule_of("graduated: {to 10M: 0.50 per 1M, to 1B tokens: 0.40 per 1M, above: 0.25 per 1M}", "{unit: token}")
    assert exact_price(rule, quantity) == nanos


def test_tiers_may_stand_on_lines_of_their_own_and_count_the_meters_decimals() -> None:
    rule = rule_of("graduated:\n  to 1.5 seconds: free\n  above: 0.001 per second", "{unit: second, scale: 3}")
    assert rule.tiers == (Tier(1500, Fraction(0)), Tier(None, Fraction(1000)))


@pytest.mark.parametrize(
    ("lines", "tiers"),
    [
        ("price: 1\ncount: {at_most: 1 page}", [(1, 10**9), (None, 0)]),
        ("graduated: {to 2: 3, above: 1}\ncount: {at_most: 5}", [(2, 3 * 10**9), (5, 10**9), (None, 0)]),
        ("graduated: {to 2: 3, above: 1}\ncount: {at_most: 2}", [(2, 3 * 10**9), (None, 0)]),
        ("graduated: {to 2: 3, above: 1}\ncount: {at_most: 1}", [(1, 3 * 10**9), (None, 0)]),
        ("graduated: {to 2: 3}\ncount: {at_most: 2 pages}", [(2, 3 * 10**9), (None, 0)]),  # no gap: nothing is above
    ],
)
def test_beyond_at_most_nothing_is_charged(lines: str, tiers: list[tuple[int | None, int]]) -> None:
    assert rule_of(lines).tiers == tuple(Tier(up_to, Fraction(nanos)) for up_to, nanos in tiers)


# ---- count ----


@pytest.mark.parametrize(
    ("count", "per", "scope"),
    [
        (None, (), "life"),
        ("{}", (), "life"),
        ("{per: payer}", (), "life"),
        ("{per: [payer, item], over: hour}", ("item",), "hour"),
        ("{per: [segment, item, payer, creator], over: month}", ("creator", "item", "segment"), "month"),
        ("{over: life}", (), "life"),
        ("{over: event}", (), "event"),
    ],
)
def test_count_says_what_opens_a_scope(count: str | None, per: tuple[str, ...], scope: str) -> None:
    rule = rule_of("price: 1" if count is None else f"price: 1\ncount: {count}")
    assert (rule.per, rule.scope) == (per, scope)


def test_a_cap_is_whole_nanos() -> None:
    assert rule_of("price: 1\ncount: {over: day}\ncap: 0.000000001").cap_nanos == 1
    assert rule_of("price: 1\ncount: {over: day}\ncap: 2 USD").cap_nanos == 2 * 10**9


# ---- when ----


@pytest.mark.parametrize(
    ("value", "condition"),
    [
        ("news", Condition("item", "equals", ("news",))),
        ("[a, b, a]", Condition("item", "equals", ("a", "b"))),
        ("/blog/*", Condition("item", "pattern", ("/blog/*",))),
        ("""[/blog/*, 'a?c', x]""", Condition("item", "pattern", ("/blog/*", "a?c", "x"))),
        ("'*.mp3'", Condition("item", "pattern", ("*.mp3",))),
        ("present", Condition("item", "present")),
        ("'present'", Condition("item", "equals", ("present",))),
        ("['absent', b]", Condition("item", "equals", ("absent", "b"))),
        ("007", Condition("item", "equals", ("007",))),  # a text, not the number 7
        ("yes", Condition("item", "equals", ("yes",))),
        ("2026-12-01", Condition("item", "equals", ("2026-12-01",))),
    ],
)
def test_values_of_when(value: str, condition: Condition) -> None:
    version = version_of(f"- {{rule: r, when: {{meter: m, item: {value}}}, price: 1, split: standard}}")
    assert version.rules[0].when == (condition,)


def test_attributes_may_be_asked_for_by_any_name() -> None:
    when = "{meter: m, creator: absent, item.label: present, Segment: ''}"
    version = version_of(f"- {{rule: r, when: {when}, price: 1, split: standard}}")
    assert version.rules[0].when == (
        Condition("creator", "absent"),
        Condition("item.label", "present"),
        Condition("Segment", "equals", ("",)),
    )


# ---- splits ----


def test_parts_of_a_split_are_exact() -> None:
    splits = 'standard: {platform: 10%, "party:{item.label}": 1/3, "party:fund {region}": 0.005, creator: rest}'
    split = version_of("- {rule: r, when: {meter: m}, price: 1, split: standard}", splits=splits).splits[0]
    assert split.parties == (
        Party("platform", Fraction(1, 10)),
        Party("party:{item.label}", Fraction(1, 3)),
        Party("party:fund {region}", Fraction(1, 200)),
        Party("creator", None),
    )


def test_percent_may_have_decimals() -> None:
    version = version_of(
        "- {rule: r, when: {meter: m}, price: 1, split: standard}", splits="standard: {platform: 35.5%, creator: rest}"
    )
    assert version.splits[0].parties[0].fraction == Fraction(71, 200)


# ---- times and zones ----


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-12-01T01:00:00+01:00", 1_796_083_200_000_000),
        ("2026-12-01T00:00:00.000001Z", 1_796_083_200_000_001),
    ],
)
def test_effective_from_is_an_instant(text: str, us: int) -> None:
    assert read_tariff(changed("2026-12-01T00:00:00Z", text)).effective_from_us == us


def test_calendar_and_products_are_read() -> None:
    version = read_tariff(changed("currency: USD\n", "currency: USD\ncalendar: Europe/Berlin\nproducts: [news, ai]\n"))
    assert (version.calendar, version.products) == ("Europe/Berlin", ("news", "ai"))


# ---- whatever is written, the answer is a version or findings with their places ----


def findings_or_version(text: str) -> None:
    try:
        version = read_tariff(text, "f.yaml")
    except TariffErrors as e:
        assert any(f.severity == "error" for f in e.findings)
        for finding in e.findings:
            assert finding.place.file == "f.yaml"
            assert 1 <= finding.place.line <= text.count("\n") + text.count("\r") + text.count("\x85") + 3
            assert finding.place.column >= 1
            assert finding.problem
            assert finding.remedy
    else:
        assert from_document(version.document()) == version


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
@example('"\\UFFFFFFFF"')
@example('"\\uD800"')
@example("%YAML 1." + "9" * 5000 + "\n---\na: b")
@example("[" * 5000)
@example("{" * 40 + "}" * 40)
@example("? [a, b]\n: c")
@example("a: b\n---\nc: d")
@example("\ufefftariff: t")
@example("\x00")
@example("")
@example("- a")
@example("~")
def test_any_text_gives_findings(text: str) -> None:
    findings_or_version(text)


ALL_WORDS = """\
tariff: t
version: 1
effective_from: 2026-12-01T00:00:00Z
currency: USD
crossing: start
groups: {students: ["edu-*", p-17]}
meters: {m: {unit: second, scale: 3}, a: {unit: USD, scale: 2}, u: {unit: use}, v: {unit: page}}
splits: {s: {platform: 10% at most 0.10 rest to party:x, w: {of: 15%, "party:a": 1/3, "party:b": rest}, "party:p": first 1, creator: rest}}
passes: [{pass: day, covers: [pay, item], count: {over: day}, cap: 0.50}, {pass: q, covers: v, count: {over: month}, graduated: {to 5: 100%, above: 80%}}]
rules:
  - rule: call
    when: {meter: m, group: students, level: 1 to 5}
    count: {per: [payer, session], over: session, ends_after: 30m idle}
    zone: Europe/Berlin
    connect: 0.40
    bands: [{name: peak, days: mon-fri, dates: [12-25], from: "22:00", to: "06:00", steps: {to 60: 1 per started 60, above: 2 by 1 second}}, {otherwise: 0.1}]
    split: s
  - {rule: pay, when: {meter: a}, price: 2.9%, each: {fee: 0.30, at_least: 0.05, at_most: 12}, free: {units: 500, events: 3, fee: when reached}, split: s}
  - {rule: item, when: {meter: u}, price: {by: segment, x: {from: event, at_most: 2, otherwise: 1}, otherwise: refuse}, multiply: [{by: region, eu: 1.2, otherwise: 1}], count: {over: 24h from first paid}, split: s}
  - {rule: v, when: {meter: v}, volume: {to 10: 5 flat + 1, above: 9}, reprice: never, zero_usage: fee, round: up to 2 pages, commitment: {amount: 10, overage: 2, due: never}, count: {over: year, at_most: 1k}, minimum: 1, split: s}
"""
PIECES = (
    *"{}[]:,&*!|>'\"%@`#?-\n\t <=.",
    *(": ", "- ", "\n  ", "\n    ", "rest", "present", "0.5", "1e99", "-1", "per", "1/0", "∞", "٣", "\ud7ff", "10M"),
    *("free", "refuse", "flat", "started", "by", "otherwise", "first", "at most", "of", "08:00", "mon-fri", "12-25", "2.9%"),
    *("volume", "steps", "bands", "passes", "free: 3 events", "round: up to 1", "each", "over: session", "tier_by: x"),
    *("above", "meter", "rule", "when", "price", "graduated", "to 1: 2", "count", "cap", "split", "platform", "payer"),
)  # fmt: skip


def test_the_file_with_all_words_is_good() -> None:
    assert len(read_tariff(ALL_WORDS).rules) == 2 + 1 + 4 + 1


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_a_spoilt_file_gives_findings(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([FILE, ALL_WORDS]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        piece = data.draw(st.sampled_from(PIECES) | st.text(string.printable, max_size=6))
        text = text[:start] + piece + text[end:]
    findings_or_version(text)
