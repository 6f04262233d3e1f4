"""Open windows: what is added comes out once, in one order, to the nano."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from nanotally.streams.domain.records import NO_END
from nanotally.streams.domain.tallies import OpenTallies
from nanotally.streams.domain.tallies_level import Level, pack
from nanotally.streams.domain.tallies_sums import Sums
from nanotally.streams.domain.tariff import Settings
from nanotally.streams.errors import BrokenInvariant
from tests.support.tallies_reference import Use, add, close_all, closed_rows, rows_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAR = NO_END - 1
HOURLY = Settings(windows=("hour", "day", "month"), settlement="day")


def us(text: str) -> int:
    instant = datetime.fromisoformat(text)
    return (instant.replace(tzinfo=instant.tzinfo or UTC) - EPOCH) // timedelta(microseconds=1)


def test_a_use_is_tallied_by_hour_day_and_month_and_settled() -> None:
    tallies = OpenTallies(HOURLY, "payer:")
    add(tallies, [Use("p-1", us("2026-11-30T23:10"), amount=5_000_000, quantity=1)])
    add(tallies, [Use("p-1", us("2026-11-30T23:50"), amount=2_500_000, quantity=3)])
    end = us("2026-12-01")
    assert tallies.next_end() == end
    closed = tallies.close(end, None, 100)
    assert closed.done
    assert [
        tuple(r[k] for k in ("account", "size", "window_start", "window_end", "count", "quantity", "amount_nanos"))
        for r in closed.tallies.to_pylist()
    ] == [
        ("payer:p-1", "hour", us("2026-11-30T23:00"), end, 2, "4", "7500000"),
        ("payer:p-1", "day", us("2026-11-30"), end, 2, "4", "7500000"),
        ("payer:p-1", "month", us("2026-11-01"), end, 2, "4", "7500000"),
    ]
    settled = closed.settlements
    assert settled.account.to_pylist() == ["payer:p-1"]
    assert (settled.period_start_us.tolist(), settled.period_end_us.tolist()) == ([us("2026-11-30")], [end])
    assert (settled.count.tolist(), settled.amount_nanos.tolist()) == ([2], [7_500_000])
    assert closed.sums == {
        "tallies.hour.USD": 7_500_000,
        "tallies.day.USD": 7_500_000,
        "tallies.month.USD": 7_500_000,
        "settled.USD": 7_500_000,
    }
    assert tallies.size() == 0
    assert tallies.next_end() == NO_END


def test_a_window_is_closed_at_its_end_and_not_before() -> None:
    tallies = OpenTallies(HOURLY)
    add(tallies, [Use("a", us("2026-05-05T10:59:59.999999"), 1), Use("a", us("2026-05-05T11:00"), 2)])
    eleven = us("2026-05-05T11:00")
    assert tallies.next_end() == eleven
    assert len(tallies.close(eleven - 1, None, 10)) == 0
    closed = tallies.close(eleven, None, 10)
    assert [(r[7], r[11]) for r in rows_of(closed, HOURLY)] == [("hour", 1)]
    assert tallies.next_end() == us("2026-05-05T12:00")


def test_the_hours_of_a_long_day_fold_into_one_day() -> None:
    settings = Settings(zone="Europe/Berlin", windows=("hour", "day"), settlement="day")
    tallies = OpenTallies(settings)
    start = us("2026-10-25T00:00+02:00")
    add(tallies, [Use("a", start + h * 3_600_000_000, 10**h) for h in range(25)])
    rows, _ = close_all(tallies, us("2026-10-26T00:00+01:00"), 1000)
    assert [r[7] for r in rows] == ["hour"] * 25 + ["day", "settlement"]
    assert rows[-1][11] == rows[-2][11] == int("1" * 25)


def test_currencies_and_series_are_kept_apart_and_settled_by_currency() -> None:
    tallies = OpenTallies(Settings(windows=("day",), settlement="day"))
    at = us("2026-05-05T10:00")
    add(
        tallies,
        [
            Use("a", at, 1, product="news"),
            Use("a", at, 2, product="music", meter="play", scale=3, quantity=1500),
            Use("a", at, 4, product="music", meter="play", scale=2, quantity=150),
            Use("a", at, 8, product="news", currency="EUR"),
            Use("a", at, 16, product="", meter="", count=0, quantity=0),
        ],
    )
    rows, _ = close_all(tallies, us("2026-05-06"), 100)
    assert [(*r[3:7], r[9], r[10], r[11]) for r in rows] == [
        ("", "", 0, "USD", 0, 0, 16),
        ("music", "play", 2, "USD", 1, 150, 4),
        ("music", "play", 3, "USD", 1, 1500, 2),
        ("news", "page.view", 0, "EUR", 1, 1, 8),
        ("news", "page.view", 0, "USD", 1, 1, 1),
        ("", "", 0, "EUR", 1, 0, 8),
        ("", "", 0, "USD", 3, 0, 23),
    ]


def test_rows_come_by_end_then_size_then_text_whatever_the_order_of_adding() -> None:
    # U+FFFF sorts before U+1F600 by code point, behind it in UTF-16
    names = ["Z", "a", "aa", "a|b", "é", "\uffff", "\U0001f600"]
    uses = [
        Use(name, us(at), 1, product=product)
        for at in ("2026-05-05T22:30", "2026-05-05T23:30", "2026-05-06T00:30")
        for name in names
        for product in ("b", "a", "ä")
    ]
    expected = closed_rows(uses, HOURLY, FAR)
    assert [r[2] for r in expected[: 3 * len(names) : 3]] == names
    for seed in range(5):
        tallies = OpenTallies(HOURLY)
        order = np.random.default_rng(seed).permutation(len(uses))
        for i in order:
            add(tallies, [uses[i]])
        rows, _ = close_all(tallies, FAR, 1)
        assert rows == expected


def busy() -> list[Use]:
    """Five accounts in two series over two days, with gaps, and a month's end between."""
    rng = np.random.default_rng(11)
    first = us("2026-04-29T20:00")
    return [
        Use(f"creator:{rng.integers(5)}", first + int(m) * 60_000_000, int(rng.integers(-5, 100)), product=p)
        for m in sorted(rng.integers(0, 2 * 24 * 60, 16).tolist())
        for p in ("news", "music")[: int(rng.integers(1, 3))]
    ]


@pytest.mark.parametrize("settlement", ["hour", "day", "month"])
def test_slices_at_every_limit_give_the_rows_of_one_close(settlement: str) -> None:
    settings = Settings(settlement=settlement)
    uses = busy()
    for to in (us("2026-04-30T10:30"), us("2026-05-01"), us("2026-06-01")):
        expected = closed_rows(uses, settings, to)
        for limit in range(1, len(expected) + 2):
            tallies = OpenTallies(settings)
            add(tallies, uses)
            rows: list[tuple[object, ...]] = []
            cursor = None
            for _ in range(len(expected) // limit + 1):
                closed = tallies.close(to, cursor, limit)
                part = sorted(rows_of(closed, settings), key=lambda r: r[:7])
                assert len(part) == min(limit, len(expected) - len(rows))
                rows += part
                cursor = closed.cursor
                if closed.done:
                    break
                assert json.loads(cursor or "[]") == list(rows[-1][:7])
            assert rows == expected
            assert closed.done


def test_a_close_in_two_goes_gives_what_one_gives() -> None:
    uses = busy()
    whole = OpenTallies(HOURLY)
    add(whole, uses)
    expected, _ = close_all(whole, us("2026-06-01"), 10_000)
    tallies = OpenTallies(HOURLY)
    add(tallies, uses)
    rows: list[tuple[object, ...]] = []
    for to in (us("2026-04-30T03:00"), us("2026-04-30T03:20"), us("2026-05-01"), us("2026-06-01")):
        rows += close_all(tallies, to, 7)[0]
    assert sorted(rows, key=lambda r: r[:7]) == sorted(expected, key=lambda r: r[:7])


def test_dropping_up_to_a_cursor_leaves_what_the_slices_left() -> None:
    uses, to = busy(), us("2026-05-01")
    tallies = OpenTallies(HOURLY)
    add(tallies, uses)
    expected, cursors = close_all(tallies, to, 3)
    for n, cursor in enumerate(cursors):
        dropped = OpenTallies(HOURLY)
        add(dropped, uses)
        dropped.drop(to, cursor)
        assert dropped.closed_to_us == to
        if cursor is None:
            assert dropped.size() == tallies.size()
            assert dropped.next_end() == tallies.next_end()
            assert close_all(dropped, FAR, 100)[0] == close_all(tallies, FAR, 100)[0]
        else:
            rest, _ = close_all(dropped, to, 3)
            assert rest == expected[3 * (n + 1) :]
            dropped.drop(to, cursor)  # once more changes nothing
            assert dropped.next_end() > to


def test_sums_are_exact_beyond_64_bits() -> None:
    tallies = OpenTallies(Settings(windows=("hour", "day"), settlement="day"))
    at = us("2026-05-05T10:00")
    big = 2**63 - 1
    for _ in range(3):
        add(tallies, [Use("a", at, big, quantity=big), Use("b", at, -big, quantity=1), Use("c", at, 7)])
    add(tallies, [Use("a", at, big - 5, quantity=10**15) for _ in range(1000)])
    add(tallies, [Use("a", at, 2**70), Use("b", at + 3_600_000_000, -(2**80)), Use("c", at, 1)])
    rows, _ = close_all(tallies, us("2026-05-06"), 2)
    a = 3 * big + 1000 * (big - 5) + 2**70
    b = -3 * big
    sums = [(r[7], r[2], r[10], r[11]) for r in rows]
    a_quantity = 3 * big + 1000 * 10**15 + 1
    assert sorted(sums) == sorted(
        [
            ("hour", "a", a_quantity, a),
            ("hour", "b", 3, b),
            ("hour", "c", 4, 22),
            ("hour", "b", 1, -(2**80)),
            ("day", "a", a_quantity, a),
            ("day", "b", 4, b - 2**80),
            ("day", "c", 4, 22),
            ("settlement", "a", 0, a),
            ("settlement", "b", 0, b - 2**80),
            ("settlement", "c", 0, 22),
        ]
    )


def test_a_sum_grows_past_64_bits_in_small_steps() -> None:
    tallies = OpenTallies(Settings(windows=("day",), settlement="day"))
    step, at = 2**59 + 1, us("2026-05-05T10:00")
    for _ in range(40):
        add(tallies, [Use("a", at, step), Use("b", at, 1)])
    rows, _ = close_all(tallies, us("2026-05-06"), 100)
    assert [r[11] for r in rows] == [40 * step, 40, 40 * step, 40]


def test_sums_near_the_limit_of_64_bits_do_not_wrap() -> None:
    sums, slot = Sums(), np.zeros(1, dtype=np.int64)
    sums.add(slot, np.array([2**62 - 1], dtype=object))
    sums.add(slot, np.array([2**63 - 2**26]))
    assert sums.take(slot).tolist() == [2**62 - 1 + 2**63 - 2**26]
    sums.forget(slot)
    assert sums.take(slot).dtype == np.int64


def test_a_nearer_end_than_before_closes_only_what_has_ended() -> None:
    tallies = OpenTallies(HOURLY)
    add(tallies, [Use(n, us(at), 1) for n in "ab" for at in ("2026-05-05T10:30", "2026-05-05T11:30")])
    tallies.close(us("2026-05-05T12:00"), None, 1)
    rows, _ = close_all(tallies, us("2026-05-05T11:00"), 10)
    assert [(r[2], r[0]) for r in rows] == [("b", us("2026-05-05T11:00"))]


def test_a_closed_window_takes_nothing_more() -> None:
    tallies = OpenTallies(HOURLY, "payer:")
    add(tallies, [Use("p", us("2026-05-05T10:30"), 1)])
    tallies.close(us("2026-05-05T11:20"), None, 10)
    add(tallies, [Use("p", us("2026-05-05T11:10"), 1)])  # its hour is open, though the instant has been passed
    message = f"payer:late: a use at {us('2026-05-05T10:59')} us is booked in a window closed"
    with pytest.raises(BrokenInvariant, match=message):
        add(tallies, [Use("p", us("2026-05-05T12:00"), 1), Use("late", us("2026-05-05T10:59"), 1)])


def test_nothing_is_added_behind_an_unfinished_close() -> None:
    tallies = OpenTallies(HOURLY)
    add(tallies, [Use("a", us("2026-05-05T10:30"), 1), Use("b", us("2026-05-05T10:30"), 1)])
    assert not tallies.close(us("2026-05-05T11:00"), None, 1).done
    with pytest.raises(BrokenInvariant, match="booked in a window closed"):
        add(tallies, [Use("c", us("2026-05-05T10:30"), 1)])


def test_a_row_left_behind_the_cursor_is_seen() -> None:
    tallies = OpenTallies(HOURLY)
    add(tallies, [Use(n, us("2026-05-05T10:30"), 1) for n in "abc"])
    cursor = tallies.close(us("2026-05-05T11:00"), None, 2).cursor
    again = OpenTallies(HOURLY)
    add(again, [Use(n, us("2026-05-05T10:30"), 1) for n in "abc"])
    with pytest.raises(BrokenInvariant, match="is still open"):
        again.close(us("2026-05-05T11:00"), cursor, 2)
    one = OpenTallies(HOURLY)
    add(one, [Use(n, us("2026-05-05T10:30"), 1) for n in "bc"])
    with pytest.raises(BrokenInvariant, match="is still open"):
        one.close(us("2026-05-05T11:00"), cursor, 2)


def test_windows_must_be_in_order_and_hold_the_settlement() -> None:
    for windows, settlement in ((("day", "hour"), "day"), (("hour", "day"), "month"), (("hour", "week"), "hour")):
        with pytest.raises(BrokenInvariant, match="not in order, or without"):
            OpenTallies(Settings(windows=windows, settlement=settlement))
    with pytest.raises(ValueError, match="at least one row"):
        OpenTallies(HOURLY).close(0, None, 0)


def test_a_restored_state_goes_on_as_the_one_it_was_taken_from() -> None:
    uses, to = busy(), us("2026-05-01")
    for cut in (0, 1, 5, 30, None):
        tallies = OpenTallies(HOURLY, "payer:")
        add(tallies, uses)
        add(tallies, [Use("big", us("2026-05-04T10:00"), 2**80, quantity=2**65)])
        cursor = tallies.close(us("2026-04-30"), None, 1000).cursor
        if cut:
            cursor = tallies.close(to, None, cut).cursor
        if cut is None:
            tallies.close(FAR, None, 1000)
        restored = OpenTallies(HOURLY, "payer:")
        restored.restore(tallies.snapshot())
        assert (restored.size(), restored.next_end()) == (tallies.size(), tallies.next_end())
        assert restored.closed_to_us == tallies.closed_to_us
        assert restored.open_sums() == tallies.open_sums()
        if cut is not None:
            for each in (tallies, restored):
                if each.next_end() <= to:
                    each.close(to, cursor, 10_000)
                add(each, [Use("creator:1", us("2026-05-02T10:00"), 9), Use("new", us("2026-05-02T10:00"), 3)])
        assert close_all(restored, FAR, 4) == close_all(tallies, FAR, 4)


def test_a_snapshot_of_other_windows_is_refused() -> None:
    snapshot = OpenTallies(HOURLY).snapshot()
    for other in (Settings(zone="Europe/Berlin"), Settings(windows=("day", "month")), Settings(settlement="hour")):
        with pytest.raises(BrokenInvariant, match="a snapshot has windows"):
            OpenTallies(other).restore(snapshot)


def test_what_is_closed_and_what_is_open_make_up_what_was_added() -> None:
    uses = [*busy(), Use("x", us("2026-04-30T12:00"), 2**70, currency="EUR")]
    tallies = OpenTallies(HOURLY)
    add(tallies, uses)
    added = {c: sum(u.amount for u in uses if u.currency == c) for c in ("USD", "EUR")}
    closed: dict[str, int] = {}
    for to in (us("2026-04-30T06:00"), us("2026-05-01"), us("2026-05-01T03:00"), FAR):
        for name, nanos in tallies.close(to, None, 10_000).sums.items():
            closed[name] = closed.get(name, 0) + nanos
        left = tallies.open_sums()
        for name in ("tallies.hour", "tallies.day", "tallies.month", "settled"):
            for currency, nanos in added.items():
                key = f"{name}.{currency}"
                assert closed.get(key, 0) + left.get(key, 0) == nanos


def test_a_live_answer_counts_finer_windows_into_coarser_ones() -> None:
    tallies = OpenTallies(HOURLY, "payer:")
    add(tallies, [Use("p", us("2026-05-05T09:30"), 4_500_000, quantity=1500, meter="play", scale=3)])
    add(tallies, [Use("q", us("2026-05-05T10:30"), 77)])
    tallies.close(us("2026-05-05T10:00"), None, 10)
    add(tallies, [Use("p", us("2026-05-05T10:10"), 1_000_000_000, quantity=500, meter="play", scale=3)])
    answer = tallies.account("payer:p")
    assert answer is not None
    series = {"product": "news", "meter": "play", "scale": 3, "currency": "USD"}
    both = {**series, "count": 2, "quantity": "2", "amount": "1.0045"}
    assert answer == {
        "account": "payer:p",
        "windows": [
            {
                "size": "hour",
                "window_start": "2026-05-05T10:00:00Z",
                "window_end": "2026-05-05T11:00:00Z",
                **series,
                "count": 1,
                "quantity": "0.5",
                "amount": "1",
            },
            {"size": "day", "window_start": "2026-05-05T00:00:00Z", "window_end": "2026-05-06T00:00:00Z", **both},
            {"size": "month", "window_start": "2026-05-01T00:00:00Z", "window_end": "2026-06-01T00:00:00Z", **both},
        ],
        "settlement": [
            {
                "size": "day",
                "period_start": "2026-05-05T00:00:00Z",
                "period_end": "2026-05-06T00:00:00Z",
                "currency": "USD",
                "count": 2,
                "amount": "1.0045",
            }
        ],
    }
    assert tallies.account("payer:nobody") is None
    assert tallies.account("p") is None
    tallies.close(FAR, None, 100)
    assert tallies.account("payer:p") is None


def test_closed_windows_give_their_room_back() -> None:
    level = Level(lambda start: start + 10)
    account, one = np.arange(2000), np.ones(2000, dtype=np.int64)
    for window in range(0, 500, 10):
        level.add(pack(account, account % 3), np.full(2000, window), one, one, one * 2**62)
        level.add(pack(account, account % 3), np.full(2000, window), one, one, one * 2**62)
        slots = level.ended(window + 10)
        rows = level.rows(slots)
        assert sorted(rows.account.tolist()) == account.tolist()
        assert set(rows.amount_nanos.tolist()) == {2**63}
        level.kill(slots, slots[:0])
        level.shrink()
    assert len(level) == 0
    assert level.next_end() == NO_END
    # What is still open keeps its windows when the rows before it give way.
    level.add(pack(account, account), np.full(2000, 1000), one, one, one)
    level.add(pack(account[:9], account[:9]), np.full(9, 2000), one[:9], one[:9], one[:9])
    level.kill(level.ended(1010), np.zeros(0, dtype=np.int64))
    level.shrink()
    assert level.rows(level.ended(2010)).start_us.tolist() == [2000] * 9
    assert level.next_end() == 2010
    level.add(pack(account, account), np.full(2000, 3000), one, one, one)
    assert level.alive().max() < 4000


def test_series_codes_of_columns_are_those_of_single_series() -> None:
    tallies = OpenTallies(HOURLY)
    rows = [("a", "m", 0, "USD"), ("a", "m", 3, "USD"), ("b", "m", 0, "EUR"), ("a", "m", 0, "USD"), ("", "", 0, "USD")]
    product, meter, scale, currency = zip(*rows, strict=True)
    codes = tallies.series.codes(pa.array(product), pa.array(meter), np.array(scale), pa.array(currency))
    assert [tuple(tallies.series.rows[c]) for c in codes.tolist()] == rows
    assert codes.tolist() == [tallies.series_code(*row) for row in rows]
    nothing = pa.array([], type=pa.string())
    assert len(tallies.series.codes(nothing, nothing, np.zeros(0, dtype=np.int64), nothing)) == 0


def test_adding_nothing_opens_nothing() -> None:
    tallies = OpenTallies(HOURLY)
    add(tallies, [])
    assert tallies.next_end() == NO_END
    assert tallies.close(FAR, None, 1).done
