"""Bugs of the sink and of its writer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from nanotally.sinks import sink as sink_module
from nanotally.sinks import writer
from nanotally.sinks.record_rows import chunk_row
from nanotally.sinks.rows import Taken, take
from nanotally.sinks.sink import SinkPartition
from nanotally.sinks.tables import CHUNKS
from nanotally.sinks.warehouse import Position
from nanotally.sinks.writer import ClickHouseWarehouse
from nanotally.streams.errors import Transient
from tests.simulation.mutants import Mutant

real_insert = ClickHouseWarehouse._insert
real_write = ClickHouseWarehouse.write
real_position = ClickHouseWarehouse.position
NUMBERS = itertools.count()


def bugs() -> list[Mutant]:
    one = ClickHouseWarehouse
    return [
        Mutant("the sink tells its position before the rows are there", lambda: [(one, "write", position_first)]),
        Mutant("the sink asks for the greatest offset, not for all", lambda: [(one, "_insert", greatest)]),
        Mutant("the sink does not ask which rows are there", lambda: [(one, "_insert", blind)]),
        Mutant("each insert has a query id of its own", lambda: [(one, "_query_id", own_id)]),
        Mutant("rows are acknowledged before they are on disk", lambda: [(writer, "SETTINGS", {"async_insert": 1})]),
        Mutant("a write that is refused is given up", lambda: [(SinkPartition, "_patiently", impatient)]),
        Mutant("the sink begins at its own memory of the position", lambda: [(one, "position", forgetful)]),
        Mutant("a chunk's last row is left to the next chunk", lambda: [(sink_module, "take", all_but_the_last)]),
        Mutant("offsets of another partition count as there", lambda: [(one, "_insert", any_partition)]),
        Mutant("repeats are not told to ClickHouse", lambda: [(sink_module, "take", without_repeats)]),
        Mutant("only the books themselves are written, not what they list", lambda: [(sink_module, "take", unlisted)]),
        Mutant("a position tells of more than is written", lambda: [(sink_module, "chunk_row", ahead)]),
        Mutant("a new sink begins to count its records anew", lambda: [(one, "position", uncounted)]),
    ]


def position_first(self: ClickHouseWarehouse, table: str, batch: pa.RecordBatch, topic: str, partition: int) -> None:
    held: list[Any] = self.__dict__.setdefault("held", [])
    if table != CHUNKS:
        held.append((table, batch, topic, partition))
        return
    real_write(self, table, batch, topic, partition)
    for one in held:
        real_write(self, *one)
    held.clear()


def greatest(self: ClickHouseWarehouse, *arguments: Any) -> str:
    sql = real_insert(self, *arguments)
    sql = sql.replace("NOT IN (SELECT kafka_offset FROM", "> (SELECT max(kafka_offset) FROM")
    return sql.split(" AND kafka_offset BETWEEN")[0] + ")"


def blind(self: ClickHouseWarehouse, *arguments: Any) -> str:
    return real_insert(self, *arguments).split(" WHERE ")[0]


def own_id(self: ClickHouseWarehouse, table: str, topic: str, partition: int) -> str:
    return f"{id(self)}/{table}/{topic}/{partition}"


async def impatient(self: SinkPartition, action: Callable[..., Any], *arguments: Any) -> Any:
    while True:
        try:
            return await self._elsewhere(action, *arguments)
        except Transient:
            if action.__name__ == "write":
                return None
            await asyncio.sleep(1)


def forgetful(self: ClickHouseWarehouse, topic: str, partition: int) -> Position:
    return Position()


def all_but_the_last(chunk: Any) -> Taken:
    if len(chunk) > 3:
        return take(chunk.part(0, len(chunk) - 1))
    return take(chunk)


def any_partition(self: ClickHouseWarehouse, *arguments: Any) -> str:
    sql = real_insert(self, *arguments)
    return sql.replace(f"kafka_partition = {arguments[3]} AND ", "")


def without_repeats(chunk: Any) -> Taken:
    return replace(take(chunk), duplicates=())


def unlisted(chunk: Any) -> Taken:
    taken = take(chunk)
    return replace(taken, rows=tuple(rows for rows in taken.rows if rows.table not in ("tariffs", "catalogs")))


def ahead(topic: str, partition: int, after: Position, chunk: Any, duplicates: Any) -> pa.RecordBatch:
    if chunk is not None:
        chunk = (chunk[0], {**chunk[1], "watermark_us": chunk[1]["watermark_us"] + 60_000_000})
    return chunk_row(topic, partition, after, chunk, duplicates)


def uncounted(self: ClickHouseWarehouse, topic: str, partition: int) -> Position:
    return Position(real_position(self, topic, partition).next_offset)
