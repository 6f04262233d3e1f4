"""Commands on a system that has just been started: all is well, nothing is missing."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from typer.testing import CliRunner

from nanotally.schemas import codec
from nanotally.sinks.migrate import migrate
from nanotally.streams import admin
from nanotally.streams.commands import app
from nanotally.streams.domain.tariff import Settings
from nanotally.streams.environment import STAGES
from nanotally.streams.errors import ExitCode
from nanotally.streams.tariffs.publishing import Publication, activate, closing, publish_book, send_control
from nanotally.streams.tariffs.reader import read_tariff
from tests.support.services import Addresses
from tests.support.sink_records import chunk
from tests.support.topics import publish
from tests.support.worker_process import until

TINY = """
tariff: tiny
version: 1
effective_from: 2026-01-01T00:00:00Z
currency: USD
meters:
  view: {unit: page}
splits:
  all: {platform: rest}
rules:
  - rule: view
    when: {meter: view, product: news}
    price: 0.005 per page
    split: all
"""


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
    until("the broker knows", lambda: "payouts" not in admin.partition_counts(services.kafka, system))
    code, out, _ = run("doctor")
    assert code == ExitCode.DIFFERENCE
    assert f"topic {system}payouts: is missing; make it with `make up`" in out
    assert run("reconcile", "--ledger")[0] == ExitCode.NOT_FOUND


def test_topics_that_forget_sooner_than_repeats_are_told_are_found(system: str, services: Addresses) -> None:
    publish_horizon(services, system, days=9)
    code, out, _ = run("doctor")
    assert code == ExitCode.DIFFERENCE
    assert (
        f"topic {system}usage: keeps records for 7 days, but uses are told from repeats for 9 days (the horizon of the "
        f"rule book): it must keep them longer than that; mend: kafka-configs --alter --topic {system}usage "
        f"--add-config retention.ms={10 * admin.DAY_MS}"
    ) in out
    assert out.count("told from repeats") == 2  # in the table and below it; nothing else is too short
    longer = ConfigResource(
        ConfigResourceType.TOPIC, f"{system}usage", configs={"retention.ms": str(10 * admin.DAY_MS)}
    )
    with admin.admin_client(services.kafka) as client:
        client.alter_configs([longer])
    until("doctor is content", lambda: "longer than uses are told from repeats (9 days)" in run("doctor")[1])
    for topic in ("payouts", "usage"):
        kept = ConfigResource(ConfigResourceType.TOPIC, f"{system}{topic}", configs={"retention.ms": "-1"})
        with admin.admin_client(services.kafka) as client:
            client.alter_configs([kept])
    until("for ever is long enough too", lambda: run("doctor", "--json")[0] == 0)


def publish_horizon(services: Addresses, prefix: str, days: int) -> None:
    """Publishes a rule book by which uses are told from repeats for so many days."""
    settings = Settings(horizon_us=days * 86_400_000_000)
    version = read_tariff(TINY)
    book = publish_book(services.kafka, prefix, Publication([version], settings), version.effective_from_us)
    activate(services.kafka, prefix, book)


def test_records_that_are_gone_before_anybody_took_them_are_found(system: str, services: Addresses) -> None:
    send_control(services.kafka, system, closing(0))
    asyncio.run(publish(services.kafka, f"{system}charges", {0: [b"x"] * 3}))
    gone = {TopicPartition(f"{system}charges", 0): 2, TopicPartition(f"{system}usage", 1): 1}
    with admin.admin_client(services.kafka) as client:
        client.delete_records(gone)
    code, out, _ = run("doctor")
    assert code == ExitCode.DIFFERENCE
    for told in (
        f"topic {system}charges: must keep everything, but begins at offset 2 in partition 0: records were deleted",
        f"topic {system}usage: begins at offset 1 in partition 1, but payers is at 0: 1 offset was deleted",
        f"topic {system}charges: begins at offset 2 in partition 0, but sink is at 0: 2 offsets were deleted",
    ):
        assert told in out


def test_a_topic_that_ends_before_what_was_taken_from_it_is_found(
    system: str, services: Addresses, database: str
) -> None:
    """As after the broker lost its disk."""
    chunks = {"charges": chunk(next_offset=5), "account_tallies": chunk(stage="accounts", next_offset=6)}
    for topic, record in chunks.items():
        value = codec.encode_one("Chunk", record)
        asyncio.run(publish(services.kafka, f"{system}{topic}", {0: [value]}))
    with services.clickhouse.client(database) as client:
        client.execute(
            "INSERT INTO chunks (topic, kafka_partition, kafka_offset, records) VALUES", [("charges", 1, 7, 8)]
        )
    code, out, _ = run("doctor")
    assert code == ExitCode.DIFFERENCE
    for told in (
        f"topic {system}usage: ends at offset 0 in partition 0, but payers is at 5: records that were taken from it",
        f"topic {system}earnings: ends at offset 0 in partition 0, but accounts is at 6: records that were taken",
        f"topic {system}charges: ends at offset 0 in partition 1, but sink is at 8: records that were taken from it",
    ):
        assert told in out
    assert out.count("ends at offset") == 6  # in the table and below it
