"""Random rule books: one to three tariffs that grow by versions, of every shape the engine can rate."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from math import lcm
from typing import Any

from nanotally.streams.domain.tariff import (
    DENOMINATOR_MAX,
    Condition,
    Meter,
    Party,
    Rule,
    RuleBook,
    Settings,
    Split,
    TariffVersion,
    Tier,
)

SECOND_US, HOUR_US, DAY_US = 1_000_000, 3_600_000_000, 86_400_000_000
ZONES = ("UTC", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
WINDOWS = (
    (("hour", "day", "month"), "day"),
    (("hour", "day", "month"), "day"),
    (("hour", "day", "month"), "month"),
    (("minute", "hour", "day", "month"), "hour"),
    (("hour", "day"), "hour"),
    (("day",), "day"),
    (("day", "month"), "day"),
    (("minute", "day"), "day"),
)
CONDITIONS = (
    Condition("product", "equals", ("news",)),
    Condition("product", "equals", ("news", "ai")),
    Condition("item", "pattern", ("/blog/*",)),
    Condition("item", "pattern", ("?", "/blog/a b")),
    Condition("item", "equals", ("i",)),
    Condition("creator", "present"),
    Condition("creator", "absent"),
    Condition("creator", "pattern", ("ü?",)),
    Condition("session", "present"),
    Condition("segment", "equals", ("pro",)),
    Condition("segment", "equals", ("", "school")),
    Condition("segment", "present"),
    Condition("region", "absent"),
    Condition("feature", "pattern", ("search.v?", "*.x")),
    Condition("payer", "pattern", ("p*",)),
    Condition("duration_us", "equals", ("x",)),
)
PER = (
    (),
    (),
    ("item",),
    ("creator",),
    ("session",),
    ("segment",),
    ("item", "segment"),
    ("segment", "feature"),
    ("payer",),
    ("duration_us",),
)
CAPS = (None,) * 8 + (0, 1, 5, 40, 400, 400, 10**6, 10**6, 2**61)


def random_books(r: random.Random, start_us: int) -> dict[int, RuleBook]:
    """One to four books by number; later ones hold more versions, now and then one fewer."""
    windows, settlement = r.choice(WINDOWS)
    zone = r.choice(ZONES)
    names = ["t", "u", "w"][: r.choice((1, 1, 2, 3))]
    tariffs = [Tariff(r, name, i) for i, name in enumerate(names)]
    versions = [t.version(start_us - DAY_US) for t in tariffs]
    soon = r.choice((HOUR_US // 4, HOUR_US, 6 * HOUR_US, 2 * DAY_US))  # within which later versions come into force
    for _ in range(r.choice((0, 1, 2, 3))):
        versions.append(r.choice(tariffs).version(start_us + r.randint(0, soon)))
    books: dict[int, RuleBook] = {}
    number = r.choice((0, 3))
    settings = Settings(zone=zone, windows=windows, settlement=settlement)
    for _ in range(r.choice((1, 2, 3, 4))):
        settings = replace(
            settings,
            lateness_us=r.choice((0, 1, 60 * SECOND_US, 600 * SECOND_US, 2 * HOUR_US)),
            skew_us=r.choice((0, 120 * SECOND_US)),
            horizon_us=r.choice((0, HOUR_US, DAY_US, DAY_US, DAY_US, 10 * DAY_US, 10 * DAY_US, 10 * DAY_US)),
            thresholds=r.choice(((), (("USD", 20),), (("EUR", 1000), ("USD", 10**9)))),
        )
        if r.random() < 0.3:  # most books leave time as it was
            settings = replace(settings, horizon_us=DAY_US, lateness_us=60 * SECOND_US)
        books[number] = RuleBook(number, settings, tuple(sorted(versions, key=lambda v: (v.tariff, v.version))))
        number += r.choice((1, 1, 4))
        versions.append(r.choice(tariffs).version(start_us + r.randint(0, soon)))
        if r.random() < 0.1:
            versions.pop(r.randrange(len(versions)))
    return books


class Tariff:
    """What stays the same over the versions of one tariff, and the next version."""

    def __init__(self, r: random.Random, name: str, place: int) -> None:
        self.r, self.name = r, name
        self.number = 0
        self.currency = r.choice(("USD", "EUR", "JPY"))
        self.calendar = r.choice(ZONES)
        self.products = (
            [(), ("ai",), ("music", "ghost")][place] if r.random() < 0.7 or place else ("news", "music", "ai")
        )
        needs = ("session",) if r.random() < 0.3 else ()
        self.meters = (Meter("page", "page"), Meter("play", "second", 3, needs), Meter("token", "token"))
        self.rule_meters = {f"r{i}": r.choice(("page", "play", "token")) for i in range(4)}
        self.steady = r.random() < 0.5  # the same rules in all versions, but for prices and caps
        self.small = r.random() < 0.3  # a nano or so for each use, where shares below zero are possible
        self.denominators: dict[str, int] = {}
        self.shapes: dict[str, dict[str, Any]] = {}  # what mostly stays as it is in a rule's next version

    def version(self, effective_from_us: int) -> TariffVersion:
        r = self.r
        self.number += r.choice((1, 1, 3))
        names = r.sample([f"r{i}" for i in range(4)], k=4 if self.steady else r.randint(1, 3))
        if r.random() < 0.1:
            self.calendar = r.choice(ZONES)
        if r.random() < 0.1:  # a rule of the same name for another meter, whose scale is another
            self.rule_meters[r.choice(sorted(self.rule_meters))] = r.choice(("page", "play"))
        if r.random() < 0.1 and self.products:
            self.products = (*self.products, r.choice(("news", "ghost")))
        return TariffVersion(
            tariff=self.name,
            version=self.number,
            effective_from_us=effective_from_us,
            currency=self.currency,
            calendar=self.calendar,
            products=self.products,
            meters=self.meters if r.random() < 0.8 else self.meters[:2],
            splits=self.splits(),
            rules=tuple(self.rule(name) for name in sorted(names)) + self.catch_all(),
        )

    def catch_all(self) -> tuple[Rule, ...]:
        """A rule without conditions for most meters, so that most uses are charged."""
        names = {f"rest-{m.name}": m.name for m in self.meters if self.r.random() < 0.9}
        self.rule_meters |= names
        return tuple(replace(self.rule(name), when=()) for name in names)

    def rule(self, name: str) -> Rule:
        r = self.r
        count = r.choice((1, 1, 2, 3, 4))
        ends = (
            sorted(r.sample(range(1, 60), k=count - 1))
            if r.random() < 0.8
            else sorted(r.sample(range(1, 10**15), k=count - 1))
        )
        shape = self.shapes.setdefault(name, {})
        if not shape or (not self.steady and r.random() < 0.25):
            shape["per"], shape["scope"] = r.choice(PER), r.choice(("event", "hour", "day", "day", "month", "life"))
            shape["when"] = tuple(r.sample(CONDITIONS, k=r.choice((0, 0, 0, 1, 1, 2))))
        return Rule(
            name=name,
            meter=self.rule_meters[name],
            tiers=tuple(Tier(up_to, self.price(name)) for up_to in (*ends, None)),
            split="s2" if self.small else r.choice(("s1", "s2", "s3", "s4", "s5", "s6")),
            cap_nanos=r.choice(CAPS),
            **shape,
        )

    def price(self, rule: str) -> Fraction:
        """An exact price whose denominator has a common one, up to 2^62, with all prices of the rule so far."""
        r = self.r
        known = self.denominators.get(rule, 1)
        kind = r.random()
        if self.small:
            price = Fraction(1, r.choice((1, 1, 2, 3)))
        elif kind < 0.7:
            price = Fraction(r.choice((0, 1, 1, 1, 3, 7, 25, 1000, 12345)), r.choice((1, 1, 1, 3, 7, 10, 60, 1000)))
        elif kind < 0.8:
            price = Fraction(r.choice((4611, 4612, 2**62 - 1, 10**9, 2**40)))
        else:
            price = Fraction(r.randint(1, 2 ** r.randint(1, 61)), r.choice((r.randint(2, 2**61), 2**62, 3**39)))
        common = lcm(known, price.denominator)
        if common > DENOMINATOR_MAX:
            price, common = Fraction(price.numerator % 997, known), known
        self.denominators[rule] = common
        return price

    def splits(self) -> tuple[Split, ...]:
        f, r = Fraction, self.r
        cut = f(r.randint(0, 10**6), 10**6)
        return (
            Split("s1", (Party("platform", f(1, 10)), Party("creator", None))),
            Split("s2", (Party("platform", f(1, 10)), Party("party:{item.label}", f(3, 20)), Party("creator", None))),
            Split(
                "s3", (Party("platform", None), Party("party:{segment}-{region}", f(1, 3)), Party("creator", cut / 3))
            ),
            Split("s4", (Party("creator", f(1, 2)), Party("party:l", f(1, 7)), Party("party:{item.label}", None))),
            Split("s5", (Party("creator", None),)),
            Split("s6", (Party("platform", cut), Party("party:fund", None))),
        )
