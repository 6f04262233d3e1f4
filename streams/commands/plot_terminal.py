"""Curves in a terminal: dots of Braille, two by four in a character, with labelled axes; at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from nanotally.streams.commands.plot_axis import Axis

WIDTH = 78
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # bit of a Braille character by column and row

Points = Sequence[tuple[Fraction, Fraction]]


def chart(x: Axis, y: Axis, lines: Sequence[tuple[str, Points]], rows: int) -> list[str]:
    """The lines of a chart: title of y, the plot with ticks, the axis of x with ticks and title.

    lines: (a mark of one character, or '', and the points from left to right); the mark stands where its line ends."""
    labels = {round((rows - 1) * (1 - y.place(t))): text for t, text in zip(y.ticks, y.labels, strict=True)}
    margin = max(len(text) for text in labels.values()) + 2
    marks = {round((rows - 1) * (1 - y.place(points[-1][1]))): "" for _, points in lines}
    for mark, points in lines:
        marks[round((rows - 1) * (1 - y.place(points[-1][1])))] += mark
    room = max(len(text) for text in marks.values())
    width = WIDTH - margin - (room + 1 if room else 0)
    grid = _drawn(x, y, [points for _, points in lines], width, rows)
    out = [y.title]
    for row in range(rows):
        side = f"{labels[row]:>{margin - 1}}┤" if row in labels else " " * (margin - 1) + "│"
        out.append(f"{side}{grid[row]} {marks.get(row, '')}".rstrip())
    return [*out, *_foot(x, margin, width)]


def _drawn(x: Axis, y: Axis, lines: Sequence[Points], width: int, rows: int) -> list[str]:
    """The plot as `rows` texts of `width` characters."""
    cells = [[0] * width for _ in range(rows)]
    across, down = 2 * width - 1, 4 * rows - 1
    for points in lines:
        places = [(round(x.place(px) * across), round((1 - y.place(py)) * down)) for px, py in points]
        for (x0, y0), (x1, y1) in zip(places, places[1:] or places, strict=False):
            steps = max(abs(x1 - x0), abs(y1 - y0), 1)
            for i in range(steps + 1):
                dot_x, dot_y = x0 + (x1 - x0) * i // steps, y0 + (y1 - y0) * i // steps
                cells[dot_y // 4][dot_x // 2] |= _DOTS[dot_x % 2][dot_y % 4]
    return ["".join(chr(0x2800 + bits) if bits else " " for bits in row) for row in cells]


def _foot(x: Axis, margin: int, width: int) -> list[str]:
    line, text = ["─"] * width, [" "] * (WIDTH + 2)
    free = 0  # column from which the labels leave room
    for tick, label in zip(x.ticks, x.labels, strict=True):
        place = round(x.place(tick) * (width - 1))
        line[place] = "┬"
        at = min(max(0, margin + place - len(label) // 2), WIDTH - len(label))
        if at >= free:
            text[at : at + len(label)] = label
            free = at + len(label) + 1
    return [" " * (margin - 1) + "└" + "".join(line), "".join(text).rstrip(), f"{x.title:^{WIDTH}}".rstrip()]
