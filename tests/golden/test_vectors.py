"""Flat and graduated prices that the tests and documents of other billing systems state come out the same here.

vectors.json has inputs and expected totals only, each with the source and commit they were read from."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from nanotally.streams.domain.decimals import decimal_of
from nanotally.streams.tariffs.reader import read_tariff
from tests.support.payers_bench import PayersBench, book, event

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("vectors.json").read_text(encoding="utf-8"))
SCALE = 3
TARIFF = """\
tariff: golden
version: 1
effective_from: 2020-01-01T00:00:00Z
currency: USD
meters:
  m: {{unit: unit, scale: 3}}
splits:
  all: {{creator: rest}}
rules:
  - rule: r
    when: {{meter: m}}
    {price}
    count: {{per: [payer], over: month}}
    split: all
"""


def tariff_text(tariff: dict[str, Any]) -> str:
    """The vector's tariff as a tariff file; borders are inclusive on both sides."""
    if "unit_price" in tariff:
        return TARIFF.format(price=f"price: {tariff['unit_price']} per {tariff.get('per', '1')} unit")
    tiers = [
        ("above" if tier["up_to"] is None else f"to {tier['up_to']}") + f": {tier['unit_price']} per 1 unit"
        for tier in tariff["tiers"]
    ]
    return TARIFF.format(price="graduated: {" + ", ".join(tiers) + "}")


def unscaled(quantity: str) -> int:
    value, scale = decimal_of(quantity)
    return int(value * 10 ** (SCALE - scale))


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_the_total_is_the_one_the_source_states(vector: dict[str, Any]) -> None:
    version = read_tariff(tariff_text(vector["tariff"]), "golden.yaml")
    uses = [
        event(f"e{i}", meter="m", quantity=unscaled(quantity), scale=SCALE)
        for i, quantity in enumerate(vector["usage"])
    ]
    bench = PayersBench(book(version)).take(*uses)
    assert sum(bench.paid()) == Fraction(vector["expected"]) * 10**9


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_a_use_in_a_thousand_pieces_costs_the_same(vector: dict[str, Any]) -> None:
    version = read_tariff(tariff_text(vector["tariff"]), "golden.yaml")
    total = sum(unscaled(quantity) for quantity in vector["usage"])
    whole, rest = divmod(total, 1000)
    pieces = [whole + (i < rest) for i in range(1000)]
    bench = PayersBench(book(version))
    bench.take(*(event(f"e{i}", meter="m", quantity=piece, scale=SCALE) for i, piece in enumerate(pieces)))
    assert sum(bench.paid()) == Fraction(vector["expected"]) * 10**9
