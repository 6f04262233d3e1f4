"""Commands given what nobody should give them: a short run, and the faults that were found."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nanotally.streams.commands import app
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode, InvalidInput
from nanotally.streams.pipeline.knobs import Knobs
from tests.fuzz.commands import call, case
from tests.fuzz.runner import run
from tests.support.tariff_texts import FILE


def test_a_command_says_what_is_wrong_and_ends_with_a_code_for_it() -> None:
    tried = run("commands", case, 500, seed=5)
    for verdict in ("usage invalid", "verify invalid", "option not_found", "environment invalid", "environment ok"):
        assert tried.verdicts[verdict] > 5, tried.row()


@pytest.mark.parametrize("name", ["NANOTALLY_REJECTS_PER_MINUTE", "NANOTALLY_TICKS", "NANOTALLY_STUCK_SECONDS"])
def test_a_number_of_thousands_of_digits_in_the_environment_is_none(name: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        Knobs.load({name: "9" * 5_000})
    with pytest.raises(InvalidInput, match="NANOTALLY_WEB_PORT"):
        Environment.load({"NANOTALLY_WEB_PORT": "9" * 5_000})


def test_a_line_nested_without_end_is_named_and_not_a_crash(tmp_path: Path) -> None:
    file = tmp_path / "charges.jsonl"
    file.write_text("[" * 100_000)
    assert call("explain", "--verify", str(file)) == ExitCode.INVALID


def test_half_a_character_in_a_use_is_escaped_in_what_is_said_of_it(tmp_path: Path) -> None:
    tariff, usage = tmp_path / "t.yaml", tmp_path / "u.jsonl"
    tariff.write_text(FILE)
    usage.write_text('{"event_id": "a\\ud800", "product": "news"}\n')
    result = CliRunner().invoke(app, ["price", "--tariff", str(tariff), "--usage", str(usage)])
    assert result.exit_code == ExitCode.INVALID and r"a\ud800" in result.stdout
