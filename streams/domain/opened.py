"""Scopes that begin with their first use instead of at an instant of the calendar: sessions and anchored ones.

A use joins the newest instance of its key if it is booked before that one's end, however early; else it begins a new
one. The end of a session moves on with its uses, that of an anchored scope stands from its first use on. Ends are
exclusive: a use exactly a gap after the last one begins anew."""

from __future__ import annotations

import numpy as np

from nanotally.streams.domain.keys import Groups
from nanotally.streams.domain.records import Int64Array
from nanotally.streams.domain.scopes import ScopeRows


def instances(
    kind: str, length_us: int, groups: Groups, booked_at: Int64Array, newest: ScopeRows
) -> tuple[Int64Array, Int64Array]:
    """Start and end of the instance that each of n uses counts in, the end as it is with that use: two int64[n].

    groups: the uses by key; newest: the newest instance of each key, by group, its end LONG_AGO where there is none."""
    if not len(booked_at):
        return booked_at, booked_at
    find = _sessions if kind == "session" else _anchored
    starts, ends = find(length_us, groups, booked_at[groups.order], newest)
    start, end = np.empty_like(starts), np.empty_like(ends)
    start[groups.order], end[groups.order] = starts, ends
    return start, end


def _sessions(gap_us: int, groups: Groups, booked_at: Int64Array, newest: ScopeRows) -> tuple[Int64Array, Int64Array]:
    """booked_at: sorted by group, as what is given."""
    n = len(booked_at)
    of_row = np.repeat(np.arange(len(groups)), np.diff(np.append(groups.starts, n)))
    # A new session ends later than all before it, so that the end is a running maximum over them all.
    end = _running_max(np.maximum(booked_at + gap_us, newest.end[of_row]), groups.starts)
    before = np.empty_like(end)
    before[1:] = end[:-1]
    before[groups.starts] = newest.end
    begins = np.where(booked_at >= before, np.arange(n), -1)
    begun = _running_max(begins, groups.starts)
    return np.where(begun >= 0, booked_at[begun], newest.start[of_row]), end


def _anchored(
    length_us: int, groups: Groups, booked_at: Int64Array, newest: ScopeRows
) -> tuple[Int64Array, Int64Array]:
    """One round for each instance that a key begins here, of all keys at once."""
    n = len(booked_at)
    ends = np.append(groups.starts[1:], n)
    of_row = np.repeat(np.arange(len(groups)), ends - groups.starts)
    start, end = newest.start[of_row], newest.end[of_row]
    reached = _running_max(booked_at, groups.starts)
    alive, limit = np.arange(len(groups)), newest.end.copy()
    while len(alive):
        first = _first_reaching(reached, groups.starts[alive], ends[alive], limit)
        there = first < ends[alive]
        alive, first = alive[there], first[there]
        limit = booked_at[first] + length_us
        sizes = ends[alive] - first
        rows = np.repeat(first - np.concatenate(([0], np.cumsum(sizes)[:-1])), sizes) + np.arange(int(sizes.sum()))
        start[rows], end[rows] = np.repeat(booked_at[first], sizes), np.repeat(limit, sizes)
    return start, end


def _running_max(values: Int64Array, starts: Int64Array) -> Int64Array:
    """Running maximum that begins anew at each of the starts: by doubling, so that no loop is over rows."""
    out = values.copy()
    place = np.arange(len(values)) - np.repeat(starts, np.diff(np.append(starts, len(values))))
    step, longest = 1, int(place.max(initial=0))
    while step <= longest:
        rows = np.flatnonzero(place >= step)
        out[rows] = np.maximum(out[rows], out[rows - step])
        step *= 2
    return out


def _first_reaching(values: Int64Array, first: Int64Array, end: Int64Array, limit: Int64Array) -> Int64Array:
    """Of each run first..end-1, whose values never fall, the first place with a value not below its limit; `end` where
    there is none."""
    low, high = first.copy(), end.copy()
    while (low < high).any():
        middle = (low + high) // 2
        below = (low < high) & (values[np.minimum(middle, len(values) - 1)] < limit)
        high = np.where((low < high) & ~below, middle, high)
        low = np.where(below, middle + 1, low)
    return low
