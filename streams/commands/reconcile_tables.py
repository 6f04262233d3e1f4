"""What ClickHouse holds, beside what it must hold: positions, sums of tables, and rows where sums differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import polars as pl

from nanotally.sinks.client import Address, ClickHouse
from nanotally.sinks.identity import TopicIdentity, differences
from nanotally.sinks.reconcile_queries import written
from nanotally.streams.domain.reconciling import Check, Difference
from nanotally.streams.domain.reconciling_run import Material, last_offset
from nanotally.streams.domain.reconciling_tables import TABLES, Table, compare_table

Expected = dict[str, dict[int, pl.DataFrame]]  # table -> partition -> rows
Ends = Callable[[], Mapping[tuple[str, int], int]]  # by topic and partition


def expected_rows(material: Material) -> Expected:
    """What each table must hold of what was read, by partition: columns offset, currency and the table's values."""
    folds, counts = material.folds, {p: f.cut.chunk["counts"] if f.cut else {} for p, f in material.folds.items()}
    nothing = pl.lit("").alias("currency")

    def of_payers(topic: str) -> dict[int, pl.DataFrame]:
        frames = {p: getattr(beside, topic) for p, beside in material.beside.items()}
        gone = material.expired.get(topic, ())
        # Of a topic that lost its oldest rows the number since the beginning says nothing of those that are left.
        return {p: f if p in gone else f.head(counts[p].get(f"rows.{topic}", 0)) for p, f in frames.items()}

    books = pl.DataFrame({"offset": [b.number for b in material.books]}, schema={"offset": pl.Int64})
    tariffs = [b.number for b in material.books for _ in b.tariffs]
    return {
        "charges": {p: fold.rows() for p, fold in folds.items()},
        "controls": {
            p: pl.DataFrame({"offset": f.control_offsets}, schema={"offset": pl.Int64}).with_columns(nothing)
            for p, f in folds.items()
        },
        "payer_tallies": of_payers("payer_tallies"),
        "statements": of_payers("statements"),
        "rejects": {p: f.with_columns(nothing) for p, f in of_payers("rejects").items()},
        "account_tallies": {q: part.tallies for q, part in material.accounts.items()},
        "payouts": {
            q: part.payouts.head((part.chunk["counts"] if part.chunk else {}).get("rows.payouts", 0))
            for q, part in material.accounts.items()
        },
        "books": {0: books.with_columns(nothing)},
        "tariffs": {0: pl.DataFrame({"offset": tariffs}, schema={"offset": pl.Int64}).with_columns(nothing)},
        "redrives": {} if material.redrives is None else {0: material.redrives.with_columns(nothing)},
    }


def compare_tables(
    address: Address, expected: Expected, topics: Mapping[str, TopicIdentity], ends: Ends, wait_s: float
) -> Iterator[Check]:
    """Waits until the sink has got as far as what was read, then compares each table. topics: as Kafka knows them;
    ends: gives the offsets after their newest records, now. Raises Transient, NotFound."""
    clickhouse = ClickHouse(address)
    try:
        yield _origin(clickhouse, topics, ends)
        yield _caught_up(clickhouse, expected, wait_s)
        for table in TABLES:
            rows = expected[table.name]
            ranges = {p: (int(f["offset"][0]), last_offset(f)) for p, f in rows.items() if len(f)}
            yield compare_table(
                table,
                {p: frame.select("offset", "currency", *table.values) for p, frame in rows.items()},
                _totals(clickhouse, table, ranges),
                lambda p, table=table, ranges=ranges: _rows(clickhouse, table, p, ranges),  # type: ignore[misc]
            )
    finally:
        clickhouse.close()


def _origin(clickhouse: ClickHouse, topics: Mapping[str, TopicIdentity], ends: Ends) -> Check:
    """Whether what is in ClickHouse is of these topics: not of others of their name, and not of records that they have
    no more, which would be compared with nothing."""
    positions = {(w.topic, w.partition): w.next_offset for w in written(clickhouse)}
    newest = ends()  # after the positions: the sink goes on
    check = Check("ClickHouse is of this Kafka", compared=len(topics) + len(positions))
    for topic, stored, found in differences(clickhouse, topics):
        check.differ(Difference("origin of the rows", f"ClickHouse identity, topic {topic}", 0, -1, found, stored))
    for (topic, p), at in sorted(positions.items()):
        end = newest.get((topic, p), 0)
        if at > end:
            said = f"{end:,} at most, where the topic ends", f"{at:,}"
            check.differ(Difference("position of the sink", f"ClickHouse chunks, topic {topic}", p, -1, *said))
    return check


def _caught_up(clickhouse: ClickHouse, expected: Expected, wait_s: float) -> Check:
    """The sink's positions, once they are behind the last record of each topic, or the time is up."""
    wanted: dict[tuple[str, int], int] = {}
    for table in TABLES:
        for p, frame in expected[table.name].items():
            key = (table.topic, p)
            wanted[key] = max(wanted.get(key, 0), last_offset(frame) + 1)
    until = time.monotonic() + wait_s
    while True:
        positions = {(w.topic, w.partition): w.next_offset for w in written(clickhouse)}
        behind = {key: end for key, end in wanted.items() if positions.get(key, 0) < end}
        if not behind or time.monotonic() >= until:
            break
        time.sleep(0.2)
    check = Check("ClickHouse is as far as the ledger", compared=len(wanted))
    for (topic, p), end in sorted(behind.items()):
        said = f"{end:,} (is the sink running?)", f"{positions.get((topic, p), 0):,}"
        check.differ(Difference("position of the sink", f"ClickHouse chunks, topic {topic}", p, -1, *said))
    return check


def _totals(clickhouse: ClickHouse, table: Table, ranges: Mapping[int, tuple[int, int]]) -> pl.DataFrame:
    columns = ["partition", "currency", "rows", *table.values]
    schema = {"partition": pl.Int64, "currency": pl.String} | dict.fromkeys(columns[2:], pl.Int128)
    if not ranges:
        return pl.DataFrame(schema=schema)
    sums = "".join(f", sum({sql}) AS s{i}" for i, sql in enumerate(table.values.values()))
    found = clickhouse.query(
        f"SELECT kafka_partition, {table.currency} AS c, count(){sums} FROM {table.name} "
        f"WHERE {_within(ranges)} GROUP BY kafka_partition, c"
    )
    return pl.DataFrame([tuple(row) for row in found], schema=schema, orient="row")


def _rows(clickhouse: ClickHouse, table: Table, partition: int, ranges: Mapping[int, tuple[int, int]]) -> pl.DataFrame:
    columns = ["offset", "currency", *table.values]
    schema = {
        name: pl.Int64 if name == "offset" else pl.String if name == "currency" else pl.Int128 for name in columns
    }
    values = "".join(f", {sql} AS v{i}" for i, sql in enumerate(table.values.values()))
    found = clickhouse.query(
        f"SELECT kafka_offset, {table.currency} AS c{values} FROM {table.name} "
        f"WHERE {_within({partition: ranges[partition]}) if partition in ranges else 'false'} ORDER BY kafka_offset"
    )
    return pl.DataFrame([tuple(row) for row in found], schema=schema, orient="row")


def _within(ranges: Mapping[int, tuple[int, int]]) -> str:
    """SQL of the offsets between the first and the last one read; whole numbers only."""
    parts = [
        f"(kafka_partition = {p:d} AND kafka_offset BETWEEN {first:d} AND {last:d})"
        for p, (first, last) in sorted(ranges.items())
    ]
    return " OR ".join(parts)
