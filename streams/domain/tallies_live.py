"""Open windows as people and checks ask for them: finer ones counted into the coarser ones that they will fold into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nanotally.streams.domain.decimals import decimal_text
from nanotally.streams.domain.tallies_level import Level, Rows
from nanotally.streams.domain.tallies_rows import SeriesTable, money_by_name
from nanotally.streams.domain.windows import Calendar, iso

# (start, end, series) -> count, quantity, amount in nanos
_Windows = dict[tuple[int, int, int], list[int]]


def open_sums(
    names: Sequence[str], levels: Sequence[Level], folds: Sequence[Sequence[int]], series: SeriesTable
) -> dict[str, int]:
    """Amounts in open windows by 'NAME.CUR', nanos: of each level, with those that will be folded into it."""
    own = [money_by_name("", level.rows(level.alive()), series.columns()) for level in levels]
    for i, targets in enumerate(folds):
        for j in targets:
            for currency, nanos in own[i].items():
                own[j][currency] = own[j].get(currency, 0) + nanos
    return {name + currency: nanos for name, sums in zip(names, own, strict=True) for currency, nanos in sums.items()}


def open_windows(
    sizes: Sequence[str],
    parts: Sequence[Rows],
    folds: Sequence[Sequence[int]],
    series: SeriesTable,
    calendar: Calendar,
) -> dict[str, Any] | None:
    """Open windows of one account whose rows are `parts`, one part for each level; None where there are none.

    windows: by size and start, as the columns of tally.avsc, instants in ISO 8601, quantity and amount as decimals;
    settlement: the same of the open settlement periods."""
    levels = [_by_window(rows) for rows in parts]
    last = len(sizes) - 1
    for i, targets in enumerate(folds):
        for j in targets:
            _fold(levels[i], levels[j], sizes[j], calendar, series if j == last else None)
    if not any(levels):
        return None
    windows = [
        {
            "size": size,
            **_period("window", start, end),
            **series.rows[code]._asdict(),
            "count": count,
            "quantity": decimal_text(quantity, series.rows[code].scale),
            "amount": decimal_text(amount),
        }
        for size, level in zip(sizes[:last], levels[:last], strict=True)
        for (start, end, code), (count, quantity, amount) in _sorted(level, series)
    ]
    settlement = [
        {
            "size": sizes[last],
            **_period("period", start, end),
            "currency": series.rows[code].currency,
            "count": count,
            "amount": decimal_text(amount),
        }
        for (start, end, code), (count, _, amount) in _sorted(levels[last], series)
    ]
    return {"windows": windows, "settlement": settlement}


def _by_window(rows: Rows) -> _Windows:
    keys = zip(rows.start_us.tolist(), rows.end_us.tolist(), rows.series.tolist(), strict=True)
    sums = zip(rows.count.tolist(), rows.quantity.tolist(), rows.amount_nanos.tolist(), strict=True)
    return {key: list(values) for key, values in zip(keys, sums, strict=True)}


def _fold(windows: _Windows, into: _Windows, size: str, calendar: Calendar, settled: SeriesTable | None) -> None:
    """Counts windows into the greater ones around them; `settled` where these are settlements."""
    starts = calendar.around(size, np.array([start for start, _, _ in windows], dtype=np.int64))
    ends = calendar.ends(size, starts)
    for (_, _, code), values, start, end in zip(windows, windows.values(), starts.tolist(), ends.tolist(), strict=True):
        if settled:
            code, values = int(settled.columns().settlement[code]), [values[0], 0, values[2]]
        sums = into.setdefault((start, end, code), [0, 0, 0])
        sums[:] = [a + b for a, b in zip(sums, values, strict=True)]


def _sorted(windows: _Windows, series: SeriesTable) -> list[tuple[tuple[int, int, int], list[int]]]:
    return sorted(windows.items(), key=lambda item: (item[0][0], series.rows[item[0][2]]))


def _period(name: str, start_us: int, end_us: int) -> dict[str, str]:
    return {f"{name}_start": iso(start_us), f"{name}_end": iso(end_us)}
