"""What ClickHouse holds of each partition, in the names that chunk records use: for reconcile and doctor.

Sums are whole nanos, exact at any size.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nanotally.sinks.client import ClickHouse


@dataclass(frozen=True)
class Sums:
    """Numbers by name, as in a chunk record's `counts` and `sums`: 'charged', 'rows.charges', 'paid.USD', ..."""

    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """How far one partition of one topic is in ClickHouse: all before next_offset, `records` of them (chunk records not
    counted). From the newest chunk record among them, where the topic has any: its offset (else -1), the stage's
    watermark and counts and sums."""

    topic: str
    partition: int
    next_offset: int
    records: int
    written_at: datetime
    chunk_offset: int
    watermark_us: int
    closed_to_us: int
    input_offset: int
    counts: dict[str, int]
    sums: dict[str, int]


_SUM_OF_MAP = "mapApply((k, v) -> (k, reinterpret(v, 'Int128')), sums)"


def written(clickhouse: ClickHouse) -> list[Written]:
    """The newest of every partition, by topic and partition."""
    newest = "SELECT topic, kafka_partition, max(kafka_offset) FROM chunks GROUP BY topic, kafka_partition"
    with_chunk = (
        "SELECT topic, kafka_partition, max(kafka_offset) FROM chunks WHERE chunk_offset >= 0 "
        "GROUP BY topic, kafka_partition"
    )
    positions = clickhouse.query(
        "SELECT topic, kafka_partition, next_offset, records, written_at FROM chunks "
        f"WHERE (topic, kafka_partition, kafka_offset) IN ({newest}) ORDER BY topic, kafka_partition"
    )
    chunks = {
        (topic, partition): row
        for topic, partition, *row in clickhouse.query(
            f"SELECT topic, kafka_partition, chunk_offset, watermark_us, closed_to_us, input_offset, counts, "
            f"{_SUM_OF_MAP} FROM chunks WHERE (topic, kafka_partition, kafka_offset) IN ({with_chunk})"
        )
    }
    nothing: list[Any] = [-1, -(2**63), -(2**63), -1, {}, {}]
    return [Written(*row, *chunks.get((row[0], row[1]), nothing)) for row in positions]


def ledger_sums(clickhouse: ClickHouse, partition: int, through_offset: int) -> Sums:
    """What the tables `charges` and `controls` hold of one ledger partition up to an offset, that included.

    counts: outcomes, OUTCOME.REASON, free, late, redriven, rows.charges (controls with them); sums: paid, lines and
    shares by currency."""
    rows = clickhouse.query(
        "SELECT outcome, reason, currency, count(), countIf(paid_nanos = 0), countIf(late), "
        "countIf(flags LIKE '%redrive:%'), "
        "sum(toInt128(paid_nanos)), sum(toInt128(arraySum(lines.paid_nanos))), sum(toInt128(arraySum(shares.nanos))) "
        "FROM charges WHERE kafka_partition = {partition:UInt16} AND kafka_offset <= {through:Int64} "
        "GROUP BY outcome, reason, currency",
        {"partition": partition, "through": through_offset},
    )
    counts: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for outcome, reason, currency, number, unpaid, late, redriven, *nanos in rows:
        counts[outcome] += number
        counts["rows.charges"] += number
        if reason:
            counts[f"{outcome}.{reason}"] += number
        if outcome == "charged":
            counts["free"] += unpaid
        counts["late"] += late
        counts["redriven"] += redriven
        if outcome in ("charged", "due"):
            for name, value in zip(("paid", "lines", "shares"), nanos, strict=True):
                sums[f"{name}.{currency}"] += value
    ((controls,),) = clickhouse.query(
        "SELECT count() FROM controls WHERE kafka_partition = {partition:UInt16} AND kafka_offset <= {through:Int64}",
        {"partition": partition, "through": through_offset},
    )
    counts["rows.charges"] += controls
    return Sums({name: n for name, n in counts.items() if n}, dict(sums))


def topic_sums(clickhouse: ClickHouse, topic: str, partition: int, first_rows: int | None = None) -> Sums:
    """What the table of another topic holds of one partition; with `first_rows` of its first so many records only, as
    many as a chunk record counts in 'rows.TOPIC'.

    counts: rows.TOPIC, and rejected.REASON for rejects; sums: tallies.SIZE.CUR for tallies, settled.CUR for statements,
    settled, paid and carried (after each account's last payout) for payouts."""
    limit = "" if first_rows is None else " LIMIT {rows:UInt64}"
    place = "kafka_partition = {partition:UInt16}"
    first = f"SELECT kafka_offset FROM {topic} WHERE {place} ORDER BY kafka_offset{limit}"
    rows = clickhouse.query(
        _SUMS_OF[topic].format(
            rows=f"{topic} WHERE {place} AND kafka_offset <= (SELECT max(kafka_offset) FROM ({first}))"
        ),
        {"partition": partition, "rows": 0 if first_rows is None else first_rows},
    )
    counts: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for name, number, *nanos in rows:
        counts[f"rows.{topic}"] += number
        match topic:
            case "rejects":
                counts["rejected"] += number
                counts[f"rejected.{name}"] += number
            case "payouts":
                for what, value in zip(("settled", "paid", "carried"), nanos, strict=True):
                    sums[f"{what}.{name}"] += value
            case "statements":
                sums[f"settled.{name}"] += nanos[0]
            case _:
                sums[f"tallies.{name}"] += nanos[0]
    return Sums(dict(counts), dict(sums))


_TALLIES = (
    "SELECT concat(size, '.', currency) AS name, count(), sum(reinterpret(amount, 'Int128')) FROM {rows} GROUP BY name"
)
# Topic -> name, number of rows, nanos.
_SUMS_OF = {
    "payer_tallies": _TALLIES,
    "account_tallies": _TALLIES,
    "statements": "SELECT currency, count(), sum(reinterpret(due, 'Int128')) FROM {rows} GROUP BY currency",
    "payouts": "SELECT currency, sum(number), sum(earned), sum(paid), sum(carried) FROM ("
    "SELECT currency, account, count() AS number, sum(reinterpret(earned, 'Int128')) AS earned, "
    "sum(reinterpret(paid, 'Int128')) AS paid, "
    "argMax(reinterpret(carried, 'Int128'), (period_end, kafka_offset)) AS carried "
    "FROM {rows} GROUP BY currency, account) GROUP BY currency",
    "rejects": "SELECT reason, count() FROM {rows} GROUP BY reason",
}
