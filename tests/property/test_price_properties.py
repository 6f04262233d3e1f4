"""What must hold of every price, asked of the columns: Hypothesis draws the rule, the uses and how they are cut."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nanotally.streams.domain.keys import Interner, group_codes
from nanotally.streams.domain.prices import Price
from nanotally.streams.domain.rated import REFUSALS, Rated
from nanotally.streams.domain.rating import Asked, rate
from nanotally.streams.domain.scopes import ScopeRows
from nanotally.streams.domain.splitting import Splits, resolve
from nanotally.streams.domain.tariff import Party, Rule, Split, Tier
from nanotally.streams.domain.terms import Each, Free, Overage, Rounding
from tests.support.reference_price import price_of, to_step, with_overage

QUANTITIES = st.one_of(st.integers(0, 20), st.integers(0, 10**6), st.integers(0, 10**15))
# All denominators divide 10^15 * 84, so that all prices of a rule have a common one.
PRICES = st.one_of(
    st.builds(Fraction, st.integers(0, 200), st.sampled_from([1, 3, 7, 60, 84])),
    st.sampled_from([Fraction(0), Fraction(1, 10**15), Fraction(2**40), Fraction(10**9, 3)]),
)
FEES = st.builds(Fraction, st.one_of(st.just(0), st.integers(0, 200)), st.sampled_from([1, 2, 3]))
SELDOM = st.integers(0, 3).map(lambda drawn: drawn == 0)
STEPS = st.sampled_from([1, 2, 7, 60, 1000])
ROUNDINGS = st.builds(Rounding, STEPS, st.sampled_from(["up", "down", "half_up"]))
REFUSED = {reason: code for code, reason in REFUSALS.items()}


@st.composite
def tiers_of(draw: st.DrawFn, most: int = 4, steps: bool = True) -> tuple[Tier, ...]:
    ends = sorted(draw(st.sets(st.one_of(st.integers(1, 60), st.integers(1, 10**9)), max_size=most - 1)))
    stepped = st.one_of(st.none(), STEPS) if steps else st.none()
    return tuple(Tier(end, draw(PRICES), draw(FEES), draw(stepped)) for end in (*ends, None))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Rules that look at the scope as a whole, not at single uses, and never refuse."""
    free = draw(st.one_of(st.none(), st.builds(Free, st.integers(1, 1000), st.none(), st.booleans())))
    above = st.builds(Overage, st.fractions(0, 500, max_denominator=1), st.sampled_from([Fraction(2), Fraction(1, 2)]))
    carry = draw(SELDOM)
    volume = not carry and draw(SELDOM)
    return Rule(
        name="r",
        meter="m",
        when=(),
        tiers=draw(tiers_of()),
        per=(),
        scope="month",
        split="s",
        cap_nanos=draw(st.one_of(st.none(), st.integers(0, 5000))),
        volume=volume,
        falling=volume,
        carry=carry,
        zero_fee=draw(SELDOM),
        free=free,
        rounding=draw(st.one_of(st.none(), ROUNDINGS)),
        connect=draw(FEES) if draw(SELDOM) else Fraction(0),
        overage=draw(above) if draw(SELDOM) else None,
    )


def rate_one_by_one(rule: Rule, quantities: Sequence[int], cuts: Sequence[int] = ()) -> list[Rated]:
    """Uses of one scope, in chunks that end at the cuts."""
    price, out = Price(rule), list[Rated]()
    row = ScopeRows.new(1, price.den)
    for start, end in zip([0, *cuts], [*cuts, len(quantities)], strict=True):
        if start == end:
            continue
        asked = Asked(np.array(quantities[start:end], dtype=np.int64))
        rated = rate(price, group_codes(np.zeros(end - start, dtype=np.int64)), row, asked)
        out.append(rated)
        charged = np.flatnonzero(rated.refusal == 0)
        if len(charged):
            last = charged[-1:]
            row = ScopeRows(
                uses=rated.uses_before[last] + 1,
                quantity=rated.quantity_before[last] + rated.counted[last],
                over=rated.over_after[last],
                total=rated.total_after[last],
                remainder=rated.remainder_after[last],
                den=rated.remainder_den[last],
                charged=rated.charged_before[last] + rated.amount[last],
                start=row.start,
                end=row.end,
            )
    return out


def amounts(rule: Rule, quantities: Sequence[int], cuts: Sequence[int] = ()) -> list[int] | None:
    """Nanos of each use; None where one leaves 62 bits."""
    rated = rate_one_by_one(rule, quantities, cuts)
    if any(code == REFUSED["out_of_range"] for r in rated for code in r.refusal.tolist()):
        return None
    return [nanos for r in rated for nanos in r.amount.tolist()]


@given(rules(), st.lists(QUANTITIES, min_size=1, max_size=6), st.data())
@settings(deadline=None, max_examples=250)
def test_chopping_a_use_changes_nothing(rule: Rule, quantities: list[int], data: st.DataObject) -> None:
    chopped = list[int]()
    for quantity in quantities:
        ends = sorted(data.draw(st.lists(st.integers(0, quantity), max_size=3)))
        chopped += [b - a for a, b in zip([0, *ends], [*ends, quantity], strict=True)]
    whole, pieces = amounts(rule, quantities), amounts(rule, chopped)
    if whole is not None and pieces is not None:
        assert sum(pieces) == sum(whole)


@given(rules(), st.lists(QUANTITIES, min_size=1, max_size=8))
@settings(deadline=None, max_examples=250)
def test_charges_sum_to_the_floor_of_the_exact_sum(rule: Rule, quantities: list[int]) -> None:
    rated = amounts(rule, quantities)
    if rated is None:
        return
    used = sum(quantities)
    exact = price_of(rule, used, len(quantities)) + (rule.connect if used else 0)
    if rule.carry:  # steps carried on are not in the plain sum over tiers
        exact = carried_price(rule, used) + (rule.connect if used else 0)
    owed = floor(with_overage(rule, exact))
    assert sum(rated) == (owed if rule.cap_nanos is None else min(owed, rule.cap_nanos))


def carried_price(rule: Rule, used: int) -> Fraction:
    """Steps laid one after the other from 0 on, each at the price of the tier it begins in."""
    free = rule.free.units or 0 if rule.free else 0
    rounded_first = rule.free is not None and rule.free.after_rounding
    used = used if rounded_first else max(0, used - free)
    used = used if rule.rounding is None else to_step(used, rule.rounding)
    used = max(0, used - free) if rounded_first else used
    total, lower, at = Fraction(0), 0, 0
    for i, tier in enumerate(rule.tiers):
        total += tier.fee if used > lower or (i == 0 and rule.zero_fee) else 0
        lower = tier.up_to or lower
        upper = used if tier.up_to is None else min(used, tier.up_to)
        if at < upper:
            steps = -((at - upper) // (tier.step or 1))
            total, at = total + tier.price * steps * (tier.step or 1), at + steps * (tier.step or 1)
    return total


@given(rules(), st.lists(QUANTITIES, min_size=2, max_size=6), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=200)
def test_the_order_of_uses_in_a_scope_does_not_change_its_total(rule: Rule, quantities: list[int], r: object) -> None:
    shuffled = list(quantities)
    r.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = amounts(rule, quantities), amounts(rule, shuffled)
    if one is not None and other is not None:
        assert sum(one) == sum(other)


@given(rules(), st.lists(QUANTITIES, min_size=1, max_size=12), st.data())
@settings(deadline=None, max_examples=200)
def test_any_chunks_give_the_same_charges(rule: Rule, quantities: list[int], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(quantities)), max_size=4)))
    whole, cut = rate_one_by_one(rule, quantities), rate_one_by_one(rule, quantities, cuts)
    for name in vars(whole[0]):
        assert [v for r in whole for v in getattr(r, name).tolist()] == [
            v for r in cut for v in getattr(r, name).tolist()
        ], name


@st.composite
def bounded_rules(draw: st.DrawFn) -> Rule:
    """Rules with caps, allowances, limits and bounds of single uses."""
    each = st.builds(Each, FEES, st.one_of(st.none(), FEES), st.none())
    free = st.builds(
        Free, st.one_of(st.none(), st.integers(1, 50)), st.integers(1, 3), st.just(value=False), st.booleans()
    )
    return Rule(
        name="r",
        meter="m",
        when=(),
        tiers=(Tier(None, draw(PRICES)),),
        per=(),
        scope="month",
        split="s",
        cap_nanos=draw(st.one_of(st.none(), st.integers(0, 500))),
        limit=draw(st.one_of(st.none(), st.integers(0, 200))),
        each=draw(st.one_of(st.none(), each)),
        free=draw(st.one_of(st.none(), free, st.builds(Free, st.integers(1, 50)))),
    )


@given(bounded_rules(), st.lists(st.integers(0, 60), min_size=1, max_size=10))
@settings(deadline=None, max_examples=250)
def test_caps_allowances_and_limits_hold(rule: Rule, quantities: list[int]) -> None:
    (rated,) = rate_one_by_one(rule, quantities)
    charged = used = uses = 0
    for quantity, refusal, amount in zip(quantities, rated.refusal.tolist(), rated.amount.tolist(), strict=True):
        if rule.limit is not None:
            assert (refusal == REFUSED["limit"]) == (used + quantity > rule.limit)
        if refusal:
            continue
        used, charged, uses = used + quantity, charged + amount, uses + 1
        if rule.cap_nanos is not None:
            assert charged <= rule.cap_nanos
        free = rule.free
        if free is not None and (free.events is None or uses <= free.events):
            if free.units is None or used < free.units:
                assert charged == 0
        elif rule.each is not None and free is None and rule.cap_nanos is None:
            least = rule.each.at_least or Fraction(0)
            assert charged >= floor(least * uses)


@st.composite
def splits(draw: st.DrawFn) -> Split:
    names = ["platform", "creator", "party:a", "party:b"]
    others = draw(st.lists(st.sampled_from(names), max_size=3))
    parts = [draw(st.fractions(0, Fraction(1, 4), max_denominator=10**6)) for _ in others]
    caps = [draw(st.one_of(st.none(), st.none(), st.integers(0, 100))) for _ in others]
    beyond = [None if cap is None else draw(st.one_of(st.none(), st.sampled_from(names))) for cap in caps]
    parties = [Party(*fields) for fields in zip(others, parts, caps, beyond, strict=True)]
    if draw(SELDOM):
        parties.append(Party("party:first", Fraction(1), draw(st.integers(0, 50)), None, True))
    return Split("s", (*parties, Party(draw(st.sampled_from(names)), None)))


AMOUNTS = st.one_of(st.integers(-100, 100), st.integers(0, 2**60), st.integers(-(2**60), 2**60))


@given(st.lists(splits(), min_size=1, max_size=3), st.lists(AMOUNTS, max_size=12), st.data())
@settings(deadline=None, max_examples=200)
def test_shares_sum_to_what_is_divided_and_keep_to_their_fractions(
    drawn: list[Split], paid: list[int], data: st.DataObject
) -> None:
    kept = Splits(Interner())
    numbers = [
        kept.number("USD", resolve(split, {"creator": data.draw(st.sampled_from(["x", ""]))})) for split in drawn
    ]
    which = [data.draw(st.sampled_from(numbers)) for _ in paid]
    middle = data.draw(st.integers(0, len(paid)))
    shares = list[list[int]]()
    for part in (slice(0, middle), slice(middle, None)):
        divided = kept.divide(np.array(which[part], dtype=np.int64), np.array(paid[part], dtype=np.int64))
        shares += divided.nanos.tolist()
    assert [sum(row) for row in shares] == paid
    for number in set(numbers):
        rows = [row for row, of in zip(shares, which, strict=True) if of == number]
        amount = sum(a for a, of in zip(paid, which, strict=True) if of == number)
        parties = kept.parties[number]
        if not any(p.cap_nanos is not None or p.of_left for p in parties) and abs(amount) < 2**60:
            for place, party in enumerate(parties[:-1]):
                assert party.fraction is not None
                assert abs(sum(row[place] for row in rows) - amount * party.fraction) < 1
