"""A simulation as one HTML page: everything in it, nothing loaded from elsewhere, for light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from nanotally.streams.commands import plot_svg
from nanotally.streams.commands.simulate_charts import bars_chart, days_chart
from nanotally.streams.commands.simulate_report import SAME, Kind, Report
from nanotally.streams.commands.simulate_style import STYLE
from nanotally.streams.commands.simulate_sums import Change
from nanotally.streams.commands.simulate_words import (
    SPREAD_FROM,
    headline,
    percent_of,
    signed,
    span,
    spread_rows,
    uses_text,
    verbs,
)
from nanotally.streams.commands.tariff_diff_prices import percent_text
from nanotally.streams.domain.decimals import fixed_text

_NOTES = """Both tariffs are taken as if they had always been in force, and rated by the code that charges. Counting
begins at nothing with the first of these uses, so that tiers, allowances and caps of a period that began before count
only from there on. Amounts are exact, with all nine decimal places; percentages are to a tenth. People might use more
or less at other prices: that is not in here."""


def page(report: Report, top: int) -> str:
    """The page; `top` winners and losers of each kind are named."""
    title = f"Simulation: {headline(report)}"
    body = "\n".join(_body(report, top))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{escape(title)}</title><style>{plot_svg.STYLE}{STYLE}</style></head>\n'
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def money(nanos: int, plus: bool = False) -> str:
    """All nine places; those behind the cents are set smaller."""
    text = ("+" if plus and nanos > 0 else "") + fixed_text(nanos, grouped=True)
    return f'<span class="m">{text[:-7]}<small>{text[-7:]}</small></span>'


def _body(report: Report, top: int) -> Iterator[str]:
    yield f"<h1>What would it change?</h1><p class=lead>{escape(headline(report))}</p>"
    yield f"<p>{escape(span(report))}, {escape(report.source)}.</p>"
    yield _cards(report)
    yield f"<p class=say>{'. '.join(_said(report))}.</p>"
    if len(report.days) > 1:
        yield f"<h2>Revenue day by day</h2><figure class=full>{days_chart(report)}</figure>"
    yield f"<h2>By rule</h2>{_table('rule', report.rules, report, top * 3)}"
    for kind in report.kinds:
        yield from _kind(kind, report, top)
    yield _outcomes(report)
    yield f"<h2>How to read this</h2><p class=note>{escape(_NOTES)}</p>"


def _cards(report: Report) -> str:
    cards = [("Revenue now" if report.before_name else "Revenue", report.after, "")]
    if report.before_name:
        cards = [
            ("Revenue before", report.before, ""),
            ("Revenue after", report.after, ""),
            (
                "Difference",
                report.after - report.before,
                "" if report.percent is None else percent_text(report.percent),
            ),
        ]
    cells = "".join(
        f"<div class=card><span>{name}</span><b>{money(nanos, name == 'Difference')}</b><i>{report.currency} "
        f"{extra}</i></div>"
        for name, nanos, extra in cards
    )
    return f"<div class=cards>{cells}</div>"


def _said(report: Report) -> Iterator[str]:
    """The report in sentences."""
    for kind in report.kinds:
        if report.before_name and len(kind.changes) > 1:
            more, less, _ = verbs(kind)
            would = f"{len(kind.more):,} would {more}, {len(kind.less):,} {less}, {kind.same:,} the same"
            yield f"Of {len(kind.changes):,} {kind.title} {would}"
    refused = [(was, now) for text, was, now in report.outcomes if text.startswith("refused")]
    if refused:
        was, now = (sum(side) for side in zip(*refused, strict=True))
        yield f"{now:,} uses would be refused" + (f", {was:,} were before" if report.before_name else "")
    if any(report.due):
        yield (
            f"Of the revenue {money(report.due[0])} before and {money(report.due[1])} after fell due at the end of a "
            "period, such as minimums"
        )
    if report.charged is not None:
        yield (
            f"The ledger has {money(report.charged)} {report.currency} of these uses; it differs where counting had "
            "begun before them, or where prices were others then"
        )


def _kind(kind: Kind, report: Report, top: int) -> Iterator[str]:
    more, less, _ = verbs(kind)
    yield f"<h2>{kind.title.capitalize()}</h2>"
    if not report.before_name:
        yield _table(kind.one, kind.changes, report, top)
        return
    if len(kind.changes) >= SPREAD_FROM:
        yield "<div class=two>"
        yield f"<figure>{bars_chart(f'How many {kind.title} {more} or less', kind.bars, SAME)}</figure>"
        rows = "".join(
            f"<tr><td>{who}</td><td>{money(was)}</td><td>{money(now)}</td></tr>" for who, was, now in spread_rows(kind)
        )
        yield f"<table><thead><tr><th>spread</th><th>before</th><th>after</th></tr></thead>{rows}</table></div>"
    for words, changes in ((more, kind.more), (less, kind.less)):
        if changes:
            n = len(changes)
            yield f"<h3>{n:,} would {words}</h3>{_table(kind.one, changes, report, top)}"


def _table(what: str, changes: Sequence[Change], report: Report, top: int) -> str:
    shown = changes[:top]
    widest = max((abs(c.difference) for c in shown), default=0) or 1
    with_uses = any(map(uses_text, shown))
    heads = [
        what,
        *(["uses"] if with_uses else []),
        *(["before", "after", "change", ""] if report.before_name else ["sum"]),
    ]
    rows = []
    for c in shown:
        cells = [f"<td>{escape(c.name)}</td>"] + ([f"<td>{uses_text(c)}</td>"] if with_uses else [])
        if report.before_name:
            width = 100 * abs(c.difference) // widest
            side = "up" if c.difference > 0 else "down"
            cells += [f"<td>{money(c.before)}</td><td>{money(c.after)}</td>"]
            cells += [f'<td title="{signed(c.difference)} {report.currency}">{percent_of(c)}</td>']
            bar = f'<i class="{side}" style="width:{width}%"></i>' if c.difference else ""
            cells += [f"<td class=bar>{bar}</td>"]
        else:
            cells += [f"<td>{money(c.after)}</td>"]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    more = f"<p class=note>and {len(changes) - top:,} more</p>" if len(changes) > top else ""
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    return f"<div class=wide><table><thead><tr>{head}</tr></thead>{''.join(rows)}</table></div>{more}"


def _outcomes(report: Report) -> str:
    compared = bool(report.before_name)
    rows = "".join(
        f"<tr><td>{escape(text)}</td>" + (f"<td>{was:,}</td>" if compared else "") + f"<td>{now:,}</td></tr>"
        for text, was, now in report.outcomes
    )
    heads = "<th>uses before</th><th>uses after</th>" if compared else "<th>uses</th>"
    out = "".join(f"<tr><td>left out: {escape(why)}</td><td>{n:,}</td></tr>" for why, n in report.left_out)
    return (
        f"<h2>What became of the uses</h2><table class=small><thead><tr><th>outcome</th>{heads}</tr></thead>{rows}{out}"
        "</table>"
    )
