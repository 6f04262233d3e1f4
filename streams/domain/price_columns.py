"""The price functions of a rule for columns of uses: int64, equal to those of prices.py where `bound` allows them."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from nanotally.streams.domain.records import BoolArray, Int64Array

if TYPE_CHECKING:
    from nanotally.streams.domain.prices import Price

LIMIT = 2**62


class PriceColumns:
    """A price's functions with columns int64[n] in and out. Quantities are at least 0; the caller has made sure of
    `bound` and that what the functions are multiplied with and added to fits too."""

    def __init__(self, price: Price) -> None:
        self.price, self.rule = price, price.rule
        stretches, rule = price.stretches, price.rule
        steps = [s.step for s in stretches] if stretches else [tier.step or 1 for tier in rule.tiers]
        uppers = [LIMIT if s.upper is None else s.upper for s in stretches]
        fees = [sum(price.fee[:place]) for place in range(len(price.fee) + 1)]
        # Where quantities are no more than counted and no use has a price of its own: the quickest way.
        self.plain = bool(stretches) and not (
            any(fees) or any(s != 1 for s in steps) or rule.free or rule.rounding or rule.each or rule.connect
            or rule.overage or rule.falling or rule.price_from or rule.tier_by or rule.refuse or price.carries
            or rule.limit is not None or (rule.minimum_nanos and rule.scope == "event")
        )  # fmt: skip
        # Whether steps are differences of one function of the scope.
        self.telescopes = not price.by_use and rule.price_from is None
        self.rises = not rule.volume  # a greater quantity never has a lower price
        each = rule.each
        bounds = [] if each is None else [v for v in (each.at_least, each.at_most) if v is not None]
        added = [*fees, price.connect, *(int(v * price.den) for v in [*bounds, *([each.fee] if each else [])])]
        came = rule.price_from
        self._slope_most = max(price.slope, default=0)
        unit_most = 0 if came is None else int(came.at_most * price.den)
        self._step_sum = sum(steps) + (2 * rule.rounding.step if rule.rounding else 0)
        self._added = sum(added)
        values = [s.value for s in stretches]
        starts = [s.start for s in stretches]
        up_to = 0 if came is None else came.up_to or 0
        own = (unit_most, up_to, self._step_sum)
        numbers = [*values, *starts, *uppers, *steps, *price.lower, *price.slope, *added, *own]
        self.fits = max(numbers, default=0) <= LIMIT and max(rule.cap_nanos or 0, rule.minimum_nanos) < LIMIT
        if self.fits:
            self._start, self._upper = np.array(starts, dtype=np.int64), np.array(uppers, dtype=np.int64)
            self._value, self._step = np.array(values, dtype=np.int64), np.array(steps, dtype=np.int64)
            self._slope = np.array([s.slope for s in stretches] or price.slope, dtype=np.int64)
            self._lower = np.array(price.lower, dtype=np.int64)
            self._fees = np.array(fees, dtype=np.int64)
            self._fee = np.array(price.fee, dtype=np.int64)
        self._stepped, self._has_fees = any(s != 1 for s in steps), any(fees)

    def bound(self, most: int, unit: int = 0) -> int:
        """What no value or step goes beyond, up or down, for quantities up to `most` and prices of a unit that come
        with uses up to `unit`; LIMIT where the numbers of the price themselves do not fit."""
        if not self.fits or 2 * (most + self._step_sum) >= LIMIT:
            return LIMIT
        if self.plain:
            return self.price.value(most, 1)
        return max(self._slope_most, unit) * (most + self._step_sum) + 2 * self._added

    # ---- quantities ----

    def counted(self, quantity: Int64Array) -> Int64Array:
        """See Price.counted."""
        rounding = self.rule.rounding
        return self._rounded(quantity) if rounding is not None and rounding.event else quantity

    def billable(self, quantity: Int64Array) -> Int64Array:
        """See Price.billable."""
        rule = self.rule
        free = 0 if rule.free is None or self.price.by_use else rule.free.units or 0
        by_scope = rule.rounding is not None and not rule.rounding.event
        if rule.free is not None and rule.free.after_rounding and by_scope:
            quantity, by_scope = self._rounded(quantity), False
        if free:
            quantity = np.maximum(quantity - free, 0)
        return self._rounded(quantity) if by_scope else quantity

    def _rounded(self, quantity: Int64Array) -> Int64Array:
        rounding = self.rule.rounding
        assert rounding is not None
        if rounding.mode == "up":
            return _round_up(quantity, rounding.step)
        half = rounding.step if rounding.mode == "half_up" else 0
        rounded: Int64Array = (2 * quantity + half) // (2 * rounding.step) * rounding.step
        return rounded

    # ---- values and steps ----

    def plain_value(self, quantity: Int64Array) -> Int64Array:
        """F of a plain price."""
        if len(self._slope) == 1:
            flat: Int64Array = quantity * self._slope[0]
            return flat
        place = np.searchsorted(self._start, quantity, side="right") - 1
        value: Int64Array = self._value[place] + (quantity - self._start[place]) * self._slope[place]
        return value

    def value(self, quantity: Int64Array, uses: Int64Array) -> Int64Array:
        """Price.value by the tiers, and the connect fee where anything was used."""
        if self.plain:
            return self.plain_value(quantity)
        billable = self.billable(quantity)
        value = self._volume(billable, uses) if self.rule.volume else self._graduated(billable, uses)
        return value + self.price.connect * (quantity > 0) if self.price.connect else value

    def _graduated(self, billable: Int64Array, uses: Int64Array) -> Int64Array:
        place = self._place(billable)
        width = np.minimum(billable, self._upper[place]) - self._start[place]
        if self._stepped:
            width = _round_up(width, self._step[place])
        value = self._value[place] + width * self._slope[place]
        if self._has_fees:
            entered = np.searchsorted(self._lower, billable, side="left")
            if self.rule.zero_fee:
                entered = np.maximum(entered, uses > 0)
            value += self._fees[entered]
        return value

    def _place(self, billable: Int64Array) -> Int64Array:
        place: Int64Array = np.maximum(np.searchsorted(self._start, billable, side="left") - 1, 0)
        return place

    def _volume(self, billable: Int64Array, uses: Int64Array) -> Int64Array:
        place = np.searchsorted(self._lower[1:], billable, side="left")
        width = _round_up(billable, self._step[place]) if self._stepped else billable
        due = (billable > 0) | (uses > 0) if self.rule.zero_fee else billable > 0
        value: Int64Array = self._slope[place] * width + self._fee[place] * due
        return value

    def over(self, quantity: Int64Array) -> Int64Array:
        """See Price.over."""
        if not self.price.carries or not len(self._start):
            return np.zeros_like(quantity)
        billable = self.billable(quantity)
        place = self._place(billable)
        width = np.minimum(billable, self._upper[place]) - self._start[place]
        over: Int64Array = self._start[place] + _round_up(width, self._step[place]) - billable
        return over

    def steps(
        self,
        uses: Int64Array,
        quantity: Int64Array,
        counted: Int64Array,
        first: BoolArray | None,
        unit: Int64Array | None,
        has_unit: BoolArray | None,
    ) -> Int64Array:
        """Price.step of each use with its scope before it, all of whose steps were of this price alone. unit: see
        Price.unit_of, where `has_unit`."""
        after = quantity + counted
        if self.price.by_use and self.rule.free is not None:
            step = self._with_allowance(uses, quantity, counted, first, unit, has_unit)
        elif unit is not None and has_unit is not None:
            step = unit * (self.at_own_price(after) - self.at_own_price(quantity))
            if not has_unit.all():
                step = np.where(has_unit, step, self._differences(uses, quantity, after, first))
            step = self._bounded(step)
        else:
            step = self._bounded(self._differences(uses, quantity, after, first))
        return step + self.price.connect * ((quantity == 0) & (counted > 0)) if self.price.connect else step

    def _differences(
        self, uses: Int64Array, quantity: Int64Array, after: Int64Array, first: BoolArray | None
    ) -> Int64Array:
        if self.plain:
            return self.plain_value(after) - self.plain_value(quantity)
        uses_after = uses + (1 if first is None else first)
        value = self._volume if self.rule.volume else self._graduated
        return value(self.billable(after), uses_after) - value(self.billable(quantity), uses)

    def at_own_price(self, quantity: Int64Array) -> Int64Array:
        """Price.at_own_price of what is billable of a quantity."""
        billable, came = self.billable(quantity), self.rule.price_from
        return billable if came is None or came.up_to is None else np.minimum(billable, came.up_to)

    def _with_allowance(
        self,
        uses: Int64Array,
        quantity: Int64Array,
        counted: Int64Array,
        first: BoolArray | None,
        unit: Int64Array | None,
        has_unit: BoolArray | None,
    ) -> Int64Array:
        free = self.rule.free
        assert free is not None
        index = uses if first is None else uses - ~first
        within = np.ones(len(uses), dtype=bool) if free.events is None else index < free.events
        if free.units is None:
            off, covered = np.where(within, counted, 0), within
        else:
            off = np.where(within, np.minimum(counted, np.maximum(free.units - quantity, 0)), 0)
            after = quantity + counted
            covered = within & ((after < free.units) if free.reached else (after <= free.units))
        slope = self._slope[0] if len(self._slope) else np.int64(0)
        chosen = slope if unit is None or has_unit is None else np.where(has_unit, unit, slope)
        return np.where(covered, 0, self._bounded(chosen * (counted - off)))

    def _bounded(self, step: Int64Array) -> Int64Array:
        each, den = self.rule.each, self.price.den
        if each is None:
            return step
        step = step + int(each.fee * den)
        if each.at_least is not None:
            step = np.maximum(step, int(each.at_least * den))
        return step if each.at_most is None else np.minimum(step, int(each.at_most * den))

    # ---- what is owed ----

    def due(self, total: Int64Array, remainder: Int64Array, den: Int64Array) -> Int64Array | None:
        """See Price.due; None where it may not fit."""
        rule, due = self.rule, total
        if rule.overage is not None:
            above, factor = rule.overage.above, rule.overage.factor
            scale = int(den.max(initial=1)) * above.denominator
            most = (int(np.abs(total).max(initial=0)) + 1) * scale + above.numerator * int(den.max(initial=1))
            if most * max(factor.numerator, factor.denominator) >= LIMIT:
                return None
            due = _with_overage(total, remainder, den, above, factor)
        if rule.cap_nanos is not None:
            due = np.minimum(due, rule.cap_nanos)
        return np.maximum(due, rule.minimum_nanos) if rule.scope == "event" else due


def _with_overage(
    total: Int64Array, remainder: Int64Array, den: Int64Array, above: Fraction, factor: Fraction
) -> Int64Array:
    """floor(above + (T - above) * factor) where T = total + remainder / den is above `above`, else `total`."""
    over = (total * den + remainder) * above.denominator - above.numerator * den  # times den and above's denominator
    base = above.numerator * den * factor.denominator
    due = (base + over * factor.numerator) // (den * above.denominator * factor.denominator)
    return np.where(over > 0, due, total)


def _round_up(quantity: Int64Array, step: Int64Array | int) -> Int64Array:
    rounded: Int64Array = -(-quantity // step) * step
    return rounded
