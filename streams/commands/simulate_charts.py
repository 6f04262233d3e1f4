"""The plots of a simulation's page: revenue by day, and how many changed by how much."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cached_property
from html import escape

from nanotally.streams.commands import plot_svg
from nanotally.streams.commands.plot_axis import Axis, nice_high
from nanotally.streams.commands.simulate_report import Report
from nanotally.streams.commands.simulate_sums import DAY_US
from nanotally.streams.domain.tariff import NANOS_PER_UNIT

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BARS_WIDTH, _ROW, _LABEL, _COUNT = 460, 25, 118, 64


class DayAxis(Axis):
    """Days since 1970."""

    @cached_property
    def ticks(self) -> list[Fraction]:
        every = max(1, -(-int(self.high - self.low) // 8))
        return [Fraction(day) for day in range(int(self.low), int(self.high) + 1, every)]

    @property
    def labels(self) -> list[str]:
        return [f"{_EPOCH + timedelta(days=int(t)):%b %-d}" for t in self.ticks]


def days_chart(report: Report) -> str:
    """Revenue of each UTC day, before and after."""
    days = [Fraction(at // DAY_US) for at, _, _ in report.days]
    before = [Fraction(nanos, NANOS_PER_UNIT) for _, nanos, _ in report.days]
    after = [Fraction(nanos, NANOS_PER_UNIT) for _, _, nanos in report.days]
    # Grey and violet: blue and orange mean less and more on this page.
    lines = [plot_svg.Line("before", list(zip(days, before, strict=True)), 5)] if report.before_name else []
    lines.append(plot_svg.Line("after" if lines else "", list(zip(days, after, strict=True)), 3))
    x = DayAxis("day (UTC)", days[0], days[-1])
    y = Axis(f"{report.currency} a day", Fraction(0), nice_high(max(max(before), max(after))))
    return plot_svg.line_chart("", x, y, lines, (), 280)


def bars_chart(title: str, bars: Sequence[tuple[str, int]], same: int) -> str:
    """Bars one below the other, in the colour of less before place `same`, of more after it."""
    shown = [(place, name, count) for place, (name, count) in enumerate(bars) if count or place < len(bars) - 1]
    longest = max(count for _, _, count in shown) or 1
    room = _BARS_WIDTH - _LABEL - _COUNT
    parts = [f'<text class="t" x="0" y="16">{escape(title)}</text>']
    for row, (place, name, count) in enumerate(shown):
        top = 30 + row * _ROW
        kind = "down" if place < same else "same" if place == same else "up"
        width = max(1.0 if count else 0.0, room * count / longest)
        parts.append(plot_svg.text(_LABEL - 8, top + 14, name, "end"))
        parts.append(f'<rect class="{kind}" x="{_LABEL}" y="{top + 2}" width="{width:.1f}" height="17" rx="2"/>')
        parts.append(plot_svg.text(_LABEL + width + 7, top + 14, f"{count:,}"))
    height = 34 + len(shown) * _ROW
    told = escape(", ".join(f"{name}: {count}" for _, name, count in shown), quote=True)
    return (
        f'<svg class="nano" role="img" aria-label="{escape(title, quote=True)}: {told}" '
        f'viewBox="0 0 {_BARS_WIDTH} {height}" width="{_BARS_WIDTH}" height="{height}">{"".join(parts)}</svg>'
    )
