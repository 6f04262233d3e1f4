"""Axes of plots: where an exact value is drawn, and which values are written beside the axis.

Only the place on the screen is a float; every number that is written down is exact."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import floor, log10

from nanotally.streams.tariffs import figures

_SUFFIXES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))
_LABEL_MAX = 9  # characters of a plain number beside an axis


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, which is greater; `log`: each decade takes as much room (low > 0 then)."""

    title: str
    low: Fraction
    high: Fraction
    log: bool = False

    def place(self, value: Fraction) -> float:
        """0 at `low`, 1 at `high`; what is beyond is drawn at the edge."""
        inside = min(max(value, self.low), self.high)
        if self.log:
            return (_log(inside) - _log(self.low)) / (_log(self.high) - _log(self.low))
        return float((inside - self.low) / (self.high - self.low))

    @cached_property
    def ticks(self) -> list[Fraction]:
        """Round values within the axis, at least two."""
        if self.log:
            first, last = floor(_log(self.low)), floor(_log(self.high)) + 1
            every = max(1, (last - first) // 6)
            decades = [Fraction(10) ** e for e in range(first, last + 1, every)]
            if last - first <= 2:
                decades = [d * m for d in decades for m in (1, 2, 5)]
            return [t for t in decades if self.low <= t <= self.high]
        step = _round_step((self.high - self.low) / 4)
        first = -(-self.low // step)
        return [step * i for i in range(int(first), int(self.high // step) + 1)]

    @property
    def labels(self) -> list[str]:
        """Text of each tick."""
        return [compact(t) for t in self.ticks]


def nice_high(value: Fraction) -> Fraction:
    """The end of an axis from 0 that has room for the value and ends at a tick."""
    if value <= 0:
        return Fraction(1)
    step = _round_step(value / 4)
    return -(-value // step) * step


def _round_step(width: Fraction) -> Fraction:
    """The least of 1, 2, 2.5, 5 times a power of ten that is not below the width."""
    power = Fraction(10) ** floor(_log(width))
    steps = (power * round_number for round_number in (Fraction(1), Fraction(2), Fraction(5, 2), Fraction(5)))
    return next((step for step in steps if width <= step), power * 10)


def _log(value: Fraction) -> float:
    """log10, also where the fraction is beyond floats."""
    return log10(value.numerator) - log10(value.denominator)


def compact(value: Fraction | int) -> str:
    """'10M', '2.5k', '0.005', '5e-10': short and exact; what does not end is written as a fraction."""
    exact = Fraction(value)
    for size, suffix in _SUFFIXES:
        if abs(exact) >= size and (exact / size * 10).denominator == 1:
            return figures.number(exact / size) + suffix
    text = figures.number(exact)
    if len(text) <= _LABEL_MAX or "/" in text or "." not in text:
        return text
    exponent = floor(_log(abs(exact)))
    return f"{figures.number(exact / Fraction(10) ** exponent)}e{exponent}"
