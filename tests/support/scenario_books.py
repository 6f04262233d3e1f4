"""Random rule books: one to three tariffs that grow by versions, of every shape the engine can rate."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from fractions import Fraction
from typing import Any

from nanotally.streams.domain.catalogs import CatalogItem, CatalogVersion
from nanotally.streams.domain.tariff import (
    Condition,
    Meter,
    Party,
    Pass,
    Rule,
    RuleBook,
    Settings,
    Split,
    TariffVersion,
    Tier,
)
from tests.support.scenario_rules import (
    CAPS,
    DAY_US,
    HOUR_US,
    RANGES,
    SECOND_US,
    ZONES,
    Denominators,
    Variants,
    random_pass,
    scope_shape,
)

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

RICH = float(os.environ.get("NANOTALLY_RICH", "0.7"))


def random_books(r: random.Random, start_us: int) -> dict[int, RuleBook]:
    """One to four books by number; later ones hold more versions, now and then one fewer."""
    windows, settlement = r.choice(WINDOWS)
    zone = r.choice(ZONES)
    names = ["t", "u", "w"][: r.choice((1, 1, 2, 3))]
    rich = r.random() < RICH  # more than flat and graduated prices over the calendar
    tariffs = [Tariff(r, name, i, rich) for i, name in enumerate(names)]
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
        if r.random() < 0.1 and not rich:  # what is due needs the version that rated the last use
            versions.pop(r.randrange(len(versions)))
    return with_catalogs(r, books, start_us, soon) if rich else books


def with_catalogs(r: random.Random, books: dict[int, RuleBook], start_us: int, soon: int) -> dict[int, RuleBook]:
    """The books with up to two catalogs, of items of their own, that grow by versions."""
    items = r.sample(("i", "/blog/faust", "/blog/a b", "x"), 4)
    catalogs = r.choice(((), (("c", items),), (("c", items[:2]), ("d", items[2:]))))
    held: list[CatalogVersion] = []
    out = {}
    for number, book in books.items():
        for name, mine in catalogs:
            if r.random() < 0.6:
                version = 1 + sum(c.catalog == name for c in held)
                starts = r.choice((0, start_us + r.randint(0, soon)))
                products = r.choice(((), ("news",), ("news", "music", "ai")))
                told = tuple(random_item(r, item) for item in mine if r.random() < 0.8)
                held.append(CatalogVersion(name, version, starts, products, told))
        out[number] = replace(book, catalogs=tuple(sorted(held, key=lambda c: (c.catalog, c.version))))
    return out


def random_item(r: random.Random, item: str) -> CatalogItem:
    writers = r.choice(((), (("x", Fraction(1, 3)), ("z", Fraction(2, 3))), (("y", Fraction(1)),)))
    prices = (None, "0", "0.000000001", "0.0000005", "0.000000000001", "1")
    return CatalogItem(item, r.choice((None, "x", "cat")), r.choice((None, "l", "m")), writers, r.choice(prices))


class Tariff:
    """What stays the same over the versions of one tariff, and the next version."""

    def __init__(self, r: random.Random, name: str, place: int, rich: bool) -> None:
        self.r, self.name, self.rich = r, name, rich
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
        self.amounts = Denominators(r, self.small)
        self.shapes: dict[str, dict[str, Any]] = {}  # what mostly stays as it is in a rule's next version
        self.owing: dict[str, bool] = {}
        self.cut = r.random() < 0.7
        self.passes = [(f"pass{i}", scope_shape(r)) for i in range(r.choice((0, 1, 2)) if rich else 0)]

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
        rules = tuple(v for name in sorted(names) for v in self.variants(name)) + self.catch_all()
        return TariffVersion(
            tariff=self.name,
            version=self.number,
            effective_from_us=effective_from_us,
            currency=self.currency,
            calendar=self.calendar,
            products=self.products,
            meters=self.meters if r.random() < 0.8 else self.meters[:2],
            splits=self.splits(),
            rules=rules,
            passes=self.some_passes(rules),
        )

    def catch_all(self) -> tuple[Rule, ...]:
        """A rule without conditions for most meters, so that most uses are charged."""
        names = {f"rest-{m.name}": m.name for m in self.meters if self.r.random() < 0.9}
        self.rule_meters |= names
        return tuple(v for name in names for v in self.variants(name, everything=True))

    def variants(self, name: str, everything: bool = False) -> tuple[Rule, ...]:
        r = self.r
        shape = self.shapes.setdefault(name, {})
        if not shape or (not self.steady and r.random() < 0.25):
            shape |= {"per": r.choice(PER), "cut": self.rich and self.cut and r.random() < 0.8}
            shape |= scope_shape(r) if self.rich else {"scope": r.choice(("event", "hour", "day", "month", "life"))}
            conditions = CONDITIONS + RANGES * 2 if self.rich else CONDITIONS
            shape["when"] = tuple(r.sample(conditions, k=r.choice((0, 0, 0, 1, 1, 2))))
        if everything:
            shape["when"] = ()
        capped = ("s7", "s8", "s9") if self.rich else ()
        split = "s2" if self.small else r.choice(("s1", "s2", "s3", "s4", "s5", "s6", *capped))
        base = Rule(name=name, meter=self.rule_meters[name], tiers=(), split=split, **shape)
        if self.rich:
            scale = next(m.scale for m in self.meters if m.name == base.meter)
            # From its first version on or never: whose uses made up a scope is not known of the time before.
            owing = self.owing.setdefault(name, r.random() < 0.5)
            return Variants(r, base, self.amounts, scale, owing).some()
        return (replace(base, tiers=self.tiers(name), cap_nanos=r.choice(CAPS)),)

    def tiers(self, name: str) -> tuple[Tier, ...]:
        r = self.r
        count = r.choice((1, 1, 2, 3, 4))
        ends = sorted(r.sample(range(1, 60 if r.random() < 0.8 else 10**15), k=count - 1))
        return tuple(Tier(up_to, self.amounts.price(name)) for up_to in (*ends, None))

    def some_passes(self, rules: tuple[Rule, ...]) -> tuple[Pass, ...]:
        """Each rule under one pass at most; none that may pay back."""
        r = self.r
        names = sorted({x.name for x in rules} - {x.name for x in rules if x.falling})
        passes = list[Pass]()
        for name, shape in self.passes:
            covers = tuple(n for n in names if r.random() < 0.5)
            names = [n for n in names if n not in covers]
            if covers and shape["scope"] not in ("event", "life") and r.random() < 0.9:
                passes.append(random_pass(r, name, covers, shape))
        return tuple(passes)

    def splits(self) -> tuple[Split, ...]:
        f, r = Fraction, self.r
        cut, most = f(r.randint(0, 10**6), 10**6), r.choice((0, 1, 10, 10**6))
        return (
            Split("s1", (Party("platform", f(1, 10)), Party("creator", None))),
            Split("s2", (Party("platform", f(1, 10)), Party("party:{item.label}", f(3, 20)), Party("creator", None))),
            Split(
                "s3", (Party("platform", None), Party("party:{segment}-{region}", f(1, 3)), Party("creator", cut / 3))
            ),
            Split("s4", (Party("creator", f(1, 2)), Party("party:l", f(1, 7)), Party("party:{item.label}", None))),
            Split("s5", (Party("creator", None),)),
            Split("s6", (Party("platform", cut), Party("party:fund", None))),
            Split("s7", (Party("party:fee", f(1, 10), most), Party("creator", f(1, 2), 3), Party("platform", None))),
            Split(
                "s8",
                (
                    Party("platform", f(1, 7), most, "party:{item.label}"),
                    Party("party:l", cut / 2, 7, "creator"),
                    Party("creator", None),
                ),
            ),
            Split(
                "s9",
                (
                    Party("party:first", f(1), most, None, True),
                    Party("party:{item.label}", f(1), 40, "party:first", True),
                    Party("creator", None),
                ),
            ),
        )
