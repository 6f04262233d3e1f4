"""`nanotally statement`: what a payer owes."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import typer

from nanotally.sinks.answers import PayerStatement
from nanotally.sinks.queries import asking
from nanotally.streams.commands.charge_sources import address_of
from nanotally.streams.commands.live import open_windows
from nanotally.streams.commands.output import AsJson, plain, say_json, table
from nanotally.streams.environment import Environment
from nanotally.streams.errors import NotFound


def statement(
    payer: Annotated[str, typer.Argument(metavar="PAYER", help="The payer's id.")], as_json: AsJson = False
) -> None:
    """Show a payer's statements: closed periods, what is open since, and what it is made of.

    Closed periods and the open one are read from ClickHouse, which says up to when it is complete; where a worker runs
    on this machine it is asked for the open windows up to the last charge. Exits with 4 for an unknown payer.

    Example: nanotally statement p-7f3a
    """
    environment = Environment.load()
    with asking(address_of(environment)) as ask:
        found = ask.statement(payer)
    live = open_windows(environment, "payers", payer)
    if not found.periods and live is None:
        raise NotFound(f"payer {payer!r} has no statement and nothing open; is the id right, and has it been rated?")
    if as_json:
        say_json(plain(asdict(found) | {"live": live}))
        return
    typer.echo(f"STATEMENT of {payer}")
    _say(found)
    _say_live(live)
    typer.echo(f"complete until {shown(found.complete_until) or 'not known yet'}")


def shown(at: datetime | None) -> str:
    """A time for people, '' for none."""
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S").removesuffix(" 00:00:00")


def money(amount: Decimal) -> str:
    """All nine decimals: an amount is never shown rounded."""
    return f"{amount:,.9f}"


def _say(found: PayerStatement) -> None:
    rows = [
        (
            p.state,
            p.period or "",
            shown(p.start),
            shown(p.end),
            f"{p.uses:,}",
            money(p.due),
            p.currency,
            p.statement_id or "",
        )
        for p in found.periods
    ]
    columns = ("", "period", "from", "to (not in it)", "uses", "due", "currency", "statement")
    table(columns, rows, right=("uses", "due"))
    lines = [
        (
            line.state,
            shown(line.start),
            line.product,
            line.meter,
            f"{line.uses:,}",
            f"{line.used.normalize():,f}",
            money(line.paid),
            line.currency,
        )
        for line in found.lines
    ]
    columns = ("", "from", "product", "meter", "uses", "used", "paid", "currency")
    table(columns, lines, right=("uses", "used", "paid"))


def _say_live(live: dict[str, Any] | None) -> None:
    if live is None:
        return
    for period in live["settlement"]:
        span = f"{period['period_start']} to {period['period_end']}"
        typer.echo(
            f"open now, by the worker: {period['amount']} {period['currency']} for {period['count']:,} uses, {span}"
        )
