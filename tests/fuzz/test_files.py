"""Files that nobody should write: a short run of the target, and the faults and blow-ups that were found."""

# ruff: noqa: E501

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from nanotally.streams.domain.conditions import matches
from nanotally.streams.domain.explaining_matches import glob_text
from nanotally.streams.domain.tariff import Condition
from nanotally.streams.tariffs.catalog_files import WRITERS_MAX, read_catalog
from nanotally.streams.tariffs.dead_rules import RULES_MAX
from nanotally.streams.tariffs.findings import FINDINGS_MAX, Finding, TariffErrors
from nanotally.streams.tariffs.reader import examine_tariff
from nanotally.streams.tariffs.settings import read_settings
from nanotally.streams.tariffs.splits import PARTIES_MAX
from tests.fuzz.files import case
from tests.fuzz.runner import run
from tests.support.tariff_texts import changed

HEAD = "tariff: t\nversion: 1\neffective_from: 2026-12-01T00:00:00Z\ncurrency: USD\nmeters: {m: {unit: page}}\n"


def tariff(rules: str, splits: str = "{s: {creator: rest}}") -> str:
    return f"{HEAD}splits: {splits}\nrules:\n{rules}"


def rules(count: int, when: str) -> str:
    return "".join(
        f"- rule: r{i}\n  when: {{meter: m, {when.format(i=i)}}}\n  price: 1 per page\n  split: s\n"
        for i in range(count)
    )


def problems(text: str) -> list[Finding]:
    with pytest.raises(TariffErrors) as raised:
        examine_tariff(text)
    return list(raised.value.findings)


def test_spoilt_files_give_findings_or_a_version_that_can_be_rated_by() -> None:
    tried = run("files", case, 600, seed=5)
    assert tried.verdicts["refused"] > 300 and tried.verdicts["accepted tariff"] > 10, tried.row()


@pytest.mark.parametrize("setting", ["lateness", "skew", "horizon"])
@pytest.mark.parametrize("length", ["999999999d", "36526d", "999999h" * 100, "999999h" * 100_000])
def test_a_length_of_time_that_would_not_fit_into_64_bits_is_refused(setting: str, length: str) -> None:
    with pytest.raises(TariffErrors, match="more than a hundred years"):
        read_settings(f"{setting}: {length}")


def test_an_item_has_a_bounded_number_of_writers() -> None:
    many = ", ".join(f"w{i}: 1/{999_999_999 - i}" for i in range(WRITERS_MAX))
    head = "catalog: c\nversion: 1\neffective_from: 2026-12-01T00:00:00Z\nitems:\n  i: {writers: "
    with pytest.raises(TariffErrors, match="the parts come to"):
        read_catalog(head + "{" + many + "}}\n")
    with pytest.raises(TariffErrors, match=f"{WRITERS_MAX + 1} writers of one item, at most {WRITERS_MAX}"):
        read_catalog(head + "{" + many + ", more: 1/7}}\n")


def test_a_split_has_a_bounded_number_of_parties() -> None:
    many = ", ".join(f"'party:p{i}': 0.1%" for i in range(PARTIES_MAX - 1))
    rule = rules(1, "item: a")
    assert examine_tariff(tariff(rule, f"{{s: {{{many}, creator: rest}}}}")).version
    (finding,) = problems(tariff(rule, f"{{s: {{{many}, 'party:q': 0.1%, creator: rest}}}}"))
    assert finding.problem == f"{PARTIES_MAX + 1} parties of one split, at most {PARTIES_MAX}"


def test_a_file_without_end_of_findings_is_not_read_to_its_end() -> None:
    findings = problems("".join(f"k{i}: 1\n" for i in range(50_000)))
    assert len(findings) == FINDINGS_MAX + 1
    assert sum("findings" in finding.problem for finding in findings) == 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "text",
    [
        tariff(rules(RULES_MAX, "item: i{i}")),
        tariff(rules(RULES_MAX, "item: same")),
        tariff(rules(RULES_MAX + 1, "item: i{i}")),
        tariff(rules(600, 'item: "a*b{i}*c*d"')),
        tariff(rules(600, "item: unknown, meter: mm{i}").replace("meter: m, ", "")),
        changed("- rule: article", "- rule: " + "a" * 100_000),
        "[" * 100_000,
        "{a: " * 50_000,
        "- " * 300_000,
        "a: &a [x]\n" + "b: *a\n" * 100_000,
        "'" * 900_000,
        "tariff: " + "9" * 900_000,
    ],
    ids=["many", "alike", "too-many", "patterns", "meters", "name", "lists", "tables", "dashes", "aliases", "quotes", "digits"],
)  # fmt: skip
def test_great_files_come_to_an_end(text: str) -> None:
    for read in (examine_tariff, read_settings, read_catalog):
        try:
            read(text, "f.yaml")
        except TariffErrors as e:
            assert len(e.findings) <= FINDINGS_MAX + 1


def test_more_rules_than_can_be_held_against_each_other_are_refused() -> None:
    assert f"at most {RULES_MAX:,}" in problems(tariff(rules(RULES_MAX + 1, "item: i{i}")))[0].problem


@pytest.mark.timeout(60)
def test_a_pattern_with_many_stars_is_held_against_a_long_text_in_one_pass() -> None:
    stars = "*a" * 200 + "*b"
    first = f"""- rule: first\n  when: {{meter: m, item: "{stars}"}}\n  price: 1 per page\n  split: s\n"""
    assert examine_tariff(tariff(first + rules(1, "item: " + "a" * 1_000))).version
    assert re.fullmatch(glob_text(stars), "a" * 1_000, re.DOTALL) is None
    assert re.fullmatch(glob_text(stars), "a" * 1_000 + "b", re.DOTALL)


@pytest.mark.parametrize(
    "glob", ["", "*", "a", "a*", "*a", "a*b", "*a*b*", "a?*b", "?*?", "**", "*ab*ab", "a.c*", "a*a", "??"]
)
def test_a_pattern_means_the_same_to_the_engine_and_to_who_explains(glob: str) -> None:
    texts = ["", "a", "b", "ab", "aab", "abab", "ababab", "a\nb", "a.c", "abc", "a*b", "aa", "aba"]
    engine = matches(Condition("item", "pattern", (glob,)), pa.array(texts)).tolist()
    assert engine == [re.fullmatch(glob_text(glob), text, re.DOTALL) is not None for text in texts]


def test_patterns_of_any_number_and_length_can_be_matched() -> None:
    many = tuple("?" * 1_000 + str(i) for i in range(900))
    column = pa.array(["x" * 1_003, "x" * 1_000 + "899", "x" * 1_000 + "900", None])
    assert matches(Condition("item", "pattern", many), column).tolist() == [False, True, False, False]
