"""Each record once in ClickHouse: from a live writer, a dead one's late insert, or both at the same time.

Two things together make it exact (found by killing writers and servers in the middle of inserts):

* A fixed query id for each partition and table. The server refuses a second insert with it while the first runs, so
  two writers never insert side by side. (The server, not the cluster: a partition is written through one server.)
* The insert itself leaves out the offsets that are there. Asking first and inserting afterwards is not enough: a dead
  writer's insert can come to land in between.

An insert that spans months lands month by month, so a part of it may be there: what counts is the set of offsets, never
their maximum. The position is a row of `chunks`, written after the rows it speaks of.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pyarrow as pa

from nanotally.sinks.client import Address, ClickHouse
from nanotally.sinks.columns import for_driver
from nanotally.sinks.http_insert import HttpInserts
from nanotally.sinks.identity import TopicIdentity, claim
from nanotally.sinks.tables import CHUNKS, TABLES_BY_TOPIC, by_months
from nanotally.sinks.warehouse import Position
from nanotally.streams.errors import BrokenInvariant, NotFound

log = logging.getLogger(__name__)

# async_insert would acknowledge before anything is on disk; several insert threads would cut the block in parts. An
# insert whose writer has fallen silent holds its query id until the server stops waiting for the rest.
SETTINGS = {"async_insert": 0, "max_insert_threads": 1, "receive_timeout": 30, "http_receive_timeout": 30}


class ClickHouseWarehouse:
    """A `Warehouse` in ClickHouse. Bulk rows go over HTTP where the address has that port, else through the driver."""

    def __init__(self, address: Address, identity: TopicIdentity | None = None) -> None:
        """identity: the topic to be opened, as Kafka knows it; None: the database is not asked whose it is."""
        self._address = address
        self._identity = identity
        self._native = ClickHouse(address)
        self._http = HttpInserts(address) if address.http else None
        self._types: dict[str, dict[str, str]] = {}
        self._inputs: dict[tuple[str, ...], tuple[str, str]] = {}  # by table and columns

    def open(self, topic: str, partition: int) -> Position:
        """Ends what a former writer of the partition may still have running, then gives the position.

        Raises BrokenInvariant where the database was filled from another Kafka or another topic of that name."""
        if self._identity:
            claim(self._address, {topic: self._identity})
        for table in (*_tables(topic), CHUNKS):
            query_id = self._query_id(table, topic, partition)
            # Not SYNC: an insert that waits for its silent writer ends only when that does; until then writes are
            # refused as busy, which is told and tried again.
            if self._native.query("KILL QUERY WHERE query_id = {id:String} ASYNC", {"id": query_id}):
                log.warning("%s[%d]: ended the insert into %s of a former writer", topic, partition, table)
        return self.position(topic, partition)

    def position(self, topic: str, partition: int) -> Position:
        rows = self._native.query(
            "SELECT next_offset, records FROM chunks WHERE topic = {topic:String} AND kafka_partition = "
            "{partition:UInt16} ORDER BY topic DESC, kafka_partition DESC, kafka_offset DESC LIMIT 1",
            {"topic": topic, "partition": partition},
        )
        return Position(*rows[0]) if rows else Position()

    def write(self, table: str, batch: pa.RecordBatch, topic: str, partition: int) -> None:
        if not len(batch):
            return
        query_id = self._query_id(table, topic, partition)
        for some in by_months(table, batch):
            sql = self._insert(table, some, topic, partition)
            # The driver is quick enough for a few columns of one row, and one connection less to go wrong.
            if self._http and table != CHUNKS:
                self._http.insert(f"{sql} FORMAT ArrowStream", some, query_id, **SETTINGS)
            else:
                columns = [for_driver(column) for column in some.columns]
                self._native.insert(f"{sql} FORMAT Native", columns, query_id, **SETTINGS)

    def close(self) -> None:
        self._native.close()
        if self._http:
            self._http.close()

    def _query_id(self, table: str, topic: str, partition: int) -> str:
        return f"nanotally/{self._address.database}/{topic}/{partition}/{table}"

    def _insert(self, table: str, batch: pa.RecordBatch, topic: str, partition: int) -> str:
        columns, structure = self._input(table, batch.schema.names)
        offsets = batch.column("kafka_offset").to_numpy()
        # Nothing here comes from users: names of ours, whole numbers.
        there = f"kafka_partition = {int(partition)} AND kafka_offset BETWEEN {offsets.min()} AND {offsets.max()}"
        if table == CHUNKS:
            there = f"topic = '{topic}' AND {there}"
        return (
            f"INSERT INTO `{table}` ({columns}) SELECT {columns} FROM input('{structure}') "
            f"WHERE kafka_offset NOT IN (SELECT kafka_offset FROM `{table}` WHERE {there})"
        )

    def _input(self, table: str, names: Sequence[str]) -> tuple[str, str]:
        """The columns' names as they stand in an INSERT, and with their types."""
        known = self._inputs.get((table, *names))
        if known:
            return known
        types = self._types_of(table)
        unknown = [name for name in names if name not in types]
        if unknown:
            raise BrokenInvariant(
                f"table {table} has no column {', '.join(unknown)}: this version's migrations are not applied; run "
                f"python -m nanotally.sinks.migrate"
            )
        structure = ", ".join(f"`{name}` {types[name]}" for name in names).replace("\\", "\\\\").replace("'", "\\'")
        found = self._inputs[table, *names] = ", ".join(f"`{name}`" for name in names), structure
        return found

    def _types_of(self, table: str) -> dict[str, str]:
        """Types by column, as the migrations made them."""
        if table not in self._types:
            types = dict(
                self._native.query(
                    "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = "
                    "{table:String} AND default_kind IN ('', 'DEFAULT')",
                    {"table": table},
                )
            )
            if not types:
                raise NotFound(
                    f"ClickHouse at {self._address!r} has no table {table}: apply the migrations "
                    f"(python -m nanotally.sinks.migrate)"
                )
            self._types[table] = types
        return self._types[table]


def _tables(topic: str) -> tuple[str, ...]:
    if topic not in TABLES_BY_TOPIC:
        raise BrokenInvariant(f"no topic {topic!r} is sunk; there are {', '.join(TABLES_BY_TOPIC)}")
    return TABLES_BY_TOPIC[topic]
