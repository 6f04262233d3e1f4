"""The accounts' stage: earnings of all sources become tallies and payouts, whatever the chunks and the crashes."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from nanotally.schemas import codec
from nanotally.streams.domain.accounts import AccountsLogic
from nanotally.streams.domain.records import LONG_AGO, RawChunk
from nanotally.streams.domain.tariff import Settings
from nanotally.streams.errors import BrokenInvariant
from tests.support.earnings import MINUTE, Driver, Earned, Mark, Message, expected, interleaved, sources
from tests.support.tallies_reference import Use

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAILY = Settings(windows=("hour", "day"), settlement="day", thresholds=(("USD", 1000),))


def us(text: str) -> int:
    instant = datetime.fromisoformat(text)
    return (instant.replace(tzinfo=instant.tzinfo or UTC) - EPOCH) // timedelta(microseconds=1)


def mark(source: int, at: str, of: int = 2, book: int = 7, settings: Settings = DAILY) -> Mark:
    return Mark(source, of, us(at), book, settings)


def earned(source: int, account: str, at: str, amount: int) -> Earned:
    return Earned(source, Use(account, us(at), amount))


def run(messages: list[Message], slice_rows: int = 20_000) -> Driver:
    return Driver(messages, AccountsLogic(1, slice_rows)).run()


def test_windows_close_when_every_source_has_passed_their_end() -> None:
    driver = Driver(
        [
            earned(0, "creator:ana", "2026-05-05T10:59", 700),
            mark(0, "2026-05-05T12:00"),
            earned(1, "creator:ana", "2026-05-05T10:01", 50),
            mark(1, "2026-05-05T10:59"),
            mark(1, "2026-05-05T11:00"),
            mark(1, "2026-05-06T00:00"),
            mark(0, "2026-05-06T00:00"),
        ],
        AccountsLogic(1),
    )
    closed = []
    for _ in driver.values:
        driver.step(1)
        closed.append(len(driver.tallies) + len(driver.payouts))
    assert closed == [0, 0, 0, 0, 1, 1, 3]
    assert driver.tallies[0] == {
        "account": "creator:ana",
        "size": "hour",
        "window_start": us("2026-05-05T10:00"),
        "window_end": us("2026-05-05T11:00"),
        "product": "news",
        "meter": "page.view",
        "scale": 0,
        "currency": "USD",
        "count": 2,
        "quantity": "2",
        "amount_nanos": "750",
    }
    (payout,) = driver.payouts
    assert (payout["account"], payout["earned_nanos"]) == ("creator:ana", "750")
    assert (payout["paid_nanos"], payout["carried_nanos"]) == ("0", "750")
    assert driver.chunk is not None
    assert driver.chunk["source_watermarks"] == {"0": us("2026-05-06"), "1": us("2026-05-06")}
    assert (driver.chunk["watermark_us"], driver.chunk["closed_to_us"]) == (us("2026-05-06"),) * 2
    assert driver.chunk["sums"] == {
        "earned.USD": "750",
        "tallies.hour.USD": "750",
        "tallies.day.USD": "750",
        "settled.USD": "750",
        "paid.USD": "0",
        "carried.USD": "750",
    }
    assert driver.chunk["counts"] == {"earnings": 2, "marks": 5, "rows.account_tallies": 2, "rows.payouts": 1}
    assert (driver.chunk["records"], driver.chunk["book_number"], driver.chunk["stage"]) == (7, 7, "accounts")


def test_earnings_may_come_before_any_mark_tells_the_windows() -> None:
    driver = Driver(
        [
            earned(0, "creator:ana", "2026-05-05T10:00", 1000),
            earned(0, "creator:ana", "2026-05-05T11:00", 1),
            mark(0, "2026-05-06T00:00", of=1),
        ],
        AccountsLogic(0),
    )
    driver.step(1)
    assert (driver.logic.account("creator:ana"), driver.logic.metrics()["earnings"]) == (None, 1)
    driver.logic.restore(driver.logic.snapshot())
    driver.step(1)
    driver.step(1)
    assert [p["paid_nanos"] for p in driver.payouts] == ["1001"]


@pytest.mark.parametrize("seed", range(4))
def test_any_chunks_slices_and_order_of_sources_give_the_plain_rows(seed: int) -> None:
    rng = random.Random(seed)
    settings = Settings(
        zone=rng.choice(("UTC", "Europe/Berlin")),
        windows=rng.choice((("hour", "day", "month"), ("minute", "hour", "day"))),
        settlement=rng.choice(("hour", "day")),
        thresholds=(("USD", 2 * 10**9),),
    )
    sent = sources(rng, rng.randrange(1, 4), settings, 25, us("2026-03-28T20:00"))
    rows, payouts = expected(sent, settings)
    assert rows and payouts
    for slice_rows in (1, 7, 20_000):
        logic = AccountsLogic(0, slice_rows)
        driver = Driver(interleaved(rng, sent), logic).run(rng)
        assert sorted(driver.rows(settings)) == rows
        assert driver.payouts == payouts
        if slice_rows > 1:
            assert driver.rows(settings) == rows
        logic.state.balance()


def test_a_book_rules_the_ends_that_no_source_has_passed_without_it() -> None:
    # Both sources pass the 6th with book 7 (threshold 1000); only source 0 passes the 7th with it, so that rules too;
    # the 8th is passed by both with book 8 (threshold 10).
    low = replace(DAILY, thresholds=(("USD", 10),))
    first: list[Message] = [mark(0, "2026-05-06"), mark(0, "2026-05-07"), mark(0, "2026-05-08", book=8, settings=low)]
    second: list[Message] = [
        *(earned(1, "creator:ana", f"2026-05-0{day}T10:00", 50) for day in (5, 6, 7)),
        mark(1, "2026-05-06"),
        mark(1, "2026-05-07", book=8, settings=low),
        mark(1, "2026-05-08", book=8, settings=low),
    ]
    for messages in (first + second, second + first, [*second[:4], *first, *second[4:]]):
        assert [p["paid_nanos"] for p in run(messages).payouts] == ["0", "0", "150"]


def mid_run(seed: int, slice_rows: int) -> tuple[list[Message], Settings, random.Random]:
    rng = random.Random(seed)
    settings = replace(DAILY, thresholds=(("USD", 10**9),))
    sent = sources(rng, 2, settings, 20, us("2026-05-05"))
    return interleaved(rng, sent), settings, rng


@pytest.mark.parametrize(("seed", "slice_rows"), [(1, 1), (2, 2), (3, 3), (4, 20_000)])
def test_a_rebuild_at_any_chunk_goes_on_as_if_nothing_had_happened(seed: int, slice_rows: int) -> None:
    messages, _, rng = mid_run(seed, slice_rows)
    whole = Driver(messages, AccountsLogic(0, slice_rows)).run()
    driver = Driver(messages, AccountsLogic(0, slice_rows))
    snapshots: list[tuple[int, dict[str, bytes]]] = [(0, AccountsLogic(0).snapshot())]
    cuts = 0
    while driver.place < len(driver.values):
        driver.step(rng.randrange(1, 12))
        assert driver.chunk is not None
        cuts += driver.chunk["cursor"] is not None
        if rng.random() < 0.3:
            snapshots.append((len(driver.before()), driver.logic.snapshot()))
        # Crash: from any snapshot so far, or from nothing, with the rest of the log in any batches.
        rebuilt = AccountsLogic(0, slice_rows)
        place, parts = rng.choice(snapshots)
        rebuilt.restore(parts)
        before = driver.before()
        while place < len(before):
            n = rng.randrange(1, 9)
            rebuilt.evolve(before[place : place + n], driver.offsets[place])
            place = min(len(before), place + n)
        assert rebuilt.resume(driver.chunk) == driver.chunk["next_offset"]
        if driver.chunk["cursor"] is None:
            assert rebuilt.state.chunk() == driver.logic.state.chunk()
            assert rebuilt.size() == driver.logic.size()
            for account in ("creator:ana", "creator:bö", "platform", "pool:day"):
                assert rebuilt.account(account) == driver.logic.account(account)
        driver.logic = rebuilt
    assert (driver.tallies, driver.payouts) == (whole.tallies, whole.payouts)
    assert driver.logic.state.chunk() == whole.logic.state.chunk()
    assert cuts > 0 or slice_rows == 20_000


def test_a_step_closes_no_more_rows_than_a_slice_and_takes_the_mark_last() -> None:
    messages: list[Message] = [earned(0, f"creator:{i}", "2026-05-05T10:00", 10) for i in range(5)]
    messages += [mark(0, "2026-05-06", of=1), mark(0, "2026-05-07", of=1)]
    driver = Driver(messages, AccountsLogic(0, 4))
    sizes = []
    while driver.place < len(messages):
        step = driver.step(len(messages))
        sizes.append((step.taken, sum(len(e.values) for e in step.emissions) - 1, step.done))
    # 5 hours, 5 days and 5 settlements
    assert sizes == [(5, 4, False), (0, 4, False), (0, 4, False), (2, 3, True)]


def test_nothing_is_decided_when_the_slice_is_full() -> None:
    messages: list[Message] = [
        earned(0, "creator:a", "2026-05-05T10:00", 10),
        earned(0, "creator:a", "2026-05-05T11:00", 10),
        mark(0, "2026-05-05T11:00", of=1),
        mark(0, "2026-05-05T12:00", of=1),
    ]
    driver = Driver(messages, AccountsLogic(0, 1))
    assert driver.step(4).taken == 3
    assert driver.chunk is not None
    assert (driver.chunk["cursor"], driver.chunk["closed_to_us"]) == (None, us("2026-05-05T11:00"))
    assert (driver.step(1).taken, len(driver.tallies)) == (1, 2)


def test_a_live_answer_tells_open_windows_and_what_is_carried() -> None:
    driver = run(
        [
            earned(0, "creator:ana", "2026-05-05T10:00", 750),
            mark(0, "2026-05-06", of=1),
            earned(0, "creator:ana", "2026-05-06T10:00", 1_000_000_000),
        ]
    )
    answer = driver.logic.account("creator:ana")
    assert answer is not None
    assert answer["carried"] == {"USD": "0.00000075"}
    assert [(w["size"], w["amount"]) for w in answer["windows"]] == [("hour", "1"), ("day", "1")]
    assert [s["amount"] for s in answer["settlement"]] == ["1"]
    assert driver.logic.account("creator:nobody") is None
    settled = run([earned(0, "creator:ana", "2026-05-05T10:00", 750), mark(0, "2026-05-06", of=1)])
    assert settled.logic.account("creator:ana") == {
        "account": "creator:ana",
        "windows": [],
        "settlement": [],
        "carried": {"USD": "0.00000075"},
    }


def test_metrics_tell_times_only_once_there_are_any() -> None:
    logic = AccountsLogic(0)
    assert logic.metrics() == {"next_offset": 0, "records": 0}
    driver = Driver([mark(0, "2026-05-06", of=1)], logic).run()
    assert driver.logic.metrics()["watermark_us"] == driver.logic.metrics()["closed_to_us"] == us("2026-05-06")
    assert logic.needed_books(driver.values) == ()


def test_without_an_output_the_stage_begins_at_the_start() -> None:
    assert AccountsLogic(0).resume(None) == 0
    logic = AccountsLogic(0)
    logic.evolve([earned(0, "a", "2026-05-05", 1).value()], 0)
    with pytest.raises(BrokenInvariant, match="there is no chunk record"):
        logic.resume(None)


def damage(driver: Driver, what: str) -> tuple[list[bytes], dict[str, Any]]:
    """The log and the last chunk record, one of them damaged."""
    assert driver.chunk is not None
    before, chunk = driver.before(), dict(driver.chunk)
    if what == "an earning lost":
        del before[0]
    elif what == "an earning doubled":
        before.insert(0, before[0])
    elif what == "a sum":
        chunk["sums"] = {**chunk["sums"], "paid.USD": "1"}
    elif what == "a watermark":
        chunk["source_watermarks"] = {"0": us("2026-05-07")}
    return before, chunk


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nothing", None),
        ("an earning lost", "says records 4, the earnings before it come to 3"),
        ("an earning doubled", "says records 4, the earnings before it come to 5"),
        ("a sum", "says sums .*'paid.USD': '1'"),
        ("a watermark", "says source_watermarks"),
    ],
)
def test_a_rebuild_that_comes_to_something_else_stops(what: str, message: str | None) -> None:
    driver = run(
        [
            earned(0, "creator:ana", "2026-05-05T10:00", 750),
            earned(0, "creator:bo", "2026-05-05T10:00", 5),
            mark(0, "2026-05-06", of=1),
            earned(0, "creator:ana", "2026-05-06T10:00", 1),
        ]
    )
    before, chunk = damage(driver, what)
    logic = AccountsLogic(1)
    logic.evolve(before, 5)
    if message is None:
        assert logic.resume(chunk) == chunk["next_offset"]
        return
    with pytest.raises(BrokenInvariant, match=message):
        logic.resume(chunk)


def test_money_that_is_neither_settled_nor_open_stops_the_stage() -> None:
    driver = run([earned(0, "creator:ana", "2026-05-05T10:00", 750), mark(0, "2026-05-05T10:30", of=1)])
    driver.logic.state.balance()
    driver.logic.state.sums["earned.USD"] += 1
    with pytest.raises(BrokenInvariant, match=r"accounts\[1\]: 751 nanos USD earned, 750 paid, carried or open"):
        driver.logic.state.balance()


def test_a_close_that_comes_to_something_else_when_it_is_done_again_stops() -> None:
    messages: list[Message] = [earned(0, name, "2026-05-05T10:00", 10) for name in "abc"]
    messages.append(mark(0, "2026-05-06", of=1))
    driver = Driver(messages, AccountsLogic(0, 2))
    driver.step(4)
    assert driver.chunk is not None and driver.chunk["cursor"] is not None
    sums = {**driver.chunk["sums"], "tallies.hour.USD": "21"}
    driver.logic = AccountsLogic(0, 2)
    driver.logic.evolve(driver.before(), 5)
    driver.logic.resume({**driver.chunk, "sums": sums})
    with pytest.raises(BrokenInvariant, match=r"says sums .*'tallies.hour.USD': '21'"):
        driver.step(1)


def test_a_snapshot_that_lost_open_windows_is_seen() -> None:
    few = run([earned(0, "creator:ana", "2026-05-05T10:00", 750), mark(0, "2026-05-05T10:30", of=1)])
    many = run([earned(0, "creator:ana", "2026-05-05T10:00", 751), mark(0, "2026-05-05T10:30", of=1)])
    lost = {name: blob for name, blob in few.logic.snapshot().items() if name.startswith("tallies.")}
    logic = AccountsLogic(1)
    logic.restore(many.logic.snapshot() | lost)
    with pytest.raises(BrokenInvariant, match="751 nanos USD earned, 750 paid, carried or open"):
        logic.resume(many.chunk)


def test_books_that_rule_nothing_any_more_are_let_go() -> None:
    start = us("2026-05-05")
    messages: list[Message] = [
        Mark(source, 2, start + minute * MINUTE, minute // 3, replace(DAILY, thresholds=(("USD", minute // 3),)))
        for minute in range(120)
        for source in (0, 1)
    ]
    kept = run(messages).logic.state.sources.document()
    assert kept["sources"] == [[source, start + 119 * MINUTE, [(39, start + 119 * MINUTE)]] for source in (0, 1)]
    assert [book for book, _ in kept["settings"]] == [39]
    ahead = run([Mark(0, 2, start + minute * MINUTE, 7, DAILY) for minute in range(100)])  # while source 1 is silent
    assert ahead.logic.state.sources.document()["sources"] == [[0, start + 99 * MINUTE, [(7, start + 99 * MINUTE)]]]


def test_earnings_behind_the_watermark_of_their_source_stop_the_stage() -> None:
    with pytest.raises(BrokenInvariant, match=r"creator:late: a use at .* is booked in a window closed"):
        run([mark(0, "2026-05-05T12:00", of=1), earned(0, "creator:late", "2026-05-05T11:59", 1)])
    open_hour: list[Message] = [mark(0, "2026-05-05T12:30", of=1), earned(0, "creator:ana", "2026-05-05T12:29", 1)]
    assert run(open_hour).logic.size() == 1


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([mark(0, "2026-05-05"), mark(1, "2026-05-05", of=3)], "a mark of source 1 of 3, where 2 were known"),
        ([mark(2, "2026-05-05", of=2)], "a mark of source 2 of 2, where 2 were known"),
        ([mark(0, "2026-05-05"), mark(1, "2026-05-05", settings=replace(DAILY, skew_us=1))], "different settings of"),
        (
            [mark(0, "2026-05-05"), mark(0, "2026-05-06", book=8, settings=replace(DAILY, settlement="hour"))],
            "rule book 8 has other windows, settlement or zone than the first one",
        ),
    ],
)
def test_marks_that_do_not_belong_together_stop_the_stage(messages: list[Message], message: str) -> None:
    with pytest.raises(BrokenInvariant, match=message):
        run(messages)


def test_a_mark_that_is_not_ahead_changes_nothing() -> None:
    driver = run(
        [mark(0, "2026-05-06", of=1), mark(0, "2026-05-05", of=1, book=9), mark(0, "2026-05-06", of=1, book=9)]
    )
    assert driver.logic.state.sources.watermarks == {0: us("2026-05-06")}
    assert driver.chunk is not None and driver.chunk["book_number"] == 7


def test_until_every_source_was_heard_there_is_no_watermark() -> None:
    driver = run([earned(1, "creator:ana", "2026-05-05T10:00", 1), mark(1, "2026-06-05")])
    assert driver.chunk is not None
    assert (driver.chunk["watermark_us"], driver.tallies) == (LONG_AGO, [])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "record 1 of a chunk of earnings is no record of ours"),
        (b"\x00", "record 1 of a chunk of earnings is no record of ours"),
        (earned(0, "a", "2026-05-05", 1).value() + b"\x00", "Earning 1 of a chunk of earnings: "),
        (codec.encode_one("Chunk", AccountsLogic(0).state.chunk()), "record 1 of a chunk of earnings is Chunk"),
    ],
)
def test_records_that_the_payers_stage_does_not_write_stop_the_stage(value: bytes | None, message: str) -> None:
    offsets = np.arange(2, dtype=np.int64)
    values = [earned(0, "a", "2026-05-05", 1).value(), value]
    with pytest.raises(BrokenInvariant, match=message):
        AccountsLogic(0).decide(RawChunk("earnings", 0, offsets, offsets, [None, None], values))


def test_records_before_the_position_stop_the_stage() -> None:
    driver = run([mark(0, "2026-05-05", of=1), mark(0, "2026-05-06", of=1)])
    driver.place = 1
    with pytest.raises(BrokenInvariant, match="offset 8 comes again; the position is 9"):
        driver.step(1)


def test_many_earnings_of_one_minute_in_many_chunks_sum_up() -> None:
    minute = us("2026-05-05T10:00")
    messages: list[Message] = [
        Earned(s, Use(f"creator:{i % 3}", minute + i % 2 * MINUTE, 2**62)) for i in range(30) for s in (0, 1)
    ]
    driver = run([*messages, mark(0, "2026-05-06"), mark(1, "2026-05-06")])
    assert [int(p["paid_nanos"]) for p in driver.payouts] == [20 * 2**62] * 3
    assert driver.chunk is not None and driver.chunk["sums"]["earned.USD"] == str(60 * 2**62)
