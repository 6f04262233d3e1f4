"""`nanotally tariff diff`: what changes for whom from one version of a tariff to another, in words and examples."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from nanotally.streams.commands.output import AsJson, say_json
from nanotally.streams.commands.tariff_diff_prices import example_rows, price_text, span_words
from nanotally.streams.commands.tariff_diff_rules import Change, Difference, PriceChange, RuleChange, difference
from nanotally.streams.commands.tariff_sources import Named, version_of
from nanotally.streams.domain.tariff import TariffVersion
from nanotally.streams.tariffs import figures

WIDTH = 96
_TITLES = {"added": "NEW", "removed": "GONE", "changed": "CHANGED", "moved": "MOVED"}


def diff(
    before: Annotated[
        str, typer.Argument(metavar="A", help="A tariff file, a published tariff (what is in force), or NAME@VERSION.")
    ],
    after: Annotated[str, typer.Argument(metavar="B", help="The same, for what shall come instead.")],
    as_json: AsJson = False,
) -> None:
    """Say what changes for whom from tariff A to tariff B.

    In words, with examples worked out by the engine: what a quantity costs before and after; which uses fall under
    another rule; rules, splits, meters and passes that come and go; and what begins to count anew. Files need no
    services. Exits with 0 also where there is a difference.

    Example: nanotally tariff diff media-and-ai draft.yaml
    """
    one, other = version_of(before), version_of(after)
    found = difference(one.version, other.version)
    if as_json:
        say_json(_document(one, other, found))
    else:
        typer.echo("\n".join(diff_words(one, other, found)))


def diff_words(one: Named, other: Named, found: Difference) -> list[str]:
    """The difference as lines for a terminal."""
    out = [f"{_told(one)}  ->  {_told(other)}"]
    if found.none:
        return [*out, "nothing changes: they mean the same"]
    out += [line for change in found.head for line in _change(change)]
    for rule in found.rules:
        out += ["", f"{_TITLES[rule.kind]}  {rule.name}"]
        out += _rule(rule, one.version, other.version)
    if found.moved:
        out += ["", "UNDER ANOTHER RULE"]
        out += [f"  {m.use}:  rule {m.rule} -> {m.to}" for m in found.moved]
    if found.restarts:
        out += ["", "BEGINS TO COUNT ANEW"]
        out += [line for sentence in found.restarts for line in _wrapped("", sentence)]
    return out


def _told(named: Named) -> str:
    v = named.version
    return f"{v.tariff} version {v.version} ({named.told})"


def _change(change: Change) -> Iterator[str]:
    """A change of one fact: in one line where it is short."""
    if not (change.before and change.after):
        yield from _wrapped(
            "", f"{change.what} {'is new' if change.after else 'is gone'}: {change.after or change.before}"
        )
    elif len(change.what) + len(change.before) + len(change.after) < 70:
        yield f"  {change.what}: {change.before} -> {change.after}"
    else:
        yield f"  {change.what}"
        yield from _sides(change)


def _sides(change: Change) -> Iterator[str]:
    if change.before:
        yield from _wrapped("- ", change.before)
    if change.after:
        yield from _wrapped("+ ", change.after)


def _wrapped(mark: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {mark}", subsequent_indent=" " * (4 + len(mark)))


def _rule(rule: RuleChange, before: TariffVersion, after: TariffVersion) -> Iterator[str]:
    if rule.kind == "moved":
        yield f"  from place {rule.changes[0].before} to place {rule.changes[0].after}; it is asked earlier than before"
        return
    for change in rule.changes:
        yield from _sides(change)
    for price in rule.prices:
        yield from _price(price, after.currency)
    if rule.kind != "changed":
        return
    if not rule.anew and any(p.after.scope != "event" for p in rule.prices):
        scope = rule.prices[0].after.scope
        running = {"life": "what was counted so far stays", "anchored": "what is running goes on"}.get(
            scope, f"a running {scope} goes on"
        )
        yield f"  {running}: what was charged stays, only what comes after is at the new price"


def _price(price: PriceChange, currency: str) -> Iterator[str]:
    who = f"variant {price.variant}: " if price.variant else ""
    if price.after.refuse or price.before.refuse:
        yield f"  payers  {who}{'refused from then on' if price.after.refuse else 'was refused'}"
        return
    yield f"  payers  {who}{span_words(price.compared, price.meter)}"
    if price.compared.same:
        return
    rows = example_rows(price.compared, (price.before, price.after), price.meter, currency)
    widths = [max(len(row[i]) for row in rows) for i in range(4)] if rows else []
    for quantity, was, now, percent in rows:
        line = f"    {quantity:>{widths[0]}}   {was:>{widths[1]}} -> {now:<{widths[2]}}   {percent:>{widths[3]}}"
        yield line.rstrip()


def _document(one: Named, other: Named, found: Difference) -> dict[str, Any]:
    def name(n: Named) -> dict[str, Any]:
        return {
            "tariff": n.version.tariff, "version": n.version.version, "from": n.told,
            "effective_from": figures.iso(n.version.effective_from_us), "content_hash": n.version.content_hash,
        }  # fmt: skip

    return {
        "before": name(one),
        "after": name(other),
        "same": found.none,
        "head": [_change_document(c) for c in found.head],
        "rules": [
            {
                "rule": r.name,
                "kind": r.kind,
                "changes": [_change_document(c) for c in r.changes],
                "prices": _price_documents(r.prices, other.version.currency),
                "anew": r.anew,
            }
            for r in found.rules
        ],
        "restarts": list(found.restarts),
        "moved": [{"rule": m.rule, "use": m.use, "to": m.to} for m in found.moved],
    }


def _change_document(change: Change) -> dict[str, str]:
    return {"what": change.what, "before": change.before, "after": change.after}


def _price_documents(prices: Sequence[PriceChange], currency: str) -> list[dict[str, Any]]:
    return [
        {
            "variant": p.variant,
            "words": span_words(p.compared, p.meter),
            "examples": [
                {
                    "quantity": figures.quantity(e.quantity, p.meter),
                    "before": price_text(e.before, currency),
                    "after": price_text(e.after, currency),
                }
                for e in p.compared.examples
            ],
        }
        for p in prices
    ]
