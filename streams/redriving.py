"""Records of `usage` that were rejected or found no price, put in once more, each at most once and with its history.

The new record in `usage` and the record in topic `redrives` that speaks of it are one transaction of one transactional
id, taken before `redrives` is read: whoever redrives at the same time is fenced, so nothing is redriven twice."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kafka import KafkaProducer
from kafka.errors import InvalidProducerEpochError, KafkaError, ProducerFencedError

from nanotally.schemas import codec
from nanotally.streams import admin
from nanotally.streams.dead_letters import Again, Place
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.errors import NotFound, Transient
from nanotally.streams.installation import Installation, check_width
from nanotally.streams.publisher_ledger import TopicReader, kafka_errors, run

TOPIC = "redrives"
TRANSACTION_RECORDS = 500
# Workers wait for an open transaction of a process that died in the middle, so it must not stay open for long.
TRANSACTION_MS = 15_000
WAIT_S = 10.0


# ---- history ----


@dataclass(frozen=True, slots=True)
class Step:
    """What a Redrive record says of the place it is of."""

    to: Place
    reason: str
    event_id: str
    mended: bool
    at_us: int
    note: str


History = dict[Place, Step]


async def history(reader: TopicReader) -> History:
    """All that was redriven so far. In an installation that never heard of topic `redrives`: nothing."""
    try:
        bounds = await reader.bounds(TOPIC)
    except NotFound:
        return {}
    found: History = {}
    async for records in reader.stream(TOPIC, bounds):
        for value in records.values:
            record = codec.decode_one(value)[1]
            found[record["partition"], record["offset"]] = Step(
                (record["to_partition"], record["to_offset"]), sys.intern(record["reason"]), record["event_id"],
                record["mended"], record["at"], sys.intern(record["note"]),
            )  # fmt: skip
    return found


def steps(of: History, place: Place) -> list[tuple[Place, Step]]:
    """From the place on, each step that followed from the one before."""
    found: list[tuple[Place, Step]] = []
    while (step := of.get(place)) is not None:
        found.append((place, step))
        place = step.to
    return found


# ---- writing ----


@dataclass(frozen=True)
class Redriven:
    """Where it is now; `before`: it was redriven earlier, and nothing was done."""

    place: Place
    to: Place
    before: bool


def redrive(bootstrap: str, prefix: str, uses: Sequence[Again], now_us: int, note: str = "") -> list[Redriven]:
    """Puts the records into `usage`, each with its Redrive record; what was redriven before is left alone.

    Makes topic `redrives` where an older release did not. Raises Transient where Kafka cannot be reached or somebody
    else redrives at the same time: what was not committed by then was not done, and to run it again does no harm.
    Raises InvalidInput where partitions were added: there no use has its place before the installation is moved."""
    if not uses:
        return []
    admin.ensure_topic(bootstrap, prefix, TOPIC)
    made = Installation(bootstrap, prefix).announce().partitions
    check_width(prefix, admin.partition_counts(bootstrap, prefix), made)
    done: list[Redriven] = []
    with kafka_errors(bootstrap):
        producer = KafkaProducer(
            bootstrap_servers=bootstrap.split(","),
            transactional_id=f"{prefix}{TOPIC}",
            transaction_timeout_ms=TRANSACTION_MS,
            acks="all",
            compression_type="lz4",
            max_block_ms=int(WAIT_S * 1000),
            bootstrap_timeout_ms=10_000,
            allow_auto_create_topics=False,
        )
        try:
            producer.init_transactions()
            known, partitions = run(_known(bootstrap, prefix))
            for first in range(0, len(uses), TRANSACTION_RECORDS):
                some = uses[first : first + TRANSACTION_RECORDS]
                new = {use.place: use for use in some if use.place not in known}
                to = _transaction(producer, prefix, list(new.values()), partitions, now_us, note) if new else {}
                known |= to
                for use in some:
                    before = new.pop(use.place, None) is None
                    done.append(Redriven(use.place, known[use.place], before))
        except KafkaError as e:
            if not _is_fenced(e):
                raise
            raise Transient(
                "somebody else redrives at the same time, or it took too long; run it again: nothing is done twice"
            ) from e
        finally:
            producer.close(timeout=5)
    return done


def _is_fenced(error: KafkaError) -> bool:
    """Whether somebody else has the transactional id by now; kafka-python may say so inside of another error."""
    fenced = (ProducerFencedError, InvalidProducerEpochError)
    return isinstance(error, fenced) or any(isinstance(part, fenced) for part in error.args)


async def _known(bootstrap: str, prefix: str) -> tuple[dict[Place, Place], int]:
    """Where the places went that were redriven before, and the number of partitions of `usage`."""
    async with TopicReader(bootstrap, prefix) as reader:
        return {place: step.to for place, step in (await history(reader)).items()}, len(reader.partitions("usage"))


def _transaction(
    producer: Any, prefix: str, uses: Sequence[Again], partitions: int, now_us: int, note: str
) -> dict[Place, Place]:
    """One transaction of those uses, which are of different places; gives where each went."""
    producer.begin_transaction()
    try:
        sent = {
            use.place: producer.send(
                f"{prefix}usage",
                key=use.payer.encode(),
                value=use.value,
                partition=partition_of(use.payer.encode(), partitions) if use.partition is None else use.partition,
            )
            for use in uses
        }
        producer.flush(timeout=WAIT_S)
        at = {place: future.get(timeout=WAIT_S) for place, future in sent.items()}
        to: dict[Place, Place] = {place: (found.partition, found.offset) for place, found in at.items()}
        for use in uses:
            record = {
                "partition": use.place[0],
                "offset": use.place[1],
                "reason": use.reason,
                "to_partition": to[use.place][0],
                "to_offset": to[use.place][1],
                "event_id": use.event_id,
                "mended": use.mended,
                "at": now_us,
                "note": note,
            }
            producer.send(f"{prefix}{TOPIC}", value=codec.encode_one("Redrive", record), partition=0)
        producer.commit_transaction()
    except BaseException:
        with suppress(KafkaError):  # else whoever redrives next ends it, or the broker after TRANSACTION_MS
            producer.abort_transaction()
        raise
    return to
