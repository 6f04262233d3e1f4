"""What ClickHouse must hold when all is drained: each record of the topics once, as it was written."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from nanotally.sinks.tables import TOPICS
from tests.simulation.installation import COUNTS, Installation
from tests.simulation.written import Row, Written, Wrong, same


# Record type -> table, and what of a record must be in its row: by column, of the record's field or a function of it.
def nanos(name: str) -> Any:
    return lambda r: Decimal(int(r[name])).scaleb(-9)


def payer_of(record: Row) -> str:
    return str(record["account"]).removeprefix("payer:")


def used(name: str) -> Any:
    return lambda r: (r["event"][name] or "") if r["event"] else ""


def of_lines(name: str) -> Any:
    return lambda r: [line[name] for line in r["lines"]]


OF_LINES = ("link", "tariff", "version", "rule", "quantity", "amount_nanos", "paid_nanos", "split", "base_before")
TALLY: Row = {"window_start": "window_start", "size": "size", "uses": "count", "amount": nanos("amount_nanos"),
              "currency": "currency", "meter": "meter"}  # fmt: skip
TABLES: dict[tuple[str, str], tuple[str, Row]] = {
    ("charges", "Charge"): ("charges", {"usage_partition": "usage_partition", "usage_offset": "usage_offset", "n": "n",
        "payer": "payer", "paid_nanos": "paid_nanos", "booked_at": "booked_at", "outcome": "outcome",
        "event_id": used("event_id"), "creator": used("creator"), "item": used("item"), "meter": used("meter"),
        "quantity": lambda r: r["event"]["quantity"] if r["event"] else 0,
        **{name: name for name in ("recorded_at", "late", "flags", "reason", "currency", "book_number")},
        **{f"lines.{name}": of_lines(name) for name in OF_LINES},
        "shares.account": lambda r: [s["account"] for x in r["lines"] for s in x["shares"]],
        "shares.nanos": lambda r: [s["nanos"] for x in r["lines"] for s in x["shares"]]}),
    ("charges", "ControlTaken"): ("controls", {"usage_offset": "usage_offset", "kind": "kind", "at": "at"}),
    ("payer_tallies", "Tally"): ("payer_tallies", {"payer": payer_of, **TALLY}),
    ("account_tallies", "Tally"): ("account_tallies", {"account": "account", **TALLY}),
    ("statements", "Statement"): ("statements", {"statement_id": "statement_id", "payer": payer_of, "uses": "count",
        "due": nanos("due_nanos")}),
    ("payouts", "Payout"): ("payouts", {"payout_id": "payout_id", "account": "account", "paid": nanos("paid_nanos"),
        "carried": nanos("carried_nanos")}),
    ("rejects", "Reject"): ("rejects", {"reason": "reason", "value": "value", "input_offset": "offset"}),
    ("books", "RuleBook"): ("books", {"book_hash": "book_hash"}),
}  # fmt: skip
# Tables of what a rule book lists, likewise.
LISTED: dict[str, Row] = {
    "tariffs": {"tariff": "tariff", "version": "version", "content_hash": "content_hash"},
    "catalogs": {"catalog": "catalog", "version": "version", "content_hash": "content_hash"},
}
# What the row of a position says of the last chunk record before it: by column, of the record's field.
TOLD = {
    "stage": "stage", "input_partition": "input_partition", "input_offset": "next_offset", "input_n": "next_n",
    "watermark_us": "watermark_us", "closed_to_us": "closed_to_us", "cursor": "cursor", "book_number": "book_number",
    "input_records": "records", "counts": "counts", "source_watermarks": "source_watermarks",
}  # fmt: skip


def check_warehouse(at: Installation, written: Written) -> None:
    """ClickHouse holds each committed record once, as it was written, and the position says so."""
    expected: dict[str, list[Row]] = {table: [] for table in (*(table for table, _ in TABLES.values()), *LISTED)}
    for topic in TOPICS:
        for p, offset, name, record in written.of(topic):
            if name == "Chunk":
                continue
            table, columns = TABLES[topic, name]
            row = {c: record[f] if isinstance(f, str) else f(record) for c, f in columns.items()}
            expected[table].append({"kafka_partition": p, "kafka_offset": offset, **row})
            if name == "RuleBook":
                for listed in ("tariffs", "catalogs"):
                    rows_of = [{c: one[f] for c, f in LISTED[listed].items()} for one in record[listed]]
                    expected[listed] += [{"kafka_partition": p, "kafka_offset": offset, **one} for one in rows_of]
    for table, rows in expected.items():
        own = LISTED[table] if table in LISTED else next(c for t, c in TABLES.values() if t == table)
        names = ["kafka_partition", "kafka_offset", *own]
        there = sorted(([row[c] for c in names] for row in at.server.tables[table].rows), key=repr)
        wanted = sorted(([row[c] for c in names] for row in rows), key=repr)
        if there != wanted:
            missing, more = [r for r in wanted if r not in there], [r for r in there if r not in wanted]
            raise Wrong(
                f"table {table} has {len(there)} rows for {len(wanted)} records; missing {missing[:3]}, "
                f"too many {more[:3] or 'of some'}"
            )
    for topic in TOPICS:
        for p in range(COUNTS[topic]):
            records = sum(name != "Chunk" for _, _, name, _ in written.of(topic, p))
            mine = [r for r in at.server.tables["chunks"].rows if (r["topic"], r["kafka_partition"]) == (topic, p)]
            same(f"position of {topic}[{p}]", max((r["records"] for r in mine), default=0), records)
            if len({r["kafka_offset"] for r in mine}) != len(mine):
                raise Wrong(f"a position of {topic}[{p}] is there twice")
            check_told(topic, p, mine, {o: record for _, o, name, record in written.of(topic, p) if name == "Chunk"})


def check_told(topic: str, partition: int, rows: list[Row], chunks: dict[int, Row]) -> None:
    """What the positions tell of chunk records is what these say, of the last one before each position; all repeats
    are among what they tell, and the newest tells of the newest."""
    place = f"{topic}[{partition}]"
    for row in rows:
        at = row["chunk_offset"]
        if at >= 0 and (at not in chunks or at != max(o for o in chunks if o <= row["kafka_offset"])):
            raise Wrong(f"the position {row['kafka_offset']} of {place} tells of a chunk record at {at}: {row}")
        if at >= 0:
            said = {column: chunks[at][field] for column, field in TOLD.items()}
            same(
                f"what position {row['kafka_offset']} of {place} tells", {column: row[column] for column in TOLD}, said
            )
    newest = max(rows, key=lambda row: int(row["kafka_offset"]), default=None)
    same(f"newest chunk record of {place} told", newest["chunk_offset"] if newest else -1, max(chunks, default=-1))
    repeats = {offset for chunk in chunks.values() for offset in chunk["duplicates"]}
    same(f"repeats of {place} told", {offset for row in rows for offset in row["duplicates"]}, repeats)
