"""Open windows and the accounts' stage against plain counting, on whatever Hypothesis comes up with."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nanotally.streams.domain.accounts import AccountsLogic
from nanotally.streams.domain.records import NO_END
from nanotally.streams.domain.tallies import OpenTallies
from nanotally.streams.domain.tallies_sums import Sums, digits, exact, plus, sums_by
from nanotally.streams.domain.tariff import Settings
from tests.support.earnings import Driver, expected, interleaved, sources
from tests.support.tallies_reference import Row, Use, add, close_all, closed_rows

# The night before summer time begins in Berlin, in the last days of a month.
START = int(datetime(2026, 3, 28, 20, tzinfo=UTC).timestamp()) * 1_000_000
MINUTE = 60_000_000
WINDOWS = [
    ("minute", "hour"),
    ("hour", "day", "month"),
    ("day", "month"),
    ("month",),
    ("minute", "hour", "day", "month"),
]
BIG = st.one_of(st.integers(-5, 1000), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**62, 2**63 - 1, -(2**63)]))

all_settings = st.sampled_from(WINDOWS).flatmap(
    lambda windows: st.builds(
        Settings,
        zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"]),
        windows=st.just(windows),
        settlement=st.sampled_from(windows),
    )
)
steps = st.lists(
    st.tuples(
        st.lists(
            st.builds(
                Use,
                account=st.sampled_from(["a", "b", "é", "\uffff", "\U0001f600", ""]),
                at_us=st.integers(0, 5 * 24 * 60 * MINUTE),
                amount=BIG,
                count=st.integers(0, 3),
                quantity=BIG,
                product=st.sampled_from(["news", "music", ""]),
                scale=st.integers(0, 1),
                currency=st.sampled_from(["USD", "EUR"]),
            ),
            max_size=8,
        ),
        st.integers(0, 36 * 60 * MINUTE),  # how far the watermark moves then
        st.integers(1, 6),  # rows of a slice
        st.booleans(),  # whether the state goes through a snapshot
    ),
    min_size=1,
    max_size=6,
)


def booked(uses: list[Use], watermark: int) -> list[Use]:
    return [Use(**{**vars(u), "at_us": watermark + u.at_us}) for u in uses]


@given(all_settings, steps)
@settings(deadline=None, max_examples=80)
def test_what_closes_is_what_plain_counting_says(
    chosen: Settings, plan: list[tuple[list[Use], int, int, bool]]
) -> None:
    tallies, added, watermark, rows = OpenTallies(chosen, "payer:"), list[Use](), START, list[Row]()
    for uses, ahead, limit, snapshot in plan:
        now = booked(uses, watermark)
        add(tallies, now)
        added += now
        watermark += ahead
        rows += close_all(tallies, watermark, limit)[0]
        assert tallies.next_end() > watermark
        if snapshot:
            restored = OpenTallies(chosen, "payer:")
            restored.restore(tallies.snapshot())
            tallies = restored
    assert sorted(rows) == closed_rows(added, chosen, watermark, "payer:")
    rows += close_all(tallies, NO_END - 1, 1)[0]
    assert sorted(rows) == closed_rows(added, chosen, NO_END, "payer:")
    assert tallies.size() == 0


@given(all_settings, steps, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_adding_all_and_dropping_leaves_what_closing_left(
    chosen: Settings, plan: list[tuple[list[Use], int, int, bool]], rng: random.Random
) -> None:
    closing, folding, watermark = OpenTallies(chosen), OpenTallies(chosen), START
    for uses, ahead, limit, fold in plan:
        now = booked(uses, watermark)
        add(closing, now)
        shuffled = rng.sample(now, len(now))
        middle = rng.randrange(len(now) + 1)
        add(folding, shuffled[:middle])
        add(folding, shuffled[middle:])
        watermark += ahead
        closed = closing.close(watermark, None, limit)
        if not closed.done:
            halfway = OpenTallies(chosen)
            halfway.restore(folding.snapshot())
            halfway.drop(watermark, closed.cursor)
            rest, _ = close_all(closing, watermark, 1)
            assert close_all(halfway, watermark, 1)[0] == rest
        if fold:  # several closes may be dropped at once
            folding.drop(watermark, None)
            assert (folding.size(), folding.next_end()) == (closing.size(), closing.next_end())
    folding.drop(watermark, None)
    assert close_all(folding, NO_END - 1, 7) == close_all(closing, NO_END - 1, 7)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.one_of(BIG, st.integers(-(2**90), 2**90))), max_size=6), max_size=8
    )
)
@settings(deadline=None)
def test_sums_are_what_python_integers_say(rounds: list[list[tuple[int, int]]]) -> None:
    sums, plain = Sums(), [0] * 4
    slots = np.arange(4)
    for pairs in rounds:
        values = exact([v for _, v in pairs])
        sums.add(np.array([s for s, _ in pairs], dtype=np.int64), values)
        for slot, value in pairs:
            plain[slot] += value
        assert sums.take(slots).tolist() == plain
        assert digits(sums.take(slots)).to_pylist() == [str(v) for v in plain]
        assert plus(sums.take(slots), sums.take(slots)).tolist() == [2 * v for v in plain]
        codes = np.array([s % 2 for s, _ in pairs], dtype=np.int64)
        assert sums_by(codes, 2, values) == [sum(v for s, v in pairs if s % 2 == k) for k in (0, 1)]
    sums.keep(np.array([3, 1]))
    assert sums.take(np.array([0, 1])).tolist() == [plain[3], plain[1]]


@given(st.integers(0, 2**32), all_settings, st.sampled_from([1, 3, 10, 1000]))
@settings(deadline=None, max_examples=40)
def test_any_chunks_and_any_order_of_sources_give_the_same_payouts(
    seed: int, chosen: Settings, slice_rows: int
) -> None:
    rng = random.Random(seed)
    chosen = Settings(
        zone=chosen.zone,
        windows=chosen.windows,
        settlement=chosen.settlement,
        thresholds=(("USD", 10**9), ("EUR", 400)),
    )
    sent = sources(rng, rng.randrange(1, 4), chosen, rng.randrange(12), START)
    messages = interleaved(rng, sent)
    driver = Driver(messages, AccountsLogic(0, slice_rows)).run(rng)
    rows, payouts = expected(sent, chosen)
    assert (sorted(driver.rows(chosen)), driver.payouts) == (rows, payouts)
    driver.logic.state.balance()
    # and a rebuild from nothing, or from a snapshot on the way, agrees with the last chunk record
    rebuilt = AccountsLogic(0, slice_rows)
    before = driver.before()
    middle = rng.randrange(len(before) + 1)
    rebuilt.evolve(before[:middle], 0)
    restored = AccountsLogic(0, slice_rows)
    restored.restore(rebuilt.snapshot())
    restored.evolve(before[middle:], 0)
    assert restored.resume(driver.chunk) == (driver.chunk["next_offset"] if driver.chunk else 0)
    if driver.chunk:
        assert restored.state.chunk() == driver.logic.state.chunk()
