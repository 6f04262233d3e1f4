"""The columnar payers' stage says what the plain reference says, however its input is cut and its state rebuilt."""

from __future__ import annotations

import os
import random

import pytest

from tests.support.due_order import by_hash
from tests.support.reference import PayersReference
from tests.support.reference_accounts import AccountsReference, Earned, Mark, Payout
from tests.support.reference_compare import compare, compare_accounts, complain
from tests.support.reference_driver import Found, Plan, run, run_accounts
from tests.support.reference_values import LONG_AGO, EarningKey, Sum
from tests.support.replay import check_plans, check_reference
from tests.support.scenarios import Scenario, scenario

# More by NANOTALLY_SEEDS=1000, others by NANOTALLY_FIRST_SEED=5000.
FIRST = int(os.environ.get("NANOTALLY_FIRST_SEED", "0"))
SEEDS = int(os.environ.get("NANOTALLY_SEEDS", "60"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_every_record_becomes_what_the_reference_says(seed: int) -> None:
    check_reference(scenario(seed))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS // 5))
def test_chunks_slices_and_rebuilds_change_nothing_that_lasts(seed: int) -> None:
    check_plans(scenario(seed), plans=1)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + max(1, SEEDS // 30)))
def test_long_runs_become_what_the_reference_says(seed: int) -> None:
    check_reference(scenario(seed, size=2500))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS // 6))
def test_earnings_settle_alike_in_any_interleaving(seed: int) -> None:
    """Three partitions under the same books: their deltas, cut and mixed at random, pay what the charges say."""
    r = random.Random(seed)
    scenarios = [scenario(seed, partition=p) for p in range(3)]
    references = [PayersReference(s.partition, s.partitions, s.books, by_hash) for s in scenarios]
    for made, reference in zip(scenarios, references, strict=True):
        reference.run(made.records)
    expected: list[Payout] | None = None
    for attempt in range(3):
        plans = [Plan() if attempt == 0 else Plan.random(r) for _ in scenarios]
        found = [run(made, plan) for made, plan in zip(scenarios, plans, strict=True)]
        if attempt == 0:
            for made, reference, one in zip(scenarios, references, found, strict=True):
                compare(made, reference, one)
        accounts = settled(scenarios[0], found, r)
        payouts = sorted(p for a in accounts for p in a.payouts)
        same_payouts(scenarios[0], expected, payouts)
        expected = payouts
        nothing_is_lost(scenarios[0], references, accounts)


def settled(made: Scenario, found: list[Found], r: random.Random) -> list[AccountsReference]:
    """Each partition of `earnings` with its messages in a random order that keeps each source's own: by the plain
    accounts' stage, after the columnar one has been held to it."""
    out = []
    for p in sorted({p for f in found for p in f.messages}):
        queues = [list(f.messages.get(p, [])) for f in found]
        merged: list[tuple[Earned | Mark, bytes]] = []
        while any(queues):
            queue = r.choice([q for q in queues if q])
            count = r.randint(1, 8)
            merged += queue[:count]
            del queue[:count]
        reference = AccountsReference().run([message for message, _ in merged])
        written = run_accounts(p, [value for _, value in merged], r)
        compare_accounts(made, reference, written)
        out.append(reference)
    return out


def same_payouts(made: Scenario, expected: list[Payout] | None, found: list[Payout]) -> None:
    if expected is not None and expected != found:
        missing, more = [p for p in expected if p not in found], [p for p in found if p not in expected]
        complain(made, "payouts in another interleaving", "rows", missing[:2], more[:2])


def nothing_is_lost(made: Scenario, references: list[PayersReference], accounts: list[AccountsReference]) -> None:
    """Earned is paid, carried or open, and what ended in every source is settled."""
    earned: dict[tuple[str, str], int] = {}
    ended: dict[EarningKey, Sum] = {}
    for reference in references:
        for key, sums in reference.out.earnings.items():
            where = key.account, key.currency
            earned[where] = earned.get(where, 0) + sums.amount_nanos
            ended.setdefault(key, Sum()).add(sums.count, sums.quantity, sums.amount_nanos)
    kept: dict[tuple[str, str], int] = {}
    for stage in accounts:
        for payout in stage.payouts:
            where = payout.account, payout.currency
            kept[where] = kept.get(where, 0) + payout.paid_nanos
        for where, carried in stage.carried.items():
            kept[where] = kept.get(where, 0) + carried
        for e in stage.waiting:
            where = e.key.account, e.key.currency
            kept[where] = kept.get(where, 0) + e.amount_nanos
    if earned != kept:
        complain(made, "accounts", "earned = paid + carried + open", earned, kept)
    least = min(reference.closed_to for reference in references)
    closed = [a.closed_to for a in accounts]
    if least > LONG_AGO and any(c > least for c in closed):
        complain(made, "accounts", "closed no further than the slowest source", least, closed)
