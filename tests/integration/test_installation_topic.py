"""Topic `installation` on a real broker: schemas are told before they are used, and added partitions are noticed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from kafka.admin import KafkaAdminClient

from nanotally.schemas import catalog, codec, learning, sources
from nanotally.schemas.columns import write_datum
from nanotally.schemas.samples import samples
from nanotally.streams import admin
from nanotally.streams.dead_letters import Again
from nanotally.streams.errors import InvalidInput, Transient
from nanotally.streams.installation import Installation, join, look_up_in
from nanotally.streams.publisher import Publisher
from nanotally.streams.redriving import redrive
from tests.support.topics import read_committed
from tests.support.worker_process import until


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What one test learns is not known to the next."""
    for name in ("_learned", "_refused"):
        monkeypatch.setattr(catalog, name, {})
    monkeypatch.setattr(sources, "_sources", {})
    yield
    catalog.writers.cache_clear()
    catalog._by_header.cache_clear()


@pytest.fixture
def made(kafka: str, prefix: str) -> str:
    admin.create_topics(kafka, prefix, partitions=3, account_partitions=2)
    return prefix


def widen(kafka: str, topic: str, partitions: int) -> None:
    """What `kafka-topics --alter --partitions` does."""
    client = KafkaAdminClient(bootstrap_servers=kafka)
    client.create_partitions({topic: partitions})
    client.close()
    prefix, _, name = topic.partition("-")
    until("the broker knows", lambda: admin.partition_counts(kafka, f"{prefix}-")[name] == partitions)


def later(name: str = "UsageEvent") -> catalog.Schema:
    document = json.loads(catalog.schema(name).text)
    document["fields"].insert(2, {"name": "added", "type": ["null", "string"], "default": None})
    return catalog.load(json.dumps(document))


def test_every_schema_is_told_once_whoever_tells_it(kafka: str, made: str) -> None:
    join(kafka, made, "test")
    before = read_committed(kafka, made + "installation", 1)[0]
    assert len(before) == len(catalog.names()) + 1
    told = Installation(kafka, made).announce()
    assert told.schemas == {catalog.schema(name).fingerprint.hex() for name in catalog.names()}
    assert told.partitions == {"usage": 3, "earnings": 2}
    assert read_committed(kafka, made + "installation", 1)[0] == before


def test_an_unknown_schema_is_found_where_its_writer_told_it_also_much_later(kafka: str, made: str) -> None:
    reader = look_up_in(kafka, made, "test")
    values = [write_datum(later(), sample) for sample in samples(later().shape)]
    assert codec.split_by_schema(values).keys() == {None}
    Installation(kafka, made).tell({f"schema/{later().fingerprint.hex()}": json.loads(learning.told(later().text))})
    assert codec.split_by_schema(values).keys() == {"UsageEvent"}
    reader.close()


def test_an_installation_of_an_earlier_release_gets_the_topic_from_whoever_comes_first(kafka: str, made: str) -> None:
    delete(kafka, made + "installation")
    assert join(kafka, made, "test").partitions == {"usage": 3, "earnings": 2}
    assert admin.check_topics(kafka, made) == []


def delete(kafka: str, topic: str) -> None:
    client = KafkaAdminClient(bootstrap_servers=kafka)
    client.delete_topics([topic])
    while topic in {seen["name"] for seen in client.describe_topics()}:
        pass
    client.close()


def test_what_is_no_schema_is_left_out_and_said(kafka: str, made: str, caplog: pytest.LogCaptureFixture) -> None:
    installation = Installation(kafka, made)
    installation.announce()
    hostile = json.loads(later().text)
    hostile["fields"][2].pop("default")
    installation.tell({
        "schema/nonsense": {}, f"schema/{later().fingerprint.hex()}": hostile, "partitions": {"usage": 7},
        "news of a later release": ["anything"], "carried": {"0": -1},
    })  # fmt: skip
    told = installation.read()
    assert told.partitions == {"usage": 3, "earnings": 2}
    assert told.carried == {}
    assert codec.split_by_schema([later().header + b"x"]).keys() == {None}
    assert "added: it is new and has no default" in caplog.text
    assert "nonsense" in caplog.text
    installation.close()


def test_kafka_that_is_away_is_no_unknown_schema(prefix: str) -> None:
    look_up_in("127.0.0.1:1", prefix, "test")
    with pytest.raises(Transient, match=r"127\.0\.0\.1:1"):
        codec.split_by_schema([later().header + b"x"])


@pytest.mark.parametrize("topics", [("usage",), ("usage", "charges", "payer_tallies", "statements", "rejects")])
def test_added_partitions_are_refused_also_where_all_topics_got_them(
    kafka: str, made: str, topics: tuple[str, ...]
) -> None:
    join(kafka, made, "test")
    for topic in topics:
        widen(kafka, made + topic, 6)
    with pytest.raises(InvalidInput, match=r"usage has 6 partitions, but this installation was made with 3: .*migrate"):
        join(kafka, made, "test")
    with (
        pytest.raises(InvalidInput, match="usage has 6 partitions"),
        Publisher(kafka, product="news", prefix=made) as publisher,
    ):
        publisher.use("page.view", payer="p", item="i")
    letter = Again(place=(0, 0), reason="future", payer="p", event_id="e", value=b"x", mended=False)
    with pytest.raises(InvalidInput, match="usage has 6 partitions"):
        redrive(kafka, made, [letter], now_us=0)
    assert not any(read_committed(kafka, made + "usage", 6).values())


def test_partitions_that_were_added_before_anything_was_told_are_refused_too(kafka: str, made: str) -> None:
    widen(kafka, made + "usage", 4)
    with pytest.raises(InvalidInput, match="usage has 4 partitions, but this installation was made with 3"):
        join(kafka, made, "test")
