"""What the stages rely on in a broker: the same for the real one and for the one in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError
from aiokafka.protocol.produce import ProduceRequest

from nanotally.streams import admin
from nanotally.streams.domain.records import Emission
from nanotally.streams.domain.tariff import RuleBook, Settings
from nanotally.streams.errors import BrokenInvariant, Transient
from nanotally.streams.pipeline import kafka_broker
from nanotally.streams.pipeline.books import Books
from nanotally.streams.pipeline.broker import Broker, Taken, last_chunk
from nanotally.streams.pipeline.kafka_broker import KafkaBroker
from nanotally.streams.tariffs.books import book_record
from tests.simulation.broker import SimBroker, SimTransactions
from tests.simulation.kafka import Kafka
from tests.simulation.world import Process, World
from tests.support.memory_broker import MemoryBroker
from tests.support.topics import publish
from tests.support.toy_logic import ToyLogic

TOPICS = {"usage": 2, "charges": 2, "earnings": 2, "books": 1}
WITHIN_S = 120.0

T = TypeVar("T")


class Subject(Protocol):
    """A broker, and a way to write to it without a transaction."""

    @property
    def broker(self) -> Broker: ...

    async def append(self, topic: str, partition: int, values: Sequence[bytes]) -> None: ...

    async def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """What retention does."""
        ...

    async def group_offset(self, topic: str, partition: int) -> int | None:
        """What lag is reckoned from."""
        ...


class InMemory:
    def __init__(self) -> None:
        self.broker = MemoryBroker(TOPICS)

    async def append(self, topic: str, partition: int, values: Sequence[bytes]) -> None:
        self.broker.append(topic, partition, values)

    async def delete_before(self, topic: str, partition: int, offset: int) -> None:
        self.broker.delete_before(topic, partition, offset)

    async def group_offset(self, topic: str, partition: int) -> int | None:
        return self.broker.committed_positions.get((topic, partition))


class Simulated:
    """The simulator's broker, in a world without faults whose time is its own."""

    def __init__(self, world: World) -> None:
        self.kafka = Kafka(world, TOPICS)
        self.broker = SimBroker(Process(world, "worker", mortal=False), self.kafka, "group")

    async def append(self, topic: str, partition: int, values: Sequence[bytes]) -> None:
        await self.kafka.append(topic, partition, [(None, value) for value in values])

    async def delete_before(self, topic: str, partition: int, offset: int) -> None:
        self.kafka.delete_before(topic, partition, offset)

    async def group_offset(self, topic: str, partition: int) -> int | None:
        return self.kafka.group_offsets.get(("group", topic, partition))


class OnKafka:
    def __init__(self, kafka: str, prefix: str) -> None:
        self.kafka, self.prefix = kafka, prefix
        self.broker = KafkaBroker(kafka, prefix=prefix, group=f"{prefix}group")

    async def append(self, topic: str, partition: int, values: Sequence[bytes]) -> None:
        await publish(self.kafka, self.prefix + topic, {partition: values})

    async def delete_before(self, topic: str, partition: int, offset: int) -> None:
        asked = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await asked.start()
        try:
            await asked.delete_records({TopicPartition(self.prefix + topic, partition): RecordsToDelete(offset)})
        finally:
            await asked.close()

    async def group_offset(self, topic: str, partition: int) -> int | None:
        place = TopicPartition(self.prefix + topic, partition)
        asked = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await asked.start()
        try:
            found = await asked.list_consumer_group_offsets(f"{self.prefix}group", partitions=[place])
        finally:
            await asked.close()
        return found[place].offset if place in found and found[place].offset >= 0 else None


Scenario = Callable[[Subject], Coroutine[Any, Any, None]]


@pytest.fixture(params=["memory", "simulated", pytest.param("kafka", marks=pytest.mark.services)])
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Runs a scenario against each kind of broker."""
    return runner(request)


@pytest.fixture(params=["simulated", pytest.param("kafka", marks=pytest.mark.services)])
def run_in_time(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Runs a scenario in which time passes, against each kind of broker that knows it."""
    return runner(request)


def runner(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    def run_scenario(scenario: Scenario) -> None:
        if request.param == "memory":
            asyncio.run(scenario(InMemory()))
            return
        if request.param == "simulated":
            world = World(0)
            world.calm = True
            world.loop.run_until_complete(scenario(Simulated(world)))
            world.ended = True
            world.loop.end()
            assert world.failed is None
            return
        kafka, prefix = request.getfixturevalue("kafka"), request.getfixturevalue("prefix")
        admin.create_topics(kafka, prefix, partitions=2, account_partitions=2)

        async def on_kafka() -> None:
            subject = OnKafka(kafka, prefix)
            try:
                await scenario(subject)
            finally:
                await subject.broker.close()

        asyncio.run(on_kafka())

    return run_scenario


def charges(*values: bytes, partition: int = 0) -> Emission:
    return Emission("charges", partition, [None] * len(values), list(values))


def earnings(*values: bytes, partition: int = 0) -> Emission:
    return Emission("earnings", partition, [None] * len(values), list(values))


def chunk(next_offset: int) -> bytes:
    return ToyLogic(0)._chunk(next_offset)


async def read(
    broker: Broker, topic: str, partition: int = 0, start: int = 0, end: int | None = None
) -> list[tuple[int, bytes | None]]:
    return [
        (int(offset), value)
        async for batch in broker.read_log(topic, partition, start, end)
        for offset, value in zip(batch.offsets, batch.values, strict=True)
    ]


async def shows(broker: Broker, topic: str, partition: int, values: list[bytes]) -> None:
    """Committed records can be read once the broker has written its markers, a moment after the commit."""

    async def found() -> list[bytes | None]:
        return [value for _, value in await read(broker, topic, partition)]

    await comes(found, lambda there: len(there) >= len(values))
    assert await found() == values


async def comes(ask: Callable[[], Coroutine[Any, Any, T]], enough: Callable[[T], bool]) -> None:
    """Returns once the answer is enough, or after a time (of the world it runs in) in which it always would be."""
    loop = asyncio.get_running_loop()
    until = loop.time() + WITHIN_S
    while not enough(await ask()) and loop.time() < until:
        await asyncio.sleep(0.05)


def test_a_transaction_shows_in_all_its_topics_and_says_where_each_goes_on(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        owner = await subject.broker.fence("payers", 0)
        ends = await owner.transact(
            [earnings(b"e0"), earnings(b"e1", partition=1), charges(b"c0", b"c1")], Taken("usage", 0, 7)
        )
        assert ends == {("earnings", 0): 1, ("earnings", 1): 1, ("charges", 0): 2}
        await shows(subject.broker, "charges", 0, [b"c0", b"c1"])
        await shows(subject.broker, "earnings", 0, [b"e0"])
        await shows(subject.broker, "earnings", 1, [b"e1"])
        # The control record that ends a transaction has an offset too: the next record comes after it.
        ends = await owner.transact([charges(b"c2")], Taken("usage", 0, 8))
        assert ends == {("charges", 0): 4}
        await shows(subject.broker, "charges", 0, [b"c0", b"c1", b"c2"])
        assert await read(subject.broker, "charges") == [(0, b"c0"), (1, b"c1"), (3, b"c2")]
        await owner.close()

    run(scenario)


def test_two_emissions_for_one_partition_stay_in_order(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        owner = await subject.broker.fence("payers", 0)
        ends = await owner.transact([charges(b"first"), earnings(b"e"), charges(b"second")], Taken("usage", 0, 1))
        assert ends["charges", 0] == 2
        await shows(subject.broker, "charges", 0, [b"first", b"second"])
        await owner.close()

    run(scenario)


def test_who_was_fenced_writes_nothing_more(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        old = await subject.broker.fence("payers", 0)
        await old.transact([charges(b"old")], Taken("usage", 0, 1))
        new = await subject.broker.fence("payers", 0)
        with pytest.raises(Transient, match="taken over"):
            await old.transact([charges(b"zombie")], Taken("usage", 0, 2))
        await new.transact([charges(b"new")], Taken("usage", 0, 2))
        await shows(subject.broker, "charges", 0, [b"old", b"new"])
        await old.close()
        await new.close()

    run(scenario)


def test_fencing_one_partition_leaves_the_others_alone(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        zero = await subject.broker.fence("payers", 0)
        one = await subject.broker.fence("payers", 1)
        await zero.transact([charges(b"0")], Taken("usage", 0, 1))
        await one.transact([charges(b"1", partition=1)], Taken("usage", 1, 1))
        await shows(subject.broker, "charges", 0, [b"0"])
        await shows(subject.broker, "charges", 1, [b"1"])
        await zero.close()
        await one.close()

    run(scenario)


def test_what_a_dead_owner_left_open_is_never_seen(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        dead = await subject.broker.fence("payers", 0)
        await dead.transact([charges(b"done", chunk(1))], Taken("usage", 0, 1))
        await leave_open(dead, charges(b"half", chunk(2)))
        await shows(subject.broker, "charges", 0, [b"done", chunk(1)])
        alive = await subject.broker.fence("payers", 0)
        assert await last_chunk(subject.broker, "charges", 0) == chunk(1)
        await alive.transact([charges(b"again", chunk(2))], Taken("usage", 0, 2))
        await shows(subject.broker, "charges", 0, [b"done", chunk(1), b"again", chunk(2)])
        await dead.close()
        await alive.close()

    run(scenario)


async def leave_open(owner: Any, emission: Emission) -> None:
    """Writes the records of a transaction that is never ended, as a process does that is killed then."""
    if hasattr(owner, "_producer"):
        await owner._producer.begin_transaction()
        for batch in owner._batches(emission):
            topic = owner._prefix + emission.topic
            await (await owner._producer.send_batch(batch, topic, partition=emission.partition))
    elif isinstance(owner, SimTransactions):
        await owner.send([emission])
    else:
        owner.broker.fail_at = "commit"
        with pytest.raises(Transient):
            await owner.transact([emission], Taken("usage", 0, 2))


def test_a_log_is_read_from_an_offset_to_an_offset(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        await subject.append("usage", 0, [b"a", b"b", b"c", b"d"])
        assert await read(subject.broker, "usage", 0, 1, 3) == [(1, b"b"), (2, b"c")]
        assert await read(subject.broker, "usage", 0, 2) == [(2, b"c"), (3, b"d")]
        assert await read(subject.broker, "usage", 0, 4) == []
        assert await read(subject.broker, "usage", 0, 2, 2) == []
        assert await subject.broker.bounds("usage", 0) == (0, 4)
        assert await subject.broker.bounds("usage", 1) == (0, 0)

    run(scenario)


def test_a_topic_says_which_it_is(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        usage = await subject.broker.describe("usage")
        charges = await subject.broker.describe("charges")
        assert usage.partitions == 2
        assert usage.cluster_id == charges.cluster_id != ""
        assert usage.topic_id != charges.topic_id
        with pytest.raises(Transient, match="no topic"):
            await subject.broker.describe("nowhere")

    run(scenario)


def test_the_last_chunk_record_is_found_behind_aborted_transactions(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        assert await last_chunk(subject.broker, "charges", 0) is None
        owner = await subject.broker.fence("payers", 0)
        await owner.transact([charges(b"x", chunk(1))], Taken("usage", 0, 1))
        await owner.transact([charges(b"y", chunk(2))], Taken("usage", 0, 2))
        await leave_open(owner, charges(*[b"z"] * 3000))  # more than one step back
        again = await subject.broker.fence("payers", 0)
        assert await last_chunk(subject.broker, "charges", 0) == chunk(2)
        await owner.close()
        await again.close()

    run(scenario)


def test_a_partition_with_aborted_records_only_counts_as_empty(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        owner = await subject.broker.fence("payers", 0)
        await leave_open(owner, charges(b"half"))
        again = await subject.broker.fence("payers", 0)
        assert await last_chunk(subject.broker, "charges", 0) is None
        await owner.close()
        await again.close()

    run(scenario)


def test_a_partition_that_does_not_end_in_a_chunk_record_is_refused(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        owner = await subject.broker.fence("payers", 0)
        await owner.transact([charges(b"x", chunk(1))], Taken("usage", 0, 1))
        await subject.append("charges", 0, [b"written by hand"])
        await shows(subject.broker, "charges", 0, [b"x", chunk(1), b"written by hand"])
        with pytest.raises(BrokenInvariant, match=r"charges\[0\] is no chunk record"):
            await last_chunk(subject.broker, "charges", 0)
        await owner.close()

    run(scenario)


def test_an_open_transaction_holds_back_what_others_wrote_behind_it(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        slow = await subject.broker.fence("payers", 0)
        quick = await subject.broker.fence("payers", 1)
        await leave_open(slow, earnings(b"slow"))
        await quick.transact([earnings(b"quick"), charges(b"1", partition=1)], Taken("usage", 1, 1))
        await shows(subject.broker, "charges", 1, [b"1"])
        assert await read(subject.broker, "earnings") == []
        assert await subject.broker.bounds("earnings", 0) == (0, 0)
        successor = await subject.broker.fence("payers", 0)
        await shows(subject.broker, "earnings", 0, [b"quick"])
        for owner in (slow, quick, successor):
            await owner.close()

    run(scenario)


def test_the_end_of_what_is_written_is_beyond_what_is_not_decided(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        broker = subject.broker
        assert await broker.written("charges", 0) == 0
        slow = await broker.fence("payers", 0)
        await slow.transact([charges(b"a")], Taken("usage", 0, 1))
        assert await broker.written("charges", 0) >= 1  # with the mark, once it is there
        await shows(broker, "charges", 0, [b"a"])
        assert await broker.written("charges", 0) == 2
        await leave_open(slow, charges(b"b"))
        assert await broker.bounds("charges", 0) == (0, 2)
        assert await broker.written("charges", 0) == 3
        successor = await broker.fence("payers", 0)
        assert await broker.written("charges", 0) == 4
        for owner in (slow, successor):
            await owner.close()

    run(scenario)


def test_a_book_is_found_by_who_asks_right_after_its_commit_was_told(run: Any) -> None:
    """The marks that let readers see it may come later; what was never written is known at once."""

    class Clock:
        seconds = staticmethod(time.monotonic)
        sleep = staticmethod(asyncio.sleep)

    async def scenario(subject: Subject) -> None:
        publisher = await subject.broker.fence("publisher", 0)
        record = book_record(RuleBook(-1, Settings(), ()), 0, "", {})
        for number in range(0, 20, 2):
            books = Books(subject.broker, Clock())
            assert await books.get(number, "stage", lambda: False, certain=False) is None
            await publisher.transact([Emission("books", 0, [None], [record])], Taken("books", 0, 0))
            found = await books.get(number, "stage", lambda: False, certain=False)
            assert found is not None and found.number == number
            assert await books.get(number + 1, "stage", lambda: False, certain=False) is None
        await publisher.close()

    run(scenario)


def test_a_transaction_left_open_is_ended_by_the_broker_and_its_owner_writes_nothing_more(
    run_in_time: Any, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def scenario(subject: Subject) -> None:
        quick = await subject.broker.fence("payers", 1)  # with the usual time, which is longer than this takes
        monkeypatch.setattr(kafka_broker, "TRANSACTION_TIMEOUT_MS", 5000)
        slow = await subject.broker.fence("payers", 0)
        await leave_open(slow, earnings(b"slow"))
        await quick.transact([earnings(b"quick")], Taken("usage", 1, 1))
        await shows(subject.broker, "earnings", 0, [b"quick"])
        with pytest.raises(Transient):
            await finish(slow, Taken("usage", 0, 1))
        await shows(subject.broker, "earnings", 0, [b"quick"])
        await slow.close()
        await quick.close()

    run_in_time(scenario)


async def finish(owner: Any, taken: Taken) -> None:
    """Commits what was left open, as a process does that was stopped and goes on."""
    if isinstance(owner, SimTransactions):
        await owner.transact([], taken)
        return
    try:
        await owner._producer.commit_transaction()
    except KafkaError as e:
        raise Transient(str(e)) from e


def test_what_retention_took_cannot_be_read(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        await subject.append("usage", 0, [b"a", b"b", b"c", b"d"])
        await subject.delete_before("usage", 0, 2)
        assert await subject.broker.bounds("usage", 0) == (2, 4)
        assert await read(subject.broker, "usage", 0, 2) == [(2, b"c"), (3, b"d")]
        with pytest.raises(BrokenInvariant):
            await read(subject.broker, "usage", 0, 1)

    run(scenario)


def test_the_offsets_of_a_group_are_those_of_committed_transactions(run: Any) -> None:
    async def scenario(subject: Subject) -> None:
        owner = await subject.broker.fence("payers", 0)
        assert await subject.group_offset("usage", 0) is None
        await owner.transact([charges(b"x")], Taken("usage", 0, 3))
        await shows(subject.broker, "charges", 0, [b"x"])
        # They follow the commit as markers do.
        await comes(lambda: subject.group_offset("usage", 0), lambda offset: offset is not None)
        assert await subject.group_offset("usage", 0) == 3
        await leave_open(owner, charges(b"y"))
        successor = await subject.broker.fence("payers", 0)
        assert await subject.group_offset("usage", 0) == 3
        await owner.close()
        await successor.close()

    run(scenario)


def test_a_batch_that_comes_again_is_written_once_and_is_known_for_a_while_only(run_in_time: Any) -> None:
    async def scenario(subject: Subject) -> None:
        owner = await subject.broker.fence("payers", 0)
        batches = Batches(owner)
        await batches.begin()
        assert [await batches.write(b"a"), await batches.write(b"b")] == [0, 1]
        assert [await batches.again(0), await batches.again(1)] == [0, 1]
        rest = [b"%d" % n for n in range(6)]
        for value in rest:
            await batches.write(value)
        assert await batches.again(0) == -1
        await finish(owner, Taken("usage", 0, 1))
        await shows(subject.broker, "charges", 0, [b"a", b"b", *rest])
        await owner.close()

    run_in_time(scenario)


class Batches:
    """Writes batches of one record to charges[0] in a transaction, and the very same requests again. Gives offsets; -1
    where the broker does not tell one."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.sent: list[Any] = []

    async def begin(self) -> None:
        if not isinstance(self.owner, SimTransactions):
            self.client, self.send = self.owner._producer.client, self.owner._producer.client.send
            self.client.send = self._send
            await self.owner._producer.begin_transaction()

    async def _send(self, node_id: Any, request: Any, **options: Any) -> Any:
        response = await self.send(node_id, request, **options)
        if isinstance(request, ProduceRequest) and not self._placed(response)[0]:
            self.sent.append((node_id, request))  # what a new partition's leader does not take yet comes once more
        return response

    @staticmethod
    def _placed(response: Any) -> tuple[int, int]:
        """Error code and offset of a batch."""
        ((_, ((_, error, offset, *_),)),) = response.topics
        return int(error), int(offset)

    async def write(self, value: bytes) -> int:
        if isinstance(self.owner, SimTransactions):
            self.sent.append(value)
            return await self.again(len(self.sent) - 1)
        (batch,) = self.owner._batches(charges(value))
        topic = self.owner._prefix + "charges"
        placed = await self.owner._producer.send_batch(batch, topic, partition=0)
        return int((await placed).offset)

    async def again(self, number: int) -> int:
        if isinstance(self.owner, SimTransactions):
            kafka, writer = self.owner.kafka, self.owner.writer
            pairs = [(None, self.sent[number])]
            return await kafka.produce(writer, self.owner.epoch, "charges", 0, number, pairs)
        error, offset = self._placed(await self.send(*self.sent[number]))
        return -1 if error else offset
