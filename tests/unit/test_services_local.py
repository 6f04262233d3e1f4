"""Addresses that the environment gives win, and nothing is started for them."""

from __future__ import annotations

import contextlib
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.services import local
from infra.services.folder import Folder, read_json
from nanotally.streams.errors import InvalidInput, Transient


class FakeKafka(socketserver.BaseRequestHandler):
    """Answers the question which requests are known as a broker does."""

    def handle(self) -> None:
        self.request.recv(100)
        self.request.sendall(struct.pack(">iih", 6, 7, 0))


class FakeClickHouse(socketserver.BaseRequestHandler):
    """Answers /ping; on the native port it is enough to accept."""

    def handle(self) -> None:
        if self.request.recv(1000).startswith(b"GET /ping"):
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nOk.\n")


@contextlib.contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    """Address of a server in this process."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.of(tmp_path)


@pytest.fixture
def given() -> Iterator[dict[str, str]]:
    with serving(FakeKafka) as kafka, serving(FakeClickHouse) as native, serving(FakeClickHouse) as http:
        yield {"NANOTALLY_KAFKA": kafka, "NANOTALLY_CLICKHOUSE": native, "NANOTALLY_CLICKHOUSE_HTTP": http}


def test_given_addresses_are_used_and_nothing_is_started(folder: Folder, given: dict[str, str]) -> None:
    said: list[str] = []
    services = local.ensure(folder, said.append, given)
    assert (services.kafka, services.clickhouse, services.clickhouse_http) == tuple(given.values())
    assert services.local == ()
    assert not (folder.root / "run").exists()
    assert said == []


def test_addresses_are_written_for_other_shells(folder: Folder, given: dict[str, str]) -> None:
    services = local.ensure(folder, print, given)
    local.write_addresses(folder, services, "nanotally")
    assert read_json(folder.services_file) == {
        "kafka": given["NANOTALLY_KAFKA"],
        "clickhouse": given["NANOTALLY_CLICKHOUSE"],
        "clickhouse_http": given["NANOTALLY_CLICKHOUSE_HTTP"],
        "database": "nanotally",
        "web_port": str(services.web_port),
    }


def test_a_given_broker_that_does_not_answer_is_named(
    folder: Folder, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GIVEN_WITHIN_S", 0.0)
    with pytest.raises(Transient, match=r"no Kafka broker answers at 127\.0\.0\.1:1 \(NANOTALLY_KAFKA\); start it"):
        local.ensure(folder, print, {**given, "NANOTALLY_KAFKA": "127.0.0.1:1"})
    with pytest.raises(Transient, match=r"no ClickHouse server answers at 127\.0\.0\.1:1 \(NANOTALLY_CLICKHOUSE\)"):
        local.ensure(folder, print, {**given, "NANOTALLY_CLICKHOUSE": "127.0.0.1:1"})


def test_a_server_that_is_no_broker_is_not_taken_for_one(
    folder: Folder, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GIVEN_WITHIN_S", 0.0)
    with pytest.raises(Transient, match="no Kafka broker answers"):
        local.ensure(folder, print, {**given, "NANOTALLY_KAFKA": given["NANOTALLY_CLICKHOUSE_HTTP"]})


def test_of_several_given_brokers_one_is_enough(folder: Folder, given: dict[str, str]) -> None:
    several = f"127.0.0.1:1, {given['NANOTALLY_KAFKA']}"
    assert local.ensure(folder, print, {**given, "NANOTALLY_KAFKA": several}).kafka == several


def test_what_is_no_address_is_said(folder: Folder, given: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="NANOTALLY_KAFKA: 'localhost' is no address; write host:port"):
        local.ensure(folder, print, {**given, "NANOTALLY_KAFKA": "localhost"})


def test_http_alone_is_refused(folder: Folder) -> None:
    with pytest.raises(InvalidInput, match="set both or neither"):
        local.ensure(folder, print, {"NANOTALLY_CLICKHOUSE_HTTP": "db:8123"})


def test_ports_stay_the_same_and_a_taken_one_is_said(folder: Folder, given: dict[str, str]) -> None:
    with serving(FakeKafka) as other:
        taken = int(other.rpartition(":")[2])
        usual = {**local.USUAL, "web": taken}
        said: list[str] = []
        first = local.ensure(folder, said.append, given, usual)
        assert first.web_port > taken
        assert said == [f"port {taken} is taken; web gets {first.web_port}"]
    again = local.ensure(folder, said.append, given, usual)
    assert again.web_port == first.web_port, "as chosen at the first start, though the usual one is free now"
    assert len(said) == 1
    assert local.ensure(folder, print, {**given, "NANOTALLY_WEB_PORT": "7066"}).web_port == 7066
