"""A simulation in a terminal, at most 96 columns, and as a document for scripts. Amounts have all nine places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nanotally.streams.commands.output import instant
from nanotally.streams.commands.simulate_report import Kind, Report
from nanotally.streams.commands.simulate_sums import Change
from nanotally.streams.commands.tariff_diff_prices import percent_text
from nanotally.streams.domain.decimals import fixed_text

BAR = 32  # characters of the longest bar
_EIGHTHS = " ▏▎▍▌▋▊▉"
NAME_MAX = 30
SPREAD_FROM = 10  # fewer payers are told by their names alone


def money(nanos: int) -> str:
    """'1,234.500000000': in full."""
    return fixed_text(nanos, grouped=True)


def signed(nanos: int) -> str:
    """The same with a sign, also before what is above nothing."""
    return f"+{money(nanos)}" if nanos > 0 else money(nanos)


def percent_of(change: Change) -> str:
    """'+4.2 %', 'new' where there was nothing before, '' where there is nothing at all."""
    return percent_text(change.percent) if change.percent is not None else "new" if change.after else ""


def verbs(kind: Kind) -> tuple[str, str, str]:
    """How one says 'more', 'less' and 'at most' of a kind: ('pay more', 'pay less', 'pay at most')."""
    if kind.title == "payers":
        return "pay more", "pay less", "pay at most"
    if kind.title in ("creators", "other parties"):
        return "earn more", "earn less", "earn at most"
    return "bring in more", "bring in less", "bring in at most"


def spread_rows(kind: Kind) -> list[tuple[str, int, int]]:
    """('50 % pay at most', before, after) for each quantile."""
    most = verbs(kind)[2]
    return [(f"{q} % {most}" if q < 100 else "the greatest", was, now) for q, was, now in kind.quantiles]


def uses_text(change: Change) -> str:
    """'15,085', or where they differ '15,085 -> 0'; '' without any."""
    if change.uses == change.uses_before or not change.uses_before:
        return f"{change.uses:,}" if change.uses else ""
    return f"{change.uses_before:,} -> {change.uses:,}"


def span(report: Report) -> str:
    """'57,976 uses from 2026-11-01 to 2026-11-30'."""
    uses = f"{report.uses:,} use{'s' * (report.uses != 1)}"
    if report.first_us is None or report.last_us is None:
        return uses
    first, last = instant(report.first_us)[:10], instant(report.last_us)[:10]
    return f"{uses} of {first}" if first == last else f"{uses} from {first} to {last}"


def headline(report: Report) -> str:
    """'media v2 (draft.yaml) instead of media v1 (live)'."""
    return f"{report.after_name} instead of {report.before_name}" if report.before_name else report.after_name


def words(report: Report, top: int) -> str:
    """The whole report as text."""
    return "\n".join(_lines(report, top))


def _lines(report: Report, top: int) -> Iterator[str]:
    yield f"SIMULATION  {headline(report)}"
    out = " · ".join(f"{why} {n:,}" for why, n in report.left_out)
    yield f"  {span(report)}, {report.source}" + (f"   left out: {out}" if out else "")
    yield ""
    if report.before_name:
        share = f"   {percent_text(report.percent)}" if report.percent is not None else ""
        yield f"REVENUE  {money(report.before)} -> {money(report.after)} {report.currency}{share}"
    else:
        yield f"REVENUE  {money(report.after)} {report.currency}"
    if any(report.due):
        yield f"  of which fell due at an end, such as minimums: {money(report.due[0])} -> {money(report.due[1])}"
    if report.charged is not None:
        yield f"  the ledger has {money(report.charged)}: it began to count before, and prices may have changed"
    yield ""
    yield from _table("RULES", report.rules, report, top)
    for kind in report.kinds:
        yield ""
        yield from _kind(kind, report, top)
    yield ""
    yield "WHAT BECAME OF THE USES"
    for text, before, after in report.outcomes:
        yield f"  {text:<30} {before:>14,} -> {after:>14,}" if report.before_name else f"  {text:<30} {after:>14,}"


def _kind(kind: Kind, report: Report, top: int) -> Iterator[str]:
    more, less, _ = verbs(kind)
    n = len(kind.changes)
    if not report.before_name:
        yield from _table(kind.title.upper(), kind.changes, report, top)
        return
    yield f"{kind.title.upper()}  {len(kind.more):,} {more} · {len(kind.less):,} {less} · {kind.same:,} the same"
    longest = max(count for _, count in kind.bars)
    if n >= SPREAD_FROM:
        for name, count in kind.bars:
            if count:
                yield f"  {name:<15} {count:>9,}  {bar(count, longest)}"
        yield f"  {'':<42} {'before':>19} {'after':>19}"
        for who, before, after in spread_rows(kind):
            yield f"  {who:<42} {money(before):>19} {money(after):>19}"
    for title, changes in ((more, kind.more), (less, kind.less)):
        if changes:
            yield from _table(f"  {title}:", changes, report, top)


def bar(count: int, longest: int) -> str:
    """A bar of eighths of characters."""
    eighths = -(-count * BAR * 8 // max(1, longest))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _table(title: str, changes: Sequence[Change], report: Report, top: int) -> Iterator[str]:
    shown = changes[:top]
    wide = NAME_MAX + 2
    uses = "uses" if any(map(uses_text, shown)) else ""
    if report.before_name:
        yield f"{title:<{wide}} {uses:>11} {'before':>19} {'after':>19} {'change':>9}"
    else:
        yield f"{title:<{wide}} {uses:>11} {report.currency:>19}"
    for c in shown:
        left = f"  {short(c.name):<{wide - 2}} {uses_text(c):>11} "
        if report.before_name:
            yield f"{left}{money(c.before):>19} {money(c.after):>19} {percent_of(c):>9}".rstrip()
        else:
            yield f"{left}{money(c.after):>19}"
    if len(changes) > top:
        yield f"  … and {len(changes) - top:,} more"


def short(name: str) -> str:
    """A name that leaves room for figures: its beginning and its end."""
    return name if len(name) <= NAME_MAX else f"{name[: NAME_MAX // 2]}…{name[-(NAME_MAX // 2 - 1) :]}"


def document(report: Report, top: int) -> dict[str, Any]:
    """The report for scripts: amounts as exact decimals in text."""

    def change(c: Change) -> dict[str, Any]:
        sums = {"before": fixed_text(c.before), "after": fixed_text(c.after)}
        return {"name": c.name, "uses_before": c.uses_before, "uses": c.uses, **sums}

    return {
        "before": report.before_name or None,
        "after": report.after_name,
        "source": report.source,
        "currency": report.currency,
        "uses": report.uses,
        "left_out": dict(report.left_out),
        "from": None if report.first_us is None else instant(report.first_us),
        "to": None if report.last_us is None else instant(report.last_us),
        "revenue": {
            "before": fixed_text(report.before),
            "after": fixed_text(report.after),
            "due_before": fixed_text(report.due[0]),
            "due_after": fixed_text(report.due[1]),
            "ledger": None if report.charged is None else fixed_text(report.charged),
        },
        "rules": [change(c) for c in report.rules],
        "outcomes": [{"outcome": text, "before": was, "after": now} for text, was, now in report.outcomes],
        "days": [
            {"day": instant(at)[:10], "before": fixed_text(b), "after": fixed_text(a)} for at, b, a in report.days
        ],
        "kinds": {
            kind.title: {
                "more": len(kind.more),
                "less": len(kind.less),
                "same": kind.same,
                "histogram": dict(kind.bars),
                "quantiles": [
                    {"percent": q, "before": fixed_text(b), "after": fixed_text(a)} for q, b, a in kind.quantiles
                ],
                "most_more": [change(c) for c in kind.more[:top]],
                "most_less": [change(c) for c in kind.less[:top]],
            }
            for kind in report.kinds
        },
    }
