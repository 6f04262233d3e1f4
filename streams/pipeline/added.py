"""Partitions that were added with Kafka's own tools: refused, or left aside while the installation is moved.

Which partition a payer is in hangs on their number, and state and ledger on that; so nothing in them is ever priced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from nanotally.streams import admin
from nanotally.streams.domain.records import RawChunk
from nanotally.streams.environment import Environment
from nanotally.streams.errors import InvalidInput, Transient
from nanotally.streams.installation import Installation, check_width
from nanotally.streams.pipeline.kafka_broker import KafkaBroker

LOOK_S = 10.0
PER = {topic.name: topic.per for topic in admin.TOPICS}


class AddedPartition:
    """A partition worker that takes nothing: what is in its partition stays for `nanotally migrate`."""

    waiting_for = "`nanotally migrate`: this partition was added, and is read by that alone"

    def __init__(self, broker: KafkaBroker, topic: str, partition: int) -> None:
        self._broker, self._topic, self._partition = broker, topic, partition
        self._closing = asyncio.Event()
        self.position = 0

    async def open(self) -> int:
        self.position, _ = await self._broker.bounds(self._topic, self._partition)
        return self.position

    async def process(self, chunk: RawChunk) -> None:
        """Waits until the partition is given back."""
        await self._closing.wait()

    async def close(self) -> None:
        self._closing.set()

    def figures(self) -> Mapping[str, float]:
        return {}

    def account(self, account: str) -> dict[str, Any] | None:
        """None: it keeps no account."""
        return None


class Width:
    """How many partitions the topics were made with: asked once, and looked at all the time."""

    def __init__(
        self,
        broker: KafkaBroker,
        environment: Environment,
        *,
        leave_aside: bool,
        leave: Callable[[BaseException], object],
    ) -> None:
        """leave_aside: added partitions are left aside; leave: ends the process."""
        self._broker, self._environment = broker, environment
        self._leave_aside, self._leave = leave_aside, leave
        self._made: Mapping[str, int] | None = None
        self._asking = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None

    async def is_added(self, topic: str, partition: int) -> bool:
        """Whether the partition of an input topic is one to be left aside.

        Raises InvalidInput where it was added and nobody said that such are to be left aside."""
        async with self._asking:
            made = self._made = self._made or await self._made_with()
        if partition < made.get(topic, partition + 1):
            return False
        if not self._leave_aside:
            await asyncio.to_thread(self._check, made)
        return True

    async def close(self) -> None:
        """Ends the looking."""
        if self._watch:
            self._watch.cancel()

    async def _made_with(self) -> Mapping[str, int]:
        installation = Installation(self._environment.kafka, self._environment.prefix)
        made = (await asyncio.to_thread(installation.announce)).partitions
        if self._leave_aside:
            widths = {"payers": made["usage"], "accounts": made["earnings"]}
            self._broker.narrow({topic: widths[per] for topic, per in PER.items() if per in widths})
        else:
            self._watch = asyncio.create_task(self._look(made), name="width")
        return made

    async def _look(self, made: Mapping[str, int]) -> None:
        """Notices long before Kafka's client would: whoever publishes may know of added partitions at once."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await asyncio.to_thread(self._check, made)
            except Transient:
                continue  # whoever reads or writes says that Kafka is away
            except InvalidInput as error:
                self._leave(error)

    def _check(self, made: Mapping[str, int]) -> None:
        environment = self._environment
        check_width(environment.prefix, admin.partition_counts(environment.kafka, environment.prefix), made)
