"""Charges of several lines, refusals and prices that come with a use, worked out by hand and then by fractions."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from fractions import Fraction
from typing import Any

import pytest

from nanotally.streams import verify_proof
from nanotally.streams.commands.explain_document import document
from nanotally.streams.commands.explain_proof import proof
from nanotally.streams.commands.explain_words import words
from nanotally.streams.domain.catalogs import CatalogItem, CatalogVersion
from nanotally.streams.domain.explaining import Differs, explain
from nanotally.streams.domain.rules import Condition, Party, Pass, Rule, Split
from nanotally.streams.domain.tariff import Meter, TariffVersion
from nanotally.streams.domain.terms import PriceFrom, Tier

F = Fraction
MINUTE = 60_000_000
DAY, NEXT_DAY = 1_700_092_800_000_000, 1_700_179_200_000_000  # 16 and 17 November 2023, UTC
NINE = DAY + 9 * 60 * MINUTE
HALF_PAST_SEVEN_PM = DAY + (19 * 60 + 30) * MINUTE
STANDARD = Split("standard", (Party("platform", F(1, 10)), Party("creator", None)))
PEAK = Condition("occurred_at", "band", ("UTC", "12345", "", "08:00:00", "19:00:00"))


def call(variant: str, price: int, when: tuple[Condition, ...]) -> Rule:
    return Rule(
        "call",
        "call",
        when,
        (Tier(None, F(price)),),
        (),
        "day",
        "standard",
        variant=variant,
        cut=True,
        minimum_nanos=900,
    )


ARTICLE = Rule("article", "page.view", (), (Tier(None, F(5_000_000)),), (), "day", "standard")
BY_SEGMENT = (
    Rule("tutor", "lesson", (Condition("segment", "equals", ("school",)),), (Tier(None, F(2)),), (), "life", "standard",
         variant="segment=school"),
    Rule("tutor", "lesson", (Condition("age", "range", ("18", "")),), (Tier(None, F(20)),), (), "life", "standard",
         variant="age from 18", limit=5),
    Rule("tutor", "lesson", (), (), (), "life", "standard", variant="otherwise", refuse=True),
)  # fmt: skip
TIP = Rule(
    "tip", "tip", (), (), (), "event", "standard",
    price_from=PriceFrom("event", "price", F(10), F(500_000_000), F(1_000_000_000)),
)  # fmt: skip
PLAY = Rule(
    "play", "play", (), (Tier(None, F(1)),), (), "life", "standard",
    price_from=PriceFrom("catalog", "price", F(0), F(10_000_000), F(1_000_000_000)),
)  # fmt: skip
FIFTH_OFF = Rule("day", "nanos", (), (Tier(8_000_000, F(4, 5)), Tier(None, F(0))), (), "day", "")
TARIFF = TariffVersion(
    "media", 3, 0, "USD", "UTC", (),
    (Meter("page.view", "page"), Meter("call", "second"), Meter("lesson", "lesson"), Meter("tip", "tip"),
     Meter("play", "play")),
    (STANDARD,), (ARTICLE, call("peak", 3, (PEAK,)), call("otherwise", 1, ()), *BY_SEGMENT, TIP, PLAY),
    (Pass("day", ("article",), FIFTH_OFF),),
)  # fmt: skip
CALL_V4 = Rule("call", "call", (), (Tier(None, F(7)),), (), "day", "standard", cut=True)
TARIFF_4 = TariffVersion(
    "media", 4, HALF_PAST_SEVEN_PM + 20 * MINUTE, "USD", "UTC", (), (Meter("call", "second"),), (STANDARD,), (CALL_V4,)
)
SONGS = CatalogVersion(
    "songs", 2, 0, (),
    (CatalogItem("song-1", writers=(("ana", F(3, 5)), ("bob", F(2, 5))), price="0.002"),
     CatalogItem("song-2", creator="eve", label="blue")),
)  # fmt: skip


def event(meter: str, quantity: int, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": "e-1",
        "occurred_at": NINE,
        "product": "any",
        "payer": "p",
        "creator": "ana",
        "item": "i",
        "meter": meter,
        "quantity": quantity,
        "scale": 0,
        "session": None,
        "duration_us": None,
        "attributes": {},
    } | fields


def charge(use: dict[str, Any] | None, *lines: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "event": use,
        "usage_partition": 0,
        "usage_offset": 7,
        "n": 0,
        "payer": "p",
        "recorded_at": NINE,
        "booked_at": NINE if use is None else use["occurred_at"],
        "late": False,
        "flags": "",
        "outcome": "charged" if lines else "refused",
        "reason": "",
        "currency": "USD",
        "paid_nanos": sum(line["paid_nanos"] for line in lines),
        "book_number": 0,
        "content_hash": 0,
        "lines": list(lines),
    } | fields


def line(rule: str, quantity: int, total: int, amount: int, **fields: Any) -> dict[str, Any]:
    """A line with a scope of its own, that day's; `total` after, in nanos."""
    return {
        "link": "rule",
        "tariff": "media",
        "version": 3,
        "tariff_hash": TARIFF.content_hash[:16],
        "rule": rule,
        "variant": "",
        "scope": "day",
        "scope_key_high": 0,
        "scope_key_low": 0,
        "scope_start": DAY,
        "scope_end": NEXT_DAY,
        "uses_before": 0,
        "quantity_before": 0,
        "quantity": quantity,
        "over_before": 0,
        "over_after": 0,
        "total_before": 0,
        "remainder_before": 0,
        "total_after": total,
        "remainder_after": 0,
        "remainder_den": 5,
        "charged_before": 0,
        "minimum_nanos": 0,
        "amount_nanos": amount,
        "paid_nanos": amount,
        "pass": None,
        "catalog": "",
        "split": "standard",
        "split_key_high": 0,
        "split_key_low": 0,
        "base_before": 0,
        "shares": [share("platform", F(1, 10), amount // 10), share("creator:ana", F(9, 10), amount - amount // 10)],
    } | fields


def share(account: str, fraction: Fraction, nanos: int) -> dict[str, Any]:
    return {
        "account": account,
        "fraction_num": fraction.numerator,
        "fraction_den": fraction.denominator,
        "nanos": nanos,
    }


def changed(record: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    out = deepcopy(record)
    change(out)
    return out


# ---- a pass ----

# Two pages of 5,000,000 are 10,000,000 by list; 4/5 of the first 8,000,000 is 6,400,000, and then nothing.
UNDER_PASS = charge(
    event("page.view", 2),
    line(
        "article", 2, 10_000_000, 10_000_000, paid_nanos=0, **{"pass": "day"},
        shares=[share("platform", F(1, 10), 0), share("creator:ana", F(9, 10), 0)],
    ),
    line("day", 10_000_000, 6_400_000, 6_400_000, link="pass", split="",
         shares=[share("pool:media/day", F(1), 6_400_000)]),
)  # fmt: skip


def test_what_is_paid_by_a_pass_is_rated_from_the_list_price() -> None:
    explained = explain(UNDER_PASS, TARIFF)
    assert [(x.link, x.amount, x.paid) for x in explained.lines] == [
        ("rule", 10_000_000, 0),
        ("pass", 6_400_000, 6_400_000),
    ]
    text = words(explained)
    assert "0.01 USD list price by pass day; this day (2023-11-16) 0 -> 0.01" in text
    assert "0.008 USD to 0.008    × 80 % of the list price = 6,400,000 nanos" in text
    assert "paid 6,400,000 nanos into pool:media/day, to be shared out when the pass ends" in text


@pytest.mark.parametrize(
    ("place", "change", "said"),
    [
        (0, {"pass": None}, "line 0, pass: worked out again it is day"),
        (0, {"paid_nanos": 1}, "line 0, paid_nanos: worked out again it is 0"),
        (1, {"quantity": 9_000_000}, "list price in nanos.: worked out again it is 10000000"),
        (1, {"rule": "night"}, "line 1, pass: worked out again it is one of day"),
        (1, {"amount_nanos": 6_400_001, "paid_nanos": 6_400_001}, "line 1, amount_nanos"),
        (1, {"shares": [share("pool:media/night", F(1), 6_400_000)]}, "share of pool:media/day"),
    ],
)
def test_another_pass_or_price_by_it_is_found_out(place: int, change: dict[str, Any], said: str) -> None:
    with pytest.raises(Differs, match=said):
        explain(changed(UNDER_PASS, lambda c: c["lines"][place].update(change)), TARIFF)


def test_a_missing_pass_line_is_found_out() -> None:
    with pytest.raises(Differs, match="passes with a line"):
        explain(changed(UNDER_PASS, lambda c: c["lines"].pop() and c.update(paid_nanos=0)), TARIFF)


# ---- what falls due ----


def due(*lines: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return charge(None, *lines, outcome="due", booked_at=NEXT_DAY - 1, **fields)


# A day's calls cost 900 at least and were charged 600: of the other 300, 2/3 are ana's, 1/3 the platform's own.
MINIMUM = due(
    line("call", 0, 0, 200, link="minimum", minimum_nanos=900, charged_before=600, base_before=5,
         shares=[share("platform", F(1, 10), 20), share("creator:ana", F(9, 10), 180)]),
    line("call", 0, 0, 100, link="minimum", minimum_nanos=900, charged_before=600,
         shares=[share("platform", F(1), 100)]),
    reason="minimum",
)  # fmt: skip
# The day pass took in 6,400,000, all for pages of ana.
SHARING = due(
    line("day", 0, 0, 6_400_000, link="sharing", split="", charged_before=6_400_000, paid_nanos=0,
         shares=[share("platform", F(1, 10), 640_000), share("creator:ana", F(9, 10), 5_760_000),
                 share("pool:media/day", F(1), -6_400_000)]),
    reason="pass",
)  # fmt: skip


def test_the_rest_of_a_minimum_falls_due_at_the_end() -> None:
    explained = explain(MINIMUM, TARIFF)
    assert [(x.amount, x.paid) for x in explained.lines] == [(200, 200), (100, 100)]
    assert "rule call costs 0.0000009 USD at least from 2023-11-16T00:00:00Z to 2023-11-17T00:00:00Z" in words(
        explained
    )
    assert document(explained)["lines"][0]["link"] == "minimum"


def test_what_a_pass_took_in_is_shared_out() -> None:
    explained = explain(SHARING, TARIFF)
    assert (explained.paid, [p.nanos for p in explained.lines[0].parts]) == (0, [-6_400_000, 640_000, 5_760_000])
    assert "pass day is over" in words(explained)


@pytest.mark.parametrize(
    ("record", "change", "said"),
    [
        (MINIMUM, {"amount_nanos": 201, "paid_nanos": 201}, "sum of the shares"),
        (MINIMUM, {"charged_before": 601}, "sum of the minimum's lines: worked out again it is 299"),
        (MINIMUM, {"minimum_nanos": 901}, "one with a minimum: call .900 nanos."),
        (MINIMUM, {"scope_end": NEXT_DAY + 1}, "booked_at"),
        (MINIMUM, {"base_before": 9, "shares": [share("platform", F(1, 10), 19), share("creator:ana", F(9, 10), 181)]},
         "share of platform"),
        (SHARING, {"charged_before": 6_400_001}, "sum of what is shared out"),
        (SHARING, {"paid_nanos": 1}, "paid_nanos"),
        (SHARING, {"rule": "night"}, "pass: worked out again it is one of day"),
        (SHARING, {"shares": SHARING["lines"][0]["shares"][:2]}, "last share"),
    ],
)  # fmt: skip
def test_another_due_is_found_out(record: dict[str, Any], change: dict[str, Any], said: str) -> None:
    with pytest.raises(Differs, match=said):
        explain(changed(record, lambda c: c["lines"][0].update(change)), TARIFF)


@pytest.mark.parametrize("record", [UNDER_PASS, MINIMUM, SHARING])
def test_their_proofs_hold_and_a_changed_number_shows(record: dict[str, Any]) -> None:
    made = proof(record, explain(record, TARIFF))
    assert verify_proof.verify(made) == []
    made["lines"][-1]["shares"][0]["nanos"] += 1
    assert verify_proof.verify(made)


# ---- a use that is cut ----

# 18:30 to 20:10, 6,001 seconds counted in 100 minutes. 30 minutes at peak: floor(6001 * 30/100) = 1,800 at 3;
# to the new version at 19:50 floor(6001 * 80/100) - 1,800 = 4,800 - 1,800 = 3,000 at 1; then 1,201 at 7.
CALLED = event("call", 6001, occurred_at=HALF_PAST_SEVEN_PM - 60 * MINUTE, duration_us=100 * MINUTE)
CUT = charge(
    CALLED,
    line("call", 1800, 5400, 5400, variant="peak", minimum_nanos=900),
    line("call", 3000, 8400, 3000, variant="otherwise", minimum_nanos=900, uses_before=1, quantity_before=1800,
         total_before=5400, charged_before=5400, base_before=5400),
    line("call", 1201, 8400 + 8407, 8407, uses_before=1, quantity_before=4800, version=4,
         tariff_hash=TARIFF_4.content_hash[:16], total_before=8400, charged_before=8400, base_before=8400,
         shares=[share("platform", F(1, 10), 840), share("creator:ana", F(9, 10), 7567)]),
)  # fmt: skip


def test_a_long_use_is_cut_where_a_band_ends_and_where_a_version_begins() -> None:
    explained = explain(CUT, [TARIFF, TARIFF_4])
    assert [(x.rule.variant, x.quantity, x.version.version) for x in explained.lines] == [
        ("peak", 1800, 3),
        ("otherwise", 3000, 3),
        ("", 1201, 4),
    ]
    assert "3,000 seconds from 2023-11-16T19:00:00Z by rule call (otherwise)" in words(explained)


def test_a_piece_of_another_length_or_a_missing_one_is_found_out() -> None:
    with pytest.raises(Differs, match="line 1, quantity: worked out again it is 3000, the charge has 3001"):
        explain(changed(CUT, lambda c: c["lines"][1].update(quantity=3001)), [TARIFF, TARIFF_4])
    with pytest.raises(Differs, match="number of rule lines: worked out again it is 2, the charge has 1"):
        explain(charge(CALLED, CUT["lines"][0]), TARIFF)


# ---- variants, limits, prices with the use ----


def lesson(variant: str, price: int, **attributes: str) -> dict[str, Any]:
    forever = {"scope": "life", "scope_start": 0, "scope_end": 2**63 - 1}
    return charge(event("lesson", 1, attributes=attributes), line("tutor", 1, price, price, variant=variant, **forever))


def test_the_first_variant_that_holds_is_the_price() -> None:
    assert explain(lesson("segment=school", 2, segment="school", age="30"), TARIFF).paid == 2
    assert explain(lesson("age from 18", 20, age="18.0"), TARIFF).paid == 20
    with pytest.raises(Differs, match="variant: worked out again it is segment=school, the charge has age from 18"):
        explain(lesson("age from 18", 20, segment="school", age="30"), TARIFF)


def test_a_charge_of_what_the_tariff_refuses_is_found_out() -> None:
    with pytest.raises(Differs, match="outcome: worked out again it is refused: the rule refuses"):
        explain(lesson("otherwise", 0, age="17"), TARIFF)
    above = changed(lesson("age from 18", 20, age="18"), lambda c: c["lines"][0].update(quantity_before=5))
    with pytest.raises(Differs, match="refused: above the limit"):
        explain(above, TARIFF)


@pytest.mark.parametrize(
    ("use", "reason", "said"),
    [
        (event("lesson", 1), "price", "rule tutor (otherwise) refuses such uses"),
        (event("lesson", 6, attributes={"age": "20"}), "limit", "rule tutor (age from 18) allows 5 lesson in a life"),
        (event("page.view", 1, attributes={"max_price": "0.001"}), "max_price", "more than the 0.001 USD that the use"),
        (event("tip", 1), "price", "rule tip: the use's price gives no price"),
        (
            event("tip", 1, attributes={"price": "9"}),
            "price",
            "the use's price gives 9, the tariff takes 0.00000001 to",
        ),
        (event("tip", 1, attributes={"price": "much"}), "price", "'much', which is no price with at most 12 decimal"),
    ],
)
def test_why_a_use_was_refused_is_said(use: dict[str, Any], reason: str, said: str) -> None:
    explained = explain(charge(use, reason=reason), TARIFF)
    assert said in explained.said and said in words(explained)
    assert document(explained)["said"] == explained.said


def test_a_price_of_the_use_is_taken_within_its_bounds() -> None:
    each = {"scope": "event"}
    tip = charge(event("tip", 3, attributes={"price": "0.25"}), line("tip", 3, 750_000_000, 750_000_000, **each))
    assert explain(tip, TARIFF).lines[0].unit_price == 250_000_000
    assert "the price comes from the use (price)" in words(explain(tip, TARIFF))


# ---- a catalog ----


def play(item: str, amount: int, shares: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    forever = {"scope": "life", "scope_start": 0, "scope_end": 2**63 - 1, "catalog": "songs v2"}
    use = event("play", 1, item=item, creator=fields.get("creator"))
    return charge(use, line("play", 1, amount, amount, shares=shares, **forever))


def test_an_items_price_and_writers_come_from_its_catalog() -> None:
    # 0.002 USD = 2,000,000: 10 % platform; of the other 90 % 3/5 and 2/5 to the writers
    shares = [
        share("creator:ana", F(27, 50), 1_080_000),
        share("platform", F(1, 10), 200_000),
        share("creator:bob", F(9, 25), 720_000),
    ]
    explained = explain(play("song-1", 2_000_000, shares), TARIFF, [SONGS])
    assert [(p.account, p.nanos) for p in explained.lines[0].parts][-1] == ("creator:bob", 720_000)
    assert "the price comes from catalog songs v2" in words(explained)


def test_an_item_without_a_price_costs_what_the_tariff_says_and_pays_its_creator() -> None:
    shares = [share("platform", F(1, 10), 0), share("creator:eve", F(9, 10), 1)]
    assert explain(play("song-2", 1, shares), TARIFF, [SONGS]).lines[0].parts[-1].account == "creator:eve"
    with pytest.raises(Differs, match="catalog: worked out again it is , the charge has songs v2"):
        explain(play("song-2", 1, shares), TARIFF)


def test_the_creator_of_the_use_goes_before_that_of_the_catalog() -> None:
    shares = [share("platform", F(1, 10), 200_000), share("creator:zoe", F(9, 10), 1_800_000)]
    assert explain(play("song-1", 2_000_000, shares, creator="zoe"), TARIFF, [SONGS]).paid == 2_000_000
