"""Somebody who carries uses without a price once more: those of the ledger, some of them twice, while workers die."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any

from nanotally.schemas import catalog
from tests.simulation.kafka import Kafka
from tests.simulation.world import Process, Unreachable, World
from tests.support.reference_values import Control, Record
from tests.support.reference_wire import decode, encode

CHARGE = catalog.schema("Charge").header
ID = "left over"  # of the controls
AT_ONCE, AT_LAST = 2, 6  # so many at most now and then, and in the end


class Operator:
    """One partition's. `meaning` is told of each control, by its bytes."""

    def __init__(self, world: World, kafka: Kafka, partition: int, meaning: dict[bytes | None, Record]) -> None:
        self.world, self.kafka, self.partition, self.meaning = world, kafka, partition, meaning
        self.process = Process(world, f"operator {partition}", mortal=False)
        self.rng: random.Random = self.process.rng
        self._read_to = 0
        self._unpriced: list[tuple[int, dict[str, Any]]] = []  # offset in usage, and the use

    async def run(self, products: Iterable[asyncio.Task[None]]) -> None:
        """Some now and then while products publish, and in the end: then some have a price, and some were taken."""
        waiting = asyncio.gather(*products)
        while not waiting.done():
            await asyncio.sleep(self.rng.uniform(1, 8))
            for offset, use in self._drawn():
                for _ in range(self.rng.choice((1, 1, 2))):
                    await self._redrive(offset, use)
        self._read()
        for offset, use in self.rng.sample(self._unpriced, k=min(AT_LAST, len(self._unpriced))):
            await self._redrive(offset, use)

    def _drawn(self) -> list[tuple[int, dict[str, Any]]]:
        self._read()
        return self.rng.sample(self._unpriced, k=min(self.rng.randrange(AT_ONCE + 1), len(self._unpriced)))

    def _read(self) -> None:
        """What was committed to the ledger since."""
        log = self.kafka.logs["charges", self.partition]
        for entry in log.committed(self._read_to):
            if entry.value is not None and entry.value.startswith(CHARGE):
                _, charge = decode(entry.value)
                if charge["outcome"] == "unpriced":
                    self._unpriced.append((charge["usage_offset"], charge["event"]))
        self._read_to = log.stable_end

    async def _redrive(self, offset: int, use: dict[str, Any]) -> None:
        """Sends the control until an answer comes, or gives up."""
        sent = self.kafka.logs["usage", self.partition].archive
        at_us = max(entry.at_us for entry in sent)
        record = Record(-1, at_us, None, Control(ID, "redrive", usage_offset=offset, use=use))
        value = encode(record)
        self.meaning[value] = record
        for _ in range(20):
            try:
                await self.process.ask(
                    f"redrive of usage[{self.partition}] {offset}",
                    lambda: self.kafka.append("usage", self.partition, [(None, value)], at_us),
                )
            except Unreachable:
                await asyncio.sleep(0.5)
            else:
                self.world.effect("use redriven", self.process.name)
                return
