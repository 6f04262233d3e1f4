"""`tariff show --plot`: the price of each rule over the quantity and what one more unit costs, as the engine rates."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import typer

from nanotally.streams.commands import plot_svg, plot_terminal
from nanotally.streams.commands.plot_axis import Axis, compact, nice_high
from nanotally.streams.commands.plot_curves import SAMPLES, Curve, Group, groups_of, range_of, scope_words
from nanotally.streams.domain.tariff import NANOS_PER_UNIT, Meter, Rule, TariffVersion
from nanotally.streams.errors import InvalidInput
from nanotally.streams.tariffs import figures

TOTAL_ROWS, MARGINAL_ROWS = 12, 7
_TOTAL_PX, _MARGINAL_PX = 270, 210
_MARKS = "abcdefghijklmnopqrstuvwxyz"
LINES_MAX = 12

Points = list[tuple[Fraction, Fraction]]


@dataclass(frozen=True)
class Drawn:
    """A group of rules ready to be drawn. x in units of the meter, y in units of the currency, per `count` units for
    the marginal price; borders: table rows of text."""

    group: Group
    curves: list[tuple[str, Curve]]
    x: Axis
    total: Axis
    marginal: Axis
    total_lines: list[Points]
    marginal_lines: list[Points]
    borders: list[tuple[str, str, str, str]]
    remarks: list[str]


def drawn(version: TariffVersion, group: Group) -> Drawn:
    """Works out curves, axes and exact values of a group."""
    meter, currency = group.meter, version.currency
    remarks = list(dict.fromkeys(r for rule in group.rules for r in (_not_drawn(rule), _drawn_how(rule, meter)) if r))
    rules = [rule for rule in group.rules if not _not_drawn(rule)]
    if len(rules) > LINES_MAX:
        remarks.append(f"{len(rules) - LINES_MAX} more variants are not drawn")
        rules = rules[:LINES_MAX]
    high, log = range_of(rules, meter)
    curves = [(rule.variant or (rule.name if len(rules) > 1 else ""), Curve(rule, high)) for rule in rules]
    unit = Fraction(1, 10**meter.scale)
    firsts = [b.quantity for _, c in curves for b in c.borders]
    low = Fraction(10) ** (len(str(max(1, min(firsts, default=1) // 20))) - 1)
    places = _sampled(int(low), high) if log else [high * i // SAMPLES for i in range(SAMPLES + 1)]
    what = f"{figures.plural(meter.unit)} {scope_words(group.rules[0])}"
    x = Axis(
        what + ("  (each step ten times as far)" if log else ""), low * unit if log else Fraction(0), high * unit, log
    )
    lines = [
        [(q * unit, nanos / NANOS_PER_UNIT) for q, nanos in curve.points(places) if not log or q >= low]
        for _, curve in curves
    ]
    most = max((y for line in lines for _, y in line), default=Fraction(0))
    least = min((y for line in lines for _, y in line if y > 0), default=Fraction(0))
    if log and least > 0 and most > 1000 * least:
        total = Axis(f"{currency} in all", least, most * Fraction(3, 2), True)
        lines = [[(a, max(b, least)) for a, b in line] for line in lines]
    else:
        total = Axis(f"{currency} in all", Fraction(0), nice_high(most))
    return _with_marginal(group, curves, x, total, lines, currency, remarks)


def _with_marginal(
    group: Group,
    curves: list[tuple[str, Curve]],
    x: Axis,
    total: Axis,
    lines: list[Points],
    currency: str,
    remarks: list[str],
) -> Drawn:
    meter = group.meter
    unit = Fraction(1, 10**meter.scale)
    pieces = [curve.marginal() for _, curve in curves]
    each = [price / unit / NANOS_PER_UNIT for piece in pieces for _, _, price in piece]
    count = 1
    while any(each) and max(each) * count < Fraction(1, 1000):
        count *= 1000
    of = f"for one more {meter.unit}" if count == 1 else f"for {compact(count)} more {figures.plural(meter.unit)}"
    marginal_lines: list[Points] = []
    for piece in pieces:
        line: Points = []
        for low, high, price in piece:
            y = price / unit / NANOS_PER_UNIT * count
            line += [(max(low * unit, x.low), y), (high * unit, y)]
        marginal_lines.append(line)
    marginal = Axis(f"{currency} {of}", Fraction(0), nice_high(max(each, default=Fraction(0)) * count))
    borders = [row for name, curve in curves for row in _rows(name, curve, meter, currency)]
    kept = [(c, t, m) for c, t, m in zip(curves, lines, marginal_lines, strict=True) if t and m]
    return Drawn(
        group, [c for c, _, _ in kept], x, total, marginal, [t for _, t, _ in kept], [m for _, _, m in kept],
        borders, remarks,
    )  # fmt: skip


def _not_drawn(rule: Rule) -> str:
    """Why a rule has no curve; '' where it has one."""
    if rule.refuse:
        return f"{rule.variant or rule.name}: refused"
    if rule.price_from is not None and not rule.tiers:
        return f"{rule.variant or rule.name}: the price comes with each use, so there is no curve"
    return ""


def _drawn_how(rule: Rule, meter: Meter) -> str:
    """What a reader of the curve must know; '' mostly."""
    if rule.free is not None and rule.free.events:
        first = "the first use" if rule.free.events == 1 else f"the first {rule.free.events:,} uses"
        within = f", within {figures.quantity(rule.free.units, meter)}" if rule.free.units else ""
        return f"drawn for what comes after {first}, free{within}"
    if rule.each is not None and rule.scope != "event":
        return "drawn for one use; fee and bounds are of each use"
    return "drawn for uses that bring no price of their own" if rule.price_from is not None and rule.tiers else ""


def _sampled(low: int, high: int) -> list[int]:
    """Quantities at even distances on an axis of decades."""
    ratio = high / max(1, low)
    return sorted({low, high, *(round(max(1, low) * ratio ** (i / SAMPLES)) for i in range(SAMPLES + 1))})


def _rows(name: str, curve: Curve, meter: Meter, currency: str) -> list[tuple[str, str, str, str]]:
    """Exact values at the borders: at, why, price in all, what the next unscaled unit adds."""
    out = []
    marginal = {low: price for low, _, price in curve.marginal()}
    for border in curve.borders:
        if border.before is None:
            said = "refused"
        else:
            said = _money(border.before, currency)
        jump = border.after - border.before if border.after is not None and border.before is not None else None
        then = figures.price(marginal[border.quantity], meter, currency) if border.quantity in marginal else "refused"
        slope = marginal.get(border.quantity, Fraction(0))
        if jump is not None and jump != slope and curve.rule.cap_nanos is None and jump > slope:
            then += f", and {_money(jump, currency)} with the next unit"
        why = f"{name}: {border.why}" if name else border.why
        out.append((figures.quantity(border.quantity, meter), why, said, then))
    return out


def _money(nanos: Fraction, currency: str) -> str:
    return figures.amount(nanos / NANOS_PER_UNIT, currency)


def terminal(version: TariffVersion) -> str:
    """All rules of a version as text of at most 80 columns."""
    parts = []
    for group in groups_of(version):
        picture = drawn(version, group)
        out = [f"── {group.name} ".ljust(plot_terminal.WIDTH, "─")]
        marks = _MARKS if len(picture.curves) > 1 else " "
        for mark, (name, curve) in zip(marks, picture.curves, strict=False):
            text = f"{mark} {name}: {curve.rule.text}".strip() if name else curve.rule.text
            out += textwrap.wrap(text, plot_terminal.WIDTH, subsequent_indent="    ")
        out += picture.remarks
        if picture.curves:
            for axis, lines, rows in (
                (picture.total, picture.total_lines, TOTAL_ROWS),
                (picture.marginal, picture.marginal_lines, MARGINAL_ROWS),
            ):
                named = [(m.strip(), line) for m, line in zip(marks, lines, strict=False)]
                out += plot_terminal.chart(picture.x, axis, named, rows)
            out += _table(picture.borders)
        parts.append("\n".join(line.rstrip() for line in out if line.strip()))
    return "\n\n".join(parts)


def _table(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Borders as lines that wrap where they do not fit in 80 columns."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    out = []
    for at, why, total, then in rows:
        line = f"  {at:>{widths[0]}}  {why:<{widths[1]}}  {total:>{widths[2]}}  then {then}"
        if len(line) <= plot_terminal.WIDTH + 2:
            out.append(line)
        else:
            out += [f"  {at}  {why}", f"      {total} in all, then {then}"]
    return out


def svg(version: TariffVersion) -> str:
    """All rules of a version as one SVG file."""
    charts: list[str] = []
    heights: list[int] = []
    for group in groups_of(version):
        picture = drawn(version, group)
        if not picture.curves:
            continue
        names = [name for name, _ in picture.curves]
        curve = picture.curves[0][1]
        unit = Fraction(1, 10**group.meter.scale)
        notes: list[plot_svg.Note] = []
        if len(names) == 1:
            for border in curve.borders:
                if border.before is not None:
                    at, paid = border.quantity * unit, border.before / NANOS_PER_UNIT
                    said = f"{compact(at)}: {figures.amount(paid, version.currency)}"
                    notes.append(plot_svg.Note(at, paid, f"{said} ({border.why})"))
        lines = [plot_svg.Line(n, line) for n, line in zip(names, picture.total_lines, strict=True)]
        title = f"{group.name}: {curve.rule.text}" if len(names) == 1 and curve.rule.text else group.name
        charts.append(plot_svg.line_chart(title, picture.x, picture.total, lines, notes, _TOTAL_PX))
        lines = [plot_svg.Line("", line) for line in picture.marginal_lines]
        charts.append(plot_svg.line_chart("", picture.x, picture.marginal, lines, (), _MARGINAL_PX))
        heights += [_TOTAL_PX, _MARGINAL_PX]
    if not charts:
        raise InvalidInput("no rule has a curve to draw: each of them refuses, or takes its price from the use")
    return plot_svg.page_of(charts, f"{version.tariff}, version {version.version}", heights)


def write_svg(version: TariffVersion, path: Path) -> None:
    """Writes the SVG file and says so. Raises InvalidInput where it cannot be written."""
    try:
        path.write_text(svg(version), encoding="utf-8")
    except OSError as e:
        raise InvalidInput(f"{path} cannot be written: {e.strerror}") from e
    typer.echo(f"written: {path}", err=True)
