"""Random scenarios of what the model and the reference both know, and the translation from ours to the model's.

Left out: uses before the first book, several tariffs and currencies, zones, patterns, microseconds, `max_price` below
a nano and together with passes, a cap that differs between versions (the model forgets what a cap cut off, see its
D14), all prices but graduated ones. A scope for life is the model's anchored scope of endless length; a pass of the
model is a cap over list prices.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

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
from tests.support import model
from tests.support.reference import partition_of
from tests.support.reference_scopes import Place
from tests.support.reference_values import Control, Garbage, Record
from tests.support.scenarios import Scenario

SECOND_US = 1_000_000
START, DAY = 1_767_225_600 + 29 * 86400, 86400  # 30 January 2026: two days before a month ends
FOR_LIFE = 10**13
PAYERS = [f"p{i}" for i in range(9)]
SCALES = {"page": 0, "play": 3}
PARTIES = {"platform": "platform", "creator": "creator", "label": "party:{item.label}"}
SPLITS = {
    "s1": (("platform", Fraction(1, 10)), ("creator", None)),
    "s2": (("platform", Fraction(1, 10)), ("label", Fraction(3, 20)), ("creator", None)),
    "s3": (("platform", Fraction(3, 5)), ("label", Fraction(1, 3)), ("creator", None)),
    "s4": (("platform", None), ("label", Fraction(1, 7)), ("creator", Fraction(1, 3))),
}


@contextmanager
def our_partitions() -> Iterator[None]:
    """The model's stand-in for a partitioner replaced by the one of Kafka."""
    theirs = model.partition_of
    model.partition_of = partition_of
    try:
        yield
    finally:
        model.partition_of = theirs


# ---- scenarios of the common subset ----


def common_scenario(seed: int, partition: int, size: int = 45) -> Scenario:
    r = random.Random(f"common books {seed}")
    settings = Settings(
        lateness_us=r.choice((0, 60, 600, 7200)) * SECOND_US,
        skew_us=120 * SECOND_US,
        horizon_us=r.choice((DAY, 3 * 3600, 10**6)) * SECOND_US,
        zone="UTC",
        windows=("minute", "hour", "day"),
        settlement="day",
        thresholds=(("USD", r.choice((0, 20))),),
    )
    shapes = {f"r{i}": rule_shape(r) for i in range(4)}
    passes = pass_shapes(r, sorted(shapes))
    versions, books = [], {}
    for number in range(r.randint(1, 4)):
        effective = START - DAY if number == 0 and r.random() < 0.8 else START + r.randint(0, 2 * DAY)
        versions.append(common_version(r, number + 1, effective * SECOND_US, shapes, passes))
        books[number] = RuleBook(number, settings, tuple(versions))
    r = random.Random(f"common records {seed} {partition}")
    return Scenario(seed, 3, partition, books, tuple(common_records(r, partition, books, size)))


def pass_shapes(r: random.Random, rules: list[str]) -> tuple[Pass, ...]:
    """None, one or two passes; what a use is covered by and its cap stay as they are over the versions."""
    return tuple(
        Pass(
            name,
            tuple(sorted(r.sample(rules, k=r.randint(1, 4)))),
            Rule(
                name, "", (), (Tier(None, Fraction(1)),), (), r.choice(("hour", "day", "month")), "", r.choice((5, 400))
            ),
        )
        for name in ("pass", "card")[: r.choice((0, 0, 1, 2))]
    )


def rule_shape(r: random.Random) -> dict[str, Any]:
    """What stays the same over the versions of a rule."""
    cap = r.choice((None, None, 5, 40, 400))
    return {
        "meter": r.choice(("page", "play")),
        "per": r.choice(((), ("item",), ("session",), ("creator",))),
        "cap_nanos": cap,
        "minimum_nanos": r.choice([m for m in (0, 0, 3, 50, 1000) if cap is None or m <= cap]),
    }


def common_version(
    r: random.Random, number: int, effective_us: int, shapes: dict[str, dict[str, Any]], passes: tuple[Pass, ...]
) -> TariffVersion:
    conditions = (
        (),
        (Condition("product", "equals", ("news",)),),
        (Condition("segment", "equals", ("pro",)),),
        (Condition("creator", "equals", ("x",)), Condition("item", "equals", ("i",))),
    )

    def price() -> Fraction:
        return Fraction(r.choice((0, 1, 3, 7, 25, 1000)), r.choice((1, 3, 10, 7, 60, 1000)))

    rules = []
    for name in sorted(r.sample(sorted(shapes), k=r.randint(1, 4))):
        ends = sorted(r.sample(range(1, 60), k=r.choice((0, 0, 1, 2))))
        tiers = tuple(Tier(end, price()) for end in (*ends, None))
        scope = r.choice(("event", "hour", "day", "month", "life", "session", "session", "anchored", "anchored"))
        length = r.choice((600, 600, 7200)) * SECOND_US if scope in ("session", "anchored") else 0
        split, when = r.choice(sorted(SPLITS)), r.choice(conditions)
        rules.append(
            Rule(name=name, when=when, tiers=tiers, scope=scope, length_us=length, split=split, **shapes[name])
        )
    splits = tuple(Split(name, tuple(Party(PARTIES[p], f) for p, f in parties)) for name, parties in SPLITS.items())
    needs = ("session",) if r.random() < 0.3 else ()
    meters = (Meter("page", "page"), Meter("play", "second", 3, needs))
    return TariffVersion("t", number, effective_us, "USD", "UTC", (), meters, splits, tuple(rules), passes)


def common_records(r: random.Random, partition: int, books: dict[int, RuleBook], size: int) -> Iterator[Record]:
    mine = [p for p in PAYERS if partition_of(p, 3) == partition]
    others = [p for p in PAYERS if partition_of(p, 3) != partition]
    t, offset, sent, active = START, 0, list[dict[str, Any]](), 0
    for i in range(size):
        offset += r.randint(1, 3)
        t += r.choice((0, 1, 30, 300, 3000, r.randint(0, 20000)))
        kind = r.random()
        value: Any
        if active < len(books) and (i == 0 or kind < 0.1):
            value, active = activation(books[active]), active + 1
        elif active and kind < 0.12:
            value = activation(books[r.randrange(active)])
        elif kind < 0.15:
            value = Control("tick", "tick")
        elif kind < 0.18:
            value = Control("close", "close", (t - r.randint(0, 2 * DAY)) * SECOND_US)
        elif kind < 0.19:
            value = Garbage(b"\xff", "malformed")
        else:
            value = common_use(r, t, mine, others, sent)
            if books[0].tariffs[0].passes:  # under which the model compares what is exact with what is whole
                value["attributes"].pop("max_price", None)
        yield Record(offset, (t + r.randint(-5, 5)) * SECOND_US, None, value)
    if r.random() < 0.5:
        yield Record(offset + 1, t * SECOND_US, None, Control("end", "close", (t + 40 * DAY) * SECOND_US))


def activation(book: RuleBook) -> Control:
    return Control("book", "activate", None, book.number, book.book_hash)


def common_use(
    r: random.Random, t: int, mine: list[str], others: list[str], sent: list[dict[str, Any]]
) -> dict[str, Any]:
    meter = r.choice(("page", "page", "play", "play", "gone" if r.random() < 0.3 else "page"))
    late = r.choice((0, 0, 0, 10, 500, 5000, 50000, 2 * DAY)) if r.random() < 0.5 else 0
    label, segment, limit = r.choice(("l", "k", None)), r.choice(("pro", None)), r.choice((None,) * 6 + (0, 3, 30))
    attributes = {"item.label": label, "segment": segment, "max_price": None if limit is None else f"0.{limit:09d}"}
    value: dict[str, Any] = {
        "event_id": f"e{r.randint(0, 10**9)}",
        "occurred_at": (t - late) * SECOND_US,
        "product": r.choice(("news", "music")),
        "payer": r.choice(mine),
        "creator": r.choice(("x", "y", None)),
        "item": r.choice("ij"),
        "meter": meter,
        "quantity": r.choice((0, 1, 1, 5, 17)) * (r.choice((1, 377, 1000)) if meter == "play" else 1),
        "scale": SCALES.get(meter, 0),
        "session": r.choice(("s", "q", None)),
        "duration_us": None,
        "attributes": {k: v for k, v in attributes.items() if v is not None},
    }
    bad = r.random()
    if bad < 0.02:
        value["scale"] = 2
    elif bad < 0.04:
        value["quantity"] = -1
    elif bad < 0.06:
        value["occurred_at"] = (t + 9999) * SECOND_US
    elif bad < 0.08:
        value["payer"] = r.choice(others)
    elif bad < 0.12 and sent:
        value = {**r.choice(sent), "quantity": r.randint(0, 3)}
    elif bad < 0.25 and sent:
        value = r.choice(sent)
    sent.append(value)
    return value


# ---- translation ----


def model_settings(settings: Settings) -> model.Settings:
    return model.Settings(
        lateness=settings.lateness_us // SECOND_US,
        skew=settings.skew_us // SECOND_US,
        horizon=settings.horizon_us // SECOND_US,
        threshold=dict(settings.thresholds)["USD"],
        partitions=3,
    )


def model_record(record: Record, books: dict[int, RuleBook]) -> model.Record:
    return model.Record(record.offset, record.recorded_at_us // SECOND_US, model_value(record.value, books))


def model_value(value: Any, books: dict[int, RuleBook]) -> Any:
    if isinstance(value, Garbage):
        return value.data
    if isinstance(value, Control):
        if value.kind == "activate":
            assert value.book_number is not None
            return model.Activate(model_tariff(books[value.book_number].tariffs[-1]))
        return model.Tick() if value.at_us is None else model.Close(value.at_us // SECOND_US)
    attributes = value["attributes"]
    limit = attributes.get("max_price")
    return model.UsageEvent(
        value["event_id"],
        value["occurred_at"] // SECOND_US,
        value["product"],
        value["payer"],
        value["creator"],
        value["item"],
        value["meter"],
        value["quantity"],
        value["scale"],
        value["session"],
        attributes.get("item.label"),
        attributes.get("segment", ""),
        None if limit is None else int(Fraction(limit) * 10**9),
    )


def model_tariff(version: TariffVersion) -> model.Tariff:
    scales = {m.name: 10**m.scale for m in version.meters}
    return model.Tariff(
        version.tariff,
        version.version,
        version.effective_from_us // SECOND_US,
        version.currency,
        tuple((m.name, model.Meter(m.scale, "session" in m.needs)) for m in version.meters),
        tuple(SPLITS.items()),
        tuple(model_rule(rule, scales[rule.meter]) for rule in version.rules),
        tuple(model.Pass(p.name, p.covers, model.Scope(p.price.scope), p.price.cap_nanos or 0) for p in version.passes),
    )


def model_rule(rule: Rule, units: int) -> model.Rule:
    tiers = tuple((None if t.up_to is None else Fraction(t.up_to, units), t.price * units) for t in rule.tiers)
    when = tuple((c.field, c.values[0]) for c in rule.when)
    scope = model.Scope(rule.scope, rule.length_us // SECOND_US)
    if rule.scope == "life":
        scope = model.Scope("anchored", FOR_LIFE)
    return model.Rule(
        rule.name, rule.meter, when, tiers, rule.per, scope, rule.split, rule.cap_nanos, rule.minimum_nanos
    )


def model_order(place: Place) -> Any:
    """The order of the model's keys of scopes and passes."""
    key, start_us = place
    if key.link == "pass":
        return key.tariff, key.rule, key.payer, key.scope, start_us
    per = tuple(str(value) for _, value in key.per)
    return key.tariff, key.rule, key.payer, per, key.length_us, key.scope, start_us
