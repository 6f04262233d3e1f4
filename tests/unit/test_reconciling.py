"""Reconciliation: a sound installation is clean, and whatever is spoiled is found, with its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from nanotally.schemas import codec
from nanotally.streams.commands.reconcile_tables import expected_rows
from nanotally.streams.domain.reconciling import Check, Difference, Report
from nanotally.streams.domain.reconciling_run import Material, check_all
from nanotally.streams.domain.reconciling_tables import TABLES, compare_table
from tests.support.ledger_world import World, world

SOUND = world()
TALLIES, STATEMENTS = "payer tallies + open = charges", "statements + open = paid"
PAYOUTS = "payouts carry forward"
REDRIVEN = "redriven uses: unpriced before, once"
CHUNKS, BALANCE = "every chunk: counts and sums", "every chunk: debits = credits"


def test_a_sound_installation_is_clean_and_everything_was_looked_at() -> None:
    report = SOUND.report()
    assert report.clean and report.first is None
    figures = {check.name: check.figures for check in report.checks}
    assert figures["usage: one outcome each"] == {
        "charged": 70, "refused": 1, "unpriced": 1, "duplicate": 1, "rejected": 5, "control": 4,
    }  # fmt: skip
    paid = figures["paid = earned, over all"]["nanos USD"]
    settled = figures[STATEMENTS]
    assert settled["nanos USD settled"] + settled["nanos USD open"] == paid > 200_000_000
    assert all(check.compared for check in report.checks if check.name != REDRIVEN)


def test_an_empty_installation_is_clean() -> None:
    empty = World()
    assert empty.report().clean
    assert check_clean(Material([], {}))


def check_clean(material: Material) -> bool:
    report = Report()
    report.add(check_all(material))
    return report.clean


def test_it_does_not_matter_how_far_the_accounts_have_come() -> None:
    behind = SOUND.copy()
    for q in (0, 1):
        behind.topics["account_tallies"][q] = []
        behind.topics["payouts"][q] = []
    assert behind.report().clean


def test_uses_that_the_payers_stage_has_not_taken_are_counted_and_compared_with_nothing() -> None:
    world = SOUND.copy()
    assert world.material().waiting_uses == 0
    taken = world.material().folds[1].cut
    assert taken
    world.ends["usage", 1] = taken.chunk["next_offset"]
    world.write("usage", 1, [b"one", b"two", b"three"])
    assert world.material().waiting_uses == 3
    assert world.report().clean


def test_what_was_written_after_the_chunk_records_does_not_disturb() -> None:
    later = SOUND.copy()
    for topic, record in (("payer_tallies", "Tally"), ("statements", "Statement"), ("rejects", "Reject")):
        partition, place = later.find(topic, record, 0)
        later.write(topic, partition, [later.topics[topic][partition][place][1]])
    partition, place = later.find("earnings", "Earning", 0)
    later.write("earnings", partition, [later.topics["earnings"][partition][place][1]])
    assert later.report().clean


AGAIN = world(redriven=True)


def test_redriven_uses_are_those_that_found_no_price_and_the_others_are_left() -> None:
    report = AGAIN.report()
    assert report.clean, report.first
    figures = {check.name: check.figures for check in report.checks}
    assert figures[REDRIVEN] == {"redriven": 2, "unpriced left": 1}
    assert figures["usage: one outcome each"] == {
        "charged": 72, "refused": 1, "unpriced": 3, "duplicate": 3, "rejected": 5, "control": 4,
    }  # fmt: skip


def place_of_redriven(ledger: World) -> tuple[int, int]:
    """Number of the first redriven charge among the charges, and its offset in the ledger."""
    charges = [
        (offset, codec.decode_one(value)[1])
        for offset, value in ledger.topics["charges"][0]
        if codec.decode_one(value)[0] == "Charge"
    ]
    return next((i, offset) for i, (offset, c) in enumerate(charges) if c["flags"] == "redrive:0")


@pytest.mark.parametrize(
    ("changes", "expected", "found"),
    [
        ({"flags": "redrive:1"}, "an unpriced use at usage offset 1", "none"),
        ({"flags": "late_version redrive:2"}, "an unpriced use at usage offset 2", "none"),
        ({"content_hash": 7}, "the content of the use at usage offset 0", "another one"),
    ],
)
def test_a_redriven_use_that_was_not_unpriced_before_is_found(
    changes: dict[str, Any], expected: str, found: str
) -> None:
    spoiled = AGAIN.copy()
    number, place = place_of_redriven(spoiled)
    spoiled.spoil("charges", "Charge", lambda record: record.update(changes), number)
    check = next(c for c in spoiled.report().checks if c.name == REDRIVEN)
    assert [(d.partition, d.offset, d.expected, d.found) for d in check.differences] == [(0, place, expected, found)]
    assert check.figures["unpriced left"] == 2


def test_a_use_that_was_redriven_twice_is_found() -> None:
    spoiled = AGAIN.copy()
    _, place = place_of_redriven(spoiled)
    again = codec.encode_one("Charge", codec.decode_one(dict(spoiled.topics["charges"][0])[place])[1])
    log = spoiled.topics["charges"][0]
    last_chunk = log.pop()
    log += [(last_chunk[0], again), (last_chunk[0] + 1, last_chunk[1])]
    spoiled.ends["charges", 0] += 1
    check = next(c for c in spoiled.report().checks if c.name == REDRIVEN)
    assert [(d.offset, d.expected, d.found) for d in check.differences] == [
        (last_chunk[0], "the use at usage offset 0 once more", "twice")
    ]


def test_an_unpriced_use_that_a_redrive_made_up_is_found() -> None:
    spoiled = AGAIN.copy()
    spoiled.spoil("charges", "Charge", put("outcome", "refused"))
    check = next(c for c in spoiled.report().checks if c.name == REDRIVEN)
    assert [(d.expected, d.found) for d in check.differences] == [("an unpriced use at usage offset 0", "none")]


def test_a_chunk_that_counts_another_number_of_redriven_uses_is_found() -> None:
    spoiled = AGAIN.copy()
    last = sum(codec.decode_one(value)[0] == "Chunk" for _, value in spoiled.topics["charges"][0]) - 1
    spoiled.spoil("charges", "Chunk", in_map("counts", "redriven"), last)
    assert {d.what for c in spoiled.report().checks for d in c.differences} == {"count redriven"}


def add(name: str, by: int = 1) -> Callable[[dict[str, Any]], None]:
    """Changes a number, or the digits of one."""

    def change(record: dict[str, Any]) -> None:
        record[name] = str(int(record[name]) + by) if isinstance(record[name], str) else record[name] + by

    return change


def line(**changes: int) -> Callable[[dict[str, Any]], None]:
    """Changes numbers of the first line."""

    def change(record: dict[str, Any]) -> None:
        for name, by in changes.items():
            record["lines"][0][name] += by

    return change


def share(by: int, place: int = 0) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        record["lines"][0]["shares"][place]["nanos"] += by

    return change


def moved_share(record: dict[str, Any]) -> None:
    """A nano from the last account to the first: the sum stays."""
    share(1)(record)
    share(-1, -1)(record)


def one_more(record: dict[str, Any]) -> None:
    """A nano more, consistently within the charge."""
    record["paid_nanos"] += 1
    line(paid_nanos=1, amount_nanos=1, total_after=1)(record)
    share(1)(record)


def in_map(name: str, key: str, by: int = 1) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        value = record[name][key]
        record[name][key] = str(int(value) + by) if isinstance(value, str) else value + by

    return change


def both(*names: str) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        for name in names:
            add(name)(record)

    return change


def swap_paid(record: dict[str, Any]) -> None:
    record["paid_nanos"], record["carried_nanos"] = record["carried_nanos"], record["paid_nanos"]


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        record[name] = value

    return change


# What is spoiled: topic, record, how -> the check that must find it, and the topic it must name.
SPOILED: dict[str, tuple[str, str, Callable[[dict[str, Any]], Any], str, str]] = {
    "sum of a charge": ("charges", "Charge", add("paid_nanos"), "charges: lines and shares sum", "charges"),
    "a share": ("charges", "Charge", share(1), "charges: lines and shares sum", "charges"),
    "partition of a charge": ("charges", "Charge", add("usage_partition"), "charges: lines and shares sum", "charges"),
    "a nano more everywhere": ("charges", "Charge", one_more, CHUNKS, "charges"),
    "a nano from one account to another": ("charges", "Charge", moved_share, "earnings = shares", "earnings"),
    "quantity before": ("charges", "Charge", line(quantity_before=1), "scopes and splits without gap", "charges"),
    "charged before": ("charges", "Charge", line(charged_before=1), "scopes and splits without gap", "charges"),
    "total before": ("charges", "Charge", line(total_before=1), "scopes and splits without gap", "charges"),
    "base of a split": ("charges", "Charge", line(base_before=1), "scopes and splits without gap", "charges"),
    "outcome": ("charges", "Charge", put("outcome", "refused"), CHUNKS, "charges"),
    "payer": ("charges", "Charge", put("payer", "p-x"), TALLIES, "payer_tallies"),
    "usage offset": ("charges", "Charge", add("usage_offset", 1), "usage: one outcome each", "usage"),
    "booked time": ("charges", "Charge", add("booked_at", 86_400_000_000), TALLIES, "payer_tallies"),
    "count of a chunk": ("charges", "Chunk", in_map("counts", "charged"), CHUNKS, "charges"),
    "paid of a chunk": ("charges", "Chunk", in_map("sums", "paid.USD"), CHUNKS, "charges"),
    "credits of a chunk": ("charges", "Chunk", in_map("sums", "shares.USD"), BALANCE, "charges"),
    "records of a chunk": ("charges", "Chunk", add("records"), CHUNKS, "charges"),
    "reason of a reject": ("rejects", "Reject", put("reason", "absurd"), "rejects by reason", "rejects"),
    "offset of a reject": ("rejects", "Reject", put("offset", 2), "usage: one outcome each", "usage"),
    "amount of a tally": ("payer_tallies", "Tally", add("amount_nanos"), TALLIES, "payer_tallies"),
    "count of a tally": ("payer_tallies", "Tally", add("count"), TALLIES, "payer_tallies"),
    "quantity of a tally": ("payer_tallies", "Tally", add("quantity"), TALLIES, "payer_tallies"),
    "end of a tally": ("payer_tallies", "Tally", add("window_end"), TALLIES, "payer_tallies"),
    "size of a tally": ("payer_tallies", "Tally", put("size", "week"), TALLIES, "payer_tallies"),
    "due": ("statements", "Statement", add("due_nanos"), STATEMENTS, "statements"),
    "count of a statement": ("statements", "Statement", add("count"), STATEMENTS, "statements"),
    "id of a statement": ("statements", "Statement", put("statement_id", "0" * 32), STATEMENTS, "statements"),
    "amount of an earning": ("earnings", "Earning", add("amount_nanos"), "earnings = shares", "earnings"),
    "minute of an earning": ("earnings", "Earning", add("minute", 60_000_000), "earnings = shares", "earnings"),
    "meter of an earning": ("earnings", "Earning", put("meter", "x"), "earnings = shares", "earnings"),
    "amount of an account's tally": (
        "account_tallies", "Tally", add("amount_nanos"), "account tallies + open = earnings", "account_tallies",
    ),
    "earned by a payout": ("payouts", "Payout", add("earned_nanos"), "payouts + open = earned", "payouts"),
    "brought by a payout": ("payouts", "Payout", add("brought_nanos"), PAYOUTS, "payouts"),
    "brought and carried": ("payouts", "Payout", both("brought_nanos", "carried_nanos"), PAYOUTS, "payouts"),
    "paid instead of carried": ("payouts", "Payout", swap_paid, PAYOUTS, "payouts"),
    "carried by a payout": ("payouts", "Payout", add("carried_nanos"), PAYOUTS, "payouts"),
    "paid by a payout": ("payouts", "Payout", add("paid_nanos"), PAYOUTS, "payouts"),
    "id of a payout": ("payouts", "Payout", put("payout_id", "0" * 32), "payouts + open = earned", "payouts"),
    "earned of the accounts' chunk": (
        "account_tallies", "Chunk", in_map("sums", "earned.USD"), "accounts' chunk: sums", "account_tallies",
    ),
}  # fmt: skip


# What fits in itself, and shows only in what comes after it.
TOLD_BY_LATER = {"a nano more everywhere", "outcome"}


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_spoiled_is_found_with_its_place(what: str) -> None:
    topic, record, change, check, named = SPOILED[what]
    spoiled = SOUND.copy()
    partition, offset = spoiled.spoil(topic, record, change)
    report = spoiled.report()
    assert not report.clean
    found = next(c for c in report.checks if c.name == check)
    assert found.differences, [str(d) for c in report.checks for d in c.differences]
    topics = {d.topic for d in found.differences}
    assert named in topics
    if named == topic:
        places = {(d.partition, d.offset) for d in found.differences if d.topic == topic}
        of_record = {(partition, offset), (partition, -1)} & places
        assert of_record or (what in TOLD_BY_LATER and min(places)[1] > offset)


TOPICS = {
    "charges": "Charge",
    "rejects": "Reject",
    "payer_tallies": "Tally",
    "statements": "Statement",
    "earnings": "Earning",
    "account_tallies": "Tally",
    "payouts": "Payout",
}


@pytest.mark.parametrize("topic", TOPICS)
def test_a_record_that_is_missing_is_found(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanotally.streams.commands.reconcile_reading.APPEAR_S", 0.0)
    spoiled = SOUND.copy()
    partition, _ = spoiled.remove(topic, TOPICS[topic])
    first = spoiled.report().first
    assert first is not None and first.partition == partition
    assert first.topic in (topic, "usage")


@pytest.mark.parametrize("topic", TOPICS)
def test_a_record_in_the_place_of_another_is_found(topic: str) -> None:
    spoiled = SOUND.copy()
    spoiled.double(topic, TOPICS[topic])
    assert not spoiled.report().clean


def test_a_dead_letter_that_was_redriven_twice_is_found() -> None:
    spoiled = SOUND.copy()
    partition, offset = spoiled.double("redrives", "Redrive")
    assert (partition, offset) == (0, 1)
    check = next(c for c in spoiled.report().checks if c.name == "dead letters: each redriven once")
    assert {d.topic for d in check.differences} == {"redrives"}


def test_the_first_difference_names_topic_partition_offset_expected_and_found() -> None:
    spoiled = SOUND.copy()
    partition, offset = spoiled.spoil("charges", "Charge", add("paid_nanos"), nth=3)
    first = spoiled.report().first
    assert first is not None
    assert (first.topic, first.partition, first.offset) == ("charges", partition, offset)
    assert int(first.expected.replace(",", "")) == int(first.found.replace(",", "")) + 1
    assert f"charges {partition} offset {offset}: expected " in str(first)


def test_a_closed_window_without_a_row_is_found_even_where_the_chunk_counts_without_it() -> None:
    for topic, check in (("payer_tallies", TALLIES), ("statements", STATEMENTS)):
        material = SOUND.copy().material()
        rows = getattr(material.beside[1], topic)
        setattr(material.beside[1], topic, rows.slice(1))
        cut = material.folds[1].cut
        assert cut is not None
        cut.chunk["counts"][f"rows.{topic}"] -= 1
        report = Report()
        report.add(check_all(material))
        found = next(c for c in report.checks if c.name == check).differences
        assert any("missing" in d.what and rows["account"][0] in d.what and d.offset == -1 for d in found)


def test_a_duplicate_that_no_chunk_tells_of_is_found_by_its_offset() -> None:
    spoiled = SOUND.copy()
    lost: list[int] = []

    def forget(record: dict[str, Any]) -> None:
        lost.extend(record["duplicates"])
        record["duplicates"] = []

    for nth in range(8):
        spoiled.spoil("charges", "Chunk", forget, nth)
    report = spoiled.report()
    checks = {c.name: c for c in report.checks}
    assert "count duplicate" in checks[CHUNKS].differences[0].what
    (found,) = checks["usage: one outcome each"].differences
    assert len(lost) == 1 and str(lost[0]) in found.what


def test_records_after_the_last_chunk_record_are_found() -> None:
    spoiled = SOUND.copy()
    partition, place = spoiled.find("charges", "Charge", 0)
    spoiled.write("charges", partition, [spoiled.topics["charges"][partition][place][1]])
    first = spoiled.report().first
    assert first is not None and first.what == "records after the last chunk record"


def test_a_record_that_cannot_be_read_is_found() -> None:
    spoiled = SOUND.copy()
    offset, value = spoiled.topics["statements"][1][0]
    spoiled.topics["statements"][1][0] = (offset, value[:-1])
    first = spoiled.report().first
    assert first is not None and (first.topic, first.partition, first.offset) == ("statements", 1, offset)


def test_a_topic_that_lost_its_oldest_rows_is_left_out() -> None:
    material = SOUND.copy().material()
    material.beside[0].payer_tallies = material.beside[0].payer_tallies.tail(3)
    assert not check_clean(material)
    material.expired["payer_tallies"] = [0]
    assert check_clean(material)


# ---- ClickHouse ----

EXPECTED = expected_rows(SOUND.material())


def stored(table: str) -> dict[int, pl.DataFrame]:
    values = next(t for t in TABLES if t.name == table).values
    return {p: frame.select("offset", "currency", *values) for p, frame in EXPECTED[table].items()}


def compared(table: str, held: dict[int, pl.DataFrame]) -> Check:
    spec = next(t for t in TABLES if t.name == table)
    sums = [
        frame.group_by("currency")
        .agg(pl.len().cast(pl.Int128).alias("rows"), *(pl.col(n).cast(pl.Int128).sum() for n in spec.values))
        .with_columns(pl.lit(p, pl.Int64).alias("partition"))
        for p, frame in held.items()
        if len(frame)
    ]
    columns = ["partition", "currency", "rows", *spec.values]
    totals = (
        pl.concat([s.select(columns) for s in sums]) if sums else pl.DataFrame(schema=dict.fromkeys(columns, pl.Int128))
    )
    return compare_table(spec, stored(table), totals, lambda p: held[p])


@pytest.mark.parametrize("table", [t.name for t in TABLES])
def test_a_table_that_holds_the_same_is_clean(table: str) -> None:
    assert sum(len(frame) for frame in stored(table).values()) > 0
    assert compared(table, stored(table)).clean


@pytest.mark.parametrize("table", [t.name for t in TABLES])
def test_a_row_that_is_missing_from_a_table_is_found(table: str) -> None:
    held = stored(table)
    partition, frame = max(held.items(), key=lambda item: len(item[1]))
    held[partition] = frame.slice(1)
    found = compared(table, held).differences[0]
    assert (found.topic, found.partition, found.offset) == (f"ClickHouse {table}", partition, frame["offset"][0])
    assert found.found == "no row"


@pytest.mark.parametrize("table", [t.name for t in TABLES])
def test_a_row_that_a_table_holds_twice_is_found(table: str) -> None:
    held = stored(table)
    partition, frame = max(held.items(), key=lambda item: len(item[1]))
    held[partition] = pl.concat([frame, frame.tail(1)])
    found = compared(table, held).differences
    assert frame["offset"][-1] in {d.offset for d in found}


@pytest.mark.parametrize("table", [t.name for t in TABLES if t.values])
def test_a_sum_that_differs_in_a_table_is_found(table: str) -> None:
    for name in next(t for t in TABLES if t.name == table).values:
        held = stored(table)
        partition, frame = max(held.items(), key=lambda item: len(item[1]))
        wrong = np.zeros(len(frame), dtype=np.int64)
        wrong[0] = 1
        held[partition] = frame.with_columns(pl.col(name) + pl.Series(wrong))
        (found,) = compared(table, held).differences
        assert (found.partition, found.offset) == (partition, frame["offset"][0])


def test_of_many_differences_the_first_are_kept_and_all_are_counted() -> None:
    check = Check("x")
    for i in range(50):
        check.differ(Difference("x", "t", 0, i, "a", "b"))
    assert (check.count, len(check.differences)) == (50, 10)
