"""What is told of a use that was redriven: by explain, by its proof, by its document, by its event id."""

from __future__ import annotations

from typing import Any

import pytest

from nanotally.streams import verify_proof
from nanotally.streams.commands.charge_sources import _only, without_redriven
from nanotally.streams.commands.explain_document import document
from nanotally.streams.commands.explain_proof import proof
from nanotally.streams.commands.explain_words import words
from nanotally.streams.domain.explaining import explain
from nanotally.streams.domain.tariff import Condition
from nanotally.streams.errors import InvalidInput
from tests.support.payers_bench import DAY, T0, PayersBench, activate, book, event, redrive, rule, version

ONLY_B = version(rule(when=(Condition("item", "equals", ("/b",)),), price="5"))
ALL = version(rule(price="7"), number=2, since_us=1)
USE = event("u", T0)


def charges() -> list[Any]:
    """A use that found no price, another one a day later, and the first one redriven."""
    bench = PayersBench(book(ONLY_B)).take(USE, event("v", T0 + DAY, item="/b"))
    bench.books[1] = book(ONLY_B, ALL, number=1)
    bench.take(activate(bench.books[1]), redrive(1, USE), recorded_at_us=T0 + 3 * DAY)
    return bench.of("Charge")


def test_explain_tells_from_where_and_when_a_use_was_redriven() -> None:
    explained = explain(charges()[-1], (ONLY_B, ALL))
    assert words(explained).splitlines()[:4] == [
        "WHY WAS p CHARGED 0.000000007 USD AT 2026-11-07T00:00:00Z?   (charge 0-4)",
        "  news: page of /a, creator ana   event u",
        "  found no price when it came (as 0-1); redriven at 2026-11-10T00:00:00Z",
        "  came late: booked at 2026-11-08T00:00:00Z",
    ]
    assert document(explained)["redriven"] == {"from": "0-1", "at": "2026-11-10T00:00:00Z"}
    assert verify_proof.verify(proof(charges()[-1], explained)) == []


def test_of_a_use_that_came_once_nothing_is_told_of_it() -> None:
    for charge, versions in zip(charges()[:2], ((), (ONLY_B,)), strict=True):
        explained = explain(charge, versions)
        assert "redriven" not in words(explained) and document(explained)["redriven"] is None


def test_by_its_event_id_the_charge_is_found_and_not_that_there_was_none() -> None:
    unpriced, other, redriven = charges()
    assert _only([unpriced, redriven], "u") is redriven
    assert without_redriven([unpriced, other]) == [unpriced, other]
    elsewhere = redriven | {"usage_partition": 1}
    with pytest.raises(InvalidInput, match=r"is of 2 charges: 0-1 .*, 1-4 "):
        _only([unpriced, elsewhere], "u")
