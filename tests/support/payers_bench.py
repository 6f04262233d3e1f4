"""A payers' partition in a test's hands: books, events, controls in; decoded records out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from nanotally.schemas import codec
from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.records import RawChunk
from nanotally.streams.domain.tariff import Meter, Party, Rule, RuleBook, Settings, Split, TariffVersion, Tier

T0 = 1_794_009_600_000_000  # 2026-11-07T00:00:00Z
SECOND, MINUTE, HOUR, DAY = 10**6, 60 * 10**6, 3600 * 10**6, 86400 * 10**6

TENTH = Split("standard", (Party("platform", Fraction(1, 10)), Party("creator", None)))


def rule(name: str = "article", meter: str = "page", price: str = "5000000", **more: Any) -> Rule:
    """A flat rule; price in exact nanos per unscaled unit."""
    fields: dict[str, Any] = {
        "when": (), "tiers": (Tier(None, Fraction(price)),), "per": (), "scope": "life", "split": "standard",
    }  # fmt: skip
    return Rule(name, meter, **(fields | more))


def version(*rules: Rule, number: int = 1, name: str = "t", since_us: int = 0, **more: Any) -> TariffVersion:
    """A version with meters page (scale 0) and play (scale 3, needs a session)."""
    fields: dict[str, Any] = {
        "currency": "USD", "calendar": "UTC", "products": (), "splits": (TENTH,),
        "meters": (Meter("page", "page"), Meter("play", "second", 3, ("session",))),
    }  # fmt: skip
    return TariffVersion(name, number, since_us, rules=rules, **(fields | more))


def book(*versions: TariffVersion, number: int = 0, **settings: Any) -> RuleBook:
    """A rule book; no lateness unless told."""
    return RuleBook(number, Settings(**({"lateness_us": 0} | settings)), versions)


def event(event_id: str, at_us: int = T0, **fields: Any) -> bytes:
    """A usage event of one page by payer p for creator ana."""
    record: dict[str, Any] = {
        "event_id": event_id, "occurred_at": at_us, "product": "news", "payer": "p", "creator": "ana", "item": "/a",
        "meter": "page", "quantity": 1, "scale": 0, "session": None, "duration_us": None, "attributes": {},
    }  # fmt: skip
    return codec.encode_one("UsageEvent", record | fields)


def control(kind: str, **fields: Any) -> bytes:
    """A control record."""
    record = {"control_id": kind, "kind": kind, "at": None, "book_number": None, "book_hash": None, "note": ""}
    return codec.encode_one("Control", record | fields)


def activate(rule_book: RuleBook) -> bytes:
    """Activation of a book."""
    return control("activate", book_number=rule_book.number, book_hash=rule_book.book_hash)


def close(at_us: int) -> bytes:
    """Close of the books."""
    return control("close", at=at_us)


def redrive(usage_offset: int | None, use: bytes | None, **changes: Any) -> bytes:
    """A control that carries a use once more, which stood at the offset; the use may be changed."""
    told = None if use is None else codec.decode_one(use)[1] | changes
    return control("redrive", usage_offset=usage_offset, use=told)


class PayersBench:
    """One partition. `records`: all that it wrote, decoded, in order of writing: (topic, record type, record)."""

    def __init__(self, *books: RuleBook, partitions: int = 1, slice_rows: int = 20_000) -> None:
        self.books = {b.number: b for b in books}
        self.logic = PayersLogic(0, partitions, 2, slice_rows)
        self.records: list[tuple[str, str, Mapping[str, Any]]] = []
        self.ledger: list[bytes] = []
        self.offset = 0
        if books:
            self.take(*(activate(b) for b in books))

    def take(self, *values: bytes | None, recorded_at_us: int = T0 + 400 * DAY) -> PayersBench:
        """Decides the values as one chunk, in as many steps as it needs."""
        n = len(values)
        offsets = np.arange(self.offset, self.offset + n)
        chunk = RawChunk("usage", 0, offsets, np.full(n, recorded_at_us), [None] * n, list(values))
        for number in self.logic.needed_books(values):
            if number in self.books:
                self.logic.learn(self.books[number])
        done = False
        while not done:
            step = self.logic.decide(chunk.since(self.logic.state.next_offset))
            done = step.done
            for emission in step.emissions:
                self.records += [(emission.topic, *codec.decode_one(value)) for value in emission.values]
                self.ledger += emission.values if emission.topic == "charges" else []
        self.offset += n
        return self

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        """All records of a type."""
        return [record for _, name, record in self.records if name == kind]

    def charge(self, place: int = -1) -> Mapping[str, Any]:
        """One charge, by default the last."""
        return self.of("Charge")[place]

    def paid(self) -> list[int]:
        """Nanos paid by each charge."""
        return [charge["paid_nanos"] for charge in self.of("Charge")]

    def reasons(self) -> list[str]:
        """Reasons of the rejects."""
        return [reject["reason"] for reject in self.of("Reject")]


def shares(charge: Mapping[str, Any]) -> dict[str, int]:
    """Nanos by account of a charge's first line."""
    return {share["account"]: share["nanos"] for share in charge["lines"][0]["shares"]}


def values_of(charges: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    """One field of the first line of each charge."""
    return [charge["lines"][0][name] for charge in charges]
