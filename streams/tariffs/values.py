"""Single values as people write them: numbers, quantities, money, fractions, times and names, all exact.

Each reader takes a text and raises Unreadable with the problem and the remedy.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from nanotally.streams.domain.tariff import NANOS_PER_UNIT, Meter
from nanotally.streams.domain.windows import zone_names
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.findings import Unreadable, nearest

# The bounds keep a slip such as 1e999999 from filling the memory.
_DECIMAL = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,40})?(e[+-]?[0-9]{1,2})?", re.IGNORECASE)
_SUFFIXED = re.compile(r"(?P<number>.*[0-9])(?P<suffix>[kKMB])?")
_SUFFIXES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9}
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_DURATION_US = {"ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
DURATION_US_MAX = 36_525 * 86400 * 10**6  # a hundred years; more is a slip, and would not fit into 64 bits
_NAME = re.compile(r"[^\W_](?:[\w.\-]*\w)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUANTITY_MAX = 10**18  # unscaled; a cumulated quantity is a 64-bit number
AMOUNT_MAX = 10**9  # currency units; more for one unit of a meter is a slip
FRACTION_DENOMINATOR_MAX = 10**9


def decimal(text: str) -> Fraction:
    """An exact number: '0.005', '12', '1e-15'."""
    if _DECIMAL.fullmatch(text):
        return Fraction(text)
    if re.fullmatch(r"-?[0-9]+,[0-9]+", text):
        raise Unreadable(f"{text!r} is no number", f"write it with a point: {text.replace(',', '.')}")
    raise Unreadable(f"{text!r} is no number", "write digits with a decimal point, as in 0.005")


def suffixed(text: str) -> Fraction:
    """A number with or without k, M or B behind it: '10M' is ten million."""
    found = _SUFFIXED.fullmatch(text)
    if found is None:
        raise Unreadable(f"{text!r} is no number", "write digits, with k, M or B for thousands, millions or billions")
    return decimal(found["number"]) * _SUFFIXES[found["suffix"] or ""]


def quantity(text: str, meter: Meter) -> int:
    """A quantity of the meter, unscaled and greater than zero: '10M tokens', '1 page', '30'."""
    number, _, unit = text.strip().partition(" ")
    value = suffixed(number)
    check_unit(unit.strip(), meter)
    unscaled = value * 10**meter.scale
    if unscaled <= 0:
        raise Unreadable(f"{text!r} is not above zero", f"write a quantity such as 1 {meter.unit}")
    if unscaled.denominator != 1:
        raise Unreadable(
            f"{text!r} is finer than meter {meter.name!r} counts",
            f"the meter's scale is {meter.scale}: it counts {meter.scale} decimal places",
        )
    if unscaled > QUANTITY_MAX:
        raise Unreadable(f"{text!r} is more than can be counted", f"at most {QUANTITY_MAX // 10**meter.scale:,}")
    return int(unscaled)


def check_unit(unit: str, meter: Meter) -> None:
    """Raises Unreadable where `unit` is not empty and not the meter's, singular or plural."""
    if unit and not (_forms(unit) & _forms(meter.unit)):
        raise Unreadable(
            f"{unit!r} is not the unit of meter {meter.name!r}",
            f"the meter counts {figures.plural(meter.unit)}: write that",
        )


def _forms(unit: str) -> set[str]:
    word = unit.lower()
    return {unit, word, figures.plural(word), word + "s"}


def money(text: str, currency: str) -> Fraction:
    """An amount in currency units, not below zero; the currency may stand behind it: '0.50', '0.50 USD'."""
    number, _, unit = text.strip().partition(" ")
    if unit.strip() not in ("", currency):
        raise Unreadable(f"{unit.strip()!r} is not the currency", f"the amounts are in {currency}")
    if number[:1] in "$€£¥":
        raise Unreadable(f"{text!r} is no amount", f"write the number alone, the tariff's currency is {currency}")
    amount = decimal(number)
    if amount < 0:
        raise Unreadable(f"{text!r} is below zero", "prices and limits are zero or more")
    if amount > AMOUNT_MAX:
        raise Unreadable(f"{text!r} is more than {AMOUNT_MAX:,} {currency}", "check the number of digits")
    return amount


def nanos(text: str, currency: str) -> int:
    """An amount as whole nanos."""
    exact = money(text, currency) * NANOS_PER_UNIT
    if exact.denominator != 1:
        raise Unreadable(f"{text!r} is finer than a nano", "at most nine decimal places")
    return int(exact)


def fraction(text: str) -> Fraction:
    """A part of a whole, 0 to 1: '10%', '1/3', '0.1'."""
    part = re.fullmatch(r"([0-9]{1,12})/([0-9]{1,12})", text)
    try:
        if part:
            value = Fraction(int(part[1]), int(part[2]))
        else:
            value = decimal(text[:-1].rstrip()) / 100 if text.endswith("%") else decimal(text)
    except (Unreadable, ZeroDivisionError):
        raise Unreadable(f"{text!r} is no part of a whole", "write 10%, 1/3, 0.1 or rest") from None
    if not 0 <= value <= 1:
        raise Unreadable(f"{text!r} is not between nothing and the whole", "write 0% to 100%")
    if value.denominator > FRACTION_DENOMINATOR_MAX:
        raise Unreadable(f"{text!r} is finer than a billionth", "write it with fewer digits")
    return value


def whole(text: str, least: int, most: int) -> int:
    """A whole number in bounds."""
    if re.fullmatch(r"[0-9]{1,18}", text) and least <= int(text) <= most:
        return int(text)
    raise Unreadable(f"{text!r} is no whole number from {least:,} to {most:,}", f"write one, as in {max(least, 1)}")


def duration_us(text: str) -> int:
    """A length of time in microseconds: '60s', '10m', '24h', '1h30m', '500ms', '7d'."""
    parts = _DURATION.findall(text)
    if not parts or "".join(n + unit for n, unit in parts) != text:
        raise Unreadable(f"{text!r} is no length of time", "write a number with ms, s, m, h or d, as in 10m or 24h")
    us = sum(int(n) * _DURATION_US[unit] for n, unit in parts)
    if us > DURATION_US_MAX:
        raise Unreadable(f"{text[:80]!r} is more than a hundred years", "check the number and its unit")
    return us


def instant_us(text: str) -> int:
    """An ISO 8601 instant with its zone, in microseconds since 1970."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Unreadable(f"{text!r} is no ISO 8601 time", "write it as in 2026-12-01T00:00:00Z") from None
    if at.tzinfo is None:
        raise Unreadable(
            f"{text!r} does not say in which zone", f"write {at.isoformat()}Z for UTC, or with an offset such as +01:00"
        )
    us = (at - EPOCH) // timedelta(microseconds=1)
    if us < 0:
        raise Unreadable(f"{text!r} is before 1970", "write 1970-01-01T00:00:00Z for `always`")
    return us


def zone(text: str) -> str:
    """The name of an IANA time zone."""
    if text in zone_names():
        return text
    near = nearest(text, zone_names())
    remedy = f"did you mean {near!r}?" if near else "write an IANA name, as in UTC or Europe/Berlin"
    raise Unreadable(f"{text!r} is no time zone", remedy)


def currency(text: str) -> str:
    """Three capital letters."""
    if re.fullmatch(r"[A-Z]{3}", text):
        return text
    hint = text.upper() if re.fullmatch(r"[A-Za-z]{3}", text) else "USD"
    raise Unreadable(f"{text!r} is no ISO 4217 code", f"write three capital letters, as in {hint}")


def name(text: str) -> str:
    """A name of ours (tariff, rule, split): letters, digits, '-', '_' and '.'; 1 to 100 characters."""
    if len(text) <= 100 and _NAME.fullmatch(text):
        return text
    raise Unreadable(f"{text!r} is no name", "use letters, digits, '-', '_' and '.', up to 100, as in tokens-in")


def label(text: str, most: int = 256) -> str:
    """A name from outside (meter, product, item): any text without control characters, 1 to `most` bytes."""
    if text and text == text.strip() and len(text.encode()) <= most and not _CONTROL.search(text):
        return text
    raise Unreadable(f"{text!r} is no name", f"write 1 to {most} bytes without control characters or space around them")
