"""Exact decimals between text and unscaled integers; no float and no rounding anywhere.

An unscaled integer u at scale s is the number u / 10**s; nanos are amounts at scale 9.
"""

from __future__ import annotations

import re
from decimal import Decimal

NANO_SCALE = 9
DIGITS_MAX = 40  # beyond it nothing that nanotally counts can be meant

_NUMBER = re.compile(r"(?P<sign>[+-]?)(?P<whole>\d*)(?:\.(?P<part>\d*))?(?:[eE](?P<exponent>[+-]?\d{1,4}))?", re.ASCII)


def decimal_of(text: str) -> tuple[int, int]:
    """Unscaled integer and the least scale (not negative) of a decimal number.

    '12.50' -> (125, 1); '1e3' -> (1000, 0). Raises ValueError for what is none or has more than 40 digits."""
    found = _NUMBER.fullmatch(text)
    if not found or not (found["whole"] or found["part"]):
        raise ValueError("not a decimal number")
    part = found["part"] or ""
    digits, scale = (found["whole"] or "") + part, len(part) - int(found["exponent"] or 0)
    if len(digits) > DIGITS_MAX or abs(scale) > DIGITS_MAX:
        raise ValueError(f"a number of more than {DIGITS_MAX} digits")
    unscaled = int(digits) * 10 ** max(0, -scale)
    scale = max(0, scale)
    while scale and unscaled % 10 == 0:
        unscaled, scale = unscaled // 10, scale - 1
    return (-unscaled if found["sign"] == "-" else unscaled), scale


def decimal_of_value(value: int | str | Decimal) -> tuple[int, int]:
    """As `decimal_of`, of an int, a text or a Decimal. Raises TypeError for a float or bool, ValueError as there."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise TypeError(type(value).__name__)
    if isinstance(value, int):
        if value.bit_length() > 133:  # 40 digits
            raise ValueError(f"a number of more than {DIGITS_MAX} digits")
        return value, 0
    return decimal_of(str(value))


def decimal_text(unscaled: int, scale: int = NANO_SCALE) -> str:
    """The number in full, without exponent and without trailing zeros: (4500000, 9) -> '0.0045'."""
    text = fixed_text(unscaled, scale)
    return text.rstrip("0").rstrip(".") if "." in text else text


def fixed_text(unscaled: int, scale: int = NANO_SCALE, grouped: bool = False) -> str:
    """The number with all places of its scale: (4500000, 9) -> '0.004500000'; grouped: '1,234.500000000'."""
    whole, part = divmod(abs(unscaled), 10**scale)
    sign = "-" if unscaled < 0 else ""
    text = f"{whole:,}" if grouped else str(whole)
    return f"{sign}{text}.{part:0{scale}d}" if scale else sign + text
