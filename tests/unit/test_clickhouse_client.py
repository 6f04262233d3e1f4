"""What ClickHouse and the network answer, in nanotally's kinds of error."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice

import pyarrow as pa
import pytest
from clickhouse_driver import errors as driver_errors

from nanotally.sinks.client import KEEPALIVE_S, PASSING, Address, ClickHouse, explained, patiently, refusal, waits
from nanotally.sinks.http_insert import HttpInserts
from nanotally.streams.errors import BrokenInvariant, InvalidInput, NotFound, Transient

HERE = Address("here:9000", "ledger", "ana", "secret")


@pytest.mark.parametrize("code", sorted(PASSING))
def test_what_passes_is_transient_and_says_what_it_is(code: int) -> None:
    error = refusal(code, "DB::Exception: no", HERE)
    assert isinstance(error, Transient)
    assert PASSING[code] in str(error)
    assert "here:9000" in str(error)


def test_a_refused_login_names_user_and_variables_but_not_the_password() -> None:
    error = refusal(516, "DB::Exception: ana: Authentication failed", HERE)
    assert isinstance(error, InvalidInput)
    assert "does not let 'ana' in" in str(error)
    assert "NANOTALLY_CLICKHOUSE_PASSWORD" in str(error)
    assert "secret" not in str(error)
    assert "secret" not in repr(HERE)


@pytest.mark.parametrize("code", [60, 81, 16])
def test_a_missing_part_of_the_database_says_how_to_make_it(code: int) -> None:
    error = refusal(code, "DB::Exception: Table ledger.charges does not exist", HERE)
    assert isinstance(error, NotFound)
    assert "database 'ledger'" in str(error)
    assert "python -m nanotally.sinks.migrate" in str(error)


def test_a_violated_constraint_and_what_nobody_expects_end_the_process() -> None:
    assert isinstance(refusal(469, "Constraint shares_sum is violated", HERE), BrokenInvariant)
    assert isinstance(refusal(62, "Syntax error", HERE), BrokenInvariant)
    assert isinstance(explained(KeyError("x"), HERE), BrokenInvariant)


def test_the_network_is_transient_however_it_fails() -> None:
    for error in (
        ConnectionResetError("reset by peer"),
        EOFError("Unexpected EOF while reading bytes"),
        driver_errors.NetworkError("Connection refused"),
        driver_errors.SocketTimeoutError("timed out"),
        driver_errors.UnexpectedPacketFromServerError("nonsense"),
        driver_errors.ServerException("Code: 241. Memory limit exceeded", 241),
    ):
        assert isinstance(explained(error, HERE), Transient), error


def test_a_long_message_is_cut_and_has_no_stack_trace() -> None:
    message = str(refusal(241, "x" * 5000 + " Stack trace:\n\n0. ? @ 0x1", HERE))
    assert len(message) < 1000
    assert "Stack trace" not in message


def test_waits_grow_up_to_a_limit() -> None:
    assert list(islice(waits(), 9)) == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_patience_ends_with_the_last_fault() -> None:
    slept: list[float] = []
    faults = iter([Transient("one"), Transient("two"), Transient("three"), Transient("four"), Transient("five")])

    def fail() -> None:
        raise next(faults)

    with pytest.raises(Transient, match="four"):
        patiently(fail, "asking", within_s=0.3, sleep=slept.append)
    assert slept == [0.05, 0.1, 0.2]


def test_patience_is_rewarded_and_does_not_hide_other_faults() -> None:
    answers: list[Exception | int] = [Transient("not yet"), 7]

    def answer() -> int:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    assert patiently(answer, "asking", sleep=lambda _: None) == 7
    answers[:] = [BrokenInvariant("no")]
    with pytest.raises(BrokenInvariant):
        patiently(answer, "asking", sleep=lambda _: None)


class Answering(BaseHTTPRequestHandler):
    """Answers every insert as `server.answer` says: status, error code or None, text."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, code, text = self.server.answer  # type: ignore[attr-defined]
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        self.send_response(status)
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def http_server() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Answering)
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ((500, 216, "Code: 216. already running"), Transient, "same query id"),
        ((404, 60, "Code: 60. Unknown table"), NotFound, "apply the migrations"),
        ((500, 469, "Code: 469. violated"), BrokenInvariant, "rows that cannot be"),
        ((200, 241, "Code: 241. after the headers"), Transient, "out of memory"),
        ((502, None, "<html>bad gateway"), Transient, "HTTP 502 from .* instead of ClickHouse: <html>"),
    ],
)
def test_a_refused_bulk_insert_says_why(
    http_server: HTTPServer, answer: tuple[int, int | None, str], kind: type[Exception], message: str
) -> None:
    http_server.answer = answer  # type: ignore[attr-defined]
    inserts = HttpInserts(Address("n:1", "ledger", "ana", "s3cret&", http=f"127.0.0.1:{http_server.server_port}"))
    with pytest.raises(kind, match=message):
        inserts.insert("INSERT", pa.RecordBatch.from_pydict({"a": [1]}), "id-1")
    inserts.close()
    ((path, headers),) = http_server.seen  # type: ignore[attr-defined]
    assert "s3cret" not in path
    assert (headers["X-ClickHouse-User"], headers["X-ClickHouse-Key"]) == ("ana", "s3cret&")


def test_a_server_that_vanishes_without_a_word_is_noticed(http_server: HTTPServer) -> None:
    """Else an insert would wait for minutes for a machine that is gone."""
    inserts = HttpInserts(Address("n:1", "ledger", http=f"127.0.0.1:{http_server.server_port}"))
    connection = inserts._connected()
    assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    connection.close()
    driver = ClickHouse(Address("n:1"))._connect()
    assert driver.connection.tcp_keepalive == KEEPALIVE_S
