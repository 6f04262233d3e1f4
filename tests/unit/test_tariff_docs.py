"""The examples of docs/tariffs.md mean what the page says."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest

from nanotally.streams.domain.tariff import Rule, Settings, TariffVersion
from nanotally.streams.tariffs.counting import COUNT_KEYS
from nanotally.streams.tariffs.extras import COMMITMENT_KEYS, EACH_KEYS, FREE_KEYS
from nanotally.streams.tariffs.findings import TariffErrors
from nanotally.streams.tariffs.meters import METER_KEYS
from nanotally.streams.tariffs.passes import PASS_KEYS
from nanotally.streams.tariffs.price_from import FROM_KEYS
from nanotally.streams.tariffs.reader import TARIFF_KEYS, examine_tariff, read_tariff
from nanotally.streams.tariffs.rules import RULE_KEYS
from nanotally.streams.tariffs.schema import tariff_schema
from nanotally.streams.tariffs.settings import SETTING_KEYS, read_settings
from tests.support.reference_price import State, Taken, Use, take
from tests.support.tariff_texts import indented

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "tariffs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(yaml[^\n]*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
RULES = [text for kind, text in BLOCKS if kind == "yaml rules"]
WHOLE = next(text for kind, text in BLOCKS if kind == "yaml")
CENT = 10_000_000  # nanos
HEAD = "tariff: t\nversion: 1\neffective_from: 2026-12-01T00:00:00Z\ncurrency: USD\n"
METERS = {
    "page.view": "{unit: page}",
    "play": "{unit: second, scale: 3, needs: session}",
    "call": "{unit: second, needs: session}",
    "ad.free": "{unit: hour}",
    "payment": "{unit: USD, scale: 2}",
    "energy": "{unit: kWh, scale: 3}",
    "token.input": "{unit: token}",
    "storage": "{unit: gigabyte}",
}


def block(kind: str) -> str:
    """The one block of the page of this kind."""
    (text,) = [text for k, text in BLOCKS if k == kind]
    return str(text)


def around(rules: str, splits: str | None = None, passes: str = "") -> str:
    """A tariff with these rules."""
    used = dict.fromkeys(re.findall(r"meter: ([\w.]+)", rules))
    meters = "".join(f"  {m}: {METERS.get(m, f'{{unit: {m}}}')}\n" for m in used)
    named = dict.fromkeys(re.findall(r"split: (\w+)", rules))
    splits = splits or "".join(f"{name}: {{platform: 10%, creator: rest}}\n" for name in named)
    return f"{HEAD}meters:\n{meters}splits:\n{indented(splits, 2)}\n{passes}rules:\n{rules}"


def example(name: str) -> TariffVersion:
    """The example that holds the rule, in a tariff around it; it is read without a warning."""
    read = examine_tariff(around(next(text for text in RULES if f"rule: {name}\n" in text)))
    assert read.warnings == ()
    return read.version


def rule(name: str) -> Rule:
    """The one rule of an example without variants."""
    (only,) = example(name).rules
    return only


def charges(of: Rule, quantities: list[int], prices: list[int] | None = None) -> list[int | str]:
    """Nanos charged for uses of these unscaled quantities, one after the other in one scope, or why one is refused.
    `prices`: nanos per unit that come with the uses."""
    state, found = State(), list[int | str]()
    for i, quantity in enumerate(quantities):
        taken = take(of, state, Use(quantity, unit_price=Fraction(prices[i]) if prices else None))
        if isinstance(taken, Taken):
            state = taken.after
            found.append(taken.amount)
        else:
            found.append(taken)
    return found


def test_the_whole_tariff_of_the_page_is_read_without_a_warning() -> None:
    read = examine_tariff(WHOLE, "prices.yaml")
    assert read.warnings == ()
    article, page, song, tokens = read.version.rules
    assert charges(article, [1, 1]) == [5_000_000, 0]  # again on the same day: free
    assert charges(page, [2]) == [2_000_000]
    assert charges(song, [60_000, 200_000]) == [1_200_000, 2_800_000]  # a minute; then the cap of 0.004
    assert charges(tokens, [10_000_568]) == [5_000_227_200]


def test_the_message_of_the_page_is_the_message() -> None:
    told = re.search(r"^prices\.yaml:.*$", PAGE, re.MULTILINE)
    assert told
    with pytest.raises(TariffErrors) as raised:
        read_tariff(WHOLE.replace("0.005 per page", "0,005 per page"), "prices.yaml")
    assert str(raised.value) == told[0]


def test_every_example_of_rules_is_read_without_a_warning() -> None:
    assert {text: examine_tariff(around(text)).warnings for text in RULES} == dict.fromkeys(RULES, ())


@pytest.mark.parametrize(
    ("name", "quantities", "nanos"),
    [
        ("tokens", [10_000_000, 1, 989_999_999, 1], [500 * CENT, 200 * CENT + 400, 395_999_999_600, "limit"]),
        ("copies", [1000, 1], [2000 * CENT, 2 * CENT]),
        ("lookup", [1000, 1, 50_999], [0, 100_000, 500 * CENT - 100_000]),
        ("song", [400, 500, 59_600], [0, 20_000, 1_200_000]),  # 0.4 s: none; 0.9 s: one; 60.5 s: 61 of 20,000 nanos
        ("game", [1, 1, 7], [99 * CENT, 0, 0]),
        ("ad-free", [1, 1], [3 * CENT, 0]),
        ("reading", [1, 1], [1_000, 1_000]),
        ("payment", [10_000, 50_000], [320 * CENT, 1200 * CENT]),  # 100: 2.90 + 0.30; 500: 14.50 + 0.30, at most 12
        ("transfer", [30_000, 30_000], [0, 320 * CENT]),
        ("prints", [1000, 1, 999, 1], [2000 * CENT, 0, 0, CENT]),
        ("storage", [100, 50], [1000 * CENT, 750 * CENT]),  # 5 above the 10, times 1.5
    ],
)
def test_what_the_examples_come_to(name: str, quantities: list[int], nanos: list[int | str]) -> None:
    assert charges(rule(name), quantities) == nanos


def test_a_lesson_costs_by_segment_and_region() -> None:
    found = {r.variant: r for r in example("tutor").rules}
    costs = {variant: charges(r, [1])[0] for variant, r in found.items()}
    assert costs == {
        "school, eu": 2_400_000, "school, otherwise": 2_000_000, "uni-*, eu": 4_800_000, "uni-*, otherwise": 4_000_000,
        "pro, eu": 24_000_000, "pro, otherwise": 20_000_000, "otherwise, eu": "price", "otherwise, otherwise": "price",
    }  # fmt: skip


def test_energy_costs_by_the_time() -> None:
    holiday, peak, rest = example("charging").rules
    assert [charges(r, [1000])[0] for r in (holiday, peak, rest)] == [20 * CENT, 40 * CENT, 30 * CENT]
    assert [r.when[0].values for r in (holiday, peak)] == [
        ("Europe/Berlin", "", "01-01,12-25", "00:00:00", "24:00:00"),
        ("Europe/Berlin", "12345", "", "08:00:00", "20:00:00"),
    ]
    assert (rest.when, rest.cut) == ((), True)


def test_a_call_goes_by_steps_and_hands_on_what_it_began() -> None:
    day, night = example("call").rules
    assert charges(day, [90]) == [20 * CENT]
    assert charges(day, [30, 30, 30]) == [17 * CENT, 0, 3 * CENT]  # the started minute is paid for
    assert charges(night, [31]) == [5 * CENT + 6 * CENT]


def test_an_asked_price_is_taken_within_its_bounds() -> None:
    market = rule("market")
    taken = market.price_from
    assert taken is not None
    assert (taken.name, int(taken.at_least), int(taken.at_most)) == ("asked", 10 * CENT, 5000 * CENT)
    assert charges(market, [1, 1], [25 * CENT, 50 * CENT]) == [25 * CENT, 50 * CENT]
    assert market.tiers[0].price == 99 * CENT


def test_the_pass_of_the_page_caps_a_day() -> None:
    rules = "".join(
        f"- {{rule: {name}, when: {{meter: {name}}}, price: 0.30, split: standard}}\n" for name in ("article", "song")
    )
    version = read_tariff(around(rules, passes=f"passes:\n{block('yaml passes')}"))
    (day,) = version.passes
    assert day.covers == ("article", "song")
    assert charges(day.price, [30 * CENT, 30 * CENT, 30 * CENT]) == [30 * CENT, 20 * CENT, 0]


def test_the_splits_of_the_page_are_read() -> None:
    splits = block("yaml splits")
    names = re.findall(r"^(\w+):", splits, re.MULTILINE)
    rules = "".join(f"- {{rule: {n}, when: {{meter: {n}}}, price: 1, split: {n}}}\n" for n in names)
    version = read_tariff(around(rules, splits))
    label = version.split_by_name["label"].parties
    assert [(p.account, p.fraction) for p in label] == [
        ("platform", Fraction(1, 10)),
        ("party:ana", Fraction(15, 100)),
        ("party:ben", Fraction(5, 100)),
        ("creator", None),
    ]


def test_the_settings_of_the_page_are_the_defaults_but_for_the_threshold() -> None:
    assert read_settings(block("yaml settings")) == Settings(thresholds=(("USD", 10**9),))


def test_the_page_names_every_word_of_the_language() -> None:
    words = {
        *TARIFF_KEYS, *RULE_KEYS, *SETTING_KEYS, *METER_KEYS, *COUNT_KEYS, *FREE_KEYS, *EACH_KEYS, *COMMITMENT_KEYS,
        *PASS_KEYS, *FROM_KEYS, "days", "dates", "otherwise", "at most", "first", "of", "rest",
    }  # fmt: skip
    assert [w for w in sorted(words) if not re.search(rf"\b{w}\b", PAGE)] == []


def test_each_link_within_the_page_leads_somewhere() -> None:
    titles = {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)}
    assert [a for a in re.findall(r"\]\(#([^)]*)\)", PAGE) if a not in titles] == []
    files = re.findall(r"\]\(([^#)][^)]*)\)", PAGE)
    assert files
    assert [f for f in files if not (DOCS / f).exists()] == []


def test_the_schema_beside_the_page_is_the_one_that_is_printed() -> None:
    assert json.loads((DOCS / "tariff.schema.json").read_text(encoding="utf-8")) == tariff_schema()
