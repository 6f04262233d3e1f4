"""The price functions of a rule, in exact integers (docs/architecture.md, docs/tariffs.md).

A scope has been used n times for a cumulated quantity q. A use of quantity d under a rule moves its exact total by a
*step*: for most prices F(q + d) - F(q), F being the price of a cumulated quantity. F first makes the quantity billable
(free units, rounding), then sends it through the tiers. What the scope owes of its exact total is its *due*.

Values are numerators over the rule's denominator, quantities unscaled; both Python integers of any size. The same
functions for columns are in price_columns.py, the walk through the uses of a scope in exact.py."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from nanotally.streams.domain.price_columns import LIMIT as LIMIT
from nanotally.streams.domain.price_columns import PriceColumns
from nanotally.streams.domain.tariff import Rule, Tier
from nanotally.streams.domain.terms import MONEY_PLACES
from nanotally.streams.errors import BrokenInvariant


@dataclass(frozen=True)
class Stretch:
    """Billed positions from `start` on cost `slope` by started steps of `step`, up to the step that reaches `upper`
    (None: without end). `value`: of all stretches before. With `carry` a stretch begins where the last step of the one
    before it ended."""

    start: int
    upper: int | None
    slope: int
    step: int
    value: int

    def billed(self, quantity: int) -> int:
        """Position after the step that reaches the quantity, which is not before `start`."""
        end = quantity if self.upper is None else min(quantity, self.upper)
        return self.start + round_up(end - self.start, self.step)


def round_up(quantity: int, step: int) -> int:
    """The least multiple of the step that is not below the quantity."""
    return -(-quantity // step) * step


class Price:
    """A rule's price. Equal only to itself. Raises BrokenInvariant for terms that the reader of tariffs refuses."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.den = rule, rule.denominator
        self.lower = [0, *(tier.up_to for tier in rule.tiers[:-1] if tier.up_to is not None)]
        self.slope = [int(tier.price * self.den) for tier in rule.tiers]
        self.fee = [int(tier.fee * self.den) for tier in rule.tiers]
        self.connect = int(rule.connect * self.den)
        # Whether each use has its own price, not only its part of the scope's.
        self.by_use = rule.each is not None or (rule.free is not None and rule.free.events is not None)
        self.carries = rule.carry and not rule.volume
        linear = len(rule.tiers) <= 1 and not any(self.fee) and all(tier.step is None for tier in rule.tiers)
        if self.by_use and rule.free is not None and not (linear and not rule.volume):
            raise BrokenInvariant(f"rule {rule.name!r}: an allowance of single uses goes with one price per unit only")
        if len(self.lower) != max(1, len(rule.tiers)):
            raise BrokenInvariant(f"rule {rule.name!r}: only the last tier may be open")
        self.stretches = [] if rule.volume else list(self._stretches())

    def _stretches(self) -> list[Stretch]:
        stretches: list[Stretch] = []
        at, value = 0, 0
        for place, tier in enumerate(self.rule.tiers):
            last = place == len(self.rule.tiers) - 1
            if not self.carries:
                at = self.lower[place]
            upper = None if last or tier.up_to is None else tier.up_to
            if upper is not None and at >= upper:
                continue  # a step carried over the whole tier
            stretch = Stretch(at, upper, self.slope[place], tier.step or 1, value)
            stretches.append(stretch)
            if upper is not None:
                at = stretch.billed(upper)
                value += (at - stretch.start) * stretch.slope
        return stretches

    @cached_property
    def columns(self) -> PriceColumns:
        """The same functions for columns."""
        return PriceColumns(self)

    # ---- quantities ----

    def counted(self, quantity: int) -> int:
        """What a use's quantity counts: rounded where single uses are."""
        rounding = self.rule.rounding
        return self._rounded(quantity) if rounding is not None and rounding.event else quantity

    def billable(self, quantity: int) -> int:
        """What of a cumulated quantity goes through the tiers."""
        rule = self.rule
        free = 0 if rule.free is None or self.by_use else rule.free.units or 0
        by_scope = rule.rounding is not None and not rule.rounding.event
        if not by_scope:
            return max(0, quantity - free)
        if rule.free is not None and rule.free.after_rounding:
            return max(0, self._rounded(quantity) - free)
        return self._rounded(max(0, quantity - free))

    def _rounded(self, quantity: int) -> int:
        rounding = self.rule.rounding
        assert rounding is not None
        if rounding.mode == "up":
            return round_up(quantity, rounding.step)
        half = rounding.step if rounding.mode == "half_up" else 0
        return (2 * quantity + half) // (2 * rounding.step) * rounding.step

    # ---- the price of a cumulated quantity ----

    def value(self, quantity: int, uses: int, by: int | None = None, unit: int | None = None) -> int:
        """F of a cumulated quantity after so many uses. by: the quantity that chooses the volume tier, None: the
        billable one; unit: price of a unit instead of the tiers, see `unit_of`."""
        billable = self.billable(quantity)
        if unit is not None:
            return unit * self.at_own_price(billable)
        if self.rule.volume:
            place = bisect_left(self.lower, billable if by is None else by, 1) - 1
            tier = self.rule.tiers[place]
            fee = self.fee[place] if billable > 0 or (self.rule.zero_fee and uses > 0) else 0
            return fee + self.slope[place] * round_up(billable, tier.step or 1)
        stretch = self._stretch(billable)
        return stretch.value + (stretch.billed(billable) - stretch.start) * stretch.slope + self._fees(billable, uses)

    def _stretch(self, billable: int) -> Stretch:
        """The stretch that the last billable unit falls in; the first one for 0."""
        return self.stretches[max(0, bisect_left(self.stretches, billable, key=lambda s: s.start) - 1)]

    def _fees(self, billable: int, uses: int) -> int:
        entered = bisect_left(self.lower, billable)
        return sum(self.fee[: max(entered, 1 if self.rule.zero_fee and uses > 0 else 0)])

    def over(self, quantity: int) -> int:
        """What steps of this price alone have paid for beyond a cumulated quantity."""
        billable = self.billable(quantity)
        return self._stretch(billable).billed(billable) - billable if self.carries and self.stretches else 0

    # ---- a price that comes with the use ----

    def refuses(self, came: Fraction | None) -> bool:
        """Whether there is no price for a use. came: the price that came with it, in currency units."""
        source = self.rule.price_from
        if self.rule.refuse or source is None:
            return self.rule.refuse
        if came is None:
            return not self.rule.tiers
        return (came * 10**MONEY_PLACES).denominator != 1 or not source.at_least <= came * source.unit <= source.at_most

    def unit_of(self, came: Fraction | None) -> int | None:
        """Numerator of the price of a unit where it came with the use; None where the tiers count."""
        source = self.rule.price_from
        return None if source is None or came is None else int(came * source.unit * self.den)

    def at_own_price(self, billable: int) -> int:
        """What of a billable quantity is charged at prices that come with uses."""
        source = self.rule.price_from
        return billable if source is None or source.up_to is None else min(billable, source.up_to)

    # ---- steps ----

    def step(
        self, uses: int, quantity: int, over: int, counted: int, first: bool, by: int | None, unit: int | None
    ) -> tuple[int, int]:
        """Step of the exact total by one use, and what is paid beyond the quantity after it. uses, quantity, over: the
        scope before; first: whether it is the first piece of its use."""
        after, uses_after = quantity + counted, uses + first
        over_after = 0
        if self.by_use and self.rule.free is not None:
            step = self._with_allowance(uses if first else uses - 1, quantity, counted, unit)
        else:
            if self.carries and unit is None:
                start, end = self.billable(quantity), self.billable(after)
                step, over_after = self._walk(start + over, end)
                step += self._fees(end, uses_after) - self._fees(start, uses)
            else:
                step = self.value(after, uses_after, by, unit) - self.value(quantity, uses, by, unit)
            step = self._bounded(step)
        return step + (self.connect if quantity == 0 and counted > 0 else 0), over_after

    def _walk(self, billed: int, end: int) -> tuple[int, int]:
        """From a billed position by started steps until `end` is reached: the price, and what is paid beyond it."""
        step, at = 0, billed
        while at < end:
            place = bisect_left(self.lower, at + 1) - 1
            tier = self.rule.tiers[place]
            upper = end if place == len(self.slope) - 1 else min(end, self._upper(tier))
            width = round_up(upper - at, tier.step or 1)
            step += width * self.slope[place]
            at += width
        return step, at - end

    @staticmethod
    def _upper(tier: Tier) -> int:
        assert tier.up_to is not None
        return tier.up_to

    def _with_allowance(self, index: int, quantity: int, counted: int, unit: int | None) -> int:
        """Step of a use of which an allowance of uses or units takes off a part. index: of the use in its scope."""
        free = self.rule.free
        assert free is not None
        within = free.events is None or index < free.events
        off, covered = 0, False
        if within:
            off = counted if free.units is None else min(counted, max(0, free.units - quantity))
            left = None if free.units is None else free.units - quantity - counted
            covered = left is None or left > 0 or (left == 0 and not free.reached)
        slope = self.slope[0] if unit is None else unit
        return 0 if covered else self._bounded(slope * (counted - off))

    def _bounded(self, step: int) -> int:
        each = self.rule.each
        if each is None:
            return step
        step += int(each.fee * self.den)
        if each.at_least is not None:
            step = max(step, int(each.at_least * self.den))
        return step if each.at_most is None else min(step, int(each.at_most * self.den))

    # ---- what is owed of an exact total ----

    def worth(self, total: Fraction) -> Fraction:
        """What a scope's exact total asks for, before any cap."""
        overage = self.rule.overage
        if overage is None or total <= overage.above:
            return total
        return overage.above + (total - overage.above) * overage.factor

    def due(self, total: int, remainder: int, den: int) -> int:
        """Whole nanos that a scope owes for an exact total of `total` nanos and remainder over den."""
        rule = self.rule
        due = total if rule.overage is None else self.worth(total + Fraction(remainder, den)).__floor__()
        if rule.cap_nanos is not None:
            due = min(due, rule.cap_nanos)
        return max(due, rule.minimum_nanos) if rule.scope == "event" else due

    def charge(self, due: int, charged: int) -> int:
        """What a scope that owes `due` is charged further. Only a falling price gives back."""
        return due - charged if self.rule.falling else max(0, due - charged)
