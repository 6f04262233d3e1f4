"""What products and operators write: books, and usage that is lost, late and told twice on its way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.tariffs.books import book_record
from tests.simulation.kafka import Entry, Kafka
from tests.simulation.redrives import Operator
from tests.simulation.workers import PARTITIONS
from tests.simulation.world import Process, Unreachable, World
from tests.support import scenario_books
from tests.support.reference_values import Control, Record
from tests.support.reference_wire import encode
from tests.support.scenarios import Scenario, scenario

LATER_US = 400 * 86_400_000_000
SPREAD_S = 20.0


@dataclass
class Products:
    """`sent`: by bytes, what they mean."""

    world: World
    kafka: Kafka
    books: dict[int, RuleBook] = field(default_factory=dict)
    meaning: dict[bytes | None, Record] = field(default_factory=dict)
    written: dict[int, asyncio.Event] = field(default_factory=dict)  # by book: its publisher was told so

    def begin(self) -> list[asyncio.Task[None]]:
        """Starts to write; the tasks end when everything was sent or given up."""
        world = self.world
        size = world.rng("size").choice((world.size // 2, world.size, world.size * 3 // 2))
        scenario_books.RICH, rich = world.profile.rich, scenario_books.RICH
        try:
            made = [scenario(world.seed, size, PARTITIONS, p) for p in range(PARTITIONS)]
        finally:
            scenario_books.RICH = rich
        self.books = made[0].books
        self.written = {number: asyncio.Event() for number in self.books}
        publishing = [world.spawn(self._publish_books()), *(world.spawn(self._product(one)) for one in made)]
        operators = [Operator(world, self.kafka, p, self.meaning) for p in range(PARTITIONS)]
        return [*publishing, *(world.spawn(operator.run(publishing)) for operator in operators)]

    async def _publish_books(self) -> None:
        """A book's number is its offset; between two there is what transactions leave, and failed tries."""
        rng = self.world.rng("books")
        log = self.kafka.logs["books", 0]
        for number, book in sorted(self.books.items()):
            await asyncio.sleep(rng.choice((0.0, 0.1, rng.uniform(0, SPREAD_S / 5))))
            await self.kafka.until_up()
            while log.end < number:
                tried = number - log.end > 1 and rng.random() < 0.5
                log.entries.append(Entry(log.end, None, None, 0, "publisher", "aborted", control=not tried))
                log.end += 1
            value = book_record(book, 0, "", {})
            if number + 1 in self.books:  # there is no place for a marker
                log.add(None, value, 0)
                self.written[number].set()
                continue
            log.add(None, value, 0, "publisher")
            await asyncio.sleep(rng.choice((0.0, 0.1, 2.0)))
            self.written[number].set()
            await asyncio.sleep(self.world.delay_s())
            log.mark("publisher", "committed")

    async def _product(self, made: Scenario) -> None:
        """Sends the records of one partition, each when its time has come; some overtake others."""
        rng = self.world.rng(f"product {made.partition}")
        process = Process(self.world, f"product {made.partition}", mortal=False)
        on_the_way = []
        for record in made.records:
            await self._until_written(record)
            await asyncio.sleep(rng.expovariate(len(made.records) / SPREAD_S))
            late_s = rng.uniform(0, SPREAD_S / 2) if rng.random() < 0.1 else 0.0
            if late_s:
                self.world.fault("overtaken", process.name)
            on_the_way.append(self.world.spawn(self._send(process, made.partition, record, late_s)))
            if rng.random() < 0.05:
                self.world.fault("published twice", process.name)
                on_the_way.append(self.world.spawn(self._send(process, made.partition, record, late_s + 1.0)))
        await asyncio.gather(*on_the_way)

    async def _until_written(self, record: Record) -> None:
        """Who activates a book has been told before that it is written."""
        value = record.value
        if isinstance(value, Control) and value.book_number in self.written:
            await self.written[value.book_number].wait()

    async def _send(self, process: Process, partition: int, record: Record, late_s: float) -> None:
        """Sends it until an answer comes, or gives up: it may be there all the same, or twice."""
        await asyncio.sleep(late_s)
        value = encode(record)
        self.meaning[value] = record
        at_us = record.recorded_at_us + round(late_s * 60_000_000)
        for _ in range(20):
            try:
                await process.ask(
                    f"usage[{partition}]",
                    lambda: self.kafka.append("usage", partition, [(record.key, value)], at_us),
                )
                return
            except Unreachable:
                await asyncio.sleep(0.5)
        self.world.fault("use given up", process.name)

    def close_the_books(self) -> None:
        """A close of everything, to every partition, once all else was sent."""
        for p in range(PARTITIONS):
            log = self.kafka.logs["usage", p]
            last_us = max((e.at_us for e in log.entries), default=0)
            record = Record(-1, last_us, None, Control("the end", "close", last_us + LATER_US))
            self.meaning[encode(record)] = record
            log.add(None, encode(record), last_us)

    def records(self, partition: int) -> tuple[Record, ...]:
        """What came to lie in a partition of `usage`, in order."""
        return tuple(
            replace(self.meaning[e.value], offset=e.offset, recorded_at_us=e.at_us, key=e.key)
            for e in self.kafka.logs["usage", partition].archive
            if e.state == "committed"
        )
