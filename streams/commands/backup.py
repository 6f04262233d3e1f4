"""`nanotally backup`: copies of the database in ClickHouse, and the way back."""

from __future__ import annotations

from typing import Annotated

import typer

from nanotally.sinks import backup
from nanotally.sinks.sink import address_of
from nanotally.streams.commands.output import AsJson, say_json
from nanotally.streams.environment import Environment

backup_app = typer.Typer(name="backup", help="Back up the database in ClickHouse; restore it.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What the backup is called, as in 2026-12-01.")]
Where = Annotated[
    str,
    typer.Option(help="Where ClickHouse puts it: File, Disk, S3 or AzureBlobStorage, with {name} and {part} in it."),
]


@backup_app.command("create")
def create(name: Name, where: Where = backup.WHERE, as_json: AsJson = False) -> None:
    """Back up the database while everything goes on.

    ClickHouse writes it where its configuration allows: with `make up` below .nanotally/backups. Restore it before the
    topics forget (30 days): the sink goes on where the backup ends.

    Example: nanotally backup create 2026-12-01
    """
    environment = Environment.load()
    _say("backed up as", environment.database, name, backup.create(address_of(environment), name, where), as_json)


@backup_app.command("restore")
def restore(
    name: Name,
    where: Where = backup.WHERE,
    database: Annotated[
        str | None, typer.Option(help="Restore as this database; without, as NANOTALLY_DATABASE says.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup as a database that is not there yet; a sink then goes on from its positions.

    Stop the sinks of that database first. Nothing is lost and nothing doubled, whatever was written while the backup
    was made: positions are older than rows, never newer.

    Example: nanotally backup restore 2026-12-01 --database nanotally2
    """
    environment = Environment.load()
    if database is not None:
        environment = Environment.load({**environment.variables(), "NANOTALLY_DATABASE": database})
    held = backup.restore(address_of(environment), name, where)
    _say("restored from", environment.database, name, held, as_json)


def _say(done: str, database: str, name: str, held: backup.Held, as_json: bool) -> None:
    positions = {f"{topic} {partition}": at for (topic, partition), at in held.positions.items()}
    if as_json:
        say_json({"database": database, "backup": name, "charges": held.charges, "positions": positions})
        return
    typer.echo(f"database {database} {done} {name}: {held.charges:,} charges")
    typer.echo("the sink goes on at " + (", ".join(f"{place}: {at:,}" for place, at in positions.items()) or "0"))
