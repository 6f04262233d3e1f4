"""Records of the topics beside the ledger as frames, with the names that the checks use."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from nanotally.schemas import codec
from nanotally.streams.domain.reconciling import Check, Difference
from nanotally.streams.domain.reconciling_frames import whole_numbers
from nanotally.streams.domain.records import Int64Array

# Record -> columns as the contract has them, by the names used here.
_COLUMNS = {
    "Tally": {
        "account": "account", "size": "size", "window_start": "window_start", "window_end": "window_end",
        "product": "product", "meter": "meter", "scale": "scale", "currency": "currency", "count": "count",
        "quantity": "quantity", "amount_nanos": "amount",
    },
    "Statement": {
        "statement_id": "id", "account": "account", "period": "period", "period_start": "at", "period_end": "end",
        "currency": "currency", "count": "count", "due_nanos": "amount",
    },
    "Payout": {
        "payout_id": "id", "account": "account", "period": "period", "period_start": "at", "period_end": "end",
        "currency": "currency", "count": "count", "brought_nanos": "brought", "earned_nanos": "amount",
        "paid_nanos": "paid", "carried_nanos": "carried",
    },
    "Earning": {
        "source": "source", "account": "account", "minute": "at", "product": "product", "meter": "meter",
        "scale": "scale", "currency": "currency", "count": "count", "quantity": "quantity", "amount_nanos": "amount",
    },
    "Reject": {"reason": "reason", "partition": "partition", "offset": "offset_of_input"},
    "Redrive": {
        "partition": "partition", "offset": "offset_of_input", "to_partition": "to_partition",
        "to_offset": "to_offset", "mended": "mended",
    },
}  # fmt: skip
_WHOLE = {"quantity", "amount", "brought", "paid", "carried"}


def frame(
    record: str, topic: str, partition: int, offsets: Int64Array, values: Sequence[bytes | None], check: Check
) -> pl.DataFrame:
    """The records of one type among the values, in order: columns by the names used here, `offset`, and for earnings
    `partition`; sums as Int128. Others than known ones are noted in the check, which is of what can be read."""
    places = codec.split_by_schema(values)
    mine = places.pop(record, offsets[:0]).tolist()
    for name, strange in places.items():
        if name not in ("Chunk", "SourceMark"):
            for place in strange.tolist():
                said = record, name or "no known record"
                check.differ(Difference("record", topic, partition, int(offsets[place]), *said))
    columns = _COLUMNS[record]
    if record == "Reject":  # has bytes, which the columns cannot hold
        rows = [codec.decode_one(values[i])[1] for i in mine]
        kept = {"reason": pl.String, "partition": pl.Int64, "offset_of_input": pl.Int64}
        named = [{new: row[old] for old, new in columns.items()} for row in rows]
        return pl.DataFrame(named, schema=kept, orient="row").with_columns(pl.Series("offset", offsets[mine], pl.Int64))
    decoded = codec.decode(record, [values[i] for i in mine])
    for bad in decoded.bad:
        check.differ(Difference("record", topic, partition, int(offsets[mine[bad.index]]), record, bad.detail))
    table = pl.DataFrame(pl.from_arrow(decoded.batch)).select(pl.col(old).alias(new) for old, new in columns.items())
    table = whole_numbers(table, *(name for name in columns.values() if name in _WHOLE))
    table = table.with_columns(pl.Series("offset", [int(offsets[mine[i]]) for i in decoded.index.tolist()], pl.Int64))
    return table.with_columns(pl.lit(partition, pl.Int64).alias("partition")) if record == "Earning" else table
