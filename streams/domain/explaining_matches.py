"""Which rule a single use falls under, and where a long one is cut: stated for one use, to explain by.

Shares no code with the columns that match."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

from nanotally.streams.domain.catalogs import CatalogItem
from nanotally.streams.domain.rules import Condition, Rule
from nanotally.streams.domain.tariff import EVENT_FIELDS, TariffVersion

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def value_of(event: Mapping[str, Any], name: str, item: CatalogItem | None = None) -> str | None:
    """A field or attribute of the use as text; creator and label also by the catalog. None where it is absent."""
    value: str | None = event[name] if name in EVENT_FIELDS else event["attributes"].get(name)
    if value is None and item is not None and name in ("creator", "item.label"):
        return item.creator if name == "creator" else item.label
    return value


def number_of(text: str | None, places: int = 24) -> Fraction | None:
    """The decimal number that a text is, exactly: up to 18 digits before its point and `places` behind it, not below
    zero; None where it is none."""
    found = re.fullmatch(r"([0-9]{1,18})(?:\.([0-9]{1,24}))?", text or "")
    return Fraction(found[0]) if found and len(found[2] or "") <= places else None


def first_match(
    version: TariffVersion, event: Mapping[str, Any], at_us: int, item: CatalogItem | None = None
) -> Rule | None:
    """The rule, or variant of one, that the use falls under at an instant: the first from the top that holds."""
    return next((r for r in version.rules if matches(r, event, at_us, item)), None)


def matches(rule: Rule, event: Mapping[str, Any], at_us: int, item: CatalogItem | None = None) -> bool:
    """Whether all conditions of the rule hold."""
    return rule.meter == event["meter"] and all(_holds(c, event, at_us, item) for c in rule.when)


def _holds(condition: Condition, event: Mapping[str, Any], at_us: int, item: CatalogItem | None) -> bool:
    if condition.kind == "band":
        return in_band(condition, at_us)
    if condition.kind == "range":
        number = _number(condition.field, event, item)
        low, high = (None if text == "" else Fraction(text) for text in condition.values)
        return number is not None and (low is None or low <= number) and (high is None or number <= high)
    value = value_of(event, condition.field, item)
    if condition.kind == "absent":
        return value is None
    if value is None:
        return False
    if condition.kind == "equals":
        return value in condition.values
    return condition.kind == "present" or any(_like(pattern, value) for pattern in condition.values)


def _number(field: str, event: Mapping[str, Any], item: CatalogItem | None) -> Fraction | None:
    if field == "quantity":
        return Fraction(event["quantity"], 10 ** event["scale"])
    if field == "duration":
        return None if event["duration_us"] is None else Fraction(event["duration_us"], 10**6)
    text = value_of(event, field, item) or ""
    number = number_of(text.removeprefix("-"))
    return -number if number is not None and text.startswith("-") else number


def _like(pattern: str, text: str) -> bool:
    """A glob: * stands for any characters, ? for one."""
    return re.fullmatch(glob_text(pattern), text, re.DOTALL) is not None


def glob_text(pattern: str) -> str:
    """Python's regular expression for a glob, with re.DOTALL. Each star takes as little as lets what follows it up to
    the next star match, and never more: so that nothing is tried twice, whatever text and pattern are."""
    first, *rest = ["".join("." if c == "?" else re.escape(c) for c in part) for part in pattern.split("*")]
    if not rest:
        return first
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    return f"{first}{middle}.*{rest[-1]}"


# ---- bands of time ----


def in_band(condition: Condition, at_us: int) -> bool:
    """Whether the instant lies in the band: values are zone, days, dates, from (in it) and to (not in it)."""
    zone, days, dates, begins, ends = condition.values
    local = (EPOCH + timedelta(microseconds=at_us)).astimezone(zone_of(zone)).replace(tzinfo=None)
    day, clock = local.date(), local - datetime(local.year, local.month, local.day)
    first, last = clock_of(begins), clock_of(ends)
    if first < last:
        inside = first <= clock < last
    else:  # past midnight: that part belongs to the day on which the band began
        inside = first != last and (clock >= first or clock < last)
        day -= timedelta(days=clock < last)
    return inside and (not days or str(day.isoweekday()) in days) and (not dates or f"{day:%m-%d}" in dates.split(","))


def clock_of(text: str) -> timedelta:
    """A time of day 'HH:MM:SS', up to 24:00:00, as the time since midnight."""
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """A zone of the pinned package tzdata, as everywhere here: never the machine's."""
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
