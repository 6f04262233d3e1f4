"""Combinations without a meaning are refused with the reason; what is doubtful is a warning. Each message is read here."""

# One case a line reads best.
# ruff: noqa: E501

from __future__ import annotations

import pytest

from nanotally.streams.tariffs.findings import Finding, TariffErrors
from nanotally.streams.tariffs.reader import examine_tariff
from tests.support.tariff_texts import indented

DAY = "\ncount: {over: day}"
EVENT = "\ncount: {over: event}"
SESSION = "\ncount: {per: [payer, session], over: session, ends_after: 30m idle}"
TIERS = "graduated: {to 5: 2, above: 1}"
BANDS = "bands:\n- {name: day, from: 08:00, to: 20:00, price: 2}\n"


def findings(lines: str, unit: str = "{unit: page}", more: str = "", split: str = "{creator: rest}") -> list[Finding]:
    """What is said of a rule `r` with these lines, of meter `m`."""
    text = (
        "tariff: t\nversion: 1\neffective_from: 2026-12-01T00:00:00Z\ncurrency: USD\n"
        f"meters: {{m: {unit}}}\nsplits: {{s: {split}}}\n{more}rules:\n"
        f"- rule: r\n  when: {{meter: m}}\n{indented(lines, 2)}\n  split: s\n"
    )
    try:
        return list(examine_tariff(text, "t.yaml").warnings)
    except TariffErrors as e:
        return list(e.findings)


SENSE = [
    # rounding and allowances
    ("price: 1\nfree: {units: 3, after: rounding}", "rules.r.free", "after: rounding, and nothing is rounded", "round: up to 1 second"),
    ("price: 1\nfree: {units: 3, fee: when reached}", "rules.r.free", "no use has a fee", "add each"),
    (f"{TIERS}\nfree: 3 events", "rules.r.free", "an allowance of uses needs one price per unit", "write price:"),
    (f"{TIERS}\nfree: 3 pages\neach: {{fee: 1}}", "rules.r.free", "an allowance beside 'each' needs one price per unit", "put the fee into each"),
    ("price: 1 per started 3 pages\nfree: 3 events", "rules.r.free", "needs one price per unit", "write price:"),
    ("price: 5 flat + 1\nfree: 3 events", "rules.r.free", "needs one price per unit", "put the fee into each"),
    ("price: 1\nfree: 3 events\nround: up to 5 pages", "rules.r.round", "an allowance of uses needs the uses rounded one by one", "per event"),
    (f"price: 1\nfree: 3 events{DAY[:-1]}, at_most: 5}}", "rules.r.free", "an allowance of uses, and at_most", "keep one"),
    (f"price: 1\nfree: 3 events{EVENT}", "rules.r.free", "each use is the first of its scope, so all of them would be free", "over: month"),
    (f"price: 1\nfree: 3 pages{DAY[:-1]}, at_most: 3}}", "rules.r.free", "nothing is ever charged", "price: free"),
    # fees and limits
    (f"price: 1\neach: {{fee: 1}}{DAY}\ncrossing: cut", "rules.r.each", "is several uses to 'each'", "crossing: start"),
    ("price: 1\nzero_usage: fee", "rules.r.zero_usage", "the first tier has no flat fee", "5 flat"),
    ("price: 1\nminimum: 5", "rules.r.minimum", "has no end, so nothing would ever fall due", "over: month"),
    ("price: 1\ncommitment: {amount: 5}", "rules.r.commitment", "has no end, so nothing would ever fall due", "over: month"),
    (f"price: 1\nminimum: 5\ncap: 4{DAY}", "rules.r.cap", "less than what is due in any case", "the greater one"),
    (f"price: 1\ncommitment: {{amount: 5, overage: 2, due: never}}\ncap: 5{DAY}", "rules.r.cap", "reached before the overage begins", "raise the cap"),
    (f"price: 1\ncommitment: {{amount: 5}}\nminimum: 4{DAY}", "rules.r.commitment", "two amounts are due at the end", "due: never"),
    (f"price: 1\ncommitment: {{amount: 5, due: never}}{DAY}", "rules.r.commitment", "it changes nothing", "overage: 2"),
    # tiers by volume
    (f"volume: {{to 5: 2, above: 1}}{DAY}", "rules.r.volume", "the total falls: 5 pages cost 10 USD, one more 6 USD", "reprice: never"),
    (f"volume: {{to 5: 2, above: free}}{DAY}", "rules.r.volume", "the total falls: 5 pages cost 10 USD, one more 0 USD", "reprice: down"),
    (f"{TIERS}\nreprice: down", "rules.r.reprice", "a total of graduated never falls", "use volume"),
    (f"volume: {{to 5: 2, above: 1}}\nreprice: down\neach: {{fee: 1}}{DAY}", "rules.r.each", "'each' beside reprice: down", "keep one"),
    (f"{TIERS}\ntier_by: full{EVENT}", "rules.r.tier_by", "only a volume tier can be chosen by an attribute", "use volume"),
    (f"volume: {{to 5: 1, above: 1}}\ntier_by: full{DAY}", "rules.r.tier_by", "the attribute is of a single use, and this counts over day", "over: event"),
    (f"volume: {{to 5: 1, above: refuse}}\ntier_by: full{EVENT}", "rules.r.tier_by", "a limit of the quantity", "take one of them out"),
    (f"volume: {{to 5: 1, above: 1}}\ntier_by: item{EVENT}", "rules.r.tier_by", "'item' is a field of a use, not an attribute", "region"),
    # steps
    (f"steps: {{to 5: 2, above: 1}}{DAY}", "rules.r.steps", "steps go by the time elapsed in one session, and this counts over day", "over: session"),
    (f"steps: {{to 5: 3 flat, above: 1}}{SESSION}", "rules.r.steps", "a flat fee within steps", "connect"),
    (f"steps: {{to 5: 2, above: 1}}\nfree: 3 pages{SESSION}", "rules.r.free", "'free' beside steps", "make the first step free"),
    (f"steps: {{to 5: 2, above: 1}}\nround: up to 3 pages{SESSION}", "rules.r.round", "'round' beside steps", "by 60 seconds"),
    (f"steps: {{to 5: 2, above: 1}}\neach: {{fee: 3}}{SESSION}", "rules.r.each", "'each' beside steps", "connect"),
    # prices with the use
    # bands
    (f"price: 1\n{BANDS}- {{otherwise: 1}}", "rules.r.price", "price beside bands", "otherwise"),
    (f"{BANDS}- {{otherwise: 1}}\n- {{name: x, price: 1}}", "rules.r.bands", "a band behind 'otherwise'", "last"),
    (f"{BANDS}- {{price: 1}}", "rules.r.bands.2.name", "'name' is missing", "name: peak"),
    (f"{BANDS}- {{name: x, days: mondey, price: 1}}", "rules.r.bands.x.days", "'mondey' is no day of the week", "mon"),
    (f"{BANDS}- {{name: x, days: mon-wed-fri, price: 1}}", "rules.r.bands.x.days", "names no days", "mon-fri"),
    (f"{BANDS}- {{name: x, dates: 12-32, price: 1}}", "rules.r.bands.x.dates", "'12-32' is no day of the year", "12-25"),
    (f"{BANDS}- {{name: x, dates: [], price: 1}}", "rules.r.bands.x.dates", "an empty list", "take it out"),
    (f"{BANDS}- {{name: x, from: '25:00', price: 1}}", "rules.r.bands.x.from", "'25:00' is no time of day", "08:00"),
    (f"{BANDS}- {{name: x, from: '24:00', price: 1}}", "rules.r.bands.x.from", "begins at the end of the day", "00:00"),
    (f"{BANDS}- {{name: x, from: '8:00', to: '08:00', price: 1}}", "rules.r.bands.x.to", "ends when it begins", "24:00"),
    (f"{BANDS}- {{name: x, from: '8:00'}}", "rules.r.bands.x.price", "no price", "write price"),
    (f"{BANDS}- {{name: day, price: 1}}\n- {{otherwise: 1}}", "rules.r.bands.otherwise", "it can never match: 'day' above takes every use", "take it out"),
    ("bands: often", "rules.r.bands", "the text 'often' where bands are due", "name: peak"),
    (f"{BANDS}- {{name: n, steps: {{above: 1 by 5 pages}}}}\n- {{otherwise: {{graduated: {{to 5: 1, above: 2}}}}}}{SESSION}", "rules.r.bands", "band 'otherwise' has neither steps nor one price per unit", "steps in all bands"),
    ("price: 1\nzone: UTC", "rules.r.zone", "a zone without bands", "calendar"),
    ("price: {by: segment, a: 1, b: 2, otherwise: 3}\nminimum: 5", "rules.r.minimum", "nothing would ever fall due", "over: month"),
    # by attribute
    ("price: {by: segment}", "rules.r.price", "no values", "{by: segment"),
    ("price: {by: , a: 1}", "rules.r.price.by", "nothing where an attribute is due", "by: segment"),
    ("price: {by: meter, a: 1}", "rules.r.price.by", "a rule has exactly one meter", "each meter"),
    ("price: {by: segment, otherwise: 1, a: 2}", "rules.r.price.a", "'a' stands behind 'otherwise'", "write it last"),
    ("price: {by: segment, a: cheap}", "rules.r.price.a", "'cheap' is no price", "0.005"),
    ("price: {by: segment, a: {to 5: 1}}", "rules.r.price.a", "a table that is no price", "0.005 per page"),
    ("price: {by: segment, 'a*': 1, ab: 2, otherwise: 3}", "rules.r.price.ab", "it can never match: 'a*' above takes every use it names, for example a use with meter m, segment ab", "move 'ab' above"),
    ("price: 1\nmultiply: 2", "rules.r.multiply", "the text '2' that names no attribute", "{by: region"),
    ("price: 1\nmultiply: []", "rules.r.multiply", "an empty list", "{by: region"),
    ("price: 1\nmultiply: {by: region, eu: much}", "rules.r.multiply.eu", "'much' is no number", "0.005"),
    ("price: 1\nmultiply: {by: region, eu: -1}", "rules.r.multiply.eu", "'-1' is no factor from 0 to 1,000", "80%"),
    ("price: 1\nmultiply: [" + ", ".join(f"{{by: a{i}, x: 2, y: 3, otherwise: 1}}" for i in range(5)) + "]", "rules.r.price", "243 variants of one rule, at most 200", "several rules"),
    ("price: {from: shop, at_most: 1}", "rules.r.price.from", "'shop' brings no price", "event, catalog"),
    ("price: {from: event}", "rules.r.price.at_most", "'at_most' is missing", "at_most: 2.00"),
    ("price: {from: event, at_least: 2, at_most: 1}", "rules.r.price.at_least", "at_least is more than at_most", "the lesser"),
    ("price: {from: catalog, attribute: x, at_most: 1}", "rules.r.price.attribute", "an item of a catalog has one price", "from: event"),
    (f"price: {{from: event, at_most: 2}}\nfree: 3{DAY[:-1]}, at_most: 2}}", "rules.r.free", "at_most ends within the allowance", "free instead"),
    ("price: {from: event, at_most: 1, otherwise: 5 flat}", "rules.r.price.otherwise", "a price with a fee or steps", "one price per unit"),
    # the words themselves
    ("graduated: {to 5: refuse, above: 1}", "rules.r.graduated.to 5", "only what is above the last border can be refused", "above: refuse"),
    ("price: 2.9%", "rules.r.price", "'2.9%' is a part of an amount, and meter 'm' counts pages", "{unit: USD, scale: 2}"),
    ("price: 0.02 per page + 5 flat", "rules.r.price", "'0.02 per page + 5 flat' is no price", "the flat fee first"),
    ("price: 1 per started 3 pages by 2 pages", "rules.r.price", "two steps: started and by", "keep one"),
    ("price: 1 per started 0.5 pages", "rules.r.price", "steps finer than meter 'm' counts", "scale is 0"),
    ("price: 1 by 0 pages", "rules.r.price", "'0 pages' is not above zero", "1 page"),
    ("price: dear flat", "rules.r.price", "'dear flat' is no price: 'dear' is no number", "0.005"),
    ("price: 1\nfree: {}", "rules.r.free", "an allowance of nothing", "{units: 500, events: 3}"),
    ("price: 1\nfree: [3]", "rules.r.free", "a list where an allowance is due", "1000 tokens"),
    ("price: 1\nfree: {units: 3, after: use}", "rules.r.free.after", "'use' is none of the choices", "after: rounding"),
    ("price: 1\neach: {}", "rules.r.each", "nothing is said of each use", "fee: 0.30"),
    ("price: 1\neach: {at_least: 2, at_most: 1}", "rules.r.each", "at_least is more than at_most", "the lesser"),
    ("price: 1\nround: nearest to 1 page", "rules.r.round", "'nearest to 1 page' is no rounding", "half_up"),
    ("price: 1\nround: up to 0.5 pages", "rules.r.round", "finer than meter 'm' counts", "scale is 0"),
    (f"price: 1\ncommitment: {{amount: 0}}{DAY}", "rules.r.commitment", "a commitment to nothing", "amount: 10"),
    (f"price: 1\ncommitment: {{amount: 1, overage: 2000}}{DAY}", "rules.r.commitment.overage", "no factor from 0 to 1,000", "1.5"),
    (f"price: 1\ncommitment: {{amount: 1/0, overage: 2}}{DAY}", "rules.r.commitment.amount", "'0' is no whole number from 1", "as in 1"),
    (f"price: 1\ncommitment: {{overage: 2}}{DAY}", "rules.r.commitment.amount", "'amount' is missing", "amount: 10"),
    ("price: 1\nreprice: up", "rules.r.reprice", "'up' is none of the choices", "down or never"),
    ("price: 1\ncrossing: maybe", "rules.r.crossing", "'maybe' is no way to cross a border", "cut, start"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "field", "problem", "remedy"), SENSE, ids=[s[0].replace("\n", " ")[:60] for s in SENSE]
)
def test_what_has_no_meaning_is_refused_with_the_reason(lines: str, field: str, problem: str, remedy: str) -> None:
    errors = [f for f in findings(lines) if f.severity == "error"]
    found = [f for f in errors if f.field == field and problem in f.problem]
    assert found, "\n".join(map(str, errors)) or "no error"
    assert remedy in found[0].remedy, str(found[0])
    assert len(found) == 1  # once, however many variants are at fault


@pytest.mark.parametrize(
    ("lines", "field", "problem"),
    [
        (f"graduated: {{to 5: 1}}{DAY}", "rules.r.graduated", "a hole: nothing is said of what is above 5 pages, so it is free"),
        (f"volume: {{to 5: 1}}{DAY}", "rules.r.volume", "a hole: nothing is said of what is above 5 pages, so it is priced like the last tier"),
        (f"price: 1\nround: up to 1 page{DAY}", "rules.r.round", "rounding to 1 page changes nothing"),
        (f"volume: {{to 5: 2, above: 1}}{EVENT}", "rules.r.volume", "the total falls: 5 pages cost 10 USD, one more 6 USD"),
        ("price: {by: segment, school: 1}", "rules", "no rule takes a use with meter m: it stays unpriced"),
        ("price: 1\nmultiply: {by: region, eu: 1}", "rules", "no rule takes a use with meter m: it stays unpriced"),
        ("bands: [{name: day, days: mon-fri, from: 08:00, price: 1}]", "rules", "no rule takes a use with meter m, occurred_at 2027-01-04T00:00:00+00:00: it stays unpriced"),
        (f"bands: [{{name: day, to: 20:00, price: 1, minimum: 1}}, {{otherwise: 1}}]{DAY}", "rules.r.bands", "bands with different minimums"),
        ("price: {by: sesion, a: 1, otherwise: 2}", "rules.r.price.by", "'sesion' is taken as an attribute"),
    ],
)  # fmt: skip
def test_what_is_doubtful_is_told(lines: str, field: str, problem: str) -> None:
    told = [f for f in findings(lines) if "rounded down to a nano by itself" not in f.problem]
    assert [(f.severity, f.field) for f in told] == [("warning", field)], "\n".join(map(str, told))
    assert problem in told[0].problem


@pytest.mark.parametrize(
    ("one", "field", "problem", "remedy"),
    [
        ("pass: p, covers: [r], count: {over: day}", "passes.p.cap", "nothing changes under this pass", "cap: 0.50"),
        ("pass: p, covers: [r], count: {over: day}, cap: 0", "passes.p.cap", "a cap of nothing", "discount: 100%"),
        ("pass: p, covers: [r], cap: 1", "passes.p.count", "'count' is missing", "over: day"),
        ("pass: p, covers: [r], count: {over: life}, cap: 1", "passes.p.count", "would never be shared out", "over: day"),
        ("pass: p, covers: [r], count: {over: event}, cap: 1", "passes.p.count", "has nothing to add up", "over: day"),
        ("pass: p, covers: [r], count: {over: day, at_most: 5}, cap: 1", "passes.p.count.at_most", "unknown name 'at_most'", "per"),
        ("pass: p, covers: [x], count: {over: day}, cap: 1", "passes.p.covers", "'x' is not among the rules", "known here: r"),
        ("pass: p, covers: [], count: {over: day}, cap: 1", "passes.p.covers", "an empty list", "name the rules"),
        ("pass: r, covers: [r], count: {over: day}, cap: 1", "passes.r.pass", "there is a rule of this name", "a name of its own"),
        ("pass: p, covers: [r], count: {over: day}, price: 1, discount: 20%", "passes.p.price", "two prices: discount and price", "keep one"),
        ("pass: p, covers: [r], count: {over: day}, price: 1, cap: 1", "passes.p.cap", "beside a price that is due once", "keep one"),
        ("pass: p, covers: [r], count: {over: day}, price: 0", "passes.p.price", "a pass for nothing", "discount: 100%"),
        ("pass: p, covers: [r], count: {over: day}, discount: 0%", "passes.p.discount", "a discount of nothing", "20%"),
        ("pass: p, covers: [r], count: {over: day}, discount: some", "passes.p.discount", "'some' is no part of a whole", "10%"),
        ("pass: p, covers: [r], count: {over: day}, graduated: 5", "passes.p.graduated", "the text '5' where tiers are due", "to 5: 100%"),
        ("pass: p, covers: [r], count: {over: day}, graduated: {to 5: 100%}", "passes.p.graduated", "nothing is said of what is above 5 USD", "add above"),
        ("pass: p, covers: [r], count: {over: day}, graduated: {to 5: 1, to 4: 1, above: 0}", "passes.p.graduated.to 4", "not above the one before", "rising"),
        ("pass: p, covers: [r], count: {over: day}, cap: 1, share: equally", "passes.p.share", "no way to share", "by list price"),
    ],
)  # fmt: skip
def test_a_pass_without_a_meaning_is_refused(one: str, field: str, problem: str, remedy: str) -> None:
    found = [
        f for f in findings("price: 1", more=f"passes: [{{{one}}}]\n") if f.field == field and problem in f.problem
    ]
    assert found, "\n".join(map(str, findings("price: 1", more=f"passes: [{{{one}}}]\n")))
    assert remedy in found[0].remedy


def test_a_rule_falls_under_one_pass_and_one_that_pays_back_under_none() -> None:
    day = "{pass: %s, covers: [r], count: {over: day}, cap: 1}"
    twice = findings("price: 1", more=f"passes: [{day % 'p'}, {day % 'q'}]\n")
    assert [(f.field, f.problem) for f in twice] == [("passes.q.covers", "'r' is covered by pass 'p' already")]
    falling = findings("volume: {to 5: 2, above: 1}\nreprice: down", more=f"passes: [{day % 'p'}]\n")
    assert [f.field for f in falling] == ["passes.p.covers"]
    assert "pays back where its total falls" in falling[0].problem


@pytest.mark.parametrize(
    ("split", "field", "problem"),
    [
        ("{platform: 10% at most, creator: rest}", "platform", "'10% at most' is no part of a whole"),
        ("{platform: 10% at most 0, creator: rest}", "platform", "is nothing"),
        ("{platform: 10% at most 5 EUR, creator: rest}", "platform", "'EUR' is not the currency"),
        ("{platform: 10% at most 1 rest to shop, creator: rest}", "platform", "'shop' is no party"),
        ("{platform: 10% at most 1 rest to platform, creator: rest}", "platform", "back to platform"),
        ("{platform: 10%, creator: rest at most 5}", "creator", "limits the rest"),
        ("{platform: first 5, 'party:a': 10%, creator: rest}", "party:a", "a part of the charge behind platform"),
        ("{x: {'party:a': 10%}, creator: rest}", "x.of", "no part to divide"),
        ("{x: {of: some, 'party:a': rest}, creator: rest}", "x.of", "'some' is no part of a whole"),
        ("{x: {of: 10%, 'party:a': 20%}, creator: rest}", "x", "not the whole of it"),
        ("{x: {of: 10%, 'party:a': first 1, 'party:b': rest}, creator: rest}", "x.party:a", "a first amount within a part"),
        ("{x: {of: rest, 'party:a': rest}, creator: rest}", "", "both take the rest"),
    ],
)  # fmt: skip
def test_a_split_without_a_meaning_is_refused(split: str, field: str, problem: str) -> None:
    found = findings("price: 1", split=split)
    assert [f.field for f in found] == [f"splits.s.{field}".rstrip(".")], "\n".join(map(str, found))
    assert problem in found[0].problem
