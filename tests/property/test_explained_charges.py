"""Every charge that the payers' stage writes is repeated by explain from itself and the books, and so is its proof."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nanotally.streams import verify_proof
from nanotally.streams.commands.charge_sources import rated_by
from nanotally.streams.commands.explain_document import document
from nanotally.streams.commands.explain_proof import proof
from nanotally.streams.commands.explain_words import words
from nanotally.streams.domain.explaining import Differs, explain
from tests.support import scenario_books
from tests.support.reference_driver import run
from tests.support.scenarios import Scenario, scenario

SEEDS = range(40)
CHANGED = ("amount_nanos", "total_before", "total_after")


def rich(seed: int, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    """A scenario with every kind of price, scope, pass and split."""
    monkeypatch.setattr(scenario_books, "RICH", 1.0)
    return scenario(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_explain_repeats_every_charge(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rich(seed, monkeypatch)
    charges = run(made).of("Charge")
    r = random.Random(seed)
    for charge in charges:
        found = rated_by(charge, list(made.books.values()), "books")
        explained = explain(found.charge, found.versions, found.catalogs)
        assert words(explained) and document(explained)["verified"] is bool(charge["lines"])
        assert verify_proof.verify(proof(charge, explained)) == []
        if charge["lines"]:
            name = r.choice(CHANGED)
            with pytest.raises(Differs):
                explain(changed(charge, r.randrange(len(charge["lines"])), name), found.versions, found.catalogs)


def changed(charge: dict[str, Any], place: int, name: str) -> dict[str, Any]:
    """The charge with one number of a line changed; of what fell due the amount, since totals are not told there."""
    lines = [dict(line) for line in charge["lines"]]
    lines[place]["amount_nanos" if lines[place]["link"] in ("minimum", "sharing") else name] += 1
    return charge | {"lines": lines}
