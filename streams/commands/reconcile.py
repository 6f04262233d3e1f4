"""`nanotally reconcile`: is everything there, once, and to the nano?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nanotally.streams.commands.charge_sources import address_of
from nanotally.streams.commands.identities import ends, identities
from nanotally.streams.commands.output import AsJson, note, say_json, table
from nanotally.streams.commands.reconcile_reading import read
from nanotally.streams.commands.reconcile_tables import compare_tables, expected_rows
from nanotally.streams.domain.reconciling import Difference, Report
from nanotally.streams.domain.reconciling_run import Material, check_all
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode
from nanotally.streams.publisher_ledger import TopicReader, run
from nanotally.streams.tariffs.publishing import read_books

WAIT_S = 10.0


def reconcile(
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long to wait until payers, accounts and sink have caught up.")
    ] = WAIT_S,
    ledger: Annotated[bool, typer.Option("--ledger", help="Kafka only: leave ClickHouse out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare usage, charges, tallies, settlements and ClickHouse, each partition at its newest chunk record.

    Reads the ledger again from its beginning and adds it up without any state of the workers. Exits with 1 and names
    the first place where something differs.

    Example: nanotally reconcile --wait 60
    """
    environment = Environment.load()
    material = run(_read(environment, wait))
    report = Report()
    report.add(check_all(material))
    report.notes += [f"topic {t} has lost its oldest rows; they are not compared" for t in sorted(material.expired)]
    report.notes += _waiting(material)
    if not ledger:
        expected, there = expected_rows(material), run(ends(environment))
        topics = run(identities(environment, {topic for topic, _ in there}))
        report.add(compare_tables(address_of(environment), expected, topics, lambda: run(ends(environment)), wait))
    if as_json:
        say_json(_document(report, material))
    else:
        _say(report, material)
    if not report.clean:
        raise typer.Exit(ExitCode.DIFFERENCE)


async def _read(environment: Environment, wait_s: float) -> Material:
    books = read_books(environment.kafka, environment.prefix)
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        return await read(reader, books, wait_s)


def _waiting(material: Material) -> list[str]:
    """What to say of records of which nothing could be compared."""
    told = "and not compared; `nanotally doctor` tells how far the workers are"
    said = {
        f"records of usage are not priced yet, {told}": material.waiting_uses,
        f"records of earnings are not taken by the accounts' stage yet, {told}": material.waiting_earnings,
        "records are in partitions of usage that were added: nothing is priced there, `nanotally migrate` carries them "
        "over": material.added_uses,
    }
    return [f"{number:,} {what}" for what, number in said.items() if number]


def _say(report: Report, material: Material) -> None:
    rows = [("ok" if c.clean else "BAD", c.name, f"{c.compared:,}", c.detail) for c in report.checks]
    table(("", "reconcile", "compared", "what it comes to"), rows, right=("compared",))
    for said in report.notes:
        note(said)
    for check in report.checks:
        for difference in check.differences:
            typer.echo(f"  {check.name}: {difference}")
    charges = sum(fold.charges for fold in material.folds.values())
    first = report.first
    if first is None:
        said = f"NOTHING MISSING: {charges:,} charges" if charges else "nothing is there yet, and nothing is missing"
        typer.echo(f"{said}, of what was taken so far" if material.waiting else said)
    else:
        typer.echo(f"FIRST DIFFERENCE {first}")


def _document(report: Report, material: Material) -> dict[str, Any]:
    return {
        "clean": report.clean,
        "first": None if report.first is None else _difference(report.first),
        "checks": [
            {
                "check": c.name,
                "compared": c.compared,
                "detail": c.detail,
                "differences": c.count,
                "first": [_difference(d) for d in c.differences],
            }
            for c in report.checks
        ],
        "notes": report.notes,
        "waiting_uses": material.waiting_uses,
        "waiting_earnings": material.waiting_earnings,
        "added_uses": material.added_uses,
        "charges": sum(fold.charges for fold in material.folds.values()),
        "paid_nanos": {
            name.removeprefix("paid."): sum(f.sums.get(name, 0) for f in material.folds.values())
            for name in sorted({n for f in material.folds.values() for n in f.sums if n.startswith("paid.")})
        },
        "cuts": {
            str(p): {"offset": fold.cut.offset, "next_offset": fold.cut.chunk["next_offset"]}
            for p, fold in sorted(material.folds.items())
            if fold.cut is not None
        },
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {name: getattr(difference, name) for name in ("what", "topic", "partition", "offset", "expected", "found")}
