"""`nanotally tariff check`: what is wrong with tariff files, what they mean, and what they would make count anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nanotally.streams.commands.output import AsJson, say_json
from nanotally.streams.commands.tariff_show import version_document
from nanotally.streams.commands.tariff_sources import Named, version_of
from nanotally.streams.domain.tariff import Settings, TariffVersion
from nanotally.streams.errors import ExitCode
from nanotally.streams.tariffs.book_checks import changed, name_of
from nanotally.streams.tariffs.books import BookErrors, next_book
from nanotally.streams.tariffs.findings import Finding, TariffErrors
from nanotally.streams.tariffs.reader import ReadTariff, examine_tariff
from nanotally.streams.tariffs.restarts import restarts
from nanotally.streams.tariffs.settings import read_settings
from nanotally.streams.tariffs.words import version_words

LIVE = "live"
Files = Annotated[list[Path], typer.Argument(help="Tariff files.", metavar="FILE")]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="Settings file.", metavar="FILE")]


def check(
    files: Files,
    settings: SettingsFile = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="FILE|live", help="Say what would count anew, compared with a file or with what is live."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with tariff files, and in plain words what they mean.

    Needs no services but for --against live, which compares with what is in force now and says which rules would begin
    to count anew, and what may not change. Exits with 3 where a file cannot be used.

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
    compared = [(r.version, _other(against, r.version)) for r in read.values()] if against else []
    problems += [problem for new, old in compared for problem in changed(_versions(old.version, new))]
    failed = bool(problems) or any(f.severity == "error" for f in findings)
    if as_json:
        document = {
            "ok": not failed,
            "findings": [f.document() for f in findings],
            "problems": problems,
            "tariffs": [version_document(r.version, str(file)) for file, r in read.items()],
        }
        say_json(document | ({"against": [_compared(new, old) for new, old in compared]} if against else {}))
    else:
        for r in read.values():
            typer.echo(version_words(r.version) + "\n")
        for new, old in compared:
            typer.echo(_restart_words(new, old) + "\n")
        say_findings(findings, problems)
    if failed:
        raise typer.Exit(ExitCode.INVALID)


def _other(against: str, version: TariffVersion) -> Named:
    """What a version is compared with."""
    return version_of(version.tariff if against == LIVE else against)


def _versions(old: TariffVersion, new: TariffVersion) -> tuple[TariffVersion, ...]:
    """The older one first; a file beside an equal number stands for what comes after it."""
    return (old, new) if old.version <= new.version else (new, old)


def _restart_words(new: TariffVersion, old: Named) -> str:
    head = f"against {name_of(old.version)} ({old.told})"
    told = restarts(old.version, new)
    return "\n".join([f"{head}:", *(f"  {line}" for line in told)]) if told else f"{head}: nothing begins to count anew"


def _compared(new: TariffVersion, old: Named) -> dict[str, Any]:
    return {
        "tariff": new.tariff,
        "with": name_of(old.version),
        "from": old.told,
        "restarts": restarts(old.version, new),
    }


def say_findings(findings: Sequence[Finding], problems: Sequence[str]) -> None:
    """Findings and problems on standard error, in color where it is a terminal."""
    for finding in findings:
        color = typer.colors.RED if finding.severity == "error" else typer.colors.YELLOW
        typer.secho(str(finding), fg=color, err=True)
    for problem in problems:
        typer.secho(f"error: {problem}", fg=typer.colors.RED, err=True)
