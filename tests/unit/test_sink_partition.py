"""A partition of the sink over a warehouse in memory: exactness, waiting, giving back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest

from nanotally.schemas import codec
from nanotally.sinks.rows import take
from nanotally.sinks.sink import REST_MANY_S, REST_MAX_S, REST_MIN_S, ROWS_FULL, ROWS_MANY, SinkPartition
from nanotally.sinks.warehouse import Position
from nanotally.streams.domain.records import RawChunk
from nanotally.streams.errors import BrokenInvariant, Transient
from tests.support.clock import HandClock
from tests.support.memory_warehouse import MemoryTables, MemoryWarehouse
from tests.support.sink_records import NOON_US, charge, chunk, control_taken, line, raw_chunk, statement

RECORDS: list[tuple[str, dict[str, Any]]] = [
    ("ControlTaken", control_taken()),
    ("Charge", charge(1, [line(10)])),
    ("Charge", charge(2, [line(20)])),
    ("Chunk", chunk(watermark_us=NOON_US, duplicates=[3])),
    ("Charge", charge(4, [line(40)])),
    ("Chunk", chunk(watermark_us=NOON_US + 5, duplicates=[5])),
]
LEDGER = raw_chunk("charges", RECORDS)


async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """A blocking call in place, so that nothing depends on threads."""
    return function(*arguments)


def partition(warehouse: MemoryWarehouse, clock: HandClock | None = None, topic: str = "charges") -> SinkPartition:
    return SinkPartition(topic, 0, warehouse, clock=clock or HandClock(), elsewhere=at_once)


async def sunk(warehouse: MemoryWarehouse, chunks: Sequence[RawChunk]) -> SinkPartition:
    sink = partition(warehouse)
    await sink.open()
    for some in chunks:
        await sink.process(some)
    return sink


def data(tables: MemoryTables) -> dict[str, list[dict[str, Any]]]:
    return {name: list(tables.rows(name)) for name in tables.tables if name != "chunks"}


UNDISTURBED = MemoryWarehouse()
asyncio.run(sunk(UNDISTURBED, [LEDGER]))


def test_the_position_is_written_after_the_rows_it_speaks_of() -> None:
    warehouse = MemoryWarehouse()
    sink = asyncio.run(sunk(warehouse, [LEDGER]))
    assert warehouse.writes == [("charges", 3), ("controls", 1), ("chunks", 1)]
    assert sink.position == 6
    (row,) = warehouse.tables.rows("chunks")
    assert (row["kafka_offset"], row["records"], row["chunk_offset"]) == (5, 4, 5)
    assert (row["watermark_us"], row["duplicates"]) == (NOON_US + 5, [3, 5])


def test_records_before_the_position_are_left_out() -> None:
    warehouse = MemoryWarehouse()
    asyncio.run(sunk(warehouse, [LEDGER.part(0, 4), LEDGER, LEDGER]))
    assert warehouse.writes[3:] == [("charges", 1), ("chunks", 1)]
    assert data(warehouse.tables) == data(UNDISTURBED.tables)


def test_records_are_counted_on_from_where_the_former_owner_was() -> None:
    tables = MemoryTables()
    for end in (2, 5, 6):
        asyncio.run(sunk(MemoryWarehouse(tables), [LEDGER.part(0, end)]))
    assert [(row["kafka_offset"], row["records"]) for row in tables.rows("chunks")] == [(1, 2), (4, 4), (5, 4)]


def test_a_write_without_chunk_record_moves_the_position_alone() -> None:
    warehouse = MemoryWarehouse()
    sink = asyncio.run(sunk(warehouse, [LEDGER.part(0, 3)]))
    (row,) = warehouse.tables.rows("chunks")
    assert (row["chunk_offset"], row["stage"], row["counts"]) == (-1, "", {})
    assert sink.position == 3


@pytest.mark.parametrize("answer", ["refused", "lost"])
@pytest.mark.parametrize("number", range(3))
def test_a_passing_fault_is_waited_out_wherever_it_comes(number: int, answer: str) -> None:
    warehouse, clock = MemoryWarehouse(), HandClock()
    faults: list[BaseException] = [Transient("ClickHouse is away")] * 4

    async def scenario() -> SinkPartition:
        sink = partition(warehouse, clock)
        await sink.open()

        def fault() -> None:
            if len(warehouse.writes) == number and faults:
                (warehouse.faults if answer == "refused" else warehouse.lost).append(faults.pop())

        warehouse.before = fault
        await sink.process(LEDGER)
        return sink

    sink = asyncio.run(scenario())
    assert data(warehouse.tables) == data(UNDISTURBED.tables)
    assert clock.slept[:4] == [0.05, 0.1, 0.2, 0.4]
    assert (sink.position, sink.waiting_for, sink.figures()["retries"]) == (6, "", 4)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(3))
def test_a_writer_that_dies_at_any_write_leaves_nothing_lost_or_twice(number: int, after: bool) -> None:
    """The next owner reads other chunks: all that counts is what is in the tables."""
    tables = MemoryTables()
    warehouse = MemoryWarehouse(tables)

    def die() -> None:
        if len(warehouse.writes) == number:
            (warehouse.lost if after else warehouse.faults).append(KeyboardInterrupt())

    warehouse.before = die
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(sunk(warehouse, [LEDGER]))
    successor = MemoryWarehouse(tables)
    start = successor.position("charges", 0).next_offset
    asyncio.run(sunk(successor, [LEDGER.since(start).part(0, 2), LEDGER]))
    assert data(tables) == data(UNDISTURBED.tables)
    assert successor.position("charges", 0).records == 4


def closed_while_away(act: Callable[[SinkPartition], Awaitable[Any]]) -> tuple[SinkPartition, MemoryWarehouse]:
    """Does something while ClickHouse stays away, sees that it waits, gives the partition back."""
    warehouse = MemoryWarehouse()

    class Standing(HandClock):
        """A wait that ends by being given back alone."""

        async def sleep(self, seconds: float) -> None:
            await asyncio.Event().wait()

    async def scenario() -> SinkPartition:
        sink = SinkPartition("charges", 0, warehouse, clock=Standing(), elsewhere=at_once)
        warehouse.faults = [Transient("ClickHouse at here:9000 cannot be reached")]
        running = asyncio.ensure_future(act(sink))
        while not sink.waiting_for:
            await asyncio.sleep(0)
        assert "here:9000" in sink.waiting_for
        await sink.close()
        await running
        return sink

    return asyncio.run(scenario()), warehouse


def test_giving_back_ends_the_wait_and_leaves_the_position() -> None:
    sink, warehouse = closed_while_away(lambda sink: sink.process(LEDGER))
    assert (sink.position, warehouse.closed, warehouse.writes) == (0, True, [])


def test_giving_back_ends_the_wait_for_opening_too() -> None:
    sink, warehouse = closed_while_away(lambda sink: sink.open())
    assert (sink.position, warehouse.closed) == (0, True)


def test_giving_back_leaves_the_connection_alone_until_opening_is_done_with_it() -> None:
    """A rebalance on the heels of another: the driver cannot bear to be closed by one thread while another connects."""
    warehouse, order = MemoryWarehouse(), list[str]()

    async def scenario() -> None:
        connecting, connected = asyncio.Event(), asyncio.Event()

        async def elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
            order.append(f"{function.__name__} begins")
            if function.__name__ == "open":
                connecting.set()
                await connected.wait()
            found = function(*arguments)
            order.append(f"{function.__name__} ends")
            return found

        sink = SinkPartition("charges", 0, warehouse, clock=HandClock(), elsewhere=elsewhere)
        opening = asyncio.create_task(sink.open())
        await connecting.wait()
        closing = asyncio.create_task(sink.close())
        for _ in range(10):  # as far as it gets
            await asyncio.sleep(0)
        connected.set()
        await asyncio.gather(opening, closing)

    asyncio.run(scenario())
    assert order == ["open begins", "open ends", "close begins", "close ends"]


def test_a_connection_is_left_alone_also_by_who_gives_back_what_was_cancelled_while_it_opened() -> None:
    """As lanes do in a rebalance: the thread that connects is not cancelled with the task that waits for it."""
    order, connecting, connected = list[str](), threading.Event(), threading.Event()

    class Slow(MemoryWarehouse):
        def open(self, topic: str, partition: int) -> Position:
            connecting.set()
            assert connected.wait(60)
            order.append("opened")
            return Position()

        def close(self) -> None:
            order.append("closed")

    async def scenario() -> None:
        sink = SinkPartition("charges", 0, Slow(), clock=HandClock())
        opening = asyncio.create_task(sink.open())
        assert await asyncio.to_thread(connecting.wait, 60)
        for _ in range(2):  # to be cancelled once more changes nothing
            opening.cancel()
            await asyncio.sleep(0)
        closing = asyncio.create_task(sink.close())
        await asyncio.wait([closing], timeout=0.5)  # as far as it gets
        connected.set()
        await asyncio.gather(opening, closing, return_exceptions=True)
        assert opening.cancelled()

    asyncio.run(scenario())
    assert order == ["opened", "closed"]


def test_opening_waits_until_clickhouse_answers() -> None:
    warehouse, clock = MemoryWarehouse(), HandClock()
    warehouse.faults = [Transient("away")] * 3
    assert asyncio.run(partition(warehouse, clock).open()) == 0
    assert clock.slept == [0.05, 0.1, 0.2]


def test_after_a_small_write_it_rests_and_after_a_large_one_it_does_not() -> None:
    clock = HandClock()

    async def scenario() -> None:
        sink = partition(MemoryWarehouse(), clock)
        await sink.open()
        await sink.process(LEDGER)
        assert clock.slept == [REST_MIN_S]
        offsets = np.arange(6, 6 + ROWS_FULL)
        values = [LEDGER.values[1]] * ROWS_FULL
        await sink.process(RawChunk("charges", 0, offsets, offsets, [None] * ROWS_FULL, values))
        assert clock.slept == [REST_MIN_S]

    asyncio.run(scenario())


def test_the_rest_is_in_proportion_to_what_writing_took_up_to_a_limit() -> None:
    clock = HandClock()
    warehouse = MemoryWarehouse()

    async def scenario(seconds: float, rows: int = 1) -> float:
        warehouse.before = lambda: clock.turn(seconds / 2)
        sink = partition(warehouse, clock, "statements")
        first = await sink.open()
        value = codec.encode_one("Statement", statement())
        offsets = np.arange(first, first + rows)
        await sink.process(RawChunk("statements", 0, offsets, offsets, [None] * rows, [value] * rows))
        return clock.slept[-1]

    assert asyncio.run(scenario(0.05)) == pytest.approx(0.4)
    assert asyncio.run(scenario(3.0)) == REST_MAX_S
    assert asyncio.run(scenario(3.0, ROWS_MANY - 1)) == REST_MAX_S
    assert asyncio.run(scenario(3.0, ROWS_MANY)) == REST_MANY_S  # larger inserts cost less


def test_a_record_that_no_stage_writes_ends_it() -> None:
    warehouse = MemoryWarehouse()
    with pytest.raises(BrokenInvariant, match="holds a Statement"):
        asyncio.run(sunk(warehouse, [raw_chunk("charges", [("Statement", statement())])]))
    assert warehouse.writes == []


def test_figures_tell_what_was_done() -> None:
    sink = asyncio.run(sunk(MemoryWarehouse(), [LEDGER]))
    figures = sink.figures()
    assert (figures["records"], figures["chunks"], figures["rows"], figures["watermark_us"]) == (6, 1, 5, NOON_US + 5)
    assert sink.account("payer:p-1") is None


def test_what_is_taken_from_the_ledger_does_not_depend_on_chunks() -> None:
    whole = take(LEDGER)
    for cut in range(1, len(LEDGER)):
        parts = [take(LEDGER.part(0, cut)), take(LEDGER.part(cut, len(LEDGER)))]
        assert sum(part.records for part in parts) == whole.records
        warehouse = MemoryWarehouse()
        asyncio.run(sunk(warehouse, [LEDGER.part(0, cut), LEDGER.part(cut, len(LEDGER))]))
        assert data(warehouse.tables) == data(UNDISTURBED.tables)


@pytest.mark.parametrize(
    ("held", "position"),
    [
        ((0, 6), 6),
        ((0, 9), 6),
        ((6, 6), 6),
        ((7, 7), 7),  # what is gone is the mark of the last transaction, and nothing else can have been there
    ],
)
def test_it_begins_at_its_position_where_the_topic_still_holds_it(held: tuple[int, int], position: int) -> None:
    assert asyncio.run(opened_within(*held)).position == position


@pytest.mark.parametrize("held", [(7, 9), (8, 8), (0, 5)])
def test_records_that_were_deleted_before_they_were_written_are_a_broken_invariant(held: tuple[int, int]) -> None:
    with pytest.raises(BrokenInvariant, match=r"sink charges\[0\] is at offset 6, but the topic holds"):
        asyncio.run(opened_within(*held))


async def opened_within(first: int, end: int) -> SinkPartition:
    """A sink that has written LEDGER and opens over a topic that holds so much."""
    tables = MemoryTables()
    await sunk(MemoryWarehouse(tables), [LEDGER])

    async def bounds() -> tuple[int, int]:
        return first, end

    sink = SinkPartition("charges", 0, MemoryWarehouse(tables), clock=HandClock(), elsewhere=at_once, bounds=bounds)
    await sink.open()
    return sink
