"""Ranges of numbers in `when`: '720 to 1080', 'from 720', 'to 1080'; both ends are in it."""

from __future__ import annotations

import re
from fractions import Fraction

from nanotally.streams.domain.tariff import Condition
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.findings import Unreadable

RANGE_EXAMPLE = "720 to 1080, from 720 or to 1080"
# What a use has a number for by itself; attributes may hold numbers.
NUMBER_FIELDS = ("quantity", "duration")
_NUMBER = r"-?[0-9][^\s]*"
_RANGE = re.compile(rf"(?:from\s+)?(?P<low>{_NUMBER})\s+to\s+(?P<high>{_NUMBER})")
_FROM = re.compile(rf"from\s+(?P<low>{_NUMBER})")
_TO = re.compile(rf"to\s+(?P<high>{_NUMBER})")


def read_range(field: str, text: str) -> Condition | None:
    """The range that a text means; None where it means none, such as 'news'. Raises Unreadable."""
    found = _RANGE.fullmatch(text) or _FROM.fullmatch(text) or _TO.fullmatch(text)
    if found is None:
        return None
    ends = found.groupdict()
    low = None if ends.get("low") is None else values.suffixed(ends["low"])
    high = None if ends.get("high") is None else values.suffixed(ends["high"])
    if low is not None and high is not None and low > high:
        raise Unreadable(f"nothing is in the range {text!r}", "write the lesser end first")
    return Condition(field, "range", (_end(low), _end(high)))


def read_number(field: str, text: str) -> Condition:
    """A range, or one number alone. Raises Unreadable."""
    found = read_range(field, text)
    if found is not None:
        return found
    try:
        exact = values.suffixed(text)
    except Unreadable:
        raise Unreadable(f"{text!r} is no range of numbers", f"write {RANGE_EXAMPLE}") from None
    return Condition(field, "range", (_end(exact), _end(exact)))


def _end(value: Fraction | None) -> str:
    return "" if value is None else figures.number(value).replace(",", "")
