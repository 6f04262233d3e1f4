"""The price of a rule over the quantity that a scope has cumulated: points to draw, and exact values at borders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import ceil, lcm

from nanotally.streams.commands.plot_values import values
from nanotally.streams.domain.tariff import NANOS_PER_UNIT, Meter, Rule, TariffVersion
from nanotally.streams.tariffs import figures

SAMPLES = 240
STEPS_DRAWN = 60  # more started steps than these are drawn as the line that they come to
LOG_FROM = 50  # borders so many times apart are drawn with an axis of decades
MINIMUM, LEAST_PASSED = "minimum passed", "minimum of a use passed"
QUANTITY_MAX = 10**15  # the most that a use may have


@dataclass(frozen=True)
class Border:
    """A place where the price changes. quantity: unscaled; why: 'tier 1 ends', 'cap reached' ...; before, after:
    exact nanos at it and one unscaled unit above (None: refused there)."""

    quantity: int
    why: str
    before: Fraction | None
    after: Fraction | None


class Curve:
    """One rule's price function over `0..high` unscaled units. `uses_before`: the scope had so many uses before."""

    def __init__(self, rule: Rule, high: int) -> None:
        self.rule = rule
        self.high = high
        self.uses_before = rule.free.events or 0 if rule.free is not None else 0
        self._known: dict[int, Fraction | None] = {}

    def value(self, quantity: int) -> Fraction | None:
        """Exact nanos of the quantity; None where it is refused."""
        self.learn([quantity])
        return self._known[quantity]

    def learn(self, quantities: Sequence[int]) -> None:
        """Works out many at once."""
        new = sorted({q for q in quantities if q not in self._known})
        if new:
            self._known |= zip(new, values(self.rule, new, self.uses_before), strict=True)

    @cached_property
    def borders(self) -> list[Border]:
        """Places where the price changes, within the range, in order."""
        places: dict[int, list[str]] = {}
        for quantity, why in (*_written(self.rule), *self._reached()):
            if 0 < quantity < self.high:
                places.setdefault(quantity, []).append(why)
        self.learn([q + more for q in places for more in (0, 1)])
        return [Border(q, ", ".join(w), self.value(q), self.value(q + 1)) for q, w in sorted(places.items())]

    def _reached(self) -> Iterator[tuple[int, str]]:
        """Where cap, minimum and commitment are reached, which only the function itself can tell."""
        marks = [(self.rule.cap_nanos, "cap reached"), (self.rule.minimum_nanos or None, MINIMUM)]
        if self.rule.overage is not None:
            marks.append((ceil(self.rule.overage.above), "commitment used up"))
        if self.rule.each is not None:
            least, most = self.rule.each.at_least, self.rule.each.at_most
            marks.append((None if least is None else ceil(least), LEAST_PASSED))
            marks.append((None if most is None else ceil(most), "maximum of a use reached"))
        for nanos, why in marks:
            beyond = why in (MINIMUM, LEAST_PASSED)
            if nanos is not None and (found := self._first_at(Fraction(nanos), beyond)) is not None:
                yield found, why

    def _first_at(self, nanos: Fraction, beyond: bool) -> int | None:
        """The least quantity whose price is the sum, or with `beyond` more; the price must not fall on the way."""

        def reached(quantity: int) -> bool:
            price = self.value(quantity)
            return price is not None and (price > nanos if beyond else price >= nanos)

        low, high = 0, self.high
        if reached(low) or not reached(high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if reached(middle) else (middle, high)
        return low if beyond else high

    def points(self, places: Sequence[int]) -> list[tuple[int, Fraction]]:
        """Quantities with exact nanos, to be joined by lines: the places given, and both sides of all that jumps."""
        wanted = {q for q in places if q <= self.high} | {0, self.high}
        for border in self.borders:
            wanted |= {border.quantity, border.quantity + 1}
        step = period(self.rule)
        if step > 1 and self.high // step <= STEPS_DRAWN:
            wanted |= {q + more for q in range(0, self.high, step) for more in (0, 1)}
        self.learn(sorted(wanted))
        return [(q, price) for q in sorted(wanted) if (price := self._known[q]) is not None]

    def marginal(self) -> list[tuple[int, int, Fraction]]:
        """(from, to, exact nanos for one more unscaled unit between them): constant pieces from 0 to high; what jumps
        at a border, such as a fee, is not in it."""
        edges = [0, *(b.quantity for b in self.borders), self.high]
        step = period(self.rule)
        out: list[tuple[int, int, Fraction]] = []
        for low, high in pairwise(edges):
            first = min(low + 1, high)
            # Of whole nanos, which a commitment's excess is told in, only a wide piece shows the price.
            width = step if self.rule.overage is None else step * max(1, (high - first) // step)
            if first + width > high:
                first, width = low, high - low
            start, end = self.value(first), self.value(first + width)
            if start is not None and end is not None:
                out.append((low, high, (end - start) / width))
        return out


def _written(rule: Rule) -> Iterator[tuple[int, str]]:
    """Borders that stand in the rule itself."""
    free = rule.free.units or 0 if rule.free is not None else 0
    if free:
        yield free, "allowance used up"
    for number, tier in enumerate(rule.tiers, 1):
        if tier.up_to is not None:
            yield tier.up_to + free, f"tier {number} ends"
    if rule.limit is not None:
        yield rule.limit, "limit: refused above"


def period(rule: Rule) -> int:
    """Unscaled units after which the price of started steps repeats; 1 without steps."""
    steps = [tier.step for tier in rule.tiers if tier.step] + ([rule.rounding.step] if rule.rounding else [])
    return lcm(*steps) if steps else 1


def range_of(rules: Sequence[Rule], meter: Meter) -> tuple[int, bool]:
    """How far the plot of these rules goes (unscaled), and whether its axis is of decades."""
    borders = [quantity for rule in rules for quantity, _ in _written(rule)]
    if any(rule.cap_nanos or rule.minimum_nanos or rule.overage or rule.each for rule in rules):
        borders += [r for rule in rules if (r := _cap_guess(rule)) is not None]
    if borders:
        high = min(max(borders) * 3 // 2 + 1, QUANTITY_MAX)
        return max(high, 10 * max(period(r) for r in rules)), max(borders) > LOG_FROM * min(b for b in borders if b)
    slopes = [tier.price for rule in rules for tier in rule.tiers if tier.price > 0]
    count = 1
    while slopes and max(slopes) * 10**meter.scale * count < NANOS_PER_UNIT // 100 and count < 10**12:
        count *= 10
    longest = max((period(r) for r in rules), default=1)
    return max(10 * count * 10**meter.scale if longest == 1 else 0, 6 * longest if longest > 1 else 0, 1), False


def _cap_guess(rule: Rule) -> int | None:
    """About where the last of cap, minimum, commitment and bounds of a use is reached; None where there is none."""
    sums = [Fraction(rule.cap_nanos or 0), Fraction(rule.minimum_nanos)]
    sums.append(rule.overage.above if rule.overage is not None else Fraction(0))
    if rule.each is not None:
        sums += [limit for limit in (rule.each.at_least, rule.each.at_most) if limit is not None]
    if not max(sums):
        return None
    curve = Curve(rule, QUANTITY_MAX)
    quantity = 1
    while quantity < QUANTITY_MAX:
        price = curve.value(quantity)
        if price is None or price >= max(sums):
            return quantity
        quantity *= 2
    return None


@dataclass(frozen=True)
class Group:
    """Rules of one name: the variants of one rule of the file, on one meter and the same kind of scope."""

    name: str
    meter: Meter
    rules: tuple[Rule, ...]


def groups_of(version: TariffVersion) -> list[Group]:
    """What is plotted of a version: each rule by its name, then its passes over money."""
    by_name: dict[str, list[Rule]] = {}
    for rule in version.rules:
        by_name.setdefault(rule.name, []).append(rule)
    found = [Group(name, version.meter_by_name[rules[0].meter], tuple(rules)) for name, rules in by_name.items()]
    money = Meter("list price", version.currency, 9)
    return found + [Group(f"pass {p.name}", money, (p.price,)) for p in version.passes]


def scope_words(rule: Rule) -> str:
    """'in a day', 'in one use', 'within 24 h from the first use': what the cumulated quantity is counted over."""
    match rule.scope:
        case "event":
            return "in one use"
        case "life":
            return "for life"
        case "anchored":
            return f"within {figures.number(Fraction(rule.length_us, 3_600_000_000))} h from the first use"
        case scope:
            return f"in {'an' if scope == 'hour' else 'a'} {scope}"
