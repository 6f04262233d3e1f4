"""`nanotally books`: close the books, and see how far they are closed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nanotally.streams.commands.output import AsJson, instant, say_json, table
from nanotally.streams.commands.positions import PayersPosition, payers_positions
from nanotally.streams.environment import Environment
from nanotally.streams.publisher_ledger import TopicReader, run
from nanotally.streams.tariffs.findings import Unreadable
from nanotally.streams.tariffs.publishing import closing, read_published, send_control
from nanotally.streams.tariffs.values import instant_us

books_app = typer.Typer(
    name="books", help="Close the books; see rule books and how far they are closed.", no_args_is_help=True
)


@books_app.command("close")
def close(
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="Close everything before it; ISO 8601 with a zone.")],
    note: Annotated[str, typer.Option(help="Why, for people.")] = "",
    as_json: AsJson = False,
) -> None:
    """Close the books: settle every window that ends by then, in every partition, also in idle ones.

    A use that comes later is booked after it. To close twice, or to an earlier time, changes nothing.

    Example: nanotally books close --at 2026-12-01T00:00:00Z --note 'end of November'
    """
    try:
        at_us = instant_us(at)
    except Unreadable as e:
        raise typer.BadParameter(str(e), param_hint="--at") from e
    environment = Environment.load()
    offsets = send_control(environment.kafka, environment.prefix, closing(at_us, note))
    if as_json:
        say_json({"at": instant(at_us), "offsets": {str(p): offset for p, offset in sorted(offsets.items())}})
    else:
        typer.echo(f"the books are to be closed up to {instant(at_us)}; told to {len(offsets)} partitions of usage")


@books_app.command("show")
def show(as_json: AsJson = False) -> None:
    """Show the rule books, which one is in force in each partition, and how far the books are closed.

    Example: nanotally books show
    """
    environment = Environment.load()
    published = read_published(environment.kafka, environment.prefix)
    positions = run(_positions(environment))
    if as_json:
        books = [
            {
                "book": b.book.number,
                "published_at": instant(b.published_at_us),
                "note": b.note,
                "tariffs": [f"{t.tariff} v{t.version}" for t in b.book.tariffs],
                "catalogs": [f"{c.catalog} v{c.version}" for c in b.book.catalogs],
            }
            for b in published
        ]
        say_json({"books": books, "partitions": [_document(p) for p in positions]})
        return
    rows = [
        (
            b.book.number,
            instant(b.published_at_us),
            ", ".join(f"{t.tariff} v{t.version}" for t in b.book.tariffs),
            ", ".join(f"{c.catalog} v{c.version}" for c in b.book.catalogs),
            b.note,
        )
        for b in published
    ]
    table(("rule book", "published", "tariffs", "catalogs", "why"), rows)
    parts = [
        (p.partition, "none" if p.book_number < 0 else p.book_number, instant(p.watermark_us), instant(p.closed_to_us))
        for p in positions
    ]
    table(("partition", "book in force", "watermark", "closed to"), parts)


async def _positions(environment: Environment) -> list[PayersPosition]:
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        return await payers_positions(reader)


def _document(position: PayersPosition) -> dict[str, Any]:
    return {
        "partition": position.partition,
        "book": None if position.book_number < 0 else position.book_number,
        "watermark": instant(position.watermark_us),
        "closed_to": instant(position.closed_to_us),
    }
