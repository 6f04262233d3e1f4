"""Open windows of a partition's accounts: adding uses, and closing windows in an order that nothing changes.

A use touches only the finest size. Closing a window folds its sums into the next coarser size; closing a window of the
settlement's size folds them into the settlement of (account, currency) as well. Rows are closed in the order (end, size
finest first and settlement last, account, product, meter, scale, currency), texts by code point, so that slices, the
order of adding and a rebuild change nothing.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from nanotally.streams.domain import tallies_live, tallies_state
from nanotally.streams.domain.keys import Interner
from nanotally.streams.domain.records import LONG_AGO, Int32Array, Int64Array
from nanotally.streams.domain.tallies_level import Level, Rows, pack
from nanotally.streams.domain.tallies_rows import (
    Closed,
    Part,
    Series,
    SeriesTable,
    money_by_name,
    settlements_of,
    sorted_names,
)
from nanotally.streams.domain.tallies_sums import Exact
from nanotally.streams.domain.tariff import Settings
from nanotally.streams.domain.windows import SIZES, Calendar
from nanotally.streams.errors import BrokenInvariant


@dataclass
class _Stretch:
    """Ended windows of one size whose closing opens nothing that comes before the last of them. slots: the rows; at:
    how many of them are closed already; end_us: no window among them ends later."""

    level: int
    slots: Int64Array
    end_us: int
    at: int = 0
    # Once sorted: the accounts' full names, and the place in them of each row's.
    names: pa.Array = field(default_factory=lambda: pa.array([], type=pa.string()))
    name_place: Int64Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


class OpenTallies:
    """Sums of the open windows of all accounts of a partition.

    settings: zone, `windows` (finest first) and `settlement` rule; they are fixed for the life of the state. prefix:
    what stands before an account's text in its full name. accounts: codes of account texts; like the codes of series
    they hold until `restore`."""

    def __init__(self, settings: Settings, prefix: str = "") -> None:
        sizes = settings.windows
        if settings.settlement not in sizes or [s for s in SIZES if s in sizes] != list(sizes):
            raise BrokenInvariant(f"windows {sizes} are not in order, or without {settings.settlement}")
        self.settings, self.prefix = settings, prefix
        self.accounts, self.series = Interner(), SeriesTable()
        self.closed_to_us = LONG_AGO
        self._calendar = Calendar(settings.zone)
        # One level for each size, and one for settlements; `_folds` says into which levels each is folded.
        self._sizes = (*sizes, settings.settlement)
        self._names = (*(f"tallies.{size}" for size in sizes), "settled")
        self._settlement = len(sizes)
        self._folds: list[list[int]] = [[i + 1] if i + 1 < len(sizes) else [] for i in range(len(sizes))] + [[]]
        self._folds[sizes.index(settings.settlement)].append(self._settlement)
        self._levels = [Level(partial(self._calendar.ends, size)) for size in self._sizes]
        self._stretch: _Stretch | None = None

    def series_code(self, product: str, meter: str, scale: int, currency: str) -> int:
        """Code of a series for `add`."""
        return self.series.code(Series(product, meter, scale, currency))

    def add(
        self,
        account: Int32Array,
        series: Int32Array,
        at_us: Int64Array,
        count: Exact,
        quantity: Exact,
        amount_nanos: Exact,
    ) -> None:
        """Adds n rows to the windows that hold their instants, microseconds UTC.

        Raises BrokenInvariant where such a window is closed, or an instant is out of the calendar."""
        finest = self._sizes[0]
        start = self._calendar.starts(finest, at_us)
        early = np.flatnonzero(at_us < self.closed_to_us)
        if len(early):
            shut = early[self._calendar.ends(finest, start[early]) <= self.closed_to_us]
            if len(shut):
                name = self.prefix + self.accounts.texts[account[shut[0]]]
                raise BrokenInvariant(
                    f"{name}: a use at {at_us[shut[0]]} us is booked in a window closed at {self.closed_to_us} us"
                )
        self._levels[0].add(pack(account, series), start, count, quantity, amount_nanos)

    def ends(self, at_us: Int64Array) -> Int64Array:
        """Ends of the finest windows that hold the instants: int64[n], microseconds UTC."""
        return self._calendar.ends(self._sizes[0], self._calendar.starts(self._sizes[0], at_us))

    def next_end(self) -> int:
        """Least end of an open window, microseconds UTC; NO_END if there is none."""
        return min(level.next_end() for level in self._levels)

    def close(self, to_us: int, cursor: str | None, limit: int) -> Closed:
        """Closes windows that end at or before `to_us`, at most `limit` rows after the cursor of the call before.

        Raises BrokenInvariant where a row at or before the cursor is still open, ValueError for a limit below 1."""
        if limit < 1:
            raise ValueError("a slice has at least one row")
        self.closed_to_us = max(self.closed_to_us, to_us)
        parts: list[tuple[int, Part]] = []
        left, last = limit, cursor
        while left and (stretch := self._current(to_us)):
            if not parts and cursor and self._key(stretch, stretch.at) <= json.loads(cursor):
                raise BrokenInvariant(f"a window before the cursor {cursor} is still open")
            n = min(left, len(stretch.slots) - stretch.at)
            last, left = json.dumps(self._key(stretch, stretch.at + n - 1), ensure_ascii=False), left - n
            names = stretch.names.take(pa.array(stretch.name_place[stretch.at : stretch.at + n]))
            parts.append((stretch.level, Part(self._sizes[stretch.level], self._take(stretch, n), names)))
        return self._closed(parts, last if self.next_end() <= to_us else None)

    def drop(self, to_us: int, cursor: str | None) -> None:
        """Leaves the state as closing up to `to_us` leaves it: finished, or with `cursor` where that one stopped."""
        self.closed_to_us = max(self.closed_to_us, to_us)
        self._stretch = None
        until = json.loads(cursor) if cursor else None
        while stretch := self._find(to_us):
            n = len(stretch.slots)
            if until and [stretch.end_us, stretch.level] >= until[:2]:
                self._sort(stretch)
                n = bisect_right(range(n), until, key=partial(self._key, stretch))
            self._take(stretch, n)
            if stretch.at < len(stretch.slots):
                break

    def _find(self, to_us: int) -> _Stretch | None:
        """The rows that are to be closed next, in no order."""
        first, i = min((level.next_end(), i) for i, level in enumerate(self._levels))
        if first > to_us:
            return None
        # Closing the first window folds it into those around it, whose ends come before later windows of this size. No
        # other coarser window is in the way: each has come from folding and ends where a finer one has ended.
        ends, instant = [to_us], np.array([first - 1])
        for j in self._folds[i]:
            around = self._calendar.around(self._sizes[j], instant)
            ends.append(int(self._calendar.ends(self._sizes[j], around)[0]))
        return _Stretch(i, self._levels[i].ended(min(ends)), min(ends))

    def _sort(self, stretch: _Stretch) -> None:
        rows = self._levels[stretch.level].codes(stretch.slots)
        names, place = sorted_names(rows.account, self.accounts, self.prefix)
        order = np.lexsort((self.series.columns().rank[rows.series], place, rows.end_us))
        stretch.slots, stretch.names, stretch.name_place = stretch.slots[order], names, place[order]

    def _current(self, to_us: int) -> _Stretch | None:
        """The stretch that a slice goes on with, sorted; kept between slices since sorting is what costs."""
        if self._stretch is None or self._stretch.end_us > to_us:
            self._stretch = self._find(to_us)
            if self._stretch:
                self._sort(self._stretch)
        return self._stretch

    def _key(self, stretch: _Stretch, place: int) -> list[Any]:
        """A row's place in the order of closing: the cursor."""
        row = self._levels[stretch.level].codes(stretch.slots[place : place + 1])
        name = self.prefix + self.accounts.texts[int(row.account[0])]
        return [int(row.end_us[0]), stretch.level, name, *self.series.rows[int(row.series[0])]]

    def _take(self, stretch: _Stretch, n: int) -> Rows:
        """Closes the next n rows of the stretch and folds them."""
        level = self._levels[stretch.level]
        slots = stretch.slots[stretch.at : stretch.at + n]
        rows = level.rows(slots)
        for j in self._folds[stretch.level]:
            series, quantity = rows.series, rows.quantity
            if j == self._settlement:
                series, quantity = self.series.columns().settlement[rows.series], np.zeros(n, dtype=np.int64)
            start = self._calendar.around(self._sizes[j], rows.start_us)
            self._levels[j].add(pack(rows.account, series), start, rows.count, quantity, rows.amount_nanos)
        stretch.at += n
        level.kill(slots, stretch.slots[stretch.at : stretch.at + 1])
        if stretch.at == len(stretch.slots):
            self._stretch = None
            level.shrink()
        return rows

    def _closed(self, parts: list[tuple[int, Part]], cursor: str | None) -> Closed:
        series = self.series.columns()
        sums: dict[str, int] = {}
        for i, part in parts:
            for name, nanos in money_by_name(self._names[i], part.rows, series).items():
                sums[name] = sums.get(name, 0) + nanos
        tallies = [part for i, part in parts if i != self._settlement]
        settled = [part for i, part in parts if i == self._settlement]
        return Closed(tallies, series, settlements_of(settled, series), sums, cursor)

    def size(self) -> int:
        """Open rows of all sizes."""
        return sum(len(level) for level in self._levels)

    def open_sums(self) -> dict[str, int]:
        """Nanos added and not closed yet, by the names of `Closed.sums`; the two make up all that was added."""
        return tallies_live.open_sums(self._names, self._levels, self._folds, self.series)

    def account(self, account: str) -> dict[str, Any] | None:
        """Open windows of an account by its full name, for live answers; None where it has none."""
        code = self.accounts.code(account.removeprefix(self.prefix)) if account.startswith(self.prefix) else None
        if code is None:
            return None
        slots = [level.slots_of(code) for level in self._levels]
        parts = [level.rows(s) for level, s in zip(self._levels, slots, strict=True)]
        found = tallies_live.open_windows(self._sizes, parts, self._folds, self.series, self._calendar)
        return {"account": account, **found} if found else None

    def snapshot(self) -> dict[str, bytes]:
        """The state as named blobs."""
        return tallies_state.save(self.settings, self.closed_to_us, self._levels, self.accounts, self.series)

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """The state from what `snapshot` gave; codes of accounts and series are others then.

        Raises BrokenInvariant where its windows are not those of the settings."""
        self.__init__(self.settings, self.prefix)  # type: ignore[misc]
        self.closed_to_us = tallies_state.load(parts, self.settings, self._levels, self.accounts, self.series)
