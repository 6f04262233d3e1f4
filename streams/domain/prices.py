"""The price functions of a rule, in exact integers: numerators over the rule's denominator (docs/architecture.md)."""

from __future__ import annotations

import numpy as np

from nanotally.streams.domain.records import Int64Array
from nanotally.streams.domain.tariff import Rule

LIMIT = 2**62


class Price:
    """A rule's price function with numerators over the rule's denominator."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.den = rule.denominator
        self.lower = [0]  # where each piece begins, unscaled quantity
        self.value = [0]  # numerator of F there
        self.slope: list[int] = []  # numerator per unscaled unit
        for tier in rule.tiers:
            slope = tier.price * self.den
            self.slope.append(int(slope))
            if tier.up_to is not None:
                self.value.append(self.value[-1] + (tier.up_to - self.lower[-1]) * self.slope[-1])
                self.lower.append(tier.up_to)
        del self.lower[len(self.slope) :], self.value[len(self.slope) :]
        self.fits = max(self.lower + self.value + self.slope) < LIMIT
        if self.fits:
            self._lower = np.array(self.lower, dtype=np.int64)
            self._value = np.array(self.value, dtype=np.int64)
            self._slope = np.array(self.slope, dtype=np.int64)

    def numerator(self, quantity: int) -> int:
        """F(quantity) times the denominator, exactly."""
        piece = max(i for i, low in enumerate(self.lower) if low <= quantity)
        return self.value[piece] + (quantity - self.lower[piece]) * self.slope[piece]

    def numerators(self, quantity: Int64Array) -> Int64Array:
        """The same for a column; the caller has made sure that the greatest one fits."""
        if len(self.slope) == 1:
            flat: Int64Array = quantity * self._slope[0]
            return flat
        piece = np.searchsorted(self._lower, quantity, side="right") - 1
        value: Int64Array = self._value[piece] + (quantity - self._lower[piece]) * self._slope[piece]
        return value
