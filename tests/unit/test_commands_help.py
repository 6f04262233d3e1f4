"""Every command says what it does with an example, and what went wrong by its exit code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from nanotally.streams.commands import COMMANDS, app, charge_sources
from nanotally.streams.errors import BrokenInvariant, ExitCode, InvalidInput, NanotallyError, NotFound, Transient

ROOT = typer.main.get_command(app)


def commands() -> Iterator[tuple[str, Any]]:
    """Each command with its words, those of groups too."""
    context = ROOT.make_context("nanotally", ["--help"], resilient_parsing=True)
    for name in COMMANDS:
        command = ROOT.get_command(context, name)  # type: ignore[attr-defined]
        members = getattr(command, "commands", None)
        if members:
            for member in members:
                yield f"{name} {member}", members[member]
        else:
            yield name, command


ALL = dict(commands())


def test_the_commands_are_those_that_are_promised() -> None:
    assert list(ALL) == [
        "worker",
        "publish",
        "tariff check",
        "tariff publish",
        "tariff show",
        "tariff withdraw",
        "tariff diff",
        "tariff simulate",
        "tariff schema",
        "catalog check",
        "catalog publish",
        "catalog show",
        "price",
        "explain",
        "export",
        "statement",
        "earnings",
        "books close",
        "books show",
        "rejects list",
        "rejects show",
        "rejects mend",
        "rejects redrive",
        "sink replay",
        "backup create",
        "backup restore",
        "migrate",
        "reconcile",
        "doctor",
    ]


@pytest.mark.parametrize("name", ALL)
def test_every_command_is_documented_with_an_example_that_names_it(name: str) -> None:
    text = ALL[name].help
    assert len(text.split("\n\n")[0]) > 20
    assert f"Example: nanotally {name}" in text


@pytest.mark.parametrize("name", ALL)
def test_every_option_and_argument_is_documented(name: str) -> None:
    for parameter in ALL[name].params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


@pytest.mark.parametrize("name", ALL)
def test_the_example_is_understood(name: str) -> None:
    example = ALL[name].help.split("Example: ", 1)[1].strip().split("\n\n")[0].replace("\n", " ")
    words = [re.sub(r"^'|'$", "", word) for word in re.findall(r"'[^']*'|\S+", example)][1:]
    ROOT.make_context("nanotally", [*words, "--help"], resilient_parsing=True)
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0 and "Usage:" in result.stdout


def test_scripts_get_json_where_there_is_something_to_read() -> None:
    speaking = {name for name in ALL if any("--json" in p.opts for p in ALL[name].params)}
    assert speaking == set(ALL) - {"worker", "price", "export", "tariff schema"}  # these speak nothing but JSON


def test_the_help_lists_every_command_with_a_line() -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w+", text, re.MULTILINE), name
    assert "Exit codes: 0 well, 1 a difference was found" in text


def test_a_misspelt_command_is_told_the_nearest_one() -> None:
    result = CliRunner().invoke(app, ["reconsile"])
    assert result.exit_code == ExitCode.USAGE
    assert "there is no command 'reconsile'; did you mean 'reconcile'?" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("no such thing"), 3),
        (NotFound("not there"), 4),
        (Transient("not now"), 5),
        (BrokenInvariant("must not be"), 70),
    ],
)
def test_what_went_wrong_is_a_message_and_an_exit_code(
    error: NanotallyError, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(charge_sources, "from_clickhouse", fail)
    result = CliRunner().invoke(app, ["explain", "1-2"])
    assert (result.exit_code, result.stderr, result.stdout) == (code, f"nanotally: {error}\n", "")


def test_an_unknown_option_is_an_error_of_usage() -> None:
    assert CliRunner().invoke(app, ["reconcile", "--wiat", "3"]).exit_code == ExitCode.USAGE


def test_a_service_that_is_away_is_told_with_its_variable_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOTALLY_CLICKHOUSE", "127.0.0.1:1")
    result = CliRunner().invoke(app, ["statement", "p"])
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "ClickHouse at 127.0.0.1:1 cannot be reached" in result.stderr and "Traceback" not in result.output


def test_the_installed_command_says_its_version_without_loading_what_it_does_not_need() -> None:
    code = "import sys; sys.argv=['nanotally','--version']\nfrom nanotally.streams.commands import main\ntry: main()\n"
    code += "finally: print(sorted(m for m in ('faust','pyarrow','kafka','polars') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert re.match(r"nanotally \d+\.\d+\.\d+\n\[\]\n", done.stdout), done.stdout
