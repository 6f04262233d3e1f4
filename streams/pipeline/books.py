"""The rule books of topic `books`, read when a stage needs one; a book's number is its offset."""

from __future__ import annotations

import logging
from collections.abc import Callable

from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.errors import BrokenInvariant
from nanotally.streams.pipeline.broker import Broker
from nanotally.streams.pipeline.clock import Clock
from nanotally.streams.tariffs.books import book_of

log = logging.getLogger(__name__)

TOPIC = "books"
POLL_S = 0.25
SAY_EVERY_S = 5.0


class Books:
    """All books seen so far, shared by the partitions of a worker; a published book never changes."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self._known: dict[int, RuleBook] = {}
        self._empty: set[int] = set()  # offsets at which there is no record, and never will be

    async def get(
        self, number: int, who: str, given_up: Callable[[], bool], *, certain: bool = True
    ) -> RuleBook | None:
        """The book; waits until its transaction is decided, saying so, or until `given_up()`: then None.

        certain: whether state or ledger say that it is there. Where only a control says so it may be a mistake: None
        at once where no such book was written. A book is published by one process, which activates it once it was
        told that the book is written, so a book that is not below the end of the topic now, after its activation was
        read, is not meant to be. Who publishes it later activates it again; what was decided is in the ledger, and
        is not decided again.

        Raises BrokenInvariant where what is at that offset is no rule book, or not what its hash says, or where it
        must be there and is not."""
        said_s: float | None = None
        while number not in self._known:
            may_come = await self._read(number)
            if number in self._known:
                break
            if certain and number in self._empty:
                raise BrokenInvariant(
                    f"there is no record at offset {number} of topic {TOPIC}, asked for as a rule book"
                )
            if given_up() or not (certain or may_come):
                return None
            if said_s is None or self._clock.seconds() - said_s >= SAY_EVERY_S:
                said_s = self._clock.seconds()
                log.warning("%s waits for rule book %d, which is not in topic %s yet", who, number, TOPIC)
            await self._clock.sleep(POLL_S)
        return self._known[number]

    async def _read(self, number: int) -> bool:
        """Takes the book if it is there; False where no book was written at that offset."""
        if number in self._empty:
            return False
        first, end = await self._broker.bounds(TOPIC, 0)
        if number < first:
            raise BrokenInvariant(
                f"rule book {number} is asked for, but topic {TOPIC} begins at {first}: books were deleted; "
                f"retention of that topic must be without limit"
            )
        if number >= end:
            return number < await self._broker.written(TOPIC, 0)
        async for batch in self._broker.read_log(TOPIC, 0, number, number + 1):
            for offset, value in zip(batch.offsets, batch.values, strict=True):
                self._known[int(offset)] = book_of(value, int(offset))
        if number not in self._known:  # a mark of Kafka's, or of a transaction that was aborted
            self._empty.add(number)
        return number in self._known
