"""How commands speak: tables and progress for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts.")]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def say_json(document: Any) -> None:
    """One line of JSON on standard output. Halves of characters, which an input may have escaped, are escaped again."""
    text = json.dumps(document, ensure_ascii=False, default=str)
    typer.echo(text.encode("utf-8", "backslashreplace").decode())


def plain(value: Any) -> Any:
    """Values for JSON: decimals as text in full, times in ISO 8601."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, date) else value


def note(text: str) -> None:
    """A remark on standard error."""
    typer.echo(text, err=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str] = (), title: str = "") -> None:
    """A table on standard output; `right` names the columns of figures. Never cut off, so that a pipe gets it whole."""
    terminal = sys.stdout.isatty()
    shown = Table(box=box.SIMPLE_HEAD if terminal else None, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        shown.add_column(column, justify="right" if column in right else "left", no_wrap=not terminal)
    for row in rows:
        shown.add_row(*(str(cell) for cell in row))
    console = Console(width=None if terminal else 1000, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(shown)
    typer.echo("\n".join(line.rstrip() for line in capture.get().strip("\n").split("\n")))


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A line of progress on standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.completed:,.0f} {task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar


def instant(at_us: int) -> str:
    """A time for people and scripts: '2026-12-01T12:00:00Z', with its fraction where it has one."""
    try:
        at = _EPOCH + timedelta(microseconds=at_us)
    except OverflowError:
        return "never" if at_us > 0 else "long ago"
    text = at.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{at.microsecond:06d}".rstrip("0") + "Z" if at.microsecond else f"{text}Z"
