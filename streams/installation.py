"""Topic `installation`: what every version of nanotally that works here has to know, whatever its own release holds.

* The schemas of all that was ever written here, each told before the first record is written with it. Who meets an
  unknown fingerprint looks here, so versions read each other's records.
* The numbers of partitions that the installation was made with, so that added ones are noticed.

One partition, kept without limit; a record's key says what it is, its value is JSON. Records of other kinds are left
alone: later versions may add some. What is told twice is the same; of two numbers of partitions the first counts.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from nanotally.schemas import catalog, learning, sources
from nanotally.schemas.learning import RefusedSchema
from nanotally.streams import admin
from nanotally.streams.errors import InvalidInput, Transient

log = logging.getLogger(__name__)

TOPIC = "installation"
SCHEMA, PARTITIONS, CARRIED, MOVING = "schema", "partitions", "carried", "moving"
CONNECT_S = 5.0
WAIT_S = 15.0
LEDGER_OF = {"usage": "charges", "earnings": "account_tallies"}  # topic whose number is told -> what hangs on it


@dataclass
class Told:
    """What the topic says. schemas: fingerprints, in hex; partitions: by topic (usage, earnings), empty where nobody
    has told yet; carried: by partition of `usage` the offset before which all uses were carried over from another
    installation, to be known and not to be priced; moving: what the last `nanotally migrate` has told of this one."""

    schemas: set[str] = field(default_factory=set)
    partitions: dict[str, int] = field(default_factory=dict)
    carried: dict[int, int] = field(default_factory=dict)
    moving: dict[str, Any] = field(default_factory=dict)

    @property
    def moved_to(self) -> str:
        """Prefix of the installation that goes on in place of this one; '' where there is none."""
        return str(self.moving["to"]) if self.moving.get("done") else ""


class Installation:
    """One installation's topic; may be used by several threads. Connects when it is first asked."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._bootstrap, self._prefix = bootstrap, prefix
        self._place = TopicPartition(prefix + TOPIC, 0)
        self._lock = threading.RLock()
        self._consumer: Any = None
        self._next = 0
        self._told = Told()

    def read(self) -> Told:
        """Everything told so far; learns the schemas. Raises Transient where Kafka cannot be reached."""
        with self._lock:
            for again in (True, False):
                try:
                    self._read()
                    break
                except KafkaError as e:
                    self.close()  # a connection that rested for long may be gone: a second try has a new one
                    if not again:
                        raise self._away(e) from e
            return self._told

    def announce(self) -> Told:
        """Tells what is not told yet: this release's schemas, and the numbers of partitions. To repeat it does no harm.

        The connection is closed afterwards, until it is asked again. Raises Transient where Kafka cannot be reached."""
        try:
            return self._announced()
        finally:
            self.close()

    def _announced(self) -> Told:
        told = self.read()
        mine = {known.fingerprint.hex(): known for known in map(catalog.schema, catalog.names())}
        news: dict[str, Any] = {
            f"{SCHEMA}/{name}": json.loads(learning.told(known.text))
            for name, known in mine.items()
            if name not in told.schemas
        }
        counts = admin.partition_counts(self._bootstrap, self._prefix) if news or not told.partitions else {}
        if counts and not told.partitions and set(LEDGER_OF.values()) <= counts.keys():
            news[PARTITIONS] = {topic: counts[ledger] for topic, ledger in LEDGER_OF.items()}
        if news:
            if TOPIC not in counts:
                admin.ensure_topic(self._bootstrap, self._prefix, TOPIC)
            self.tell(news)
            told = self.read()
        return told

    def tell(self, news: Mapping[str, Any]) -> None:
        """Adds records: what can be written as JSON, by key. They can be read by anybody when this returns."""
        try:
            producer = KafkaProducer(
                bootstrap_servers=self._bootstrap.split(","),
                bootstrap_timeout_ms=int(CONNECT_S * 1000),
                acks="all",
                enable_idempotence=True,
                max_block_ms=int(WAIT_S * 1000),
                delivery_timeout_ms=int(WAIT_S * 1000),
                request_timeout_ms=int(WAIT_S * 500),
            )
            try:
                sent = [
                    producer.send(self._place.topic, key=key.encode(), value=json.dumps(value).encode(), partition=0)
                    for key, value in news.items()
                ]
                for future in sent:
                    future.get(timeout=WAIT_S)
            finally:
                producer.close(timeout=CONNECT_S)
        except (KafkaError, OSError) as e:
            raise self._away(e) from e

    def close(self) -> None:
        """Ends the connection; what was read stays."""
        with self._lock:
            consumer, self._consumer = self._consumer, None
            if consumer is not None:
                with suppress(KafkaError, OSError):
                    consumer.close(autocommit=False)

    def _read(self) -> None:
        if self._consumer is None:
            self._consumer = self._connected()
        consumer = self._consumer
        if not consumer.partitions_for_topic(self._place.topic):
            return  # nobody has told anything here
        if self._place not in consumer.assignment():
            consumer.assign([self._place])
            consumer.seek(self._place, self._next)
        end = consumer.end_offsets([self._place], timeout_ms=int(WAIT_S * 500))[self._place]
        while self._next < end:
            found = consumer.poll(timeout_ms=int(WAIT_S * 1000)).get(self._place, [])
            for record in found:
                self._take(record)
            at = consumer.position(self._place)
            if not found and at == self._next:
                raise Transient(f"Kafka at {self._bootstrap} gave nothing of {self._place.topic} for {WAIT_S:.0f} s")
            self._next = at

    def _connected(self) -> Any:
        try:
            return KafkaConsumer(
                bootstrap_servers=self._bootstrap.split(","),
                bootstrap_timeout_ms=int(CONNECT_S * 1000),
                isolation_level="read_committed",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
            )
        except (KafkaError, OSError) as e:
            raise self._away(e) from e

    def _take(self, record: Any) -> None:
        """One record of the topic; one that cannot be used is said in the log and left out."""
        kind, _, name = (record.key or b"").decode("utf-8", "replace").partition("/")
        where = f"{self._place.topic} offset {record.offset}"
        try:
            if kind == SCHEMA:
                found = learning.learn(record.value or b"", _fingerprint(name))
                self._told.schemas.add(found.fingerprint.hex())
            elif kind == PARTITIONS and not self._told.partitions:
                self._told.partitions = _numbers(record.value, LEDGER_OF)
            elif kind == CARRIED:
                before = _numbers(record.value)
                self._told.carried = {int(partition): offset for partition, offset in before.items()}
            elif kind == MOVING:
                moving = json.loads(record.value or b"")
                if not isinstance(moving, dict) or not isinstance(moving.get("to"), str):
                    raise ValueError("it does not say where to")
                self._told.moving = moving
        except (RefusedSchema, ValueError) as e:
            log.warning("%s is left out (%s/%s): %s", where, kind, name, e)

    def _away(self, error: BaseException) -> Transient:
        said, topic = str(error) or type(error).__name__, self._place.topic
        return Transient(f"Kafka at {self._bootstrap} cannot be reached for topic {topic}: {said}; try again")


def look_up_in(bootstrap: str, prefix: str, owner: object) -> Installation:
    """From now on unknown schemas are looked up there; `owner`: whose wish that is, a later one of it takes its place.

    Nothing connects before one is met."""
    found = Installation(bootstrap, prefix)
    sources.look_up_in(lambda: _learn(found), owner)
    return found


def join(bootstrap: str, prefix: str, owner: object, leave_added: bool = False) -> Told:
    """What everybody does who writes: tells its schemas, looks up those of others, and refuses added partitions, but
    where `leave_added` says that they are known.

    Raises InvalidInput for those, and Transient where Kafka cannot be reached."""
    found = look_up_in(bootstrap, prefix, owner)
    told = found.announce()
    if not leave_added:
        check_width(prefix, admin.partition_counts(bootstrap, prefix), told.partitions)
    return told


def check_width(prefix: str, counts: Mapping[str, int], made: Mapping[str, int]) -> None:
    """Raises InvalidInput where `usage` or `earnings` has other partitions than it was made with (by topic)."""
    for topic, number in made.items():
        if counts.get(topic, number) != number:
            raise InvalidInput(widened(prefix, topic, counts[topic], number), reason="widened")


def told_of(bootstrap: str, prefix: str) -> Told:
    """What was told of an installation, read once. Raises Transient."""
    found = Installation(bootstrap, prefix)
    try:
        return found.read()
    finally:
        found.close()


def added(told: Told, counts: Mapping[str, int]) -> list[admin.Finding]:
    """What the doctor says of added partitions."""
    return [
        admin.Finding(
            topic,
            f"has {counts[topic]} partitions, but this installation was made with {number}",
            "somebody added some with Kafka's own tools: workers refuse to run; go on in a new one: `nanotally "
            "migrate` (docs/operations.md, 'More partitions')",
        )
        for topic, number in told.partitions.items()
        if counts.get(topic, number) != number
    ]


def widened(prefix: str, topic: str, found: int, made: int) -> str:
    """What to say of a topic with more partitions than it was made with."""
    return (
        f"topic {prefix}{topic} has {found} partitions, but this installation was made with {made}: somebody added "
        f"some with Kafka's own tools. State, row keys and the ledger hang on the {made}, so nothing is taken and "
        f"nothing is lost; Kafka takes no partition away. Go on in a new installation: `nanotally migrate` "
        f"(docs/operations.md, 'More partitions')"
    )


def _learn(found: Installation) -> None:
    found.read()


def _fingerprint(name: str) -> bytes:
    digest = bytes.fromhex(name)
    if len(digest) != learning.FINGERPRINT_BYTES:
        raise ValueError(f"{name!r} is no fingerprint")
    return digest


def _numbers(value: bytes | None, names: Mapping[str, str] | None = None) -> dict[str, int]:
    """A JSON object of whole numbers; with `names` of just those, from 1 on."""
    found = json.loads(value or b"")
    if not isinstance(found, dict) or not all(type(n) is int and n >= 0 for n in found.values()):
        raise ValueError("it is no object of whole numbers")
    if names is not None and (found.keys() != names.keys() or min(found.values()) < 1):
        raise ValueError(f"it does not have just {', '.join(names)}, from 1 on")
    return found
