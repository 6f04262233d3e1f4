"""Why a charge is what it is: worked out by hand here, by fractions there; a tampered charge is found out."""

from __future__ import annotations

from copy import deepcopy
from fractions import Fraction
from typing import Any

import pytest

from nanotally.streams.commands.explain_document import document
from nanotally.streams.commands.explain_words import words
from nanotally.streams.domain.explaining import Differs, Piece, charge_name, explain, why_nothing
from nanotally.streams.domain.tariff import Condition, Meter, Party, Rule, Split, TariffVersion, Tier
from nanotally.streams.errors import ExitCode

NOVEMBER, DECEMBER = 1_698_796_800_000_000, 1_701_388_800_000_000  # 2023, UTC
DAY, NEXT_DAY = 1_700_092_800_000_000, 1_700_179_200_000_000  # 16 November 2023
AT = 1_700_160_212_000_000  # 16 November 2023 18:43:32

STANDARD = Split("standard", (Party("platform", Fraction(1, 10)), Party("creator", None)))
MUSIC = Split(
    "music", (Party("platform", Fraction(1, 10)), Party("party:{item.label}", Fraction(3, 20)), Party("creator", None))
)
TOKENS = Rule(
    "tokens-in",
    "token.input",
    (),
    (Tier(10_000_000, Fraction(500)), Tier(1_000_000_000, Fraction(400)), Tier(None, Fraction(250))),
    ("item",),
    "month",
    "standard",
)
ARTICLE = Rule(
    "article",
    "page.view",
    (Condition("product", "equals", ("news",)), Condition("item", "pattern", ("/blog/*",))),
    (Tier(1, Fraction(5_000_000)), Tier(None, Fraction(0))),
    ("item",),
    "day",
    "standard",
    text="0.005 per page",
)
OTHER_PAGES = Rule("other-pages", "page.view", (), (Tier(None, Fraction(1_000_000)),), (), "day", "standard")
SONG = Rule("song", "play", (), (Tier(None, Fraction(20_000, 3)),), ("session",), "life", "music", cap_nanos=4_000_000)
TARIFF = TariffVersion(
    "media-and-ai",
    3,
    0,
    "USD",
    "UTC",
    ("news", "llm", "music"),
    (Meter("page.view", "page"), Meter("token.input", "token"), Meter("play", "second", 3)),
    (STANDARD, MUSIC),
    (TOKENS, ARTICLE, OTHER_PAGES, SONG),
)


def event(**fields: Any) -> dict[str, Any]:
    return {
        "event_id": "e-1",
        "occurred_at": AT,
        "product": "llm",
        "payer": "service:code",
        "creator": "model:azure-code",
        "item": "code",
        "meter": "token.input",
        "quantity": 758,
        "scale": 0,
        "session": None,
        "duration_us": None,
        "attributes": {},
    } | fields


def charge(line: dict[str, Any], use: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "event": use,
        "usage_partition": 2,
        "usage_offset": 1047,
        "n": 0,
        "payer": use["payer"],
        "recorded_at": AT + 1,
        "booked_at": AT,
        "late": False,
        "flags": "",
        "outcome": "charged",
        "reason": "",
        "currency": "USD",
        "paid_nanos": line["paid_nanos"],
        "book_number": 0,
        "content_hash": 0,
        "lines": [line],
    } | fields


def line(rule: Rule, **fields: Any) -> dict[str, Any]:
    return {
        "link": "rule",
        "tariff": "media-and-ai",
        "version": 3,
        "tariff_hash": TARIFF.content_hash[:16],
        "rule": rule.name,
        "scope": rule.scope,
        "scope_key_high": 0,
        "scope_key_low": 0,
        "scope_start": NOVEMBER,
        "scope_end": DECEMBER,
        "remainder_before": 0,
        "remainder_after": 0,
        "remainder_den": 1,
        "pass": None,
        "variant": "",
        "uses_before": 0,
        "over_before": 0,
        "over_after": 0,
        "minimum_nanos": 0,
        "catalog": "",
        "split": rule.split,
        "split_key_high": 0,
        "split_key_low": 0,
    } | fields


def share(account: str, num: int, den: int, nanos: int) -> dict[str, Any]:
    return {"account": account, "fraction_num": num, "fraction_den": den, "nanos": nanos}


# 9,999,810 tokens before, 758 now: 190 of them below 10 million at 500 nanos = 95,000; 568 above at 400 = 227,200;
# together 322,200. Of the base 4,999,905,000 before: 10 % of the sum is 500,022,720 - 499,990,500 = 32,220.
CODE = charge(
    line(
        TOKENS,
        quantity_before=9_999_810,
        quantity=758,
        total_before=4_999_905_000,
        total_after=5_000_227_200,
        charged_before=4_999_905_000,
        amount_nanos=322_200,
        paid_nanos=322_200,
        base_before=4_999_905_000,
        shares=[share("platform", 1, 10, 32_220), share("creator:model:azure-code", 9, 10, 289_980)],
    ),
    event(),
)

PLAY = event(
    product="music",
    payer="p",
    creator="ana",
    item="song-1",
    meter="play",
    quantity=1,
    scale=3,
    session="s",
    attributes={"item.label": "blue"},
)
# The 100th millisecond of a song at 20,000/3 nanos: total 660,000 -> 666,666 2/3; charged 660,000 before, so 6,666.
# Base 7: 10 % of 6,673 is 667, of 7 it is 0; 15 %: 1,000 and 1; the creator takes 6,666 - 667 - 999 = 5,000.
SECOND = charge(
    line(
        SONG,
        scope_start=0,
        scope_end=2**63 - 1,
        quantity_before=99,
        quantity=1,
        total_before=660_000,
        remainder_before=0,
        total_after=666_666,
        remainder_after=2,
        remainder_den=3,
        charged_before=660_000,
        amount_nanos=6_666,
        paid_nanos=6_666,
        base_before=7,
        shares=[share("party:blue", 3, 20, 999), share("platform", 1, 10, 667), share("creator:ana", 3, 4, 5_000)],
    ),
    PLAY,
)


def test_a_use_over_a_border_is_priced_tier_by_tier() -> None:
    explained = explain(CODE, TARIFF)
    assert explained.name == "2-1047"
    assert explained.lines[0].pieces == (
        Piece(190, 0, 10_000_000, Fraction(500)),
        Piece(568, 10_000_000, 1_000_000_000, Fraction(400)),
    )
    assert [piece.nanos for piece in explained.lines[0].pieces] == [95_000, 227_200]
    assert [(p.account, p.nanos, p.rest) for p in explained.lines[0].parts] == [
        ("platform", 32_220, False),
        ("creator:model:azure-code", 289_980, True),
    ]


def test_a_remainder_is_carried_in_the_exact_total() -> None:
    explained = explain(SECOND, TARIFF).lines[0]
    assert explained.total_after == Fraction(2_000_000, 3)
    assert [(p.account, p.nanos) for p in explained.parts] == [
        ("party:blue", 999),
        ("platform", 667),
        ("creator:ana", 5_000),
    ]


def test_a_capped_scope_charges_up_to_its_cap_and_keeps_the_exact_total() -> None:
    # the total of 3,999,333 1/3 and 6,666 2/3 more is 4,006,000: above the cap, so 667 are charged up to 4,000,000
    capped = deepcopy(SECOND)
    capped["lines"][0] |= {
        "quantity_before": 600,
        "total_before": 4_000_000 - 667,
        "remainder_before": 1,
        "total_after": 4_000_000 - 667 + 6_667,
        "remainder_after": 0,
        "charged_before": 3_999_333,
        "amount_nanos": 667,
        "paid_nanos": 667,
        # base 7: 10 % of 674 is 67, 15 % 101 less 1; the rest 500
        "shares": [share("party:blue", 3, 20, 100), share("platform", 1, 10, 67), share("creator:ana", 3, 4, 500)],
    }
    capped["paid_nanos"] = 667
    assert explain(capped, TARIFF).lines[0].amount == 667


def test_an_absent_creator_and_label_leave_their_shares_to_the_platform() -> None:
    alone = deepcopy(SECOND)
    alone["event"] |= {"creator": None, "attributes": {}}
    alone["lines"][0]["shares"] = [share("platform", 1, 1, 6_666)]
    assert [p.account for p in explain(alone, TARIFF).lines[0].parts] == ["platform"]


def test_what_was_not_rated_has_no_lines() -> None:
    refused = charge(CODE["lines"][0], event(), outcome="refused", reason="max_price", paid_nanos=0) | {"lines": []}
    explained = explain(refused, None)
    assert (explained.outcome, explained.reason, explained.lines) == ("refused", "max_price", ())


TAMPERED: list[tuple[str, dict[str, Any], str]] = [
    ("amount", {"amount_nanos": 322_201, "paid_nanos": 322_201}, "amount_nanos: worked out again it is 322200"),
    ("paid", {"paid_nanos": 322_199}, "paid_nanos: worked out again it is 322200"),
    ("quantity", {"quantity": 759}, "quantity: worked out again it is 758"),
    ("cumulated", {"quantity_before": 9_999_811}, "exact total after"),
    ("total", {"total_after": 5_000_227_201}, "exact total after"),
    ("remainder", {"remainder_before": 1}, "remainder_before: worked out again it is from 0 to below 1"),
    ("charged before", {"charged_before": 4_999_905_001}, "amount_nanos"),
    ("scope", {"scope_start": AT + 1}, "scope"),
    ("version", {"version": 4}, "tariff: worked out again it is media-and-ai v3"),
    ("hash", {"tariff_hash": "0" * 16}, "tariff"),
    ("rule", {"rule": "article"}, "rule: worked out again it is tokens-in"),
    ("split", {"split": "music"}, "split: worked out again it is standard"),
]


@pytest.mark.parametrize(("what", "change", "said"), TAMPERED, ids=[t[0] for t in TAMPERED])
def test_a_tampered_line_is_found_out(what: str, change: dict[str, Any], said: str) -> None:
    tampered = deepcopy(CODE)
    tampered["lines"][0].update(change)
    with pytest.raises(Differs) as found:
        explain(tampered, TARIFF)
    assert said in str(found.value) and found.value.exit_code == ExitCode.DIFFERENCE


@pytest.mark.parametrize("shares", [
    [share("platform", 1, 10, 32_221), share("creator:model:azure-code", 9, 10, 289_979)],
    [share("platform", 1, 10, 32_220), share("creator:ana", 9, 10, 289_980)],
    [share("platform", 1, 10, 32_220)],
    [share("platform", 1, 5, 32_220), share("creator:model:azure-code", 4, 5, 289_980)],
])  # fmt: skip
def test_shares_of_other_nanos_accounts_or_fractions_are_found_out(shares: list[dict[str, Any]]) -> None:
    tampered = deepcopy(CODE)
    tampered["lines"][0]["shares"] = shares
    with pytest.raises(Differs, match="share"):
        explain(tampered, TARIFF)


def test_another_base_is_found_out_where_it_changes_a_share() -> None:
    tampered = deepcopy(SECOND)
    tampered["lines"][0]["base_before"] = 8  # 15 %: floor of 1,001.1 less floor of 1.2 is 1,000
    with pytest.raises(Differs, match=r"share of party:blue.*1000.*999"):
        explain(tampered, TARIFF)


def test_a_sum_that_is_not_that_of_its_lines_is_found_out() -> None:
    with pytest.raises(Differs, match="paid_nanos: worked out again it is 322200, the charge has 322201"):
        explain(CODE | {"paid_nanos": 322_201}, TARIFF)


def test_the_first_rule_that_matches_must_be_the_one_that_rated() -> None:
    page = event(product="news", meter="page.view", item="/about", quantity=1)
    free = line(
        ARTICLE,
        scope_start=DAY,
        scope_end=NEXT_DAY,
        quantity_before=0,
        quantity=1,
        total_before=0,
        total_after=5_000_000,
        charged_before=0,
        amount_nanos=5_000_000,
        paid_nanos=5_000_000,
        base_before=0,
        shares=[],
    )
    with pytest.raises(Differs, match="rule: worked out again it is other-pages, the charge has article"):
        explain(charge(free, page), TARIFF)


def nothing(rule: Rule, before: int, quantity: int = 1, charged: int = 0, rose: int = 0) -> str:
    return why_nothing(free_line(rule, before, quantity, charged, rose), TARIFF)


def free_line(rule: Rule, before: int, quantity: int = 1, charged: int = 0, rose: int = 0) -> dict[str, Any]:
    """A line of nothing; `rose`: thirds of a nano by which the exact total rose."""
    return line(
        rule,
        quantity_before=before,
        quantity=quantity,
        total_before=0,
        total_after=0,
        remainder_after=rose,
        remainder_den=3,
        charged_before=charged,
        amount_nanos=0,
    )


def test_why_nothing_was_charged_is_said() -> None:
    allowance = Rule(
        "hundred-free", "page.view", (), (Tier(100, Fraction(0)), Tier(None, Fraction(7))), (), "month", "standard"
    )
    tiny = Rule("tiny", "page.view", (), (Tier(None, Fraction(1, 3)),), (), "hour", "standard")
    gift = Rule("gift", "page.view", (), (Tier(None, Fraction(0)),), (), "event", "standard")
    version = TariffVersion("t", 1, 0, "USD", "UTC", (), TARIFF.meters, (STANDARD,), (allowance, tiny, gift))

    def of(rule: Rule, before: int, rose: int = 0) -> str:
        return why_nothing(free_line(rule, before, rose=rose), version)

    assert nothing(ARTICLE, before=1) == "free: counted already in this day"
    assert nothing(SONG, before=700, charged=4_000_000) == "free: the cap of 0.004 USD is reached before"
    assert nothing(SONG, before=0, quantity=0) == "free: nothing was used"
    assert of(allowance, 99) == "free: within the first 100 page in this month"
    assert of(tiny, 0, rose=1) == "free so far: below one nano, the exact value is carried on"
    assert of(gift, 0) == "free by its rule"


def test_a_charge_of_what_fell_due_has_its_number_in_its_name() -> None:
    assert charge_name({"usage_partition": 2, "usage_offset": 1047, "n": 3}) == "2-1047-3"


def test_an_explanation_reads_as_the_arithmetic_that_was_done() -> None:
    text = words(explain(CODE, TARIFF))
    assert "WHY WAS service:code CHARGED 0.000322200 USD AT 2023-11-16T18:43:32Z?   (charge 2-1047)" in text
    assert "758 tokens by rule tokens-in; this month (2023-11-01) per item 9,999,810 -> 10,000,568" in text
    assert "190 to 10,000,000 " in text and "=  95,000 nanos" in text
    assert "568 above 10,000,000 to 1,000,000,000 × 0.40 USD per 1,000,000 tokens = 227,200 nanos" in text
    assert "sum                                       322,200" in text


def test_a_remainder_is_told_where_it_decides() -> None:
    said = "exact total 660,000 -> 666,666 2/3 nanos; whole nanos 666,666 less 660,000 charged before = 6,666"
    assert said in words(explain(SECOND, TARIFF))


def test_a_document_has_exact_figures_only() -> None:
    line = document(explain(SECOND, TARIFF))["lines"][0]
    assert line["exact_nanos_after"] == "2000000/3"
    assert line["pieces"] == [
        {"quantity": "0.001", "above": "0", "to": None, "nanos_per_unit": "20000000/3", "nanos": "20000/3"}
    ]
