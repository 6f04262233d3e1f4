"""`nanotally explain`: why a charge is what it is."""

from __future__ import annotations

from typing import Annotated

import typer

from nanotally.streams.commands import charge_sources
from nanotally.streams.commands.explain_document import document
from nanotally.streams.commands.explain_words import words
from nanotally.streams.commands.output import AsJson, say_json
from nanotally.streams.domain.explaining import explain as work_out
from nanotally.streams.environment import Environment
from nanotally.streams.publisher_ledger import run


def explain(
    charge: Annotated[str, typer.Argument(metavar="CHARGE", help="PARTITION-OFFSET[-N], or an event id.")],
    ledger: Annotated[bool, typer.Option("--ledger", help="Straight from Kafka, without ClickHouse.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say why a charge is what it is: rule, quantity, arithmetic, split, tariff; worked out again in fractions.

    Exits with 1 where the charge is not what its tariff gives, with 4 where there is no such charge.

    Example: nanotally explain 2-1047
    """
    environment = Environment.load()
    if ledger:
        found, version = run(charge_sources.from_ledger(environment, charge))
    else:
        found, version = charge_sources.from_clickhouse(environment, charge)
    explained = work_out(found, version)
    if as_json:
        say_json(document(explained))
    else:
        typer.echo(words(explained))
