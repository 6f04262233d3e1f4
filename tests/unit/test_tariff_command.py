"""`nanotally tariff check`, as a person and as a script reads it; help of the whole group."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nanotally.streams.commands import app
from nanotally.streams.errors import ExitCode
from tests.support.tariff_texts import FILE, changed

DEMO = Path(__file__).resolve().parents[2] / "infra" / "demo"


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_a_good_file_is_told_in_words() -> None:
    result = CliRunner().invoke(
        app, ["tariff", "check", str(DEMO / "media-and-ai.yaml"), "--settings", str(DEMO / "settings.yaml")]
    )
    assert result.exit_code == ExitCode.OK
    assert "0.005 USD per page up to 1 page, free above" in result.stdout
    assert result.stderr == ""


def test_warnings_do_not_fail(prices: Path) -> None:
    prices.write_text(changed("over: month", "over: event"), encoding="utf-8")
    result = CliRunner().invoke(app, ["tariff", "check", str(prices)])
    assert result.exit_code == ExitCode.OK
    assert f"{prices}:26:5: warning: rules.tokens-in.count: each use is rounded down" in result.stderr


def test_faults_of_all_files_are_told_on_standard_error(prices: Path, tmp_path: Path) -> None:
    prices.write_text(changed("currency: USD", "currency: usd"), encoding="utf-8")
    settings = tmp_path / "settings.yaml"
    settings.write_text("lateness: soon", encoding="utf-8")
    result = CliRunner().invoke(app, ["tariff", "check", str(prices), "--settings", str(settings)])
    assert result.exit_code == ExitCode.INVALID
    assert f"{prices}:4:11: error: currency: 'usd' is no ISO 4217 code" in result.stderr
    assert f"{settings}:1:11: error: lateness: 'soon' is no length of time" in result.stderr
    assert result.stdout == ""


def test_files_that_cannot_stand_in_one_book_are_refused(prices: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(changed("tariff: t", "tariff: u"), encoding="utf-8")
    result = CliRunner().invoke(app, ["tariff", "check", str(prices), str(other)])
    assert result.exit_code == ExitCode.INVALID
    assert "tariffs t and u name no products" in result.stderr


def test_a_script_gets_one_object(prices: Path, tmp_path: Path) -> None:
    good = json.loads(CliRunner().invoke(app, ["tariff", "check", str(prices), "--json"]).stdout)
    assert (good["ok"], good["findings"], good["problems"]) == (True, [], [])
    assert (good["tariffs"][0]["tariff"], good["tariffs"][0]["version"]) == ("t", 1)
    assert good["tariffs"][0]["effective_from"] == "2026-12-01T00:00:00Z"
    assert good["tariffs"][0]["rules"][0] == {
        "rule": "article",
        "words": [
            "each use of page.view, in pages",
            "0.005 USD per page up to 1 page, free above",
            "counted per payer and item, anew each day (UTC)",
            "split standard: platform 10 %, creator the rest; what an absent creator would get goes to the platform",
        ],
    }
    prices.write_text(changed("currency: USD", "currency: usd"), encoding="utf-8")
    result = CliRunner().invoke(app, ["tariff", "check", str(prices), "--json"])
    bad = json.loads(result.stdout)
    assert result.exit_code == ExitCode.INVALID
    assert (bad["ok"], [f["field"] for f in bad["findings"]], bad["tariffs"]) == (False, ["currency"], [])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["tariff", "check", str(tmp_path / "none.yaml")])
    assert result.exit_code == ExitCode.NOT_FOUND
    assert "none.yaml: there is no such file" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["publish"], "name a tariff file, or settings with --settings"),
        (["publish", "x.yaml", "--lead", "soon"], "'soon' is no length of time"),
        (["check"], "FILE"),
    ],
)
def test_a_command_line_that_is_not_understood(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["tariff", *arguments])
    assert result.exit_code == ExitCode.USAGE
    assert message in result.stderr


@pytest.mark.parametrize("command", ["check", "publish", "show"])
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(app, ["tariff", command, "--help"])
    assert result.exit_code == ExitCode.OK
    assert f"Example: nanotally tariff {command}" in result.stdout
