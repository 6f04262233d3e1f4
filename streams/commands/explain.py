"""`nanotally explain`: why a charge is what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanotally.streams.commands import charge_files, charge_sources
from nanotally.streams.commands.explain_document import document
from nanotally.streams.commands.explain_proof import proof, script
from nanotally.streams.commands.explain_words import words
from nanotally.streams.commands.output import AsJson, say_json
from nanotally.streams.domain.decimals import fixed_text
from nanotally.streams.domain.explaining import explain as work_out
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode
from nanotally.streams.publisher_ledger import run

SHOWN_MAX = 20


def explain(
    charge: Annotated[
        str | None, typer.Argument(metavar="[CHARGE]", help="PARTITION-OFFSET[-N], or an event id.")
    ] = None,
    ledger: Annotated[bool, typer.Option("--ledger", help="Straight from Kafka, without ClickHouse.")] = False,
    verify: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check all charges of a file that `export` wrote; no services.")
    ] = None,
    as_proof: Annotated[
        bool, typer.Option("--proof", help="A document that verify_proof.py checks without nanotally.")
    ] = False,
    proof_script: Annotated[bool, typer.Option("--proof-script", help="The text of verify_proof.py.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say why a charge is what it is: rule, quantity, arithmetic, split, tariff; worked out again in fractions.

    Exits with 1 where a charge is not what its tariff gives, with 4 where there is no such charge.

    Example: nanotally explain 2-1047
    """
    if sum(asked is not None for asked in (charge, verify)) + proof_script != 1:
        raise typer.BadParameter("name a charge, or a file with --verify", param_hint="CHARGE")
    if proof_script:
        typer.echo(script(), nl=False)
    elif verify is not None:
        _verify(verify, as_json)
    else:
        _explain(str(charge), ledger, as_proof, as_json)


def _explain(charge: str, ledger: bool, as_proof: bool, as_json: bool) -> None:
    environment = Environment.load()
    if ledger:
        found = run(charge_sources.from_ledger(environment, charge))
    else:
        found = charge_sources.from_clickhouse(environment, charge)
    explained = work_out(found.charge, found.versions, found.catalogs)
    if as_proof:
        say_json(proof(found.charge, explained))
    elif as_json:
        say_json({**document(explained), "later": found.later.document() if found.later else None})
    else:
        typer.echo("\n".join([words(explained), *(found.later.words() if found.later else ())]))


def _verify(file: Path, as_json: bool) -> None:
    verified = charge_files.verify(file)
    differences = verified.differences
    if as_json:
        told = [{"file": str(file), "line": d.line, "charge": d.charge, "field": d.field, "problem": d.problem}
                for d in differences]  # fmt: skip
        say_json(
            {
                "ok": not differences,
                "charges": verified.charges,
                "tariffs": verified.tariffs,
                "catalogs": verified.catalogs,
                "paid_nanos": verified.paid,
                "differences": told,
            }
        )
    else:
        for difference in differences[:SHOWN_MAX]:
            typer.echo(f"{file}:{difference}", err=True)
        if len(differences) > SHOWN_MAX:
            typer.echo(f"… and {len(differences) - SHOWN_MAX:,} more (--json has all)", err=True)
        paid = " + ".join(f"{fixed_text(n, grouped=True)} {c}" for c, n in sorted(verified.paid.items()) if c)
        rules = ", ".join([*verified.tariffs, *verified.catalogs]) or "no tariff"
        count = f"{len(differences):,} difference{'s' * (len(differences) != 1)}"
        said = count if differences else "all are what their tariffs give"
        charges = f"{verified.charges:,} charge{'s' * (verified.charges != 1)}"
        typer.echo(f"{charges} of {paid or 'nothing'} by {rules}: {said}")
    if differences:
        raise typer.Exit(ExitCode.DIFFERENCE)
