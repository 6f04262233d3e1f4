"""What must always hold, asked of the plain reference on many scenarios; the columns agree with it elsewhere."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from math import floor
from typing import Any

import pytest

from nanotally.streams.domain.tariff import Rule, RuleBook
from tests.support.reference import BASE_MUCH, PayersReference
from tests.support.reference_price import price_of, walk, with_overage
from tests.support.reference_values import Charge, Control, Line, Record
from tests.support.scenarios import Scenario, scenario

SEEDS = range(120)


def run(made: Scenario) -> PayersReference:
    reference = PayersReference(made.partition, made.partitions, made.books)
    reference.run(made.records)
    return reference


def lines_of(reference: PayersReference) -> list[Line]:
    return [line for charge in reference.out.charges for line in charge.lines]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_record_has_one_outcome(seed: int) -> None:
    made = scenario(seed)
    out = run(made).out
    assert sorted(out.outcomes) == [r.offset for r in made.records]
    in_ledger = Counter(c.usage_offset for c in out.charges if c.event) + Counter(r.offset for r in out.rejects)
    assert all(n == 1 for n in in_ledger.values())
    silent = {o for o, (outcome, _) in out.outcomes.items() if outcome in ("duplicate", "control")}
    assert silent | in_ledger.keys() == out.outcomes.keys() and not silent & in_ledger.keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_shares_sum_to_what_is_paid_and_stay_near_their_fractions(seed: int) -> None:
    got: dict[Any, int] = defaultdict(int)
    divided: dict[Any, int] = defaultdict(int)
    for line in lines_of(run(scenario(seed))):
        assert sum(s.nanos for s in line.shares) == line.paid_nanos
        if line.link == "pass" or any(p.cap is not None or p.of_left for p in line.split_key[1]):
            continue
        moved = line.amount_nanos if line.link == "sharing" else line.paid_nanos
        shares, parties = line.shares[: len(line.split_key[1])], len(line.split_key[1])
        assert moved < 0 or all(s.nanos > -parties for s in shares)
        assert parties > 2 or moved < 0 or all(s.nanos >= 0 for s in shares)
        divided[line.split_key] += moved
        for share in shares:
            got[line.split_key, share.account] += share.nanos
    for key, base in divided.items():
        if base >= BASE_MUCH:
            continue  # there the base begins anew, and may be off anew
        _, parties_of = key
        for part in parties_of:
            assert abs(got[key, part.account] - part.fraction * base) < max(1, len(parties_of) - 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_scope_under_one_price_costs_the_floor_of_its_whole_quantity(seed: int) -> None:
    made = scenario(seed)
    scopes: dict[Any, list[Line]] = defaultdict(list)
    for line in lines_of(run(made)):
        if line.link in ("rule", "pass"):
            scopes[line.scope_place].append(line)
    for lines in scopes.values():
        rule = rule_of(made, lines[0])
        if len({(line.version, line.variant) for line in lines}) > 1 or not by_whole_scope(rule):
            continue
        used = sum(line.quantity for line in lines)
        if rule.carry:
            exact = walk(rule, 0, used)[0]
        else:
            exact = price_of(rule, used, 1)
        exact += rule.connect if used else 0
        owed = floor(with_overage(rule, exact))
        owed = owed if rule.cap_nanos is None else min(owed, rule.cap_nanos)
        owed = max(owed, rule.minimum_nanos) if rule.scope == "event" else owed
        assert sum(line.amount_nanos for line in lines) == owed


def by_whole_scope(rule: Rule) -> bool:
    """Whether the price looks at nothing but the quantity of the scope, and never waits until it rises again."""
    single = rule.each is not None or (rule.free is not None and rule.free.events is not None)
    waits = rule.volume and not rule.falling
    return not (single or waits or rule.tier_by or rule.price_from)


@pytest.mark.parametrize("seed", SEEDS)
def test_caps_and_limits_hold_and_pools_are_emptied_by_what_filled_them(seed: int) -> None:
    made = scenario(seed)
    charged: dict[Any, int] = defaultdict(int)
    pools: dict[Any, int] = defaultdict(int)
    for line in lines_of(run(made)):
        if line.link == "rule":
            rule = rule_of(made, line)
            charged[line.scope_place] += line.amount_nanos
            least = rule.minimum_nanos if rule.scope == "event" else 0
            assert rule.cap_nanos is None or line.amount_nanos <= max(least, rule.cap_nanos)
            assert rule.limit is None or line.quantity_before + line.quantity <= rule.limit
            assert charged[line.scope_place] == line.charged_before + line.amount_nanos
        if line.link in ("pass", "sharing"):
            pools[line.scope_place] += sum(s.nanos for s in line.shares if s.account.startswith("pool:"))
            assert pools[line.scope_place] >= 0


def rule_of(made: Scenario, line: Line) -> Rule:
    versions = {(v.tariff, v.version): v for book in made.books.values() for v in book.tariffs}
    version = versions[line.tariff, line.version]
    if line.link == "pass":
        return next(p.price for p in version.passes if p.name == line.rule)
    return next(r for r in version.rules if (r.name, r.variant) == (line.rule, line.variant))


@pytest.mark.parametrize("seed", SEEDS)
def test_settlements_and_open_windows_come_to_what_was_paid(seed: int) -> None:
    reference = run(scenario(seed))
    out = reference.out
    for name, paid in out.sums.items():
        if not name.startswith("paid."):
            continue
        currency = name.removeprefix("paid.")
        settled = sum(s.due_nanos for s in out.statements if s.currency == currency)
        unsettled = sum(t.amount_nanos for k, t in reference.periods.items() if k[3] == currency)
        assert settled + unsettled == paid == out.sums.get(f"shares.{currency}", 0)
        assert sum(s.amount_nanos for k, s in out.earnings.items() if k.currency == currency) == paid
        for size in reference.settings.windows:
            closed = sum(t.amount_nanos for t in out.tallies if (t.size, t.currency) == (size, currency))
            still = sum(t.amount_nanos for k, t in reference.windows.items() if (k[1], k[7]) == (size, currency))
            assert closed + still == paid
    rows = [(t.account, t.size, t.window_start_us, t.product, t.meter, t.scale, t.currency) for t in out.tallies]
    assert len(set(rows)) == len(rows), "a window closed twice"


@pytest.mark.parametrize("seed", SEEDS)
def test_copies_of_what_was_accepted_change_nothing(seed: int) -> None:
    made, r = scenario(seed), random.Random(seed)
    spread = [replace(x, offset=10 * i) for i, x in enumerate(made.records)]
    before = run(replace(made, records=tuple(spread)))
    accepted = {c.usage_offset for c in before.out.charges if c.event}
    more = list(spread)
    for i, record in enumerate(spread):
        if record.offset in accepted and r.random() < 0.3:
            j = r.randrange(i, len(spread))
            more.append(replace(record, offset=10 * j + r.randint(1, 9), recorded_at_us=spread[j].recorded_at_us))
    more = sorted({x.offset: x for x in more}.values(), key=lambda x: x.offset)
    after = run(replace(made, records=tuple(more)))
    # A copy may come when its original is forgotten: then it is too old, and a reject; else a duplicate.
    added = [o for o in after.out.outcomes if o % 10]
    assert {after.out.outcomes[o] for o in added} <= {
        ("duplicate", ""),
        ("rejected", "too_old"),
        ("rejected", "future"),
    }
    assert after.out.charges == before.out.charges
    assert after.out.tallies == before.out.tallies and after.out.statements == before.out.statements


@pytest.mark.parametrize("seed", SEEDS)
def test_what_stands_at_an_offset_is_redriven_at_most_once_and_only_for_a_price(seed: int) -> None:
    made = scenario(seed)
    out = run(made).out
    redriven = [c for c in out.charges if "redrive:" in c.flags]
    offsets = [int(c.flags.rsplit("redrive:")[1]) for c in redriven]
    assert len(set(offsets)) == len(offsets) == out.counts.get("redriven", 0)
    assert all(
        c.outcome in ("charged", "refused") and o < c.usage_offset for c, o in zip(redriven, offsets, strict=True)
    )
    controls = {r.offset: r.value for r in made.records if isinstance(r.value, Control)}
    for charge, offset in zip(redriven, offsets, strict=True):
        control = controls[charge.usage_offset]
        assert (control.kind, control.usage_offset, control.use) == ("redrive", offset, charge.event)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_use_told_in_two_pieces_costs_the_same(seed: int) -> None:
    """Under one version, for prices that look at scopes as a whole."""
    made, r = scenario(seed), random.Random(seed)
    number, book = min(made.books.items())
    first = tuple(
        next(v for v in book.tariffs if v.tariff == name) for name in sorted({v.tariff for v in book.tariffs})
    )
    cumulating = tuple(replace(v, rules=tuple(cumulating_rules(v.rules))) for v in first)
    one = RuleBook(number, book.settings, cumulating)
    start = Record(-1, made.records[0].recorded_at_us, None, Control("one", "activate", None, number, one.book_hash))
    records = [at_once(x) for x in made.records if may_be_cut(x)]
    whole = run(replace(made, books={number: one}, records=(start, *doubled(records))))
    refused = {c.usage_offset for c in whole.out.charges if c.outcome == "refused"}
    if refused:
        return  # a piece may still fit where the whole does not
    charged = {c.usage_offset for c in whole.out.charges if c.outcome == "charged"}
    pieces: list[Record] = [start]
    for record in doubled(records):
        value: Any = record.value
        if record.offset not in charged or value["quantity"] < 2:
            pieces.append(record)
            continue
        q = r.randint(1, value["quantity"] - 1)
        rest = {**value, "quantity": value["quantity"] - q, "event_id": value["event_id"][:200] + "'"}
        pieces += [
            replace(record, value={**value, "quantity": q}),
            replace(record, value=rest, offset=record.offset + 1),
        ]
    chopped = run(replace(made, books={number: one}, records=tuple(pieces)))
    assert per_scope(chopped.out.charges) == per_scope(whole.out.charges)


def cumulating_rules(rules: tuple[Rule, ...]) -> Iterator[Rule]:
    """Those that take two uses as they take one of both quantities."""
    for rule in rules:
        rounded = rule.rounding is not None and rule.rounding.event
        if rule.scope != "event" and by_whole_scope(rule) and not rounded:
            yield replace(rule, when=tuple(c for c in rule.when if c.field != "quantity"))


def may_be_cut(record: Record) -> bool:
    """A limit would judge the pieces alone, and a redrive names the offset of a whole."""
    value = record.value
    if isinstance(value, Control):
        return value.kind != "redrive"
    return not (isinstance(value, dict) and "max_price" in value["attributes"])


def at_once(record: Record) -> Record:
    """A use that does not last, so that no part of it is rounded where it is cut."""
    if not isinstance(record.value, dict):
        return record
    return replace(record, value={**record.value, "duration_us": None})


def doubled(records: list[Record]) -> list[Record]:
    return [replace(x, offset=2 * i, wire="plain") for i, x in enumerate(records)]


def per_scope(charges: list[Charge]) -> dict[Any, tuple[int, Fraction]]:
    sums: dict[Any, tuple[int, Fraction]] = {}
    for line in (line for charge in charges for line in charge.lines if line.link in ("rule", "pass")):
        paid, _ = sums.get(line.scope_place, (0, Fraction(0)))
        sums[line.scope_place] = paid + line.amount_nanos, line.total_after
    return sums
