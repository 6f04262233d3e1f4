"""The auditor of the chaos runs: clean over a ledger as it should be, and it sees every kind of spoiling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nanotally.schemas import codec
from tests.chaos import auditor
from tests.chaos.auditor import Auditor, Ledger, Price
from tests.support import ledger_world
from tests.support.ledger_world import BOOK, PARTITIONS, World, world

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas" / "avsc"


class InMemory(Auditor):
    """Reads the topics of a world instead of Kafka's."""

    def __init__(self, made: World, redriven: bool = False) -> None:
        super().__init__("", "", "", "", SCHEMAS)
        self.rows: list[str] = []
        usage = ledger_world._usage(BOOK, {}, redriven)
        self._topics = made.topics | {"usage": {p: list(enumerate(v for _, v in usage[p])) for p in usage}}

    def partitions(self, topic: str) -> list[int]:
        return sorted(self._topics.get(topic, {}))

    def ask(self, sql: str) -> list[str]:
        """ClickHouse, with what the test puts into `rows`, the same for all tables."""
        return self.rows if ".rejects" in sql else []

    def records(self, topic: str, partition: int) -> Iterator[Any]:
        for offset, value in self._topics[topic].get(partition, []):
            yield SimpleNamespace(offset=offset, value=value)


@pytest.fixture(autouse=True)
def prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the world's tariff."""
    tokens = Price("month").graduated((100, Fraction(1000, 3)), (None, 7))
    monkeypatch.setattr(
        auditor, "PRICES", {("t", "pages"): Price("day", ("item",)).flat(5_000_000, most=1), ("t", "tokens"): tokens}
    )


def audited(made: World, redriven: bool = False) -> InMemory:
    found = InMemory(made, redriven)
    for partition in range(PARTITIONS):
        Ledger(found, partition).audit()
    return found


def test_a_ledger_as_it_should_be_is_clean() -> None:
    found = audited(world())
    assert (found.differences, found.lost, found.twice) == ([], 0, 0)
    assert found.counts["prices worked out again"] > 50
    assert found.counts["duplicates"] == 1


def test_a_use_that_is_redriven_is_none_that_comes_twice() -> None:
    found = audited(world(redriven=True), redriven=True)
    assert (found.differences, found.lost, found.twice) == ([], 0, 0)
    assert (found.counts["redriven"], found.counts["duplicates"], found.counts["unpriced"]) == (2, 3, 3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"flags": ""}, "flag of a redriven use"),
        ({"flags": "redrive:1"}, "flag of a redriven use"),
        ({"content_hash": 1, "event": ledger_world.use(0, event_id="other")}, "the redriven use"),
    ],
)
def test_a_redriven_charge_that_is_not_right_is_told(changes: dict[str, Any], told: str) -> None:
    made = world(redriven=True)
    made.spoil("charges", "Charge", lambda charge: charge.update(changes), last_charge(made))
    assert any(told in difference for difference in audited(made, redriven=True).differences)


def test_a_use_that_was_priced_and_is_redriven_all_the_same_is_told() -> None:
    made = world(redriven=True)
    made.spoil("charges", "Charge", lambda charge: charge.update(outcome="refused"))
    found = audited(made, redriven=True)
    assert any("what was unpriced at 0" in difference for difference in found.differences)


def test_a_redrive_without_an_outcome_is_lost() -> None:
    made = world(redriven=True)
    made.remove("charges", "Charge", last_charge(made))
    assert audited(made, redriven=True).lost == 1


def last_charge(made: World) -> int:
    """Number of the last charge of partition 0, that of the redriven use."""
    return sum(name == "Charge" for name, _ in (codec.decode_one(value) for _, value in made.topics["charges"][0])) - 1


def test_a_charge_that_is_missing_is_lost() -> None:
    made = world()
    made.remove("charges", "Charge", 5)
    assert audited(made).lost == 1


def test_a_charge_that_is_there_twice_is_told() -> None:
    made = world()
    made.double("charges", "Charge", 3)
    assert audited(made).twice > 0


def test_a_reject_that_is_missing_is_lost() -> None:
    made = world()
    made.remove("rejects", "Reject")
    assert audited(made).lost == 1


@pytest.mark.parametrize(
    ("spoiled", "told"),
    [
        (lambda charge: charge.update(paid_nanos=charge["paid_nanos"] + 1), "paid"),
        (lambda charge: charge["lines"][0].update(amount_nanos=1), "pages"),
        (lambda charge: charge["lines"][0].update(total_after=charge["lines"][0]["total_after"] + 1), "pages"),
        (lambda charge: charge["lines"][0].update(base_before=charge["lines"][0]["base_before"] + 1), "divided before"),
        (lambda charge: charge["lines"][0]["shares"][0].update(nanos=charge["paid_nanos"]), "share"),
        (lambda charge: charge["event"].update(quantity=2), "the use"),
        (lambda charge: charge.update(usage_partition=7), "partition"),
    ],
)
def test_a_charge_that_is_not_right_is_told(spoiled: Callable[[dict[str, Any]], None], told: str) -> None:
    made = world()
    made.spoil("charges", "Charge", spoiled)
    assert any(told in difference for difference in audited(made).differences)


def test_a_duplicate_that_is_none_is_told() -> None:
    made = world()
    made.spoil("charges", "Chunk", lambda chunk: chunk["duplicates"].append(1))
    assert audited(made).twice == 1


def test_sums_of_accounts_that_are_not_the_ledgers_are_told() -> None:
    found = audited(world())
    found.accounts()
    assert not [difference for difference in found.differences if difference.startswith("earnings")]
    spoiled = world()
    spoiled.spoil("earnings", "Earning", lambda earning: earning.update(amount_nanos=earning["amount_nanos"] + 1))
    found = audited(spoiled)
    found.accounts()
    assert len([difference for difference in found.differences if difference.startswith("earnings")]) == 1


def test_a_payout_that_forgets_what_was_carried_is_told() -> None:
    found = audited(world())
    found.settled()
    assert not [difference for difference in found.differences if "brought" in difference]
    spoiled = world()
    spoiled.spoil("payouts", "Payout", lambda payout: payout.update(brought_nanos="7"))
    found = audited(spoiled)
    found.settled()
    assert any("brought" in difference for difference in found.differences)


@pytest.mark.parametrize(
    ("rows", "lost", "twice"),
    [(["0\t0\t0", "0\t3\t0"], 0, 0), (["0\t0\t0"], 1, 0), (["0\t0\t0", "0\t3\t0", "0\t3\t0"], 0, 1)],
)
def test_rows_of_clickhouse_that_are_missing_or_there_twice_are_counted(rows: list[str], lost: int, twice: int) -> None:
    found = InMemory(world())
    found.rows = rows
    found.offsets["rejects"][0] = {0: 0, 3: 0}
    found.warehouse()
    assert (found.lost, found.twice, bool(found.differences)) == (lost, twice, bool(lost or twice))


def test_a_row_of_clickhouse_with_another_amount_is_told() -> None:
    found = InMemory(world())
    found.rows = ["0\t0\t5"]
    found.offsets["rejects"][0] = {0: 4}
    found.warehouse()
    assert found.differences
