"""Commands on a system that has just been started: all is well, nothing is missing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nanotally.sinks.migrate import migrate
from nanotally.streams import admin
from nanotally.streams.commands import app
from nanotally.streams.environment import STAGES
from nanotally.streams.errors import ExitCode
from tests.support.services import Addresses


class Idle(BaseHTTPRequestHandler):
    """The web page of a worker that has nothing to do."""

    def do_GET(self) -> None:
        found = self.path == "/health"
        body = json.dumps({"state": "idle", "partitions": [], "stuck": []} if found else {"error": "nothing open"})
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def workers() -> Iterator[int]:
    """Web servers on three ports in a row, as if all stages ran; the first port."""
    for first in range(33_000, 60_000, 7):
        servers: list[ThreadingHTTPServer] = []
        try:
            for i in range(len(STAGES)):
                servers.append(ThreadingHTTPServer(("127.0.0.1", first + i), Idle))
        except OSError:
            for server in servers:
                server.server_close()
            continue
        break
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield first
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def system(
    services: Addresses, prefix: str, database: str, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Topics and tables made, nothing else; the environment leads there. The prefix."""
    admin.create_topics(services.kafka, prefix, partitions=2, account_partitions=1)
    migrate(services.clickhouse.native, database)
    for name, value in {
        "NANOTALLY_KAFKA": services.kafka,
        "NANOTALLY_CLICKHOUSE": services.clickhouse.native,
        "NANOTALLY_CLICKHOUSE_HTTP": services.clickhouse.http,
        "NANOTALLY_DATABASE": database,
        "NANOTALLY_PREFIX": prefix,
        "NANOTALLY_STATE": str(tmp_path / "state"),
        "NANOTALLY_WEB_PORT": str(workers),
    }.items():
        monkeypatch.setenv(name, value)
    return prefix


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_doctor_and_reconcile_are_content_with_an_empty_system(system: str) -> None:
    code, out, err = run("doctor")
    assert (code, err) == (0, ""), out
    assert "all is well" in out and "none yet; publish a tariff" in out
    code, out, _ = run("reconcile", "--wait", "5")
    assert code == 0 and "nothing is there yet, and nothing is missing" in out
    code, out, _ = run("reconcile", "--json", "--wait", "5")
    assert code == 0 and json.loads(out)["clean"] is True


def test_whoever_is_not_there_is_told(system: str) -> None:
    for arguments in (("statement", "p"), ("earnings", "creator:ana"), ("explain", "0-17"), ("explain", "e-17")):
        code, out, err = run(*arguments)
        assert (code, out) == (ExitCode.NOT_FOUND, ""), arguments
        assert err.startswith("nanotally: ")
    assert "a creator is written creator:ana" in run("earnings", "ana")[2]


def test_books_are_closed_in_every_partition_and_shown(system: str) -> None:
    code, out, _ = run("books", "close", "--at", "2026-12-01T00:00:00Z", "--json")
    assert code == 0 and json.loads(out) == {"at": "2026-12-01T00:00:00Z", "offsets": {"0": 0, "1": 0}}
    assert run("books", "close", "--at", "tomorrow")[0] == ExitCode.USAGE
    code, out, _ = run("books", "show", "--json")
    told = json.loads(out)
    assert code == 0 and told["books"] == [] and told["partitions"][0]["closed_to"] == "long ago"


def test_a_missing_topic_and_missing_tables_are_told_with_the_remedy(system: str, services: Addresses) -> None:
    with admin.admin_client(services.kafka) as client:
        client.delete_topics([system + "payouts"])
    code, out, _ = run("doctor")
    assert code == ExitCode.DIFFERENCE
    assert f"topic {system}payouts: is missing; make it with `make up`" in out
    assert run("reconcile", "--ledger")[0] == ExitCode.NOT_FOUND
