"""The way in for products: `Publisher` turns a use into a usage event in Kafka and reads its charge back.

with Publisher("localhost:9092", product="news") as nano:
    use = nano.use("page.view", payer="p-7f3a", item="/blog/faust", creator="ana")
    print(nano.charge(use, timeout_s=2))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType
from typing import Any

from nanotally.streams.domain.explaining import HASH_DIGITS, why_nothing
from nanotally.streams.domain.tariff import TariffVersion
from nanotally.streams.environment import Environment
from nanotally.streams.errors import InvalidInput, Transient
from nanotally.streams.publisher_bulk import DeliveryFailed, OnStall
from nanotally.streams.publisher_kafka import Broker, Delivery, KafkaBroker, no_book
from nanotally.streams.publisher_receipts import ChargeView, view
from nanotally.streams.publisher_uses import InvalidUse, KnownMeters, Number, check_pseudonym_key, datum, usage_record

__all__ = ["ChargeView", "DeliveryFailed", "InvalidUse", "Publisher", "Use"]

DELIVERY_TIMEOUT_S = 120.0
BOOK_AGE_MIN_S = 2.0  # an unknown meter makes the publisher look for a newer rule book, but not more often than this


@dataclass(frozen=True)
class Use:
    """A use that was published, perhaps still on its way. `payer` is the pseudonym where the publisher makes one."""

    event_id: str
    payer: str
    _delivery: Delivery = field(repr=False)

    def wait(self, timeout_s: float = 10.0) -> tuple[int, int]:
        """Partition and offset of the use in topic `usage`. Raises Transient where the broker has not taken it."""
        return self._delivery.wait(timeout_s)


class Publisher:
    """Publishes uses of one product; a context manager. Connects at the first use, not before.

    bootstrap: Kafka's host:port, default from the environment; product: of each use that names none; prefix: of the
    topics' names, default from the environment; pseudonym_key: at least 16 secret bytes: payers leave as keyed
    pseudonyms (HMAC-SHA256, 32 hex digits), the same payer always as the same one. Safe to use from several threads."""

    def __init__(
        self,
        bootstrap: str | None = None,
        *,
        product: str | None = None,
        prefix: str | None = None,
        pseudonym_key: bytes | None = None,
        delivery_timeout_s: float = DELIVERY_TIMEOUT_S,
        connect: Callable[[str, str, float], Broker] = KafkaBroker,
    ) -> None:
        environment = Environment.load() if bootstrap is None else None
        self._bootstrap = bootstrap if environment is None else environment.kafka
        self._prefix = prefix if prefix is not None else environment.prefix if environment else ""
        self._product = product
        self._key = check_pseudonym_key(pseudonym_key)
        self._timeout_s = delivery_timeout_s
        self._connect = connect
        self._broker: Broker | None = None
        self._meters: KnownMeters | None = None
        self._read_at = 0.0
        self._versions: dict[str, TariffVersion] = {}

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.flush()
            elif self._broker is not None and isinstance(error, Exception):
                self._broker.flush(5.0)  # the caller's own error goes on; uses that were fine still arrive
        except Transient as e:
            if error is None:
                raise
            error.add_note(str(e))
        finally:
            self.close()

    def use(
        self,
        meter: str,
        *,
        payer: str,
        item: str,
        quantity: Number = "1",
        creator: str | None = None,
        session: str | None = None,
        duration_s: float | Decimal | str | None = None,
        occurred_at: datetime | None = None,
        event_id: str | None = None,
        **attributes: Number,
    ) -> Use:
        """Publishes one use and returns at once.

        quantity: exact, as text, int or Decimal; occurred_at: an aware datetime, default now; event_id: default a
        new UUID; attributes: further facts a tariff may ask for, such as segment='school'. Raises InvalidUse (an
        InvalidInput), which names the field and the remedy; TypeError for a float; Transient where Kafka is away."""
        given = {
            "meter": meter,
            "payer": payer,
            "item": item,
            "quantity": quantity,
            "creator": creator,
            "session": session,
            "duration_s": duration_s,
            "occurred_at": occurred_at,
            "event_id": event_id,
            "attributes": attributes,
        }
        record = self.record(given)
        delivery = self._connected().send(record["payer"].encode(), datum(record), record["event_id"])
        return Use(record["event_id"], record["payer"], delivery)

    def record(self, use: Mapping[str, Any]) -> dict[str, Any]:
        """The usage event of one use, checked against the rule book and not sent. Raises as `use`."""
        now = datetime.now(UTC)
        try:
            return usage_record(use, self._known_meters(), self._product, self._key, now)
        except InvalidUse as e:
            if e.field not in ("meter", "product") or time.monotonic() - self._read_at < BOOK_AGE_MIN_S:
                raise
            # Perhaps a newer book knows it.
            return usage_record(use, self._read_book(), self._product, self._key, now)

    def publish_batch(
        self,
        uses: Iterable[Mapping[str, Any]],
        on_invalid: Callable[[int, InvalidInput | TypeError], None] | None = None,
        on_progress: Callable[[int], None] | None = None,
        on_stall: OnStall | None = None,
    ) -> int:
        """Publishes many uses, in order, and waits until they have arrived; gives their number.

        uses: mappings with the arguments of `use` by name, `attributes` a mapping, `product` where it is another;
        on_invalid: gets place (from 0) and error of each use that is left out; without it the first one is raised,
        after those before it have arrived; on_progress: gets the number of uses taken so far, now and then;
        on_stall: gets for how many seconds Kafka has not answered, while that lasts. Raises DeliveryFailed."""
        self.flush()
        self._known_meters()
        with self._connected().bulk(on_stall) as sender:
            for place, use in enumerate(uses):
                try:
                    record = self.record(use)
                except (InvalidInput, TypeError) as e:
                    if on_invalid is None:
                        raise
                    on_invalid(place, e)
                    continue
                sender.put(record)
                if on_progress is not None and sender.taken % 1000 == 0:
                    on_progress(sender.taken)
        if on_progress is not None:
            on_progress(sender.taken)
        return sender.taken

    def flush(self, timeout_s: float | None = None) -> None:
        """Waits until all uses have arrived. Raises DeliveryFailed with the ids of those that have not."""
        if self._broker is not None:
            self._broker.flush(self._timeout_s if timeout_s is None else timeout_s)

    def charge(self, use: Use, timeout_s: float = 2.0) -> ChargeView:
        """What became of the use, read back from the ledger; waits until it is rated.

        Raises Transient where that took longer than the timeout, in seconds."""
        started = time.monotonic()
        partition, offset = use.wait(timeout_s)
        name = f"{partition}-{offset}"
        found = self._connected().find(partition, offset, max(0.0, timeout_s - (time.monotonic() - started)))
        if found is None:
            raise Transient(
                f"use {use.event_id} is recorded as {name} but was not rated within {timeout_s:g} s; "
                "are the workers running? `nanotally doctor` says"
            )
        return view(name, found, self._why_nothing)

    def close(self) -> None:
        """Ends the connections; `flush` first, or what is on its way may be lost. A context manager does both."""
        broker, self._broker = self._broker, None
        if broker is not None:
            broker.close()

    def _connected(self) -> Broker:
        if self._broker is None:
            self._broker = self._connect(self._bootstrap or "", self._prefix, self._timeout_s)
        return self._broker

    def _known_meters(self) -> KnownMeters:
        return self._meters or self._read_book()

    def _read_book(self) -> KnownMeters:
        book = self._connected().newest_book()
        if book is None:
            raise no_book(self._prefix)
        self._meters, self._read_at = KnownMeters(book), time.monotonic()
        self._versions.update((version.content_hash[:HASH_DIGITS], version) for version in book.tariffs)
        return self._meters

    def _why_nothing(self, charge: Mapping[str, Any]) -> str:
        line = charge["lines"][0]
        if line["tariff_hash"] not in self._versions:
            self._read_book()  # rated by a newer book than the one read
        version = self._versions.get(line["tariff_hash"])
        return why_nothing(line, version) if version else "free"
