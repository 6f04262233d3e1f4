"""Windows of calendar zones: half-open, whole, and true to the clocks that people live by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from nanotally.streams.domain.windows import AT_END_US, AT_FIRST_US, HOUR_US, MINUTE_US, SIZES, Calendar, zone_names
from nanotally.streams.errors import BrokenInvariant, InvalidInput

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(text: str) -> int:
    """Microseconds of an ISO 8601 instant; UTC where it names no offset."""
    instant = datetime.fromisoformat(text)
    return (instant.replace(tzinfo=instant.tzinfo or UTC) - EPOCH) // timedelta(microseconds=1)


def window(calendar: Calendar, size: str, at: int) -> tuple[int, int]:
    start = calendar.starts(size, np.array([at]))
    return int(start[0]), int(calendar.ends(size, start)[0])


def days_of(calendar: Calendar, first: str, n: int) -> list[tuple[int, int]]:
    found = [window(calendar, "day", us(first))]
    while len(found) < n:
        found.append(window(calendar, "day", found[-1][1]))
    return found


def test_windows_of_utc_are_round() -> None:
    utc = Calendar("UTC")
    at = us("2026-02-28T13:59:59.999999")
    assert window(utc, "minute", at) == (us("2026-02-28T13:59"), us("2026-02-28T14:00"))
    assert window(utc, "hour", at) == (us("2026-02-28T13:00"), us("2026-02-28T14:00"))
    assert window(utc, "day", at) == (us("2026-02-28"), us("2026-03-01"))
    assert window(utc, "month", at) == (us("2026-02-01"), us("2026-03-01"))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
@pytest.mark.parametrize("size", SIZES)
def test_the_end_of_a_window_belongs_to_the_next_one(zone: str, size: str) -> None:
    calendar = Calendar(zone)
    start, end = window(calendar, size, us("2026-07-14T11:22:33"))
    assert window(calendar, size, start) == (start, end)
    assert window(calendar, size, end - 1) == (start, end)
    assert window(calendar, size, end)[0] == end
    assert window(calendar, size, start - 1)[1] == start


def test_a_spring_day_in_berlin_has_23_hours_and_an_autumn_day_25() -> None:
    berlin = Calendar("Europe/Berlin")
    before, short, after = days_of(berlin, "2026-03-28T12:00+01:00", 3)
    assert short == (us("2026-03-29T00:00+01:00"), us("2026-03-30T00:00+02:00"))
    assert [(e - s) // HOUR_US for s, e in (before, short, after)] == [24, 23, 24]
    (long,) = days_of(berlin, "2026-10-25T12:00+01:00", 1)
    assert long == (us("2026-10-25T00:00+02:00"), us("2026-10-26T00:00+01:00"))
    assert (long[1] - long[0]) // HOUR_US == 25


def test_the_hour_that_the_clock_shows_twice_is_two_windows() -> None:
    berlin = Calendar("Europe/Berlin")
    first = window(berlin, "hour", us("2026-10-25T02:30+02:00"))
    second = window(berlin, "hour", us("2026-10-25T02:30+01:00"))
    assert first == (us("2026-10-25T02:00+02:00"), us("2026-10-25T03:00+02:00"))
    assert second == (us("2026-10-25T02:00+01:00"), us("2026-10-25T03:00+01:00"))
    assert first[1] == second[0]


def test_kolkata_has_hours_of_its_own() -> None:
    kolkata = Calendar("Asia/Kolkata")
    at = us("2026-05-05T12:00")  # 17:30 there
    assert window(kolkata, "hour", at) == (us("2026-05-05T11:30"), us("2026-05-05T12:30"))
    assert window(kolkata, "day", at) == (us("2026-05-04T18:30"), us("2026-05-05T18:30"))
    assert window(kolkata, "month", us("2026-04-30T19:00")) == (us("2026-04-30T18:30"), us("2026-05-31T18:30"))


def test_the_last_hour_of_a_day_with_half_an_hour_less_is_cut() -> None:
    # Lord Howe Island goes forward by 30 minutes: that day has 23.5 hours.
    island = Calendar("Australia/Lord_Howe")
    start, end = window(island, "day", us("2026-10-04T12:00+11:00"))
    assert end - start == 23 * HOUR_US + 30 * MINUTE_US
    assert window(island, "hour", end - 1) == (end - 30 * MINUTE_US, end)
    assert window(island, "hour", end) == (end, end + HOUR_US)


def test_a_month_in_berlin_follows_its_days() -> None:
    berlin = Calendar("Europe/Berlin")
    march = window(berlin, "month", us("2026-03-15T12:00"))
    assert march == (us("2026-03-01T00:00+01:00"), us("2026-04-01T00:00+02:00"))
    assert window(berlin, "month", us("2024-02-29T22:59:59")) == (
        us("2024-02-01T00:00+01:00"),
        us("2024-03-01T00:00+01:00"),
    )
    assert window(berlin, "month", us("2024-02-29T23:00"))[0] == us("2024-03-01T00:00+01:00")


def test_a_day_whose_midnight_the_clock_leaps_over_begins_at_the_leap() -> None:
    # Sao Paulo, 2018-11-04: 00:00 became 01:00.
    start, end = window(Calendar("America/Sao_Paulo"), "day", us("2018-11-04T12:00-02:00"))
    assert start == us("2018-11-04T01:00-02:00")
    assert end - start == 23 * HOUR_US
    # Kwajalein left out 1993-08-21. Scoresbysund leaps from 23:00 to 00:00: its Saturday has 23 hours.
    island = Calendar("Pacific/Kwajalein")
    before = window(island, "day", us("1993-08-20T12:00-12:00"))
    assert window(island, "day", before[1]) == (us("1993-08-22T00:00+12:00"), us("1993-08-23T00:00+12:00"))
    bay = Calendar("America/Scoresbysund")
    saturday = window(bay, "day", us("2025-03-29T12:00-02:00"))
    assert saturday == (us("2025-03-29T00:00-02:00"), us("2025-03-30T00:00-01:00"))


def test_a_day_whose_midnight_is_shown_twice_begins_with_the_first() -> None:
    # From 1987 to 2011 the clocks of St. John's changed at 00:01.
    town = Calendar("America/St_Johns")
    assert window(town, "day", us("2009-11-01T12:00-03:30")) == (
        us("2009-11-01T00:00-02:30"),
        us("2009-11-02T00:00-03:30"),
    )


@pytest.mark.parametrize(
    "zone", ["America/New_York", "America/Havana", "Africa/Casablanca", "Asia/Tehran", "Pacific/Apia", "Asia/Gaza"]
)
def test_days_are_what_the_zone_says(zone: str) -> None:
    """Against datetime, an instant at a time: a day's first instant shows its date, the one before another."""
    calendar = Calendar(zone)
    # Not the machine's zones: they may be older than those that windows follow.
    with resources.files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as file:
        clock = ZoneInfo.from_file(file)

    def local_date(at: int) -> str:
        return (EPOCH + timedelta(microseconds=at)).astimezone(clock).date().isoformat()

    for at in np.random.default_rng(7).integers(AT_FIRST_US, us("2040-01-01"), 400).tolist():
        start, end = window(calendar, "day", at)
        assert start <= at < end
        assert local_date(start) == local_date(at) == local_date(end - 1)
        assert local_date(start - 1) != local_date(at) != local_date(end)


def test_columns_give_what_single_instants_give() -> None:
    at = np.random.default_rng(3).integers(us("2026-03-01"), us("2026-11-30"), 500)
    for zone in ("UTC", "Europe/Berlin", "Australia/Lord_Howe"):
        calendar = Calendar(zone)
        for size in SIZES:
            starts = calendar.starts(size, at)
            pairs = list(zip(starts.tolist(), calendar.ends(size, starts).tolist(), strict=True))
            assert pairs == [window(calendar, size, t) for t in at.tolist()]
            assert len(calendar.starts(size, at[:0])) == len(calendar.ends(size, at[:0])) == 0


def test_smaller_windows_nest_in_greater_ones() -> None:
    at = np.random.default_rng(5).integers(us("2026-01-01"), us("2027-01-01"), 2000)
    for zone in ("UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"):
        calendar = Calendar(zone)
        for fine, coarse in pairwise(SIZES):
            starts = calendar.starts(fine, at)
            coarse_starts = calendar.starts(coarse, at)
            assert (calendar.around(coarse, starts) == coarse_starts).all()
            assert (calendar.ends(fine, starts) <= calendar.ends(coarse, coarse_starts)).all()


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_first_and_last_instants_have_whole_windows_and_the_next_ones_none(zone: str) -> None:
    calendar = Calendar(zone)
    for size in SIZES:
        for at in (AT_FIRST_US, AT_END_US - 1):
            start, end = window(calendar, size, at)
            assert start <= at < end
            for smaller in SIZES[: SIZES.index(size)]:
                smaller_start = calendar.starts(smaller, np.array([at]))
                assert calendar.around(size, smaller_start).tolist() == [start]
        for at in (AT_FIRST_US - 1, AT_END_US, -(2**63), 2**63 - 1):
            with pytest.raises(BrokenInvariant, match=f"no window holds the instant {at} us"):
                calendar.starts(size, np.array([at, us("2026-01-01")]))


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../UTC", "Europe/../UTC", "/etc/localtime", "berlin"])
def test_an_unknown_zone_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="there is no time zone") as error:
        Calendar(name)
    assert error.value.reason == "unknown_zone"


def test_every_zone_name_can_be_read() -> None:
    assert {"UTC", "Europe/Berlin", "Asia/Kolkata"} <= zone_names()


def test_an_unknown_size_is_an_error_of_the_caller() -> None:
    with pytest.raises(KeyError):
        Calendar("UTC").starts("week", np.array([0]))


def test_a_year_begins_with_the_local_first_of_january_and_also_a_last_one_is_whole() -> None:
    berlin = Calendar("Europe/Berlin")
    at = np.array([1_798_757_999_999_999, 1_798_758_000_000_000])  # the last instant of 2026 in Berlin, and the next
    starts = berlin.starts("year", at)
    assert starts.tolist() == [1_767_222_000_000_000, 1_798_758_000_000_000]
    assert berlin.ends("year", starts).tolist() == [1_798_758_000_000_000, 1_830_294_000_000_000]
    last = np.array([AT_END_US - 1])
    assert Calendar("UTC").ends("year", Calendar("UTC").starts("year", last)).tolist() == [AT_END_US]
