"""The sink's own writer over the simulated ClickHouse.

The writer blocks, and the simulation has one thread. So each of its calls is made again and again: the first time up to
its first request to the server, then, with the answer to that, up to the second, and so on until it returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pyarrow as pa

from nanotally.sinks.client import Address, refusal
from nanotally.sinks.columns import for_driver
from nanotally.sinks.writer import ClickHouseWarehouse
from nanotally.streams.errors import Transient
from tests.simulation.clickhouse import ClickHouseServer, Refused
from tests.simulation.world import Process, Unreachable

ADDRESS = Address(native="simulated:9000", http="simulated:8123")
Request = tuple[str, str, int]  # kind, statement, the how manyth alike of the call


class Unanswered(BaseException):
    """A request of a blocking call that has no answer yet."""

    def __init__(self, request: Request, serve: Callable[[], Awaitable[Any]]) -> None:
        self.request, self.serve = request, serve


class Link:
    """The connection of one writer to the server, and what was answered in the call at hand."""

    def __init__(self, process: Process, server: ClickHouseServer, native: bool) -> None:
        self.process, self.server = process, server
        self._answers: dict[Request, Any] = {}
        self._asked: Counter[tuple[str, str]] = Counter()
        self.warehouse = ClickHouseWarehouse(ADDRESS)
        over: Any = self.warehouse  # its two connections are replaced by ones to the simulated server
        over._native, over._http = _Native(self), None if native else _Http(self)

    async def elsewhere(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Makes the blocking call, however many requests it takes."""
        await self.process.breathe(getattr(action, "__name__", "call"))
        await self.process.toil()
        self._answers = {}
        while True:
            self._asked.clear()
            try:
                return action(*arguments)
            except Unanswered as asked:
                self._answers[asked.request] = await self._sent(asked)

    async def _sent(self, asked: Unanswered) -> Any:
        try:
            return await self.process.ask(f"clickhouse {asked.request[1][:60]}", asked.serve)
        except Refused as e:
            return refusal(e.code, e.text, ADDRESS)
        except Unreachable as e:
            return Transient(f"ClickHouse cannot be reached: {e}")

    def ask(self, kind: str, sql: str, serve: Callable[[], Awaitable[Any]]) -> Any:
        """The answer, if it is there."""
        request = (kind, sql, self._asked[kind, sql])
        self._asked[kind, sql] += 1
        if request not in self._answers:
            raise Unanswered(request, serve)
        answer = self._answers[request]
        if isinstance(answer, Exception):
            raise answer
        return answer


class _Native:
    """In place of the driver's connection."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None, **settings: Any) -> Any:
        told = dict(parameters or {})
        return self._link.ask(f"query {sorted(told.items())}", sql, lambda: self._link.server.query(sql, told))

    def insert(self, sql: str, columns: list[list[Any]], query_id: str, **settings: Any) -> None:
        names = [name.strip("` ") for name in sql.split("(", 1)[1].split(")", 1)[0].split(",")]
        rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
        self._link.ask(query_id, sql, lambda: self._link.server.insert(sql, rows, query_id, settings))

    def close(self) -> None:
        """Nothing is held."""


class _Http:
    """In place of the HTTP connection."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def insert(self, sql: str, batch: pa.RecordBatch, query_id: str, **settings: Any) -> None:
        def serve() -> Awaitable[None]:
            columns = [for_driver(column) for column in batch.columns]
            rows = [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]
            return self._link.server.insert(sql, rows, query_id, settings)

        self._link.ask(query_id, sql, serve)

    def close(self) -> None:
        """Nothing is held."""
