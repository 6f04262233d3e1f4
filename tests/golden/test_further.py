"""Vectors of the same format with other numbers and combinations come out as plain fractions say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.golden.generator import FAMILIES, vectors
from tests.golden.pricing import price
from tests.golden.translation import translate
from tests.golden.verdicts import EQUAL, QUIRK, judge

FURTHER = vectors(seed=1, count=156) + vectors(seed=2, count=52)


@pytest.mark.parametrize("vector", FURTHER, ids=[vector["id"] for vector in FURTHER])
def test_it_costs_what_the_fractions_say(vector: dict[str, Any]) -> None:
    verdict = judge(vector)
    assert verdict.kind in (EQUAL, QUIRK), (verdict.words, vector)


COMBINATIONS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("combinations.json").read_text("utf-8"))


@pytest.mark.parametrize("vector", COMBINATIONS, ids=[vector["id"] for vector in COMBINATIONS])
def test_what_is_seldom_said_has_words_too(vector: dict[str, Any]) -> None:
    assert judge(vector).kind == EQUAL


CHOPPABLE = [vector for vector in FURTHER if vector["model"] != "split" and translate(vector).choppable]


@pytest.mark.parametrize("vector", CHOPPABLE, ids=[vector["id"] for vector in CHOPPABLE])
def test_it_costs_the_same_in_pieces(vector: dict[str, Any]) -> None:
    translation = translate(vector)
    assert price(translation, 11).total == price(translation).total


def test_all_families_are_among_them_and_a_seed_gives_the_same_again() -> None:
    assert {vector["id"].rsplit("-", 2)[0] for vector in FURTHER} == set(FAMILIES)
    assert vectors(seed=1, count=30) == FURTHER[:30]
