"""Bulk inserts: Arrow columns in one HTTP request, at a tenth of the driver's cost per row."""

from __future__ import annotations

import http.client
import socket
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa

from nanotally.sinks.client import ANSWER_TIMEOUT_S, KEEPALIVE_S, Address, refusal
from nanotally.streams.errors import NanotallyError, Transient


class HttpInserts:
    """One kept connection to ClickHouse's HTTP port, of one thread at a time; made anew after an error."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: http.client.HTTPConnection | None = None

    def insert(self, sql: str, batch: pa.RecordBatch, query_id: str, **settings: Any) -> None:
        """An INSERT ... FORMAT ArrowStream of the batch; returns when it is on disk. Raises as module client says."""
        parameters = {"database": self._address.database, "query": sql, "query_id": query_id, **settings}
        headers = {"X-ClickHouse-User": self._address.user, "Content-Type": "application/octet-stream"}
        if self._address.password:
            headers["X-ClickHouse-Key"] = self._address.password
        try:
            if self._connection is None:
                self._connection = self._connected()
            self._connection.request("POST", f"/?{urlencode(parameters)}", body=_stream(batch), headers=headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Transient(
                f"ClickHouse at {self._address.http} (HTTP) cannot be reached: {str(error) or repr(error)}"
            ) from error
        except BaseException:
            self.close()
            raise
        if answer.status != http.client.OK or answer.headers.get("X-ClickHouse-Exception-Code"):
            self.close()  # the server may not have read the whole request
            raise self._refused(answer, text)

    def _connected(self) -> http.client.HTTPConnection:
        host, _, port = self._address.http.rpartition(":")
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=ANSWER_TIMEOUT_S)
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in zip(("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"), KEEPALIVE_S, strict=True):
            if hasattr(socket, name):  # not everywhere, or by another name
                connection.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return connection

    def close(self) -> None:
        """Gives the connection up; the next insert makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _refused(self, answer: http.client.HTTPResponse, text: bytes) -> NanotallyError:
        code = answer.headers.get("X-ClickHouse-Exception-Code")
        message = text.decode(errors="replace")
        if code is None:  # something in between answered, as a proxy without its server does
            return Transient(f"HTTP {answer.status} from {self._address.http} instead of ClickHouse: {message[:200]}")
        return refusal(int(code), message, self._address)


def _stream(batch: pa.RecordBatch) -> memoryview:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return memoryview(sink.getvalue())
