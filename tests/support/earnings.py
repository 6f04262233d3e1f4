"""Earnings and marks of several sources for the accounts' stage: made, interleaved, driven through it, told plainly."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nanotally.schemas import codec
from nanotally.streams.domain.accounts import AccountsLogic
from nanotally.streams.domain.records import RawChunk, Step
from nanotally.streams.domain.settlement import settlement_id
from nanotally.streams.domain.tariff import Settings, canonical_json
from tests.support.tallies_reference import Row, Use, closed_rows

MINUTE = 60_000_000


@dataclass(frozen=True)
class Earned:
    source: int
    use: Use  # at_us: the first instant of a minute

    def value(self) -> bytes:
        u = self.use
        return codec.encode_one(
            "Earning",
            {
                "source": self.source, "account": u.account, "minute": u.at_us, "product": u.product, "meter": u.meter,
                "scale": u.scale, "currency": u.currency, "count": u.count, "quantity": u.quantity,
                "amount_nanos": u.amount,
            },
        )  # fmt: skip


@dataclass(frozen=True)
class Mark:
    source: int
    sources: int
    watermark_us: int
    book: int
    settings: Settings

    def value(self) -> bytes:
        return codec.encode_one(
            "SourceMark",
            {
                "source": self.source,
                "sources": self.sources,
                "watermark_us": self.watermark_us,
                "book_number": self.book,
                "settings": canonical_json(self.settings.document()),
            },
        )


Message = Earned | Mark


def sources(rng: random.Random, number: int, settings: Settings, steps: int, start_us: int) -> list[list[Message]]:
    """What each source sends: earnings never behind its watermark, and marks; the third of its books halves the
    threshold, and sources come to it at different times."""
    books = [settings, settings, replace(settings, thresholds=tuple((c, t // 2) for c, t in settings.thresholds))]
    sent: list[list[Message]] = []
    for source in range(number):
        mine: list[Message] = []
        watermark, book = start_us, 0
        for _ in range(steps):
            for _ in range(rng.randrange(3)):
                at = watermark + rng.randrange(4 * 60) * MINUTE
                mine.append(Earned(source, _use(rng, at - at % MINUTE)))
            if rng.random() < 0.7:
                watermark += rng.choice((1, 10, 60, 60, 300, 3000)) * MINUTE
                mine.append(Mark(source, number, watermark, book, books[book]))
            book = min(2, book + (rng.random() < 0.1))
        sent.append(mine)
    return sent


def _use(rng: random.Random, at_us: int) -> Use:
    currency = rng.choice(("USD", "USD", "EUR"))
    account = rng.choice(("creator:ana", "creator:bö", "platform", "pool:day", "party:z"))
    amount = rng.choice((rng.randrange(-3, 1000), rng.randrange(10**9), 2**62))
    product, meter, scale = rng.choice((("news", "page.view", 0), ("music", "play", 3), ("", "", 0)))
    return Use(account, at_us, amount, rng.randrange(5), rng.randrange(10**6), product, meter, scale, currency)


def interleaved(rng: random.Random, sent: Sequence[Sequence[Message]]) -> list[Message]:
    """All messages in one order that keeps each source's own."""
    left = [list(mine) for mine in sent]
    merged: list[Message] = []
    while any(left):
        mine = rng.choice([m for m in left if m])
        take = rng.randrange(1, 6)
        merged += mine[:take]
        del mine[:take]
    return merged


def expected(sent: Sequence[Sequence[Message]], settings: Settings) -> tuple[list[Row], list[dict[str, Any]]]:
    """Tallies in the order of closing, as `closed_rows` tells them, and payouts, from what each source sent alone."""
    marks = [[m for m in mine if isinstance(m, Mark)] for mine in sent]
    to_us = min(max(m.watermark_us for m in mine) for mine in marks) if all(marks) else -1
    rows = closed_rows([m.use for mine in sent for m in mine if isinstance(m, Earned)], settings, to_us)
    carried: dict[tuple[str, str], int] = {}
    payouts = []
    for end, _, account, _, _, _, currency, _, start, count, _, earned in (r for r in rows if r[7] == "settlement"):
        ruling = min((next(m for m in mine if m.watermark_us >= end) for mine in marks), key=lambda m: m.book)
        brought = carried.get((account, currency), 0)
        total = brought + earned
        pays = total >= max(1, dict(ruling.settings.thresholds).get(currency, 0)) and not account.startswith("pool:")
        carried[account, currency] = 0 if pays else total
        payouts.append(
            {
                "payout_id": settlement_id("payout", account, settings.settlement, start, currency),
                "account": account,
                "period": settings.settlement,
                "period_start": start,
                "period_end": end,
                "currency": currency,
                "count": count,
                "brought_nanos": str(brought),
                "earned_nanos": str(earned),
                "paid_nanos": str(total if pays else 0),
                "carried_nanos": str(0 if pays else total),
            }
        )
    return [r for r in rows if r[7] != "settlement"], payouts


class Driver:
    """Drives a logic over a partition of `earnings` whose offsets have gaps, and keeps what it writes."""

    def __init__(self, messages: Iterable[Message], logic: AccountsLogic) -> None:
        self.values = [m.value() for m in messages]
        self.offsets = [3 * i + 5 for i in range(len(self.values))]
        self.logic = logic
        self.tallies: list[dict[str, Any]] = []
        self.payouts: list[dict[str, Any]] = []
        self.chunk: dict[str, Any] | None = None
        self.place = 0

    def step(self, n: int) -> Step:
        """Decides the next n records once."""
        part = slice(self.place, self.place + n)
        values = self.values[part]
        offsets = np.array(self.offsets[part], dtype=np.int64)
        chunk = RawChunk("earnings", self.logic.partition, offsets, offsets, [None] * len(values), values)
        step = self.logic.decide(chunk)
        self.place += step.taken
        assert step.done == (step.taken == len(values))
        self._keep(step)
        return step

    def _keep(self, step: Step) -> None:
        for emission in step.emissions:
            assert emission.partition == self.logic.partition
            for key, value in zip(emission.keys, emission.values, strict=True):
                name, record = codec.decode_one(value)
                if name == "Chunk":
                    assert key is None
                    self.chunk = record
                    continue
                assert key == record["account"].encode()
                topic, rows = {"Tally": ("account_tallies", self.tallies), "Payout": ("payouts", self.payouts)}[name]
                assert emission.topic == topic
                rows.append(record)
        assert step.emissions[-1].topic == "account_tallies"
        assert codec.decode_one(step.emissions[-1].values[-1])[0] == "Chunk"
        assert self.chunk and self.chunk["next_offset"] == step.next_offset

    def run(self, rng: random.Random | None = None) -> Driver:
        """Takes all records, in chunks of random size where there is a generator."""
        while self.place < len(self.values):
            self.step(rng.randrange(1, 12) if rng else len(self.values))
        return self

    def before(self) -> list[bytes]:
        """The records before the position of the last chunk record."""
        position = self.chunk["next_offset"] if self.chunk else 0
        return [v for v, offset in zip(self.values, self.offsets, strict=True) if offset < position]

    def rows(self, settings: Settings) -> list[Row]:
        """Tallies as `closed_rows` tells them."""
        return [
            (
                r["window_end"], settings.windows.index(r["size"]), r["account"], r["product"], r["meter"], r["scale"],
                r["currency"], r["size"], r["window_start"], r["count"], int(r["quantity"]), int(r["amount_nanos"]),
            )
            for r in self.tallies
        ]  # fmt: skip
