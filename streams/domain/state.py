"""What the payers' stage knows of one partition: a fold over the ledger."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.dedup import SeenIds
from nanotally.streams.domain.dues import Due, Dues
from nanotally.streams.domain.falling_due import FallenDue, fallen_due
from nanotally.streams.domain.keys import Interner
from nanotally.streams.domain.matching import CompiledBook
from nanotally.streams.domain.records import LONG_AGO
from nanotally.streams.domain.redriven import Redriven
from nanotally.streams.domain.scopes import Scopes
from nanotally.streams.domain.splitting import Splits
from nanotally.streams.domain.state_fold import fold_charges
from nanotally.streams.domain.tallies import OpenTallies
from nanotally.streams.domain.tariff import RuleBook, Settings
from nanotally.streams.errors import BrokenInvariant

PAYER_PREFIX = "payer:"


class PayersState:
    """State of one partition. `closed_to_us` and `cursor` say how far windows are closed; counts and sums run since
    the beginning, as in the Chunk record."""

    def __init__(self) -> None:
        self.watermark_us = LONG_AGO
        self.closed_to_us = LONG_AGO
        self.forgotten_us = LONG_AGO  # ids of uses before it were forgotten under an earlier, shorter horizon
        self.cursor: str | None = None
        self.next_offset = 0
        self.records = 0
        self.counts: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.book_number = -1
        self.book_hash = ""
        self.book: CompiledBook | None = None
        self.settings = Settings()
        self.late_versions: dict[str, int] = {}  # 'tariff version': broker's time at which it came into force
        self.next_n = 0  # charges written already at next_offset
        self.scopes = Scopes()
        self.dues = Dues()
        self._books: dict[int, CompiledBook] = {}  # the one in force, and those that say what is due
        self.seen = SeenIds()
        self.redriven = Redriven()  # unpriced uses that were taken once more, by the offset at which they came first
        self.accounts = Interner()
        self._payers = Interner()
        self.splits = Splits(self.accounts)
        self.tallies: OpenTallies | None = None

    @property
    def payers(self) -> Interner:
        """Payers known to belong to this partition; the codes that tallies use."""
        return self._payers if self.tallies is None else self.tallies.accounts

    def size(self) -> int:
        """Rows of state."""
        return (
            len(self.scopes)
            + len(self.seen)
            + len(self.redriven)
            + len(self.payers)
            + len(self.dues)
            + (self.tallies.size() if self.tallies else 0)
        )

    def activate(self, book: RuleBook, recorded_at_us: int) -> None:
        """Puts a rule book in force. A version that came after its own time, among others, is remembered."""
        if self.book is not None:
            before = {(t.tariff, t.version) for t in self.book.book.tariffs}
            for t in book.tariffs:
                if (t.tariff, t.version) not in before and t.effective_from_us < recorded_at_us:
                    self.late_versions[f"{t.tariff} {t.version}"] = recorded_at_us
        if self.watermark_us > LONG_AGO:
            self.forgotten_us = max(self.forgotten_us, self.watermark_us - self.settings.horizon_us)
        self.book_number, self.book_hash = book.number, book.book_hash
        self._use(book)

    def book_of(self, due: Due) -> CompiledBook:
        """The book in force at the last use of a scope: a newer one may have its version no more."""
        return self._books[due.book]

    def _use(self, book: RuleBook) -> None:
        self.book = CompiledBook(book)
        self._books = {n: known for n, known in self._books.items() if n in self.dues.books()}
        self._books[book.number] = self.book
        self.settings = book.settings
        if self.tallies is None:
            self.tallies = OpenTallies(book.settings, PAYER_PREFIX)

    def fold_charges(self, batch: pa.RecordBatch) -> None:
        """Folds ledger records of uses and of what fell due, in order: columns of charge.avsc."""
        fold_charges(self, batch)

    def fall_due(self, due: Due) -> FallenDue:
        """The charge for a scope that has ended and owes something; moves what it moves."""
        fallen = fallen_due(due, self.book_of(due), self.scopes, self.splits, self.dues)
        self.tally_due(fallen.payer, fallen.currency, fallen.booked_at_us, fallen.paid)
        return fallen

    def tally_due(self, payer: str, currency: str, booked_at_us: int, paid: int) -> None:
        """Adds what fell due to the payer's windows; nothing was used by it, of no product and meter."""
        assert self.tallies is not None
        none = np.zeros(1, dtype=np.int64)
        account = np.array([self.payers.add(payer)], dtype=np.int32)
        series = np.array([self.tallies.series_code("", "", 0, currency)], dtype=np.int32)
        self.tallies.add(account, series, np.array([booked_at_us]), none, none, np.array([paid], dtype=np.int64))

    def fold_chunk(self, chunk: Mapping[str, Any]) -> None:
        """Takes a Chunk record: position, watermark, how far windows are closed, counts and sums."""
        self.next_offset, self.next_n, self.records = chunk["next_offset"], chunk["next_n"], chunk["records"]
        self.watermark_us = chunk["watermark_us"]
        self.counts = Counter(chunk["counts"])
        self.sums = Counter({name: int(value) for name, value in chunk["sums"].items()})
        if chunk["book_number"] != self.book_number:
            raise BrokenInvariant(
                f"the chunk record of input offset {self.next_offset} says book {chunk['book_number']}, the ledger's "
                f"controls say {self.book_number}"
            )
        if self.tallies is not None and (chunk["closed_to_us"] > self.closed_to_us or chunk["cursor"] != self.cursor):
            unfinished = chunk["cursor"] is not None
            self.tallies.drop(chunk["watermark_us"] if unfinished else chunk["closed_to_us"], chunk["cursor"])
        self.closed_to_us, self.cursor = chunk["closed_to_us"], chunk["cursor"]
        self.tidy()

    def tidy(self) -> None:
        """Drops what no later record can reach. Never changes a result."""
        if self.closed_to_us > LONG_AGO:
            self.scopes.forget(self.closed_to_us)
            self.dues.forget(self.closed_to_us)
            self.seen.forget(self.watermark_us - self.settings.horizon_us, self.settings.horizon_us)

    def snapshot(self) -> dict[str, bytes]:
        """The state as named blobs; of the book only its number."""
        meta = {
            name: getattr(self, name)
            for name in (
                "watermark_us", "closed_to_us", "forgotten_us", "cursor", "next_offset", "next_n", "records", "counts",
                "book_number", "book_hash", "late_versions",
            )
        } | {"sums": {name: str(value) for name, value in self.sums.items()}}  # fmt: skip
        parts = {
            "meta": json.dumps(meta).encode(),
            "scopes": pack(self.scopes.arrays()),
            "seen": pack(self.seen.arrays()),
            "bases": pack(self.splits.bases()),
            "redriven": pack({"offsets": self.redriven.offsets()}),
            "dues": self.dues.snapshot(self.splits),
        }
        if self.tallies is not None:
            parts |= {f"tallies.{name}": blob for name, blob in self.tallies.snapshot().items()}
        return parts

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """The state of a snapshot; the book in force must be given to `hold` before it is used."""
        meta = json.loads(parts["meta"])
        meta["sums"] = Counter({name: int(value) for name, value in meta["sums"].items()})
        meta["counts"] = Counter(meta["counts"])
        for name, value in meta.items():
            setattr(self, name, value)
        self.scopes.load(unpack(parts["scopes"]))
        self.seen.load(unpack(parts["seen"]))
        self.redriven = Redriven(unpack(parts["redriven"])["offsets"])
        bases = unpack(parts["bases"])
        self.splits.put(bases["high"], bases["low"], bases["base"])
        self.dues.restore(parts["dues"], self.splits)

    def hold(self, book: RuleBook, parts: Mapping[str, bytes], older: Iterable[RuleBook] = ()) -> None:
        """The rest of a restored snapshot, once its book is there, and those that `dues.books` names."""
        self._books = {known.number: CompiledBook(known) for known in older}
        if book.book_hash != self.book_hash:
            raise BrokenInvariant(f"book {book.number} has another content than when the snapshot was taken")
        self._use(book)
        if self.tallies is not None:
            prefix = "tallies."
            self.tallies.restore({n[len(prefix) :]: blob for n, blob in parts.items() if n.startswith(prefix)})


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays by name as one blob."""
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def unpack(blob: bytes) -> dict[str, np.ndarray]:
    """Arrays by name from a blob."""
    with np.load(io.BytesIO(blob), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
