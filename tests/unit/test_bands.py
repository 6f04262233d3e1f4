"""Bands of time, in hand-worked instants and against the wall clock asked one instant at a time."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import numpy as np
import pytest

from nanotally.streams.domain.bands import in_band, next_border
from nanotally.streams.domain.records import NO_END
from nanotally.streams.domain.rules import Condition
from tests.support import reference_bands


def band(
    days: str = "", dates: str = "", begin: str = "00:00:00", end: str = "24:00:00", zone: str = "UTC"
) -> Condition:
    return Condition("occurred_at", "band", (zone, days, dates, begin, end))


def at(*texts: str) -> np.ndarray:
    instants = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in texts]
    return np.array([int(i.timestamp()) * 1_000_000 for i in instants], dtype=np.int64)


def test_a_band_begins_with_its_first_instant_and_ends_before_its_last() -> None:
    peak = band(begin="08:00:00", end="19:00:00")
    times = at("2026-11-07T07:59:59", "2026-11-07T08:00:00", "2026-11-07T18:59:59", "2026-11-07T19:00:00")
    assert in_band(peak, times).tolist() == [False, True, True, False]
    assert next_border(peak, times).tolist() == [times[1], times[3], times[3], *at("2026-11-08T08:00:00")]


def test_what_a_night_has_after_midnight_belongs_to_the_day_it_began_on() -> None:
    friday_night = band(days="5", begin="22:00:00", end="06:00:00")  # 2026-11-06 is a Friday
    times = at("2026-11-06T05:00:00", "2026-11-06T23:00:00", "2026-11-07T05:59:59", "2026-11-07T06:00:00")
    assert in_band(friday_night, times).tolist() == [False, True, True, False]
    assert next_border(friday_night, times[1:2]).tolist() == times[3:].tolist()  # midnight is no border of it


def test_all_of_a_date_is_a_band_and_its_next_border_may_be_years_away() -> None:
    leap_day = band(dates="02-29")
    times = at("2026-01-01T00:00:00", "2028-02-29T12:00:00")
    assert in_band(leap_day, times).tolist() == [False, True]
    assert next_border(leap_day, times).tolist() == at("2028-02-29T00:00:00", "2028-03-01T00:00:00").tolist()
    assert next_border(leap_day, times[:1], times[:1] + 10**12).tolist() == [NO_END]


def test_day_and_date_must_both_hold_and_equal_times_match_nothing() -> None:
    christmas_on_friday = band(days="5", dates="12-25,12-26")
    assert in_band(christmas_on_friday, at("2026-12-25T01:00:00", "2026-12-26T01:00:00")).tolist() == [True, False]
    assert not in_band(band(begin="08:00:00", end="08:00:00"), at("2026-11-07T08:00:00")).any()


def test_an_hour_that_the_clock_shows_twice_is_in_the_band_twice() -> None:
    # Berlin, 2026-10-25: at 03:00 summer time (01:00 UTC) it is 02:00 again.
    early = band(begin="02:30:00", end="03:00:00", zone="Europe/Berlin")
    times = at("2026-10-25T00:29:59", "2026-10-25T00:30:00", "2026-10-25T01:00:00", "2026-10-25T01:30:00")
    assert in_band(early, times).tolist() == [False, True, False, True]
    borders = at("2026-10-25T00:30:00", "2026-10-25T01:00:00", "2026-10-25T01:30:00", "2026-10-25T02:00:00")
    assert next_border(early, times).tolist() == borders.tolist()


def test_an_hour_that_the_clock_leaps_over_is_in_no_band() -> None:
    # Berlin, 2026-03-29: at 02:00 (01:00 UTC) it is 03:00.
    gone = band(begin="02:00:00", end="03:00:00", zone="Europe/Berlin")
    times = at("2026-03-29T00:59:59", "2026-03-29T01:00:00")
    assert not in_band(gone, times).any()
    assert next_border(gone, times).tolist() == at("2026-03-30T00:00:00", "2026-03-30T00:00:00").tolist()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe"])
def test_bands_are_what_the_wall_clock_says(zone: str) -> None:
    r = random.Random(zone)
    for _ in range(12):
        begin, end = (f"{r.randrange(24):02}:{r.choice((0, 30)):02}:00" for _ in range(2))
        days = "".join(sorted(r.sample("1234567", r.choice((0, 2, 7)))))
        some = band(days, r.choice(("", "", "03-29,10-25")), begin, r.choice((end, "24:00:00")), zone)
        around = at(r.choice(("2026-03-28T12:00:00", "2026-10-24T12:00:00", "2026-06-10T00:00:00")))[0]
        times = np.array([around + r.randrange(3 * 86_400) * 10**6 for _ in range(15)], dtype=np.int64)
        assert in_band(some, times).tolist() == [reference_bands.in_band(some, t) for t in times.tolist()]
        until = times + 3 * 86_400 * 10**6
        pairs = zip(times.tolist(), until.tolist(), strict=True)
        firsts = [(reference_bands.borders([some], t, u) or [NO_END])[0] for t, u in pairs]
        assert next_border(some, times, until).tolist() == firsts
