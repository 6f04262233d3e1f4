"""What falls due at the end of a scope, in hand-worked values: minimums."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from nanotally.streams.domain.tariff import Condition, Party, Rule, Split
from tests.support.payers_bench import (
    DAY,
    HOUR,
    MINUTE,
    T0,
    PayersBench,
    activate,
    book,
    close,
    control,
    event,
    rule,
    version,
)
from tests.support.payers_twins import accounts, alike, rebuilt


def least(minimum: int = 100, **more: Any) -> Rule:
    """Ten nanos a page, a day costs a hundred at least."""
    fields: dict[str, Any] = {"price": "10", "scope": "day", "minimum_nanos": minimum}
    return rule(**(fields | more))


def dues(bench: PayersBench) -> list[tuple[str, str, int, int, int]]:
    return [
        (c["payer"], c["reason"], c["paid_nanos"], c["booked_at"] - T0, c["n"])
        for c in bench.of("Charge")
        if c["outcome"] == "due"
    ]


def test_what_a_scope_lacks_of_its_minimum_falls_due_an_instant_before_its_end() -> None:
    bench = alike(book(version(least())), event("a", quantity=3), event("b", T0 + DAY), close(T0 + 2 * DAY))
    assert dues(bench) == [("p", "minimum", 70, DAY - 1, 0), ("p", "minimum", 90, 2 * DAY - 1, 0)]
    charges = bench.of("Charge")
    assert [(c["usage_offset"], c["n"], c["outcome"], c["paid_nanos"]) for c in charges] == [
        (1, 0, "charged", 30), (2, 0, "due", 70), (2, 1, "charged", 10), (3, 0, "due", 90),
    ]  # fmt: skip
    (line,) = charges[1]["lines"]
    assert (line["link"], line["rule"], line["minimum_nanos"], line["charged_before"], line["amount_nanos"]) == (
        "minimum", "article", 100, 30, 70,
    )  # fmt: skip
    assert (line["scope_start"], line["scope_end"], charges[1]["event"]) == (T0, T0 + DAY, None)
    assert accounts(bench) == {"platform": 20, "creator:ana": 180}
    statements = [(s["period_start"] - T0, s["due_nanos"], s["count"]) for s in bench.of("Statement")]
    assert statements == [(0, "100", 1), (DAY, "100", 1)]


def test_a_scope_that_came_to_its_minimum_owes_nothing() -> None:
    bench = alike(
        book(version(least())), event("a", quantity=10), event("b", T0 + DAY, quantity=11), close(T0 + 2 * DAY)
    )
    assert dues(bench) == [] and bench.paid() == [100, 110]


def test_a_minimum_is_divided_as_the_uses_of_the_scope_were() -> None:
    values = [event("a", quantity=1), event("b", quantity=2, creator="bob"), event("c", creator=None)]
    bench = alike(book(version(least())), *values, close(T0 + DAY))
    # 60 by 10 of ana, 20 of bob, 10 of the platform alone, in the order of the splits: platform-ana first.
    parts = {line["shares"][-1]["account"]: line["amount_nanos"] for line in bench.charge()["lines"]}
    assert parts == {"creator:ana": 15, "creator:bob": 30, "platform": 15}
    assert accounts(bench) == {"platform": 1 + 2 + 10 + 1 + 3 + 15, "creator:ana": 9 + 14, "creator:bob": 18 + 27}


def test_where_no_use_came_to_anything_the_platform_gets_the_minimum() -> None:
    bench = alike(book(version(least(price="0"))), event("a"), close(T0 + DAY))
    (line,) = bench.charge()["lines"]
    assert [(s["account"], s["nanos"]) for s in line["shares"]] == [("platform", 100)] and line["split"] == ""


def test_dues_come_by_their_end_before_the_windows_close_and_before_the_use_is_priced() -> None:
    rules = (least(), rule("call", "play", price="1", scope="hour", minimum_nanos=7))
    values = [
        event("a"), event("b", T0 + MINUTE, meter="play", scale=3, session="s"), event("c", T0 + DAY + HOUR),
    ]  # fmt: skip
    bench = alike(book(version(*rules)), *values)
    assert dues(bench) == [("p", "minimum", 6, HOUR - 1, 0), ("p", "minimum", 90, DAY - 1, 1)]
    assert bench.charge()["n"] == 2
    told = {
        (t["size"], t["product"], t["meter"], t["scale"]): (t["count"], t["amount_nanos"]) for t in bench.of("Tally")
    }
    assert told["day", "", "", 0] == (0, "96") and told["hour", "", "", 0] == (0, "90")


def test_the_minimum_of_an_event_is_due_at_once() -> None:
    bench = alike(book(version(least(scope="event"))), event("a"), event("b", quantity=11), close(T0 + DAY))
    assert bench.paid() == [100, 110] and dues(bench) == []


def test_the_version_of_the_last_use_says_what_the_minimum_is() -> None:
    old, new = version(least()), version(least(0), number=2, since_us=T0 + HOUR)
    dropped = alike(book(old, new), event("a"), event("b", T0 + HOUR), close(T0 + DAY))
    assert dues(dropped) == []
    first, last = version(least(0)), version(least(50), number=2, since_us=T0 + HOUR)
    added = alike(book(first, last), event("a"), event("b", T0 + HOUR, creator="bob"), close(T0 + DAY))
    assert dues(added) == [("p", "minimum", 30, DAY - 1, 0)]
    assert [line["version"] for line in added.charge()["lines"]] == [2, 2]
    assert accounts(added) == {"platform": 1 + 1 + 1 + 1, "creator:ana": 9 + 14, "creator:bob": 9 + 14}


def test_a_session_with_a_minimum_owes_it_when_it_ended() -> None:
    short = least(scope="session", length_us=30 * MINUTE)
    values = [
        event("a"),
        event("b", T0 + 29 * MINUTE),
        event("c", T0 + 58 * MINUTE, payer="q"),
        event("d", T0 + 59 * MINUTE),
    ]
    bench = alike(book(version(short)), *values, close(T0 + DAY))
    assert dues(bench) == [
        ("p", "minimum", 80, 59 * MINUTE - 1, 0), ("q", "minimum", 90, 88 * MINUTE - 1, 0),
        ("p", "minimum", 90, 89 * MINUTE - 1, 1),
    ]  # fmt: skip


def test_two_instances_that_are_open_at_once_owe_each_its_own() -> None:
    short = book(version(least(scope="session", length_us=30 * MINUTE)), lateness_us=2 * HOUR)
    bench = alike(short, event("a"), event("b", T0 + HOUR), event("c", T0), close(T0 + DAY))
    assert [due[2:4] for due in dues(bench)] == [(90, 30 * MINUTE - 1), (80, 90 * MINUTE - 1)]


def test_many_dues_in_slices_are_numbered_through_and_count_as_one_close() -> None:
    values = [event(f"e{i}", payer=f"p{i}") for i in range(7)]
    bench = alike(book(version(least())), *values, event("z", T0 + DAY, payer="p3"), slices=(1, 2, 3, 5))
    assert [due[4] for due in dues(bench)] == list(range(7)) and bench.charge()["n"] == 7
    ticked = alike(book(version(least())), *values, control("tick"))
    assert len(dues(ticked)) == 7


def test_splits_with_caps_divide_a_minimum_by_their_terms() -> None:
    fee = Split("fee", (Party("party:fee", Fraction(1, 10), cap_nanos=2), Party("creator", None)))
    bench = alike(
        book(version(least(split="fee"), splits=(fee,))), event("a"), event("b", creator="bob"), close(T0 + DAY)
    )
    # 40 each of the 80: 10% of it is 4, capped at 2.
    assert accounts(bench) == {"party:fee": 1 + 1 + 2 + 2, "creator:ana": 9 + 38, "creator:bob": 9 + 38}


def test_a_book_without_the_version_that_is_due_does_not_stop_it() -> None:
    first = book(version(least()))
    second = book(version(rule("other", when=(Condition("item", "equals", ("/z",)),)), number=2), number=1)
    bench = PayersBench(first).take(event("a"))
    bench.books[1] = second
    bench.take(activate(second))
    for how in ("ledger", "snapshot"):
        rebuilt(bench, how)
    bench.take(close(T0 + DAY))
    rebuilt(bench, "ledger")
    assert dues(bench) == [("p", "minimum", 90, DAY - 1, 0)]
    assert (bench.charge()["book_number"], bench.charge()["lines"][0]["version"]) == (1, 1)
