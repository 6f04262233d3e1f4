"""Who gets what of a charge: caps, what is beyond them, waterfalls, writers, amounts below zero."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nanotally.streams.domain.keys import Interner
from nanotally.streams.domain.parties import Parties, places_of
from nanotally.streams.domain.resolving import PlainSplit
from nanotally.streams.domain.splitting import BASE_LIMIT, Splits, divide_one, fields_of, resolve, split_key
from nanotally.streams.domain.tariff import Party, Split

TENTH, QUARTER = Fraction(1, 10), Fraction(1, 4)


def resolved(*parties: Party, **values: str) -> Parties:
    return resolve(Split("s", parties), values)


def given_to(parties: Parties, base: int, amount: int) -> dict[str, int]:
    divided = divide_one(parties, base, amount)
    assert [account for account, _ in divided] == [account for account, _ in places_of(parties)]
    return dict(divided)


def divided(parties: Parties, *amounts: int) -> list[list[int]]:
    """The amounts divided one after the other, by column and one by one."""
    splits = Splits(Interner())
    number = splits.number("USD", parties)
    paid = np.array(amounts, dtype=np.int64)
    out = splits.divide(np.full(len(amounts), number), paid)
    base, expected = 0, []
    for row, amount in enumerate(amounts):
        assert out.base_before[row] == base
        expected.append([nanos for _, nanos in divide_one(parties, base, amount)])
        base += amount
    assert out.nanos.tolist() == expected and splits.base[number] == base
    return expected


NAMES = st.sampled_from(["", "a", "b", "platform", "creator:a", 'é"\\\n\x01\u2028😀', "a:b", "{b}"])
ACCOUNTS = st.sampled_from(
    [
        "platform",
        "creator",
        "party:a",
        "party:{item.label}",
        "party:{region}-{item.label}",
        "party:x{region}y",
        "{region}",
    ]
)


@given(
    st.lists(st.tuples(ACCOUNTS, st.integers(0, 9)), max_size=4),
    ACCOUNTS,
    st.integers(0, 4),
    st.lists(st.fixed_dictionaries({n: st.none() | NAMES for n in ("creator", "region", "item.label")}), max_size=9),
    st.lists(st.integers(0, 8), max_size=3),
)
def test_splits_resolved_together_are_those_resolved_alone(
    named: list[tuple[str, int]], rest: str, at: int, uses: list[dict[str, str | None]], before: list[int]
) -> None:
    parties = [Party(account, Fraction(n, 40 + n)) for account, n in named]
    parties.insert(min(at, len(parties)), Party(rest, None))
    split = Split("s", tuple(parties))
    plain, splits, alone = PlainSplit(split), Splits(Interner()), Splits(Interner())
    high, low = (np.array([word], dtype=np.uint64) for word in split_key("USD", resolve(split, {})))
    splits.put(high, low, np.array([77]))
    made = plain.resolve(len(uses), [[use[f] for use in uses] for f in plain.fields])
    expected = [resolve(split, use) for use in uses]
    assert [m.parties() for m in made] == expected
    for row in before:  # some were there already
        if row < len(uses):
            splits.number("USD", expected[row])
    numbers = splits._number_all("USD", made).tolist()
    for parties_of_use, number in zip(expected, numbers, strict=True):
        assert splits.number("USD", parties_of_use) == number and splits.parties[number] == parties_of_use
        other = alone.number("USD", parties_of_use)
        assert (splits.key_high[number], splits.key_low[number]) == split_key("USD", parties_of_use)
        assert splits.base[number] == 77 * (parties_of_use == resolve(split, {}))
        k = splits.count[number]
        assert (k, splits.period[number]) == (alone.count[other], alone.period[other]) and not splits.singly[number]
        assert splits.accounts.text(splits.account[number, :k]) == alone.accounts.text(alone.account[other, :k])
        assert (splits.num[number, :k] == alone.num[other, :k]).all()
        assert (splits.den[number, :k] == alone.den[other, :k]).all()
    assert len(splits.parties) == len(
        set(numbers) | {splits.number("USD", expected[r]) for r in before if r < len(uses)}
    )


def test_a_cap_leaves_what_is_beyond_to_the_rest() -> None:
    parties = resolved(Party("party:fee", TENTH, cap_nanos=5), Party("creator", None), creator="ana")
    assert given_to(parties, 0, 40) == {"party:fee": 4, "creator:ana": 36}
    assert given_to(parties, 40, 100) == {"party:fee": 5, "creator:ana": 95}


def test_what_is_beyond_a_cap_may_go_to_somebody_else() -> None:
    fee = Party("party:fee", TENTH, cap_nanos=5, overflow="party:fund")
    parties = resolved(fee, Party("creator", None), creator="ana")
    assert given_to(parties, 0, 100) == {"party:fee": 5, "party:fund": 5, "creator:ana": 90}
    assert given_to(parties, 0, 10) == {"party:fee": 1, "party:fund": 0, "creator:ana": 9}
    assert places_of(parties) == (
        ("party:fee", TENTH),
        ("party:fund", Fraction(0)),
        ("creator:ana", Fraction(9, 10)),
    )


def test_a_waterfall_fills_one_party_after_the_other() -> None:
    def first(account: str, nanos: int) -> Party:
        return Party(account, Fraction(1), cap_nanos=nanos, of_left=True)

    parties = resolved(first("party:a", 10), first("party:b", 5), Party("platform", None))
    assert places_of(parties) == (("party:a", Fraction(1)), ("party:b", Fraction(1)), ("platform", Fraction(1)))
    assert given_to(parties, 0, 8) == {"party:a": 8, "party:b": 0, "platform": 0}
    assert given_to(parties, 8, 12) == {"party:a": 10, "party:b": 2, "platform": 0}
    assert given_to(parties, 20, 40) == {"party:a": 10, "party:b": 5, "platform": 25}


def test_a_party_takes_of_what_the_ones_before_it_left() -> None:
    half = Party("party:half", Fraction(1, 2))
    parties = resolved(half, Party("party:b", Fraction(1), cap_nanos=30, of_left=True), Party("platform", None))
    assert given_to(parties, 0, 41) == {"party:half": 20, "party:b": 21, "platform": 0}


def test_equal_accounts_get_one_share_where_there_are_caps_too() -> None:
    parties = resolved(Party("creator", TENTH, cap_nanos=5), Party("party:fee", QUARTER), Party("platform", None))
    assert given_to(parties, 0, 100) == {"party:fee": 25, "platform": 75}
    fee = Party("party:fee", TENTH, cap_nanos=5, overflow="party:{item.label}")
    beside = resolved(fee, Party("party:blue", QUARTER), Party("platform", None), **{"item.label": "blue"})
    assert given_to(beside, 0, 100) == {"party:fee": 5, "party:blue": 30, "platform": 65}


def test_all_that_names_accounts_decides_who_the_parties_are() -> None:
    fee = Party("party:fee", TENTH, cap_nanos=5, overflow="party:{item.label}")
    assert fields_of(Split("s", (fee, Party("creator", None)))) == ("item.label", "creator")


def test_the_writers_of_an_item_divide_what_its_creator_gets() -> None:
    split = Split("s", (Party("platform", TENTH), Party("creator", None)))
    writers = (("ana", Fraction(2, 3)), ("ben", Fraction(1, 3)))
    parties = resolve(split, {"creator": "label"}, writers)
    assert parties == (
        Party("creator:ana", Fraction(3, 5)),
        Party("platform", TENTH),
        Party("creator:ben", Fraction(3, 10)),
    )
    assert given_to(parties, 0, 101) == {"creator:ana": 60, "platform": 10, "creator:ben": 31}


def test_the_writers_of_an_item_divide_its_creators_cap() -> None:
    split = Split("s", (Party("creator", Fraction(1, 2), cap_nanos=9), Party("platform", None)))
    parties = resolve(split, {}, (("ana", Fraction(2, 3)), ("ben", Fraction(1, 3))))
    assert given_to(parties, 0, 60) == {"creator:ana": 6, "creator:ben": 3, "platform": 51}


def test_parts_of_an_amount_below_zero_sum_to_it() -> None:
    # 5:3 of -5 is -3.125 and -1.875: floor(-3.125) = -4
    parties = resolved(Party("party:a", Fraction(5, 8)), Party("party:b", None))
    assert given_to(parties, 0, -5) == {"party:a": -4, "party:b": -1}
    assert given_to(parties, 8, -5) == {"party:a": -4, "party:b": -1} and given_to(parties, 5, -5)["party:a"] == -3


def test_what_is_given_back_takes_back_the_same_shares() -> None:
    parties = resolved(Party("party:a", Fraction(1, 3)), Party("party:b", None))
    assert divided(parties, 7, -7, -4, 4) == [[2, 5], [-2, -5], [-2, -2], [2, 2]]


def test_amounts_of_any_size_are_divided_exactly() -> None:
    parties = resolved(Party("party:a", Fraction(1, 3)), Party("party:b", None))
    huge = 10**40
    assert given_to(parties, 2, huge) == {"party:a": (huge + 2) // 3, "party:b": huge - (huge + 2) // 3}


def test_a_base_beyond_its_limit_begins_again_where_it_divides_alike() -> None:
    splits = Splits(Interner())
    number = splits.number("USD", resolved(Party("party:a", Fraction(1, 3)), Party("party:b", None)))
    splits.base[number] = -BASE_LIMIT - 1
    # -2^61 - 1 leaves 0 when divided by 3
    assert splits.take(number, 5) == (0, [1, 4]) and splits.base[number] == 5


def test_splits_with_caps_are_divided_beside_those_without() -> None:
    splits = Splits(Interner())
    plain = splits.number("USD", resolved(Party("party:a", Fraction(1, 3)), Party("party:b", None)))
    capped = splits.number("USD", resolved(Party("party:a", Fraction(1, 2), cap_nanos=1), Party("party:b", None)))
    out = splits.divide(np.array([plain, capped, plain, capped]), np.array([2, 10, 2, 10]))
    assert out.nanos.tolist() == [[0, 2], [1, 9], [1, 1], [1, 9]] and out.base_before.tolist() == [0, 0, 2, 10]


def test_caps_make_another_split_of_the_same_fractions() -> None:
    parties = (
        resolved(Party("party:a", TENTH), Party("platform", None)),
        resolved(Party("party:a", TENTH, cap_nanos=5), Party("platform", None)),
        resolved(Party("party:a", TENTH, cap_nanos=6), Party("platform", None)),
        resolved(Party("party:a", TENTH, cap_nanos=5, overflow="party:b"), Party("platform", None)),
        resolved(Party("party:a", Fraction(1), cap_nanos=5, of_left=True), Party("platform", None)),
    )
    assert len({split_key("USD", each) for each in parties}) == len(parties)


@st.composite
def splits_of(draw: st.DrawFn) -> Parties:
    fractions = draw(st.lists(st.fractions(0, Fraction(1, 4), max_denominator=9), min_size=1, max_size=4))
    parties = []
    for place, fraction in enumerate(fractions):
        account = draw(st.sampled_from(["party:a", "party:b", "platform", f"party:{place}"]))
        cap = draw(st.none() | st.integers(0, 20))
        over = draw(st.sampled_from([None, "party:a", "party:z"])) if cap is not None else None
        left = draw(st.booleans()) if cap is not None else False
        parties.append(Party(account, Fraction(1) if left else fraction, cap, over, left))
    return resolve(Split("s", (*parties, Party("platform", None))), {})


@settings(max_examples=200, deadline=None)
@given(splits_of(), st.lists(st.integers(-100, 100) | st.integers(-(2**61), 2**61), max_size=8))
def test_shares_sum_to_the_amount_in_columns_and_one_by_one(parties: Parties, amounts: list[int]) -> None:
    if sum(abs(amount) for amount in amounts) < BASE_LIMIT:
        assert [sum(shares) for shares in divided(parties, *amounts)] == amounts
