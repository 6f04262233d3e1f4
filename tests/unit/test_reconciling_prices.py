"""Reconciliation of an installation whose tariff has sessions, cut uses, minimums and passes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from nanotally.schemas import codec
from nanotally.streams.domain.tariff import Condition, Pass, Rule, RuleBook, Tier
from tests.support.ledger_world import BOOK, DAY_US, START_US, TARIFF, World, world

HOUR_US = DAY_US // 24
NIGHT = Condition("occurred_at", "band", ("UTC", "", "", "18:00:00", "06:00:00"))


def tokens(variant: str, price: str, *when: Condition) -> Rule:
    tiers = (Tier(None, Fraction(price)),)
    return Rule(
        "tokens", "token", when, tiers, (), "session", "standard",
        variant=variant, length_us=7 * HOUR_US, cut=True, minimum_nanos=40_000,
    )  # fmt: skip


def rich_book() -> RuleBook:
    """Pages for 5 million nanos under a day pass of 7 million; tokens dearer at night, a session of 40,000 at least."""
    pages = Rule("pages", "page.view", (), (Tier(None, Fraction(5_000_000)),), ("item",), "day", "standard")
    day = Rule("day", "", (), (Tier(None, Fraction(1)),), (), "day", "", cap_nanos=7_000_000)
    rules = (pages, tokens("night", "7001/3", NIGHT), tokens("otherwise", "1000/3"))
    version = replace(TARIFF, rules=rules, passes=(Pass("day", ("pages",), day),))
    return replace(BOOK, tariffs=(version,))


def rich_world() -> World:
    return world(rich_book(), duration_us=2 * HOUR_US)


def test_what_passes_and_dues_come_to_reconciles() -> None:
    made = rich_world()
    report = made.report()
    assert report.clean, report.first
    told = [codec.decode_one(value) for log in made.topics["charges"].values() for _, value in log]
    charges = [record for name, record in told if name == "Charge"]
    links = {line["link"] for charge in charges for line in charge["lines"]}
    assert links == {"rule", "pass", "minimum", "sharing"}
    assert max(len(charge["lines"]) for charge in charges) > 1
    assert min(charge["booked_at"] for charge in charges if charge["outcome"] == "due") > START_US


def test_a_due_that_was_changed_is_found() -> None:
    made, changed = rich_world(), list[object]()

    def change(record: dict[str, object]) -> None:
        lines = record["lines"]
        assert isinstance(lines, list)
        if lines and lines[0]["link"] == "minimum":
            lines[0]["paid_nanos"] += 1
            changed.append(record["usage_offset"])

    for nth in range(60):
        made.spoil("charges", "Charge", change, nth)
    assert changed and not made.report().clean
