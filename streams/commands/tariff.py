"""`nanotally tariff`: check what is written, publish it, show what is in force."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nanotally.streams.commands.output import AsJson, say_json, table
from nanotally.streams.domain.tariff import Settings, TariffVersion
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode, NotFound
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.books import BookErrors, PublishedBook, next_book
from nanotally.streams.tariffs.findings import Finding, TariffErrors, Unreadable, choose
from nanotally.streams.tariffs.publishing import Publication, activation, publish_book, read_published, send_control
from nanotally.streams.tariffs.reader import ReadTariff, examine_tariff
from nanotally.streams.tariffs.settings import read_settings
from nanotally.streams.tariffs.words import head_words, rule_words, version_words

tariff_app = typer.Typer(
    name="tariff", help="Check tariff files, publish them, show what is in force.", no_args_is_help=True
)

Files = Annotated[list[Path], typer.Argument(help="Tariff files.", metavar="FILE")]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="Settings file.", metavar="FILE")]


@tariff_app.command("check")
def check(files: Files, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Say what is wrong with tariff files, and in plain words what they mean.

    Needs no services. Exits with 3 where a file cannot be used.

    Example: nanotally tariff check infra/demo/media-and-ai.yaml
    """
    read: dict[Path, ReadTariff] = {}
    findings: list[Finding] = []
    problems: list[str] = []
    for file in files:
        try:
            read[file] = examine_tariff(file)
            findings += read[file].warnings
        except TariffErrors as e:
            findings += e.findings
    chosen: Settings | None = None
    try:
        chosen = read_settings(settings) if settings else None
    except TariffErrors as e:
        findings += e.findings
    if len(read) == len(set(files)):
        try:
            next_book(None, [r.version for r in read.values()], chosen, 0, None, [])
        except BookErrors as e:
            problems += e.problems
    failed = bool(problems) or any(f.severity == "error" for f in findings)
    if as_json:
        document = {
            "ok": not failed,
            "findings": [f.document() for f in findings],
            "problems": problems,
            "tariffs": [version_document(r.version, str(file)) for file, r in read.items()],
        }
        say_json(document)
    else:
        for r in read.values():
            typer.echo(version_words(r.version) + "\n")
        _say_findings(findings, problems)
    if failed:
        raise typer.Exit(ExitCode.INVALID)


@tariff_app.command("publish")
def publish(
    files: Annotated[list[Path] | None, typer.Argument(help="Tariff files.", metavar="FILE")] = None,
    settings: SettingsFile = None,
    note: Annotated[str, typer.Option(help="Why, for people.")] = "",
    lead: Annotated[str, typer.Option(help="How long ahead a new version has to be published, as in 10m.")] = "0s",
    backdated: Annotated[
        bool, typer.Option("--backdated", help="Allow versions in force from a time that has passed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish tariffs and settings as the next rule book, and activate it.

    The book holds all versions in force and to come: those published before stay. A new version may not come into
    force in the past, but in the first book of an installation. What was charged never changes.

    Example: nanotally tariff publish prices.yaml --settings settings.yaml --note 'prices of December'
    """
    try:
        lead_us = None if backdated else values.duration_us(lead)
    except Unreadable as e:
        raise typer.BadParameter(str(e), param_hint="--lead") from e
    if not files and settings is None:
        raise typer.BadParameter("name a tariff file, or settings with --settings", param_hint="FILE")
    read, chosen = _read_all(files or [], settings)
    environment = Environment.load()
    publication = Publication(
        versions=[r.version for r in read],
        settings=chosen,
        note=note,
        sources={(r.version.tariff, r.version.version): r.source for r in read},
        lead_us=lead_us,
    )
    book = publish_book(environment.kafka, environment.prefix, publication, time.time_ns() // 1000)
    partitions = send_control(environment.kafka, environment.prefix, activation(book, note))
    if as_json:
        document = {
            "book": book.number,
            "book_hash": book.book_hash,
            "tariffs": [_line(t) for t in book.tariffs],
            "partitions": sorted(partitions),
        }
        say_json(document)
        return
    _say_findings([w for r in read for w in r.warnings], [])
    held = figures.listing([f"{t.tariff} {t.version}" for t in book.tariffs])
    typer.echo(f"rule book {book.number} holds {held}  (hash {book.book_hash[:16]})")
    typer.echo(f"activated in {len(partitions)} partitions of usage")


@tariff_app.command("show")
def show(
    tariff: Annotated[str | None, typer.Argument(help="Name of a tariff; all in short without it.")] = None,
    version: Annotated[int | None, typer.Option(help="One version of it.")] = None,
    book: Annotated[int | None, typer.Option(help="An earlier rule book, by its number.")] = None,
    source: Annotated[bool, typer.Option("--source", help="The file as it was written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the newest rule book, or what a tariff in it means.

    Example: nanotally tariff show media-and-ai
    """
    environment = Environment.load()
    published = _book(read_published(environment.kafka, environment.prefix), book)
    chosen = _versions(published, tariff, version)
    if as_json:
        say_json(_book_document(published, chosen))
    elif source:
        typer.echo("---\n".join(published.sources[t.tariff, t.version] for t in chosen))
    elif tariff is None:
        _say_book(published, time.time_ns() // 1000)
    else:
        typer.echo("\n\n".join(version_words(t) for t in chosen))


def _read_all(files: Sequence[Path], settings: Path | None) -> tuple[list[ReadTariff], Settings | None]:
    """All files, or TariffErrors with the findings of all."""
    read: list[ReadTariff] = []
    chosen: Settings | None = None
    findings: list[Finding] = []
    for file in files:
        try:
            read.append(examine_tariff(file))
        except TariffErrors as e:
            findings += e.findings
    try:
        chosen = read_settings(settings) if settings else None
    except TariffErrors as e:
        findings += e.findings
    if findings:
        raise TariffErrors(findings)
    return read, chosen


def _book(books: Sequence[PublishedBook], number: int | None) -> PublishedBook:
    if not books:
        raise NotFound("no rule book was published yet; `nanotally tariff publish FILE` publishes one")
    if number is None:
        return books[-1]
    for published in books:
        if published.book.number == number:
            return published
    raise NotFound(f"there is no rule book {number}; there are {figures.listing([str(b.book.number) for b in books])}")


def _versions(published: PublishedBook, tariff: str | None, version: int | None) -> tuple[TariffVersion, ...]:
    book = published.book
    names = list(dict.fromkeys(t.tariff for t in book.tariffs))
    if tariff is not None and tariff not in names:
        raise NotFound(f"rule book {book.number} has no tariff {tariff!r}; {choose(tariff, names)}")
    found = tuple(t for t in book.tariffs if tariff in (None, t.tariff) and (version is None or t.version == version))
    if not found:
        there = figures.listing([str(t.version) for t in book.tariffs if tariff in (None, t.tariff)])
        raise NotFound(f"rule book {book.number} has no version {version} of it; there are {there}")
    return found


def _say_findings(findings: Sequence[Finding], problems: Sequence[str]) -> None:
    for finding in findings:
        color = typer.colors.RED if finding.severity == "error" else typer.colors.YELLOW
        typer.secho(str(finding), fg=color, err=True)
    for problem in problems:
        typer.secho(f"error: {problem}", fg=typer.colors.RED, err=True)


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


def _line(t: TariffVersion) -> dict[str, Any]:
    return {
        "tariff": t.tariff,
        "version": t.version,
        "effective_from": figures.iso(t.effective_from_us),
        "content_hash": t.content_hash,
    }


def version_document(t: TariffVersion, file: str | None = None) -> dict[str, Any]:
    """A version for --json: its name, its rules in words and its canonical document."""
    rules = [{"rule": r.name, "words": rule_words(t, r).lines()} for r in t.rules]
    named = {"file": file} if file is not None else {}
    return {**named, **_line(t), "words": head_words(t), "rules": rules, "document": t.document()}


def _book_document(published: PublishedBook, chosen: Sequence[TariffVersion]) -> dict[str, Any]:
    return {
        "book": published.book.number,
        "book_hash": published.book.book_hash,
        "published_at": figures.iso(published.published_at_us),
        "note": published.note,
        "settings": published.book.settings.document(),
        "tariffs": [version_document(t) for t in chosen],
    }
