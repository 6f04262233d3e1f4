"""`nanotally doctor`: is everything well, and if not, how to mend it."""

from __future__ import annotations

import typer

from nanotally.streams.commands.examinations import Finding, examine
from nanotally.streams.commands.output import AsJson, say_json, table
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode


def doctor(as_json: AsJson = False) -> None:
    """Say what is reachable, in which version, how topics and tables are, where each stage is, and what is wrong.

    Each thing that is not well says how to mend it. Exits with 0 only if all is well; with 5 where Kafka or ClickHouse
    cannot be reached, else with 1. It asks and changes nothing.

    Example: nanotally doctor
    """
    findings = examine(Environment.load())
    wrong = [f for f in findings if not f.well]
    if as_json:
        say_json({"well": not wrong, "findings": [vars(f) for f in findings]})
    else:
        _say(findings, wrong)
    if wrong:
        raise typer.Exit(ExitCode.UNAVAILABLE if any(f.unreachable for f in wrong) else ExitCode.DIFFERENCE)


def _say(findings: list[Finding], wrong: list[Finding]) -> None:
    table(("", "what", "how it is"), [("ok" if f.well else "BAD", f.what, f.state) for f in findings])
    for finding in wrong:
        typer.echo(f"{finding.what}: {finding.state}; {finding.remedy}")
    count = len(wrong)
    typer.echo(f"{count} {'thing is' if count == 1 else 'things are'} not well" if wrong else "all is well")
