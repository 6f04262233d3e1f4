"""What the sink relies on in a warehouse: the same for ClickHouse over either way in, and for the one in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pytest

from nanotally.sinks.client import Address, ClickHouse
from nanotally.sinks.migrate import migrate
from nanotally.sinks.record_rows import chunk_row
from nanotally.sinks.rows import take
from nanotally.sinks.warehouse import Position, Warehouse
from nanotally.sinks.writer import ClickHouseWarehouse
from nanotally.streams.errors import BrokenInvariant, NotFound, Transient
from tests.simulation.clickhouse import ClickHouseServer
from tests.simulation.warehouse import Link
from tests.simulation.world import Process, World
from tests.support.memory_warehouse import MemoryTables, MemoryWarehouse
from tests.support.services import ClickHouseAddress
from tests.support.sink_records import (
    NOON_US,
    charge,
    line,
    payout,
    raw_chunk,
    reject,
    rule_book,
    share,
    statement,
    tally,
)

MONTH_US = 31 * 86_400_000_000


class Subject(Protocol):
    """Makes warehouses over the same tables, and reads those."""

    def warehouse(self) -> Warehouse: ...

    def values(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """Sorted rows; times as whole microseconds."""
        ...

    def at_once(self, writes: Sequence[tuple[Warehouse, pa.RecordBatch]]) -> None:
        """Writes charges side by side, each again while it is refused for now."""
        ...


class InMemory:
    def __init__(self) -> None:
        self.tables = MemoryTables()

    def warehouse(self) -> Warehouse:
        return MemoryWarehouse(self.tables)

    def values(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        return sorted(tuple(row[name] for name in columns) for row in self.tables.rows(table))

    def at_once(self, writes: Sequence[tuple[Warehouse, pa.RecordBatch]]) -> None:
        in_threads(writes)


class InSimulation:
    """The real writer over the simulator's server, in a world without faults."""

    def __init__(self, native: bool = False) -> None:
        self.world = World(0)
        self.world.calm = True
        self.server = ClickHouseServer(self.world)
        self.process = Process(self.world, "sink", mortal=False)
        self.native = native

    def warehouse(self) -> SimulatedWarehouse:
        return SimulatedWarehouse(Link(self.process, self.server, self.native))

    def values(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        return sorted(tuple(row[name] for name in columns) for row in self.server.tables[table].rows)

    def at_once(self, writes: Sequence[tuple[Warehouse, pa.RecordBatch]]) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(*(insisting_link(w.link, b) for w, b in writes if isinstance(w, SimulatedWarehouse)))

        self.world.loop.run_until_complete(all_of_them())

    def close(self) -> None:
        self.world.ended = True
        self.world.loop.end()
        assert self.world.failed is None


async def insisting_link(link: Link, batch: pa.RecordBatch) -> None:
    while True:
        try:
            await link.elsewhere(link.warehouse.write, "charges", batch, "charges", 0)
        except Transient:
            await asyncio.sleep(0.05)
        else:
            return


class SimulatedWarehouse:
    """Calls that block until the world has gone on far enough."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def _made(self, action: Callable[..., Any], *arguments: Any) -> Any:
        return self.link.process.world.loop.run_until_complete(self.link.elsewhere(action, *arguments))

    def open(self, topic: str, partition: int) -> Position:
        found: Position = self._made(self.link.warehouse.open, topic, partition)
        return found

    def position(self, topic: str, partition: int) -> Position:
        found: Position = self._made(self.link.warehouse.position, topic, partition)
        return found

    def write(self, table: str, batch: pa.RecordBatch, topic: str, partition: int) -> None:
        self._made(self.link.warehouse.write, table, batch, topic, partition)

    def close(self) -> None:
        self._made(self.link.warehouse.close)


class InClickHouse:
    def __init__(self, address: Address) -> None:
        self.address = address
        self.made: list[ClickHouseWarehouse] = []
        self.clickhouse = ClickHouse(address)

    def warehouse(self) -> Warehouse:
        self.made.append(ClickHouseWarehouse(self.address))
        return self.made[-1]

    def values(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        types = dict(
            self.clickhouse.query(
                "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}",
                {"table": table},
            )
        )
        asked = [f"toUnixTimestamp64Micro({c})" if types[c].startswith("DateTime64(6") else f"`{c}`" for c in columns]
        return sorted(self.clickhouse.query(f"SELECT {', '.join(asked)} FROM {table}"))

    def at_once(self, writes: Sequence[tuple[Warehouse, pa.RecordBatch]]) -> None:
        in_threads(writes)

    def close(self) -> None:
        self.clickhouse.close()
        for warehouse in self.made:
            warehouse.close()


@pytest.fixture(
    params=[
        "memory",
        "simulated http",
        "simulated native",
        pytest.param("http", marks=pytest.mark.services),
        pytest.param("native", marks=pytest.mark.services),
    ]
)
def subject(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        yield InMemory()
        return
    if request.param.startswith("simulated"):
        simulated = InSimulation(native=request.param.endswith("native"))
        yield simulated
        simulated.close()
        return
    server: ClickHouseAddress = request.getfixturevalue("clickhouse")
    database: str = request.getfixturevalue("database")
    migrate(server.native, database)
    made = InClickHouse(Address(server.native, database, http=server.http if request.param == "http" else ""))
    yield made
    made.close()


def charges(offsets: Sequence[int], partition: int = 0) -> pa.RecordBatch:
    """Rows of charges at these offsets; each pays its offset in nanos."""
    chunk = raw_chunk("charges", [("Charge", charge(n, [line(n)])) for n in offsets], partition=partition)
    chunk.offsets[:] = offsets
    return take(chunk).rows[0].batch


def rows(topic: str, record: str, *fields: dict[str, Any]) -> dict[str, pa.RecordBatch]:
    taken = take(raw_chunk(topic, [(record, one) for one in fields]))
    return {some.table: some.batch for some in taken.rows}


def moved(warehouse: Warehouse, topic: str, partition: int, to: Position) -> None:
    warehouse.write("chunks", chunk_row(topic, partition, to, None, ()), topic, partition)


def test_a_partition_never_written_is_at_its_beginning(subject: Subject) -> None:
    assert subject.warehouse().open("charges", 0) == Position(0, 0)


def test_rows_are_there_as_they_were_written(subject: Subject) -> None:
    subject.warehouse().write("charges", charges([3, 4, 7]), "charges", 0)
    assert subject.values("charges", "kafka_offset", "paid_nanos", "payer", "booked_at") == [
        (3, 3, "p-1", NOON_US + 3_000_000),
        (4, 4, "p-1", NOON_US + 4_000_000),
        (7, 7, "p-1", NOON_US + 7_000_000),
    ]


def test_a_repeated_write_adds_nothing(subject: Subject) -> None:
    for _ in range(2):
        subject.warehouse().write("charges", charges([3, 4, 7]), "charges", 0)
    assert subject.values("charges", "kafka_offset") == [(3,), (4,), (7,)]


def test_an_overlapping_write_adds_what_is_not_there(subject: Subject) -> None:
    writer = subject.warehouse()
    writer.write("charges", charges([3, 4, 7]), "charges", 0)
    writer.write("charges", charges([1, 4, 6, 7, 9]), "charges", 0)
    assert subject.values("charges", "kafka_offset") == [(1,), (3,), (4,), (6,), (7,), (9,)]


def test_the_same_offset_of_another_partition_is_another_record(subject: Subject) -> None:
    writer = subject.warehouse()
    writer.write("charges", charges([3]), "charges", 0)
    writer.write("charges", charges([3], partition=1), "charges", 1)
    assert subject.values("charges", "kafka_partition", "kafka_offset") == [(0, 3), (1, 3)]


def test_all_rows_of_one_record_are_written_once(subject: Subject) -> None:
    made = rows("books", "RuleBook", rule_book())
    for _ in range(2):
        for table, batch in made.items():
            subject.warehouse().write(table, batch, "books", 0)
    assert subject.values("tariffs", "tariff", "version", "kafka_offset") == [("media", 1, 0), ("media", 2, 0)]
    assert subject.values("books", "book_number", "published_at") == [(0, NOON_US)]


def test_two_writers_at_the_same_time_write_each_record_once(subject: Subject) -> None:
    batches = [charges(range(start, start + 40)) for start in (0, 20, 0, 20)]
    subject.at_once([(subject.warehouse(), batch) for batch in batches])
    assert subject.values("charges", "kafka_offset") == [(offset,) for offset in range(60)]


def in_threads(writes: Sequence[tuple[Warehouse, pa.RecordBatch]]) -> None:
    threads = [threading.Thread(target=insisting, args=one) for one in writes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def insisting(warehouse: Warehouse, batch: pa.RecordBatch) -> None:
    from nanotally.sinks.client import patiently

    patiently(lambda: warehouse.write("charges", batch, "charges", 0), "writing")


def test_rows_of_more_than_a_hundred_months_are_written(subject: Subject) -> None:
    times = [NOON_US - n * MONTH_US for n in range(230)]
    made = [charge(n, [line(n)], booked_at=at) for n, at in enumerate(times)]
    batch = rows("charges", "Charge", *made)["charges"]
    subject.warehouse().write("charges", batch, "charges", 0)
    assert subject.values("charges", "kafka_offset", "booked_at") == list(enumerate(times))


def test_no_rows_are_no_trouble(subject: Subject) -> None:
    subject.warehouse().write("charges", charges([3]).slice(0, 0), "charges", 0)
    assert subject.values("charges", "kafka_offset") == []


def test_the_position_is_where_the_newest_chunks_row_says(subject: Subject) -> None:
    writer = subject.warehouse()
    moved(writer, "charges", 0, Position(8, 7))
    moved(writer, "charges", 0, Position(12, 10))
    moved(writer, "charges", 1, Position(99, 98))
    moved(writer, "statements", 0, Position(3, 3))
    assert subject.warehouse().open("charges", 0) == Position(12, 10)
    assert subject.warehouse().position("statements", 0) == Position(3, 3)


def test_a_late_row_of_a_dead_writer_does_not_move_the_position_back(subject: Subject) -> None:
    moved(subject.warehouse(), "charges", 0, Position(12, 10))
    moved(subject.warehouse(), "charges", 0, Position(8, 7))
    assert subject.warehouse().position("charges", 0) == Position(12, 10)


def test_a_position_written_twice_is_there_once(subject: Subject) -> None:
    for _ in range(2):
        moved(subject.warehouse(), "charges", 0, Position(12, 10))
    assert subject.values("chunks", "topic", "kafka_offset", "records") == [("charges", 11, 10)]


def test_the_same_offset_of_another_topic_is_another_position(subject: Subject) -> None:
    for topic in ("charges", "statements"):
        moved(subject.warehouse(), topic, 0, Position(12, 10))
    assert subject.values("chunks", "topic", "kafka_offset") == [("charges", 11), ("statements", 11)]


def test_money_beyond_64_bits_keeps_every_nano(subject: Subject) -> None:
    digits = "12345678901234567890123456789123456789"
    batch = rows("payer_tallies", "Tally", tally(amount_nanos=digits), tally(amount_nanos="-1", quantity=digits))
    subject.warehouse().write("payer_tallies", batch["payer_tallies"], "payer_tallies", 0)
    amounts = subject.values("payer_tallies", "kafka_offset", "amount", "quantity")
    assert [(offset, str(amount), str(quantity)) for offset, amount, quantity in amounts] == [
        (0, "12345678901234567890123456789.123456789", "2"),
        (1, "-1E-9", digits),
    ]


def test_bytes_of_a_reject_come_back_as_they_were(subject: Subject) -> None:
    value = bytes(range(256))
    batch = rows("rejects", "Reject", reject(value=value, key=None), reject(value=None, key=b"\xff"))["rejects"]
    subject.warehouse().write("rejects", batch, "rejects", 0)
    assert subject.values("rejects", "kafka_offset", "key", "value") == [(0, None, value), (1, b"\xff", None)]


def test_lists_keep_their_order_and_their_holes(subject: Subject) -> None:
    two = [
        line(5, [share("platform", 1), share("creator:ana", 4)]),
        line(7, [share("pool:day", 7)], **{"pass": "day"}),
    ]
    batch = rows("charges", "Charge", charge(0, two), charge(1, outcome="refused", reason="max_price"))["charges"]
    subject.warehouse().write("charges", batch, "charges", 0)
    asked = ("kafka_offset", "lines.paid_nanos", "lines.pass", "shares.line", "shares.account", "shares.nanos")
    assert [tuple(map(plain, row)) for row in subject.values("charges", *asked)] == [
        (0, [5, 7], ["", "day"], [0, 0, 1], ["platform", "creator:ana", "pool:day"], [1, 4, 7]),
        (1, [], [], [], [], []),
    ]


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def test_statements_and_payouts_are_written_with_their_periods(subject: Subject) -> None:
    writer = subject.warehouse()
    writer.write("statements", rows("statements", "Statement", statement())["statements"], "statements", 0)
    writer.write("payouts", rows("payouts", "Payout", payout())["payouts"], "payouts", 0)
    day = (NOON_US - MONTH_US // 62, NOON_US + MONTH_US // 62)
    assert subject.values("statements", "payer", "period_start", "period_end", "uses") == [("p-1", *day, 2)]
    assert subject.values("payouts", "account", "period_start", "period_end", "uses") == [("creator:ana", *day, 2)]


def test_a_table_that_is_not_there_is_named(subject: Subject) -> None:
    with pytest.raises(NotFound, match="nosuch"):
        subject.warehouse().write("nosuch", charges([1]), "charges", 0)


def refused_by_clickhouse(subject: Subject, act: Callable[[], None], message: str) -> None:
    if isinstance(subject, (InClickHouse, InSimulation)):
        with pytest.raises(BrokenInvariant, match=message):
            act()


def test_a_charge_whose_shares_do_not_sum_is_refused_by_clickhouse(subject: Subject) -> None:
    batch = rows("charges", "Charge", charge(0, [line(5, [share("platform", 4)])]))["charges"]
    refused_by_clickhouse(subject, lambda: subject.warehouse().write("charges", batch, "charges", 0), "shares_sum.*")
