"""`nanotally rejects`: what could not be used, or found no price, seen, mended and put in again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nanotally.streams.commands.charge_sources import key_of
from nanotally.streams.commands.output import AsJson, note, say_json, table
from nanotally.streams.commands.rejects_mending import mended
from nanotally.streams.commands.rejects_reading import (
    Listing,
    Wanted,
    came_from,
    followed,
    listed,
    source,
)
from nanotally.streams.commands.rejects_redriving import LINES, of_one, put_in, those_that_may
from nanotally.streams.commands.rejects_unpriced import listed_unpriced
from nanotally.streams.dead_letters import REASONS, UNPRICED, Place
from nanotally.streams.environment import Environment
from nanotally.streams.errors import InvalidInput, NotFound
from nanotally.streams.publisher_kafka import no_book
from nanotally.streams.publisher_ledger import run
from nanotally.streams.tariffs.findings import Unreadable
from nanotally.streams.tariffs.publishing import read_books
from nanotally.streams.tariffs.values import instant_us

rejects_app = typer.Typer(
    name="rejects", help="List, show, mend and redrive what could not be used.", no_args_is_help=True
)

AT_ONCE = 20_000

Why = Annotated[str, typer.Option("--note", help="Why, for people; kept with the history.")]
Name = Annotated[str, typer.Argument(help="PARTITION-OFFSET in usage, as in 2-1047.")]
Reason = Annotated[str | None, typer.Option(help="Only those rejected for this reason.")]
Unpriced = Annotated[bool, typer.Option("--unpriced", help="Uses without a price that are left, not rejects.")]
Meter = Annotated[str | None, typer.Option(help="Only uses of this meter.")]
Product = Annotated[str | None, typer.Option(help="Only uses of this product.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Only those recorded then or later.")]


@rejects_app.command("list")
def list_(
    reason: Reason = None,
    since: Since = None,
    left: Annotated[bool, typer.Option("--left", help="Only what can still be mended or redriven.")] = False,
    unpriced: Unpriced = False,
    meter: Meter = None,
    product: Product = None,
    limit: Annotated[int, typer.Option(min=0, help="Show the oldest so many; all are counted.")] = LINES,
    as_json: AsJson = False,
) -> None:
    """List what could not be used: why, where, when, what its bytes tell, and where it was redriven to.

    Example: nanotally rejects list --reason wrong_scale --left
    """
    wanted = _wanted(reason, since, left, unpriced, meter, product)
    environment = Environment.load()
    listing = (
        run(listed_unpriced(environment, wanted, limit))[0] if unpriced else run(listed(environment, wanted, limit))
    )
    shown = [one.document() for one in listing.found]
    if as_json:
        say_json({"rejects": shown, "counts": dict(listing.counts), "older_are_gone": listing.gone})
        return
    rows = [(d["name"], d["reason"], d["recorded_at"], _whose(d), d["detail"], d["redriven_to"] or "") for d in shown]
    table(("record", "reason", "recorded", "event", "what", "redriven to"), rows)
    _say_counts(listing, "uses without a price" if unpriced else "rejects")


def _whose(document: dict[str, Any]) -> str:
    return str(document["use"].get("event_id") or document["control"].get("control_id") or "")


def _say_counts(listing: Listing, what: str) -> None:
    of_each = ", ".join(f"{name} {count:,}" for name, count in listing.counts.most_common())
    typer.echo(f"{listing.total:,} {what}" + (f": {of_each}" if of_each else ""))
    if len(listing.found) < listing.total:
        note(f"the oldest {len(listing.found):,} are shown; --limit shows more, --since later ones")
    if listing.gone:
        note("older ones are gone from topic rejects by retention; ClickHouse still has them in its table rejects")


@rejects_app.command("show")
def show(name: Name, as_json: AsJson = False) -> None:
    """Show one reject, or a use without a price, with its bytes, what they tell, and what came of it since.

    `--json` has the use as `rejects mend` takes it.

    Example: nanotally rejects show 2-1047
    """
    environment = Environment.load()
    found = run(source(environment, _place(name)))
    steps = run(followed(environment, found))
    document = found.document() | {
        "came_from": run(came_from(environment, found)),
        "steps": steps,
        "came_of_it": steps[-1]["came_of_it"] if steps else "",
        "bytes": (found.value or b"").hex(),
    }
    if as_json:
        say_json(document)
        return
    typer.echo(f"{name}: {found.reason}, recorded {document['recorded_at']}")
    typer.echo(f"  {found.detail}")
    if found.told.fault:
        typer.echo(f"  its bytes cannot all be read: {found.told.fault}")
    if found.reason != UNPRICED and document["unpriced"]:
        typer.echo(f"  a control that carries the use without a price at {document['unpriced']} once more")
    for field, value in (document["control"] or document["use"]).items():
        typer.echo(f"  {field:<12} {value}")
    if document["bytes"]:
        typer.echo(f"  bytes        {document['bytes']}")
    if document["came_from"]:
        typer.echo(f"put in for {document['came_from']}")
    for step in steps:
        how = "mended and redriven" if step["mended"] else "redriven"
        why = f" ({step['note']})" if step["note"] else ""
        typer.echo(f"{step['from']} {how} at {step['at']} as {step['to']}{why}: {step['came_of_it']}")


@rejects_app.command("mend")
def mend(
    name: Name,
    use: Annotated[str, typer.Option(metavar="FILE", help="The right use as one JSON object; '-': standard input.")],
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Put a corrected use in place of one that could not be used.

    It is checked as a product's uses are. What it leaves out stays as far as the old bytes tell it; null takes a field
    away. The old record stays, with a link to the new one; to do it again changes nothing.

    Example: nanotally rejects mend 2-1047 --use right.json --note 'scale of old app'
    """
    environment = Environment.load()
    found = run(source(environment, _place(name)))
    books = read_books(environment.kafka, environment.prefix)
    if not books:
        raise no_book(environment.prefix)
    put_in(environment, [mended(found, use, books[-1])], why, as_json)


@rejects_app.command("redrive")
def redrive_(
    names: Annotated[
        list[str] | None, typer.Argument(help="PARTITION-OFFSET of rejects or of uses without a price.")
    ] = None,
    reason: Reason = None,
    unpriced: Unpriced = False,
    meter: Meter = None,
    product: Product = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most, the oldest.")] = AT_ONCE,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Put uses in again as they were, where they may be accepted now.

    That is so for the reasons future, wrong_partition, unknown_schema and still_unpriced, and for uses without a price
    once a tariff has one. What would be rejected again is refused: mend it. To redrive twice does nothing twice.

    Example: nanotally rejects redrive --unpriced --meter lecture --note 'the tariff has it now'
    """
    if bool(names) + (reason is not None) + unpriced != 1:
        raise typer.BadParameter("name records, or give --reason or --unpriced", param_hint="NAME")
    if names and (meter or product or since):
        raise typer.BadParameter("goes with --reason or --unpriced, not with names", param_hint="--meter, --product")
    environment = Environment.load()
    wanted = _wanted(reason, since, not unpriced, unpriced, meter, product)
    left_out: list[InvalidInput] = []
    if names:
        uses = [of_one(environment, _place(name)) for name in names]
        total = len(uses)
    elif unpriced:
        listing, uses = run(listed_unpriced(environment, wanted, limit))
        total = listing.total
    else:
        listing = run(listed(environment, wanted, limit))
        uses, left_out = those_that_may(listing.found)
        total = listing.total
    if left_out and not uses:
        raise left_out[0]
    put_in(environment, uses, why, as_json)
    if left_out:
        note(f"{len(left_out):,} cannot be redriven as they were, the first: {left_out[0]}")
    if total > len(uses) + len(left_out):
        note(f"{total - len(uses) - len(left_out):,} more are left: run it again")


def _wanted(
    reason: str | None, since: str | None, left: bool, unpriced: bool, meter: str | None, product: str | None
) -> Wanted:
    """Raises BadParameter."""
    if reason is not None and unpriced:
        raise typer.BadParameter("uses without a price were not rejected", param_hint="--reason")
    if reason is not None and reason not in REASONS:
        raise typer.BadParameter(f"{reason!r} is none of {', '.join(REASONS)}", param_hint="--reason")
    try:
        since_us = instant_us(since) if since is not None else None
    except Unreadable as e:
        raise typer.BadParameter(str(e), param_hint="--since") from e
    return Wanted(reason, since_us, left, meter, product)


def _place(name: str) -> Place:
    key = key_of(name)
    if key is None or key.n is not None:
        raise NotFound(f"{name!r} is no record of usage; write PARTITION-OFFSET, as in 2-1047")
    return key.partition, key.offset
