"""Windows of the calendar in a zone, one instant at a time."""

from __future__ import annotations

import datetime as dt
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

HOUR_US, MINUTE_US = 3_600_000_000, 60_000_000
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)


@cache
def zone_of(name: str) -> ZoneInfo:
    """The zone by the pinned data, never by the machine's."""
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def to_us(moment: dt.datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def day_start(date: dt.date, zone: ZoneInfo) -> int:
    """The first instant of a local date. A midnight that a clock change skips is the instant of the change."""
    return to_us(dt.datetime(date.year, date.month, date.day, tzinfo=zone).astimezone(dt.UTC))


def day_of(at_us: int, zone: ZoneInfo) -> dt.date:
    """The last local date that has begun; dates never go back, even where a clock change repeats an evening."""
    near = (EPOCH + at_us * MICROSECOND).astimezone(zone).date()
    return max(d for d in (near + dt.timedelta(days=k) for k in (-1, 0, 1)) if day_start(d, zone) <= at_us)


def window(size: str, at_us: int, zone_name: str) -> tuple[int, int]:
    """Half-open [start, end). Hours and minutes count from the local day's start and end with the day."""
    zone = zone_of(zone_name)
    date = day_of(at_us, zone)
    if size == "year":
        return day_start(dt.date(date.year, 1, 1), zone), day_start(dt.date(date.year + 1, 1, 1), zone)
    if size == "month":
        first = date.replace(day=1)
        return day_start(first, zone), day_start((first + dt.timedelta(days=32)).replace(day=1), zone)
    start, tomorrow = day_start(date, zone), date + dt.timedelta(days=1)
    while day_start(tomorrow, zone) <= at_us:  # a date that a zone skipped altogether
        tomorrow += dt.timedelta(days=1)
    end = day_start(tomorrow, zone)
    if size == "day":
        return start, end
    step = {"hour": HOUR_US, "minute": MINUTE_US}[size]
    begin = start + (at_us - start) // step * step
    return begin, min(begin + step, end)
