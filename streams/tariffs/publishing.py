"""Rule books and controls in Kafka: reading the books, publishing the next one, and telling every partition.

Two people who publish at once cannot lose each other's versions: a publisher takes the transactional id of topic
`books` before it reads what is there, and whoever took it before can no longer write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import InvalidProducerEpochError, KafkaError, ProducerFencedError

from nanotally.schemas import codec
from nanotally.streams.domain.catalogs import CatalogVersion
from nanotally.streams.domain.tariff import RuleBook, Settings, TariffVersion
from nanotally.streams.errors import NotFound, Transient
from nanotally.streams.installation import Installation
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.books import BookErrors, PublishedBook, Sources, book_record, next_book, published_book

BOOKS = "books"
USAGE = "usage"
BOOK_BYTES_MAX = 8 << 20  # max.message.bytes of topic books
CONNECT_S = 5.0
WAIT_S = 30.0  # for an answer of the broker
MARKS_S = 0.01  # between looks whether a transaction's marks are there


@dataclass(frozen=True)
class Control:
    """A record of topic `usage` that is not a use; the same in every partition. `kind`: activate (with the book's
    number and hash), close (of the books, up to `at_us`), tick."""

    control_id: str
    kind: str
    at_us: int | None = None
    book_number: int | None = None
    book_hash: str | None = None
    note: str = ""

    def datum(self) -> bytes:
        record = {
            "control_id": self.control_id,
            "kind": self.kind,
            "at": self.at_us,
            "book_number": self.book_number,
            "book_hash": self.book_hash,
            "note": self.note,
        }
        return codec.encode_one("Control", record)


def activation(book: RuleBook, note: str = "") -> Control:
    """The control that puts a published book into force."""
    control_id = f"activate-{book.number}-{book.book_hash[:16]}"
    return Control(control_id, "activate", book_number=book.number, book_hash=book.book_hash, note=note)


def closing(at_us: int, note: str = "") -> Control:
    """The control that closes the books up to an instant."""
    return Control(f"close-{figures.iso(at_us)}", "close", at_us=at_us, note=note)


def read_books(bootstrap: str, prefix: str) -> list[RuleBook]:
    """All rule books ever published, oldest first; the number of each is its offset.

    Raises Transient where Kafka cannot be reached, NotFound without the topic, BrokenInvariant for a damaged book."""
    return [published.book for published in read_published(bootstrap, prefix)]


def read_published(bootstrap: str, prefix: str) -> list[PublishedBook]:
    """The same with when and why each was published, and the files as written."""
    with _kafka(bootstrap), _consumer(bootstrap) as consumer:
        _partitions(consumer, bootstrap, prefix + BOOKS)
        return _read_all(consumer, TopicPartition(prefix + BOOKS, 0), bootstrap)


def _read_all(consumer: Any, place: TopicPartition, bootstrap: str) -> list[PublishedBook]:
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    end = consumer.end_offsets([place], timeout_ms=int(WAIT_S * 500))[place]  # committed records only
    books: list[PublishedBook] = []
    deadline_s = time.monotonic() + WAIT_S
    while consumer.position(place) < end:
        for record in consumer.poll(timeout_ms=500).get(place, []):
            books.append(published_book(record.value, record.offset))
            deadline_s = time.monotonic() + WAIT_S
        if time.monotonic() > deadline_s:
            raise Transient(f"Kafka at {bootstrap} gave no rule book of {place.topic} for {WAIT_S:.0f} s; try again")
    return books


@dataclass(frozen=True)
class Publication:
    """What goes into the next book: see `next_book`. `sources` gives the files as written, for people."""

    versions: Sequence[TariffVersion]
    settings: Settings | None = None
    note: str = ""
    sources: Sources = field(default_factory=dict)
    lead_us: int | None = 0
    catalogs: Sequence[CatalogVersion] = ()


def publish_book(bootstrap: str, prefix: str, publication: Publication, now_us: int) -> RuleBook:
    """Publishes the next book and gives it with its number; where nothing would change, gives the newest one.

    It is not in force before it is activated. Raises BookErrors for a book that may not follow; Transient where Kafka
    cannot be reached or another publisher came between (nothing is published then); NotFound without the topic."""

    def after(published: list[PublishedBook]) -> RuleBook:
        return next_book(
            published[-1].book if published else None,
            publication.versions,
            publication.settings,
            now_us,
            publication.lead_us,
            [p.book for p in published],
            publication.catalogs,
        )

    return publish_next(bootstrap, prefix, after, publication.sources, publication.note, now_us)


def publish_next(
    bootstrap: str,
    prefix: str,
    after: Callable[[list[PublishedBook]], RuleBook],
    sources: Sources,
    note: str,
    now_us: int,
) -> RuleBook:
    """Publishes the book that `after` makes of all published ones, unless that is the newest itself; `sources` gives
    the files of versions that are new in it. Nobody else can publish between the reading and the writing."""
    topic = prefix + BOOKS
    with _kafka(bootstrap), _consumer(bootstrap) as consumer:
        _partitions(consumer, bootstrap, topic)
    Installation(bootstrap, prefix).announce()
    with _kafka(bootstrap), _producer(bootstrap, transactional_id=f"{topic}-publisher") as producer:
        producer.init_transactions()
        published = read_published(bootstrap, prefix)
        current = published[-1] if published else None
        book = after(published)
        if current is not None and book is current.book:
            return book
        value = book_record(book, now_us, note, {**(current.sources if current else {}), **sources})
        if len(value) > BOOK_BYTES_MAX - 4096:
            raise BookErrors(
                [f"the rule book takes {len(value):,} bytes, at most {BOOK_BYTES_MAX:,}; shorten the files"]
            )
        try:
            producer.begin_transaction()
            sent = producer.send(topic, value=value, partition=0)
            producer.commit_transaction()
        except (ProducerFencedError, InvalidProducerEpochError) as e:
            raise Transient("somebody else published a rule book at the same time; publish again") from e
        number = sent.get(timeout=WAIT_S).offset
    with _kafka(bootstrap), _consumer(bootstrap) as consumer:
        _until_readable(consumer, TopicPartition(topic, 0), number, bootstrap)
    return replace(book, number=number)


def _until_readable(consumer: Any, place: TopicPartition, offset: int, bootstrap: str) -> None:
    """Waits until readers of committed records get the one at the offset: Kafka answers a commit before it has written
    the transaction's marks, so whoever read at once would be told that there is no such book."""
    deadline_s = time.monotonic() + WAIT_S
    while consumer.end_offsets([place])[place] <= offset:
        if time.monotonic() > deadline_s:
            raise Transient(
                f"the rule book is written (offset {offset} of {place.topic}), but Kafka at {bootstrap} does not show "
                f"it after {WAIT_S:.0f} s; publish again: nothing is published twice"
            )
        time.sleep(MARKS_S)


def activate(bootstrap: str, prefix: str, book: RuleBook, note: str = "") -> None:
    """Tells every partition of `usage` that the book is in force from there on. To repeat it does no harm.

    Raises Transient and NotFound as `send_control`; ValueError for a book that was not published."""
    if book.number < 0:
        raise ValueError("a rule book has to be published before it is activated")
    send_control(bootstrap, prefix, activation(book, note))


def send_control(
    bootstrap: str, prefix: str, control: Control, partitions: Sequence[int] | None = None
) -> dict[int, int]:
    """Writes the control into every partition of `usage` (or the given ones) and gives its offset in each.

    Raises NotFound without the topic; Transient where not every partition took it: the message names those, and to
    send it again does no harm, since a control that was taken before changes nothing."""
    topic, value = prefix + USAGE, control.datum()
    with _kafka(bootstrap), _consumer(bootstrap) as consumer:
        known = _partitions(consumer, bootstrap, topic)
    Installation(bootstrap, prefix).announce()
    with _kafka(bootstrap), _producer(bootstrap, enable_idempotence=True) as producer:
        wanted = known if partitions is None else partitions
        sent = {p: producer.send(topic, value=value, partition=p) for p in wanted}
        offsets: dict[int, int] = {}
        failed: dict[int, KafkaError] = {}
        for partition, future in sent.items():
            try:
                offsets[partition] = future.get(timeout=WAIT_S).offset
            except KafkaError as e:
                failed[partition] = e
        if failed:
            raise Transient(
                f"control {control.control_id} did not reach partition {figures.listing([str(p) for p in failed])} of "
                f"{topic} ({next(iter(failed.values()))}); send it again: partitions that have it are not disturbed"
            )
        return offsets


@contextmanager
def _producer(bootstrap: str, **settings: Any) -> Iterator[Any]:
    producer = _connected(
        KafkaProducer,
        bootstrap,
        acks="all",
        compression_type="lz4",
        max_request_size=BOOK_BYTES_MAX,
        max_block_ms=int(WAIT_S * 1000),
        delivery_timeout_ms=int(WAIT_S * 1000),
        request_timeout_ms=int(WAIT_S * 1000) - 5000,
        **settings,
    )
    try:
        yield producer
    finally:
        producer.close(timeout=5)


@contextmanager
def _consumer(bootstrap: str) -> Iterator[Any]:
    consumer = _connected(
        KafkaConsumer,
        bootstrap,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=BOOK_BYTES_MAX,
    )
    try:
        yield consumer
    finally:
        consumer.close(autocommit=False)


def _partitions(consumer: Any, bootstrap: str, topic: str) -> list[int]:
    """The topic's partitions; NotFound at once, where a producer would wait for the topic to come."""
    found = consumer.partitions_for_topic(topic)
    if not found:
        raise NotFound(f"Kafka at {bootstrap} has no topic {topic}; `make up` creates the topics")
    return sorted(found)


@contextmanager
def _kafka(bootstrap: str) -> Iterator[None]:
    """What the Kafka client says, as Transient with the remedy."""
    try:
        yield
    except KafkaError as e:
        raise Transient(f"Kafka at {bootstrap}: {str(e) or type(e).__name__}; try again") from e


def _connected(client: Callable[..., Any], bootstrap: str, **settings: Any) -> Any:
    try:
        return client(bootstrap_servers=bootstrap.split(","), bootstrap_timeout_ms=int(CONNECT_S * 1000), **settings)
    except (KafkaError, OSError) as e:
        raise Transient(
            f"no Kafka broker answers at {bootstrap} ({str(e) or type(e).__name__}); "
            "`make up` starts one, NANOTALLY_KAFKA names another"
        ) from e
