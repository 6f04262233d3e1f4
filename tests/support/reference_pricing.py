"""The plain reference's price, scope, split and calendar: fractions and datetimes, one use at a time."""

from __future__ import annotations

import datetime as dt
import re
from fractions import Fraction
from functools import cache
from importlib import resources
from math import floor
from zoneinfo import ZoneInfo

from nanotally.streams.domain.tariff import EVENT_FIELDS, Condition, Rule, RuleBook, Split, TariffVersion
from tests.support.reference_values import NO_END, Event, Share

HOUR_US, MINUTE_US = 3_600_000_000, 60_000_000
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)


def exact_price(rule: Rule, quantity: int) -> Fraction:
    """F: exact nanos of a cumulated unscaled quantity, tier by tier."""
    total, low = Fraction(0), 0
    for tier in rule.tiers:
        high = quantity if tier.up_to is None else min(quantity, tier.up_to)
        total += max(0, high - low) * tier.price
        low = max(low, high)
    return total


# ---- which rule ----


def field_of(event: Event, name: str) -> str | None:
    """A field of the event by the name a rule uses for it; what is no field is an attribute. None: absent."""
    value = event[name] if name in EVENT_FIELDS else event["attributes"].get(name)
    assert value is None or isinstance(value, str)
    return value


def glob(pattern: str, text: str) -> bool:
    """* stands for any characters, ? for one; nothing else is special."""
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def holds(condition: Condition, event: Event) -> bool:
    value = field_of(event, condition.field)
    if condition.kind in ("present", "absent"):
        return (value is not None) == (condition.kind == "present")
    if value is None:
        return False
    if condition.kind == "equals":
        return value in condition.values
    assert condition.kind == "pattern", condition.kind
    return any(glob(p, value) for p in condition.values)


def version_at(book: RuleBook, tariff: str, at_us: int) -> TariffVersion | None:
    """The version with the greatest (effective_from, version) that is not after the instant."""
    begun = [v for v in book.tariffs if v.tariff == tariff and v.effective_from_us <= at_us]
    return max(begun, key=lambda v: (v.effective_from_us, v.version), default=None)


def first_rule(version: TariffVersion, event: Event) -> Rule | None:
    for rule in version.rules:
        if rule.meter == event["meter"] and all(holds(c, event) for c in rule.when):
            return rule
    return None


def max_price_nanos(text: str) -> Fraction | None:
    """A plain decimal number of currency units as exact nanos; None where it is none (sign, exponent, too long)."""
    if not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,24})?", text):
        return None
    return Fraction(text) * 10**9


# ---- windows ----


@cache
def zone_of(name: str) -> ZoneInfo:
    """The zone by the pinned data, never by the machine's."""
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def to_us(moment: dt.datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def day_start(date: dt.date, zone: ZoneInfo) -> int:
    """The first instant of a local date. A midnight that a clock change skips is the instant of the change."""
    return to_us(dt.datetime(date.year, date.month, date.day, tzinfo=zone).astimezone(dt.UTC))


def day_of(at_us: int, zone: ZoneInfo) -> dt.date:
    """The last local date that has begun; dates never go back, even where a clock change repeats an evening."""
    near = (EPOCH + at_us * MICROSECOND).astimezone(zone).date()
    return max(d for d in (near + dt.timedelta(days=k) for k in (-1, 0, 1)) if day_start(d, zone) <= at_us)


def window(size: str, at_us: int, zone_name: str) -> tuple[int, int]:
    """Half-open [start, end). Hours and minutes count from the local day's start and end with the day."""
    zone = zone_of(zone_name)
    date = day_of(at_us, zone)
    if size == "month":
        first = date.replace(day=1)
        return day_start(first, zone), day_start((first + dt.timedelta(days=32)).replace(day=1), zone)
    start, tomorrow = day_start(date, zone), date + dt.timedelta(days=1)
    while day_start(tomorrow, zone) <= at_us:  # a date that a zone skipped altogether
        tomorrow += dt.timedelta(days=1)
    end = day_start(tomorrow, zone)
    if size == "day":
        return start, end
    step = {"hour": HOUR_US, "minute": MINUTE_US}[size]
    begin = start + (at_us - start) // step * step
    return begin, min(begin + step, end)


def scope_bounds(kind: str, booked_at_us: int, calendar: str) -> tuple[int, int]:
    """First instant of the scope and the first after it. A use's own scope lasts the instant it is booked at."""
    if kind == "event":
        return booked_at_us, booked_at_us + 1
    if kind == "life":
        return 0, NO_END
    return window(kind, booked_at_us, calendar)


# ---- split ----


def account_of(template: str, event: Event) -> str:
    """The account that a party of a split stands for; whoever is absent leaves it to the platform."""
    if template == "creator":
        return f"creator:{event['creator']}" if event["creator"] else "platform"
    pieces = re.split(r"\{([^}]*)\}", template)
    for i in range(1, len(pieces), 2):
        value = field_of(event, pieces[i])
        if not value:
            return "platform"
        pieces[i] = value
    return "".join(pieces)


def resolve_split(split: Split, event: Event) -> tuple[tuple[str, Fraction], ...]:
    """Accounts with fractions: equal accounts merged, in order of their text, the account of the rest last."""
    named = sum((p.fraction for p in split.parties if p.fraction is not None), Fraction(0))
    fractions: dict[str, Fraction] = {}
    rest = ""
    for party in split.parties:
        account = account_of(party.account, event)
        part = 1 - named if party.fraction is None else party.fraction
        fractions[account] = fractions.get(account, Fraction(0)) + part
        if party.fraction is None:
            rest = account
    last = fractions.pop(rest)
    return tuple(sorted(fractions.items())) + ((rest, last),)


def divide(parties: tuple[tuple[str, Fraction], ...], base: int, amount: int) -> tuple[Share, ...]:
    """Differences of floors of each cumulated fraction; the last takes the rest."""
    shares = [Share(a, f, floor((base + amount) * f) - floor(base * f)) for a, f in parties[:-1]]
    account, fraction = parties[-1]
    return (*shares, Share(account, fraction, amount - sum(s.nanos for s in shares)))
