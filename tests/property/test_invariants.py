"""What must always hold, asked of the plain reference on many scenarios; the columns agree with it elsewhere."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction
from math import floor
from typing import Any

import pytest

from nanotally.streams.domain.tariff import Rule, RuleBook
from tests.support.reference import BASE_MUCH, PayersReference
from tests.support.reference_pricing import exact_price
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
    in_ledger = Counter(c.usage_offset for c in out.charges) + Counter(r.offset for r in out.rejects)
    assert all(n == 1 for n in in_ledger.values())
    silent = {o for o, (outcome, _) in out.outcomes.items() if outcome in ("duplicate", "control")}
    assert silent | in_ledger.keys() == out.outcomes.keys() and not silent & in_ledger.keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_shares_sum_to_the_amount_and_stay_near_their_fractions(seed: int) -> None:
    got: dict[Any, int] = defaultdict(int)
    divided: dict[Any, int] = defaultdict(int)
    for line in lines_of(run(scenario(seed))):
        assert sum(s.nanos for s in line.shares) == line.paid_nanos >= 0
        parties = len(line.shares)
        assert all(s.nanos > -parties for s in line.shares)
        assert parties > 2 or all(s.nanos >= 0 for s in line.shares)
        divided[line.split_key] += line.paid_nanos
        for share in line.shares:
            got[line.split_key, share.account] += share.nanos
    for key, base in divided.items():
        if base >= BASE_MUCH:
            continue  # there the base begins anew, and may be off anew
        _, parties_of = key
        for part in parties_of:
            assert abs(got[key, part.account] - part.fraction * base) < max(1, len(parties_of) - 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_scope_under_one_version_costs_the_floor_of_its_whole_quantity(seed: int) -> None:
    made = scenario(seed)
    scopes: dict[Any, list[Line]] = defaultdict(list)
    for line in lines_of(run(made)):
        scopes[line.scope_place].append(line)
    for lines in scopes.values():
        if len({line.version for line in lines}) > 1:
            continue
        rule = rule_of(made, lines[0])
        whole = floor(exact_price(rule, sum(line.quantity for line in lines)))
        expected = whole if rule.cap_nanos is None else min(whole, rule.cap_nanos)
        assert sum(line.amount_nanos for line in lines) == expected


def rule_of(made: Scenario, line: Line) -> Rule:
    versions = {(v.tariff, v.version): v for book in made.books.values() for v in book.tariffs}
    return next(r for r in versions[line.tariff, line.version].rules if r.name == line.rule)


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
    accepted = {c.usage_offset for c in before.out.charges}
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
def test_a_use_told_in_two_pieces_costs_the_same(seed: int) -> None:
    """Under one version, for scopes that cumulate; a limit of a price would judge the pieces alone."""
    made, r = scenario(seed), random.Random(seed)
    number, book = min(made.books.items())
    first = tuple(
        next(v for v in book.tariffs if v.tariff == name) for name in sorted({v.tariff for v in book.tariffs})
    )
    cumulating = tuple(replace(v, rules=tuple(x for x in v.rules if x.scope != "event")) for v in first)
    one = RuleBook(number, book.settings, cumulating)
    start = Record(-1, made.records[0].recorded_at_us, None, Control("one", "activate", None, number, one.book_hash))
    records = [x for x in made.records if not (isinstance(x.value, dict) and "max_price" in x.value["attributes"])]
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


def doubled(records: list[Record]) -> list[Record]:
    return [replace(x, offset=2 * i, wire="plain") for i, x in enumerate(records)]


def per_scope(charges: list[Charge]) -> dict[Any, tuple[int, Fraction]]:
    sums: dict[Any, tuple[int, Fraction]] = {}
    for line in (line for charge in charges for line in charge.lines):
        paid, _ = sums.get(line.scope_place, (0, Fraction(0)))
        sums[line.scope_place] = paid + line.amount_nanos, line.total_after
    return sums
