"""What explain says of a use that found no price: its later charge, or what is left to be done."""

from __future__ import annotations

from typing import Any

import pytest

from nanotally.streams.commands.explain_later import Later, judged
from nanotally.streams.installation import Told
from nanotally.streams.redriving import Step

AT_US = 1_794_297_600_000_000
CHARGE: dict[str, Any] = {"usage_partition": 2, "usage_offset": 10, "outcome": "unpriced"}
REDRIVEN: dict[str, Any] = {
    "usage_partition": 2, "usage_offset": 31, "n": 0, "recorded_at": AT_US, "outcome": "charged", "reason": "",
    "paid_nanos": 250_000_000, "currency": "USD",
}  # fmt: skip
MOVED = Told(moving={"to": "wide.", "done": True})


def step(offset: int, *, mended: bool = False) -> Step:
    return Step((2, offset), "unpriced", "e", mended, AT_US, "")


def said(later: Later) -> str:
    return "\n".join(later.words())


def test_the_later_charge_is_named_with_what_it_came_to() -> None:
    later = judged(CHARGE, REDRIVEN, [], Told())
    assert later.words() == [
        "  redriven at 2026-11-10T08:00:00Z: charged 0.250000000 USD; nanotally explain 2-31",
    ]
    assert later.document() == {
        "state": "redriven", "name": "2-31", "at": "2026-11-10T08:00:00Z", "outcome": "charged", "reason": "",
        "amount": "0.25", "currency": "USD", "moved_to": None, "remedy": None,
    }  # fmt: skip
    refused = {**REDRIVEN, "outcome": "refused", "reason": "max_price", "paid_nanos": 0}
    assert ": refused (max_price); nanotally explain 2-31" in said(judged(CHARGE, refused, [], Told()))


def test_a_use_that_is_left_is_told_with_the_command_that_gives_it_a_price() -> None:
    later = judged(CHARGE, None, [], Told())
    assert later.words() == [
        "  still without a price",
        "  once a tariff has a price for it: nanotally rejects redrive 2-10",
    ]
    assert (later.document()["state"], later.document()["remedy"]) == ("unpriced", "nanotally rejects redrive 2-10")


def test_a_use_that_was_redriven_in_vain_is_left_too() -> None:
    later = judged(CHARGE, None, [((2, 10), step(20)), ((2, 20), step(25))], Told())
    assert "although it was redriven at 2026-11-10T08:00:00Z (as 2-25); nanotally rejects show 2-10" in said(later)
    assert (later.state, later.to, later.remedy) == ("unpriced", "2-25", "nanotally rejects redrive 2-10")


@pytest.mark.parametrize(
    ("since", "told", "state", "words"),
    [
        ([((2, 10), step(20, mended=True))], Told(), "mended", "another use stands for it, at 2-20"),
        ([((2, 10), step(20)), ((2, 20), step(21, mended=True))], MOVED, "mended", "at 2-21"),
        ([], Told(carried={2: 11}), "carried", "what became of it stands there"),
        ([], MOVED, "moved", "this installation was moved to 'wide.': the use is decided there"),
        ([((2, 10), step(20))], MOVED, "moved", "this installation was moved to 'wide.'"),
    ],
)
def test_where_something_else_became_of_it_nobody_is_told_to_redrive_it(
    since: list[Any], told: Told, state: str, words: str
) -> None:
    later = judged(CHARGE, None, since, told)
    assert (later.state, later.remedy, later.document()["remedy"]) == (state, "", None)
    assert words in said(later) and "rejects redrive" not in said(later)


def test_only_what_stands_before_the_end_of_the_carried_ones_was_carried() -> None:
    assert judged(CHARGE, None, [], Told(carried={2: 10, 1: 99})).state == "unpriced"


def test_without_kafka_it_is_said_what_only_kafka_knows() -> None:
    later = judged(CHARGE, None, [], None)
    assert later.state == "unpriced" and "Kafka does not answer" in later.words()[-1]
    assert judged(CHARGE, REDRIVEN, [], None).words() == judged(CHARGE, REDRIVEN, [], Told()).words()
