"""Numbers for people, always exact: a price is never shown rounded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from nanotally.streams.domain.tariff import NANOS_PER_UNIT, Meter

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def number(value: Fraction | int) -> str:
    """'10,000,000', '0.005', '1/3': in full where it ends, as a fraction where it does not."""
    exact = Fraction(value)
    places = _places(exact.denominator)
    if places is None:
        return str(exact)
    sign = "-" if exact < 0 else ""
    whole, part = divmod(int(abs(exact) * 10**places), 10**places)
    return f"{sign}{whole:,}" + (f".{part:0{places}d}" if places else "")


def _places(denominator: int) -> int | None:
    """Decimal places of 1/denominator; None where they never end."""
    counts = {2: 0, 5: 0}
    for prime in counts:
        while denominator % prime == 0:
            denominator //= prime
            counts[prime] += 1
    return max(counts.values()) if denominator == 1 else None


def percent(part: Fraction) -> str:
    """'10 %', '35.5 %', '1/3'."""
    return str(part) if _places(part.denominator) is None else f"{number(part * 100)} %"


def plural(unit: str) -> str:
    """'pages' of 'page', 'queries' of 'query', 'boxes' of 'box'; units such as kWh and s stay."""
    if unit.endswith("s") or unit != unit.lower() or len(unit) == 1:
        return unit
    if unit.endswith(("x", "ch", "sh", "z")):
        return unit + "es"
    if unit.endswith("y") and unit[-2] not in "aeiou":
        return unit[:-1] + "ies"
    return unit + "s"


def quantity(unscaled: int, meter: Meter) -> str:
    """'10,000,000 tokens', '12.5 seconds', '1 page'."""
    return units(Fraction(unscaled, 10**meter.scale), meter)


def units(count: Fraction, meter: Meter) -> str:
    """The same of an exact number of whole units."""
    return f"{number(count)} {meter.unit if count == 1 else plural(meter.unit)}"


def money(nanos: int, currency: str) -> str:
    """'0.004 USD' of 4,000,000 nanos."""
    return amount(Fraction(nanos, NANOS_PER_UNIT), currency)


def amount(value: Fraction, currency: str) -> str:
    """'0.50 USD', '0.005 USD', '3 USD'."""
    text = number(value)
    return f"{text}0 {currency}" if text[-2:-1] == "." else f"{text} {currency}"


def price(nanos_per_unscaled: Fraction, meter: Meter, currency: str) -> str:
    """'0.005 USD per page', '0.5 USD per 1,000,000 tokens', '1 USD per 3 pages', 'free'."""
    if nanos_per_unscaled == 0:
        return "free"
    each = nanos_per_unscaled * 10**meter.scale / NANOS_PER_UNIT
    endless = each.denominator  # what is left of it without 2 and 5 makes the price end
    for prime in (2, 5):
        while endless % prime == 0:
            endless //= prime
    count = endless
    while each * count < Fraction(1, 100_000) or (count >= 1000 * endless and each * count < Fraction(1, 100)):
        count *= 1000
    unit = meter.unit if count == 1 else units(Fraction(count), meter)
    return f"{amount(each * count, currency)} per {unit}"


def duration(us: int) -> str:
    """'24h', '1h30m', '500ms', as it is written in files."""
    parts = []
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 10**6), ("ms", 1000)):
        if unit == "d" and (us % size or us < 2 * size):
            continue  # 24h and 36h read better than 1d and 1d12h
        count, us = divmod(us, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def instant(us: int) -> str:
    """'2026-12-01 00:00:00 UTC', with the fraction of a second where there is one."""
    at = (_EPOCH + timedelta(microseconds=us)).replace(tzinfo=None)
    return f"{at.isoformat(sep=' ')} UTC"


def iso(us: int) -> str:
    """'2026-12-01T00:00:00Z', as it is written in files."""
    return (_EPOCH + timedelta(microseconds=us)).replace(tzinfo=None).isoformat() + "Z"


def listing(words: list[str], last: str = "and") -> str:
    """'a', 'a and b', 'a, b and c'."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
