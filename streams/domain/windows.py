"""Where windows begin and end in a calendar zone, for columns of instants.

Minutes and hours are counted from the first instant of the local day and cut at the first instant of the next one, so
a day of 23 or 25 hours has 23 or 25 hours, and a zone half an hour off UTC has hours of its own. Zones are read from
the pinned package `tzdata`, never from the machine: the same books give the same windows everywhere.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

import numpy as np

from nanotally.streams.domain.records import Int64Array
from nanotally.streams.errors import BrokenInvariant, InvalidInput

SIZES = ("minute", "hour", "day", "month")
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
# Instants that have windows: 1970 to 2200 in UTC; validation lets no others through.
AT_FIRST_US = 0
AT_END_US = int(datetime(2201, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000

# The tables reach further on both sides, so that the windows of the first and last instants are whole, years too.
_FIRST_DAY, _END_DAY = date(1969, 1, 1).toordinal(), date(2202, 3, 1).toordinal()
_EPOCH = date(1970, 1, 1).toordinal()
_LENGTH_US = {"minute": MINUTE_US, "hour": HOUR_US, "day": DAY_US}


class Calendar:
    """Windows of one IANA zone, half-open [start, end), instants in microseconds UTC.

    Raises InvalidInput (reason `unknown_zone`) where there is no such zone."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self._utc = zone == "UTC"
        self._days, self._months, self._years = _tables(zone)

    def starts(self, size: str, at_us: Int64Array) -> Int64Array:
        """First instant of the window of `size` (one of SIZES or 'year') that holds each instant: int64[n].

        Raises BrokenInvariant for an instant before 1970 or after 2200, KeyError for another size."""
        if len(at_us) and (int(at_us.min()) < AT_FIRST_US or int(at_us.max()) >= AT_END_US):
            wrong = at_us[(at_us < AT_FIRST_US) | (at_us >= AT_END_US)][0]
            raise BrokenInvariant(f"no window holds the instant {wrong} us")
        return self.around(size, at_us)

    def around(self, size: str, start_us: Int64Array) -> Int64Array:
        """First instant of the window of `size` around each smaller window, told by its start: int64[n].

        Like `starts`, but the start of the first smaller window may lie before 1970."""
        if size == "month":
            return self._months[_place(self._months, start_us)]
        if size == "year":
            return self._years[_place(self._years, start_us)]
        if self._utc:
            return start_us - start_us % _LENGTH_US[size]
        days = self._days[_place(self._days, start_us)]
        return days if size == "day" else start_us - (start_us - days) % _LENGTH_US[size]

    def ends(self, size: str, start_us: Int64Array) -> Int64Array:
        """First instant after each window of `size`, told by its start as `starts` gave it: int64[n]."""
        if size == "month":
            return self._months[_place(self._months, start_us) + 1]
        if size == "year":
            return self._years[_place(self._years, start_us) + 1]
        if self._utc:
            return start_us + _LENGTH_US[size]
        next_days = self._days[_place(self._days, start_us) + 1]
        return next_days if size == "day" else np.minimum(start_us + _LENGTH_US[size], next_days)


def _place(table: Int64Array, at_us: Int64Array) -> Int64Array:
    """Place in the sorted table of the last entry not after each instant."""
    if not len(at_us):
        return np.zeros(0, dtype=np.int64)
    low = int(np.searchsorted(table, at_us.min(), side="right")) - 1
    high = int(np.searchsorted(table, at_us.max(), side="right"))
    if high - low == 1:
        return np.full(len(at_us), low, dtype=np.int64)
    # A chunk touches few days: a search in these stays in the processor's cache.
    return np.searchsorted(table[low:high], at_us, side="right") + (low - 1)


@lru_cache(maxsize=16)
def _tables(name: str) -> tuple[Int64Array, Int64Array, Int64Array]:
    """First instants of the zone's days, months and years, each sorted and without repeats."""
    days = np.arange(_FIRST_DAY - _EPOCH, _END_DAY - _EPOCH, dtype=np.int64) * DAY_US
    if name != "UTC":
        days -= _offsets_us(_zone(name))
    ordinals = range(_FIRST_DAY, _END_DAY)
    firsts = [(date.fromordinal(o).day == 1, date.fromordinal(o).timetuple().tm_yday == 1) for o in ordinals]
    months, years = (days[[first[i] for first in firsts]] for i in range(2))
    # A day that a zone left out, when it crossed the date line, begins where the next one does.
    tables = np.unique(days), np.unique(months), np.unique(years)
    for table in tables:
        table.setflags(write=False)
    return tables


def _zone(name: str) -> ZoneInfo:
    if name not in zone_names():
        raise InvalidInput(f"there is no time zone '{name}'", reason="unknown_zone")
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Names of all zones that a calendar may have."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def _offsets_us(zone: ZoneInfo) -> Int64Array:
    """Local time less UTC at the first instant of each local day, microseconds.

    Of a midnight that the clock shows twice it is the first, and one that it leaps over counts as the instant of the
    leap; true of every zone, since all leaps over a midnight begin there."""
    offsets = np.empty(_END_DAY - _FIRST_DAY, dtype=np.int64)
    for i in range(len(offsets)):
        offset = datetime.fromordinal(_FIRST_DAY + i).replace(tzinfo=zone).utcoffset() or timedelta(0)
        offsets[i] = (offset.days * 86_400 + offset.seconds) * 1_000_000 + offset.microseconds
    return offsets


@lru_cache(maxsize=16)
def clock_changes(name: str) -> tuple[Int64Array, Int64Array]:
    """Instants at which the zone's clock is set, sorted: int64[k]; and what it shows more than UTC, microseconds,
    before the first of them and from each of them on: int64[k + 1]. Raises InvalidInput for an unknown zone."""
    if name == "UTC":
        return np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    zone, day = _zone(name), 86_400
    first, end = (_FIRST_DAY - _EPOCH) * day, (_END_DAY - _EPOCH) * day
    changes, offsets = [], [_offset_s(zone, first)]
    for start in range(first, end, day):
        if _offset_s(zone, start + day) == offsets[-1]:
            continue
        low, high = start, start + day  # in no zone is the clock set twice within a day
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset_s(zone, middle) == offsets[-1] else (low, middle)
        changes.append(high)
        offsets.append(_offset_s(zone, high))
    tables = tuple(np.array(seconds, dtype=np.int64) * 1_000_000 for seconds in (changes, offsets))
    for table in tables:
        table.setflags(write=False)
    return tables[0], tables[1]


def _offset_s(zone: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, zone).utcoffset() or timedelta(0)
    return offset.days * 86_400 + offset.seconds


def iso(at_us: int) -> str:
    """An instant for people and documents, as in 2026-11-21T08:00:00Z."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).isoformat().replace("+00:00", "Z")
