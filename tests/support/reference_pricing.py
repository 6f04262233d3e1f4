"""Which rule a use falls under, in which scope: conditions, versions, catalogs, calendars, one use at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from nanotally.streams.domain.catalogs import CatalogItem, CatalogVersion
from nanotally.streams.domain.tariff import EVENT_FIELDS, Condition, Rule, RuleBook, TariffVersion
from tests.support.reference_bands import borders, in_band
from tests.support.reference_price import price_of
from tests.support.reference_values import NO_END, Event
from tests.support.reference_windows import window


def exact_price(rule: Rule, quantity: int) -> Fraction:
    """F: exact nanos of a cumulated unscaled quantity."""
    return price_of(rule, quantity, 1)


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


def plain_decimal(text: str | None, places: int = 24) -> Fraction | None:
    """A number as people write prices, without sign and exponent; None where it is none."""
    if text is None or not re.fullmatch(rf"[0-9]{{1,18}}(\.[0-9]{{1,{places}}})?", text):
        return None
    return Fraction(text)


def number_of(event: Event, name: str) -> Fraction | None:
    """What a range is asked of: quantity in units, duration in seconds, or an attribute that is a number."""
    if name == "quantity":
        return Fraction(event["quantity"], 10 ** event["scale"])
    if name == "duration":
        return None if event["duration_us"] is None else Fraction(event["duration_us"], 10**6)
    text = field_of(event, name)
    if text is not None and text.startswith("-"):
        value = plain_decimal(text[1:])
        return None if value is None else -value
    return plain_decimal(text)


def holds(condition: Condition, event: Event) -> bool:
    if condition.kind == "band":
        return in_band(condition, event["occurred_at"])
    if condition.kind == "range":
        number, (low, high) = number_of(event, condition.field), condition.values
        return number is not None and (not low or number >= Fraction(low)) and (not high or number <= Fraction(high))
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


def next_cut(book: RuleBook, version: TariffVersion, rule: Rule, at_us: int, end_us: int) -> int | None:
    """Where a use that `rule` rates from `at_us` on is cut: at a border of a band of the rule, or where another version
    of the tariff begins. None where that is not before `end_us`."""
    bands = [c for r in version.rules if r.name == rule.name for c in r.when if c.kind == "band"]
    cuts = borders(bands, at_us, end_us)
    cuts += [v.effective_from_us for v in book.tariffs if v.tariff == version.tariff]
    return min((at for at in cuts if at_us < at < end_us), default=None)


def max_price_nanos(text: str) -> Fraction | None:
    """A plain decimal number of currency units as exact nanos; None where it is none (sign, exponent, too long)."""
    number = plain_decimal(text)
    return None if number is None else number * 10**9


# ---- catalogs ----


@dataclass(frozen=True)
class Known:
    """A use with what its item's catalog, if any has it, adds to it."""

    event: Event
    writers: tuple[tuple[str, Fraction], ...] = ()
    price: str | None = None
    catalog: str = ""


def item_of(book: RuleBook, event: Event) -> tuple[CatalogVersion, CatalogItem] | None:
    """The item as the version of its catalog says that is in force when it is used."""
    for name in sorted({c.catalog for c in book.catalogs}):
        begun = [c for c in book.catalogs if c.catalog == name and c.effective_from_us <= event["occurred_at"]]
        newest = max(begun, key=lambda c: (c.effective_from_us, c.version), default=None)
        if newest is None or (newest.products and event["product"] not in newest.products):
            continue
        item = next((i for i in newest.items if i.item == event["item"]), None)
        if item is not None:
            return newest, item
    return None


def enriched(book: RuleBook, event: Event) -> Known:
    """The event with creator and label of the catalog where it has none of its own."""
    found = item_of(book, event)
    if found is None:
        return Known(event)
    catalog, item = found
    own = event["creator"] is not None
    creator = event["creator"] if own else item.creator
    attributes = dict(event["attributes"])
    if item.label is not None:
        attributes.setdefault("item.label", item.label)
    full = {**event, "creator": creator, "attributes": attributes}
    writers = () if own else item.writers
    name = f"{catalog.catalog} v{catalog.version}"
    return Known(full, writers, item.price, name)


# ---- scopes ----


def scope_bounds(kind: str, booked_at_us: int, calendar: str) -> tuple[int, int]:
    """First instant of the scope and the first after it. A use's own scope lasts the instant it is booked at."""
    if kind == "event":
        return booked_at_us, booked_at_us + 1
    if kind == "life":
        return 0, NO_END
    return window(kind, booked_at_us, calendar)
