"""What a tariff means in plain words, told from what the engine rates by."""

# One case a line reads best.
# ruff: noqa: E501

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from nanotally.streams.domain.tariff import Meter
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.reader import examine_tariff, read_tariff
from nanotally.streams.tariffs.words import pass_words, rule_words, rules_words, split_words, version_words
from tests.support.tariff_texts import rule_of, version_of

DEMO = Path(__file__).resolve().parents[2] / "infra" / "demo" / "media-and-ai.yaml"


def test_the_demo_in_words() -> None:
    read = examine_tariff(DEMO)
    assert read.warnings == ()
    hashed = read.version.content_hash[:16]
    assert (
        version_words(read.version)
        == f"""\
media-and-ai, version 1: in force from 2015-01-01 00:00:00 UTC, in USD, for every product that no other tariff names
days and months begin in UTC; content {hashed}
  1. article
     each use of page.view, in pages
     0.005 USD per page up to 1 page, free above
     counted per payer and item, for 24h from the first use each time
     split standard: platform 10 %, creator the rest; what an absent creator would get goes to the platform
  2. tokens-in
     each use of token.input, in tokens
     0.50 USD per 1,000,000 tokens up to 10,000,000 tokens, 0.40 USD per 1,000,000 tokens above
     counted per payer and item, anew each month (UTC)
     split standard: platform 10 %, creator the rest; what an absent creator would get goes to the platform
  3. tokens-out
     each use of token.output, in tokens
     1.50 USD per 1,000,000 tokens
     counted per payer and item, anew each month (UTC)
     split standard: platform 10 %, creator the rest; what an absent creator would get goes to the platform"""
    )


@pytest.mark.parametrize(
    ("lines", "price", "counted"),
    [
        ("price: 1", "1 USD per page", "counted per payer for life, never starting again"),
        ("price: 1\ncount: {over: event}", "1 USD per page", "each use counted by itself, and rounded down to a nano"),
        ("price: free\ncount: {over: hour}", "free", "counted per payer, anew each hour (UTC)"),
        (
            "price: 0.002\ncount: {per: [payer, item, segment], over: month}\ncap: 0.5",
            "0.002 USD per page; at most 0.50 USD in all",
            "counted per payer, item and segment, anew each month (UTC)",
        ),
    ],
)
def test_price_and_scope_in_words(lines: str, price: str, counted: str) -> None:
    version = version_of(
        f"- rule: r\n  when: {{meter: m}}\n  split: standard\n  {lines.replace(chr(10), chr(10) + '  ')}"
    )
    words = rule_words(version, version.rules[0])
    assert (words.prices, words.counted) == ((price,), counted)
    assert words.divided == "split standard: creator the rest; what an absent creator would get goes to the platform"


SECONDS = "{unit: second, scale: 3}"
DAY = "\ncount: {over: day}"
SESSION = "\ncount: {per: [payer, session], over: session, ends_after: 30m idle}"
EVENT = "\ncount: {over: event}"


@pytest.mark.parametrize(
    ("lines", "unit", "price"),
    [
        ("price: 5 flat", "{unit: page}", "5 USD flat"),
        ("price: 0.30 flat + 2.9%", "{unit: USD, scale: 2}", "0.30 USD flat + 2.9 % of the amount"),
        ("price: 15 per started 10 pages", "{unit: page}", "15 USD per started 10 pages"),
        ("price: 1 per started page", "{unit: page}", "1 USD per started page"),
        ("price: 0.10 per 60 seconds by 6 seconds", SECONDS, "0.01 USD per started 6 seconds"),
        ("price: 0.10 per 60 seconds by 1 second", SECONDS, "0.005 USD per 3 seconds, by started second"),
        ("price: refuse", "{unit: page}", "refused"),
        ("graduated: {to 5: 2, above: refuse}", "{unit: page}", "2 USD per page up to 5 pages; more than 5 pages is refused"),
        ("graduated: {to 5: 2 flat, above: 1 flat + 3}", "{unit: page}", "2 USD flat up to 5 pages, 1 USD flat + 3 USD per page above"),
        ("volume: {to 5: 2, above: 3}" + DAY, "{unit: page}", "all of it at the price of the tier reached: 2 USD per page up to 5 pages, 3 USD per page above"),
        ("volume: {to 5: 2, above: 1}\nreprice: down" + DAY, "{unit: page}", "all of it at the price of the tier reached: 2 USD per page up to 5 pages, 1 USD per page above; where the total falls, the difference is paid back"),
        ("volume: {to 5: 2, above: 1}\nreprice: never" + DAY, "{unit: page}", "all of it at the price of the tier reached: 2 USD per page up to 5 pages, 1 USD per page above; where the total falls, what was charged stays"),
        ("volume: {to 5: 2, above: 1}\ntier_by: full" + EVENT, "{unit: page}", "all of it at the price of the tier that full reaches: 2 USD per page up to 5 pages, 1 USD per page above"),
        ("steps: {to 60 seconds: 0.02 per started second, above: 0.01 per started second}" + SESSION, SECONDS, "by what was used of the session before: 0.02 USD per started second up to 60 seconds, 0.01 USD per started second above"),
        ("price: 1\nfree: 1000 pages", "{unit: page}", "1 USD per page; the first 1,000 pages free"),
        ("price: 1\nfree: 1 event", "{unit: page}", "1 USD per page; the first use free"),
        ("price: 1\nfree: {units: 5, events: 3, fee: when reached}\neach: {fee: 0.3, at_least: 1, at_most: 12}", "{unit: page}", "1 USD per page; the first 5 pages of the first 3 uses free, and the use that takes the last of it pays its fee; 0.30 USD more for each use; at least 1 USD a use; at most 12 USD a use"),
        ("price: 1\nround: half_up to 5 pages\nfree: {units: 5, after: rounding}", "{unit: page}", "1 USD per page; the sum rounded half up to steps of 5 pages; the first 5 pages free, after rounding"),
        ("price: 1\nround: up to 5 pages per event", "{unit: page}", "1 USD per page; each use rounded up to steps of 5 pages"),
        ("price: 5 flat + 1\nzero_usage: fee\nconnect: 0.4", "{unit: page}", "5 USD flat + 1 USD per page; 0.40 USD once, with the first use; the flat fee is due even for a use of nothing"),
        ("price: 1\ncommitment: {amount: 10, overage: 1.5}" + DAY, "{unit: page}", "1 USD per page; what is above 10 USD counts 1.5 times; at least 10 USD in all, due at the end"),
        ("price: 1\nminimum: 0.05" + EVENT, "{unit: page}", "1 USD per page; at least 0.05 USD"),
        ("price: 1\ncrossing: cut", "{unit: page}", "1 USD per page; a use is cut where a band or a version ends"),
        ("price: {from: event, attribute: asked, at_least: 1, at_most: 2}", "{unit: page}", "the price in 'asked', from 1 USD to 2 USD, per page; without one refused"),
        ("price: {from: event, at_most: 2, otherwise: 0.5}" + DAY[:-1] + ", at_most: 3}", "{unit: page}", "the price in 'price', from 0 USD to 2 USD, per page, free above 3 pages; without one 0.50 USD per page"),
        ("price: {from: catalog, per: 60 seconds, at_most: 2, otherwise: free}", SECONDS, "the item's own price in the catalog, from 0 USD to 2 USD, per 60 seconds; without one free"),
    ],
)  # fmt: skip
def test_every_price_in_words(lines: str, unit: str, price: str) -> None:
    version = version_of(
        f"- rule: r\n  when: {{meter: m}}\n  split: standard\n  {lines.replace(chr(10), chr(10) + '  ')}", unit
    )
    assert rule_words(version, version.rules[0]).prices == (price,)


@pytest.mark.parametrize(
    ("count", "counted"),
    [
        ("{over: session, ends_after: 30m}", "counted per payer, anew after 30m without a use"),
        ("{per: [payer, item], over: 24h from first paid}", "counted per payer and item, for 24h from the first use each time"),
        ("{over: 30d from first use}", "counted per payer, for 30d from the first use each time"),
        ("{over: year}", "counted per payer, anew each year (UTC)"),
    ],
)  # fmt: skip
def test_every_scope_in_words(count: str, counted: str) -> None:
    version = version_of(f"- {{rule: r, when: {{meter: m}}, price: 1, count: {count}, split: standard}}")
    assert rule_words(version, version.rules[0]).counted == counted


def test_variants_are_told_together_with_what_all_have_once() -> None:
    version = version_of(
        "- rule: r\n  when: {meter: m, creator: present}\n  connect: 0.4\n  cap: 3\n  count: {over: day}\n  zone: Asia/Tokyo\n"
        "  bands:\n"
        "  - {name: peak, days: mon-fri, from: 08:00, to: '19:30', price: {by: segment, school: 1, otherwise: 2}}\n"
        "  - {name: xmas, dates: [12-25, 12-26], price: free, cap: 1}\n"
        "  - {name: weekend, days: [sat, sun], price: 3}\n"
        "  - {otherwise: refuse}\n  split: standard"
    )
    (words,) = rules_words(version)
    assert words.uses == "each use of m, in pages, with a creator"
    assert words.prices == (
        "peak, Mon-Fri 08:00 to 19:30 (Asia/Tokyo), segment school: 1 USD per page; at most 3 USD in all",
        "peak, Mon-Fri 08:00 to 19:30 (Asia/Tokyo): 2 USD per page; at most 3 USD in all",
        "xmas, 12-25 or 12-26 (Asia/Tokyo): free; at most 1 USD in all",
        "weekend, Sat or Sun (Asia/Tokyo): 3 USD per page; at most 3 USD in all",
        "otherwise: refused",
        "in each case 0.40 USD once, with the first use",
    )


@pytest.mark.parametrize(
    ("price", "words"),
    [
        ("cap: 0.50", "100 % of the list price; at most 0.50 USD in all"),
        ("discount: 20%", "80 % of the list price"),
        ("price: 0.5", "0.50 USD with the first use that costs anything, then free"),
        ("graduated: {to 5: 100%, above: free}", "100 % of the list price up to 5 USD, free above"),
    ],
)
def test_passes_in_words(price: str, words: str) -> None:
    text = DEMO.read_text(encoding="utf-8") + (
        f"\npasses: [{{pass: day, covers: [article, tokens-in], count: {{over: day}}, {price}}}]\n"
    )
    version = read_tariff(text)
    assert pass_words(version, version.passes[0]) == [
        "for what article and tokens-in would cost",
        words,
        "counted per payer, anew each day (UTC); then shared out by list price",
    ]
    assert f"  pass day\n     for what article and tokens-in would cost\n     {words}\n" in version_words(version)


def test_limits_of_a_split_in_words() -> None:
    version = version_of(
        "- {rule: r, when: {meter: m}, price: 1, split: s}",
        splits='s: {platform: 10% at most 0.1 rest to party:x, "party:a": first 5, "party:b": rest}',
    )
    assert split_words(version.splits[0], "USD") == (
        "split s: platform 10 % but at most 0.10 USD (what is beyond goes to party:x), "
        "party:a the first 5 USD of what is left, party:b the rest"
    )


def test_ranges_and_bands_in_words() -> None:
    when = "{meter: m, level: 720 to 1080, quantity: from 2, duration: to 60, score: 5 to 5}"
    version = version_of(f"- {{rule: r, when: {when}, price: 1, split: standard}}")
    assert rule_words(version, version.rules[0]).uses == (
        "each use of m, in pages, level from 720 to 1080, quantity from 2, duration up to 60, score 5"
    )


def test_conditions_and_parties_in_words() -> None:
    when = "{meter: m, product: [news, ai], item: '/blog/*', creator: present, session: absent, segment: ''}"
    version = version_of(
        f"- {{rule: r, when: {when}, price: 1, split: s}}",
        splits='s: {platform: 1/3, "party:{item.label}": 2.5%, "party:fund": rest}',
    )
    words = rule_words(version, version.rules[0])
    assert words.uses == (
        "each use of m, in pages, product news or ai, item like /blog/*, with a creator, without a session, "
        "segment empty"
    )
    assert words.divided == (
        "split s: platform 1/3, party:{item.label} 2.5 %, party:fund the rest; "
        "what an absent party:{item.label} would get goes to the platform"
    )


def test_products_are_named() -> None:
    text = DEMO.read_text(encoding="utf-8").replace("currency: USD", "currency: USD\nproducts: [news, ai]")
    assert "in USD, for product news and ai\n" in version_words(read_tariff(text))


@pytest.mark.parametrize(
    ("price", "unit", "words"),
    [
        ("0.005", "{unit: page}", "0.005 USD per page"),
        ("0.5 per 1M", "{unit: token}", "0.50 USD per 1,000,000 tokens"),
        ("0.00002 per second", "{unit: second, scale: 3}", "0.00002 USD per second"),
        ("1 per 3 pages", "{unit: page}", "1 USD per 3 pages"),
        ("0.01 per 7000000 queries", "{unit: query}", "0.01 USD per 7,000,000 queries"),
        ("1e-15", "{unit: token}", "1 USD per 1,000,000,000,000,000 tokens"),
        ("3", "{unit: kWh}", "3 USD per kWh"),
        ("0", "{unit: page}", "free"),
    ],
)
def test_a_price_is_shown_in_full_and_never_rounded(price: str, unit: str, words: str) -> None:
    rule = rule_of(f"price: {price}", unit)
    meter = version_of("- {rule: r, when: {meter: m}, price: 1, split: standard}", unit).meters[0]
    assert figures.price(rule.tiers[0].price, meter, "USD") == words


def test_figures() -> None:
    seconds = Meter("play", "second", 3)
    assert figures.quantity(12_500, seconds) == "12.5 seconds"
    assert figures.quantity(1_000, seconds) == "1 second"
    assert figures.number(Fraction(-1, 4)) == "-0.25"
    assert figures.number(Fraction(1, 3)) == "1/3"
    assert figures.percent(Fraction(1, 8)) == "12.5 %"
    assert figures.money(1, "USD") == "0.000000001 USD"
    assert [figures.plural(u) for u in ("box", "query", "play", "s", "kWh", "class")] == [
        "boxes", "queries", "plays", "s", "kWh", "class",
    ]  # fmt: skip
    assert figures.iso(1_500_000) == "1970-01-01T00:00:01.500000Z"
    assert [figures.duration(us) for us in (0, 1_500_000, 5400 * 10**6, 86_400 * 10**6, 172_800 * 10**6)] == [
        "0s", "1s500ms", "1h30m", "24h", "2d",
    ]  # fmt: skip
    assert figures.listing(["a"]) == "a"
    assert figures.listing(["a", "b", "c"], "or") == "a, b or c"
