"""A price as people write it: what one unit costs, what is due besides, and in which steps it is charged.

free | TERM | FEE flat | FEE flat + TERM
TERM: 0.50 per 1M tokens | 0.10 per 60 seconds by 1 second | 15 per started 10 pages | 2.9%
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from nanotally.streams.domain.tariff import NANOS_PER_UNIT, Meter, Tier
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.findings import Unreadable

PRICE_EXAMPLE = "0.005 per page"
_FLAT = re.compile(r"(?P<fee>.+?)\s+flat(?:\s*\+\s*(?P<term>.+))?", re.DOTALL)


@dataclass(frozen=True)
class PriceText:
    """`price` exact nanos per unscaled unit, `fee` exact nanos, `step` unscaled or None (each unit for itself)."""

    price: Fraction
    fee: Fraction = Fraction(0)
    step: int | None = None

    def tier(self, up_to: int | None = None) -> Tier:
        """The price as one tier."""
        return Tier(up_to, self.price, self.fee, self.step)


def read_price(text: str, meter: Meter, currency: str) -> PriceText:
    """'0.30 flat + 2.9%', '0.50 per 1M tokens'. Raises Unreadable."""
    if text.split() == ["free"]:
        return PriceText(Fraction(0))
    flat = _FLAT.fullmatch(text)
    if flat is None or "+" in flat["fee"]:
        if "flat" in text.split():
            raise Unreadable(f"{text!r} is no price", "write the flat fee first, as in 0.30 flat + 0.02 per page")
        return _term(text, text, meter, currency)
    try:
        fee = values.money(flat["fee"], currency) * NANOS_PER_UNIT
    except Unreadable as e:
        raise Unreadable(f"{text!r} is no price: {e.problem}", e.remedy) from None
    if flat["term"] is None:
        return PriceText(Fraction(0), fee)
    term = _term(flat["term"], text, meter, currency)
    return PriceText(term.price, fee, term.step)


def _term(term: str, text: str, meter: Meter, currency: str) -> PriceText:
    """What one unit costs; `text` is the whole price, for messages."""
    if term.endswith("%"):
        return PriceText(_percent(term, text, meter, currency))
    words = term.split()
    step: int | None = None
    if "by" in words:
        at = words.index("by")
        words, by = words[:at], " ".join(words[at + 1 :])
        step = _step(by, text, meter)
    if "per" not in words:
        amount, rest = " ".join(words), []
    else:
        amount, rest = " ".join(words[: words.index("per")]), words[words.index("per") + 1 :]
        if not rest:
            raise Unreadable(f"{text!r} ends after 'per'", f"say what it is for, as in {amount} per {meter.unit}")
    try:
        price = values.money(amount, currency)
    except Unreadable as e:
        raise Unreadable(f"{text!r} is no price: {e.problem}", e.remedy) from None
    started = rest[:1] == ["started"]
    if started and step is not None:
        raise Unreadable(f"{text!r} has two steps: started and by", "keep one of them")
    count = units(text, rest[1:] if started else rest, meter)
    if started:
        step = _whole_step(count, text, meter)
    each = price / count
    if each > values.AMOUNT_MAX:
        most = f"{figures.number(values.AMOUNT_MAX)} {currency} per {meter.unit}"
        raise Unreadable(f"{text!r} is more than {most}", "check the number of digits")
    return PriceText(each * Fraction(NANOS_PER_UNIT, 10**meter.scale), step=step)


def _percent(term: str, text: str, meter: Meter, currency: str) -> Fraction:
    if meter.unit != currency:
        raise Unreadable(
            f"{text!r} is a part of an amount, and meter {meter.name!r} counts {figures.plural(meter.unit)}",
            f"give a price per {meter.unit}, or let the meter count money, as in {{unit: {currency}, scale: 2}}",
        )
    try:
        part = values.decimal(term[:-1].strip()) / 100
    except Unreadable as e:
        raise Unreadable(f"{text!r} is no price: {e.problem}", "write a percentage as in 2.9%") from None
    if not 0 <= part <= values.AMOUNT_MAX:
        raise Unreadable(f"{text!r} is below zero or beyond all measure", "write a percentage as in 2.9%")
    return part * Fraction(NANOS_PER_UNIT, 10**meter.scale)


def units(text: str, words: list[str], meter: Meter) -> Fraction:
    """How many units the price is for: [] and ['page'] 1, ['1M'] and ['1M', 'tokens'] a million. Raises Unreadable."""
    if not words:
        return Fraction(1)
    counted = words[0][0].isdigit() or words[0][0] in "-.+"
    try:
        number = values.suffixed(words[0]) if counted else Fraction(1)
        values.check_unit(" ".join(words[1:] if counted else words), meter)
    except Unreadable as e:
        raise Unreadable(f"{text!r} is no price: {e.problem}", e.remedy) from None
    if not 0 < number <= values.QUANTITY_MAX:
        raise Unreadable(f"{text!r} is no price: {words[0]} units", "give the price of one unit or more")
    return number


def _step(by: str, text: str, meter: Meter) -> int:
    try:
        return values.quantity(by if by[:1].isdigit() else f"1 {by}", meter)
    except Unreadable as e:
        raise Unreadable(f"{text!r} is no price: {e.problem}", e.remedy) from None


def _whole_step(count: Fraction, text: str, meter: Meter) -> int:
    step = count * 10**meter.scale
    if step.denominator != 1:
        raise Unreadable(
            f"{text!r} has steps finer than meter {meter.name!r} counts",
            f"the meter's scale is {meter.scale}: it counts {meter.scale} decimal places",
        )
    return int(step)
