"""The publisher on a real broker: what it sends, in order and once, and the charge read back from the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from typer.testing import CliRunner

from nanotally.schemas import codec
from nanotally.streams import Publisher, admin
from nanotally.streams.commands import app
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.records import RawChunk
from nanotally.streams.errors import ExitCode, NotFound, Transient
from nanotally.streams.publisher_ledger import TopicReader
from nanotally.streams.tariffs.publishing import Publication, activate, publish_book, read_books
from tests.support.publishing import MEDIA, SENSORS
from tests.support.services import OwnServices
from tests.support.topics import decided, read_committed

PARTITIONS = 3
WITHIN_S = 60.0
NOW_US = 1_794_000_000_000_000


@pytest.fixture
def topics(kafka: str, prefix: str) -> Iterator[str]:
    """The prefix, with topics made and a rule book in force."""
    admin.create_topics(kafka, prefix, partitions=PARTITIONS, account_partitions=1)
    book = publish_book(kafka, prefix, Publication([MEDIA, SENSORS]), NOW_US)
    activate(kafka, prefix, book)
    yield prefix


async def rate(kafka: str, prefix: str, records_in_chunk: int = 1000) -> None:
    """The payers' stage by hand: all that is in usage, each chunk in one transaction; returns when all can read it."""
    books = read_books(kafka, prefix)
    async with TopicReader(kafka, prefix) as reader:
        usage = await reader.read_all("usage")
    for p, records in usage.items():
        logic = PayersLogic(p, PARTITIONS, 1)
        for book in books:
            logic.learn(book)
        producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"{prefix}rate-{p}")
        await producer.start()
        try:
            for start in range(0, len(records.values), records_in_chunk):
                part = slice(start, start + records_in_chunk)
                times = np.array(records.times_ms[part]) * 1000
                chunk = RawChunk("usage", p, records.offsets[part], times, records.keys[part], records.values[part])
                async with producer.transaction():
                    for e in logic.decide(chunk).emissions:
                        for key, value in zip(e.keys, e.values, strict=True):
                            await producer.send(prefix + e.topic, value, key, partition=e.partition)
        finally:
            await producer.stop()
    counts = admin.partition_counts(kafka, prefix)
    await decided(kafka, [TopicPartition(prefix + topic, p) for topic, n in counts.items() for p in range(n)])


def test_a_use_is_published_and_its_charge_read_back(kafka: str, topics: str) -> None:
    with Publisher(kafka, product="news", prefix=topics) as nano:
        first = nano.use("page.view", payer="p-7f3a", item="/blog/faust", creator="ana")
        again = nano.use("page.view", payer="p-7f3a", item="/blog/faust", creator="ana")
        nano.flush()
        asyncio.run(rate(kafka, topics))
        assert str(nano.charge(first, WITHIN_S)) == "0.005 USD · article v3 · ana 0.0045 · platform 0.0005"
        assert str(nano.charge(again, WITHIN_S)) == "0 USD · article v3 · free: counted already in this day"


def test_what_is_not_rated_in_time_says_where_it_is(kafka: str, topics: str) -> None:
    with Publisher(kafka, product="news", prefix=topics) as nano:
        use = nano.use("page.view", payer="p", item="i")
        partition, offset = use.wait(WITHIN_S)
        with pytest.raises(Transient, match=f"recorded as {partition}-{offset} but was not rated within 0.3 s"):
            nano.charge(use, timeout_s=0.3)


def test_an_old_charge_is_found_in_a_long_ledger_and_explained(
    kafka: str, topics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Publisher(kafka, product="news", prefix=topics) as nano:
        uses = [nano.use("page.view", payer="p-1", item=f"i-{n}", event_id=f"e-{n}") for n in range(700)]
        nano.flush()
        asyncio.run(rate(kafka, topics, records_in_chunk=50))
        for n in (0, 1, 49, 50, 350, 699):
            assert nano.charge(uses[n], WITHIN_S).name == "-".join(map(str, uses[n].wait()))
        name = nano.charge(uses[350], WITHIN_S).name
    monkeypatch.setenv("NANOTALLY_KAFKA", kafka)
    monkeypatch.setenv("NANOTALLY_PREFIX", topics)
    result = CliRunner().invoke(app, ["explain", name, "--ledger"])
    assert result.exit_code == 0, result.stderr
    assert "1 page by rule article" in result.stdout and "event e-350" in result.stdout
    assert "the same" in CliRunner().invoke(app, ["explain", "e-350", "--ledger"]).stdout
    missing = CliRunner().invoke(app, ["explain", "e-9999", "--ledger"])
    assert missing.exit_code == ExitCode.NOT_FOUND
    reconciled = CliRunner().invoke(app, ["reconcile", "--ledger", "--wait", "0"])
    assert reconciled.exit_code == 0, reconciled.stdout
    assert "NOTHING MISSING: 700 charges" in reconciled.stdout


def test_a_duplicate_and_a_reject_are_told(kafka: str, topics: str) -> None:
    with Publisher(kafka, product="news", prefix=topics) as nano:
        record = nano.record({"meter": "page.view", "payer": "p", "item": "i", "event_id": "e"})
        broker = nano._connected()
        value = codec.encode_one("UsageEvent", record)
        other = codec.encode_one("UsageEvent", record | {"item": "j"})
        places = [broker.send(b"p", v, "e").wait(WITHIN_S) for v in (value, value, other)]
        asyncio.run(rate(kafka, topics))
        duplicate, conflict = (broker.find(*place, WITHIN_S) for place in places[1:])
        assert duplicate is not None and duplicate.duplicate
        assert conflict is not None and conflict.reject is not None and conflict.reject["reason"] == "conflict"


def test_many_uses_arrive_once_in_order_in_the_partition_of_their_payer(kafka: str, topics: str) -> None:
    uses = [{"meter": "page.view", "payer": f"p-{n % 97}", "item": "i", "event_id": f"e-{n}"} for n in range(5000)]
    with Publisher(kafka, product="news", prefix=topics) as nano:
        assert nano.publish_batch(uses) == 5000
    seen: dict[str, list[int]] = {}
    for p, values in read_committed(kafka, topics + "usage", PARTITIONS).items():
        for value in values:
            name, record = codec.decode_one(value)
            if name == "UsageEvent":
                assert partition_of(record["payer"].encode(), PARTITIONS) == p
                seen.setdefault(record["payer"], []).append(int(record["event_id"][2:]))
    assert sorted(n for numbers in seen.values() for n in numbers) == list(range(5000))
    assert all(numbers == sorted(numbers) for numbers in seen.values())


def test_a_broker_that_goes_away_in_the_middle_is_waited_for(own_services: OwnServices) -> None:
    kafka = own_services.addresses.kafka
    admin.create_topics(kafka, "", partitions=PARTITIONS, account_partitions=1)
    publish_book(kafka, "", Publication([MEDIA, SENSORS]), NOW_US)
    stalls: list[float] = []

    def stalled(seconds: float) -> None:
        if not stalls:
            own_services.start()
        stalls.append(seconds)

    def uses() -> Iterator[dict[str, str]]:
        for n in range(3000):
            if n == 1000:
                own_services.stop("kafka")
            yield {"meter": "page.view", "payer": f"p-{n % 97}", "item": "i", "event_id": f"e-{n}"}

    with Publisher(kafka, product="news", prefix="") as nano:
        assert nano.publish_batch(uses(), on_stall=stalled) == 3000
    assert stalls and stalls[0] >= 5
    seen = [
        codec.decode_one(value)[1]["event_id"]
        for values in read_committed(kafka, "usage", PARTITIONS).values()
        for value in values
    ]
    assert sorted(seen) == sorted(f"e-{n}" for n in range(3000))


def test_without_a_rule_book_or_topics_the_remedy_is_named(kafka: str, prefix: str) -> None:
    with pytest.raises(NotFound, match="make up"), Publisher(kafka, product="news", prefix=prefix) as nano:
        nano.use("page.view", payer="p", item="i")
    admin.create_topics(kafka, prefix, partitions=1, account_partitions=1)
    with pytest.raises(NotFound, match="nanotally tariff publish FILE"):
        Publisher(kafka, product="news", prefix=prefix).use("page.view", payer="p", item="i")


def test_a_broker_that_is_away_is_told_within_its_time() -> None:
    with pytest.raises(Transient, match=r"Kafka at 127\.0\.0\.1:1 cannot be reached"):
        Publisher("127.0.0.1:1", product="news").use("page.view", payer="p", item="i")


def test_a_publisher_may_be_told_to_give_up_soon(kafka: str, topics: str) -> None:
    """Its client wants to wait for 30 s for any single answer, and would not be made with less."""
    with Publisher(kafka, product="news", prefix=topics, delivery_timeout_s=25.0) as nano:
        assert nano.use("page.view", payer="p-1", item="/a").wait(WITHIN_S)[1] >= 0


def test_inside_a_running_event_loop_the_publisher_works_too(kafka: str, topics: str) -> None:
    async def notebook() -> str:
        with Publisher(kafka, product="news", prefix=topics) as nano:
            use = nano.use("page.view", payer="p", item="i")
            nano.flush()
            await rate(kafka, topics)
            return str(nano.charge(use, WITHIN_S))

    assert asyncio.run(notebook()).startswith("0.005 USD")
