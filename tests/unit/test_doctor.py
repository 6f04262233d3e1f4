"""nanotally doctor where things are not well: each finding says how to mend it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nanotally.streams.commands import app, doctor, examinations
from nanotally.streams.commands.examinations import Finding
from nanotally.streams.commands.positions import PayersPosition
from nanotally.streams.domain.tariff import RuleBook, Settings
from nanotally.streams.environment import STAGES, Environment
from nanotally.streams.errors import ExitCode
from tests.support.publishing import MEDIA


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    """An environment in which nothing runs."""
    for name, value in {
        "NANOTALLY_KAFKA": "127.0.0.1:1",
        "NANOTALLY_CLICKHOUSE": "127.0.0.1:1",
        "NANOTALLY_CLICKHOUSE_HTTP": "127.0.0.1:1",
        "NANOTALLY_STATE": str(tmp_path / "state"),
        "NANOTALLY_WEB_PORT": "2",
    }.items():
        monkeypatch.setenv(name, value)
    return Environment.load()


def test_where_nothing_runs_each_service_and_worker_is_told_with_its_remedy(away: Environment) -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == ExitCode.UNAVAILABLE
    told = json.loads(result.stdout)
    findings = {f["what"]: f for f in told["findings"]}
    wrong = {what for what, finding in findings.items() if not finding["well"]}
    assert not told["well"] and wrong == {"Kafka", "ClickHouse", *(f"worker {stage}" for stage in STAGES)}
    assert all(findings[what]["remedy"] for what in wrong)
    for stage in STAGES:
        assert f"nanotally worker {stage}" in findings[f"worker {stage}"]["remedy"]
    assert "topics" not in findings and "rule book" not in findings  # they hang on what is away


def test_what_is_wrong_comes_last_with_its_remedy_and_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding("a", True, "fine"), Finding("b", False, "broken", "mend it")]
    monkeypatch.setattr(doctor, "examine", lambda _: findings)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == ExitCode.DIFFERENCE
    assert result.stdout.endswith("b: broken; mend it\n1 thing is not well\n")


def test_folders_that_cannot_be_written_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NANOTALLY_CHECKPOINTS", str(tmp_path / "file" / "copies"))
    state, copies = examinations._folders(Environment(state=tmp_path / "file" / "state"))
    assert not state.well and "cannot be written" in state.state and "NANOTALLY_STATE" in state.remedy
    assert not copies.well and "cannot be written" in copies.state and "NANOTALLY_CHECKPOINTS" in copies.remedy


def position(partition: int, book: int, lag: int = 0) -> PayersPosition:
    return PayersPosition("payers", partition, 10, 10 + lag, book, 0, 0)


def test_a_rule_book_that_is_not_in_force_everywhere_is_told() -> None:
    book = RuleBook(3, Settings(), (MEDIA,))
    (finding,) = examinations._book([book], [position(0, 3), position(1, 2), position(2, -1)])
    assert not finding.well and "not in force in partition 1, 2" in finding.state
    (fine,) = examinations._book([book], [position(0, 3), position(1, 2, lag=5)])  # its activation waits in line
    assert fine.well


def test_without_a_rule_book_the_next_step_is_told_and_nothing_is_wrong() -> None:
    (finding,) = examinations._book([], [])
    assert finding.well and "nanotally tariff publish FILE" in finding.state


def test_a_stuck_worker_is_told_with_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(url: str) -> tuple[int, dict[str, Any]]:
        stuck = ["usage[2] at 17, 900 behind, no progress for 61 s"] if ":6066/" in url else []
        return (503 if stuck else 200), {"state": "stuck" if stuck else "idle", "partitions": [1, 2], "stuck": stuck}

    monkeypatch.setattr(examinations, "ask", answer)
    payers, accounts, _ = examinations._workers(Environment())
    assert not payers.well and "usage[2] at 17, 900 behind" in payers.remedy
    assert accounts.well and accounts.state == "idle, 2 partitions, port 6067"
