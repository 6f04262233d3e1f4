"""What the accounts' stage knows of one partition: a fold over its input."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from nanotally.streams.domain.accounts_sources import Sources
from nanotally.streams.domain.records import LONG_AGO
from nanotally.streams.domain.settlement import Carry
from nanotally.streams.domain.tallies import OpenTallies
from nanotally.streams.domain.tallies_rows import Closed
from nanotally.streams.domain.tallies_state import from_bytes, to_bytes
from nanotally.streams.domain.tariff import Settings
from nanotally.streams.errors import BrokenInvariant

# Counts of the chunk record: rows by output topic.
TALLY_ROWS, PAYOUT_ROWS = ROWS = ("rows.account_tallies", "rows.payouts")


class AccountsState:
    """State of one partition. `closed_to_us` and `cursor` say how far windows are closed; counts and sums run since
    the beginning, as in the chunk record. tallies: None before the first mark, which tells the windows; the earnings
    before it are `waiting`."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.tallies: OpenTallies | None = None
        self.waiting: list[pa.RecordBatch] = []
        self.carry, self.sources = Carry(), Sources()
        self.closed_to_us = LONG_AGO
        self.cursor: str | None = None  # of a close that a slice cut
        self.next_offset = self.records = 0
        self.counts: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()

    def settle(self, closed: Closed, period: str) -> pa.RecordBatch:
        """Takes what was closed; gives columns of payout.avsc of what was settled.

        Raises BrokenInvariant where more or less was settled than is paid or carried."""
        self.cursor = closed.cursor
        payouts = self.carry.settle(closed.settlements, period, lambda end: dict(self.sources.ruling(end).thresholds))
        self.sums.update(closed.sums)
        self.sums.update(payouts.sums)
        settled = len(closed.settlements)
        self.counts.update({TALLY_ROWS: len(closed) - settled, PAYOUT_ROWS: settled})
        for currency in {name.rpartition(".")[2] for name in closed.sums}:
            self._equal(currency, "settled", self.sums[f"settled.{currency}"], 0)
        return payouts.batch

    def balance(self) -> None:
        """Raises BrokenInvariant where what was earned is not what is paid, carried and open."""
        if self.tallies is not None:
            left = self.tallies.open_sums()
            for name, nanos in self.sums.items():
                kind, _, currency = name.rpartition(".")
                if kind == "earned":
                    self._equal(currency, kind, nanos, left.get(f"settled.{currency}", 0))

    def _equal(self, currency: str, kind: str, nanos: int, left: int) -> None:
        kept = self.sums[f"paid.{currency}"] + self.sums[f"carried.{currency}"] + left
        if nanos != kept:
            raise BrokenInvariant(
                f"accounts[{self.partition}]: {nanos} nanos {currency} {kind}, {kept} paid, carried or open"
            )

    def chunk(self) -> dict[str, Any]:
        """The chunk record."""
        return {
            "stage": "accounts",
            "input_partition": self.partition,
            "next_offset": self.next_offset,
            "next_n": 0,
            "watermark_us": self.sources.least(),
            "closed_to_us": self.closed_to_us,
            "cursor": self.cursor,
            "book_number": self.sources.book_number(),
            "book_hash": "",
            "records": self.records,
            "counts": dict(sorted(self.counts.items())),
            "sums": {name: str(nanos) for name, nanos in sorted(self.sums.items())},
            "duplicates": [],
            "source_watermarks": {str(s): w for s, w in sorted(self.sources.watermarks.items())},
        }

    def agree(self, chunk: Mapping[str, Any]) -> None:
        """Raises BrokenInvariant where the state is not what the chunk record says."""
        for name, mine in self.chunk().items():
            if _without_zeros(mine) != _without_zeros(chunk[name]):
                raise BrokenInvariant(
                    f"accounts[{self.partition}]: the chunk record of input offset {chunk['next_offset']} says {name} "
                    f"{chunk[name]}, the earnings before it come to {mine}"
                )

    def snapshot(self) -> dict[str, bytes]:
        """The state as named blobs."""
        meta = {
            "chunk": self.chunk(),
            "sources": self.sources.document(),
            "windows": self.tallies.settings.document() if self.tallies else None,
            "waiting": len(self.waiting),
        }
        waiting = {f"waiting.{i}": to_bytes(batch) for i, batch in enumerate(self.waiting)}
        parts = {"accounts": json.dumps(meta).encode(), **waiting, **self.carry.snapshot()}
        return parts | (self.tallies.snapshot() if self.tallies else {})

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Fills an empty state from what `snapshot` gave."""
        meta = json.loads(parts["accounts"])
        chunk = meta["chunk"]
        self.next_offset, self.records = chunk["next_offset"], chunk["records"]
        self.closed_to_us, self.cursor = chunk["closed_to_us"], chunk["cursor"]
        self.counts.update(chunk["counts"])
        self.sums.update({name: int(nanos) for name, nanos in chunk["sums"].items()})
        self.sources = Sources.from_document(meta["sources"])
        self.carry.restore(parts)
        self.waiting = [from_bytes(parts[f"waiting.{i}"]) for i in range(meta["waiting"])]
        if meta["windows"]:
            self.tallies = OpenTallies(Settings.from_document(meta["windows"]))
            self.tallies.restore(parts)


def _without_zeros(value: Any) -> Any:
    """A count or sum that was never touched is as good as none."""
    return {k: v for k, v in value.items() if v not in (0, "0")} if isinstance(value, dict) else value
