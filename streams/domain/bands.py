"""Bands of time: which instants the wall clock of a zone puts into one, and where they begin and end.

A band is a condition of kind 'band' with values (zone, days, dates, from, to): ISO weekdays as digits, dates as
'MM-DD,MM-DD' ('' = all), and local times 'HH:MM:SS', the first inclusive, the second exclusive. Where `from` is later
than `to` it wraps midnight, and what is after midnight belongs to the day it began on. Both must hold, day and date.
An hour that the clock shows twice is in the band twice, one that it leaps over never."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nanotally.streams.domain.records import NO_END, BoolArray, Int64Array
from nanotally.streams.domain.rules import Condition
from nanotally.streams.domain.windows import AT_END_US, DAY_US, clock_changes

_SECOND_US = 1_000_000
_THURSDAY = 3  # 1970-01-01, counted from Monday as 0


@dataclass(frozen=True)
class _Band:
    """A band read once: times of day in microseconds, days and dates as numbers, empty: all."""

    zone: str
    days: tuple[int, ...]
    dates: tuple[int, ...]  # month * 100 + day
    begin: int
    end: int

    @property
    def borders(self) -> tuple[int, ...]:
        """Times of day at which it may begin or end; a midnight ends each day."""
        return tuple(sorted({self.begin, self.end, DAY_US} - {0}))


@lru_cache(maxsize=4096)
def _band(condition: Condition) -> _Band:
    zone, days, dates, begin, end = condition.values
    numbers = tuple(int(month) * 100 + int(day) for month, day in (d.split("-") for d in dates.split(",") if d))
    return _Band(zone, tuple(int(d) for d in days), numbers, _time_us(begin), _time_us(end))


def _time_us(text: str) -> int:
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return (hours * 3600 + minutes * 60 + seconds) * _SECOND_US


def in_band(condition: Condition, at_us: Int64Array) -> BoolArray:
    """Whether each instant is in the band: bool[n]. at_us: int64[n] microseconds UTC."""
    band = _band(condition)
    changes, offsets = clock_changes(band.zone)
    local = at_us + offsets[np.searchsorted(changes, at_us, side="right")]
    day, time = np.divmod(local, DAY_US)
    if band.begin < band.end:
        return (time >= band.begin) & (time < band.end) & _begins_on(band, day)
    if band.begin == band.end:
        return np.zeros(len(at_us), dtype=bool)
    return ((time >= band.begin) & _begins_on(band, day)) | ((time < band.end) & _begins_on(band, day - 1))


def _begins_on(band: _Band, day: Int64Array) -> BoolArray:
    """Whether the band may begin on each local day, counted from 1970-01-01."""
    fits = np.ones(len(day), dtype=bool)
    if band.days:
        fits &= np.isin((day + _THURSDAY) % 7 + 1, band.days)
    if band.dates:
        dates = day.astype("datetime64[D]")
        months = dates.astype("datetime64[M]")
        of_month = (dates - months.astype("datetime64[D]")).astype(np.int64) + 1
        fits &= np.isin((months.astype(np.int64) % 12 + 1) * 100 + of_month, band.dates)
    return fits


def next_border(condition: Condition, at_us: Int64Array, until_us: Int64Array | None = None) -> Int64Array:
    """First instant after each one at which the band begins or ends: int64[n], NO_END where there is none before
    `until_us` (without it: before the calendar's end)."""
    found = np.full(len(at_us), NO_END, dtype=np.int64)
    limit = np.full(len(at_us), AT_END_US, dtype=np.int64) if until_us is None else np.minimum(until_us, AT_END_US)
    rows, at, inside = np.arange(len(at_us)), at_us.copy(), in_band(condition, at_us)
    while True:
        at = _next_candidate(_band(condition), at)
        left = at < limit[rows]
        rows, at, inside = rows[left], at[left], inside[left]
        if not len(rows):
            return found
        changed = in_band(condition, at) != inside
        found[rows[changed]] = at[changed]
        rows, at, inside = rows[~changed], at[~changed], inside[~changed]


def _next_candidate(band: _Band, at_us: Int64Array) -> Int64Array:
    """First instant after each one at which the clock is set or shows a time at which the band may begin or end."""
    changes, offsets = clock_changes(band.zone)
    place = np.searchsorted(changes, at_us, side="right")
    time = (at_us + offsets[place]) % DAY_US
    borders = np.array(band.borders, dtype=np.int64)
    by_clock = at_us - time + borders[np.searchsorted(borders, time, side="right")]
    candidates: Int64Array = np.minimum(by_clock, np.append(changes, NO_END)[place])
    return candidates
