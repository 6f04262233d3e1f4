"""Charges written with what is alike once are the same bytes as charges written field by field."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from nanotally.schemas import codec
from nanotally.streams.domain import ledger_flat, ledger_order
from nanotally.streams.domain.ledger import charge_batch
from tests.support.reference_driver import Plan, run
from tests.support.scenarios import scenario


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Holds every charge that a run writes to the plain encoding; counts charges, and those that were written fast."""
    counts: Counter[str] = Counter()
    fast, flat = ledger_flat.charge_values, codec.encode_flat

    def held(taken: Any, *how: Any) -> list[bytes]:
        values = fast(taken, *how)
        batch = charge_batch(taken, *how)
        assert values == codec.encode_rest(batch, ledger_flat.datums_of(taken, taken.rows))
        counts["charges"] += len(values)
        return values

    def counted(*how: Any) -> list[bytes]:
        values = flat(*how)
        counts["fast"] += len(values)
        return values

    monkeypatch.setattr(ledger_order, "charge_values", held)
    monkeypatch.setattr(codec, "encode_flat", counted)
    return counts


@pytest.mark.parametrize("few", [1, 4])
def test_any_mix_of_rules_outcomes_and_splits(few: int, written: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_flat, "FEW", few)
    for seed in range(25):
        run(scenario(seed, size=100), Plan.random(random.Random(seed)) if seed % 2 else Plan())
    assert written["charges"] > written["fast"] > written["charges"] // 10 > 0  # both ways were tried
