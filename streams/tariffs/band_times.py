"""Bands of time as sets: does a local time fall into one, and which times tell all sets of bands apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from nanotally.streams.domain.tariff import Condition

_WEEK = datetime(2027, 1, 4)  # a Monday
_YEARS = range(2024, 2052)  # each date on each day of the week, leap days too


def in_band(condition: Condition, local: datetime) -> bool:
    """Whether a local time is in the band. What wraps midnight belongs to the day on which it began."""
    _, days, dates, start, end = condition.values
    clock = local.strftime("%H:%M:%S")
    if start <= end:
        return start <= clock < end and _day_fits(local, days, dates)
    if clock >= start:
        return _day_fits(local, days, dates)
    return clock < end and _day_fits(local - timedelta(days=1), days, dates)


def _day_fits(day: datetime, days: str, dates: str) -> bool:
    return (not days or str(day.isoweekday()) in days) and (not dates or f"{day:%m-%d}" in dates.split(","))


def local_times(conditions: Sequence[Condition]) -> Iterator[datetime]:
    """Local times of which at least one lies in each set that the bands can make of all times."""
    clocks = {"00:00:00", *(c.values[i] for c in conditions for i in (3, 4))} - {"24:00:00"}
    dates = {date for c in conditions for date in c.values[2].split(",") if date}
    for day in _days(dates):
        for clock in sorted(clocks):
            hour, minute, second = map(int, clock.split(":"))
            yield day.replace(hour=hour, minute=minute, second=second)


def _days(dates: Iterable[str]) -> Iterator[datetime]:
    """A week without any of the dates; each date and the day after it, on each day of the week."""
    avoided = {d for date in dates for d in (date, _after(date))}
    for offset in range(366):
        week = [_WEEK + timedelta(days=offset + i) for i in range(7)]
        if not any(f"{day:%m-%d}" in avoided for day in week):
            yield from week
            break
    for date in sorted(avoided):
        seen: set[tuple[int, str]] = set()
        for year in _YEARS:
            try:
                day = datetime.strptime(f"{year}-{date}", "%Y-%m-%d")
            except ValueError:
                continue  # 29 February
            # The day before matters to what wraps midnight: after 28 February of a leap year comes the 29th.
            kind = (day.isoweekday(), f"{day - timedelta(days=1):%m-%d}")
            if kind not in seen:
                seen.add(kind)
                yield day


def _after(date: str) -> str:
    day = datetime.strptime(f"2028-{date}", "%Y-%m-%d")  # a leap year
    return f"{day + timedelta(days=1):%m-%d}"


@lru_cache(maxsize=50_000)
def as_text(local: datetime, zone: str) -> str:
    """'2027-01-04T08:00:00+01:00', a local time as an event would have it."""
    return local.replace(tzinfo=ZoneInfo(zone)).isoformat()


@lru_cache(maxsize=50_000)
def local_of(text: str, zone: str) -> datetime:
    """The local time in a zone of an instant with its offset."""
    return datetime.fromisoformat(text).astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
