"""`nanotally earnings`: what an account earned and was paid."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from nanotally.sinks.answers import AccountEarnings
from nanotally.sinks.queries import asking
from nanotally.streams.commands.charge_sources import address_of
from nanotally.streams.commands.live import open_windows
from nanotally.streams.commands.output import AsJson, plain, say_json, table
from nanotally.streams.commands.statement import money, shown
from nanotally.streams.environment import Environment
from nanotally.streams.errors import NotFound


def earnings(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="creator:ID, party:NAME or platform.")],
    as_json: AsJson = False,
) -> None:
    """Show what an account earned, day by day, and what it was paid or carries forward.

    Read from ClickHouse, which says up to when it is complete; where a worker runs on this machine it is asked for the
    periods that are open. Exits with 4 for an unknown account.

    Example: nanotally earnings creator:ana
    """
    environment = Environment.load()
    with asking(address_of(environment)) as ask:
        found = ask.earnings(account)
    live = open_windows(environment, "accounts", account)
    if not found.days and not found.payouts and live is None:
        hint = "" if ":" in account or account == "platform" else f"; a creator is written creator:{account}"
        raise NotFound(f"account {account!r} has earned nothing{hint}")
    if as_json:
        say_json(plain(asdict(found) | {"live": live}))
        return
    typer.echo(f"EARNINGS of {account}")
    _say(found)
    for period in (live or {}).get("settlement", ()):
        span = f"{period['period_start']} to {period['period_end']}"
        typer.echo(f"open now, by the worker: {period['amount']} {period['currency']}, {span}")
    typer.echo(f"complete until {shown(found.complete_until) or 'not known yet'}")


def _say(found: AccountEarnings) -> None:
    days = [(str(d.day), f"{d.uses:,}", money(d.gross), money(d.earned), d.currency) for d in found.days]
    table(("day", "uses", "paid by payers", "earned", "currency"), days, right=("uses", "paid by payers", "earned"))
    if not found.payouts:
        return
    rows = [
        (p.period, shown(p.start), shown(p.end), *map(money, (p.brought, p.earned, p.paid, p.carried)), p.currency)
        for p in found.payouts
    ]
    columns = ("payout", "from", "to (not in it)", "brought", "earned", "paid", "carried", "currency")
    table(columns, rows, right=("brought", "earned", "paid", "carried"))
