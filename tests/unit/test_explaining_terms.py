"""Each price function stated in plain fractions: values worked by hand; quantities in whole units, prices in nanos."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from nanotally.streams.domain.explaining_terms import (
    Extra,
    Piece,
    State,
    amount_of,
    counted,
    due_of,
    rounded,
    step_of,
)
from nanotally.streams.domain.rules import Rule
from nanotally.streams.domain.terms import Each, Free, Overage, PriceFrom, Rounding, Tier

F = Fraction


def rule(*tiers: Tier, **terms: Any) -> Rule:
    return Rule("r", "m", (), tiers, (), terms.pop("scope", "month"), "s", terms.pop("cap_nanos", None), **terms)


def flat(price: int, **terms: Any) -> Rule:
    return rule(Tier(None, F(price)), **terms)


def state(quantity: int = 0, uses: int | None = None, over: int = 0) -> State:
    return State((1 if quantity else 0) if uses is None else uses, quantity, over, F(0), 0)


def step(r: Rule, before: State, quantity: int, **asked: Any) -> Fraction:
    return step_of(r, before, quantity, **asked).nanos


def steps(r: Rule, *quantities: int) -> list[Fraction]:
    """Steps of uses one after the other in one scope."""
    out, before = [], state()
    for quantity in quantities:
        taken = step_of(r, before, quantity)
        out.append(taken.nanos)
        before = State(before.uses + 1, before.quantity + quantity, taken.over, F(0), 0)
    return out


def test_a_flat_fee_is_due_once_when_its_tier_is_entered() -> None:
    # to 10: 2 each and 100; above: 1 each and 50
    tiers = rule(Tier(10, F(2), F(100)), Tier(None, F(1), F(50)))
    assert steps(tiers, 4, 6, 5, 1) == [108, 12, 55, 1]  # 10 is still in the first tier
    taken = step_of(tiers, state(), 12)
    assert taken.items == (
        Piece(10, 0, 10, F(2)),
        Extra("fee of the tier", F(100)),
        Piece(2, 10, None, F(1)),
        Extra("fee of the tier above 10", F(50)),
    )


def test_the_first_tiers_fee_is_due_at_nothing_only_where_it_is_asked_for() -> None:
    tiers = (Tier(10, F(2), F(100)), Tier(None, F(1)))
    assert steps(rule(*tiers), 0, 1) == [0, 102]
    assert steps(rule(*tiers, zero_fee=True), 0, 1) == [100, 2]


def test_steps_inside_a_tier_are_charged_when_they_are_started() -> None:
    # 12 pages at 5 per started 5: 3 steps of 5 at price 1 per page
    assert steps(rule(Tier(None, F(1), step=5)), 1, 4, 1, 6) == [5, 0, 5, 5]
    # to 7 by fives, above by threes: 9 is 2 steps of 5 and 1 of 3
    assert step(rule(Tier(7, F(1), step=5), Tier(None, F(2), step=3)), state(), 9) == 10 + 6


def test_of_volume_tiers_the_one_that_is_reached_prices_everything() -> None:
    volume = rule(Tier(10, F(5)), Tier(20, F(4), F(7)), Tier(None, F(1)), volume=True)
    # 10 at 5 = 50; 11 at 4 and the fee of 7 = 51; 20 at 4 + 7 = 87; 21 at 1 = 21
    assert steps(volume, 10, 1, 9, 1) == [50, 1, 36, -66]
    assert step_of(volume, state(10), 1).items == (
        Piece(-10, 0, 10, F(5)),
        Piece(11, 10, 20, F(4)),
        Extra("fee of the tier above 10", F(7)),
    )


def test_a_volume_tier_may_be_chosen_by_another_quantity() -> None:
    assert step(rule(Tier(10, F(5)), Tier(None, F(4)), volume=True, scope="event"), state(), 8, tier_quantity=30) == 32


def test_the_first_units_are_free() -> None:
    free = flat(3, free=Free(units=10))
    assert steps(free, 8, 5, 1) == [0, 9, 3]
    taken = step_of(free, state(8), 5)
    assert (taken.billable_before, taken.billable_after, taken.allowance) == (0, 3, False)


@pytest.mark.parametrize(("mode", "expected"), [("up", 10), ("down", 5), ("half_up", 10)])
def test_a_quantity_is_rounded_to_its_step(mode: str, expected: int) -> None:
    assert rounded(8, Rounding(5, mode)) == expected
    assert rounded(10, Rounding(5, mode)) == 10


def test_half_a_step_is_rounded_up() -> None:
    assert (rounded(15, Rounding(10, "half_up")), rounded(14, Rounding(10, "half_up"))) == (20, 10)


def test_the_cumulated_quantity_is_rounded_before_or_after_the_allowance() -> None:
    # 12 used, 5 free, steps of 10: 7 -> 10; or 20 less 5
    assert steps(flat(1, rounding=Rounding(10, "up"), free=Free(units=5)), 12, 3, 1) == [10, 0, 10]
    assert steps(flat(1, rounding=Rounding(10, "up"), free=Free(units=5, after_rounding=True)), 12, 8, 1) == [15, 0, 10]


def test_single_uses_are_rounded_before_they_are_counted() -> None:
    assert counted(flat(1, rounding=Rounding(10, "up", event=True)), 12) == 20
    assert counted(flat(1, rounding=Rounding(10, "up")), 12) == 12


def test_each_use_has_a_fee_and_bounds() -> None:
    # 2.9 % of an amount and a fee of 30, at least 50, at most 500
    each = flat(0, each=Each(F(30), F(50), F(500)))
    percent = rule(Tier(None, F(29, 1000)), each=Each(F(30), F(50), F(500)))
    assert step(each, state(), 1) == 50
    assert steps(percent, 10_000, 100, 100_000) == [320, 50, 500]
    assert step_of(percent, state(), 100_000).items == (
        Piece(100_000, 0, None, F(29, 1000)),
        Extra("fee of the use", F(30)),
        Extra("lowered to the most of a use", F(500 - 2930)),
    )


def test_free_uses_end_with_their_number_or_with_the_units_whichever_is_first() -> None:
    free = flat(2, free=Free(units=100, events=3), each=Each(F(10)))
    assert steps(free, 50, 50, 50) == [0, 0, 110]  # units are gone: 50 at 2 and the fee
    assert steps(free, 10, 10, 10, 10) == [0, 0, 0, 30]  # uses are gone
    assert steps(free, 90, 20) == [0, 30]  # 10 of the 20 are still free
    assert steps(flat(2, free=Free(events=1)), 10, 10) == [0, 20]


def test_the_use_that_takes_the_last_free_unit_pays_its_fee_where_that_is_said() -> None:
    assert steps(flat(2, free=Free(units=100, reached=True), each=Each(F(10))), 60, 40) == [0, 10]


def test_a_connect_fee_is_due_with_the_first_use_of_something() -> None:
    assert steps(flat(2, connect=F(40)), 0, 5, 5) == [0, 50, 10]


def test_started_steps_go_on_into_the_next_tier() -> None:
    # the first 60 by 60 at 1, then by 6 at 2: after 50 used 60 are paid for; 55..60 cost nothing; 61 starts a step of 6
    walk = rule(Tier(60, F(1), step=60), Tier(None, F(2), step=6), carry=True)
    assert steps(walk, 50, 5, 6, 10) == [60, 0, 12, 12]
    # steps of 40 in a tier to 60: 2 steps reach 80, so that the next tier begins at 80
    assert steps(rule(Tier(60, F(1), step=40), Tier(None, F(2)), carry=True), 70, 20) == [80, 20]
    assert step_of(walk, state(55, over=5), 6).over == 5


def test_a_price_may_come_with_the_use() -> None:
    asked = PriceFrom("event", "price", at_least=F(0), at_most=F(100), unit=F(1))
    assert step(flat(7, price_from=asked), state(), 4, unit_price=F(5, 2)) == 10
    # up to 6 at the price that came, free beyond it: of 4 more after 3 only 3 cost
    ends = PriceFrom("event", "price", at_least=F(0), at_most=F(100), unit=F(1), up_to=6)
    assert step(flat(7, price_from=ends), state(3), 4, unit_price=F(5, 2)) == F(15, 2)
    assert step(flat(7, price_from=asked), state(), 4) == 28  # none came: the rule's own price


def test_what_is_above_a_commitment_is_multiplied() -> None:
    # commitment of 100, then double: an exact total of 130 costs 160
    over = flat(1, overage=Overage(F(100), F(2)))
    assert (due_of(over, F(100)), due_of(over, F(130))) == (100, 160)
    assert amount_of(over, F(130), 90) == 70


def test_a_cap_holds_and_an_events_minimum_is_raised_to_at_once() -> None:
    assert due_of(flat(1, cap_nanos=20), F(31)) == 20
    assert due_of(flat(1, minimum_nanos=5, scope="event"), F(2)) == 5
    assert due_of(flat(1, minimum_nanos=5), F(2)) == 2  # of a month it falls due at the end


def test_money_is_given_back_only_where_the_price_may_fall() -> None:
    assert amount_of(flat(1, falling=True), F(21), 87) == -66
    assert amount_of(flat(1), F(21), 87) == 0


def test_a_later_piece_of_a_use_is_no_further_use() -> None:
    free = flat(2, free=Free(events=1))
    assert step(free, state(10, uses=1), 5, first=False) == 0
    assert step(free, state(10, uses=1), 5) == 10
