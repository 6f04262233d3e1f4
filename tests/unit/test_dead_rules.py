"""Rules that no use can reach are found, with the rules that shadow them and a use to try; no other rule is."""

# One case a line reads best.
# ruff: noqa: E501

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nanotally.streams.domain.bands import in_band as engine_in_band
from nanotally.streams.domain.conditions import matches
from nanotally.streams.domain.tariff import Condition, Rule, Tier
from nanotally.streams.tariffs.dead_rules import dead_rules, example_use, unmatched_use
from nanotally.streams.tariffs.findings import TariffErrors
from nanotally.streams.tariffs.reader import examine_tariff
from nanotally.streams.tariffs.text_sets import Found, TooHard, find, holds
from tests.support import reference_pricing as reference

HEAD = """\
tariff: t
version: 1
effective_from: 2026-12-01T00:00:00Z
currency: USD
PRODUCTS
meters: {m: {unit: page}, n: {unit: page}}
splits: {s: {creator: rest}}
rules:
"""
FIRST = HEAD.count("\n") + 1  # the line of the first rule; each rule is one line


def findings(rules: list[str], products: str = "# all products") -> list[tuple[int, str, str, str]]:
    """Line, severity, problem and remedy of what is said of rules `a`, `b`, ... with these conditions."""
    lines = [
        f"  - {{rule: {chr(ord('a') + i)}, when: {{{when}}}, price: 1, split: s}}\n" for i, when in enumerate(rules)
    ]
    text = HEAD.replace("PRODUCTS", products) + "".join(lines)
    try:
        found = examine_tariff(text).warnings
    except TariffErrors as e:
        found = e.findings
    return [(f.place.line, f.severity, f.problem, f.remedy) for f in found if "no rule prices it" not in f.problem]


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        (["meter: m", "meter: m, item: x"], "'a' (line 9) above takes every use it names, for example a use with meter m, item x"),
        (["meter: m", "meter: m"], "'a' (line 9) above takes every use it names, for example a use with meter m"),
        (["meter: m, item: '/blog/*'", "meter: m, item: '/blog/2*'"], "'a' (line 9) above takes every use it names, for example a use with meter m, item /blog/2x"),
        (["meter: m, item: [x, y]", "meter: m, item: y"], "'a' (line 9) above takes every use it names, for example a use with meter m, item y"),
        (["meter: m, item: '?*'", "meter: m, item: 'a*b'"], "'a' (line 9) above takes every use it names, for example a use with meter m, item axb"),
        (["meter: m, creator: present", "meter: m, creator: ana"], "'a' (line 9) above takes every use it names, for example a use with meter m, creator ana"),
        (["meter: m, creator: present", "meter: m, creator: absent", "meter: m, item: x"], "'a' (line 9) and 'b' (line 10) above together take every use it names, for example a use with meter m, item x"),
        (["meter: m, item: x", "meter: m, creator: present", "meter: m, creator: absent", "meter: m, item: y"], "'b' (line 10) and 'c' (line 11) above together take every use it names, for example a use with meter m, item y"),
    ],
)  # fmt: skip
def test_a_shadowed_rule_is_told_with_what_shadows_it(rules: list[str], problem: str) -> None:
    name = chr(ord("a") + len(rules) - 1)
    assert findings(rules) == [
        (FIRST + len(rules) - 1, "error", f"it can never match: {problem}", f"move {name!r} above, or take it out")
    ]


def test_an_attribute_that_may_be_absent_keeps_a_rule_alive() -> None:
    assert findings(["meter: m, segment: present", "meter: m"]) == []
    assert findings(["meter: m, segment: '*'", "meter: m"]) == []  # the pattern asks for a text, however short


def test_a_field_that_is_always_there_has_no_absent_rest() -> None:
    assert [f[2][:24] for f in findings(["meter: m, item: present", "meter: m"])] == ["it can never match: 'a' "]
    assert [f[2][:24] for f in findings(["meter: m, item: '*'", "meter: m"])] == ["it can never match: 'a' "]


def test_a_rule_of_another_meter_shadows_nothing() -> None:
    assert findings(["meter: n", "meter: m"]) == []


def test_a_rule_that_is_for_some_uses_more_is_alive() -> None:
    assert findings(["meter: m, item: '/blog/*'", "meter: m, item: '/*'", "meter: m"]) == []
    assert findings(["meter: m, item: x, creator: ana", "meter: m, item: x", "meter: m"]) == []


def test_a_condition_that_no_use_fulfils_is_told() -> None:
    assert findings(["meter: m, item: absent", "meter: m"]) == [
        (
            FIRST,
            "error",
            "it can never match: no use fulfils its conditions",
            "mend `when`: a use has an item and a product always",
        )
    ]


def test_a_product_of_another_tariff_is_told() -> None:
    assert findings(["meter: m, product: games", "meter: m"], "products: [news, music]") == [
        (
            FIRST,
            "error",
            "it can never match: the tariff is for news and music only",
            "name one of these products, or add the other to `products`",
        )
    ]


def test_the_last_product_of_a_tariff_shadows_the_rest() -> None:
    rules = ["meter: m, product: news", "meter: m, product: music", "meter: m"]
    assert [f[2] for f in findings(rules, "products: [news, music]")] == [
        "it can never match: 'a' (line 9) and 'b' (line 10) above together take every use it names, "
        "for example a use with meter m, product news"
    ]
    assert findings(rules) == []


def test_uses_that_no_rule_takes_are_told_with_an_example() -> None:
    assert findings(["meter: m, product: news", "meter: m, product: music, creator: present"]) == [
        (
            FIRST + 1,
            "warning",
            "no rule takes a use with meter m, product some-product: it stays unpriced",
            "add a rule for the others",
        )
    ]
    assert findings(["meter: m, product: news, creator: present"], "products: [news]")[0][2] == (
        "no rule takes a use with meter m, product news: it stays unpriced"
    )


# ---- the sets of values behind it ----


@pytest.mark.parametrize(
    ("inside", "outside", "found"),
    [
        (["a*"], [], "ax"),
        (["a*", "*b"], [], "ab"),
        (["a*"], ["a?*"], "a"),
        (["a*"], ["a", "a?", "a??*"], None),
        (["?"], ["a", "b"], "x"),
        (["a?"], ["ax", "aa"], "ab"),
        (["*a*", "*b*", "*c*"], ["*ab*", "*ba*"], "acb"),
        (["a"], ["b"], "a"),
        (["a"], ["a"], None),
    ],
)
def test_a_text_inside_some_patterns_and_outside_others(
    inside: list[str], outside: list[str], found: str | None
) -> None:
    value = find(
        "item",
        [Condition("item", "pattern", (p,)) for p in inside],
        [Condition("item", "pattern", (p,)) for p in outside],
    )
    assert value == (None if found is None else Found(found))


def test_an_attribute_may_be_the_empty_text_and_an_item_may_not() -> None:
    some = Condition("", "pattern", ("?*",))
    assert find("segment", [Condition("segment", "present")], [some]) == Found("")
    assert find("item", [Condition("item", "present")], [some]) is None


def test_patterns_too_entangled_are_given_up_rather_than_guessed() -> None:
    inside = [Condition("item", "pattern", (f"*{c}" + "?" * 14 + "*",)) for c in "abcdef"]
    with pytest.raises(TooHard):
        find("item", inside, [Condition("item", "pattern", ("*a*",))])


# ---- ranges and bands of time ----


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (["meter: m, level: 1 to 5", "meter: m, level: 2 to 4", "meter: m"], "'a' (line 9) above takes every use it names, for example a use with meter m, level 2"),
        (["meter: m, level: to 5", "meter: m, level: from 4", "meter: m, level: 1 to 9", "meter: m"], "'a' (line 9) and 'b' (line 10) above together take every use it names, for example a use with meter m, level 1"),
        (["meter: m, level: from 3", "meter: m, level: [5, 7]", "meter: m"], "'a' (line 9) above takes every use it names, for example a use with meter m, level 5"),
        (["meter: m, quantity: from 0", "meter: m"], "'a' (line 9) above takes every use it names, for example a use with meter m"),
        (["meter: m, quantity: from 5", "meter: m, quantity: to 5", "meter: m"], "'a' (line 9) and 'b' (line 10) above together take every use it names, for example a use with meter m"),
    ],
)  # fmt: skip
def test_a_range_within_what_stands_above_is_dead(rules: list[str], told: str) -> None:
    assert [(f[1], f[2]) for f in findings(rules)] == [("error", f"it can never match: {told}")]


@pytest.mark.parametrize(
    "rules",
    [
        ["meter: m, level: 1 to 5", "meter: m, level: 2 to 5.5", "meter: m"],
        ["meter: m, level: 1 to 5", "meter: m, level: 5.1 to 7", "meter: m"],
        [
            "meter: m, level: to 5",
            "meter: m, level: from 5",
            "meter: m",
        ],  # an attribute may hold no number, or be absent
        ["meter: m, duration: from 0", "meter: m"],  # a use may have no duration
        ["meter: m, level: 5", "meter: m, level: 5 to 5", "meter: m"],  # 5.0 is the same number and another text
    ],
)
def test_a_range_that_reaches_beyond_is_alive(rules: list[str]) -> None:
    assert findings(rules) == []


def test_an_empty_remainder_of_numbers_is_told_with_an_example() -> None:
    assert findings(["meter: m, quantity: to 5", "meter: m, quantity: from 7"])[0][2] == (
        "no rule takes a use with meter m, quantity 6: it stays unpriced"
    )


BANDS = [
    # names of bands in order, and those of which no time is left
    ("{name: a, days: mon-fri}, {name: b, days: tue}", ["b"]),
    ("{name: a, days: mon-fri, from: 8:00, to: 20:00}, {name: b, days: tue, from: 9:00, to: 20:00}", ["b"]),
    ("{name: a, days: mon-fri, from: 8:00, to: 20:00}, {name: b, days: tue, from: 9:00, to: 20:00:01}", []),
    (
        "{name: a, from: 22:00, to: 6:00}, {name: b, from: 23:00, to: 24:00}, {name: c, from: 0:00, to: 5:00}",
        ["b", "c"],
    ),
    ("{name: a, days: fri, from: 22:00, to: 6:00}, {name: b, days: sat, from: 1:00, to: 2:00}", ["b"]),  # Friday night
    ("{name: a, days: fri, from: 22:00, to: 6:00}, {name: b, days: fri, from: 1:00, to: 2:00}", []),  # Thursday night
    ("{name: a, days: mon-fri}, {name: b, days: [sat, sun]}, {name: c, dates: 12-25}", ["c"]),
    ("{name: a, dates: 12-25}, {name: b, dates: [12-25, 12-26]}", []),
    ("{name: a, dates: 12-31, from: 20:00, to: 4:00}, {name: b, dates: 01-01, to: 4:00}", ["b"]),
    ("{name: a, dates: 02-28, from: 20:00, to: 4:00}, {name: b, dates: 03-01, to: 4:00}", []),  # the 29th in leap years
    ("{name: a, to: 12:00}, {name: b, from: 12:00}, {name: c}", ["c"]),
]


@pytest.mark.parametrize(("bands", "dead"), BANDS)
def test_a_band_of_which_no_time_is_left_is_dead(bands: str, dead: list[str]) -> None:
    priced = bands.replace("}", ", price: 1}")
    rule = f"  - {{rule: r, when: {{meter: m}}, bands: [{priced}], zone: Europe/Berlin, split: s}}\n"
    try:
        examine_tariff(HEAD.replace("PRODUCTS", "# all") + rule)
        told = []
    except TariffErrors as e:
        told = [f.field.rpartition(".")[2] for f in e.findings if "it can never match" in f.problem]
    assert told == dead


@st.composite
def band_conditions(draw: st.DrawFn) -> Condition:
    clocks = ["00:00:00", "01:30:00", "08:00:00", "22:00:00", "24:00:00"]
    days = draw(st.sampled_from(["", "1", "12345", "67", "5"]))
    dates = draw(st.sampled_from(["", "02-28", "02-29", "12-31,01-01", "03-29"]))
    zone = draw(st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]))
    return Condition(
        "occurred_at", "band", (zone, days, dates, draw(st.sampled_from(clocks[:4])), draw(st.sampled_from(clocks)))
    )


@settings(max_examples=200, deadline=None)
@given(band_conditions(), st.integers(1_600_000_000, 2_000_000_000), st.sampled_from([0, 1799, 1800, 43_200]))
def test_the_reader_and_the_engine_mean_the_same_times(condition: Condition, day_s: int, second: int) -> None:
    at_s = day_s // 86_400 * 86_400 + second
    text = datetime.fromtimestamp(at_s, UTC).isoformat()
    assert holds(condition, text) == bool(engine_in_band(condition, np.array([at_s * 10**6], dtype=np.int64))[0])


@settings(max_examples=200, deadline=None)
@given(band_conditions(), st.lists(band_conditions(), max_size=3))
def test_where_no_time_is_found_there_is_none(inside: Condition, outside: list[Condition]) -> None:
    try:
        found = find("occurred_at", [inside], outside)
    except TooHard:
        return
    if found is not None:
        assert found.value is not None
        assert holds(inside, found.value) and not any(holds(c, found.value) for c in outside)
        return
    hours = np.arange(1_704_067_200, 1_704_067_200 + 5 * 366 * 86_400, 1800, dtype=np.int64) * 10**6  # from 2024 on
    left = engine_in_band(inside, hours)
    for condition in outside:
        left &= ~engine_in_band(condition, hours)
    assert not left.any()


@pytest.mark.parametrize("text", ["5", "5.0", "-5", "+5", "5e0", ".5", "5.", "", "x", " 5", "0005", "٥"])
def test_the_reader_and_the_engine_mean_the_same_numbers(text: str) -> None:
    condition = Condition("level", "range", ("-9", "9"))
    assert holds(condition, text) == bool(matches(condition, pa.array([text], pa.string()))[0])


def test_times_that_no_band_holds_are_told() -> None:
    rule = (
        "  - {rule: r, when: {meter: m}, bands: [{name: a, days: mon-sat, price: 1}], zone: Europe/Berlin, split: s}\n"
    )
    told = [w.problem for w in examine_tariff(HEAD.replace("PRODUCTS", "# all") + rule).warnings if w.field == "rules"]
    assert told == [
        "no rule takes a use with meter m, occurred_at 2027-01-10T00:00:00+01:00: it stays unpriced"  # a Sunday
    ]


def test_a_variant_that_only_another_rule_takes_in_part_is_alive() -> None:
    rules = [
        "{rule: eu, when: {meter: m, region: eu, segment: school}, price: 1, split: s}",
        "{rule: r, when: {meter: m}, price: {by: segment, school: 2, otherwise: 3}, "
        "multiply: {by: region, eu: 2, otherwise: 1}, split: s}",
    ]
    text = HEAD.replace("PRODUCTS", "# all") + "".join(f"  - {r}\n" for r in rules)
    assert [r.variant for r in examine_tariff(text).version.rules[1:]] == [
        "school, eu", "school, otherwise", "otherwise, eu", "otherwise, otherwise",
    ]  # fmt: skip
    with pytest.raises(TariffErrors) as raised:
        examine_tariff(text.replace("region: eu, segment: school}", "segment: school}"))
    assert [(f.field, f.problem) for f in raised.value.findings if f.severity == "error"] == [
        (
            "rules.r.price.school",
            "it can never match: 'eu' (line 9) above takes every use it names, for example a use with meter m, "
            "segment school, region eu",
        )
    ]


# ---- against trying every use of a small world ----

WORDS = ["", "a", "b", "aa", "ab", "ba", "bb", "c", "ac", "abc"]
PATTERNS = ["*", "?", "a*", "*a", "?b", "a?*", "*b*", "??", "?*", "c"]


def conditions(field: str) -> st.SearchStrategy[Condition]:
    words = WORDS[1:] if field in ("item", "creator") else WORDS
    return st.one_of(
        st.sampled_from([Condition(field, "present"), Condition(field, "absent")]),
        st.builds(
            lambda values: Condition(field, "equals", tuple(values)),
            st.lists(st.sampled_from(words), min_size=1, max_size=3, unique=True),
        ),
        st.builds(
            lambda values: Condition(field, "pattern", tuple(values)),
            st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2, unique=True),
        ),
    )


def ranges() -> st.SearchStrategy[Condition]:
    ends = ["", "-1", "0", "1.5", "2", "7"]
    return st.builds(lambda low, high: Condition("level", "range", (low, high)), *[st.sampled_from(ends)] * 2).filter(
        lambda c: not all(c.values) or float(c.values[0]) <= float(c.values[1])
    )


NUMBERS = [None, "", "x", "-2", "-1", "-0.5", "0", "1", "1.0", "1.5", "1.7", "2", "2.00", "4", "7", "7.0", "8"]


@pytest.mark.parametrize(
    ("inside", "outside", "found"),
    [
        ([("0", "7")], [("", "2"), ("4", "")], "3"),  # between two ranges
        ([("1", "2")], [("1", "1"), ("2", "2")], "1.5"),
        ([("", "")], [("-3", "")], "-4"),  # below all that is named
        ([("5", "")], [("5", "9")], "10"),  # above it
        ([("1", "2")], [("0", "1.5"), ("1.5", "3")], None),
    ],
)
def test_a_number_is_found_between_and_beyond_the_ends_that_are_named(
    inside: list[tuple[str, str]], outside: list[tuple[str, str]], found: str | None
) -> None:
    yes, no = ([Condition("level", "range", ends) for ends in some] for some in (inside, outside))
    assert find("level", yes, no) == (None if found is None else Found(found))


@settings(max_examples=200, deadline=None)
@given(st.lists(ranges() | conditions("level"), max_size=3), st.lists(ranges() | conditions("level"), max_size=3))
def test_a_number_inside_some_ranges_and_outside_others(inside: list[Condition], outside: list[Condition]) -> None:
    def fits(value: str | None) -> bool:
        return all(holds(c, value) for c in inside) and not any(holds(c, value) for c in outside)

    try:
        found = find("level", inside, outside)
    except TooHard:
        return
    if found is None:
        assert [v for v in (*NUMBERS, *WORDS) if fits(v)] == []
    else:
        assert fits(found.value)


def rule(name: str, when: tuple[Condition, ...]) -> Rule:
    return Rule(name, "m", when, (Tier(None, Fraction(1)),), (), "life", "s")


@st.composite
def rule_lists(draw: st.DrawFn) -> list[Rule]:
    rules = []
    for i in range(draw(st.integers(1, 5))):
        fields = draw(st.lists(st.sampled_from(["item", "creator", "segment"]), unique=True, max_size=3))
        rules.append(rule(f"r{i}", tuple(draw(conditions(f)) for f in fields)))
    return rules


def event(item: str, creator: str | None, segment: str | None) -> dict[str, Any]:
    attributes = {} if segment is None else {"segment": segment}
    return {"meter": "m", "product": "p", "payer": "y", "item": item, "creator": creator, "session": None} | {
        "attributes": attributes
    }


SMALL_WORLD = [event(*values) for values in itertools.product(WORDS[1:], [None, *WORDS[1:]], [None, *WORDS])]


def takes(rule: Rule, use: dict[str, Any]) -> bool:
    return all(reference.holds(c, use) for c in rule.when)


@settings(max_examples=100, deadline=None)
@given(rule_lists())
@example([rule("a", (Condition("creator", "present"),)), rule("b", (Condition("creator", "absent"),)), rule("c", ())])
def test_a_rule_is_dead_exactly_where_no_use_reaches_it(rules: list[Rule]) -> None:
    reached = {next((r.name for r in rules if takes(r, use)), None) for use in SMALL_WORLD}
    dead = {d.rule.name: d for d in dead_rules(rules, ())}
    assert not dead.keys() & reached
    for i, one in enumerate(rules):
        found = example_use(one, rules[:i], ())
        assert (found is None) == (one.name in dead)
        if found is not None:
            use = event(found.get("item", "some"), found.get("creator"), found.get("segment"))
            assert next(r.name for r in rules if takes(r, use)) == one.name
        elif dead[one.name].by:
            taken = [use for use in SMALL_WORLD if takes(one, use)]
            assert all(any(takes(r, use) for r in dead[one.name].by) for use in taken)
    rest = unmatched_use("m", rules, ())
    assert rest is not None or None not in reached
    if rest is not None:
        use = event(rest.get("item", "some"), rest.get("creator"), rest.get("segment"))
        assert not any(takes(r, use) for r in rules)
