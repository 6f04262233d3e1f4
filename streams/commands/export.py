"""`nanotally export`: charges of the ledger as a file that can be checked anywhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from nanotally.schemas import codec
from nanotally.streams.commands.charge_files import Writer, line_of
from nanotally.streams.commands.output import note
from nanotally.streams.environment import Environment
from nanotally.streams.errors import InvalidInput
from nanotally.streams.publisher_ledger import TopicReader, run
from nanotally.streams.tariffs.findings import Unreadable
from nanotally.streams.tariffs.publishing import read_books
from nanotally.streams.tariffs.values import instant_us


def export(
    payer: Annotated[str | None, typer.Option(help="Only charges of this payer.")] = None,
    creator: Annotated[str | None, typer.Option(help="Only charges of which this creator gets a share.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only charges booked then or later.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only charges booked before then.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there, not to standard output.")] = None,
) -> None:
    """Write charges from the ledger as JSON lines, with the tariffs they were rated by.

    `nanotally explain --verify FILE` works all of them out again, without services; docs/proofs.md has the format.

    Example: nanotally export --payer p-7f3a --since 2026-12-01T00:00:00Z --out charges.jsonl
    """
    first, end = _instant(since, "--since"), _instant(until, "--until")
    account = None if creator is None else f"creator:{creator}"

    def wanted(charge: dict[str, Any]) -> bool:
        if payer is not None and charge["payer"] != payer:
            return False
        if (first is not None and charge["booked_at"] < first) or (end is not None and charge["booked_at"] >= end):
            return False
        return account is None or any(s["account"] == account for line in charge["lines"] for s in line["shares"])

    environment = Environment.load()
    with ExitStack() as stack:
        file = sys.stdout
        if out is not None:
            try:
                file = stack.enter_context(out.open("w", encoding="utf-8"))
            except OSError as e:
                raise InvalidInput(f"--out {out} cannot be written: {e.strerror}") from e
        writer = Writer(lambda entry: print(line_of(entry), file=file))
        writer.learn(read_books(environment.kafka, environment.prefix))
        run(_write(environment, wanted, writer, payer))
    note(f"{writer.count:,} charges written")


async def _write(
    environment: Environment, wanted: Callable[[dict[str, Any]], bool], writer: Writer, payer: str | None
) -> None:
    needle = (payer or "").encode()
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        async for records in reader.stream("charges", await reader.bounds("charges")):
            for value in records.values:
                if value is None or needle not in value:
                    continue
                name, record = codec.decode_one(value)
                if name == "Charge" and wanted(record):
                    writer.charge(record)


def _instant(text: str | None, option: str) -> int | None:
    try:
        return None if text is None else instant_us(text)
    except Unreadable as e:
        raise typer.BadParameter(str(e), param_hint=option) from e
