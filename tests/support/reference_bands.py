"""Bands of time and where they begin and end, by asking the wall clock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from nanotally.streams.domain.tariff import Condition
from tests.support.reference_windows import EPOCH, MICROSECOND, to_us, zone_of

DAY = dt.timedelta(days=1)


def wall_clock(at_us: int, zone: ZoneInfo) -> tuple[dt.date, str]:
    """Local date, and time of day as 'HH:MM:SS.ffffff': such texts sort as the times do."""
    local = (EPOCH + at_us * MICROSECOND).astimezone(zone)
    return local.date(), local.strftime("%H:%M:%S.%f")


def in_band(condition: Condition, at_us: int) -> bool:
    """Whether the instant is in the band. What is after midnight belongs to the day on which the band began."""
    zone, days, dates, begin, end = condition.values
    date, time = wall_clock(at_us, zone_of(zone))

    def begins_on(day: dt.date) -> bool:
        on_weekday = not days or str(day.isoweekday()) in days
        return on_weekday and (not dates or day.strftime("%m-%d") in dates.split(","))

    if begin < end:
        return begin <= time < end and begins_on(date)
    if begin > end:
        return (time >= begin and begins_on(date)) or (time < end and begins_on(date - DAY))
    return False


def instants_of(date: dt.date, time: str, zone: ZoneInfo) -> Iterable[int]:
    """When the local clock shows that time on that date: the instants, twice where it is set back."""
    date, time = (date + DAY, "00:00:00") if time == "24:00:00" else (date, time)
    local = dt.datetime.combine(date, dt.time.fromisoformat(time), zone)
    return (to_us(local.replace(fold=fold)) for fold in (0, 1))


def clock_changes(date: dt.date, zone: ZoneInfo) -> Iterable[int]:
    """The instants of the local date (and a little around it) at which the clock is set."""
    middle = to_us(dt.datetime.combine(date, dt.time(12), dt.UTC))
    hour = 3_600_000_000
    for start in range(middle - 40 * hour, middle + 40 * hour, hour):
        low, high = start, start + hour
        if offset(low, zone) == offset(high, zone):
            continue
        while high - low > 1:
            half = (low + high) // 2
            low, high = (half, high) if offset(half, zone) == offset(low, zone) else (low, half)
        yield high


def offset(at_us: int, zone: ZoneInfo) -> dt.timedelta | None:
    return (EPOCH + at_us * MICROSECOND).astimezone(zone).utcoffset()


def borders(conditions: Iterable[Condition], after_us: int, before_us: int) -> list[int]:
    """All instants strictly between the two at which one of the bands begins or ends."""
    found: set[int] = set()
    for condition in conditions:
        zone = zone_of(condition.values[0])
        date, last = wall_clock(after_us, zone)[0] - DAY, wall_clock(before_us, zone)[0] + DAY
        while date <= last:
            candidates = [i for t in ("00:00:00", *condition.values[3:]) for i in instants_of(date, t, zone)]
            candidates += clock_changes(date, zone)
            for at in candidates:
                if after_us < at < before_us and in_band(condition, at) != in_band(condition, at - 1):
                    found.add(at)
            date += DAY
    return sorted(found)
