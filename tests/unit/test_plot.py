"""Price curves: exact at borders, within 80 columns, as SVG that needs nothing else; values worked by hand."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from nanotally.streams.commands import app, plot, plot_terminal
from nanotally.streams.commands.plot_axis import Axis, compact, nice_high
from nanotally.streams.commands.plot_curves import Curve, groups_of, period, range_of
from nanotally.streams.domain.tariff import Meter, Tier
from nanotally.streams.domain.terms import Each, Free, Overage, PriceFrom
from nanotally.streams.errors import ExitCode
from tests.support.payers_bench import rule, version
from tests.support.tariff_texts import FILE

TOKENS = rule(
    "tokens", "page", tiers=(Tier(10, Fraction(500)), Tier(1000, Fraction(400)), Tier(None, Fraction(250))),
    scope="month", text="graduated",
)  # fmt: skip


def test_values_on_both_sides_of_each_border_are_exact() -> None:
    borders = Curve(TOKENS, 1500).borders
    assert [(b.quantity, b.why, b.before, b.after) for b in borders] == [
        (10, "tier 1 ends", Fraction(5000), Fraction(5400)),
        (1000, "tier 2 ends", Fraction(401_000), Fraction(401_250)),
    ]


def test_a_price_below_a_nano_is_not_rounded() -> None:
    curve = Curve(rule(price="1/3"), 10)
    assert [curve.value(q) for q in (0, 1, 2, 3)] == [0, Fraction(1, 3), Fraction(2, 3), 1]


def test_one_more_unit_costs_what_its_tier_says() -> None:
    assert Curve(TOKENS, 1500).marginal() == [
        (0, 10, Fraction(500)),
        (10, 1000, Fraction(400)),
        (1000, 1500, Fraction(250)),
    ]


def test_where_a_cap_is_reached_is_found_to_the_unit() -> None:
    capped = rule(price="300", cap_nanos=1000)  # the fourth unit would come to 1,200
    (border,) = Curve(capped, 20).borders
    assert (border.quantity, border.why, border.before) == (4, "cap reached", Fraction(1000))
    assert Curve(capped, 20).marginal()[-1] == (4, 20, Fraction(0))


def test_an_axis_ends_at_a_round_number_and_says_it_in_short() -> None:
    assert [nice_high(Fraction(v)) for v in ("0.0047", "87", "401", "0")] == [Fraction("0.006"), Fraction(100), 600, 1]
    axis = Axis("USD", Fraction(0), Fraction(10_000_000))
    assert axis.labels == ["0", "2.5M", "5M", "7.5M", "10M"]
    decades = Axis("tokens", Fraction(1000), Fraction(10) ** 9, log=True)
    assert decades.labels == ["1k", "10k", "100k", "1M", "10M", "100M", "1B"]
    assert [decades.place(Fraction(10) ** e) for e in (3, 6, 9)] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("value", "text"),
    [(12_500, "12.5k"), (1_234_567, "1,234,567"), (Fraction("0.0005"), "0.0005"), (Fraction(5, 10**10), "5e-10"),
     (Fraction(1, 3), "1/3"), (0, "0")],
)  # fmt: skip
def test_a_label_is_short_and_exact(value: Fraction, text: str) -> None:
    assert compact(value) == text


def test_a_line_is_drawn_from_corner_to_corner() -> None:
    x, y = Axis("pages", Fraction(0), Fraction(4)), Axis("USD", Fraction(0), Fraction(4))
    lines = plot_terminal.chart(x, y, [("a", [(Fraction(0), Fraction(0)), (Fraction(4), Fraction(4))])], 5)
    assert lines[0] == "USD" and lines[-1].strip() == "pages"
    assert lines[1].startswith(" 4┤ ") and lines[1].endswith(" a") and lines[5].startswith(" 0┤⡠")
    assert lines[7].split() == ["0", "1", "2", "3", "4"]


def test_the_terminal_gets_at_most_80_columns_with_units_and_exact_values() -> None:
    text = plot.terminal(version(TOKENS, rule("song", "play", "20", scope="day", cap_nanos=4_000_000)))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "pages in a month" in text and "seconds in a day" in text and "USD for 1k more seconds" in text
    assert re.search(r"10 pages +tier 1 ends +0\.000005 USD +then 0\.40 USD per 1,000,000 pages", text)
    assert "200 seconds  cap reached  0.004 USD  then free" in text


def test_variants_of_a_rule_share_a_plot_and_what_cannot_be_drawn_is_said() -> None:
    school, other = rule("tutor", variant="school", price="7"), rule("tutor", variant="pro", price="9")
    refused = rule("tutor", variant="otherwise", refuse=True)
    (group,) = groups_of(version(school, other, refused))
    picture = plot.drawn(version(school), group)
    assert [name for name, _ in picture.curves] == ["school", "pro"]
    assert picture.remarks == ["otherwise: refused"]


def test_borders_far_apart_are_drawn_in_decades() -> None:
    meter = Meter("page", "page")
    far = rule(tiers=(Tier(10, Fraction(5)), Tier(10_000, Fraction(4)), Tier(None, Fraction(2))))
    assert range_of([far], meter) == (15_001, True)
    assert range_of([TOKENS], meter) == (1501, True)
    near = rule(tiers=(Tier(10, Fraction(5)), Tier(100, Fraction(4)), Tier(None, Fraction(2))))
    assert range_of([near], meter) == (151, False)


def test_started_steps_repeat_after_their_size() -> None:
    assert period(rule(tiers=(Tier(60, Fraction(5), step=6), Tier(None, Fraction(5), step=10)))) == 30
    assert period(TOKENS) == 1


def test_an_svg_stands_alone_and_follows_light_and_dark(tmp_path: Path) -> None:
    file, out = tmp_path / "prices.yaml", tmp_path / "prices.svg"
    file.write_text(FILE, encoding="utf-8")
    said = CliRunner().invoke(app, ["tariff", "show", str(file), "--svg", str(out)])
    assert (said.exit_code, said.stderr) == (ExitCode.OK, f"written: {out}\n")
    text = out.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert root.get("width") == "760" and len(list(root.iter("{http://www.w3.org/2000/svg}path"))) == 6
    assert "prefers-color-scheme:dark" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "") and "<script" not in text
    assert "10M: 5 USD (tier 1 ends)" in text


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(FILE, encoding="utf-8")
    said = CliRunner().invoke(app, ["tariff", "show", str(file), "--svg", str(tmp_path / "no" / "prices.svg")])
    assert said.exit_code == ExitCode.INVALID and "cannot be written" in said.stderr


def test_bounds_of_a_single_use_are_borders_too() -> None:
    each = Each(Fraction(30), at_least=Fraction(50), at_most=Fraction(1200))  # 30 + 3 q: above 50 from 7, 1200 at 390
    card = rule(price="3", scope="event", each=each)
    curve = Curve(card, 1000)
    assert [(b.quantity, b.why, b.before) for b in curve.borders] == [
        (6, "minimum of a use passed", Fraction(50)),
        (390, "maximum of a use reached", Fraction(1200)),
    ]
    assert curve.marginal() == [(0, 6, Fraction(0)), (6, 390, Fraction(3)), (390, 1000, Fraction(0))]


def test_what_falls_due_at_the_end_is_part_of_the_price() -> None:
    curve = Curve(rule(price="3", scope="month", minimum_nanos=30), 50)
    assert [curve.value(q) for q in (0, 10, 11)] == [30, 30, 33]
    assert [(b.quantity, b.why) for b in curve.borders] == [(10, "minimum passed")]


def test_an_allowance_and_started_steps_are_drawn_as_they_are_charged() -> None:
    packages = rule(tiers=(Tier(None, Fraction(2), step=10),), scope="month", free=Free(units=5))
    curve = Curve(packages, 40)
    assert [curve.value(q) for q in (0, 5, 6, 15, 16)] == [0, 0, 20, 20, 40]
    assert [(b.quantity, b.why) for b in curve.borders] == [(5, "allowance used up")]
    assert curve.marginal() == [(0, 5, Fraction(0)), (5, 40, Fraction(2))]


def test_a_commitment_makes_the_rest_dearer() -> None:
    curve = Curve(rule(price="10", scope="month", overage=Overage(Fraction(100), Fraction(2))), 30)
    assert [curve.value(q) for q in (10, 11)] == [100, 120]
    assert curve.marginal() == [(0, 10, Fraction(10)), (10, 30, Fraction(20))]


def test_above_a_limit_there_is_no_price() -> None:
    curve = Curve(rule(limit=3), 5)
    assert [(b.quantity, b.before, b.after) for b in curve.borders] == [(3, Fraction(15_000_000), None)]


def test_what_a_reader_of_a_curve_must_know_is_said() -> None:
    trial = rule("trial", free=Free(events=3))
    picture = plot.drawn(version(trial), groups_of(version(trial))[0])
    assert picture.remarks == ["drawn for what comes after the first 3 uses, free"]
    assert picture.curves[0][1].value(1) == 5_000_000
    own = rule("own", price_from=PriceFrom("event", "price", Fraction(0), Fraction(10), Fraction(1)))
    assert plot.drawn(version(own), groups_of(version(own))[0]).remarks == [
        "drawn for uses that bring no price of their own"
    ]


def test_lines_that_lie_on_each_other_stay_visible() -> None:
    x, y = Axis("pages", Fraction(0), Fraction(4)), Axis("USD", Fraction(0), Fraction(4))
    points = [(Fraction(0), Fraction(2)), (Fraction(4), Fraction(2))]
    lines = plot_terminal.chart(x, y, [("a", points), ("b", points)], 5)
    assert lines[3].endswith(" ab") and lines[3].count("⠉") + lines[3].count("⠤") + lines[3].count("⠒") > 60
