"""`nanotally sink`: another database filled from the topics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from nanotally.sinks.migrate import migrate
from nanotally.sinks.replay import Replayed, replay
from nanotally.streams.commands.identities import identities
from nanotally.streams.commands.output import AsJson, note, progress, say_json, table
from nanotally.streams.environment import Environment
from nanotally.streams.publisher_ledger import run

sink_app = typer.Typer(name="sink", help="Fill another database from the topics.", no_args_is_help=True)


@sink_app.callback()
def _group() -> None:
    """Fill another database from the topics."""


@sink_app.command("replay")
def replay_(
    database: Annotated[str, typer.Option(help="The database to fill; made and migrated where it is missing.")],
    as_json: AsJson = False,
) -> None:
    """Write everything the topics hold into another database, while the sink goes on as before.

    Broken off, it goes on where it was when it is run again. It ends with the topics as they are when it begins; a
    worker with NANOTALLY_DATABASE set to the new name does the rest, and `nanotally reconcile` with it compares.

    Example: nanotally sink replay --database nanotally2
    """
    here = Environment.load()
    environment = Environment.load({**here.variables(), "NANOTALLY_DATABASE": database})
    migrate(environment.clickhouse, environment.database, environment.clickhouse_user, environment.clickhouse_password)
    with progress(f"into {database}") as bar:
        task = bar.add_task("", total=None, note="")
        found = run(
            _replay(environment, lambda topic, records: bar.update(task, completed=records, note=f"records of {topic}"))
        )
    if as_json:
        say_json({"database": database, "topics": {r.topic: {"records": r.records, "gone": r.gone} for r in found}})
        return
    table(("topic", "records written"), [(r.topic, f"{r.records:,}") for r in found], right=("records written",))
    for one in found:
        if one.gone:
            places = ", ".join(f"{count:,} of partition {partition}" for partition, count in sorted(one.gone.items()))
            note(f"{one.topic}: the oldest offsets are gone from Kafka ({places}): their rows are in backups only")
    typer.echo(f"go on: NANOTALLY_DATABASE={database} nanotally worker sink; compare: nanotally reconcile")


async def _replay(environment: Environment, say: Callable[[str, int], None]) -> list[Replayed]:
    return await replay(environment, await identities(environment), say)
