"""`nanotally price`: what usage would cost, without services."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from nanotally.streams.commands import charge_files
from nanotally.streams.commands.dry_run import DryRun, book_of
from nanotally.streams.commands.output import note, say_json
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.errors import ExitCode, InvalidInput
from nanotally.streams.publisher_files import open_usage, read_usage
from nanotally.streams.tariffs.findings import Unreadable
from nanotally.streams.tariffs.values import instant_us


def price(
    tariff: Annotated[list[Path], typer.Option("--tariff", metavar="FILE", help="Tariff file; give it once or more.")],
    usage: Annotated[str, typer.Option("--usage", metavar="FILE", help="JSON lines or CSV; - is standard input.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="Further tariff files.")] = None,
    catalog: Annotated[
        list[Path] | None, typer.Option("--catalog", metavar="FILE", help="Catalog file; give it once or more.")
    ] = None,
    close: Annotated[
        str | None, typer.Option(metavar="TIME", help="Close the books then; adds what falls due.")
    ] = None,
    settings: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings file.")] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the whole charges there, as `nanotally export` does.")
    ] = None,
) -> None:
    """Rate usage by tariff files, as a worker would, without any service.

    Usage has the fields of the usage event, quantity as an exact decimal, occurred_at as ISO 8601. Out come JSON
    lines in the order of the input, with outcome, reason, rule, amount, currency and shares of each. A line that
    cannot be used is a rejected one and is told on standard error by file, line and field; then the exit code is 3.

    Example: nanotally price --tariff prices.yaml --usage uses.jsonl --close 2026-12-02T00:00:00Z
    """
    try:
        close_us = None if close is None else instant_us(close)
    except Unreadable as e:
        raise typer.BadParameter(str(e), param_hint="--close") from e
    book = book_of([*tariff, *(more or [])], settings, catalog or [])
    with ExitStack() as stack:
        keep = None if export is None else _keeper(stack, export, book)
        rejected = _price(DryRun(book, keep), usage, close_us)
    if rejected:
        raise typer.Exit(ExitCode.INVALID)


def _price(run: DryRun, usage: str, close_us: int | None) -> int:
    """Says what each line becomes; gives how many were rejected."""
    rejected = 0
    with open_usage(usage, sys.stdin.buffer) as file:
        for line, out in run.rate(read_usage(usage, file)):
            if out["outcome"] == "rejected":
                rejected += 1
                note(f"{usage}:{line.number}: {out['field']}: {out['detail']}")
            say_json(out)
    if close_us is not None:
        for out in run.close(close_us):
            say_json(out)
    return rejected


def _keeper(stack: ExitStack, path: Path, book: RuleBook) -> Callable[[Mapping[str, Any]], None]:
    """Writes charges into a file of charges."""
    try:
        file = stack.enter_context(path.open("w", encoding="utf-8"))
    except OSError as e:
        raise InvalidInput(f"--export {path} cannot be written: {e.strerror}") from e
    writer = charge_files.Writer(lambda entry: print(charge_files.line_of(entry), file=file))
    writer.learn([book])
    return writer.charge
