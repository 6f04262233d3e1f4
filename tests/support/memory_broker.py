"""A broker in memory that does what the stages rely on: transactions, fencing, control records, committed reads.

Held to the same contract as the real one by tests/contract/test_broker.py. What a real one does over time it does at
once; `hold_commits` and `lose_answer` plan the moments that matter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from nanotally.streams.domain.records import Emission, RawChunk
from nanotally.streams.errors import BrokenInvariant, Transient
from nanotally.streams.pipeline.broker import LogBatch, Taken, TopicFacts

BATCH = 1000  # records that read_log gives at a time


@dataclass
class Entry:
    """One offset of a partition: a record, or a control record that says how its writer's transaction ended."""

    key: bytes | None
    value: bytes | None
    recorded_at_us: int = 0
    writer: object | None = None  # of the transaction; None outside of one
    state: str = "committed"  # open, committed, aborted
    control: bool = False


@dataclass
class Log:
    """One partition."""

    first: int = 0
    entries: list[Entry] = field(default_factory=list)

    @property
    def stable_end(self) -> int:
        """Everything before it is decided."""
        for i, entry in enumerate(self.entries):
            if entry.state == "open":
                return self.first + i
        return self.first + len(self.entries)


class MemoryBroker:
    def __init__(self, topics: dict[str, int], cluster_id: str = "memory") -> None:
        """topics: number of partitions by logical name."""
        self.cluster_id = cluster_id
        self.logs = {(topic, p): Log() for topic, n in topics.items() for p in range(n)}
        self.topic_ids = {topic: f"id-of-{topic}" for topic in topics}
        self.committed_positions: dict[tuple[str, int], int] = {}
        self.fail_at: str | None = None  # 'produce', 'commit', 'answer': where the next transaction fails
        self.reads = 0  # records given to readers
        self._owners: dict[tuple[str, int], MemoryTransactions] = {}

    # What a producer or an operator does.

    def append(self, topic: str, partition: int, values: Sequence[bytes | None], at_us: int = 0) -> None:
        """Records outside of any transaction, as a product writes them."""
        self.logs[topic, partition].entries += [Entry(None, value, at_us) for value in values]

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """What retention does."""
        log = self.logs[topic, partition]
        del log.entries[: offset - log.first]
        log.first = offset

    def values(self, topic: str, partition: int) -> list[bytes | None]:
        """All committed records of a partition."""
        return [e.value for e in self.logs[topic, partition].entries if e.state == "committed" and not e.control]

    def fetch(self, topic: str, partition: int, from_offset: int, records: int) -> RawChunk:
        """A chunk as the transport would hand it over."""
        found = self._committed(topic, partition, from_offset, None)[:records]
        return RawChunk(
            topic,
            partition,
            np.array([o for o, _ in found], np.int64),
            np.array([e.recorded_at_us for _, e in found], np.int64),
            [e.key for _, e in found],
            [e.value for _, e in found],
        )

    # The protocol.

    async def describe(self, topic: str) -> TopicFacts:
        partitions = sum(t == topic for t, _ in self.logs)
        if not partitions:
            raise Transient(f"there is no topic {topic} yet")
        return TopicFacts(self.cluster_id, self.topic_ids[topic], partitions)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        log = self.logs[topic, partition]
        return log.first, log.stable_end

    async def written(self, topic: str, partition: int) -> int:
        log = self.logs[topic, partition]
        return log.first + len(log.entries)

    async def read_log(
        self, topic: str, partition: int, from_offset: int, to_offset: int | None = None
    ) -> AsyncIterator[LogBatch]:
        log = self.logs[topic, partition]
        if from_offset < log.first:
            raise BrokenInvariant(f"{topic}[{partition}] has no offset {from_offset} any more")
        found = self._committed(topic, partition, from_offset, to_offset)
        for i in range(0, len(found), BATCH):
            part = found[i : i + BATCH]
            self.reads += len(part)
            yield LogBatch(np.array([o for o, _ in part], np.int64), [e.value for _, e in part])

    def _committed(self, topic: str, partition: int, start: int, end: int | None) -> list[tuple[int, Entry]]:
        log = self.logs[topic, partition]
        stop = log.stable_end if end is None else min(end, log.stable_end)
        return [
            (offset, entry)
            for offset, entry in enumerate(log.entries[start - log.first : stop - log.first], start)
            if entry.state == "committed" and not entry.control
        ]

    async def fence(self, stage: str, partition: int) -> MemoryTransactions:
        earlier = self._owners.get((stage, partition))
        if earlier:
            earlier.fenced = True
            earlier.end("aborted")
        owner = self._owners[stage, partition] = MemoryTransactions(self, f"{stage}[{partition}]")
        return owner


class MemoryTransactions:
    def __init__(self, broker: MemoryBroker, name: str) -> None:
        self.broker = broker
        self.name = name
        self.fenced = False

    async def transact(self, emissions: Sequence[Emission], taken: Taken) -> dict[tuple[str, int], int]:
        planned, self.broker.fail_at = self.broker.fail_at, None
        if self.fenced:
            raise Transient(f"another worker has taken over {self.name}")
        ends = {}
        for emission in emissions:
            log = self.broker.logs[emission.topic, emission.partition]
            log.entries += [
                Entry(key, value, writer=self, state="open")
                for key, value in zip(emission.keys, emission.values, strict=True)
            ]
            ends[emission.topic, emission.partition] = log.first + len(log.entries)
            if planned == "produce":
                raise Transient("the broker went away while records were written")
        if planned == "commit":
            raise Transient("the broker went away before the commit")
        self.end("committed")
        self.broker.committed_positions[taken.topic, taken.partition] = taken.next_offset
        if planned == "answer":
            raise Transient("the broker committed, but its answer was lost")
        return ends

    def end(self, state: str) -> None:
        """Ends the open transaction, with a control record in every partition that it wrote."""
        for log in self.broker.logs.values():
            mine = [e for e in log.entries if e.writer is self and e.state == "open"]
            for entry in mine:
                entry.state = state
            if mine:
                log.entries.append(Entry(None, None, writer=self, state=state, control=True))

    async def close(self) -> None:
        """An open transaction stays open until somebody fences it, as on a real broker until its timeout."""
