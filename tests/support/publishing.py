"""A broker in memory for the publisher, with a rule book that has two tariffs."""

from __future__ import annotations

from fractions import Fraction
from types import TracebackType
from typing import Any

from nanotally.schemas import codec
from nanotally.streams.domain.tariff import Meter, Party, Rule, RuleBook, Settings, Split, TariffVersion, Tier
from nanotally.streams.publisher_bulk import DeliveryFailed, OnStall
from nanotally.streams.publisher_receipts import Found

STANDARD = Split("standard", (Party("platform", Fraction(1, 10)), Party("creator", None)))
ARTICLE = Rule(
    "article", "page.view", (), (Tier(1, Fraction(5_000_000)), Tier(None, Fraction(0))), ("item",), "day", "standard"
)
MEDIA = TariffVersion(
    "media",
    3,
    0,
    "USD",
    "UTC",
    ("news", "music"),
    (Meter("page.view", "page"), Meter("play", "second", 3, ("session",))),
    (STANDARD,),
    (ARTICLE,),
)
SENSORS = TariffVersion("sensors", 1, 0, "USD", "UTC", ("grid",), (Meter("reading", "reading", 1),), (STANDARD,), ())
BOOK = RuleBook(7, Settings(), (MEDIA, SENSORS))


class Arrived:
    """A delivery that is there at once."""

    def __init__(self, place: tuple[int, int]) -> None:
        self._place = place

    def wait(self, timeout_s: float) -> tuple[int, int]:
        return self._place


class MemorySender:
    """Takes usage events; there when its context ends."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.taken = 0

    def __enter__(self) -> MemorySender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def put(self, record: dict[str, Any]) -> None:
        self.taken += 1
        self._broker.sent.append((record["payer"].encode(), codec.encode_one("UsageEvent", record)))


class MemoryBroker:
    """A broker that takes everything, and gives what a test puts in."""

    def __init__(self, book: RuleBook | None = BOOK) -> None:
        self.book = book
        self.books_read = 0
        self.sent: list[tuple[bytes, bytes]] = []
        self.found: Found | None = None
        self.undelivered: tuple[str, ...] = ()
        self.closed = False

    def __call__(self, bootstrap: str, prefix: str, timeout_s: float) -> MemoryBroker:
        return self

    def newest_book(self) -> RuleBook | None:
        self.books_read += 1
        return self.book

    def send(self, key: bytes, value: bytes, event_id: str) -> Arrived:
        self.sent.append((key, value))
        return Arrived((2, 1000 + len(self.sent)))

    def flush(self, timeout_s: float) -> None:
        failed, self.undelivered = self.undelivered, ()
        if failed:
            raise DeliveryFailed(failed, TimeoutError("no answer"))

    def bulk(self, on_stall: OnStall | None) -> MemorySender:
        return MemorySender(self)

    def find(self, partition: int, offset: int, wait_s: float) -> Found | None:
        return self.found

    def close(self) -> None:
        self.closed = True

    def event(self, place: int = -1) -> dict[str, Any]:
        """The usage event sent at that place, decoded."""
        return codec.decode_one(self.sent[place][1])[1]
