"""Statements and payouts: who owes what, who is paid, and what is carried forward."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nanotally.schemas import codec
from nanotally.streams.domain.settlement import Carry, settlement_id, statements
from nanotally.streams.domain.tallies_rows import Settlements
from nanotally.streams.domain.tallies_sums import exact

DAY = 86_400_000_000
Earned = tuple[str, int, int]  # account, day, nanos


def settlements(rows: list[Earned], currency: str = "USD") -> Settlements:
    return Settlements(
        account=pa.array([account for account, _, _ in rows], type=pa.string()),
        currency=pa.array([currency] * len(rows), type=pa.string()),
        period_start_us=np.array([day * DAY for _, day, _ in rows], dtype=np.int64),
        period_end_us=np.array([(day + 1) * DAY for _, day, _ in rows], dtype=np.int64),
        count=np.ones(len(rows), dtype=np.int64),
        amount_nanos=exact([nanos for _, _, nanos in rows]),
    )


def settle(carry: Carry, rows: list[Earned], threshold: int = 0, currency: str = "USD") -> list[dict[str, Any]]:
    return list(carry.settle(settlements(rows, currency), "day", lambda _: {"USD": threshold}).batch.to_pylist())


def money(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return row["brought_nanos"], row["earned_nanos"], row["paid_nanos"], row["carried_nanos"]


def test_a_statement_says_what_is_due_even_where_that_is_nothing() -> None:
    rows = statements(settlements([("payer:p-1", 1, 7_500_000), ("payer:p-2", 1, 0)]), "day").to_pylist()
    text = f"statement|payer:p-1|day|{DAY}|USD"
    assert rows[0] == {
        "statement_id": hashlib.sha256(text.encode()).hexdigest()[:32],
        "account": "payer:p-1",
        "period": "day",
        "period_start": DAY,
        "period_end": 2 * DAY,
        "currency": "USD",
        "count": 1,
        "due_nanos": "7500000",
    }
    assert (rows[1]["account"], rows[1]["due_nanos"]) == ("payer:p-2", "0")


def test_ids_are_functions_of_kind_account_period_and_currency() -> None:
    one = ("payout", "creator:ana", "day", DAY, "USD")
    assert settlement_id(*one) == settlement_id(*one) == "0b890630d86c0368f754c5af9f505adc"
    others = [
        ("statement", *one[1:]), ("payout", "creator:bo", *one[2:]), (*one[:2], "hour", *one[3:]),
        (*one[:3], 2 * DAY, "USD"), (*one[:4], "EUR"),
    ]  # fmt: skip
    assert len({settlement_id(*args) for args in [one, *others]}) == 6


def test_what_reaches_the_threshold_is_paid_and_the_rest_carried() -> None:
    carry = Carry()
    first = settle(carry, [("creator:a", 1, 600), ("creator:b", 1, 1000), ("creator:c", 1, 999)], 1000)
    assert [money(r) for r in first] == [
        ("0", "600", "0", "600"),
        ("0", "1000", "1000", "0"),
        ("0", "999", "0", "999"),
    ]
    second = settle(carry, [("creator:a", 2, 400), ("creator:b", 2, 5)], 1000)
    assert [money(r) for r in second] == [("600", "400", "1000", "0"), ("0", "5", "0", "5")]
    assert (carry.of("creator:a"), carry.of("creator:c"), carry.of("nobody")) == ({"USD": 0}, {"USD": 999}, {})
    assert first[0]["payout_id"] == settlement_id("payout", "creator:a", "day", DAY, "USD")


def test_several_periods_at_once_carry_from_one_to_the_next() -> None:
    rows = [("a", 1, 400), ("b", 1, 1), ("a", 2, 300), ("a", 3, 300), ("b", 3, 1)]
    together, apart = Carry(), Carry()
    found = settle(together, rows, 1000)
    assert found == [row for day in (1, 2, 3) for row in settle(apart, [r for r in rows if r[1] == day], 1000)]
    assert [money(r) for r in found if r["account"] == "a"] == [
        ("0", "400", "0", "400"), ("400", "300", "0", "700"), ("700", "300", "1000", "0"),
    ]  # fmt: skip


def test_without_a_threshold_a_whole_nano_is_paid_and_nothing_and_debts_are_carried() -> None:
    carry = Carry()
    assert [money(r) for r in settle(carry, [("a", 1, 1), ("b", 1, 0), ("c", 1, -3)])] == [
        ("0", "1", "1", "0"), ("0", "0", "0", "0"), ("0", "-3", "0", "-3"),
    ]  # fmt: skip
    assert [money(r) for r in settle(carry, [("c", 2, 2)])] == [("-3", "2", "0", "-1")]
    assert [money(r) for r in settle(carry, [("c", 3, 2)])] == [("-1", "2", "1", "0")]


def test_a_pool_is_never_paid_out() -> None:
    carry = Carry()
    assert [money(r) for r in settle(carry, [("pool:day", 1, 10**12), ("poolside", 1, 5)])] == [
        ("0", "1000000000000", "0", "1000000000000"),
        ("0", "5", "5", "0"),
    ]
    assert [money(r) for r in settle(carry, [("pool:day", 2, -(10**12))])] == [
        ("1000000000000", "-1000000000000", "0", "0")
    ]


def test_a_currency_without_a_threshold_is_paid_from_a_nano_on() -> None:
    carry = Carry()
    assert money(settle(carry, [("a", 1, 600)], 1000)[0])[2] == "0"
    assert money(settle(carry, [("a", 1, 600)], 1000, currency="EUR")[0])[2] == "600"
    assert carry.of("a") == {"USD": 600, "EUR": 0}


def test_a_period_is_ruled_by_the_threshold_at_its_end() -> None:
    carry = Carry()
    rows = settlements([("a", 1, 500), ("a", 2, 100)])
    found = carry.settle(rows, "day", lambda end: {"USD": 1000 if end <= 2 * DAY else 600})
    assert [money(r) for r in found.batch.to_pylist()] == [("0", "500", "0", "500"), ("500", "100", "600", "0")]


@pytest.mark.parametrize("threshold", [10**15, 2**63, 2**70])
def test_sums_and_thresholds_beyond_64_bits_are_exact(threshold: int) -> None:
    carry, big, carried = Carry(), 2**62, 0
    for day in range(1, 20):
        (row,) = settle(carry, [("a", day, big)], threshold)
        total = carried + big
        paid = total if total >= threshold else 0
        assert money(row) == (str(carried), str(big), str(paid), str(total - paid))
        carried = total - paid
    (row,) = settle(carry, [("a", 20, -(2**80))], threshold)
    assert money(row) == (str(carried), str(-(2**80)), "0", str(carried - 2**80))


def test_sums_say_what_is_paid_and_how_much_more_is_carried() -> None:
    carry = Carry()

    def both(rows: Settlements) -> dict[str, int]:
        return carry.settle(rows, "day", lambda _: {"USD": 1000}).sums

    assert both(settlements([("a", 1, 1500), ("b", 1, 600)])) == {"paid.USD": 1500, "carried.USD": 600}
    assert both(settlements([("b", 2, 500)])) == {"paid.USD": 1100, "carried.USD": -600}
    assert both(settlements([])) == {}
    assert both(settlements([("a", 3, 7)], "EUR")) == {"paid.EUR": 7, "carried.EUR": 0}


def test_what_is_carried_survives_a_snapshot() -> None:
    carry = Carry()
    settle(carry, [("a", 1, 600), ("é", 1, 2**70), ("b", 1, 5)], 2**71)
    settle(carry, [("a", 1, 3)], 0, currency="EUR")
    restored = Carry()
    restored.restore(carry.snapshot())
    assert len(restored) == len(carry) == 4
    for account in ("a", "b", "é"):
        assert restored.of(account) == carry.of(account)
    rows = [("a", 2, 1), ("c", 2, 1), ("é", 2, 2**70)]
    assert settle(restored, rows, 2**71) == settle(carry, rows, 2**71)
    empty = Carry()
    empty.restore(Carry().snapshot())
    assert settle(empty, rows) == settle(Carry(), rows)


def test_rows_are_datums_of_the_contracts() -> None:
    rows = settlements([("creator:a", 1, 600)])
    for name, batch in (
        ("Statement", statements(rows, "day")),
        ("Payout", Carry().settle(rows, "day", lambda _: {}).batch),
    ):
        assert codec.decode_one(codec.encode(name, batch)[0]) == (name, batch.to_pylist()[0])
