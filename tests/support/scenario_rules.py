"""Random rules: every price function with whatever may stand beside it, variants by attribute and by time of day."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import lcm
from typing import Any

from nanotally.streams.domain.tariff import DENOMINATOR_MAX, OPENED_SCOPES, Condition, Pass, Rule, Tier
from nanotally.streams.domain.terms import Each, Free, Overage, PriceFrom, Rounding

SECOND_US, HOUR_US, DAY_US = 1_000_000, 3_600_000_000, 86_400_000_000
ZONES = ("UTC", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
LENGTHS = (1, SECOND_US, 60 * SECOND_US, HOUR_US // 2, HOUR_US, DAY_US, 30 * DAY_US)
STEPS = (1, 2, 7, 60, 1000, 10**6)
CAPS = (None,) * 8 + (0, 1, 5, 40, 400, 400, 10**6, 10**6, 2**61)
MINIMUMS = (1, 3, 50, 1000, 10**6, 10**12)
RANGES = (
    Condition("height", "range", ("720", "1080")),
    Condition("height", "range", ("-3", "")),
    Condition("quantity", "range", ("", "5")),
    Condition("quantity", "range", ("0.377", "100")),
    Condition("duration", "range", ("12.5", "7200")),
    Condition("item", "range", ("0", "")),
)
HOURS = (
    ("08:00:00", "19:00:00"),
    ("19:00:00", "08:00:00"),
    ("00:00:00", "24:00:00"),
    ("02:30:00", "03:30:00"),
    ("23:59:59", "00:00:01"),
    ("12:00:00", "12:00:00"),
    ("00:00:00", "00:30:00"),
)
DAYS, DATES = ("", "", "", "12345", "67", "1357"), ("", "", "", "", "12-31,01-01", "03-29,10-25,02-29")

Draw = Callable[[], Fraction]


class Denominators:
    """Exact amounts of rules; all of one rule, over all its versions and variants, have a common denominator."""

    def __init__(self, r: random.Random, small: bool) -> None:
        self.r, self.small = r, small
        self.known: dict[str, int] = {}

    def price(self, rule: str) -> Fraction:
        """An exact price whose denominator has a common one, up to 2^62, with all prices of the rule so far."""
        r = self.r
        kind = r.random()
        if self.small:
            price = Fraction(1, r.choice((1, 1, 2, 3)))
        elif kind < 0.7:
            price = Fraction(r.choice((0, 1, 1, 1, 3, 7, 25, 1000, 12345)), r.choice((1, 1, 1, 3, 7, 10, 60, 1000)))
        elif kind < 0.8:
            price = Fraction(r.choice((4611, 4612, 2**62 - 1, 10**9, 2**40)))
        else:
            price = Fraction(r.randint(1, 2 ** r.randint(1, 61)), r.choice((r.randint(2, 2**61), 2**62, 3**39)))
        return self.fitting(rule, price)

    def amount(self, rule: str) -> Fraction:
        """A fee or a bound."""
        r = self.r
        return self.fitting(rule, Fraction(r.choice((0, 1, 5, 400, 10**6, 10**9)), r.choice((1, 1, 1, 2, 3, 10))))

    def fitting(self, rule: str, price: Fraction) -> Fraction:
        known = self.known.get(rule, 1)
        common = lcm(known, price.denominator)
        if common > DENOMINATOR_MAX:
            price, common = Fraction(price.numerator % 997, known), known
        self.known[rule] = common
        return price


class Variants:
    """Variants of one rule of a file. `base` has all that they share; `owing`: scopes may cost a minimum."""

    def __init__(self, r: random.Random, base: Rule, amounts: Denominators, scale: int, owing: bool) -> None:
        self.r, self.base, self.scale, self.owing = r, base, scale, owing
        self.price: Draw = lambda: amounts.price(base.name)
        self.amount: Draw = lambda: amounts.amount(base.name)
        self.amounts = amounts

    def some(self) -> tuple[Rule, ...]:
        """One rule, or several by a value of an attribute, or by bands of time."""
        r = self.r
        kind = r.random()
        if kind < 0.5:
            return (self.one("", ()),)
        if kind < 0.65:
            by = (Condition("segment", "equals", ("pro",)), Condition("segment", "equals", ("school", "")))
            named = [self.one(f"segment={c.values[0]}", (c,)) for c in by[: r.choice((1, 2))]]
            return (*named, self.one("otherwise", (), refuse=r.random() < 0.3))
        bands = [self.band() for _ in range(r.choice((1, 1, 2)))]
        named = [self.one(f"band {i}", (band,)) for i, band in enumerate(bands)]
        alike = r.random() < 0.5  # steps carried from one band into the next
        otherwise = self.one("otherwise", (), refuse=r.random() < 0.1)
        rules = (*named, otherwise)
        return tuple(replace(x, **self.carried()) for x in rules) if alike else rules

    def band(self) -> Condition:
        r = self.r
        values = (r.choice(ZONES), r.choice(DAYS), r.choice(DATES), *r.choice(HOURS))
        return Condition("occurred_at", "band", values)

    def one(self, variant: str, when: tuple[Condition, ...], refuse: bool = False) -> Rule:
        r = self.r
        rule = replace(self.base, variant=variant, when=self.base.when + when, tiers=self.tiers(), refuse=refuse)
        kinds = (self.graduated, self.graduated, self.volume, self.volume, self.each, self.events, self.carried)
        terms: dict[str, Any] = r.choice((*kinds, self.from_event))() if r.random() < 0.8 else {}
        rule = replace(rule, cap_nanos=r.choice(CAPS), **terms)
        if r.random() < 0.1:
            rule = replace(rule, limit=r.choice((0, 50, 10**6, 10**12, 10**15)))
        if r.random() < 0.1:
            rule = replace(rule, connect=self.amount())
        if r.random() < 0.1:
            factor = r.choice((Fraction(2), Fraction(3, 2), Fraction(0), Fraction(1000)))
            rule = replace(rule, overage=Overage(Fraction(r.choice((0, 5, 400, 10**9))), factor))
        if self.owing and rule.scope != "life":
            rule = replace(rule, minimum_nanos=min(r.choice(MINIMUMS), rule.cap_nanos or 10**18))
        return rule

    def tiers(self, fees: float = 0.0, steps: float = 0.0) -> tuple[Tier, ...]:
        r = self.r
        count = r.choice((1, 1, 2, 3, 4))
        ends: list[int | None] = [*sorted(r.sample(range(1, r.choice((60, 60, 60, 3000, 10**15))), k=count - 1))]
        return tuple(self.tier(end, fees, steps) for end in (*ends, None))

    def tier(self, end: int | None, fees: float, steps: float) -> Tier:
        r = self.r
        fee = self.amount() if r.random() < fees else Fraction(0)
        return Tier(end, self.price(), fee, r.choice(STEPS) if r.random() < steps else None)

    def rounding(self) -> Rounding | None:
        r = self.r
        if r.random() < 0.6:
            return None
        return Rounding(r.choice(STEPS), r.choice(("up", "down", "half_up")), r.random() < 0.4)

    def graduated(self) -> dict[str, Any]:
        r = self.r
        free = Free(r.choice((1, 10, 1000, 10**12)), None, r.random() < 0.3) if r.random() < 0.4 else None
        fees, steps = r.choice(((0, 0), (0, 0.7), (0.6, 0), (0.5, 0.5)))
        terms = {"tiers": self.tiers(fees, steps), "free": free, "rounding": self.rounding()}
        return terms | {"zero_fee": r.random() < 0.3}

    def volume(self) -> dict[str, Any]:
        r = self.r
        by = "full" if self.base.scope == "event" and r.random() < 0.5 else None
        falling = r.random() < 0.6
        terms = self.graduated() | {"volume": True, "falling": falling, "tier_by": by}
        if falling:  # the more the cheaper, by much
            tiers = terms["tiers"]
            prices = sorted((self.price() for _ in tiers), reverse=True)
            prices[1:] = [Fraction(0)] * len(prices[1:]) if r.random() < 0.5 else prices[1:]
            terms["tiers"] = tuple(replace(t, price=price) for t, price in zip(tiers, prices, strict=True))
        return terms

    def each(self) -> dict[str, Any]:
        r = self.r
        bounds = sorted((self.amount(), self.amount()))
        least, most = (b if r.random() < 0.6 else None for b in bounds)
        terms: dict[str, Any] = {"each": Each(self.amount(), least, most)}
        if r.random() < 0.5:
            return terms | {"rounding": self.rounding()}
        free = Free(r.choice((1, 10, 1000)), r.choice((None, 1, 3)), False, r.random() < 0.5)
        return terms | {"tiers": (Tier(None, self.price()),), "free": free}

    def events(self) -> dict[str, Any]:
        r = self.r
        free = Free(r.choice((None, 1, 10, 1000)), r.choice((1, 2, 5)))
        return {"tiers": (Tier(None, self.price()),), "free": free}

    def carried(self) -> dict[str, Any]:
        """Started steps whose rest goes on into the next tier, or the next band."""
        return {
            "tiers": self.tiers(0, 0.8),
            "carry": True,
            "free": None,
            "rounding": None,
            "each": None,
            "volume": False,
            "zero_fee": False,
            "falling": False,
            "tier_by": None,
            "price_from": None,
        }

    def from_event(self) -> dict[str, Any]:
        r = self.r
        unit = Fraction(10**9, 10**self.scale)
        bounds = sorted(unit * Fraction(n, 10**9) for n in (r.choice((0, 1, 1000)), r.choice((10**6, 10**9))))
        if lcm(self.amounts.known.get(self.base.name, 1), (unit / 10**12).denominator) > DENOMINATOR_MAX:
            return {}
        self.amounts.fitting(self.base.name, unit / 10**12)
        tiers = r.choice(((), (Tier(None, self.price()),)))
        source, up_to = r.choice(("event", "catalog")), r.choice((None, None, 1, 3 * 10**self.scale))
        return {"tiers": tiers, "price_from": PriceFrom(source, "price", bounds[0], bounds[1], unit, up_to)}


def scope_shape(r: random.Random) -> dict[str, Any]:
    """Kind and length of a scope."""
    kinds = ("event", "hour", "day", "day", "month", "year", "life", "session", "session", "anchored")
    scope = r.choice(kinds)
    return {"scope": scope, "length_us": r.choice(LENGTHS) if scope in OPENED_SCOPES else 0}


def random_pass(r: random.Random, name: str, covers: tuple[str, ...], shape: dict[str, Any]) -> Pass:
    """A cap over list prices, a discount, a price due once, or graduated parts."""
    kind = r.choice(("cap", "cap", "cap", "discount", "once", "graduated"))
    cap = r.choice((0, 5, 400, 10**6, 10**12)) if kind == "cap" else None
    tiers = {
        "cap": (Tier(None, Fraction(1)),),
        "discount": (Tier(None, Fraction(4, 5)),),
        "once": (Tier(None, Fraction(0), Fraction(500)),),
        "graduated": (Tier(5, Fraction(1)), Tier(1000, Fraction(2, 3)), Tier(None, Fraction(0))),
    }[kind]
    once = kind == "once"
    price = Rule(name, "", (), tiers, (), split="", cap_nanos=cap, zero_fee=once, **shape)
    return Pass(name, covers, price)
