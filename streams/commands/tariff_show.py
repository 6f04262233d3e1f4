"""`nanotally tariff show` and `tariff withdraw`: what is in force, what is to come, and taking back the latter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nanotally.streams.commands.output import AsJson, say_json, table
from nanotally.streams.commands.tariff_sources import book_numbered, is_file, published_books, tariffs_named
from nanotally.streams.domain.tariff import RuleBook, TariffVersion
from nanotally.streams.environment import Environment
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.books import PublishedBook
from nanotally.streams.tariffs.publishing import activation, send_control
from nanotally.streams.tariffs.reader import read_tariff
from nanotally.streams.tariffs.withdrawing import withdraw_version
from nanotally.streams.tariffs.words import head_words, rules_words, version_words

_DAY_US = 86_400_000_000


def show(
    tariff: Annotated[
        str | None, typer.Argument(help="Name of a tariff, or a tariff file; all in short without it.")
    ] = None,
    version: Annotated[int | None, typer.Option(help="One version of it.")] = None,
    book: Annotated[int | None, typer.Option(help="An earlier rule book, by its number.")] = None,
    source: Annotated[bool, typer.Option("--source", help="The file as it was written.")] = False,
    scheduled: Annotated[bool, typer.Option("--scheduled", help="The versions that are still to come.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw what each rule costs over the quantity.")] = False,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="The same drawing as an SVG file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest rule book, or what a tariff in it means.

    A name that is a file (it ends in .yaml or .yml, or has a /) is read from the disk and needs no services.

    With --plot it draws, for each rule, the price over the quantity that a scope has cumulated and what one more unit
    costs there, worked out by the engine, with the exact values at borders.

    Example: nanotally tariff show media-and-ai --plot
    """
    if tariff is not None and is_file(tariff):
        if version is not None or book is not None or scheduled:
            raise typer.BadParameter(
                "a file has no --version, --book or --scheduled; name a tariff", param_hint="TARIFF"
            )
        if plot or svg:
            _draw((read_tariff(Path(tariff)),), plot, svg)
        else:
            _show_file(Path(tariff), source, as_json)
        return
    now_us = time.time_ns() // 1000
    published = book_numbered(published_books(Environment.load()), book)
    chosen = tariffs_named(published.book, tariff, version)
    if scheduled:
        chosen = tuple(t for t in chosen if t.effective_from_us > now_us)
    if plot or svg:
        _draw(chosen if version is not None or scheduled else _newest(chosen, now_us), plot, svg)
    elif as_json:
        say_json(_book_document(published, chosen))
    elif source:
        typer.echo("---\n".join(published.sources[t.tariff, t.version] for t in chosen))
    elif scheduled:
        _say_scheduled(published.book, chosen, now_us)
    elif tariff is None:
        _say_book(published, now_us)
    else:
        typer.echo("\n\n".join(version_words(t) for t in chosen))


def withdraw(
    tariff: Annotated[str, typer.Argument(help="Name of a tariff.", metavar="NAME")],
    version: Annotated[int, typer.Argument(help="The version that shall not come into force.", metavar="VERSION")],
    note: Annotated[str, typer.Option(help="Why, for people.")] = "",
    as_json: AsJson = False,
) -> None:
    """Take back a version that is not in force yet: publish the rule book without it, and activate that.

    Refused once the version is in force, or so near that a use which came early may have been priced by it: what was
    charged never changes. Its number stays used; the same file may be published again.

    Example: nanotally tariff withdraw media-and-ai 3 --note 'not before the new year'
    """
    environment = Environment.load()
    book = withdraw_version(environment.kafka, environment.prefix, tariff, version, note, time.time_ns() // 1000)
    partitions = send_control(environment.kafka, environment.prefix, activation(book, note))
    if as_json:
        tariffs = [version_line(t) for t in book.tariffs]
        say_json(
            {"book": book.number, "book_hash": book.book_hash, "tariffs": tariffs, "partitions": sorted(partitions)}
        )
        return
    typer.echo(f"withdrawn: {tariff} {version}")
    held = figures.listing([f"{t.tariff} {t.version}" for t in book.tariffs])
    typer.echo(f"rule book {book.number} holds {held}  (hash {book.book_hash[:16]})")
    typer.echo(f"activated in {len(partitions)} partitions of usage")


def _newest(versions: Sequence[TariffVersion], now_us: int) -> list[TariffVersion]:
    """Of each tariff the version in force, or the first to come."""
    chosen: dict[str, TariffVersion] = {}
    for t in sorted(versions, key=lambda t: (t.effective_from_us, t.version)):
        if t.effective_from_us <= now_us or t.tariff not in chosen:
            chosen[t.tariff] = t
    return list(chosen.values())


def _draw(versions: Sequence[TariffVersion], in_terminal: bool, svg: Path | None) -> None:
    if svg is not None and len(versions) > 1:
        held = figures.listing([f"{t.tariff} {t.version}" for t in versions])
        raise typer.BadParameter(f"one SVG file is of one version; there are {held}", param_hint="--svg")
    from nanotally.streams.commands import plot  # the engine is not loaded by the other commands

    if in_terminal:
        typer.echo("\n\n".join(plot.terminal(t) for t in versions))
    if svg is not None:
        plot.write_svg(versions[0], svg)


def version_line(t: TariffVersion) -> dict[str, Any]:
    """A version for --json in short."""
    return {
        "tariff": t.tariff,
        "version": t.version,
        "effective_from": figures.iso(t.effective_from_us),
        "content_hash": t.content_hash,
    }


def version_document(t: TariffVersion, file: str | None = None) -> dict[str, Any]:
    """A version for --json: its name, its rules in words and its canonical document."""
    rules = [{"rule": words.name, "words": words.lines()} for words in rules_words(t)]
    named = {"file": file} if file is not None else {}
    return {**named, **version_line(t), "words": head_words(t), "rules": rules, "document": t.document()}


def _show_file(path: Path, source: bool, as_json: bool) -> None:
    version = read_tariff(path)
    if as_json:
        say_json(version_document(version, str(path)))
    elif source:
        typer.echo(path.read_text(encoding="utf-8"), nl=False)
    else:
        typer.echo(version_words(version))


def _say_book(published: PublishedBook, now_us: int) -> None:
    book, settings = published.book, published.book.settings
    note = f": {published.note}" if published.note else ""
    typer.echo(f"rule book {book.number}, published {figures.instant(published.published_at_us)}{note}")
    thresholds = figures.listing(
        [figures.money(nanos, currency) for currency, nanos in settings.thresholds] or ["none"]
    )
    typer.echo(
        f"settled each {settings.settlement} ({settings.zone}), windows {figures.listing(list(settings.windows))}, "
        f"lateness {settings.lateness_us // 10**6} s, payout from {thresholds}"
    )
    rows = []
    for t in book.tariffs:
        begun = [v for v in book.versions(t.tariff) if v.effective_from_us <= now_us]
        state = "in force" if begun and begun[-1] is t else "past" if t in begun else "to come"
        rows.append((t.tariff, t.version, figures.instant(t.effective_from_us), state, t.content_hash[:16]))
    table(("tariff", "version", "from", "", "content"), rows, right=("version",))


def _say_scheduled(book: RuleBook, chosen: Sequence[TariffVersion], now_us: int) -> None:
    if not chosen:
        typer.echo(f"nothing is to come: rule book {book.number} holds no version that is not in force yet")
        return
    ordered = sorted(chosen, key=lambda t: (t.effective_from_us, t.tariff))
    rows = [(t.tariff, t.version, figures.instant(t.effective_from_us), _wait(t, now_us)) for t in ordered]
    table(("tariff", "version", "from", "in"), rows, right=("version",))
    first = ordered[0]
    typer.echo(f"what changes   nanotally tariff diff {first.tariff} {first.tariff}@{first.version}")
    typer.echo(f"take back      nanotally tariff withdraw {first.tariff} {first.version}")


def _wait(t: TariffVersion, now_us: int) -> str:
    """'12 days', '3 h 20 min', '40 s' until the version is in force."""
    days, rest = divmod(t.effective_from_us - now_us, _DAY_US)
    hours, minutes, seconds = rest // 3_600_000_000, rest // 60_000_000 % 60, rest // 1_000_000
    if days:
        return f"{days} day{'s' * (days != 1)} {hours} h"
    return f"{hours} h {minutes} min" if rest >= 60_000_000 else f"{seconds} s"


def _book_document(published: PublishedBook, chosen: Sequence[TariffVersion]) -> dict[str, Any]:
    return {
        "book": published.book.number,
        "book_hash": published.book.book_hash,
        "published_at": figures.iso(published.published_at_us),
        "note": published.note,
        "settings": published.book.settings.document(),
        "tariffs": [version_document(t) for t in chosen],
    }
