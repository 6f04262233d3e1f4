"""`nanotally tariff simulate`: what a draft would have charged for uses that were, beside the tariff in force."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from nanotally.streams.commands.output import AsJson, instant, note, progress, say_json
from nanotally.streams.commands.simulate_html import page
from nanotally.streams.commands.simulate_outcome import Side, Taken
from nanotally.streams.commands.simulate_rating import Nothing, side
from nanotally.streams.commands.simulate_report import Report, report
from nanotally.streams.commands.simulate_sums import Simulation
from nanotally.streams.commands.simulate_usage import Ledger, from_file
from nanotally.streams.commands.simulate_words import document, words
from nanotally.streams.commands.tariff_sources import Named, book_numbered, in_force, published_books, version_of
from nanotally.streams.domain.catalogs import CatalogVersion
from nanotally.streams.domain.records import LONG_AGO, NO_END
from nanotally.streams.domain.tariff import RuleBook, Settings, TariffVersion
from nanotally.streams.domain.windows import Calendar
from nanotally.streams.environment import Environment
from nanotally.streams.errors import InvalidInput, NotFound, Transient
from nanotally.streams.publisher_files import open_usage
from nanotally.streams.publisher_ledger import TopicReader, run
from nanotally.streams.tariffs.catalog_files import read_catalog
from nanotally.streams.tariffs.findings import Unreadable
from nanotally.streams.tariffs.settings import read_settings
from nanotally.streams.tariffs.values import instant_us


@dataclass
class _Compared:
    """What is simulated: the draft, what it is compared with, and what both are rated under."""

    after: Named
    before: Named | None
    settings: Settings
    live: RuleBook | None
    catalogs: tuple[CatalogVersion, ...] = ()

    def book(self, version: TariffVersion) -> RuleBook:
        """The version alone, as if it had always been in force."""
        return RuleBook(0, self.settings, (replace(version, effective_from_us=0),), self.catalogs)

    def owns(self, product: str) -> bool:
        """Whether uses of the product are of the tariff, before or after."""
        mine = self.after.version
        claimed = self.live.tariff_of(product) if self.live is not None else None
        return claimed in (None, mine.tariff) or product in mine.products


def simulate(
    tariff: Annotated[
        list[str],
        typer.Option("--tariff", metavar="FILE|NAME", help="The draft; a second one is what it is compared with."),
    ],
    usage: Annotated[
        str | None, typer.Option("--usage", metavar="FILE", help="JSON lines or CSV; - reads them.")
    ] = None,
    ledger: Annotated[bool, typer.Option("--ledger", help="The uses that Kafka's ledger has.")] = False,
    since: Annotated[str | None, typer.Option("--from", metavar="TIME", help="Of the ledger: from then on.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Of the ledger: before then.")] = None,
    by: Annotated[str, typer.Option(metavar="ATTRIBUTE", help="Attribute whose values are compared too.")] = "feature",
    settings: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings file.")] = None,
    catalog: Annotated[
        list[Path] | None, typer.Option("--catalog", metavar="FILE", help="Catalog file; else those in force.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="The report as one HTML page.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many winners and losers are named.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Rate uses by a draft and by the tariff in force, and say who would pay and earn more or less.

    Both are taken as if they had always been in force, and count from nothing at the first use. Nothing is written
    anywhere. With a usage file and without Kafka the draft stands alone, unless a second --tariff is given.

    Example: nanotally tariff simulate --tariff draft.yaml --usage uses.jsonl --html report.html
    """
    if (usage is None) == (not ledger):
        raise typer.BadParameter("give either --usage FILE or --ledger", param_hint="--usage")
    if len(tariff) > 2:
        raise typer.BadParameter("give one, or two to compare the first with the second", param_hint="--tariff")
    if usage is not None and (since or until):
        raise typer.BadParameter(
            "is for --ledger; a usage file is taken whole", param_hint="--from" if since else "--to"
        )
    span = _instant(since, "--from", LONG_AGO), _instant(until, "--to", NO_END)
    chosen = read_settings(settings) if settings else None
    items = tuple(replace(read_catalog(path).version, effective_from_us=0) for path in catalog or [])
    compared = _compared(tariff, ledger, chosen, items)
    found = _simulated(compared, usage, span, by)
    if html is not None:
        try:
            html.write_text(page(found, top), encoding="utf-8")
        except OSError as e:
            raise InvalidInput(f"{html} cannot be written: {e.strerror}") from e
        note(f"written: {html}")
    if as_json:
        say_json(document(found, top))
    else:
        typer.echo(words(found, top))


def _instant(text: str | None, option: str, otherwise: int) -> int:
    try:
        return otherwise if text is None else instant_us(text)
    except Unreadable as e:
        raise typer.BadParameter(str(e), param_hint=option) from e


def _compared(
    tariffs: list[str], ledger: bool, settings: Settings | None, catalogs: tuple[CatalogVersion, ...]
) -> _Compared:
    """Reads the tariffs, and the rule book in force where it is needed. Raises TariffErrors, NotFound, Transient."""
    after = version_of(tariffs[0])
    before = version_of(tariffs[1]) if len(tariffs) == 2 else None
    live: RuleBook | None = None
    if ledger or before is None:
        try:
            live = book_numbered(published_books(Environment.load()), None).book
        except (NotFound, Transient) as e:
            if ledger:
                raise
            note(f"compared with nothing, since there is no tariff in force to ask for: {e}")
    if before is None and live is not None:
        current = in_force(live, after.version.tariff, time.time_ns() // 1000)
        if current is not None:
            before = Named(current, "live")
        else:
            note(f"compared with nothing: no version of {after.version.tariff} is in force")
    if before is not None and before.version.currency != after.version.currency:
        raise InvalidInput(
            f"{before.version.tariff} is in {before.version.currency}, {after.version.tariff} in "
            f"{after.version.currency}: sums of two currencies cannot be compared"
        )
    held = catalogs or (live.catalogs if live is not None else ())
    return _Compared(after, before, settings or (live.settings if live else Settings()), live, held)


def _simulated(compared: _Compared, usage: str | None, span: tuple[int, int], by: str) -> Report:
    simulation = Simulation(by)
    sides: dict[int, tuple[Side, Side]] = {}
    books = [compared.book(n.version) if n is not None else None for n in (compared.before, compared.after)]

    def pair(partition: int) -> tuple[Side, Side]:
        if partition not in sides:
            was, now = (side(book, simulation.names) if book else Nothing(simulation.names) for book in books)
            sides[partition] = was, now
        return sides[partition]

    charged: int | None = None
    with progress("simulated") as bar:
        task = bar.add_task("", total=None, note="uses")

        def take(taken: Taken) -> None:
            was, now = pair(taken.partition)
            simulation.add(taken, (was.rate(taken), now.rate(taken)))
            bar.update(task, completed=simulation.uses)

        if usage is not None:
            source = "standard input" if usage == "-" else usage
            with open_usage(usage, sys.stdin.buffer) as file:
                for taken in from_file(usage, file, compared.book(compared.after.version), simulation.left_out, note):
                    take(taken)
        else:
            source, charged = "the ledger", _read_ledger(compared, span, simulation, take)
    if not simulation.uses:
        raise NotFound(f"there is no use to simulate in {source}; " + _why(simulation, span))
    end = span[1] if span[1] != NO_END else _month_end(simulation.last_us or 0)
    for was, now in sides.values():
        simulation.add_dues((was.close(end), now.close(end)))
    return report(
        simulation, _name(compared.before), _name(compared.after), source, compared.after.version.currency, charged
    )


def _read_ledger(
    compared: _Compared, span: tuple[int, int], simulation: Simulation, take: Callable[[Taken], None]
) -> int:
    environment = Environment.load()
    ledger = Ledger(compared.after.version.tariff, compared.owns, *span)

    async def read() -> None:
        async with TopicReader(environment.kafka, environment.prefix) as reader:
            await ledger.read(reader, simulation.left_out, take)

    run(read())
    return ledger.charged


def _why(simulation: Simulation, span: tuple[int, int]) -> str:
    if any(simulation.left_out.values()):
        return "left out: " + ", ".join(f"{why} {n:,}" for why, n in simulation.left_out.items() if n)
    if span == (LONG_AGO, NO_END):
        return "is it the right one?"
    since, until = ("…" if at in (LONG_AGO, NO_END) else instant(at) for at in span)
    return f"nothing is booked from {since} to {until}"


def _month_end(last_us: int) -> int:
    """The end of the month of the last use, where what fell due by then is counted too."""
    calendar = Calendar("UTC")
    start = calendar.starts("month", np.array([last_us], dtype=np.int64))
    return int(calendar.ends("month", start)[0])


def _name(named: Named | None) -> str:
    return "" if named is None else f"{named.version.tariff} v{named.version.version} ({named.told})"
