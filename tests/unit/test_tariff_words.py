"""What a tariff means in plain words, told from what the engine rates by."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from nanotally.streams.domain.tariff import Meter
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.reader import examine_tariff, read_tariff
from nanotally.streams.tariffs.words import rule_words, version_words
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
     counted per payer and item, anew each day (UTC)
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
    assert figures.listing(["a"]) == "a"
    assert figures.listing(["a", "b", "c"], "or") == "a, b or c"
