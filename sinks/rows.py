"""From the records of a topic to rows of its tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nanotally.schemas import codec
from nanotally.schemas.catalog import HEADER_BYTES
from nanotally.sinks import record_rows
from nanotally.sinks.charge_rows import charge_rows
from nanotally.sinks.tables import TABLES_BY_TOPIC
from nanotally.streams.domain.records import Int64Array, RawChunk
from nanotally.streams.errors import BrokenInvariant

Maker = Callable[[pa.RecordBatch, int, Int64Array], pa.RecordBatch]

# (topic, record type) -> table -> what makes its rows of (batch, partition, offsets).
_MAKERS: dict[tuple[str, str], dict[str, Maker]] = {
    ("charges", "Charge"): {"charges": charge_rows},
    ("charges", "ControlTaken"): {"controls": record_rows.controls},
    ("payer_tallies", "Tally"): {"payer_tallies": record_rows.payer_tallies},
    ("statements", "Statement"): {"statements": record_rows.statements},
    ("rejects", "Reject"): {"rejects": record_rows.rejects},
    ("account_tallies", "Tally"): {"account_tallies": record_rows.account_tallies},
    ("payouts", "Payout"): {"payouts": record_rows.payouts},
    ("books", "RuleBook"): {
        "books": record_rows.books,
        "tariffs": record_rows.tariffs,
        "catalogs": record_rows.catalogs,
    },
    ("redrives", "Redrive"): {"redrives": record_rows.redrives},
}
_WITH_CHUNKS = ("charges", "account_tallies")


@dataclass(frozen=True)
class Rows:
    """Rows for one table, all of one partition of one topic."""

    table: str
    batch: pa.RecordBatch


@dataclass(frozen=True)
class Taken:
    """What a chunk of a topic holds: rows by table, the number of records that are no chunk records, and the last
    chunk record (offset, fields) with the duplicates of all of them."""

    rows: tuple[Rows, ...]
    records: int
    chunk: tuple[int, dict[str, Any]] | None
    duplicates: tuple[int, ...]


def take(chunk: RawChunk) -> Taken:
    """Decodes the records and makes rows of them.

    Raises BrokenInvariant for a record that its topic never holds: these topics are written by nanotally alone."""
    tables = TABLES_BY_TOPIC[chunk.topic]
    rows: list[Rows] = []
    last: tuple[int, dict[str, Any]] | None = None
    duplicates: list[int] = []
    chunks = 0
    for name, places in codec.split_by_schema(chunk.values).items():
        values = chunk.values if len(places) == len(chunk) else [chunk.values[i] for i in places.tolist()]
        offsets = chunk.offsets if len(places) == len(chunk) else chunk.offsets[places]
        if name == "Chunk" and chunk.topic in _WITH_CHUNKS:
            chunks = len(places)
            last, duplicates = _chunks(_decoded(name, values, offsets, chunk), offsets)
            continue
        makers = _MAKERS.get((chunk.topic, name or ""))
        if name is None or makers is None:
            raise BrokenInvariant(_stranger(name, values[0], int(offsets[0]), chunk))
        batch = _decoded(name, values, offsets, chunk)
        rows += [Rows(table, make(batch, chunk.partition, offsets)) for table, make in makers.items()]
    rows.sort(key=lambda some: tables.index(some.table))
    return Taken(tuple(rows), len(chunk) - chunks, last, tuple(duplicates))


def _decoded(name: str, values: Sequence[bytes | None], offsets: Int64Array, chunk: RawChunk) -> pa.RecordBatch:
    decoded = codec.decode(name, values)
    if decoded.bad:
        bad = decoded.bad[0]
        raise BrokenInvariant(
            f"{chunk.topic}[{chunk.partition}] offset {int(offsets[bad.index])} is no {name}: {bad.detail}; only "
            f"nanotally's stages may write there"
        )
    return decoded.batch


def _stranger(name: str | None, value: bytes | None, offset: int, chunk: RawChunk) -> str:
    what = f"a {name}" if name else f"no record that this release knows ({(value or b'')[:HEADER_BYTES].hex()})"
    return (
        f"{chunk.topic}[{chunk.partition}] offset {offset} holds {what}; only nanotally's stages may write there, and "
        f"the sink must not be older than they are"
    )


def _chunks(batch: pa.RecordBatch, offsets: Int64Array) -> tuple[tuple[int, dict[str, Any]], list[int]]:
    """The last chunk record and the duplicates of all."""
    fields = batch.slice(len(batch) - 1).to_pylist()[0]
    fields |= {name: dict(fields[name]) for name in ("counts", "sums", "source_watermarks")}
    return (int(offsets[-1]), fields), pc.list_flatten(batch.column("duplicates")).to_pylist()
