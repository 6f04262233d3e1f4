"""A warehouse in memory, for tests of the sink without ClickHouse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any

import pyarrow as pa

from nanotally.sinks.columns import for_driver
from nanotally.sinks.tables import CHUNKS, TABLES_BY_TOPIC
from nanotally.sinks.warehouse import Position
from nanotally.streams.errors import NotFound

Row = dict[str, Any]


class MemoryTables:
    """What the warehouses of several writers share: the rows of each table by (topic, partition, offset)."""

    def __init__(self) -> None:
        names = (CHUNKS, *(table for tables in TABLES_BY_TOPIC.values() for table in tables))
        self.lock = Lock()
        self.tables: dict[str, dict[tuple[str, int, int], list[Row]]] = {name: {} for name in names}

    def rows(self, table: str) -> Iterator[Row]:
        """Rows in order of topic, partition and offset."""
        for place in sorted(self.tables[table]):
            yield from self.tables[table][place]


class MemoryWarehouse:
    """A `Warehouse` over tables in memory. `faults` are raised by the next writes, one each, before anything is
    written; `lost` likewise, but after everything is: the answer that never came. `before` is called at each write."""

    def __init__(self, tables: MemoryTables | None = None) -> None:
        self.tables = tables or MemoryTables()
        self.before: Callable[[], None] = lambda: None
        self.faults: list[BaseException] = []
        self.lost: list[BaseException] = []
        self.writes: list[tuple[str, int]] = []  # table and rows of each that succeeded
        self.closed = False

    def open(self, topic: str, partition: int) -> Position:
        if self.faults:
            raise self.faults.pop(0)
        return self.position(topic, partition)

    def position(self, topic: str, partition: int) -> Position:
        mine = [row for row in self.tables.rows(CHUNKS) if (row["topic"], row["kafka_partition"]) == (topic, partition)]
        if not mine:
            return Position()
        newest = max(mine, key=lambda row: int(row["kafka_offset"]))
        return Position(newest["kafka_offset"] + 1, newest["records"])

    def write(self, table: str, batch: pa.RecordBatch, topic: str, partition: int) -> None:
        if table not in self.tables.tables:
            raise NotFound(f"there is no table {table}")
        self.before()
        if self.faults:
            raise self.faults.pop(0)
        columns = [for_driver(column) for column in batch.columns]
        rows = [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]
        with self.tables.lock:
            there = self.tables.tables[table]
            known = set(there)
            for row in rows:
                place = (topic, partition, int(row["kafka_offset"]))
                if place not in known:
                    there.setdefault(place, []).append(row)
        if self.lost:
            raise self.lost.pop(0)
        self.writes.append((table, len(rows)))

    def close(self) -> None:
        self.closed = True
