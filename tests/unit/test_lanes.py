"""Lanes: what is fetched is taken in order, in chunks, and handed back whole when the partition goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from faust.types import TP

from nanotally.streams.domain.records import RawChunk
from nanotally.streams.errors import Transient
from nanotally.streams.pipeline import lanes as lanes_module
from nanotally.streams.pipeline.lanes import Lanes
from nanotally.streams.pipeline.stage import PartitionWorker, Stage
from nanotally.streams.pipeline.transport import Fetched

ZERO, ONE = TP("p-usage", 0), TP("p-usage", 1)


@dataclass
class Record:
    """As aiokafka gives it."""

    offset: int
    timestamp: int = 5
    key: bytes | None = None
    value: bytes | None = b""


class FakeWorker:
    """Notes what happens to it; takes a chunk when `go` is set."""

    def __init__(self, partition: int, happened: list[str]) -> None:
        self.partition = partition
        self.happened = happened
        self.position = 0
        self.is_open = False
        self.waiting_for = ""
        self.go = asyncio.Event()
        self.go.set()
        self.chunks: list[list[int]] = []
        self.error: Exception | None = None

    async def open(self) -> int:
        self.happened.append(f"open {self.partition}")
        await self.go.wait()
        if self.error:
            raise self.error
        self.happened.append(f"opened {self.partition}")
        self.is_open = True
        return self.position

    async def process(self, chunk: RawChunk) -> None:
        if not self.is_open:
            raise ValueError("given a chunk before it was open")
        await self.go.wait()
        if self.error:
            raise self.error
        self.chunks.append(chunk.offsets.tolist())
        self.position = int(chunk.offsets[-1]) + 1

    async def close(self) -> None:
        self.happened.append(f"closed {self.partition}")
        self.go.set()

    def figures(self) -> Mapping[str, float]:
        return {}

    def account(self, account: str) -> dict[str, Any] | None:
        return None


class World:
    def __init__(self) -> None:
        self.happened: list[str] = []
        self.workers: dict[int, FakeWorker] = {}
        self.left: list[BaseException] = []
        self.lanes = Lanes(
            Stage("payers", ("usage",), self.make),
            "p-",
            hold=lambda tp: self.happened.append(f"hold {tp.partition}"),
            release=lambda tp: self.happened.append(f"release {tp.partition}"),
            leave=self.left.append,
        )
        self.slow_opening = False

    async def make(self, topic: str, partition: int) -> PartitionWorker:
        assert topic == "usage"
        worker = self.workers[partition] = FakeWorker(partition, self.happened)
        if self.slow_opening:
            worker.go.clear()
        return worker

    def put(self, tp: TP, first: int, end: int) -> None:
        self.put_records(tp, *(Record(offset) for offset in range(first, end)))

    def put_records(self, tp: TP, *records: Record) -> None:
        self.lanes.put(tp, Fetched(records, records[0].offset, records[-1].offset + 1))

    async def idle(self) -> None:
        while not all(lane.idle for lane in self.lanes.all()):
            await asyncio.sleep(0)


def run(scenario: Callable[[World], Coroutine[Any, Any, None]]) -> World:
    async def main() -> World:
        world = World()
        await scenario(world)
        return world

    return asyncio.run(main())


def test_fetches_that_queue_up_are_merged_into_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "CHUNK_RECORDS", 6)

    async def scenario(world: World) -> None:
        await world.lanes.open([ZERO])
        world.workers[0].go.clear()
        for first in (0, 2, 4, 6):
            world.put(ZERO, first, first + 2)
            await asyncio.sleep(0)  # the first one is in hand when the others come
        world.workers[0].go.set()
        await world.idle()
        assert world.workers[0].chunks == [[0, 1], [2, 3, 4, 5, 6, 7]]

    run(scenario)


def test_a_chunk_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "CHUNK_BYTES", 250)

    async def scenario(world: World) -> None:
        await world.lanes.open([ZERO])
        world.workers[0].go.clear()
        for offset in range(4):
            world.put_records(ZERO, Record(offset, value=b"x" * 100))
        world.put_records(ZERO, Record(4, value=b"x" * 1000))  # one record larger than that is a chunk of its own
        world.workers[0].go.set()
        await world.idle()
        assert world.workers[0].chunks == [[0, 1], [2, 3], [4]]
        assert world.happened[-2:] == ["hold 0", "release 0"]

    run(scenario)


def test_partitions_do_not_wait_for_each_other() -> None:
    async def scenario(world: World) -> None:
        await world.lanes.open([ZERO, ONE])
        world.workers[0].go.clear()
        world.put(ZERO, 0, 3)
        world.put(ONE, 0, 3)
        while not world.workers[1].chunks:
            await asyncio.sleep(0)
        assert world.workers[0].chunks == []
        assert world.lanes.positions([ZERO, ONE]) == {ZERO: 0, ONE: 3}

    run(scenario)


def test_a_partition_that_falls_behind_is_left_out_of_the_fetches_until_half_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes_module, "CHUNK_RECORDS", 2)
    monkeypatch.setattr(lanes_module, "HOLD", 4)

    async def scenario(world: World) -> None:
        await world.lanes.open([ZERO])
        world.workers[0].go.clear()
        for first in range(0, 12, 2):
            world.put(ZERO, first, first + 2)
        assert world.happened.count("hold 0") == 1
        assert "release 0" not in world.happened
        world.workers[0].go.set()
        await world.idle()
        assert world.happened.count("release 0") == 1
        assert sum(len(chunk) for chunk in world.workers[0].chunks) == 12

    run(scenario)


def test_closing_lets_the_chunk_in_hand_end_and_drops_the_rest() -> None:
    async def scenario(world: World) -> None:
        await world.lanes.open([ZERO])
        worker = world.workers[0]
        worker.go.clear()
        world.put(ZERO, 0, 2)
        await asyncio.sleep(0)
        world.put(ZERO, 2, 4)
        await world.lanes.close()
        assert worker.chunks == [[0, 1]]
        world.put(ZERO, 4, 6)  # a fetch that came too late
        assert world.lanes.all() == []
        assert world.lanes.positions([ZERO]) == {}

    run(scenario)


def test_a_rebalance_during_a_long_opening_gives_everything_back_first() -> None:
    async def scenario(world: World) -> None:
        world.slow_opening = True
        opening = asyncio.create_task(world.lanes.open([ZERO]))
        while world.happened != ["open 0"]:
            await asyncio.sleep(0)
        await world.lanes.close()
        await opening
        world.slow_opening = False
        await world.lanes.open([ONE])
        assert world.happened == ["open 0", "closed 0", "open 1", "opened 1"]
        assert world.lanes.find("usage", 0) is None
        assert world.lanes.find("usage", 1) is not None

    world = run(scenario)
    assert world.left == []


def test_what_is_fetched_before_the_partition_is_open_waits_until_it_is() -> None:
    """As it happens when one rebalance comes on the heels of another."""

    async def scenario(world: World) -> None:
        world.slow_opening = True
        opening = asyncio.create_task(world.lanes.open([ZERO]))
        while world.happened != ["open 0"]:
            await asyncio.sleep(0)
        world.workers[0].position = 4
        world.put(ZERO, 3, 6)
        world.put(ZERO, 6, 7)
        await asyncio.sleep(0)
        assert world.workers[0].chunks == []
        world.workers[0].go.set()
        await opening
        await world.idle()
        assert world.workers[0].chunks == [[3, 4, 5, 6]], "the worker itself leaves out what it has"

    assert run(scenario).left == []


def test_a_record_that_is_fetched_again_is_taken_once() -> None:
    """As when the consumer is told its position after fetches have begun to flow."""

    async def scenario(world: World) -> None:
        await world.lanes.open([ZERO])
        world.put(ZERO, 0, 4)
        world.put(ZERO, 2, 6)
        world.put(ZERO, 1, 5)
        await world.idle()
        assert [offset for chunk in world.workers[0].chunks for offset in chunk] == [0, 1, 2, 3, 4, 5]

    run(scenario)


def test_offsets_without_a_record_are_no_gap() -> None:
    """Marks of transactions, and what was aborted or compacted."""

    async def scenario(world: World) -> None:
        await world.lanes.open([ZERO])
        for begins, offsets, ends in ((0, [1, 4], 6), (6, [9], 10), (10, [10], 11)):
            world.lanes.put(ZERO, Fetched([Record(offset) for offset in offsets], begins, ends))
            await world.idle()
        assert world.workers[0].chunks == [[1, 4], [9], [10]]

    assert run(scenario).left == []


@pytest.mark.parametrize("before", [[(0, 3)], [(0, 2), (2, 3)], []])
def test_who_is_handed_records_with_some_missing_before_them_leaves_and_takes_none(
    before: list[tuple[int, int]],
) -> None:
    """Else they would be left out in silence: the position goes past them."""

    async def scenario(world: World) -> None:
        await world.lanes.open([ZERO])
        for first, end in before:
            world.put(ZERO, first, end)
        world.put(ZERO, 5, 7)
        await world.idle()
        assert [offset for chunk in world.workers[0].chunks for offset in chunk] == [
            *range(before[-1][1] if before else 0)
        ]

    (left,) = run(scenario).left
    assert isinstance(left, Transient)
    assert f"usage[0] begins at offset 5, but {3 if before else 0} comes next" in str(left)


@pytest.mark.parametrize(("position", "fetches"), [(2, [(3, 6)]), (4, [(3, 6), (7, 8)])])
def test_what_is_fetched_before_the_opening_has_none_missing_either(
    position: int, fetches: list[tuple[int, int]]
) -> None:
    """As where somebody has set the group's offset by hand, beyond what is done."""

    async def scenario(world: World) -> None:
        world.slow_opening = True
        opening = asyncio.create_task(world.lanes.open([ZERO]))
        while world.happened != ["open 0"]:
            await asyncio.sleep(0)
        world.workers[0].position = position
        for first, end in fetches:
            world.put(ZERO, first, end)
        world.workers[0].go.set()
        await opening
        await world.idle()

    (left,) = run(scenario).left
    assert "comes next; the worker begins again at" in str(left)


def test_any_error_while_a_chunk_is_taken_ends_the_process() -> None:
    async def scenario(world: World) -> None:
        await world.lanes.open([ZERO])
        world.workers[0].error = ValueError("no such thing")
        world.put(ZERO, 0, 1)
        await world.idle()

    assert [str(error) for error in run(scenario).left] == ["no such thing"]


def test_any_error_while_a_partition_is_opened_ends_the_process() -> None:
    async def scenario(world: World) -> None:
        world.slow_opening = True
        opening = asyncio.create_task(world.lanes.open([ZERO, ONE]))
        while len(world.workers) < 2:
            await asyncio.sleep(0)
        world.workers[1].error = ValueError("cannot open")
        world.workers[1].go.set()
        await opening

    assert [str(error) for error in run(scenario).left] == ["cannot open"]


def test_the_brokers_milliseconds_become_microseconds() -> None:
    async def scenario(world: World) -> None:
        await world.lanes.open([ZERO])
        taken: list[RawChunk] = []

        async def process(chunk: RawChunk) -> None:
            taken.append(chunk)

        world.workers[0].process = process  # type: ignore[method-assign]
        world.workers[0].position = 7
        world.put_records(ZERO, Record(7, 1_700_000_000_123, b"ana", b"v"), Record(9, 1_700_000_000_124))
        await world.idle()
        (chunk,) = taken
        assert (chunk.topic, chunk.partition, chunk.offsets.tolist()) == ("usage", 0, [7, 9])
        assert chunk.recorded_at_us.tolist() == [1_700_000_000_123_000, 1_700_000_000_124_000]
        assert (chunk.keys, chunk.values) == ([b"ana", None], [b"v", b""])

    run(scenario)
