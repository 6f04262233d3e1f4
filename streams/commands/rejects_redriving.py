"""Records put into `usage` once more by the commands, and what is said of that."""

from __future__ import annotations

import time

import typer

from nanotally.streams.commands.output import note, say_json
from nanotally.streams.commands.rejects_reading import Source, source
from nanotally.streams.dead_letters import UNPRICED, Again, Place, as_it_was, carried, name_of
from nanotally.streams.environment import Environment
from nanotally.streams.errors import InvalidInput, NotFound
from nanotally.streams.publisher_ledger import run
from nanotally.streams.redriving import Redriven, redrive

LINES = 50


def those_that_may(found: list[Source]) -> tuple[list[Again], list[InvalidInput]]:
    """What may be accepted as it was, and what to say of the others."""
    uses: list[Again] = []
    refused: list[InvalidInput] = []
    for one in found:
        try:
            uses.append(as_it_was(one.place, one.reason, one.value))
        except InvalidInput as e:
            refused.append(e)
    return uses, refused


def of_one(environment: Environment, place: Place) -> Again:
    """A named record; where one that was put in for it was rejected again, that one."""
    found = run(source(environment, place))
    first = found
    while found.step is not None:
        try:
            found = run(source(environment, found.step.to))
        except NotFound:  # it was taken, or will be
            found = first
            break
    if found.reason == UNPRICED:
        return carried(found.place, UNPRICED, found.place[1], found.told.fields)
    if found.step is not None:  # all that is left to do is to say so
        return Again(found.place, found.reason, "", found.step.event_id, b"", mended=False)
    return as_it_was(found.place, found.reason, found.value)


def put_in(environment: Environment, uses: list[Again], why: str, as_json: bool) -> None:
    """Does it and says where everything went."""
    done = redrive(environment.kafka, environment.prefix, uses, time.time_ns() // 1000, why)
    _say(uses, done, as_json)


def _say(uses: list[Again], done: list[Redriven], as_json: bool) -> None:
    ids = {use.place: use.event_id for use in uses}
    if as_json:
        say_json({"redriven": [{"name": name_of(d.place), "to": name_of(d.to), "before": d.before} for d in done]})
        return
    for one in done[:LINES]:
        said = "was redriven before, as" if one.before else f"redriven as {ids[one.place]}, to"
        typer.echo(f"{name_of(one.place)} {said} {name_of(one.to)}")
    if len(done) > LINES:
        typer.echo(f"… and {len(done) - LINES:,} more (--json has all)")
    new = sum(not one.before for one in done)
    note(f"{new:,} redriven" + (f", {len(done) - new:,} were already" if new < len(done) else ""))
