"""From records of the topics to rows of the tables."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nanotally.schemas import codec
from nanotally.sinks.charge_rows import charge_rows
from nanotally.sinks.columns import TIME_MAX_US, for_driver
from nanotally.sinks.rows import take
from nanotally.sinks.tables import by_months
from nanotally.streams.domain.records import LONG_AGO, NO_END, RawChunk
from nanotally.streams.errors import BrokenInvariant
from tests.support.sink_records import (
    DAY_US,
    HOUR_US,
    NOON_US,
    charge,
    chunk,
    control_taken,
    event,
    line,
    payout,
    raw_chunk,
    reject,
    rule_book,
    share,
    statement,
    tally,
)

Row = dict[str, Any]


def rows_of(topic: str, *records: tuple[str, Row], first: int = 0) -> dict[str, list[Row]]:
    taken = take(raw_chunk(topic, records, first=first, partition=3))
    return {some.table: plain(some.batch) for some in taken.rows}


def plain(batch: pa.RecordBatch) -> list[Row]:
    batch.validate(full=True)
    columns = [for_driver(column) for column in batch.columns]
    return [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def expected_charge(record: Row, offset: int) -> Row:
    """The row of a charge worked out the plain way, one field after the other."""
    use = record["event"]
    row = {name: use[name] if use else "" for name in ("event_id", "product", "item", "meter")}
    row |= {name: (use and use[name]) or "" for name in ("creator", "session")}
    row |= {name: use[name] if use else 0 for name in ("quantity", "scale")}
    row["occurred_at"] = use["occurred_at"] if use else record["booked_at"]
    row["duration_us"] = use["duration_us"] if use else None
    row["attributes"] = use["attributes"] if use else {}
    for name in ("payer", "recorded_at", "booked_at", "late", "flags", "outcome", "reason", "currency", "paid_nanos"):
        row[name] = record[name]
    for name in ("book_number", "usage_partition", "usage_offset", "n"):
        row[name] = record[name]
    lines = record["lines"]
    for name in line(0):
        if "_key_" not in name and name != "shares":
            row[f"lines.{name}"] = [part[name] for part in lines]
    row["lines.pass"] = [name or "" for name in row["lines.pass"]]
    row["lines.scope_end"] = [min(end, TIME_MAX_US) for end in row["lines.scope_end"]]
    row["shares.line"] = [number for number, part in enumerate(lines) for _ in part["shares"]]
    for name in ("account", "fraction_num", "fraction_den", "nanos"):
        row[f"shares.{name}"] = [one[name] for part in lines for one in part["shares"]]
    return {**row, "kafka_partition": 3, "kafka_offset": offset}


def random_charge(n: int, dice: random.Random) -> Row:
    lines = []
    for _ in range(dice.choice([0, 1, 1, 1, 2, 3])):
        shares = [share(f"creator:{dice.randrange(5)}", dice.randrange(10**9), 1, 10) for _ in range(dice.randrange(4))]
        under_pass = dice.random() < 0.3
        lines.append(
            line(
                sum(one["nanos"] for one in shares),
                shares,
                quantity=dice.randrange(10**15),
                scope_end=dice.choice([NO_END, NOON_US]),
                **{"pass": "day" if under_pass else None},
            )
        )
    use = event(
        n,
        creator=dice.choice([None, "ana"]),
        session=dice.choice([None, "s-1"]),
        duration_us=dice.choice([None, 0, 5]),
        scale=dice.randrange(19),
        attributes={f"key {i}": "ñ€🎵" for i in range(dice.randrange(3))},
    )
    return charge(n, lines, event=None if dice.random() < 0.2 else use, late=dice.random() < 0.5)


def test_a_charge_becomes_one_row_with_its_lines_and_shares_side_by_side() -> None:
    two = [
        line(5, [share("platform", 1, 1, 10), share("creator:ana", 4, 9, 10)]),
        line(7, [share("pool:day", 7)], **{"pass": "day"}),
    ]
    (row,) = rows_of("charges", ("Charge", charge(9, two)), first=41)["charges"]
    assert row["event_id"] == "e-9"
    assert row["paid_nanos"] == 12
    assert row["lines.paid_nanos"] == [5, 7]
    assert row["lines.pass"] == ["", "day"]
    assert row["shares.line"] == [0, 0, 1]
    assert row["shares.account"] == ["platform", "creator:ana", "pool:day"]
    assert row["shares.nanos"] == [1, 4, 7]
    assert (row["kafka_partition"], row["kafka_offset"], row["usage_offset"]) == (3, 41, 9)


@pytest.mark.parametrize("seed", range(20))
def test_columns_say_what_each_charge_says(seed: int) -> None:
    dice = random.Random(seed)
    records = [random_charge(n, dice) for n in range(dice.choice([1, 2, 50]))]
    found = rows_of("charges", *(("Charge", record) for record in records), first=100)["charges"]
    assert found == [expected_charge(record, 100 + n) for n, record in enumerate(records)]


def test_what_fell_due_has_no_use_and_occurs_when_it_is_booked() -> None:
    due = charge(4, [line(3)], event=None, outcome="due", reason="minimum", booked_at=NOON_US + 7)
    for around in ([], [("Charge", charge(5, event=event(5, attributes={"a": "b"})))]):
        row = rows_of("charges", *around, ("Charge", due), *around)["charges"][len(around)]
        assert (row["occurred_at"], row["event_id"], row["quantity"]) == (NOON_US + 7, "", 0)
        assert (row["attributes"], row["duration_us"], row["creator"]) == ({}, None, "")


def test_what_is_stored_under_a_use_that_is_not_there_does_not_show() -> None:
    """Arrow leaves it open what the fields of a null struct hold."""
    batch = codec.decode("Charge", [codec.encode_one("Charge", charge(n)) for n in range(2)]).batch
    use = batch.column("event")
    hidden = pa.StructArray.from_arrays(
        [use.field(i) for i in range(use.type.num_fields)], fields=list(use.type), mask=pa.array([False, True])
    )
    rows = plain(charge_rows(batch.set_column(batch.schema.get_field_index("event"), "event", hidden), 0, np.arange(2)))
    assert [row["event_id"] for row in rows] == ["e-0", ""]
    assert [row["quantity"] for row in rows] == [1, 0]


def test_the_end_of_a_scope_without_end_is_the_last_time_that_clickhouse_shows() -> None:
    (row,) = rows_of("charges", ("Charge", charge(0, [line(1, scope="life", scope_end=NO_END)])))["charges"]
    assert row["lines.scope_end"] == [TIME_MAX_US]


def test_records_of_several_types_keep_their_own_offsets() -> None:
    taken = take(
        raw_chunk(
            "charges",
            [
                ("ControlTaken", control_taken()),
                ("Charge", charge(1)),
                ("Chunk", chunk(next_offset=2, duplicates=[7])),
                ("Charge", charge(2)),
                ("ControlTaken", control_taken(kind="tick", at=NOON_US, book_number=None, book_hash=None)),
                ("Chunk", chunk(next_offset=5, duplicates=[3, 4], counts={"charged": 2}, sums={"paid.USD": "9"})),
                ("Charge", charge(6)),
            ],
            first=10,
        )
    )
    assert [some.table for some in taken.rows] == ["charges", "controls"]
    assert taken.rows[0].batch.column("kafka_offset").to_pylist() == [11, 13, 16]
    assert taken.rows[1].batch.column("kafka_offset").to_pylist() == [10, 14]
    assert plain(taken.rows[1].batch)[1]["at"] == NOON_US
    assert taken.records == 5
    assert taken.duplicates == (7, 3, 4)
    assert taken.chunk is not None
    offset, fields = taken.chunk
    assert (offset, fields["next_offset"], fields["counts"], fields["sums"]) == (
        15,
        5,
        {"charged": 2},
        {"paid.USD": "9"},
    )


def test_a_tally_of_a_payer_is_told_by_the_payer() -> None:
    digits = "12345678901234567890123456789123456789"
    (row,) = rows_of("payer_tallies", ("Tally", tally(quantity="-5", amount_nanos=digits)))["payer_tallies"]
    assert (row["payer"], row["size"], row["window_end"] - row["window_start"]) == ("p-1", "hour", HOUR_US)
    assert str(row["amount"]) == f"{digits[:-9]}.{digits[-9:]}"
    assert row["quantity"] == -5


def test_a_tally_of_a_payer_with_another_account_is_a_broken_invariant() -> None:
    with pytest.raises(BrokenInvariant, match="payer:"):
        rows_of("payer_tallies", ("Tally", tally(account="creator:ana")))


def test_a_tally_of_an_account_keeps_the_account() -> None:
    (row,) = rows_of("account_tallies", ("Tally", tally(account="platform")))["account_tallies"]
    assert (row["account"], row["amount"], row["uses"]) == ("platform", Decimal("0.010000000"), 2)


def test_statements_and_payouts_are_in_currency_units() -> None:
    (row,) = rows_of("statements", ("Statement", statement(due_nanos="1")))["statements"]
    assert (row["payer"], row["due"], row["period_end"] - row["period_start"]) == ("p-1", Decimal("1e-9"), DAY_US)
    (row,) = rows_of("payouts", ("Payout", payout()))["payouts"]
    assert [str(row[name]) for name in ("brought", "earned", "paid", "carried")] == [
        "0.001000000",
        "0.009000000",
        "0E-9",
        "0.010000000",
    ]


def test_an_amount_that_is_no_number_is_not_taken_for_one() -> None:
    with pytest.raises(pa.ArrowInvalid):
        rows_of("statements", ("Statement", statement(due_nanos="12a")))


def test_a_reject_keeps_key_and_value_as_bytes() -> None:
    (row,) = rows_of("rejects", ("Reject", reject(value=b"\xff\x00", key=None)))["rejects"]
    assert (row["value"], row["key"], row["input_topic"], row["input_offset"]) == (b"\xff\x00", None, "usage", 9)


def test_a_reject_tells_the_product_where_its_bytes_do() -> None:
    use = codec.encode_one("UsageEvent", event(product="school"))
    control = {"control_id": "redrive-0-7", "kind": "redrive", "at": None, "book_number": None, "book_hash": None}
    carrying = codec.encode_one("Control", control | {"note": "", "usage_offset": 7, "use": event(product="radio")})
    values = [use, use[:45], use[10:], carrying, b"\xff\x00", None]
    rows = rows_of("rejects", *(("Reject", reject(value=value)) for value in values))["rejects"]
    assert [row["product"] for row in rows] == ["school", "school", "school", "radio", "", ""]


def test_a_redrive_is_kept_by_the_place_of_the_old_record() -> None:
    redrive = {
        "partition": 2, "offset": 9, "reason": "future", "to_partition": 1, "to_offset": 30, "event_id": "e-1",
        "mended": True, "at": NOON_US, "note": "clock",
    }  # fmt: skip
    (row,) = rows_of("redrives", ("Redrive", redrive), first=4)["redrives"]
    assert (row["input_partition"], row["input_offset"], row["to_partition"], row["to_offset"]) == (2, 9, 1, 30)
    assert (row["mended"], row["note"], row["kafka_offset"]) == (True, "clock", 4)


def test_a_rule_book_becomes_a_book_and_its_versions() -> None:
    tables = rows_of("books", ("RuleBook", rule_book()), ("RuleBook", rule_book(tariffs=[])), first=5)
    assert [row["book_number"] for row in tables["books"]] == [5, 6]
    assert [(row["tariff"], row["version"], row["book_number"], row["kafka_offset"]) for row in tables["tariffs"]] == [
        ("media", 1, 5, 5),
        ("media", 2, 5, 5),
    ]
    assert [(row["catalog"], row["version"], row["book_number"]) for row in tables["catalogs"]] == [
        ("songs", 3, 5),
        ("songs", 3, 6),
    ]


def test_a_record_that_no_stage_writes_to_the_topic_is_named() -> None:
    with pytest.raises(BrokenInvariant, match=r"statements\[3\] offset 1 holds a Payout"):
        rows_of("statements", ("Statement", statement()), ("Payout", payout()))
    with pytest.raises(BrokenInvariant, match=r"payouts\[3\] offset 0 holds a Chunk"):
        rows_of("payouts", ("Chunk", chunk()))


def raw(value: bytes | None) -> RawChunk:
    return RawChunk("charges", 0, np.array([8]), np.array([0]), [None], [value])


def test_bytes_that_are_no_record_are_named() -> None:
    with pytest.raises(BrokenInvariant, match=r"charges\[0\] offset 8 holds no record that this release knows"):
        take(raw(b"\xc3\x01unknown!"))
    with pytest.raises(BrokenInvariant, match=r"charges\[0\] offset 8 holds no record"):
        take(raw(None))
    with pytest.raises(BrokenInvariant, match=r"charges\[0\] offset 8 is no Charge"):
        take(raw(codec.encode_one("Charge", charge(0))[:-1]))


def test_a_batch_is_cut_where_it_touches_more_months_than_clickhouse_takes() -> None:
    months = [np.datetime64("2026-11") - n for n in range(205)] * 2
    times = [int(month.astype("datetime64[us]").astype(np.int64)) for month in months]
    batch = pa.RecordBatch.from_arrays([pa.array(times).view(pa.timestamp("us", "UTC"))], names=["booked_at"])
    pieces = list(by_months("charges", batch))
    assert [len(piece) for piece in pieces] == [200, 200, 10]
    assert [len(set(piece.column("booked_at").to_pylist())) for piece in pieces] == [100, 100, 5]
    assert sorted(at for piece in pieces for at in piece.column("booked_at").view(pa.int64()).to_pylist()) == sorted(
        times
    )


def test_a_batch_of_few_months_stays_whole() -> None:
    times = pa.array([LONG_AGO // 10**4, NOON_US]).view(pa.timestamp("us", "UTC"))
    near = pa.RecordBatch.from_arrays([times.slice(1)], names=["booked_at"])
    assert list(by_months("charges", near)) == [near]
    assert list(by_months("controls", near)) == [near]
    far_apart = pa.RecordBatch.from_arrays([times], names=["booked_at"])
    assert [len(piece) for piece in by_months("charges", far_apart)] == [2]  # far apart, but two months only
