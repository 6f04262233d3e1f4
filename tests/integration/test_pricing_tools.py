"""What a pricing owner does on a real broker: schedule, look, take back, and try a draft on the ledger."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nanotally.streams import admin
from nanotally.streams.commands import app
from nanotally.streams.errors import ExitCode
from nanotally.streams.tariffs.publishing import read_books
from nanotally.streams.tariffs.reader import read_tariff
from tests.support.payers_bench import T0, PayersBench, book, event
from tests.support.tariff_texts import changed
from tests.support.topics import publish

PAST = changed("2026-12-01T00", "2020-01-01T00")


@dataclass
class Owner:
    """A pricing owner with tariff files in a folder."""

    kafka: str
    prefix: str
    folder: Path

    def run(self, *arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, ["tariff", *arguments])
        return result.exit_code, result.stdout, result.stderr

    def file(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, encoding="utf-8")
        return str(self.folder / name)


@pytest.fixture
def owner(kafka: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Owner:
    admin.create_topics(kafka, prefix, partitions=1, account_partitions=1)
    monkeypatch.setenv("NANOTALLY_KAFKA", kafka)
    monkeypatch.setenv("NANOTALLY_PREFIX", prefix)
    return Owner(kafka, prefix, tmp_path)


def later(number: int, days: int) -> str:
    """Version `number` at a higher price, in force in so many days."""
    at = datetime.now(UTC) + timedelta(days=days)
    text = changed("version: 1", f"version: {number}", PAST)
    return changed("2020-01-01T00:00:00Z", f"{at:%Y-%m-%dT%H:%M:%SZ}", text).replace("0.005 per", "0.007 per")


def test_a_scheduled_version_is_seen_compared_and_taken_back(owner: Owner) -> None:
    assert owner.run("publish", owner.file("one.yaml", PAST))[0] == ExitCode.OK
    assert owner.run("publish", owner.file("two.yaml", later(2, 10)))[0] == ExitCode.OK

    code, out, _ = owner.run("show", "--scheduled")
    assert code == ExitCode.OK and "nanotally tariff withdraw t 2" in out and "9 days" in out
    code, out, _ = owner.run("diff", "t", "t@2")
    assert code == ExitCode.OK and "CHANGED  article" in out and "0.005 USD -> 0.007 USD   +40 %" in out

    code, out, _ = owner.run("withdraw", "t", "2", "--note", "not yet")
    assert code == ExitCode.OK and out.startswith("withdrawn: t 2\nrule book ")
    assert [[t.version for t in b.tariffs] for b in read_books(owner.kafka, owner.prefix)] == [[1], [1, 2], [1]]
    assert "nothing is to come" in owner.run("show", "--scheduled")[1]
    code, _, told = owner.run("withdraw", "t", "1")
    assert code == ExitCode.INVALID and "is in force since 2020-01-01T00:00:00Z" in told
    code, _, told = owner.run("publish", owner.file("two.yaml", later(2, 20)))
    assert code == ExitCode.INVALID and "was published with other content" in told


def test_a_draft_is_tried_on_the_ledger_of_a_period(owner: Owner) -> None:
    assert owner.run("publish", owner.file("one.yaml", PAST))[0] == ExitCode.OK
    bench = PayersBench(book(read_tariff(PAST)))
    hours = [T0 + hour * 3_600_000_000 for hour in range(48)]
    bench.take(*(event(str(at), at, meter="page.view", item=f"/{i}") for i, at in enumerate(hours)))
    asyncio.run(publish(owner.kafka, f"{owner.prefix}charges", {0: bench.ledger}))

    draft = owner.file("two.yaml", later(2, 10))
    period = ("--ledger", "--from", "2026-11-08T00:00:00Z", "--to", "2026-11-09T00:00:00Z")
    code, out, _ = owner.run("simulate", "--tariff", draft, *period, "--json")
    told = json.loads(out)
    assert (code, told["uses"], told["before"]) == (ExitCode.OK, 24, "t v1 (live)")
    assert told["revenue"]["before"] == told["revenue"]["ledger"] == "0.120000000"
    assert told["revenue"]["after"] == "0.168000000"
    code, _, said = owner.run("simulate", "--tariff", draft, "--ledger", "--from", "2030-01-01T00:00:00Z")
    assert code == ExitCode.NOT_FOUND and "nothing is booked from 2030-01-01T00:00:00Z to …" in said
