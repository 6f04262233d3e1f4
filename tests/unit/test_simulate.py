"""A draft beside the tariff in force over the same uses: sums, winners and losers, worked out by hand."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from nanotally.schemas import codec
from nanotally.streams.commands import app, simulate
from nanotally.streams.commands.simulate_names import NameTable
from nanotally.streams.commands.simulate_outcome import Names, Taken
from nanotally.streams.commands.simulate_rating import ColumnSide, in_columns, side
from nanotally.streams.commands.simulate_report import report
from nanotally.streams.commands.simulate_stage import StageSide
from nanotally.streams.commands.simulate_sums import SUM_MAX, Simulation
from nanotally.streams.commands.simulate_usage import Ledger, from_file
from nanotally.streams.commands.tariff_sources import Named
from nanotally.streams.domain.records import LONG_AGO, NO_END
from nanotally.streams.domain.tariff import Condition, Pass, RuleBook, TariffVersion, Tier
from nanotally.streams.domain.terms import Each, Free, PriceFrom, Rounding
from nanotally.streams.domain.uses import Uses
from nanotally.streams.errors import ExitCode, InvalidInput, Transient
from nanotally.streams.publisher_ledger import Records
from nanotally.streams.tariffs.reader import read_tariff
from tests.support.payers_bench import DAY, T0, PayersBench, activate, book, event, redrive, rule, version
from tests.support.tariff_texts import FILE, changed

USES = [
    # payer, item, creator, quantity, day, feature
    ("ann", "/a", "ana", 10, 0, "read"),
    ("ann", "/a", "ana", 10, 0, "read"),
    ("bob", "/b", "bea", 5, 1, "search"),
    ("cid", "/a", "ana", 1, 1, None),
]


def taken(uses: Sequence[tuple[str, str, str, int, int, str | None]], first: int = 0, **more: Any) -> Taken:
    """Uses of meter page as columns, each in the second after the one before."""
    records = [
        {
            "event_id": f"e{first + i}", "occurred_at": T0 + day * DAY + (first + i) * 10**6, "product": "news",
            "payer": payer, "creator": creator, "item": item, "meter": "page", "quantity": quantity, "scale": 0,
            "session": None, "duration_us": None, "attributes": {"feature": feature} if feature else {}, **more,
        }
        for i, (payer, item, creator, quantity, day, feature) in enumerate(uses)
    ]  # fmt: skip
    batch = codec.decode("UsageEvent", [codec.encode_one("UsageEvent", record) for record in records]).batch
    offsets = np.arange(first, first + len(records))
    found = Uses(batch, offsets, np.full(len(records), T0 + 400 * DAY), [])
    return Taken(0, found, found.occurred_at_us, LONG_AGO)


def simulated(before: TariffVersion, after: TariffVersion, *chunks: Taken) -> Simulation:
    simulation = Simulation("feature")
    sides = side(book(before), simulation.names), side(book(after), simulation.names)
    for chunk in chunks or (taken(USES),):
        simulation.add(chunk, (sides[0].rate(chunk), sides[1].rate(chunk)))
    simulation.add_dues((sides[0].close(T0 + 40 * DAY), sides[1].close(T0 + 40 * DAY)))
    return simulation


def changes(simulation: Simulation, title: str) -> dict[str, tuple[int, int]]:
    found = report(simulation, "old", "new", "uses", "USD", None)
    (kind,) = (k for k in found.kinds if k.title == title)
    return {c.name: (c.before, c.after) for c in kind.changes}


FIVE, TIERED = rule(price="5"), rule(tiers=(Tier(10, Fraction(10)), Tier(None, Fraction(1))))


# ---- sums ----


def test_each_payer_party_item_and_feature_has_its_sum_on_both_sides() -> None:
    found = simulated(version(FIVE), version(TIERED))
    # ann 20 pages: 100 -> 10 at 10 and 10 at 1 = 110; bob 5: 25 -> 50; cid 1: 5 -> 10
    assert changes(found, "payers") == {"ann": (100, 110), "bob": (25, 50), "cid": (5, 10)}
    assert changes(found, "items") == {"/a": (105, 120), "/b": (25, 50)}
    assert changes(found, "features") == {"read": (100, 110), "search": (25, 50), "(none)": (5, 10)}
    # ana 105 -> 120 less the platform's tenth, whole nanos cumulated
    assert changes(found, "creators") == {"ana": (95, 108), "bea": (23, 45)}
    assert changes(found, "other parties") == {"platform": (12, 17)}
    assert [s.revenue for s in found.sides] == [130, 170]


def test_days_and_rules_sum_to_the_revenue() -> None:
    told = report(simulated(version(FIVE), version(TIERED)), "old", "new", "uses", "USD", None)
    assert told.days == ((T0, 100, 110), (T0 + DAY, 30, 60))
    assert [(c.name, c.uses, c.before, c.after) for c in told.rules] == [("article", 4, 130, 170)]
    assert told.outcomes == (("charged", 4, 4),)


def test_chunks_do_not_show() -> None:
    parts = [taken([use], first=i) for i, use in enumerate(USES)]
    whole, chopped = simulated(version(FIVE), version(TIERED)), simulated(version(FIVE), version(TIERED), *parts)
    assert changes(whole, "payers") == changes(chopped, "payers")
    assert changes(whole, "creators") == changes(chopped, "creators")


def test_a_use_that_no_rule_takes_is_unpriced_on_that_side_alone() -> None:
    only_bea = rule(when=(Condition("creator", "equals", ("bea",)),))
    told = report(simulated(version(FIVE), version(only_bea)), "old", "new", "uses", "USD", None)
    assert set(told.outcomes) == {("charged", 4, 1), ("unpriced: no_rule", 0, 3)}


def test_refusals_are_counted_by_their_reason() -> None:
    told = report(simulated(version(FIVE), version(rule(price="5", limit=15))), "old", "new", "uses", "USD", None)
    assert set(told.outcomes) == {("charged", 4, 3), ("refused: limit", 0, 1)}
    assert (told.before, told.after) == (130, 80)


def test_what_falls_due_is_in_the_revenue_and_with_those_who_earn_it() -> None:
    found = simulated(version(FIVE), version(rule(price="5", scope="month", minimum_nanos=60)))
    told = report(found, "old", "new", "uses", "USD", None)
    # ann paid 100, bob 25 and 35 at the end, cid 5 and 55; the month ends within the 40 days
    assert (told.after, told.due) == (220, (0, 90))
    assert changes(found, "payers") == {"ann": (100, 100), "bob": (25, 60), "cid": (5, 60)}
    for s in found.sides:
        assert int(s.accounts.nanos.sum()) == s.revenue


def test_a_pass_caps_what_payers_pay_and_its_pool_is_empty_in_the_end() -> None:
    capped = Pass("day", ("article",), replace(rule("day", price="1"), scope="day", cap_nanos=40, split="standard"))
    found = simulated(version(FIVE), version(FIVE, passes=(capped,)))
    assert changes(found, "payers") == {"ann": (100, 40), "bob": (25, 25), "cid": (5, 5)}
    assert found.sides[1].revenue == 70 == int(found.sides[1].accounts.nanos.sum())
    assert changes(found, "other parties")["pool:t/day"] == (0, 0)


def test_sums_that_could_wrap_are_refused() -> None:
    dear = rule(tiers=(Tier(None, Fraction(SUM_MAX // 12)),))
    with pytest.raises(InvalidInput, match=r"beyond 4\.6 billion"):
        simulated(version(FIVE), version(dear))


# ---- the two ways of rating ----


@pytest.mark.parametrize(
    "price",
    [
        FIVE,
        TIERED,
        rule(price="7/3", scope="month", cap_nanos=30),
        rule(scope="event", each=Each(Fraction(3), at_most=Fraction(40_000_000))),
        rule(tiers=(Tier(10, Fraction(10)), Tier(None, Fraction(1))), volume=True, scope="month", limit=15),
        rule(price_from=PriceFrom("event", "feature", Fraction(0), Fraction(10), Fraction(1))),
        rule(tiers=(Tier(None, Fraction(2), step=7),), free=Free(units=3), rounding=Rounding(4, "up", True)),
    ],
)
def test_columns_and_the_whole_stage_come_to_the_same(price: Any) -> None:
    names = Names.new()
    ways = ColumnSide(book(version(price)), names), StageSide(book(version(price)), names)
    for chunk in (taken(USES[:2]), taken(USES[2:], first=2)):
        one, other = (way.rate(chunk) for way in ways)
        for field in ("paid", "rule", "outcome"):
            assert getattr(one, field).tolist() == getattr(other, field).tolist()
        assert Counter(_shares(one, names)) == Counter(_shares(other, names))


def _shares(outcome: Any, names: Names) -> dict[str, int]:
    sums: dict[str, int] = {}
    for code, nanos in zip(outcome.account.tolist(), outcome.nanos.tolist(), strict=True):
        sums[names.accounts.texts[code]] = sums.get(names.accounts.texts[code], 0) + nanos
    return sums


def test_what_depends_on_more_than_the_uses_of_windows_goes_through_the_stage() -> None:
    assert in_columns(book(version(FIVE)))
    for more in ({"minimum_nanos": 5}, {"scope": "session", "length_us": 1}, {"cut": True}):
        assert not in_columns(book(version(rule(**more))))
    assert in_columns(book(version(rule(scope="event", minimum_nanos=5))))


# ---- names ----


def test_a_name_keeps_its_code_over_chunks() -> None:
    table = NameTable()
    assert table.codes(pa.array(["b", "a", "b"])).tolist() == [0, 1, 0]
    assert table.codes(pa.array(["c", "a"])).tolist() == [2, 1]
    assert (table.texts(), len(table)) == (["b", "a", "c"], 3)


# ---- spread ----


def test_changes_are_put_into_bars_by_percent() -> None:
    many = [(f"p{i}", "/a", "ana", 100, 0, None) for i in range(4)]
    before = version(rule("a", price="1000", when=(Condition("payer", "equals", ("p0",)),)), rule("b", price="1000"))
    after = version(rule("a", price="400", when=(Condition("payer", "equals", ("p0",)),)), rule("b", price="1040"))
    told = report(simulated(before, after, taken(many)), "old", "new", "uses", "USD", None)
    payers = told.kinds[0]
    assert [bar for bar in payers.bars if bar[1]] == [("-50 % or more", 1), ("to +5 %", 3)]
    assert (len(payers.more), len(payers.less), payers.same) == (3, 1, 0)
    assert payers.quantiles[2] == (50, 100_000, 104_000)
    assert payers.quantiles[0] == (10, 100_000, 40_000)


# ---- uses ----


LINE = (
    '{"event_id": "%s", "occurred_at": "%s", "product": "news", "payer": "p", "item": "i", "meter": "page.view", '
    '"quantity": "1"}'
)


def test_a_file_is_taken_as_a_worker_would_take_it() -> None:
    lines = [
        LINE % ("a", "2026-12-02T10:00:00Z"), LINE % ("a", "2026-12-02T10:00:00Z"), "{}",
        LINE % ("b", "2026-12-02T09:00:00Z"), LINE.replace('"1"', '"0.5"') % ("c", "2026-12-02T10:00:00Z"),
    ]  # fmt: skip
    left_out: Counter[str] = Counter()
    said: list[str] = []
    held = replace(_book_of(FILE), number=0)
    (chunk,) = from_file("u.jsonl", BytesIO("\n".join(lines).encode()), held, left_out, said.append)
    assert chunk.uses.column("event_id").to_pylist() == ["a", "b"]
    late = chunk.booked_at[1] - chunk.uses.occurred_at_us[1]
    assert late == 3600 * 10**6 - held.settings.lateness_us
    assert left_out == Counter({"cannot be used": 1, "told twice": 1, "rejected": 1})
    assert said == ["u.jsonl:3: occurred_at is missing"]


def _book_of(text: str) -> RuleBook:
    return book(replace(read_tariff(text), effective_from_us=0), lateness_us=60_000_000)


class _Charges:
    """A reader of topics that has the ledger of a test."""

    def __init__(self, values: list[bytes]) -> None:
        self._values = values

    async def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        return {0: (0, len(self._values))}

    async def stream(self, topic: str, ranges: Any) -> Any:
        yield Records(topic, 0, 0, len(self._values), values=list(self._values))


async def _read(ledger: Ledger, values: list[bytes], left_out: Counter[str]) -> list[Taken]:
    found: list[Taken] = []
    await ledger.read(_Charges(values), left_out, found.append)  # type: ignore[arg-type]
    return found


def test_the_ledger_gives_the_uses_of_its_period_and_what_they_were_charged() -> None:
    bench = PayersBench(book(version(FIVE)))
    bench.take(
        event("1", T0), event("2", T0 + DAY, quantity=3), event("3", T0 + DAY, product="else"), event("4", T0 + 2 * DAY)
    )
    left_out: Counter[str] = Counter()
    ledger = Ledger("t", lambda product: product == "news", T0 + DAY, T0 + 2 * DAY)
    (chunk,) = asyncio.run(_read(ledger, bench.ledger, left_out))
    assert chunk.uses.column("event_id").to_pylist() == ["2"]
    assert (left_out["of other tariffs"], ledger.charged) == (1, 15 + 5)
    found = simulated(version(FIVE), version(TIERED), chunk)
    assert changes(found, "payers") == {"p": (15, 30)}
    everything = Ledger("t", lambda _: True, LONG_AGO, NO_END)
    assert sum(len(c.uses) for c in asyncio.run(_read(everything, bench.ledger, left_out))) == 4


def test_a_redriven_use_of_the_ledger_is_simulated_once() -> None:
    """Where it found no price, if that is in the period; else where it was redriven."""
    bench = PayersBench(book(version(replace(FIVE, when=(Condition("item", "equals", ("/b",)),)))))
    bench.take(event("1", T0), event("2", T0 + DAY, item="/b"))
    bench.books[1] = book(version(FIVE, number=2), number=1)
    bench.take(activate(bench.books[1]), redrive(1, event("1", T0)))
    for since_us, booked_at in ((LONG_AGO, [T0, T0 + DAY]), (T0 + DAY, [T0 + DAY, T0 + DAY])):
        left_out: Counter[str] = Counter()
        ledger = Ledger("t", lambda _: True, since_us, NO_END)
        (chunk,) = asyncio.run(_read(ledger, bench.ledger, left_out))
        assert sorted(chunk.uses.column("event_id").to_pylist()) == ["1", "2"]
        assert chunk.booked_at.tolist() == booked_at and ledger.charged == 10
        assert left_out["redriven, taken where they came first"] == (since_us == LONG_AGO)


# ---- the command ----


class _Page(HTMLParser):
    """Tags that a page opens and closes, and addresses it names."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "line", "rect", "path", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "rect", "path", "circle"):
            assert self.open.pop() == tag


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    texts = {
        "old.yaml": FILE,
        "new.yaml": changed("0.005 per page", "0.007 per page"),
        "uses.jsonl": "\n".join(
            LINE % (f"e{i}", f"2026-12-{1 + i // 10:02}T10:00:00Z") for i in range(30)
        ).replace('"p"', '"<p&1>"'),
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return {name: str(tmp_path / name) for name in texts}


def invoke(files: dict[str, str], *more: str) -> Any:
    tariffs = ("--tariff", files["new.yaml"], "--tariff", files["old.yaml"])
    return CliRunner().invoke(app, ["tariff", "simulate", *tariffs, "--usage", files["uses.jsonl"], *more])


def test_a_script_gets_exact_sums(files: dict[str, str]) -> None:
    said = invoke(files, "--json")
    told = json.loads(said.stdout)
    # one page per payer, item and day is paid: three days
    assert told["revenue"]["before"] == "0.015000000" and told["revenue"]["after"] == "0.021000000"
    assert told["kinds"]["payers"]["most_more"][0]["name"] == "<p&1>"
    assert told["days"][0] == {"day": "2026-12-01", "before": "0.005000000", "after": "0.007000000"}


def test_a_person_gets_words_within_100_columns(files: dict[str, str]) -> None:
    said = invoke(files)
    assert said.exit_code == ExitCode.OK
    assert "REVENUE  0.015000000 -> 0.021000000 USD   +40 %" in said.stdout
    assert "PAYERS  1 pay more · 0 pay less · 0 the same" in said.stdout
    assert "30 uses from 2026-12-01 to 2026-12-03" in said.stdout
    assert max(len(line) for line in said.stdout.splitlines()[2:]) <= 100


def test_the_page_stands_alone_and_escapes_what_people_are_called(files: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert invoke(files, "--html", str(out)).exit_code == ExitCode.OK
    text = out.read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == [] and page.addresses == []
    assert "&lt;p&amp;1&gt;" in text and "<p&1>" not in text and "<script" not in text
    assert "prefers-color-scheme:dark" in text and "<svg" in text
    assert re.search(r"0\.02<small>1000000</small>", text)


def test_without_a_tariff_in_force_the_draft_stands_alone(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: object) -> Any:
        raise Transient("no broker")

    monkeypatch.setattr(simulate, "published_books", away)
    arguments = ["tariff", "simulate", "--tariff", files["new.yaml"], "--usage", files["uses.jsonl"]]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == ExitCode.OK
    assert "REVENUE  0.021000000 USD" in said.stdout and "compared with nothing" in said.stderr
    assert " -> " not in said.stdout


def test_currencies_are_not_mixed(files: dict[str, str]) -> None:
    Path(files["new.yaml"]).write_text(changed("currency: USD", "currency: EUR"), encoding="utf-8")
    said = invoke(files)
    assert said.exit_code == ExitCode.INVALID and "sums of two currencies cannot be compared" in said.stderr


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        (["--ledger"], "give either --usage FILE or --ledger"),
        (["--from", "2026-12-01T00:00:00Z"], "is for --ledger"),
        (["--tariff", "third.yaml"], "give one, or two"),
    ],
)
def test_what_does_not_go_together_is_an_error_of_usage(files: dict[str, str], more: list[str], hint: str) -> None:
    said = invoke(files, *more)
    assert said.exit_code == ExitCode.USAGE and hint in said.stderr.replace("\n", " ")


def test_no_use_at_all_is_told_with_why(files: dict[str, str]) -> None:
    Path(files["uses.jsonl"]).write_text("{}\n", encoding="utf-8")
    said = invoke(files)
    assert said.exit_code == ExitCode.NOT_FOUND and "left out: cannot be used 1" in said.stderr


def test_both_versions_are_taken_as_always_in_force() -> None:
    compared = simulate._Compared(Named(version(FIVE, since_us=9), "f"), None, book(version(FIVE)).settings, None)
    assert compared.book(compared.after.version).tariffs[0].effective_from_us == 0


def test_prices_that_creators_set_come_from_a_catalog_file(files: dict[str, str], tmp_path: Path) -> None:
    own = changed("price: 0.005 per page\n    count: {per: [payer, item], over: day, at_most: 1 page}",
                  "price: {from: catalog, at_most: 2, otherwise: 0.001 per page}")  # fmt: skip
    Path(files["new.yaml"]).write_text(own, encoding="utf-8")
    songs = tmp_path / "songs.yaml"
    songs.write_text(
        "catalog: c\nversion: 1\neffective_from: 2030-01-01T00:00:00Z\nitems: {i: {creator: eve, price: 0.25}}\n",
        encoding="utf-8",
    )
    told = json.loads(invoke(files, "--catalog", str(songs), "--json").stdout)
    assert told["revenue"]["after"] == "7.500000000"  # 30 uses at 0.25
    assert told["kinds"]["creators"]["most_more"][0] == {
        "name": "eve", "uses_before": 0, "uses": 0, "before": "0.013500000", "after": "6.750000000",
    }  # fmt: skip
    assert json.loads(invoke(files, "--json").stdout)["revenue"]["after"] == "0.030000000"


def test_a_window_that_may_still_be_used_is_remembered_from_chunk_to_chunk() -> None:
    monthly = replace(TIERED, scope="month")
    parts = [replace(taken([use], first=i), watermark_us=T0) for i, use in enumerate(USES)]
    assert changes(simulated(version(FIVE), version(monthly), *parts), "payers")["ann"] == (100, 110)


def test_who_paid_nothing_before_is_new() -> None:
    only_ann = rule(price="5", when=(Condition("payer", "equals", ("ann",)),))
    payers = report(simulated(version(only_ann), version(FIVE)), "old", "new", "uses", "USD", None).kinds[0]
    assert [bar for bar in payers.bars if bar[1]] == [("the same", 1), ("new", 2)]
