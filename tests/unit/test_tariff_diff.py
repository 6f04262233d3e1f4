"""What changes for whom between two tariffs: words, examples worked by hand, what moves and what begins anew."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nanotally.streams.commands import app, tariff_sources
from nanotally.streams.commands.tariff_diff import diff_words
from nanotally.streams.commands.tariff_diff_prices import compare, percent_text, span_words
from nanotally.streams.commands.tariff_diff_rules import RuleChange, difference
from nanotally.streams.commands.tariff_diff_uses import Moved, moved_uses
from nanotally.streams.commands.tariff_sources import Named
from nanotally.streams.domain.tariff import (
    Condition,
    Meter,
    Party,
    Pass,
    RuleBook,
    Settings,
    Split,
    TariffVersion,
    Tier,
)
from nanotally.streams.errors import ExitCode
from nanotally.streams.tariffs.books import PublishedBook
from tests.support.payers_bench import rule, version
from tests.support.tariff_texts import FILE, changed

PAGE = Meter("page", "page")


def words(before: TariffVersion, after: TariffVersion) -> str:
    return "\n".join(diff_words(Named(before, "live"), Named(after, "new.yaml"), difference(before, after)))


def only(before: TariffVersion, after: TariffVersion) -> RuleChange:
    (found,) = difference(before, after).rules
    return found


# ---- prices ----


def test_one_price_above_another_is_dearer_for_every_quantity() -> None:
    compared = compare(rule(price="5000000"), rule(price="6000000"), PAGE)
    assert span_words(compared, PAGE) == "dearer for every quantity"
    assert [(e.quantity, e.before, e.after, e.percent) for e in compared.examples][:2] == [
        (1, Fraction(5_000_000), Fraction(6_000_000), Fraction(20)),
        (10, Fraction(50_000_000), Fraction(60_000_000), Fraction(20)),
    ]


def test_where_prices_cross_is_found_to_the_unit() -> None:
    flat = rule(price="400")
    tiers = rule(tiers=(Tier(10, Fraction(500)), Tier(None, Fraction(300))))  # 5000 + 300 (q - 10) = 400 q at q = 20
    assert span_words(compare(flat, tiers, PAGE), PAGE) == "dearer up to 20 pages, cheaper above"
    assert span_words(compare(tiers, flat, PAGE), PAGE) == "cheaper up to 20 pages, dearer above"


def test_a_lower_cap_changes_nothing_until_it_is_reached() -> None:
    compared = compare(rule(cap_nanos=40_000_000), rule(cap_nanos=30_000_000), PAGE)
    assert span_words(compared, PAGE) == "the same up to 6 pages, cheaper above"
    assert (compared.examples[-1].before, compared.examples[-1].after) == (Fraction(40_000_000), Fraction(30_000_000))
    assert len(compared.examples) == 2  # from 10 pages on all are alike


@pytest.mark.parametrize(
    ("percent", "text"),
    [("20", "+20 %"), ("-100/3", "-33.3 %"), ("0", "0 %"), ("123456/100", "+1,234.6 %"), ("1/100", "0 %")],
)
def test_a_percentage_is_told_to_a_tenth(percent: str, text: str) -> None:
    assert percent_text(Fraction(percent)) == text


# ---- rules ----


def test_the_same_content_changes_nothing_whatever_it_is_called() -> None:
    assert difference(version(rule()), version(rule(), number=2)).none
    assert "nothing changes" in words(version(rule()), version(rule(), number=2))


def test_rules_come_go_and_move() -> None:
    a, b, c = rule("a"), rule("b", when=(Condition("segment", "equals", ("school",)),)), rule("c", "play")
    found = difference(version(a, b), version(b, a, c))
    assert [(r.name, r.kind) for r in found.rules] == [("b", "moved"), ("c", "added")]
    assert [(r.name, r.kind) for r in difference(version(a, c), version(c)).rules] == [("a", "removed")]
    assert "from place 2 to place 1" in words(version(a, b), version(b, a, c))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"per": ("item",)}, "per payer and item instead of payer"),
        ({"scope": "month"}, "over month instead of life"),
        ({"price": "6"}, ""),
        ({"cap_nanos": 7}, ""),
    ],
)
def test_what_begins_to_count_anew_is_said(change: dict[str, Any], why: str) -> None:
    before, after = version(rule()), version(rule(**change))
    assert only(before, after).anew == bool(why)
    said = difference(before, after).restarts
    assert said == ((f"rule 'article' begins to count anew: {why}",) if why else ())


def test_another_zone_begins_windows_anew_but_no_life() -> None:
    daily = rule(scope="day", price="6")
    berlin = version(replace(daily, text="x"), calendar="Europe/Berlin")
    assert only(version(daily), berlin).anew and "Europe/Berlin instead of UTC" in words(version(daily), berlin)
    life = version(rule(price="7"), calendar="Europe/Berlin")
    assert not only(version(rule()), life).anew


def test_a_running_scope_goes_on_and_the_reader_is_told() -> None:
    said = words(version(rule(scope="month")), version(rule(scope="month", price="6000000")))
    assert "a running month goes on: what was charged stays" in said


def test_a_renamed_rule_is_told_to_count_from_zero() -> None:
    assert "BEGINS TO COUNT ANEW\n  rule 'a' is called 'b' now" in words(version(rule("a")), version(rule("b")))


def test_splits_meters_and_time_are_compared() -> None:
    before = version(rule())
    fifth = Split("standard", (Party("platform", Fraction(1, 5)), Party("creator", None)))
    after = replace(before, splits=(fifth,), meters=before.meters[:1], effective_from_us=10**15)
    heads = {c.what: (c.before, c.after) for c in difference(before, after).head}
    assert heads["in force from"][1] == "2001-09-09 01:46:40 UTC"
    assert heads["meter play"] == ("in seconds, 3 decimal places, needs session", "")
    assert heads["split standard"][1].startswith("platform 20 %")


def test_a_pass_is_compared_like_a_rule_and_by_what_it_covers() -> None:
    price = replace(rule("day", price="1"), scope="day", cap_nanos=40_000_000)
    one, both = Pass("day", ("a",), price), Pass("day", ("a", "b"), price)
    rules = (rule("a"), rule("b"))
    found = only(version(*rules, passes=(one,)), version(*rules, passes=(both,)))
    assert (found.name, found.kind, found.prices) == ("pass day", "changed", ())
    lower = Pass("day", ("a",), replace(price, cap_nanos=30_000_000))
    said = words(version(*rules, passes=(one,)), version(*rules, passes=(lower,)))
    assert "payers  the same up to 0.03 USD, cheaper above" in said
    assert only(version(*rules), version(*rules, passes=(one,))).kind == "added"


# ---- which rule ----


def test_an_example_shows_which_uses_fall_under_another_rule() -> None:
    school = rule("school", when=(Condition("segment", "equals", ("school", "college")),))
    glob = rule("files", when=(Condition("item", "pattern", ("*.mp3",)),))
    assert moved_uses(version(school, glob, rule("rest")), version(rule("rest"))) == [
        Moved("school", "meter page, segment school", "rule rest"),
        Moved("files", "meter page, item x.mp3", "rule rest"),
    ]
    assert moved_uses(version(rule("rest")), version(glob)) == [Moved("rest", "meter page", "unpriced (no_rule)")]


def test_bands_are_looked_for_over_a_week() -> None:
    night = Condition("occurred_at", "band", ("UTC", "67", "", "22:00:00", "24:00:00"))
    weekend = rule("weekend", when=(night,))
    assert moved_uses(version(weekend, rule("rest")), version(rule("rest"))) == [
        Moved("weekend", "meter page", "rule rest")
    ]


# ---- the command ----


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(FILE, encoding="utf-8")
    new.write_text(changed("0.00002 per second", "0.00003 per second"), encoding="utf-8")
    return str(old), str(new)


def test_two_files_are_compared_in_words(files: tuple[str, str]) -> None:
    said = CliRunner().invoke(app, ["tariff", "diff", *files])
    assert said.exit_code == ExitCode.OK
    assert "CHANGED  song" in said.stdout and "article" not in said.stdout
    assert "dearer up to 199.999 seconds, the same above" in said.stdout
    assert "100 seconds in a day   0.002 USD -> 0.003 USD   +50 %" in said.stdout


def test_a_script_gets_exact_examples(files: tuple[str, str]) -> None:
    document = json.loads(CliRunner().invoke(app, ["tariff", "diff", *files, "--json"]).stdout)
    assert (document["same"], [r["rule"] for r in document["rules"]]) == (False, ["song"])
    assert document["rules"][0]["prices"][0]["examples"][0] == {
        "quantity": "100 seconds", "before": "0.002 USD", "after": "0.003 USD",
    }  # fmt: skip


def test_a_published_tariff_is_named_as_it_is_in_force_or_with_its_version(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_us = 10**15
    first, second, third = (version(rule(price=str(n)), number=n, since_us=(n - 2) * now_us) for n in (1, 2, 3))
    books = [PublishedBook(RuleBook(7, Settings(), (first, second, third)), 0, "", {})]
    monkeypatch.setattr(tariff_sources, "published_books", lambda _: books)
    monkeypatch.setattr(time, "time_ns", lambda: now_us * 1000 - 1)
    assert tariff_sources.version_of("t") == Named(second, "live")
    assert tariff_sources.version_of("t@3") == Named(third, "live")
    said = CliRunner().invoke(app, ["tariff", "diff", "t@9", files[0]])
    assert said.exit_code == ExitCode.NOT_FOUND and "has no version 9 of it; there are 1, 2 and 3" in said.stderr
