"""Line charts as SVG, written by hand: readable on light and dark ground, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from html import escape

from nanotally.streams.commands.plot_axis import Axis

WIDTH = 760
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 26, 34, 50
_LETTER_PX = 6.6  # of an axis label

# Colours that differ for people who see them unlike others do, and stand out on white and on near black.
STYLE = """
svg.nano{--ink:#1f2328;--soft:#656d76;--grid:#d8dee4;--paper:#fff;
--c0:#0969da;--c1:#bc4c00;--c2:#1a7f37;--c3:#8250df;--c4:#bf3989;--c5:#6e7781;
font:13px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:var(--ink);max-width:100%;height:auto}
@media(prefers-color-scheme:dark){svg.nano{--ink:#e6edf3;--soft:#9198a1;--grid:#30363d;--paper:#0d1117;
--c0:#58a6ff;--c1:#f0883e;--c2:#3fb950;--c3:#bc8cff;--c4:#f778ba;--c5:#9198a1}}
svg.nano .t{font-weight:600;font-size:15px}svg.nano .s{fill:var(--soft);font-size:12px}
svg.nano .g{stroke:var(--grid);stroke-width:1}svg.nano .a{stroke:var(--soft);stroke-width:1}
svg.nano .l{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}
svg.nano .b{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 4}
"""
COLORS = 6


@dataclass(frozen=True)
class Line:
    """One curve: its name in the legend ('' for none), its points from left to right, its color (None: the next)."""

    name: str
    points: Sequence[tuple[Fraction, Fraction]]
    color: int | None = None


@dataclass(frozen=True)
class Note:
    """A remark in the plot: at a point, or with y None at a dashed vertical line from top to bottom."""

    x: Fraction
    y: Fraction | None
    text: str


def line_chart(
    title: str, x: Axis, y: Axis, lines: Sequence[Line], notes: Sequence[Note] = (), height: int = 260
) -> str:
    """One chart as an svg element of WIDTH by `height` pixels, without the style."""
    bottom, right = height - _BOTTOM, WIDTH - _RIGHT

    def px(value: Fraction) -> float:
        return _LEFT + x.place(value) * (right - _LEFT)

    def py(value: Fraction) -> float:
        return bottom - y.place(value) * (bottom - _TOP)

    parts = [f'<text class="t" x="{_LEFT}" y="18">{escape(title)}</text>']
    for tick, label in zip(y.ticks, y.labels, strict=True):
        parts.append(f'<line class="g" x1="{_LEFT}" x2="{right}" y1="{py(tick):.1f}" y2="{py(tick):.1f}"/>')
        parts.append(text(_LEFT - 8, py(tick) + 4, label, "end"))
    free = 0.0
    for tick, label in zip(x.ticks, x.labels, strict=True):
        at, half = px(tick), len(label) * _LETTER_PX / 2
        parts.append(f'<line class="a" x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 5}"/>')
        if at - half >= free:
            parts.append(text(at, bottom + 19, label, "middle"))
            free = at + half + 6
    parts.append(f'<line class="a" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(text((_LEFT + right) / 2, height - 12, x.title, "middle"))
    parts.append(f'<text class="s" text-anchor="middle" transform="translate(16 {(bottom + _TOP) / 2:.0f}) '
                 f'rotate(-90)">{escape(y.title)}</text>')  # fmt: skip
    parts += [_note(note, px, py, bottom, right) for note in notes]
    colors = [i % COLORS if line.color is None else line.color for i, line in enumerate(lines)]
    for line, color in zip(lines, colors, strict=True):
        path = _path([(px(a), py(b)) for a, b in line.points])
        parts.append(f'<path class="l" style="stroke:var(--c{color})" d="{path}"/>')
    parts += _legend([(line.name, color) for line, color in zip(lines, colors, strict=True)], right)
    label = escape(f"{title}: {y.title} over {x.title}", quote=True)
    return (
        f'<svg class="nano" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{label}" '
        f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">{"".join(parts)}</svg>'
    )


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    """Small soft text."""
    return f'<text class="s" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def page_of(charts: Sequence[str], title: str, heights: Sequence[int]) -> str:
    """Charts one below the other as one SVG file with its style."""
    tops = [40 + sum(heights[:i]) for i in range(len(charts))]
    inner = "".join(chart.replace("<svg ", f'<svg y="{top}" ', 1) for chart, top in zip(charts, tops, strict=True))
    total = 50 + sum(heights)
    return (
        f'<svg class="nano" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" width="{WIDTH}" '
        f'height="{total}"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<rect width="{WIDTH}" height="{total}" fill="var(--paper)"/>'
        f'<text x="20" y="28" style="font-size:18px;font-weight:600">{escape(title)}</text>{inner}</svg>\n'
    )


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places)


def _note(note: Note, px: Callable[[Fraction], float], py: Callable[[Fraction], float], bottom: int, right: int) -> str:
    at = px(note.x)
    left = at + len(note.text) * _LETTER_PX + 8 > right
    place, anchor = (at - 7, "end") if left else (at + 7, "start")
    if note.y is None:
        line = f'<line class="b" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        return line + text(place, _TOP + 10, note.text, anchor)
    dot = f'<circle cx="{at:.1f}" cy="{py(note.y):.1f}" r="3.5" style="fill:var(--ink)"/>'
    return dot + text(place, py(note.y) - 8 if left else py(note.y) + 16, note.text, anchor)


def _legend(names: Sequence[tuple[str, int]], right: int) -> list[str]:
    parts, at = [], float(right)
    for name, color in reversed(names):
        if name:
            at -= len(name) * _LETTER_PX + 26
            parts.append(f'<rect x="{at:.1f}" y="9" width="14" height="4" rx="2" style="fill:var(--c{color})"/>')
            parts.append(text(at + 19, 15, name))
    return parts
