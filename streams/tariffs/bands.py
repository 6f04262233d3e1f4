"""`bands`: what a use costs by time of day, day of the week and date, in a named zone. The first that holds wins."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from nanotally.streams.domain.tariff import Condition, Rule
from nanotally.streams.tariffs import values
from nanotally.streams.tariffs.assembly import Variant, variants_of
from nanotally.streams.tariffs.body import Body
from nanotally.streams.tariffs.findings import Unreadable, choose
from nanotally.streams.tariffs.prices import PRICE_FUNCTIONS
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.variants import Part
from nanotally.streams.tariffs.yaml_nodes import Items, Node, Scalar, Table, describe

TIME_KEYS = {"name": "peak", "days": "mon-fri", "dates": "[12-25]", "from": "08:00", "to": "19:00"}
EXAMPLE = '- {name: peak, days: mon-fri, from: "08:00", to: "19:00", price: 0.10 per minute}'
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
BANDS_MAX = 50
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_DATE = re.compile(r"([0-9]{2})-([0-9]{2})")


def read_bands(
    section: Section, body: Body, base: Rule, at_most: int | None, zone: str, body_keys: Mapping[str, str]
) -> list[Variant]:
    """The variants of all bands of a rule, first match first; empty with the errors noted. What a band does not say
    of `body_keys`, the rule says for it."""
    findings = body.findings
    before = len(findings)
    for name in PRICE_FUNCTIONS:
        if section.has(name):
            body.error(name, f"{name} beside bands", "write it into the bands; the last one may be {otherwise: ...}")
    node = section.node_of("bands")
    assert node is not None, "the rule has bands"
    if not isinstance(node, Items) or not node.items:
        body.error("bands", f"{describe(node)} where bands are due", f"write {EXAMPLE}")
        return []
    if len(node.items) > BANDS_MAX:
        body.error("bands", f"{len(node.items)} bands", f"at most {BANDS_MAX}")
        return []
    found: list[Variant] = []
    last: Section | None = None
    for number, item in enumerate(node.items, 1):
        if last is not None:
            findings.error(item.place, section.path("bands"), "a band behind 'otherwise'", "write 'otherwise' last")
        item, otherwise = _otherwise(item)
        field = f"{section.path('bands')}.{_name_of(item, otherwise) or number}"
        band = Section(item, field, findings, body_keys if otherwise else {**TIME_KEYS, **body_keys})
        last = band if otherwise else None
        if not band.readable:
            continue
        label = "otherwise" if otherwise else band.read("name", values.name, required=True)
        when = () if otherwise else _times(band, zone)
        part = Part(label or "", item.place, field)
        inner = replace(base, when=(*base.when, *when))
        for v in variants_of(Body([band, section], body.context), inner, at_most):
            found.append(Variant(_labelled(v.rule, part), (part, *v.parts)))
    _check_steps(body, found)
    _warn_of_ends(body, found)
    return [] if findings.errors_since(before) else _carried(found)


def _otherwise(item: Node) -> tuple[Node, bool]:
    """The last band's prices: `{otherwise: refuse}`, `{otherwise: 0.05 per minute}`, `{otherwise: {price: ...}}`."""
    if not isinstance(item, Table) or len(item.entries) != 1:
        return item, False
    key, value = item.entries[0]
    if key.text != "otherwise":
        return item, False
    if isinstance(value, Scalar):
        return Table(value.place, ((Scalar(value.place, "price", False), value),)), True
    return value, True


def _name_of(item: Node, otherwise: bool) -> str | None:
    if otherwise or not isinstance(item, Table):
        return "otherwise" if otherwise else None
    return next((v.text for k, v in item.entries if k.text == "name" and isinstance(v, Scalar)), None)


def _labelled(rule: Rule, part: Part) -> Rule:
    return replace(rule, variant=f"{part.label}, {rule.variant}" if rule.variant else part.label)


def _times(band: Section, zone: str) -> tuple[Condition, ...]:
    """When the band holds; none where it always does."""
    days = _listed(band, "days", _days)
    dates = _listed(band, "dates", _date)
    start = band.read("from", _clock) if band.has("from") else "00:00:00"
    end = band.read("to", _clock) if band.has("to") else "24:00:00"
    if band.has("from") and start == "24:00:00":
        band.error("from", "a band that begins at the end of the day", 'write from: "00:00"')
    if start == end and start is not None:
        band.error(
            "to" if band.has("to") else "from", "a band that ends when it begins", 'write to: "24:00" for all day'
        )
    digits = "".join(sorted({d for group in days for d in group}))
    digits = "" if len(digits) == len(DAYS) else digits
    if not digits and not dates and (start, end) == ("00:00:00", "24:00:00"):
        return ()
    values_ = (zone, digits, ",".join(sorted(set(dates))), start or "", end or "")
    return (Condition("occurred_at", "band", values_),)


def _listed(band: Section, name: str, reader: Callable[[str], str]) -> list[str]:
    """The texts of a list, or of one text with commas, as `reader` takes them."""
    found: list[str] = []
    scalars = band.texts(name) if band.has(name) else ()
    for scalar in scalars or ():
        for text in scalar.text.split(","):
            try:
                found.append(reader(text.strip()))
            except Unreadable as e:
                band.unreadable(scalar, name, e)
    if scalars == () and band.has(name):
        band.error(name, "an empty list", "take it out for all of them")
    return found


def _days(text: str) -> str:
    """Digits of the ISO weekdays: 'mon-fri' is '12345', 'sat' '6'."""
    ends = [_day(word.strip()) for word in text.split("-")]
    if len(ends) > 2:
        raise Unreadable(f"{text!r} names no days", "write them as in mon-fri, or [sat, sun]")
    first, last = ends[0], ends[-1]
    return "".join(str((first + i) % 7 + 1) for i in range((last - first) % 7 + 1))


def _day(word: str) -> int:
    short = word.lower()[:3]
    if short in DAYS and (len(word) == 3 or word.lower().endswith("day")):
        return DAYS.index(short)
    raise Unreadable(f"{word!r} is no day of the week", choose(word, DAYS))


def _date(text: str) -> str:
    found = _DATE.fullmatch(text)
    if found and 1 <= int(found[1]) <= 12 and 1 <= int(found[2]) <= MONTH_DAYS[int(found[1]) - 1]:
        return text
    raise Unreadable(f"{text!r} is no day of the year", "write month and day, as in 12-25")


def _clock(text: str) -> str:
    """'HH:MM:SS', up to 24:00:00."""
    found = _CLOCK.fullmatch(text)
    if found:
        hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
        if (hour < 24 and minute < 60 and second < 60) or (hour, minute, second) == (24, 0, 0):
            return f"{hour:02}:{minute:02}:{second:02}"
    raise Unreadable(f"{text!r} is no time of day", 'write it as in "08:00" or "19:30:15", up to "24:00"')


def _check_steps(body: Body, found: list[Variant]) -> None:
    """Steps hand what they began over to the next band, so all bands of the rule must go by elapsed time."""
    if not any(v.rule.carry for v in found):
        return
    for v in found:
        rule = v.rule
        if not rule.carry and not rule.refuse and (len(rule.tiers) != 1 or rule.tiers[0].fee or rule.volume):
            body.error(
                "bands",
                f"band {rule.variant!r} has neither steps nor one price per unit, and others have steps",
                "write steps in all bands of the rule",
            )


def _carried(found: list[Variant]) -> list[Variant]:
    if not any(v.rule.carry for v in found):
        return found
    return [v if v.rule.refuse else Variant(replace(v.rule, carry=True), v.parts) for v in found]


def _warn_of_ends(body: Body, found: list[Variant]) -> None:
    """What is due at a scope's end is told by the rule of its last use."""
    if found and found[0].rule.scope != "event" and len({v.rule.minimum_nanos for v in found}) > 1:
        body.warning(
            "bands",
            "bands with different minimums: the one of the last use of a scope is due at its end",
            "write one minimum at the rule",
        )
