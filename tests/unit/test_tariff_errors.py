"""What a pricing owner reads when a tariff file is wrong: each message names line, field, fault and remedy."""

# One case a line reads best.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from nanotally.streams.errors import ExitCode, InvalidInput
from nanotally.streams.tariffs.findings import TariffErrors, nearest
from nanotally.streams.tariffs.reader import examine_tariff, read_tariff
from tests.support.tariff_texts import FILE, changed


@dataclass(frozen=True)
class Case:
    """A passage of the file made wrong, and the one error that must be read."""

    old: str
    new: str
    line: int
    field: str
    problem: str
    remedy: str


SONG = "price: 0.00002 per second"
TIERS = "{to 10M: 0.50 per 1M, to 1B: 0.40 per 1M, above: 0.25 per 1M}"

HEAD = [
    Case("tariff: t\n", "", 1, "tariff", "'tariff' is missing", "write tariff: media-and-ai"),
    Case("tariff: t\n", "tarif: t\n", 1, "tarif", "unknown name 'tarif'", "did you mean 'tariff'?"),
    Case("tariff: t\n", "tariff: my tariff\n", 1, "tariff", "'my tariff' is no name", "use letters, digits"),
    Case("tariff: t\n", "tariff: [t]\n", 1, "tariff", "a list where a value is due", "write tariff: media-and-ai"),
    Case("tariff: t\n", "tariff:\n", 1, "tariff", "nothing where a value is due", "write tariff: media-and-ai"),
    Case("version: 1", "version: 1.5", 2, "version", "'1.5' is no whole number from 1", "as in 1"),
    Case("version: 1", "version: 0", 2, "version", "'0' is no whole number", "as in 1"),
    Case("2026-12-01T00:00:00Z", "2026-12-01", 3, "effective_from", "in which zone", "write 2026-12-01T00:00:00Z"),
    Case("2026-12-01T00:00:00Z", "soon", 3, "effective_from", "'soon' is no ISO 8601 time", "2026-12-01T00:00:00Z"),
    Case("2026-12-01T", "1969-12-01T", 3, "effective_from", "is before 1970", "1970-01-01T00:00:00Z"),
    Case("currency: USD", "currency: usd", 4, "currency", "'usd' is no ISO 4217 code", "as in USD"),
    Case("currency: USD", "currency: $", 4, "currency", "'$' is no ISO 4217 code", "three capital letters"),
    Case("currency: USD\n", "currency: USD\ncalendar: Europe/Berln\n", 5, "calendar", "no time zone", "'Europe/Berlin'"),
    Case("currency: USD\n", "currency: USD\ncalendar: X\n", 5, "calendar", "'X' is no time zone", "Europe/Berlin"),
    Case("currency: USD\n", "currency: USD\nproducts: []\n", 5, "products", "an empty list", "leave it out"),
    Case("currency: USD\n", "currency: USD\ncurrency: EUR\n", 5, "currency", "twice (first in line 4)", "keep one"),
    Case("currency: USD\n", "currency: USD\ncatalog: x\n", 5, "catalog", "unknown name 'catalog'", "known here: tariff"),
    Case("currency: USD\n", "currency: USD\ncrossing: split\n", 5, "crossing", "'split' is no way to cross a border", "cut, start"),
    Case("currency: USD\n", "currency: USD\ngroups: pupils\n", 5, "groups", "the text 'pupils' where groups are due", "students"),
    Case("currency: USD\n", "currency: USD\ngroups: {pupils: []}\n", 5, "groups.pupils", "an empty list", "name payers"),
    Case("currency: USD\n", "currency: USD\ngroups: {my pupils: x}\n", 5, "groups.my pupils", "is no name", "letters"),
    Case("currency: USD\n", "currency: USD\ngroups: {pupils: {a: b}}\n", 5, "groups.pupils", "a table of names and values where a payer is due", "edu-*"),
]  # fmt: skip

METERS = [
    Case("{unit: page}", "{}", 6, "meters.page.view.unit", "'unit' is missing", "write unit: page"),
    Case("{unit: page}", "page", 6, "meters.page.view", "the text 'page' where names with values are due", "write unit: page"),
    Case("{unit: page}", "{unit: page, scal: 3}", 6, "meters.page.view.scal", "unknown name 'scal'", "did you mean 'scale'?"),
    Case("scale: 3", "scale: 16", 7, "meters.play.scale", "'16' is no whole number from 0 to 15", "as in 1"),
    Case("scale: 3", "scale: three", 7, "meters.play.scale", "'three' is no whole number", "as in 1"),
    Case("needs: session", "needs: sesion", 7, "meters.play.needs", "cannot need 'sesion'", "did you mean 'session'?"),
]  # fmt: skip

SPLITS = [
    Case("platform: 10%", "platform: 110%", 10, "splits.standard.platform", "'110%' is not between", "write 0% to 100%"),
    Case("platform: 10%", "platform: 60%, 'party:l': 50%", 10, "splits.standard", "the parts come to 110 %", "100% or less"),
    Case("creator: rest", "creator: 80%", 10, "splits.standard", "no party takes the rest, and 10 % go to nobody", "give one party `rest`"),
    Case("creator: rest", "creator: 90%", 10, "splits.standard", "no party takes the rest", "give one party `rest`"),
    Case("platform: 10%", "platform: rest", 10, "splits.standard", "platform and creator both take the rest", "all but one"),
    Case("platform: 10%", "platform: ten", 10, "splits.standard.platform", "'ten' is no part of a whole", "10%, 1/3, 0.1 or rest"),
    Case("platform: 10%", "platform: 1/0", 10, "splits.standard.platform", "'1/0' is no part of a whole", "10%, 1/3, 0.1 or rest"),
    Case("platform: 10%", "platform: 0.00000000001", 10, "splits.standard.platform", "finer than a billionth", "fewer digits"),
    Case("platform: 10%", "platform: 1/999983, 'party:l': 1/999979", 10, "splits.standard", "no common fraction", "fewer digits"),
    Case("platform: 10%", "platfrom: 10%", 10, "splits.standard.platfrom", "'platfrom' is no party", "did you mean 'platform'?"),
    Case("platform: 10%", "label: 10%", 10, "splits.standard.label", "'label' is no party", 'write "party:label"'),
    Case("platform: 10%", "'party:{item}': 10%", 10, "splits.standard.party:{item}", "{item} names no attribute", "{item.label}"),
    Case("platform: 10%", "'party:{label': 10%", 10, "splits.standard.party:{label", "a bracket without its partner", "{item.label}"),
    Case("{platform: 10%, creator: rest}", "rest", 10, "splits.standard", "the text 'rest' where parties are due", "{platform: 10%, creator: rest}"),
]  # fmt: skip

WHEN = [
    Case("{meter: play}", "{meter: plya}", 18, "rules.song.when.meter", "'plya' is not among the meters", "did you mean 'play'?"),
    Case("{meter: play}", "{meter: [play, page.view]}", 18, "rules.song.when.meter", "several meters", "one rule for each meter"),
    Case("{meter: play}", "{meter: p*}", 18, "rules.song.when.meter", "the pattern 'p*'", "name it in full"),
    Case("{meter: play}", "{product: music}", 18, "rules.song.when.meter", "no meter", "{meter: page.view"),
    Case("{meter: play}", "play", 18, "rules.song.when", "the text 'play' where conditions are due", "{meter: page.view"),
    Case("{meter: play}", "{meter: play, item: }", 18, "rules.song.when.item", "nothing where a value is due", "write a text"),
    Case("{meter: play}", "{meter: play, item: []}", 18, "rules.song.when.item", "an empty list", "leave the condition out"),
    Case("{meter: play}", "{meter: play, item: ''}", 18, "rules.song.when.item", "no use has an empty item", "absent"),
    Case("{meter: play}", "{meter: play, level: < 3}", 18, "rules.song.when.level", "'< 3' is no range", "write 720 to 1080, from 720 or to 1080"),
    Case("{meter: play}", "{meter: play, level: {from: 3}}", 18, "rules.song.when.level", "a table where a value is due", "720 to 1080"),
    Case("{meter: play}", "{meter: play, level: 5 to 3}", 18, "rules.song.when.level", "nothing is in the range '5 to 3'", "the lesser end first"),
    Case("{meter: play}", "{meter: play, level: [a, from 3]}", 18, "rules.song.when.level", "'from 3' inside a list", "quote it"),
    Case("{meter: play}", "{meter: play, item: from 3}", 18, "rules.song.when.item", "a range of item texts", "in quotes"),
    Case("{meter: play}", "{meter: play, quantity: many}", 18, "rules.song.when.quantity", "'many' is no range of numbers", "from 720"),
    Case("{meter: play}", "{meter: play, duration: [1, 2]}", 18, "rules.song.when.duration", "several values", "one range"),
    Case("{meter: play}", "{meter: play, group: pupils}", 18, "rules.song.when.group", "'pupils' is not among the groups", "groups: {students:"),
    Case("{meter: play}", "{meter: play, group: []}", 18, "rules.song.when.group", "an empty list", "name a group"),
    Case("{meter: play}", "{meter: play, item: [a, absent]}", 18, "rules.song.when.item", "'absent' inside a list", "quote it"),
    Case("{meter: play}", "{meter: play, event_id: x}", 18, "rules.song.when.event_id", "'event_id' cannot be chosen by", "product"),
    Case("{meter: play}", "{meter: play, 3rd: 3}", 18, "rules.song.when.3rd", "names no field and no attribute", "segment"),
]  # fmt: skip

PRICES = [
    Case(SONG, "price: 0,005 per second", 19, "rules.song.price", "'0,005 per second' is no price: '0,005' is no number", "0.005"),
    Case(SONG, "price: cheap", 19, "rules.song.price", "'cheap' is no price: 'cheap' is no number", "as in 0.005"),
    Case(SONG, "price: $0.005", 19, "rules.song.price", "'$0.005' is no price", "the tariff's currency is USD"),
    Case(SONG, "price: 0.005 EUR per second", 19, "rules.song.price", "'EUR' is not the currency", "in USD"),
    Case(SONG, "price: -0.005 per second", 19, "rules.song.price", "'-0.005' is below zero", "zero or more"),
    Case(SONG, "price: 0.005 per page", 19, "rules.song.price", "'page' is not the unit of meter 'play'", "counts seconds"),
    Case(SONG, "price: 0.005 per", 19, "rules.song.price", "ends after 'per'", "0.005 per second"),
    Case(SONG, "price: 0.005 per 0 seconds", 19, "rules.song.price", "0 units", "one unit or more"),
    Case(SONG, "price: 0.005 per 1m seconds", 19, "rules.song.price", "'1m' is no number", "k, M or B"),
    Case(SONG, "price: 1e99", 19, "rules.song.price", "more than 1,000,000,000 USD", "number of digits"),
    Case(SONG, "price: 1e999999", 19, "rules.song.price", "'1e999999' is no number", "as in 0.005"),
    Case(SONG, "price: 1 per 0.0000000001 seconds", 19, "rules.song.price", "more than 1,000,000,000 USD per second", "number of digits"),
    Case(SONG, "price: 1 per 7000000001 seconds\n    graduated: {above: 1}", 20, "rules.song.price", "two prices: price and graduated", "keep one"),
    Case(SONG, "cap: 0.1", 21, "cap", "'cap' stands here twice (first in line 19)", "keep one"),
    Case(SONG, "split: standard", 22, "split", "twice", "keep one"),
    Case(SONG, "package: 1 per 3", 19, "rules.song.package", "unknown name 'package'", "write price: 15 per started 10 pages"),
    Case("    " + SONG + "\n", "", 17, "rules.song.price", "no price", "write price: 0.005 per page"),
    Case(SONG, "price: 0.0000000000000000000000000000001 per 3 s", 19, "rules.song.price", "'s' is not the unit", "seconds"),
    Case(SONG, "price: 0.0000000000000000000000000000001 per second", 19, "rules.song.price", "too fine", "fewer digits"),
]  # fmt: skip

TIERED = [
    Case("to 1B:", "to 10M tokens:", 25, "rules.tokens-in.graduated.to 10M tokens", "not above the one before (10,000,000 tokens)", "rising order"),
    Case("to 1B:", "to 5M:", 25, "rules.tokens-in.graduated.to 5M", "the border is not above the one before", "rising order"),
    Case("to 1B:", "to 0.5:", 25, "rules.tokens-in.graduated.to 0.5", "finer than meter 'token.input' counts", "scale is 0"),
    Case("to 10M:", "to 0:", 25, "rules.tokens-in.graduated.to 0", "'0' is not above zero", "1 token"),
    Case("to 10M:", "to 99999999999B:", 25, "rules.tokens-in.graduated.to 99999999999B", "more than can be counted", "at most"),
    Case("to 10M:", "10M:", 25, "rules.tokens-in.graduated.10M", "'10M' names no tier", "{to 10M:"),
    Case("0.40 per 1M", "0.40 per 1M pages", 25, "rules.tokens-in.graduated.to 1B", "'pages' is not the unit", "counts tokens"),
    Case("0.40 per 1M", "", 25, "rules.tokens-in.graduated.to 1B", "nothing where a price is due", "0.50 per 1M"),
    Case(TIERS, "{above: 1, to 5: 2}", 25, "rules.tokens-in.graduated.to 5", "stands behind 'above'", "the last tier"),
    Case(TIERS, "0.50", 25, "rules.tokens-in.graduated", "the text '0.50' where tiers are due", "{to 10M:"),
    Case(TIERS, "{to 5: 1 per 999999999999999989, above: 1 per 999999999999999877}", 25, "rules.tokens-in.graduated", "too fine", "fewer digits"),
]  # fmt: skip

COUNTS = [
    Case("over: month", "over: mounth", 26, "rules.tokens-in.count.over", "'mounth' is no scope", "did you mean 'month'?"),
    Case("over: month", "over: session", 26, "rules.tokens-in.count.ends_after", "nothing says when a session has ended", "ends_after: 30m idle"),
    Case("over: month", "over: session, ends_after: soon", 26, "rules.tokens-in.count.ends_after", "'soon' is no length of time", "10m or 24h"),
    Case("over: month", "over: session, ends_after: 0s", 26, "rules.tokens-in.count.ends_after", "'0s' is no time", "30m or 24h"),
    Case("over: month", "over: 9999d from first use", 26, "rules.tokens-in.count.over", "more than ten years", "30m or 24h"),
    Case("over: month", "over: 24h from now", 26, "rules.tokens-in.count.over", "'24h from now' is no scope", "24h from first paid"),
    Case("over: month", "over: week", 26, "rules.tokens-in.count.over", "'week' is no scope", "event, session, hour, day, month, year, life, or write 24h from first paid"),
    Case("over: month", "over: month, ends_after: 30m idle", 26, "rules.tokens-in.count.ends_after", "only a session ends when it is idle, not month", "over: session"),
    Case("per: [payer]", "per: [item]", 26, "rules.tokens-in.count.per", "every count is kept for each payer", "write per: [payer, item]"),
    Case("per: [payer]", "per: []", 26, "rules.tokens-in.count.per", "no payer", "write per: [payer]"),
    Case("per: [payer]", "per: [payer, event_id]", 26, "rules.tokens-in.count.per", "'event_id' cannot be chosen by", "product"),
    Case("at_most: 1 page", "at_most: none", 15, "rules.article.count.at_most", "'none' is no number", "digits"),
    Case("at_most: 1 page", "at_most: 1 token", 15, "rules.article.count.at_most", "'token' is not the unit", "counts pages"),
    Case("at_most: 1 page", "at_most: 0", 15, "rules.article.count.at_most", "'0' is not above zero", "1 page"),
    Case("at_most: 1 page", "atmost: 1 page", 15, "rules.article.count.atmost", "unknown name 'atmost'", "did you mean 'at_most'?"),
    Case("count: {per: [payer], over: month}", "count: month", 26, "rules.tokens-in.count", "the text 'month' where names with values", "write per:"),
]  # fmt: skip

RULES = [
    Case("cap: 0.004", "cap: 0.0000000001", 21, "rules.song.cap", "finer than a nano", "nine decimal places"),
    Case("cap: 0.004", "cap: 0", 21, "rules.song.cap", "a cap of nothing", "write price: free"),
    Case("cap: 0.004", "cap: 1e10", 21, "rules.song.cap", "more than 1,000,000,000 USD", "number of digits"),
    Case("cap: 0.004", "cap: -1", 21, "rules.song.cap", "'-1' is below zero", "zero or more"),
    Case("cap: 0.004", "round: up", 21, "rules.song.round", "'up' is no rounding", "as in up to 1 second"),
    Case("cap: 0.004", "capp: 0.004", 21, "rules.song.capp", "unknown name 'capp'", "did you mean 'cap'?"),
    Case("cap: 0.004\n    split: standard", "cap: 0.004\n    split: standart", 22, "rules.song.split", "'standart' is not among the splits", "'standard'"),
    Case("cap: 0.004\n    split: standard", "cap: 0.004", 17, "rules.song.split", "'split' is missing", "write split: standard"),
    Case("rule: song", "rule: article", 17, "rules.article", "a second rule of this name (first in line 12)", "a name of its own"),
    Case("rule: song", "name: song", 17, "rules.2.name", "unknown name 'name'", "known here: rule"),
    Case(FILE[FILE.index("rules:"):], "rules: none\n", 11, "rules", "the text 'none' where rules are due", "- rule: article"),
    Case(FILE[FILE.index("rules:"):], "rules:\n  - article\n", 12, "rules.1", "the text 'article' where names with values are due", "write rule: article"),
]  # fmt: skip

YAML = [
    Case("{meter: play}", "{meter: *play}", 18, "", "'*play' refers to another place", "in quotes"),
    Case("{meter: play}", "{meter: play, item: *.mp3}", 18, "", "no YAML: while scanning an alias", "in quotes"),
    Case("{meter: play}", "&x {meter: play}", 18, "", "'&x' names a value", "take it away"),
    Case("{meter: play}", "{meter: !!str play}", 18, "", "the tag 'tag:yaml.org,2002:str'", "take it away"),
    Case("{meter: play}", "{meter: play", 19, "", "no YAML: while parsing a flow mapping", "brackets"),
    Case("    " + SONG, "\t" + SONG, 19, "", "cannot start any token", "spaces, not tabs"),
    Case("tariff: t\n", "tariff: a: b\n", 1, "", "mapping values are not allowed here", "indentation"),
    Case("rules:\n", "---\nrules:\n", 11, "", "a second document", "one tariff per file"),
    Case("tariff: t\n", "tariff: \x07\n", 1, "", "a character that no text file holds", "delete it"),
    Case("tariff: t\n", 'tariff: "\\uD800"\n', 1, "", "half of a surrogate pair", "write the character"),
]  # fmt: skip


@pytest.mark.parametrize(
    "case",
    [*HEAD, *METERS, *SPLITS, *WHEN, *PRICES, *TIERED, *COUNTS, *RULES, *YAML],
    ids=lambda c: c.new.strip().splitlines()[0][:50] if c.new.strip() else f"no {c.old.strip()[:40]}",
)
def test_the_message_says_where_what_and_how_to_mend_it(case: Case) -> None:
    with pytest.raises(TariffErrors) as raised:
        read_tariff(changed(case.old, case.new), "prices.yaml")
    errors = [f for f in raised.value.findings if f.severity == "error"]
    found = [f for f in errors if f.field == case.field and f.place.line == case.line and case.problem in f.problem]
    assert found, str(raised.value)
    assert case.remedy in found[0].remedy, str(found[0])
    assert f"prices.yaml:{case.line}:" in str(raised.value)


def test_at_most_does_not_close_a_hole_below_it() -> None:
    text = changed(TIERS, "{to 10M: 0.50 per 1M}", changed("over: month", "over: month, at_most: 11M"))
    hole = "a hole: nothing is said of what is above 10,000,000 tokens, so it is free"
    assert [w.problem for w in examine_tariff(text, "prices.yaml").warnings] == [hole]
    assert examine_tariff(changed("at_most: 11M", "at_most: 10M", text)).warnings == ()


def test_all_faults_are_told_at_once_and_no_others_in_the_order_of_the_file() -> None:
    text = changed("currency: USD", "currency: dollars")
    text = changed("platform: 10%", "platform: most", text)
    text = changed(SONG, "price: cheap", text)
    text = changed("over: month", "over: moon", text)
    with pytest.raises(TariffErrors) as raised:
        read_tariff(text, "prices.yaml")
    assert [(f.place.line, f.field) for f in raised.value.findings] == [
        (4, "currency"),
        (10, "splits.standard.platform"),
        (19, "rules.song.price"),
        (26, "rules.tokens-in.count.over"),
    ]


def test_a_finding_reads_as_one_line_and_as_plain_values() -> None:
    with pytest.raises(InvalidInput) as raised:
        read_tariff(changed("currency: USD", "currency: usd"), "prices.yaml")
    assert str(raised.value) == (
        "prices.yaml:4:11: error: currency: 'usd' is no ISO 4217 code; write three capital letters, as in USD"
    )
    assert raised.value.exit_code is ExitCode.INVALID
    assert isinstance(raised.value, TariffErrors)
    assert raised.value.findings[0].document() == {
        "file": "prices.yaml",
        "line": 4,
        "column": 11,
        "severity": "error",
        "field": "currency",
        "problem": "'usd' is no ISO 4217 code",
        "remedy": "write three capital letters, as in USD",
    }


def test_a_file_that_is_no_text_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_bytes(b"tariff: t\ncurrency: \xff\n")
    with pytest.raises(TariffErrors, match=r"prices\.yaml:2:11: error: no UTF-8 text; save the file as UTF-8"):
        read_tariff(path)


def test_a_book_of_a_file_is_refused() -> None:
    with pytest.raises(TariffErrors, match="longer than 1,000,000 characters; divide it"):
        read_tariff("# " + "x" * 1_000_000, "prices.yaml")


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "problem", "remedy"),
    [
        (
            "over: month",
            "over: event",
            26,
            "rules.tokens-in.count",
            "rounded down to a nano by itself",
            "day, month or life",
        ),
        (
            "{per: [payer, session], over: day}",
            "{per: payer}",
            21,
            "rules.song.cap",
            "the cap is for life",
            "over: day",
        ),
        (
            "needs: session",
            "needs: []",
            20,
            "rules.song.count.per",
            "without a session are counted together",
            "needs: session",
        ),
        (
            "[payer, session]",
            "[payer, sesion]",
            20,
            "rules.song.count.per",
            "'sesion' is taken as an attribute",
            "write 'session'",
        ),
        (
            "{meter: play}",
            "{meter: play, product: x}",
            17,
            "rules",
            "no rule takes a use with meter play, product some-product",
            "for the others",
        ),
        ("  play:", "  idle: {unit: second}\n  play:", 7, "meters.idle", "no rule prices it", "write a rule"),
        ("rules:", "  idle: {creator: rest}\nrules:", 11, "splits.idle", "no rule divides by it", "take it out"),
        ("platform: 10%", "platform: 100%", 10, "splits.standard", "nothing is left for creator", "lower a part"),
        ("platform: 10%", "platform: 0%", 10, "splits.standard.platform", "a part of nothing", "take the party out"),
    ],
)
def test_what_is_doubtful_is_a_warning(old: str, new: str, line: int, field: str, problem: str, remedy: str) -> None:
    warnings = examine_tariff(changed(old, new), "prices.yaml").warnings
    assert [(w.place.line, w.field, w.severity) for w in warnings] == [(line, field, "warning")]
    assert problem in warnings[0].problem
    assert remedy in warnings[0].remedy


@pytest.mark.parametrize("attribute", ["region", "segment", "feature", "module", "variant", "item.label", "publisher"])
def test_attributes_in_use_are_no_slips(attribute: str) -> None:
    assert examine_tariff(changed("[payer, session]", f"[payer, session, {attribute}]")).warnings == ()


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("page.veiw", ["page.view", "play"], "page.view"),
        ("PLAY", ["page.view", "play"], "play"),
        ("media", ["media-and-ai", "games"], "media-and-ai"),
        ("xyz", ["page.view", "play"], None),
        ("", ["play"], None),
    ],
)
def test_the_nearest_name_is_offered(word: str, known: list[str], found: str | None) -> None:
    assert nearest(word, known) == found
