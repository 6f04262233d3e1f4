"""The examples of docs/tariffs.md mean what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nanotally.streams.domain.tariff import Settings, TariffVersion
from nanotally.streams.tariffs.findings import TariffErrors
from nanotally.streams.tariffs.prices import PRICE_FUNCTIONS
from nanotally.streams.tariffs.reader import TARIFF_KEYS, examine_tariff, read_tariff
from nanotally.streams.tariffs.rules import RULE_KEYS
from nanotally.streams.tariffs.settings import SETTING_KEYS, read_settings
from tests.support.reference_pricing import exact_price

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tariffs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(yaml[^\n]*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
RECIPES = [text for kind, text in BLOCKS if kind == "yaml rules"]
WHOLE = next(text for kind, text in BLOCKS if kind == "yaml")


def recipe(name: str) -> TariffVersion:
    """The recipe that holds the rule, in a tariff around it."""
    rules = next(text for text in RECIPES if f"rule: {name}\n" in text)
    meters = ", ".join(f"{m}: {{unit: {m}}}" for m in dict.fromkeys(re.findall(r"meter: (\w+)", rules)))
    splits = (
        "standard: {platform: 10%, creator: rest}"
        if "split: standard" in rules
        else "device: {platform: 10%, creator: rest}"
    )
    read = examine_tariff(
        "tariff: t\nversion: 1\neffective_from: 2026-12-01T00:00:00Z\ncurrency: USD\n"
        f"meters: {{{meters}}}\nsplits: {{{splits}}}\nrules:\n{rules}"
    )
    assert read.warnings == ()
    return read.version


def test_the_whole_tariff_of_the_page_is_read_without_a_warning() -> None:
    read = examine_tariff(WHOLE, "prices.yaml")
    assert read.warnings == ()
    article, page, song, tokens = read.version.rules
    assert [exact_price(article, n) for n in (1, 2)] == [5_000_000, 5_000_000]  # again on the same day: free
    assert exact_price(page, 2) == 2_000_000
    assert exact_price(song, 60_000) == 1_200_000  # a minute of 60,000 ms
    assert song.cap_nanos == 4_000_000
    assert exact_price(tokens, 10_000_568) == 5_000_227_200


def test_the_message_of_the_page_is_the_message() -> None:
    told = re.search(r"^prices\.yaml:.*$", PAGE, re.MULTILINE)
    assert told
    with pytest.raises(TariffErrors) as raised:
        read_tariff(WHOLE.replace("0.005 per page", "0,005 per page"), "prices.yaml")
    assert str(raised.value) == told[0]


def test_an_unlock_costs_once() -> None:
    rule = recipe("game").rules[0]
    assert [exact_price(rule, n) for n in (1, 2, 9)] == [990_000_000] * 3
    assert (rule.per, rule.scope) == (("item",), "life")


def test_an_allowance_is_free_and_the_cap_holds() -> None:
    rule = recipe("lookup").rules[0]
    assert [exact_price(rule, n) for n in (1000, 1001, 51_000)] == [0, 100_000, 5_000_000_000]
    assert (rule.scope, rule.cap_nanos) == ("month", 5_000_000_000)


def test_pupils_pay_less() -> None:
    school, others = recipe("tutor").rules
    assert [exact_price(r, 1) for r in (school, others)] == [2_000_000, 20_000_000]


def test_a_reading_costs_a_millionth() -> None:
    assert exact_price(recipe("reading").rules[0], 1) == 1_000


def test_the_settings_of_the_page_are_the_defaults_but_for_the_threshold() -> None:
    text = next(text for kind, text in BLOCKS if kind == "yaml settings")
    assert read_settings(text) == Settings(thresholds=(("USD", 10**9),))


def test_the_page_names_every_word_of_the_language() -> None:
    words = {
        *TARIFF_KEYS,
        *RULE_KEYS,
        *PRICE_FUNCTIONS,
        *SETTING_KEYS,
        "unit",
        "scale",
        "needs",
        "per",
        "over",
        "at_most",
    }
    assert [w for w in sorted(words) if not re.search(rf"\b{w}\b", PAGE)] == []
