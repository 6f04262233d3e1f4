"""Two prices of one rule compared: where it is cheaper or dearer, and examples, by the engine's rating."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

from nanotally.streams.commands.plot_curves import QUANTITY_MAX, Curve, scope_words
from nanotally.streams.domain.tariff import NANOS_PER_UNIT, Meter, Rule
from nanotally.streams.tariffs import figures

EXAMPLES_MAX = 6
SMALLEST = NANOS_PER_UNIT // 1000  # examples begin where the price is a tenth of a cent
LARGEST = 100_000 * NANOS_PER_UNIT
SPANS_MAX = 4  # more turns between cheaper and dearer are not told one by one

Price = Fraction | None  # exact nanos; None: refused


@dataclass(frozen=True)
class Example:
    """One quantity (unscaled) under both prices."""

    quantity: int
    before: Price
    after: Price

    @property
    def percent(self) -> Fraction | None:
        """Change in percent; None where there is none to tell."""
        if self.before is None or self.after is None or self.before == 0:
            return None
        return (self.after - self.before) / self.before * 100


@dataclass(frozen=True)
class Compared:
    """What a change of price means. spans: (-1 cheaper, 0 the same, 1 dearer, 2 no longer or newly refused; the last
    quantity for which it is so, None: without end); examples: from small to large."""

    spans: tuple[tuple[int, int | None], ...]
    examples: tuple[Example, ...]

    @property
    def same(self) -> bool:
        return all(sign == 0 for sign, _ in self.spans)


def compare(before: Rule, after: Rule, meter: Meter) -> Compared:
    """Both prices over quantities from nothing to a thousand times the last border."""
    curves = Curve(before, QUANTITY_MAX), Curve(after, QUANTITY_MAX)
    unit = 10**meter.scale
    powers = [unit * 10**k for k in range(16) if unit * 10**k <= QUANTITY_MAX]
    borders = [b.quantity for curve in curves for b in curve.borders]
    top = min(QUANTITY_MAX, 1000 * max([*borders, unit]))
    fine = {p * m // 8 for p in powers for m in range(8, 80) if 0 < p * m // 8 <= top}
    sampled = sorted(fine | {q + more for q in borders for more in (0, 1)} | {top})
    for curve in curves:
        curve.learn(sampled)
    signs = [_sign(curves, q) for q in sampled]
    spans: list[tuple[int, int | None]] = []
    for sign, run in groupby(range(len(sampled)), key=lambda i: signs[i]):
        last = list(run)[-1]
        end = None if last + 1 == len(sampled) else _last(curves, sign, sampled[last], sampled[last + 1])
        began = spans[-1][1] or 0 if spans else 0
        if sign == 0 and spans and end is not None and end - began == 1:
            spans[-1] = (spans[-1][0], end)  # where one price meets the other they are equal for a single quantity
        else:
            spans.append((sign, end))
    return Compared(tuple(spans), tuple(_examples(curves, powers, borders, spans)))


def _sign(curves: tuple[Curve, Curve], quantity: int) -> int:
    before, after = curves[0].value(quantity), curves[1].value(quantity)
    if before is None or after is None:
        return 0 if before is after else 2
    return (after > before) - (after < before)


def _last(curves: tuple[Curve, Curve], sign: int, low: int, high: int) -> int:
    """The last quantity from `low` on with this sign, which `high` does not have."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _sign(curves, middle) == sign else (low, middle)
    return low


def _examples(
    curves: tuple[Curve, Curve], powers: Sequence[int], borders: Sequence[int], spans: Sequence[tuple[int, int | None]]
) -> list[Example]:
    last = max([*borders, *(end for _, end in spans if end is not None), 0])
    found: list[Example] = []
    for quantity in powers:
        example = Example(quantity, curves[0].value(quantity), curves[1].value(quantity))
        most = max(example.before or Fraction(0), example.after or Fraction(0))
        if most > LARGEST and found:
            break
        known = bool(found) and (found[-1].before, found[-1].after) == (example.before, example.after)
        if not known and (most >= SMALLEST or (example.before is None) != (example.after is None)):
            found.append(example)
        alike = known or len(found) >= 5 or (example.before == example.after and bool(found))
        if alike and quantity > last:
            break
    if len(found) > EXAMPLES_MAX:  # the ends, and some between
        found = [found[round(i * (len(found) - 1) / (EXAMPLES_MAX - 1))] for i in range(EXAMPLES_MAX)]
    return found


def span_words(compared: Compared, meter: Meter) -> str:
    """'dearer', 'the same up to 10,000,000 tokens, cheaper above'."""
    said = {-1: "cheaper", 0: "the same", 1: "dearer", 2: "refused by one of them"}
    spans = compared.spans
    if len(spans) == 1:
        return {-1: "cheaper for every quantity", 0: "the same for every quantity", 1: "dearer for every quantity"}.get(
            spans[0][0], "refused by one of them"
        )
    if len(spans) > SPANS_MAX:
        kinds = [said[sign] for sign in sorted({sign for sign, _ in spans})]
        return f"{figures.listing(kinds)}, by the quantity"
    parts = [f"{said[sign]} up to {figures.quantity(end, meter)}" for sign, end in spans if end is not None]
    return f"{', '.join(parts)}, {said[spans[-1][0]]} above"


def example_rows(compared: Compared, rules: tuple[Rule, Rule], meter: Meter, currency: str) -> list[tuple[str, ...]]:
    """Lines of a table: quantity with the scope that both rules count over, before, after, percent."""
    scopes = {scope_words(rule) for rule in rules}
    scope = f" {scopes.pop()}" if len(scopes) == 1 else ""
    rows: list[tuple[str, ...]] = []
    for e in compared.examples:
        if e.percent is None:
            change = "" if e.before == e.after else "was free" if e.before == 0 else ""
        else:
            change = percent_text(e.percent)
        rows.append(
            (
                f"{figures.quantity(e.quantity, meter)}{scope}",
                price_text(e.before, currency),
                price_text(e.after, currency),
                change,
            )
        )
    return rows


def price_text(nanos: Price, currency: str) -> str:
    """'0.005 USD', 'refused'."""
    return "refused" if nanos is None else figures.amount(nanos / NANOS_PER_UNIT, currency)


def percent_text(percent: Fraction) -> str:
    """'+20 %', '-33.3 %', '0 %': to a tenth of a percent, which is for people and no price."""
    tenths = round(percent * 10)
    whole, part = divmod(abs(tenths), 10)
    sign = "" if not tenths else "-" if tenths < 0 else "+"
    return f"{sign}{whole:,}{f'.{part}' if part else ''} %"
