"""`nanotally tariff`: check what is written and publish it; the other commands of the group are in tariff_*.py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from nanotally.streams.commands.output import AsJson, say_json
from nanotally.streams.commands.simulate import simulate
from nanotally.streams.commands.tariff_check import SettingsFile, check, say_findings
from nanotally.streams.commands.tariff_diff import diff
from nanotally.streams.commands.tariff_schema import schema
from nanotally.streams.commands.tariff_show import show, version_line, withdraw
from nanotally.streams.domain.tariff import Settings
from nanotally.streams.environment import Environment
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.findings import Finding, TariffErrors, Unreadable
from nanotally.streams.tariffs.publishing import Publication, activation, publish_book, send_control
from nanotally.streams.tariffs.reader import ReadTariff, examine_tariff
from nanotally.streams.tariffs.settings import read_settings

tariff_app = typer.Typer(
    name="tariff", help="Check tariff files, publish and take back; show and compare.", no_args_is_help=True
)


tariff_app.command("check")(check)


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
            "tariffs": [version_line(t) for t in book.tariffs],
            "partitions": sorted(partitions),
        }
        say_json(document)
        return
    say_findings([w for r in read for w in r.warnings], [])
    held = figures.listing([f"{t.tariff} {t.version}" for t in book.tariffs])
    typer.echo(f"rule book {book.number} holds {held}  (hash {book.book_hash[:16]})")
    typer.echo(f"activated in {len(partitions)} partitions of usage")


tariff_app.command("show")(show)
tariff_app.command("withdraw")(withdraw)
tariff_app.command("diff")(diff)
tariff_app.command("simulate")(simulate)
tariff_app.command("schema")(schema)


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
