"""`nanotally publish`: uses from a file or standard input into Kafka."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from nanotally.streams.commands.output import AsJson, note, progress, say_json
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode, InvalidInput
from nanotally.streams.publisher import Publisher
from nanotally.streams.publisher_files import FORMATS, Line, open_usage, read_usage
from nanotally.streams.publisher_uses import InvalidUse

SHOWN_MAX = 20


def publish(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="CSV or JSON lines, also packed (.gz); - is standard input.")
    ],
    product: Annotated[str | None, typer.Option(help="Product of lines that name none.")] = None,
    form: Annotated[str | None, typer.Option("--format", help="csv or jsonl, where the name does not tell.")] = None,
    make_ids: Annotated[
        bool, typer.Option("--make-ids", help="Lines without event_id get FILE:LINE as their id.")
    ] = False,
    reject_file: Annotated[
        Path | None, typer.Option(help="Keep refused lines here, as JSON lines with place, field and problem.")
    ] = None,
    pseudonym_key_file: Annotated[
        Path | None, typer.Option(help="File with a secret key: payers leave as keyed pseudonyms.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish uses from a file: CSV with a header, or JSON lines, with the fields of the usage event.

    A line that cannot be used is told by file, line and field, and stops nothing. To publish a file again charges
    nothing twice, since its lines keep their event_id. Exits with 3 when lines were refused.

    Example: nanotally publish uses.csv --product news --reject-file refused.jsonl
    """
    if form is not None and form not in FORMATS:
        raise typer.BadParameter(f"{form!r} is none of {', '.join(FORMATS)}", param_hint="--format")
    key = None if pseudonym_key_file is None else _key(pseudonym_key_file)
    environment = Environment.load()
    refusals = _Refusals(file, reject_file)
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(refusals)
        usage = stack.enter_context(open_usage(file, sys.stdin.buffer))
        bar = stack.enter_context(progress("published"))
        task = bar.add_task("", total=None, note="")
        nano = stack.enter_context(
            Publisher(environment.kafka, prefix=environment.prefix, product=product, pseudonym_key=key)
        )

        def show(sent: int) -> None:
            rate = sent / max(0.001, time.monotonic() - started)
            refused = f", {refusals.count:,} refused" if refusals.count else ""
            bar.update(task, completed=sent, note=f"uses, {rate:,.0f}/s{refused}")

        sent = nano.publish_batch(
            _uses(read_usage(file, usage, form), file, make_ids, refusals),
            lambda _, error: refusals.add(refusals.line, error),
            show,
            lambda s: note(f"Kafka at {environment.kafka} has not answered for {s:.0f} s; waiting"),
        )
    _report(file, sent, refusals, time.monotonic() - started, as_json)
    if refusals.count:
        raise typer.Exit(ExitCode.INVALID)


def _uses(lines: Iterator[Line], file: str, make_ids: bool, refusals: _Refusals) -> Iterator[dict[str, Any]]:
    """The usable lines' uses; says of the others why. `refusals.line` is the one that is out."""
    name = Path(file).name if file != "-" else "stdin"
    for line in lines:
        refusals.line = line
        if line.error is None and make_ids and "event_id" not in line.use:
            line.use["event_id"] = f"{name}:{line.number}"
        if line.error is not None:
            refusals.add(line, line.error)
        elif line.use.get("event_id") is None:
            said = "event_id is missing; without it a line published again is charged again (or give --make-ids)"
            refusals.add(line, InvalidUse("event_id", said))
        else:
            yield line.use


class _Refusals:
    """Lines that were refused: the first are shown, all are counted, and kept where a file is given."""

    def __init__(self, file: str, keep_in: Path | None) -> None:
        self._file, self._keep_in = file, keep_in
        self._kept: IO[str] | None = None
        self.count = 0
        self.fields: Counter[str] = Counter()
        self.line = Line(0, "", {})

    def __enter__(self) -> _Refusals:
        if self._keep_in is not None:
            try:
                self._kept = self._keep_in.open("w", encoding="utf-8", errors="backslashreplace")
            except OSError as e:
                raise InvalidInput(f"--reject-file {self._keep_in} cannot be written: {e.strerror}") from e
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept is not None:
            self._kept.close()

    def add(self, line: Line, error: InvalidInput | TypeError) -> None:
        field = error.field if isinstance(error, InvalidUse) else ""
        self.count += 1
        self.fields[field or "line"] += 1
        if self.count <= SHOWN_MAX:
            note(f"{self._file}:{line.number}: {field + ': ' if field else ''}{error}")
        if self._kept is not None:
            refused = {
                "file": self._file,
                "line": line.number,
                "field": field,
                "problem": str(error),
                "text": line.text,
            }
            self._kept.write(json.dumps(refused, ensure_ascii=False) + "\n")


def _report(file: str, sent: int, refusals: _Refusals, seconds: float, as_json: bool) -> None:
    if refusals.count > SHOWN_MAX:
        note(f"… and {refusals.count - SHOWN_MAX} more (--reject-file keeps all)")
    if as_json:
        by_field = dict(refusals.fields.most_common())
        say_json({"file": file, "published": sent, "refused": refusals.count, "refused_by_field": by_field})
        return
    refused = ", ".join(f"{name} {count:,}" for name, count in refusals.fields.most_common())
    said = f"published {sent:,} uses in {seconds:.1f} s"
    typer.echo(f"{said}; {refusals.count:,} lines refused: {refused}" if refusals.count else said)


def _key(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as e:
        raise InvalidInput(f"--pseudonym-key-file {path} cannot be read: {e.strerror}") from e
