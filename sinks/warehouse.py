"""What a sink asks of the database: one protocol, held to one contract by every implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True)
class Position:
    """How far one partition of one topic is written: everything before `next_offset`, which were `records` records
    (the chunk records not counted)."""

    next_offset: int = 0
    records: int = 0


class Warehouse(Protocol):
    """Tables that hold each record of a topic once, however often and from whatever dead writer it comes.

    Rows carry `kafka_partition` and `kafka_offset`. Calls block and are made by one thread at a time. Raises Transient
    where trying the same call again may help: whatever it had written by then does no harm."""

    def open(self, topic: str, partition: int) -> Position:
        """Takes the partition over from whoever wrote it before, and gives its position."""
        ...

    def position(self, topic: str, partition: int) -> Position:
        """Where the newest row of `chunks` says that the partition is."""
        ...

    def write(self, table: str, batch: pa.RecordBatch, topic: str, partition: int) -> None:
        """Adds those rows whose offsets are not in the table yet; they are on disk when this returns.

        batch: columns by the table's names, all rows of this partition of this topic."""
        ...

    def close(self) -> None:
        """Gives connections up."""
        ...
