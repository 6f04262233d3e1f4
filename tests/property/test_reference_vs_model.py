"""The plain reference and the executable model, written apart, say the same of what both know."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import pytest

from tests.support import model, model_translation
from tests.support.model_translation import (
    SCALES,
    SECOND_US,
    common_scenario,
    model_order,
    model_record,
    model_settings,
    our_partitions,
)
from tests.support.reference import PayersReference
from tests.support.reference_accounts import AccountsReference, Earned, Mark
from tests.support.reference_values import LONG_AGO, Charge, Line
from tests.support.scenarios import Scenario

SEEDS = range(120)


def model_run(scenario: Scenario) -> list[Any]:
    settings = model_settings(next(iter(scenario.books.values())).settings)
    records = [model_record(r, scenario.books) for r in scenario.records]
    out, taken = model.decide(records, model.PayersState(scenario.partition), settings)
    assert taken == len(records)
    return out


def reference_run(scenario: Scenario) -> PayersReference:
    reference = PayersReference(scenario.partition, scenario.partitions, scenario.books, model_order)
    reference.run(scenario.records)
    return reference


def seconds(us: int) -> int:
    return model.LONG_AGO if us == LONG_AGO else us // SECOND_US


def line_of(charge: Charge, line: Line, inexact: bool) -> dict[str, Any]:
    units = 10 ** charge.series[2]
    told = {
        "rule": (line.tariff, line.version, line.rule),
        "scope_end": seconds(line.scope_end_us),
        "quantity": (Fraction(line.quantity_before, units), Fraction(line.quantity, units)),
        "charged_before": line.charged_before if line.link == "rule" else 0,
        "amount": line.amount_nanos,
        "base_before": line.base_before,
        "split": [(p.account, p.fraction) for p in line.split_key[1]],
        "shares": [(s.account, s.nanos) for s in line.shares] if line.pass_name is None else [],
    }
    if line.scope in ("event", "life"):
        told.pop("scope_end")
    # What a cap cuts off and what a minimum adds the model takes into the total and we do not.
    return told if inexact else {**told, "total": (line.total_before, line.total_after)}


def model_line(line: model.Line, inexact: bool) -> dict[str, Any]:
    told = {
        "rule": (line.tariff, line.version, line.rule),
        "scope_end": line.scope_end,
        "quantity": (line.quantity_before, line.quantity),
        "charged_before": line.amount_before,
        "amount": line.amount,
        "base_before": line.base_before,
        "split": list(line.split),
        "shares": [] if line.pass_scope and line.link != "pass" else list(line.shares),
    }
    if line.scope_end > model_translation.FOR_LIFE or (line.scope and line.scope[-2] == "event"):
        told.pop("scope_end")
    total = line.amount_before + line.remainder_before
    return told if inexact else {**told, "total": (total, total + line.step)}


def pools(lines: Iterable[Any], shares: Callable[[Any], list[tuple[str, int]]]) -> dict[str, int]:
    """What went into pools and out of them."""
    sums: dict[str, int] = defaultdict(int)
    for line in lines:
        for account, nanos in shares(line):
            sums[account] += nanos if account.startswith("pool:") else 0
    return {account: nanos for account, nanos in sums.items() if nanos}


def is_inexact(scenario: Scenario, rule: str) -> bool:
    versions = [v for b in scenario.books.values() for v in b.tariffs]
    rules = [r for v in versions for r in v.rules if r.name == rule]
    return any(r.cap_nanos is not None or (r.scope == "event" and r.minimum_nanos) for r in rules)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_record_has_the_same_outcome_and_charge(seed: int) -> None:
    with our_partitions():
        for partition in range(3):
            scenario = common_scenario(seed, partition)
            ours, theirs = reference_run(scenario), model_run(scenario)
            chunk = theirs[-1]
            outcomes: dict[int, tuple[str, str]] = dict.fromkeys(chunk.duplicates, ("duplicate", ""))
            charges = {(c.offset, c.n): c for c in theirs if isinstance(c, model.Charge)}
            outcomes |= {c.offset: (c.outcome, c.reason) for c in charges.values() if c.event}
            outcomes |= {r.offset: ("rejected", r.reason) for r in theirs if isinstance(r, model.Reject)}
            for offset, told in ours.out.outcomes.items():
                assert told == outcomes.get(offset, ("control", "")), (seed, partition, offset)
            for charge in ours.out.charges:
                where = (seed, partition, charge.usage_offset, charge.n)
                other = charges.pop((charge.usage_offset, charge.n))
                assert (charge.outcome, charge.reason, charge.payer) == (other.outcome, other.reason, other.payer), (
                    where
                )
                assert charge.series[:2] == (other.product, other.meter if charge.event else ""), where
                assert (seconds(charge.booked_at_us), charge.late) == (other.booked_at, other.late), where
                assert charge.paid_nanos == sum(line.paid for line in other.lines), where
                lines = [line for line in charge.lines if line.link != "pass"]
                assert len(lines) == len(other.lines), where
                for line, told_line in zip(lines, other.lines, strict=True):
                    inexact = is_inexact(scenario, line.rule)
                    assert line_of(charge, line, inexact) == model_line(told_line, inexact), where
                in_pools = pools(charge.lines, lambda line: [(s.account, s.nanos) for s in line.shares])
                assert in_pools == pools(other.lines, lambda line: list(line.shares)), where
            assert not charges
            assert {
                k: v for k, v in ours.out.counts.items() if "." not in k and k not in ("free", "late", "due")
            } == dict(chunk.counts)
            assert (seconds(ours.watermark), seconds(ours.closed_to)) == (chunk.watermark, chunk.closed_to)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_windows_close_with_the_same_sums(seed: int) -> None:
    with our_partitions():
        for partition in range(3):
            scenario = common_scenario(seed, partition)
            ours, theirs = reference_run(scenario), model_run(scenario)
            tallies = [
                (
                    seconds(t.window_end_us),
                    t.size,
                    t.account,
                    t.product,
                    t.meter,
                    t.count,
                    units(t.quantity, t.scale),
                    t.amount_nanos,
                )
                for t in ours.out.tallies
            ]
            their_tallies = merged(
                (
                    t.end,
                    t.size,
                    f"payer:{t.account}",
                    t.product,
                    t.meter if t.product else "",
                    t.count,
                    t.quantity,
                    t.amount,
                )
                for t in theirs
                if isinstance(t, model.Tally)
            )
            assert sorted(tallies) == sorted(their_tallies)
            statements = [(seconds(s.period_end_us), s.account, s.due_nanos) for s in ours.out.statements]
            their_statements = [(s.end, f"payer:{s.payer}", s.amount) for s in theirs if isinstance(s, model.Statement)]
            assert sorted(statements) == sorted(their_statements)
            earned = {
                (k.account, seconds(k.minute_us), k.product, k.meter): (
                    s.count,
                    units(s.quantity, k.scale),
                    s.amount_nanos,
                )
                for k, s in ours.out.earnings.items()
            }
            their_earned = {
                tuple(place): (count, quantity, amount)
                for *place, count, quantity, amount in merged(
                    (e.account, e.minute, e.product, e.meter if e.product else "", e.count, e.quantity, e.amount)
                    for e in theirs
                    if isinstance(e, model.Earning)
                )
            }
            if scenario.books[0].tariffs[0].passes:  # the model counts such uses for the pool alone
                assert amounts(earned) == amounts(their_earned)
            else:
                assert earned == their_earned


def merged(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows with the sums of count, quantity and amount: what is due under several meters is tallied under none here."""
    sums: dict[Any, tuple[Any, Any, Any]] = {}
    for *place, count, quantity, amount in rows:
        before = sums.get(tuple(place), (0, 0, 0))
        sums[tuple(place)] = before[0] + count, before[1] + quantity, before[2] + amount
    return [(*place, *numbers) for place, numbers in sums.items()]


def amounts(earned: dict[Any, tuple[int, Any, int]]) -> dict[Any, int]:
    return {key: amount for key, (_, _, amount) in earned.items() if amount}


def units(quantity: int, scale: int) -> Fraction:
    return Fraction(quantity, 10**scale)


def sent_in_chunks(scenario: Scenario, r: random.Random) -> list[model.Earning | model.SourceWatermark]:
    """What the model's payers' stage sends to accounts over a random chunking."""
    settings = model_settings(next(iter(scenario.books.values())).settings)
    records = [model_record(x, scenario.books) for x in scenario.records]
    state, sent = model.PayersState(scenario.partition), list[Any]()
    while records:
        out, _ = model.decide(records[: r.randint(1, 9)], state, settings)
        state = model.evolve(state, out)
        sent += [o for o in out if isinstance(o, model.Earning | model.SourceWatermark)]
        records = [x for x in records if x.offset >= state.next_offset]
    return sent


@pytest.mark.parametrize("seed", range(40))
def test_the_accounts_stage_pays_and_carries_the_same(seed: int) -> None:
    r = random.Random(seed)
    with our_partitions():
        scenarios = [common_scenario(seed, p) for p in range(3)]
        queues = [sent_in_chunks(s, r) for s in scenarios]
    merged: list[Any] = []
    while any(queues):
        queue = r.choice([q for q in queues if q])
        count = r.randint(1, 8)
        merged += queue[:count]
        del queue[:count]
    settings = scenarios[0].books[0].settings
    state = model.AccountsState()
    theirs = model.decide_accounts(merged, state, model_settings(settings))
    ours = AccountsReference().run([our_message(m, settings) for m in merged])
    paid = [
        (seconds(p.period_end_us), p.account, p.earned_nanos, p.brought_nanos, p.paid_nanos, p.carried_nanos)
        for p in ours.payouts
    ]
    their_paid = [
        (p.end, p.account, p.earned, p.brought, p.paid, p.carried) for p in theirs if isinstance(p, model.Payout)
    ]
    assert sorted(paid) == sorted(their_paid)
    tallies = [
        (
            seconds(t.window_end_us),
            t.size,
            t.account,
            t.product,
            t.meter,
            t.count,
            units(t.quantity, t.scale),
            t.amount_nanos,
        )
        for t in ours.tallies
    ]
    their_tallies = [
        (t.end, t.size, t.account, t.product, t.meter, t.count, t.quantity, t.amount)
        for t in theirs
        if isinstance(t, model.Tally)
    ]
    assert sorted(tallies) == sorted(their_tallies)
    left: dict[str, int] = defaultdict(int)
    for e in ours.waiting:
        left[e.key.account] += e.amount_nanos
    assert {a: n for a, n in left.items() if n} == {a: n for a, n in their_open(state).items() if n}


def their_open(state: model.AccountsState) -> dict[str, int]:
    open_periods: dict[str, int] = defaultdict(int)
    for (_, size, account, _, _), (_, _, amount) in state.tallies.items():
        if size == "payout":
            open_periods[account] += amount
    return open_periods


def our_message(message: Any, settings: Any) -> Earned | Mark:
    from tests.support.reference_values import EarningKey

    if isinstance(message, model.SourceWatermark):
        return Mark(message.source, 3, message.watermark * SECOND_US, 0, settings)
    scale = SCALES.get(message.meter, 0)
    key = EarningKey(message.account, message.minute * SECOND_US, message.product, message.meter, scale, "USD")
    return Earned(message.source, key, message.count, int(message.quantity * 10**scale), message.amount)
