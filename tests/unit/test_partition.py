"""One partition of a stage, over a broker in memory: what is done once stays done once, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanotally.schemas import codec
from nanotally.streams.domain.records import Emission
from nanotally.streams.domain.tariff import RuleBook, Settings
from nanotally.streams.errors import BrokenInvariant, InvalidInput, Transient
from nanotally.streams.pipeline import partition as partition_module
from nanotally.streams.pipeline.books import Books
from nanotally.streams.pipeline.broker import Taken
from nanotally.streams.pipeline.limit import RejectLimit
from nanotally.streams.pipeline.partition import StagePartition
from nanotally.streams.pipeline.store import Labels, MemoryStore, NotSaved, Snapshot, Store
from tests.support.clock import HandClock
from tests.support.memory_broker import Entry, MemoryBroker, MemoryTransactions
from tests.support.toy_logic import TOPICS, ToyLogic, ToyOfInput, numbers


class World:
    """A broker, a clock and a store; partitions of the toy stage come and go in it."""

    def __init__(self, rejects_per_minute: int = 1000, kind: type[ToyLogic] = ToyLogic) -> None:
        self.broker = MemoryBroker(TOPICS)
        self.clock = HandClock()
        self.store = MemoryStore()
        self.kind = kind
        self.logic = kind(0)
        self._rejects = RejectLimit(rejects_per_minute, self.clock)

    def partition(self, store: Store | None = None) -> StagePartition:
        """A fresh one, as a process makes it that takes the partition over."""
        self.logic = self.kind(0)
        return StagePartition(
            self.logic,
            0,
            broker=self.broker,
            store=store or self.store,
            books=Books(self.broker, self.clock),
            rejects=self._rejects,
            clock=self.clock,
        )

    async def opened(self, store: Store | None = None) -> StagePartition:
        partition = self.partition(store)
        await partition.open()
        return partition

    def publish(self, *values: bytes) -> None:
        self.broker.append("usage", 0, values)

    def chunk(self, start: int = 0, records: int = 1000) -> Any:
        return self.broker.fetch("usage", 0, start, records)

    def written(self) -> list[tuple[int, int]]:
        """(offset, n) of the committed lines."""
        return numbers(self.broker.values("charges", 0))


def run(scenario: Callable[[World], Any], world: World | None = None) -> None:
    asyncio.run(scenario(world or World()))


def book_record(number_of_books: int = 1) -> list[bytes]:
    """Records of topic `books`: empty rule books."""
    book = RuleBook(0, Settings(), ())
    record = {
        "book_hash": book.book_hash,
        "published_at": 0,
        "note": "",
        "settings": '{"horizon_us":86400000000,"lateness_us":60000000,"semantics":1,"settlement":"day",'
        '"skew_us":120000000,"thresholds":{},"windows":["hour","day","month"],"zone":"UTC"}',
        "tariffs": [],
    }
    return [codec.encode_one("RuleBook", record)] * number_of_books


def test_a_stage_begins_at_zero_where_nothing_was_ever_written() -> None:
    async def scenario(world: World) -> None:
        world.publish(b"a", b"b", b"c")
        partition = await world.opened()
        assert partition.position == 0
        await partition.process(world.chunk())
        assert partition.position == 3
        assert world.written() == [(0, 1), (1, 2), (2, 3)]

    run(scenario)


def test_another_process_goes_on_where_the_last_chunk_record_says() -> None:
    async def scenario(world: World) -> None:
        world.publish(b"a", b"b", b"c")
        await (await world.opened()).process(world.chunk(records=2))
        later = await world.opened()
        assert later.position == 2
        await later.process(world.chunk(2))
        assert world.written() == [(0, 1), (1, 2), (2, 3)]

    run(scenario)


def test_records_below_the_position_are_left_out() -> None:
    async def scenario(world: World) -> None:
        world.publish(b"a", b"b", b"c")
        partition = await world.opened()
        await partition.process(world.chunk(records=2))
        await partition.process(world.chunk())  # the fetch was repeated
        await partition.process(world.chunk(records=1))
        assert world.written() == [(0, 1), (1, 2), (2, 3)]
        assert partition.figures()["chunks"] == 2

    run(scenario)


@pytest.mark.parametrize("moment", ["produce", "commit", "answer"])
def test_a_transaction_that_fails_at_any_moment_is_done_once_by_the_next_process(moment: str) -> None:
    async def scenario(world: World) -> None:
        world.publish(b"a", b"b", b"c", b"d")
        partition = await world.opened()
        await partition.process(world.chunk(records=2))
        world.broker.fail_at = moment
        with pytest.raises(Transient):
            await partition.process(world.chunk(2))
        await partition.close()  # must not keep a state that the log may not have
        later = await world.opened()
        assert later.position == (4 if moment == "answer" else 2)
        await later.process(world.chunk(2))
        assert world.written() == [(0, 1), (1, 2), (2, 3), (3, 4)]

    run(scenario)


def test_a_zombie_writes_nothing_after_its_successor_opened() -> None:
    async def scenario(world: World) -> None:
        world.publish(b"a", b"b")
        zombie = await world.opened()
        later = await world.opened()
        with pytest.raises(Transient, match="taken over"):
            await zombie.process(world.chunk())
        await later.process(world.chunk())
        assert world.written() == [(0, 1), (1, 2)]

    run(scenario)


@pytest.mark.parametrize("kind", [ToyLogic, ToyOfInput])
@pytest.mark.parametrize("sees_what_is_saved", [True, False])
def test_who_is_overtaken_while_opening_says_so_and_finds_no_fault(
    kind: type[ToyLogic], sees_what_is_saved: bool
) -> None:
    """It stood still for longer than the session timeout, just behind its look for the last chunk record. Its successor
    writes, and saves what it has come to, perhaps where both look: in a folder of checkpoints."""

    async def scenario(world: World) -> None:
        world.publish(b"a", b"b", b"c")
        await (await world.opened(MemoryStore())).process(world.chunk(records=1))
        late = world.partition(world.store if sees_what_is_saved else MemoryStore())
        describe = world.broker.describe

        async def after_a_while(topic: str) -> Any:
            world.broker.describe = describe  # type: ignore[method-assign]
            successor = await world.opened()
            await successor.process(world.chunk(1, 1))
            await successor.close()
            return await describe(topic)

        world.broker.describe = after_a_while  # type: ignore[method-assign]
        with pytest.raises(Transient, match="taken over"):
            await late.open()
            await late.process(world.chunk(1))
        await (await world.opened()).process(world.chunk(2))
        assert world.written() == [(0, 1), (1, 2), (2, 3)]

    run(scenario, World(kind=kind))


def test_the_state_is_the_same_from_the_log_alone_and_from_a_snapshot() -> None:
    async def scenario(world: World) -> None:
        world.publish(*[b"x"] * 50)
        first = await world.opened()
        await first.process(world.chunk(records=30))
        await first.close()
        assert world.store.snapshot is not None
        second = await world.opened()
        assert (world.logic.n, world.logic.restored) == (30, True)
        assert second.figures()["folded"] == 0
        await second.process(world.chunk(30))
        third = await world.opened(MemoryStore())  # on another machine
        assert (world.logic.n, world.logic.restored, third.position) == (50, False, 50)
        assert third.figures()["folded"] == 52  # lines and chunk records
        fourth = await world.opened()  # killed, so the snapshot is of the first
        assert (world.logic.n, world.logic.restored, fourth.position) == (50, True, 50)
        assert fourth.figures()["folded"] == 21

    run(scenario)


def test_a_snapshot_is_taken_when_the_log_has_grown_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "SNAPSHOT_RECORDS", 10)

    async def scenario(world: World) -> None:
        world.publish(*[b"x"] * 20)
        partition = await world.opened()
        await partition.process(world.chunk(records=8))  # 8 lines and the chunk record
        assert partition.figures()["snapshots"] == 0
        await partition.process(world.chunk(8, records=1))
        assert world.store.snapshot is not None
        assert world.store.snapshot.log_offset == 12
        assert partition.figures()["snapshots"] == 1
        world.logic.size = lambda: 1000  # type: ignore[method-assign]  # a large state is written less often
        await partition.process(world.chunk(9))
        assert partition.figures()["snapshots"] == 1

    run(scenario)


def test_a_state_that_cannot_be_saved_is_told_and_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(partition_module, "SNAPSHOT_RECORDS", 10)

    class Disk(MemoryStore):
        full = True
        tried = 0

        def save(self, labels: Labels, snapshot: Snapshot) -> None:
            self.tried += 1
            if self.full:
                raise NotSaved(Path("/state/0/0"), OSError("No space left on device"))
            super().save(labels, snapshot)

    async def scenario(world: World) -> None:
        disk = Disk()
        world.publish(*[b"x"] * 40)
        partition = await world.opened(disk)
        await partition.process(world.chunk(records=9))
        await partition.process(world.chunk(9, records=1))
        await partition.process(world.chunk(10, records=1))
        assert (partition.position, disk.tried) == (11, 1)  # not with every chunk
        await partition.process(world.chunk(11, records=9))
        assert (disk.tried, partition.figures()["snapshots_failed"], partition.figures()["snapshots"]) == (2, 2, 0)
        await partition.close()  # a rebalance
        assert disk.tried == 3
        partition = await world.opened(disk)
        assert (partition.position, world.logic.n, world.logic.restored) == (20, 20, False)
        disk.full = False
        await partition.process(world.chunk(20))
        await partition.close()
        await world.opened(disk)
        assert (world.logic.n, world.logic.restored) == (40, True)
        assert world.written() == [(i, i + 1) for i in range(40)]

    run(scenario)
    said = [r.message for r in caplog.records if "cannot be saved" in r.message]
    assert said[0] == (
        "the state of payers[0] cannot be saved in /state/0/0 (No space left on device): going on without; make room "
        "there, or set NANOTALLY_STATE to another folder. Nothing is lost, but who opens it next has to fold the log "
        "from offset 0 on again"
    )


def test_a_long_close_is_cut_and_goes_on_after_a_crash_between_two_slices() -> None:
    async def scenario(world: World) -> None:
        world.publish(b"a", b"close:3", b"z")
        partition = await world.opened()
        await partition.process(world.chunk())
        whole = world.broker.values("charges", 0)
        assert [v for v in whole if b"slice" in (v or b"")] == [b"0 1 slice 1", b"0 1 slice 2"]
        assert partition.figures()["chunks"] == 3

    async def crashed(world: World) -> None:
        world.publish(b"a", b"close:3", b"z")
        partition = await world.opened()
        original = world.logic.decide
        calls: list[int] = []

        def second_slice_fails(chunk: Any) -> Any:
            calls.append(len(chunk))
            if len(calls) == 2:
                world.broker.fail_at = "commit"
            return original(chunk)

        world.logic.decide = second_slice_fails  # type: ignore[method-assign]
        with pytest.raises(Transient):
            await partition.process(world.chunk())
        later = await world.opened()
        assert later.position == 1
        await later.process(world.chunk(1))
        slices = [v for v in world.broker.values("charges", 0) if b"slice" in (v or b"")]
        assert slices == [b"0 1 slice 1", b"0 1 slice 2"]
        assert world.written() == [(0, 1), (1, 2), (2, 3)]

    run(scenario)
    run(crashed)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


async def publishing(world: World, *, before: int = 0) -> MemoryTransactions:
    """A publisher that has written one book, after `before` others, and has not committed it."""
    world.broker.append("books", 0, book_record(before))
    publisher = await world.broker.fence("publisher", 0)
    world.broker.fail_at = "commit"
    with pytest.raises(Transient):
        await publisher.transact([Emission("books", 0, [None], book_record())], Taken("books", 0, 0))
    return publisher


def test_a_stage_waits_for_a_rule_book_that_is_being_written_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        publisher = await publishing(world, before=1)
        world.publish(b"a", b"book:1")
        partition = await world.opened()
        task = asyncio.create_task(partition.process(world.chunk()))
        await until(lambda: world.clock.now_s >= 1012)
        assert partition.waiting_for == "rule book 1"
        assert world.written() == []
        publisher.end("committed")
        await task
        assert world.logic.learned == {1}
        assert partition.waiting_for == ""
        assert world.written() == [(0, 1), (1, 2)]
        assert world.broker.values("rejects", 0) == []

    run(scenario)
    said = [r.message for r in caplog.records if "waits" in r.message]
    assert said == ["payers[0] waits for rule book 1, which is not in topic books yet"] * 3  # every 5 s


def test_an_activation_of_what_was_never_written_is_refused_and_stops_nothing() -> None:
    async def scenario(world: World) -> None:
        world.broker.append("books", 0, book_record(1))
        world.publish(b"book:0", b"book:1", b"a", b"book:2")
        partition = await world.opened()
        await partition.process(world.chunk(records=3))
        assert (world.logic.learned, world.logic.in_force, world.clock.slept) == ({0}, {0}, [])
        world.broker.append("books", 0, book_record(1))  # offset 1, too late: the ledger has its reject
        await partition.process(world.chunk(3))
        assert world.broker.values("rejects", 0) == [b"book:1", b"book:2"]
        await partition.close()
        for store in (world.store, MemoryStore()):
            later = await world.opened(store)
            assert (later.position, later.figures()["rejected"]) == (4, 0)
        world.publish(b"book:1")  # activated again, now that it is there
        await later.process(world.chunk(4))
        assert (world.logic.learned, len(world.broker.values("rejects", 0))) == ({1}, 2)
        assert world.written() == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]

    run(scenario)


@pytest.mark.parametrize("ended", ["committed", "aborted"])
def test_an_activation_of_an_offset_without_a_book_is_refused_and_stops_nothing(ended: str) -> None:
    async def scenario(world: World) -> None:
        (await publishing(world)).end(ended)
        world.broker.append("books", 0, book_record(1))  # offset 2
        marker_or_aborted = [b"book:1"] if ended == "committed" else [b"book:0", b"book:1"]
        world.publish(b"book:2", *marker_or_aborted, *marker_or_aborted, b"a")
        partition = await world.opened()
        await partition.process(world.chunk())
        assert world.broker.values("rejects", 0) == [*marker_or_aborted, *marker_or_aborted]
        assert (partition.position, world.logic.in_force) == (len(world.chunk()), {2})
        assert world.clock.slept == []

    run(scenario)


def test_a_book_that_the_state_stands_on_must_be_there() -> None:
    async def scenario(world: World) -> None:
        (await publishing(world)).end("committed")
        world.publish(b"book:0")
        partition = await world.opened()
        await partition.process(world.chunk())
        await partition.close()
        for entry in world.broker.logs["books", 0].entries:
            entry.control = True  # as if its records had been lost, and others written
        with pytest.raises(BrokenInvariant, match="no record at offset 0 of topic books, asked for as a rule book"):
            await world.opened()

    run(scenario)


def test_a_restored_state_gets_the_book_that_it_stands_on() -> None:
    async def scenario(world: World) -> None:
        world.broker.append("books", 0, book_record(2))
        world.publish(b"book:1", b"a")
        partition = await world.opened()
        await partition.process(world.chunk())
        await partition.close()
        await world.opened()
        assert (world.logic.restored, world.logic.learned) == (True, {1})

    run(scenario)


def test_a_stage_that_waits_for_a_rule_book_can_be_closed() -> None:
    async def scenario(world: World) -> None:
        await publishing(world)
        world.publish(b"book:0")
        partition = await world.opened()
        task = asyncio.create_task(partition.process(world.chunk()))
        await until(lambda: bool(partition.waiting_for))
        await partition.close()
        await task
        assert world.written() == []
        assert (await world.opened()).position == 0

    run(scenario)


def test_what_is_no_rule_book_is_a_broken_invariant() -> None:
    async def scenario(world: World) -> None:
        world.broker.append("books", 0, [b"no book"])
        world.publish(b"book:0")
        with pytest.raises(BrokenInvariant, match="offset 0 of topic books is no rule book"):
            await (await world.opened()).process(world.chunk())

    run(scenario)


def test_a_flood_of_rejects_stops_the_worker_after_they_were_kept() -> None:
    async def scenario(world: World) -> None:
        world.publish(*[b"reject"] * 5)
        partition = await world.opened()
        await partition.process(world.chunk(records=3))
        with pytest.raises(InvalidInput, match=r"4 input records were rejected within a minute, the limit is 3"):
            await partition.process(world.chunk(3, records=1))
        assert len(world.broker.values("rejects", 0)) == 4
        assert (await world.opened()).position == 4  # nothing is repeated

    async def spread(world: World) -> None:
        world.publish(*[b"reject"] * 5)
        partition = await world.opened()
        for offset in range(5):
            await partition.process(world.chunk(offset, records=1))
            world.clock.turn(20)

    run(scenario, World(rejects_per_minute=3))
    run(spread, World(rejects_per_minute=3))


def test_an_output_without_chunk_record_is_not_taken_for_a_fresh_start() -> None:
    async def scenario(world: World) -> None:
        world.broker.append("charges", 0, [b"something"])
        with pytest.raises(BrokenInvariant, match="no chunk record"):
            await world.opened()

    async def cut_off(world: World) -> None:
        world.publish(b"a")
        await (await world.opened()).process(world.chunk())
        _, end = await world.broker.bounds("charges", 0)
        world.broker.delete_before("charges", 0, end)
        with pytest.raises(BrokenInvariant, match="the ledger was cut off"):
            await world.opened(MemoryStore())

    run(scenario)
    run(cut_off)


def test_input_that_was_deleted_before_it_was_taken_is_a_broken_invariant() -> None:
    async def scenario(world: World) -> None:
        world.publish(b"a", b"b", b"c", b"d")
        await (await world.opened()).process(world.chunk(records=1))
        world.broker.delete_before("usage", 0, 1)
        assert (await world.opened()).position == 1
        world.broker.delete_before("usage", 0, 3)
        with pytest.raises(BrokenInvariant, match=r"at offset 1 of usage.* holds 3 to 4: records were deleted"):
            await world.opened()

    run(scenario)


def test_a_chunk_after_marks_and_aborted_records_is_taken() -> None:
    async def scenario(world: World) -> None:
        world.publish(b"a")
        transactions = await world.broker.fence("elsewhere", 0)
        await transactions.transact([Emission("usage", 0, [b"k"], [b"b"])], Taken("usage", 0, 0))
        world.publish(b"c")
        partition = await world.opened()
        chunk = world.chunk()
        assert chunk.offsets.tolist() == [0, 1, 3]
        await partition.process(chunk.part(0, 2))
        await partition.process(chunk.part(2, 3))
        assert partition.position == 4 and [offset for offset, _ in world.written()] == [0, 1, 3]

    run(scenario)


def test_a_position_beyond_the_input_is_a_broken_invariant() -> None:
    async def scenario(world: World) -> None:
        world.publish(b"a", b"b")
        await (await world.opened()).process(world.chunk())
        world.broker.logs["usage", 0].entries.clear()  # the topic was created anew
        with pytest.raises(BrokenInvariant, match="at offset 2 of usage"):
            await world.opened()

    run(scenario)


def test_a_snapshot_ahead_of_the_log_is_a_broken_invariant() -> None:
    async def scenario(world: World) -> None:
        world.publish(b"a", b"b")
        partition = await world.opened()
        await partition.process(world.chunk(records=1))
        entries = list(world.broker.logs["charges", 0].entries)
        await partition.process(world.chunk(1))
        await partition.close()
        world.broker.logs["charges", 0].entries[:] = entries  # an unclean election lost the last transaction
        with pytest.raises(BrokenInvariant, match="committed records were lost"):
            await world.opened()

    run(scenario)


def test_a_snapshot_of_records_that_were_lost_and_whose_places_others_took_is_refused() -> None:
    """The log is longer than the snapshot again, so that only what stands there tells."""

    async def scenario(world: World) -> None:
        world.publish(b"a", b"b", b"c", b"d")
        partition = await world.opened()
        await partition.process(world.chunk(records=1))
        entries = list(world.broker.logs["charges", 0].entries)
        await partition.process(world.chunk(1, 1))
        await partition.close()
        world.broker.logs["charges", 0].entries[:] = entries  # an unclean election lost the last transaction
        world.broker.logs["usage", 0].entries[1].value = b"B"  # another use took the place of the lost one
        other = await world.opened(MemoryStore())  # on a machine without that snapshot
        for at in (1, 2, 3):
            await other.process(world.chunk(at, 1))
        with pytest.raises(BrokenInvariant, match="others took their places"):
            await world.opened()
        assert (await world.opened(MemoryStore())).position == 4

    run(scenario)


def test_a_snapshot_of_an_earlier_release_does_not_say_what_stood_before_it() -> None:
    async def scenario(world: World) -> None:
        world.publish(b"a", b"b")
        partition = await world.opened()
        await partition.process(world.chunk(records=1))
        await partition.close()
        assert world.store.snapshot is not None
        parts = dict(world.store.snapshot.parts)
        del parts[partition_module.LOG_TAIL]
        world.store.snapshot = Snapshot(world.store.snapshot.log_offset, parts)
        world.broker.logs["charges", 0].entries.append(Entry(None, None, control=True))  # so that it is saved again
        again = await world.opened()
        assert again.position == 1
        await again.close()
        assert (await world.opened()).position == 1

    run(scenario)


def test_a_chunk_record_of_another_partition_is_refused() -> None:
    async def scenario(world: World) -> None:
        world.broker.append("charges", 0, [ToyLogic(3)._chunk(9)])
        with pytest.raises(BrokenInvariant, match=r"is of payers\[3\], not of payers\[0\]"):
            await world.opened()

    run(scenario)


def test_positions_are_sent_along_so_that_lag_shows() -> None:
    async def scenario(world: World) -> None:
        world.publish(b"a", b"b")
        await (await world.opened()).process(world.chunk())
        assert world.broker.committed_positions == {("usage", 0): 2}

    run(scenario)
