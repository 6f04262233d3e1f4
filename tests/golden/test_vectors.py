"""What the tests and documents of other billing systems state comes out the same here, or differs by a listed quirk.

vectors.json has inputs and expected totals only, each with the source and commit they were read from; README.md says
how they are written."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from nanotally.streams.domain.explaining import explain
from nanotally.streams.tariffs.reader import read_tariff
from tests.golden.__main__ import main
from tests.golden.calculator import INCREMENT_COST, ROUNDING, ZERO_TOTAL, calculate, number
from tests.golden.pricing import Nanos, price, run
from tests.golden.translation import translate
from tests.golden.verdicts import EQUAL, NOT_EXPRESSIBLE, QUIRK, REMAINDER_RULE, WRONG, compare, judge

FILE = Path(__file__).with_name("vectors.json")
VECTORS: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
BY_ID = {vector["id"]: vector for vector in VECTORS}

# All that differs, and why.
DIFFERS = {
    ROUNDING: {
        "lago-min-prorated", "om-flat-running-rounding", "om-pct-dynamic-10", "om-cap-percentage", "fp-flat-frac",
        "fp-lines-thirds", "fp-round-10.125-2", "fp-round--10.125-2", "fp-round-999999999.999-2", "cgr-round-up-10s",
        "cgr-round-down-10s", "cgr-round-14.37-half_up--1", "kb-flat-subcent",
    },
    INCREMENT_COST: {
        "cgr-round-thirds-6dp", "cgr-connect-85s-peak", "cgr-tod-evening-90s", "cgr-tod-sunday-120s",
        "cgr-inc-600s-5dp", "cgr-connect-600s-5dp",
    },
    ZERO_TOTAL: {"lago-pct-zero-total"},
    REMAINDER_RULE: {
        "num-15-80-8-12", "num-15-dynamic", "num-100-60-35.5-4.5", "num-77-10-20-rem", "ldg-15-halves-rem",
        "mphp-100-1-1-1", "mphp-5-3-7", "mphp-neg5-7-3", "mphp-2-1-1-1",
    },
}  # fmt: skip


def ids(vectors: list[dict[str, Any]]) -> list[str]:
    return [vector["id"] for vector in vectors]


@pytest.mark.parametrize("vector", VECTORS, ids=ids(VECTORS))
def test_it_costs_what_the_source_states_or_differs_as_listed(vector: dict[str, Any]) -> None:
    verdict = judge(vector)
    reasons = [reason for reason, those in DIFFERS.items() if vector["id"] in those]
    assert verdict.kind == (QUIRK if reasons else EQUAL), verdict.words
    assert all(reason in verdict.words for reason in reasons)


CHOPPABLE = [vector for vector in VECTORS if vector["model"] != "split" and translate(vector).choppable]


@pytest.mark.parametrize("pieces", [2, 100])
@pytest.mark.parametrize("vector", CHOPPABLE, ids=ids(CHOPPABLE))
def test_it_costs_the_same_in_pieces(vector: dict[str, Any], pieces: int) -> None:
    translation = translate(vector)
    assert price(translation, pieces).total == price(translation).total


AMOUNTS = [vector for vector in VECTORS if vector["model"] != "split"]


@pytest.mark.parametrize("vector", AMOUNTS, ids=ids(AMOUNTS))
def test_each_charge_is_worked_out_again_from_itself_and_the_tariff(vector: dict[str, Any]) -> None:
    translation = translate(vector)
    version = read_tariff(translation.text, "golden.yaml")
    for charge in run(version, translation).of("Charge"):
        assert explain(charge, version).paid == charge["paid_nanos"]


def test_most_vectors_can_be_chopped() -> None:
    assert len(VECTORS) == 150
    assert len(CHOPPABLE) > 90


def test_a_wrong_charge_is_wrong_even_where_the_sources_rounding_would_hide_it() -> None:
    vector = BY_ID["om-pct-dynamic-10"]  # 13.3333, which the source rounds to 13.33
    translation = translate(vector)
    assert compare(vector, translation, Nanos(13_333_300_000, (13_333_300_000,))).kind == QUIRK
    assert compare(vector, translation, Nanos(13_333_300_001, (13_333_300_001,))).kind == WRONG
    assert compare(vector, translation, Nanos(13_330_000_000, (13_330_000_000,))).kind == WRONG


def test_the_calculator_says_what_the_sources_state() -> None:
    for vector in VECTORS:
        if vector["model"] == "split":
            continue
        figures = calculate(vector)
        assert figures.total == number(vector["expected"]), vector["id"]
        if "expected_per_usage" in vector:
            assert figures.per == tuple(map(number, vector["expected_per_usage"])), vector["id"]
        if "exact" in vector:
            assert calculate(vector, frozenset()).total == number(vector["exact"]), vector["id"]


def write(tmp_path: Path, *vectors: dict[str, Any]) -> str:
    path = tmp_path / "further.json"
    path.write_text(json.dumps(vectors), encoding="utf-8")
    return str(path)


def test_the_command_tells_each_vector_and_a_summary(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = write(tmp_path, BY_ID["lago-flat-10"], BY_ID["fp-round-10.125-2"])
    assert main([file]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "lago-flat-10: equal",
        "fp-round-10.125-2: differs by a listed quirk: money rounding: 10.13 for 10.125",
        "2 vectors: 1 equal, 1 differs by a listed quirk, 0 wrong, 0 not expressible",
    ]


def test_the_command_fails_where_one_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = write(tmp_path, BY_ID["lago-flat-10"] | {"expected": "51.2346"}, BY_ID["om-pkg-11"])
    assert main([file]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "lago-flat-10: wrong: expected 51.2346, got 51.2345",
        "om-pkg-11: equal",
        "2 vectors: 1 equal, 0 differs by a listed quirk, 1 wrong, 0 not expressible",
    ]


def test_the_command_fails_where_one_cannot_be_expressed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    strange = BY_ID["lago-flat-10"] | {"model": "auction"}
    assert judge(strange).kind == NOT_EXPRESSIBLE
    assert main([write(tmp_path, strange)]) == 1
    assert "1 not expressible" in capsys.readouterr().out


def test_a_file_that_is_none_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([str(tmp_path / "none.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_shares_that_are_wrong_are_no_remainder_rule() -> None:
    vector = BY_ID["num-15-80-8-12"]
    assert judge(vector | {"expected": ["12", "2", "1"]}).kind == WRONG
    assert judge(vector | {"expected": ["13", "1", "1"]}).kind == QUIRK
    assert number("2/3") == Fraction(2, 3)
