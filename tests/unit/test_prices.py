"""Every price function in hand-worked values: use by use, and the same uses as columns at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from nanotally.streams.domain import exact
from nanotally.streams.domain.keys import group_codes
from nanotally.streams.domain.prices import Price
from nanotally.streams.domain.rated import REFUSALS, UNUSABLE, Rated
from nanotally.streams.domain.rating import Asked, rate, rate_mixed
from nanotally.streams.domain.scopes import ScopeRows
from nanotally.streams.domain.tariff import Rule, Tier
from nanotally.streams.domain.terms import Each, Free, Overage, PriceFrom, Rounding
from nanotally.streams.errors import BrokenInvariant


def tier(up_to: int | None, price: str, fee: str = "0", step: int | None = None) -> Tier:
    return Tier(up_to, Fraction(price), Fraction(fee), step)


def price(*tiers: Tier, **more: Any) -> Price:
    """Nanos per unit; one scope for life unless told."""
    return Price(Rule("r", "page", (), tiers, (), **({"scope": "life", "split": "s"} | more)))


def rated(of: Price | Sequence[Price], *quantities: int, first: Sequence[bool] | None = None, **asked: Any) -> Rated:
    """Uses of one scope, as columns and one by one, which must say the same."""
    n = len(quantities)
    begun = None if first is None else np.array(first, dtype=bool)
    wanted = Asked(np.array(quantities, dtype=np.int64), begun, **asked)
    groups, prices = group_codes(np.zeros(n, dtype=np.int64)), [of] * n if isinstance(of, Price) else list(of)
    before = ScopeRows.new(1, prices[0].den)
    by_columns = rate_mixed(prices, groups, before, wanted)
    by_one = exact.rate(prices, groups, before, wanted)
    for name, column in vars(by_one).items():
        assert getattr(by_columns, name).tolist() == column.tolist(), name
    return by_columns


def amounts(of: Price | Sequence[Price], *quantities: int, **asked: Any) -> list[int]:
    """Nanos charged for each use."""
    return [int(amount) for amount in rated(of, *quantities, **asked).amount]


def refusals(found: Rated) -> list[str]:
    return [REFUSALS.get(code, "") for code in found.refusal.tolist()]


# ---- tiers ----

# up to 10 units 5 each, to 20 3 each, then 1 each
LADDER = (tier(10, "5"), tier(20, "3"), tier(None, "1"))


def test_graduated_tiers_charge_each_unit_in_its_tier() -> None:
    assert amounts(price(*LADDER), 10, 1, 12) == [50, 3, 27 + 3]


def test_the_fee_of_a_tier_is_due_once_when_it_is_entered() -> None:
    fees = price(tier(10, "5", fee="100"), tier(20, "3", fee="50"), tier(None, "1"))
    assert amounts(fees, 0, 1, 9, 0, 1, 20) == [0, 105, 45, 0, 53, 27 + 11]


def test_the_first_fee_may_be_due_without_any_quantity() -> None:
    fees = price(tier(10, "5", fee="100"), tier(None, "3", fee="50"), zero_fee=True)
    assert amounts(fees, 0, 0, 11) == [100, 0, 50 + 50 + 3]


def test_started_steps_are_charged_whole_in_each_tier() -> None:
    # 1..10 by started 4 units of 2 each: 8, 16, 24; then by started 5 units of 1 each
    steps = price(tier(10, "2", step=4), tier(None, "1", step=5))
    assert amounts(steps, 1, 3, 1, 5, 1, 4, 1) == [8, 0, 8, 8, 5, 0, 5]


def test_with_carry_a_started_step_eats_into_the_next_tier() -> None:
    # the third step of 4 reaches 12, two units beyond its tier: the next tier's steps begin at 12
    steps = price(tier(10, "2", step=4), tier(None, "1", step=5), carry=True)
    found = rated(steps, 10, 2, 1, 5)
    assert found.amount.tolist() == [24, 0, 5, 5]
    assert found.over_after.tolist() == [2, 0, 4, 4] and found.over_before.tolist() == [0, 2, 0, 4]


def test_a_step_may_carry_over_whole_tiers() -> None:
    steps = price(tier(10, "2", step=35), tier(20, "7"), tier(30, "9"), tier(None, "1"), carry=True)
    assert amounts(steps, 1, 34, 1) == [70, 0, 1]


def test_variants_that_carry_go_on_where_the_other_ones_step_ended() -> None:
    # a minute of 60 at peak covers the first 10 s off peak; then one more of 30
    peak = price(tier(None, "2", step=60), carry=True, variant="peak")
    night = price(tier(None, "1", step=30), carry=True, variant="night")
    found = rated([peak, night, night, peak], 50, 10, 25, 40)
    assert found.amount.tolist() == [120, 0, 30, 120]
    assert found.over_after.tolist() == [10, 0, 5, 25]


def test_what_another_variant_paid_ahead_counts_for_the_next_chunk_too() -> None:
    # 50 used of a minute of 60 that is paid for; the next use of 10 is covered, 25 more are one step of 30
    night = price(tier(None, "1", step=30), carry=True)
    values = {name: np.array([0]) for name in vars(ScopeRows.new(1, 1))}
    before = ScopeRows(**(values | {"quantity": np.array([50]), "over": np.array([10]), "den": np.array([1])}))
    found = rate(night, group_codes(np.zeros(2, dtype=np.int64)), before, Asked(np.array([10, 25])))
    assert (found.amount.tolist(), found.over_before.tolist()) == ([0, 30], [10, 0])


def test_a_volume_price_is_that_of_the_tier_reached_for_all_units() -> None:
    volume = price(tier(10, "5", fee="7"), tier(None, "6"), volume=True)
    assert amounts(volume, 0, 10, 1) == [0, 57, 9]


def test_a_volume_that_falls_gives_money_back_only_where_the_rule_says_so() -> None:
    tiers = tier(10, "5"), tier(None, "3")
    assert amounts(price(*tiers, volume=True, falling=True), 10, 1, 9) == [50, -17, 27]
    assert amounts(price(*tiers, volume=True), 10, 1, 9) == [50, 0, 10]


def test_a_volume_with_steps_rounds_all_units_up() -> None:
    assert amounts(price(tier(10, "5", step=4), tier(None, "3", step=20), volume=True), 1, 9) == [20, 40]


def test_the_tier_may_be_chosen_by_another_quantity() -> None:
    # 5 units of which the full month had 25: the second tier's price and fee
    prorated = price(tier(10, "5", fee="1"), tier(None, "3", fee="2"), volume=True, tier_by="full", scope="event")
    assert amounts(prorated, 5, tier_quantity=[25]) == [17] and amounts(prorated, 5, tier_quantity=[None]) == [26]
    assert amounts(prorated, 5, tier_quantity=[10]) == [26]


# ---- quantities ----


def test_free_units_come_off_before_the_tiers() -> None:
    assert amounts(price(*LADDER, free=Free(5)), 4, 6, 6) == [0, 25, 25 + 3]


def test_a_scope_is_rounded_as_a_whole_and_single_uses_where_told() -> None:
    whole = price(tier(None, "1"), rounding=Rounding(10, "up"))
    single = price(tier(None, "1"), rounding=Rounding(10, "up", event=True))
    assert amounts(whole, 3, 3, 5) == [10, 0, 10]
    found = rated(single, 3, 3, 5)
    assert (found.amount.tolist(), found.counted.tolist()) == ([10, 10, 10], [10, 10, 10])
    assert found.quantity_before.tolist() == [0, 10, 20]


@pytest.mark.parametrize(
    ("mode", "expected"), [("up", [10, 10, 10, 20]), ("down", [0, 0, 0, 10]), ("half_up", [0, 10, 10, 10])]
)
def test_quantities_are_rounded_up_down_or_to_the_nearer(mode: str, expected: list[int]) -> None:
    single = price(tier(None, "1"), rounding=Rounding(10, mode, event=True))
    assert rated(single, 4, 5, 6, 14).counted.tolist() == expected


def test_an_allowance_after_rounding_is_taken_off_the_rounded_quantity() -> None:
    # 21 units are 30; 15 of them are free either before or after
    before = price(tier(None, "1"), free=Free(15), rounding=Rounding(10, "up"))
    after = price(tier(None, "1"), free=Free(15, after_rounding=True), rounding=Rounding(10, "up"))
    assert (amounts(before, 21), amounts(after, 21)) == ([10], [15])


# ---- single uses ----


def test_each_use_may_cost_a_fee_and_has_bounds() -> None:
    each = price(tier(None, "1/10"), each=Each(Fraction(30), Fraction(35), Fraction(60)))
    assert amounts(each, 0, 20, 100, 1000) == [35, 35, 40, 60]


def test_an_allowance_of_uses_ends_with_its_number_whatever_they_use() -> None:
    assert amounts(price(tier(None, "2"), free=Free(events=2)), 50, 1, 3) == [0, 0, 6]


def test_an_allowance_of_units_and_uses_ends_with_the_first_that_is_used_up() -> None:
    both = price(tier(None, "2"), free=Free(10, 3))
    assert amounts(both, 4, 4, 4, 4) == [0, 0, 4, 8]
    assert amounts(both, 1, 1, 1, 1) == [0, 0, 0, 2]


def test_a_use_that_is_wholly_free_costs_no_fee_unless_it_takes_the_last_unit() -> None:
    each = Each(Fraction(30), Fraction(1))
    assert amounts(price(tier(None, "2"), free=Free(10), each=each), 4, 6, 1) == [0, 0, 32]
    assert amounts(price(tier(None, "2"), free=Free(10, reached=True), each=each), 4, 6, 1) == [0, 30, 32]


def test_the_pieces_of_a_use_are_one_use() -> None:
    pieces = price(tier(None, "2"), free=Free(events=2))
    found = rated(pieces, 5, 5, 5, 5, 5, first=[True, False, True, False, True])
    assert found.amount.tolist() == [0, 0, 0, 0, 10]
    assert found.uses_before.tolist() == [0, 1, 1, 2, 2]


# ---- what is added to a scope, and what limits it ----


def test_connecting_costs_once_with_the_first_quantity() -> None:
    assert amounts(price(tier(None, "2"), connect=Fraction(100)), 0, 1, 1) == [0, 102, 2]


def test_above_a_commitment_the_excess_is_multiplied() -> None:
    over = price(tier(None, "10"), overage=Overage(Fraction(25), Fraction(3, 2)))
    # exact 20, 30, 40 are worth 20, 25 + 7.5, 25 + 22.5
    assert amounts(over, 2, 1, 1) == [20, 12, 15]


def test_a_cap_bounds_what_the_excess_comes_to() -> None:
    over = price(tier(None, "10"), overage=Overage(Fraction(25), Fraction(2)), cap_nanos=40)
    assert amounts(over, 2, 1, 1, 5) == [20, 15, 5, 0]


def test_a_single_use_costs_its_minimum_at_once_and_other_scopes_wait_for_their_end() -> None:
    assert amounts(price(tier(None, "1"), minimum_nanos=7, scope="event"), 3) == [7]
    assert amounts(price(tier(None, "1"), minimum_nanos=7), 3, 3) == [3, 3]


# ---- prices that come with the use ----

# from 0.001 to 0.01 of a currency unit of 10^9 nanos
OWN = PriceFrom("event", "price", Fraction(10**6), Fraction(10**7), Fraction(10**9))


def test_a_price_of_its_own_counts_within_its_bounds_and_else_the_use_is_refused() -> None:
    came = [Fraction(1, 500), Fraction(1, 100), Fraction(11, 1000), UNUSABLE, None, Fraction(1, 999)]
    found = rated(price(price_from=OWN), *[2] * 6, unit_price=came)
    assert refusals(found) == ["", "", "price", "price", "price", "price"]
    assert found.amount.tolist() == [4_000_000, 20_000_000, 0, 0, 0, 0]


def test_a_use_without_a_price_of_its_own_costs_what_the_rule_says() -> None:
    own = price(tier(None, "7"), price_from=OWN, free=Free(3))
    assert amounts(own, 5, 1, unit_price=[None, Fraction(1, 500)]) == [14, 2_000_000] and amounts(own, 4) == [7]


def test_beyond_what_a_scope_is_charged_for_a_price_of_its_own_is_for_nothing_too() -> None:
    once = price(price_from=replace(OWN, up_to=3))
    found = rated(once, 2, 2, 1, unit_price=[Fraction(1, 500), Fraction(1, 100), Fraction(1, 100)])
    assert found.amount.tolist() == [4_000_000, 10_000_000, 0]
    beside = price(tier(3, "7"), tier(None, "0"), price_from=replace(OWN, up_to=3))
    assert amounts(beside, 2, 2, 2, unit_price=[None, Fraction(1, 500), None]) == [14, 2_000_000, 0]


# ---- refusals ----


def test_above_the_limit_a_use_is_refused_and_the_next_may_fit() -> None:
    found = rated(price(tier(None, "2"), limit=10), 6, 5, 4, 1)
    assert refusals(found) == ["", "limit", "", "limit"] and found.amount.tolist() == [12, 0, 8, 0]


def test_a_refusing_rule_refuses_all() -> None:
    assert refusals(rated(price(refuse=True), 1, 0)) == ["price", "price"]


def test_a_max_price_is_compared_with_the_exact_rise_under_the_cap() -> None:
    thirds = price(tier(None, "4/3"), cap_nanos=3)
    found = rated(thirds, 1, 1, 1, 1, max_price=[Fraction(4, 3), Fraction(1), Fraction(4, 3), Fraction(1)])
    # 4/3 is too much the second time; the last one asks for 4/3 too, but the cap leaves 1
    assert refusals(found) == ["", "max_price", "", ""] and found.amount.tolist() == [1, 0, 1, 1]


def test_nothing_wraps() -> None:
    huge = price(tier(None, "4000000000000000/7"))
    found = rated(huge, 7_000, 10**15, 7)
    assert refusals(found) == ["", "out_of_range", ""]
    assert found.amount.tolist() == [4 * 10**18, 0, 4 * 10**15]
    own = price(price_from=PriceFrom("event", "price", Fraction(0), Fraction(10**18), Fraction(10**9)))
    assert refusals(rated(own, 10**3, 10**4, unit_price=[Fraction(4 * 10**6)] * 2)) == ["", "out_of_range"]
    limited = price(tier(None, "1"), limit=10**15 + 5)
    assert refusals(rated(limited, 10**15, 10**15, 5, 1)) == ["", "limit", "", "limit"]
    over = price(tier(None, "1"), overage=Overage(Fraction(0), Fraction(10**4)))
    assert refusals(rated(over, 10**14, 10**15)) == ["", "out_of_range"]


def test_a_use_beyond_all_measure_leaves_the_columns_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    singly: list[int] = []
    sound = exact.rate

    def counted(prices: Sequence[Price], *rest: Any) -> Rated:
        singly.append(len(prices))
        return sound(prices, *rest)

    monkeypatch.setattr(exact, "rate", counted)
    dear = price(tier(None, "5000000"))
    groups = group_codes(np.array([0, 1, 0, 2]))
    found = rate(dear, groups, ScopeRows.new(3, 1), Asked(np.array([1, 10**15, 2, 3])))
    assert refusals(found) == ["", "out_of_range", "", ""] and singly == [1]
    assert found.amount.tolist() == [5_000_000, 0, 10_000_000, 15_000_000]


def test_only_scopes_with_a_use_above_its_max_price_are_rated_singly(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Rated:
        raise AssertionError("rated singly")

    monkeypatch.setattr(exact, "rate", never)
    # exact steps of 4/3: at most 4/3 is just met, which whole nanos do not tell
    limits = [Fraction(4, 3), Fraction(100), None, Fraction(4, 3)]
    found = rate(
        price(tier(None, "4/3")), group_codes(np.zeros(4, dtype=np.int64)), ScopeRows.new(1, 3),
        Asked(np.ones(4, dtype=np.int64), max_price=limits),
    )  # fmt: skip
    assert found.amount.tolist() == [1, 1, 2, 1]


# ---- prices that meet in a scope ----


def test_variants_share_quantity_uses_and_total_of_their_scope() -> None:
    cheap, dear = price(*LADDER, variant="a"), price(tier(None, "10"), variant="b", cap_nanos=80)
    found = rated([cheap, dear, cheap, dear], 8, 2, 2, 1)
    # 40; 20 up to 60; two units of the second tier; 10 more of which the cap leaves 80 - 66
    assert found.amount.tolist() == [40, 20, 6, 10]
    assert found.quantity_before.tolist() == [0, 8, 10, 12] and found.uses_before.tolist() == [0, 1, 2, 3]


def test_denominators_that_meet_are_brought_together_from_then_on() -> None:
    half, third = price(tier(None, "1/2")), price(tier(None, "1/3"))
    found = rated([half, third, third, half], 1, 1, 1, 1)
    assert found.remainder_den.tolist() == [2, 6, 6, 6] and found.amount.tolist() == [0, 0, 1, 0]
    assert found.remainder_before.tolist() == [0, 3, 5, 1]


def test_the_order_of_capped_variants_decides_what_is_charged() -> None:
    capped, open_ended = price(tier(None, "10"), cap_nanos=5), price(tier(None, "10"))
    assert amounts([capped, open_ended, capped], 1, 1, 1) == [5, 15, 0]


def test_a_falling_variant_gives_back_among_others_that_do_not() -> None:
    falling = price(tier(10, "5"), tier(None, "3"), volume=True, falling=True)
    assert amounts([falling, price(tier(None, "1")), falling], 10, 0, 1) == [50, 0, -17]


def test_a_variant_that_carries_is_rated_in_columns_where_it_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    singly: list[int] = []
    sound = exact.rate

    def counted(prices: Sequence[Price], *rest: Any) -> Rated:
        singly.append(len(prices))
        return sound(prices, *rest)

    monkeypatch.setattr(exact, "rate", counted)
    peak, night = price(tier(None, "2", step=60), carry=True), price(tier(None, "1", step=30), carry=True)
    scopes = group_codes(np.array([0, 1, 2, 2, 1, 0]))
    asked = Asked(np.array([50, 50, 50, 20, 20, 20]))
    found = rate_mixed([peak, night, peak, night, night, peak], scopes, ScopeRows.new(3, 1), asked)
    assert found.amount.tolist() == [120, 60, 120, 30, 30, 120] and singly == [2]


def test_a_rule_whose_reader_should_have_refused_it_is_a_broken_invariant() -> None:
    with pytest.raises(BrokenInvariant, match="one price per unit only"):
        price(*LADDER, free=Free(events=1))
    with pytest.raises(BrokenInvariant, match="only the last tier may be open"):
        price(tier(None, "1"), tier(None, "2"))


def test_denominators_without_a_common_one_are_a_broken_invariant() -> None:
    far, near = price(tier(None, f"1/{2**62 - 57}")), price(tier(None, f"1/{2**61 - 1}"))
    with pytest.raises(BrokenInvariant, match="have no common one"):
        amounts([far, near], 1, 1)
    groups = group_codes(np.zeros(1, dtype=np.int64))
    with pytest.raises(BrokenInvariant, match="have no common one"):
        rate(near, groups, ScopeRows.new(1, far.den), Asked(np.ones(1, dtype=np.int64)))
