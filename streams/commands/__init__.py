"""The command line `nanotally`: one module per command or small group, loaded when it is asked for.

What went wrong is one message on standard error and an exit code of streams/errors.py."""

from __future__ import annotations

import difflib
import importlib
import logging
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nanotally.schemas import sources
from nanotally.streams.errors import NanotallyError

# Command -> module of this package and what it holds: a function or a group. In the order of the help.
COMMANDS = {
    "worker": "worker:worker",
    "publish": "publish:publish",
    "tariff": "tariff:tariff_app",
    "catalog": "catalog:catalog_app",
    "price": "price:price",
    "explain": "explain:explain",
    "export": "export:export",
    "statement": "statement:statement",
    "earnings": "earnings:earnings",
    "books": "books:books_app",
    "rejects": "rejects:rejects_app",
    "sink": "sink:sink_app",
    "backup": "backup:backup_app",
    "migrate": "migrate:migrate",
    "reconcile": "reconcile:reconcile",
    "doctor": "doctor:doctor",
}


class Commands(TyperGroup):
    """Loads a command's module when it is asked for, and turns what is raised on purpose into message and code."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            near = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command {cmd_name!r}; {hint}")
        module, name = COMMANDS[cmd_name].split(":")
        found = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        if not isinstance(found, typer.Typer):
            group = typer.Typer(rich_markup_mode=None, add_completion=False)
            group.command(cmd_name)(found)
            found = group
        found.rich_markup_mode = None
        found._add_completion = False
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except NanotallyError as e:
            typer.echo(f"nanotally: {e}", err=True)
            raise typer.Exit(e.exit_code) from e
        finally:
            sources.look_up_in(None, __name__)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"nanotally {version('nanotally')}")
        raise typer.Exit


app = typer.Typer(name="nanotally", cls=Commands, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def _start(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Meter usage, rate it into charges far below a cent, split, tally and settle them.

    Where the services are: NANOTALLY_KAFKA, NANOTALLY_CLICKHOUSE and others in the environment, or what `make up`
    started in this folder.

    Exit codes: 0 well, 1 a difference was found, 2 the command line was not understood, 3 an input cannot be used,
    4 what was asked for does not exist, 5 Kafka or ClickHouse cannot be reached, 70 a broken invariant.

    Example: nanotally doctor
    """
    for library in ("kafka", "aiokafka", "clickhouse_driver"):  # their errors come as ours
        logging.getLogger(library).setLevel(logging.CRITICAL)
    sources.look_up_in(_read_installation, __name__)


def _read_installation() -> None:
    """Learns what other versions write with, in the installation that the environment names."""
    from nanotally.streams.environment import Environment
    from nanotally.streams.installation import look_up_in

    environment = Environment.load()
    look_up_in(environment.kafka, environment.prefix, __name__).read()  # which is asked directly from now on


def main() -> None:
    """The entry point: runs the command and leaves the process with its exit code; 130 when interrupted."""
    typer.main.get_command(app)(prog_name="nanotally")
