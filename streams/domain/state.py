"""What the payers' stage knows of one partition: a fold over the ledger."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.streams.domain.dedup import SeenIds
from nanotally.streams.domain.hashing import combine, hash_strings
from nanotally.streams.domain.keys import Interner, group
from nanotally.streams.domain.matching import CompiledBook
from nanotally.streams.domain.records import LONG_AGO, Int64Array
from nanotally.streams.domain.scopes import ScopeRows, Scopes
from nanotally.streams.domain.splitting import Splits
from nanotally.streams.domain.tallies import OpenTallies
from nanotally.streams.domain.tariff import RuleBook, Settings
from nanotally.streams.domain.uses import int64
from nanotally.streams.errors import BrokenInvariant

PAYER_PREFIX = "payer:"
LINE_NUMBERS = (
    "scope_key_high", "scope_key_low", "scope_start", "scope_end", "uses_before", "quantity_before", "quantity",
    "over_after", "total_after", "remainder_after", "remainder_den", "charged_before", "amount_nanos", "paid_nanos",
    "split_key_high", "split_key_low", "base_before",
)  # fmt: skip


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
        self.scopes = Scopes()
        self.seen = SeenIds()
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
        return len(self.scopes) + len(self.seen) + len(self.payers) + (self.tallies.size() if self.tallies else 0)

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

    def _use(self, book: RuleBook) -> None:
        self.book = CompiledBook(book)
        self.settings = book.settings
        if self.tallies is None:
            self.tallies = OpenTallies(book.settings, PAYER_PREFIX)

    def fold_charges(self, batch: pa.RecordBatch) -> None:
        """Folds ledger records of uses, in order: columns of charge.avsc, as the codec decodes them."""
        events = batch.column("event")
        if not len(events):
            return
        event = {f.name: events.field(i) for i, f in enumerate(events.type)}
        key = combine(
            combine(hash_strings(event["payer"]), hash_strings(event["product"])), hash_strings(event["event_id"])
        )
        occurred_at = int64(event["occurred_at"])
        self.watermark_us = max(self.watermark_us, int(occurred_at.max()) - self.settings.lateness_us)
        # An id forgotten and used again may stand twice in one batch: the later use counts.
        last = group(*key).last
        self.seen.add((key[0][last], key[1][last]), int64(batch.column("content_hash"))[last], occurred_at[last])
        charged = pc.equal(batch.column("outcome"), "charged").to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(charged)
        if not len(rows):
            return
        lists = batch.column("lines")
        lines = lists.flatten()
        counts = np.diff(np.asarray(lists.offsets))
        if (counts[rows] != 1).any() or (counts.sum() != len(rows)):
            raise BrokenInvariant("a charge of the ledger has not exactly one line")
        line = {f.name: lines.field(i) for i, f in enumerate(lines.type)}
        self._fold_lines(line)
        self._fold_tallies(batch, event, line, rows)

    def _fold_lines(self, line: Mapping[str, pa.Array]) -> None:
        number = {name: int64(line[name]) for name in LINE_NUMBERS}
        kept = np.flatnonzero(pc.not_equal(line["scope"], "event").to_numpy(zero_copy_only=False))
        high, low = number["scope_key_high"].view(np.uint64), number["scope_key_low"].view(np.uint64)
        if len(kept):
            last = kept[group(high[kept], low[kept]).last]
            rows = ScopeRows(
                uses=number["uses_before"][last] + 1,
                quantity=number["quantity_before"][last] + number["quantity"][last],
                over=number["over_after"][last],
                total=number["total_after"][last],
                remainder=number["remainder_after"][last],
                den=number["remainder_den"][last],
                charged=number["charged_before"][last] + number["amount_nanos"][last],
                start=number["scope_start"][last],
                end=number["scope_end"][last],
            )
            self.scopes.put(high[last], low[last], rows)
        high, low = number["split_key_high"].view(np.uint64), number["split_key_low"].view(np.uint64)
        last = group(high, low).last
        self.splits.put(high[last], low[last], number["base_before"][last] + number["paid_nanos"][last])

    def _fold_tallies(
        self, batch: pa.RecordBatch, event: Mapping[str, pa.Array], line: Mapping[str, pa.Array], rows: Int64Array
    ) -> None:
        if self.tallies is None:
            raise BrokenInvariant("the ledger has a charge before any rule book came into force")
        take = pa.array(rows)
        series = self.tallies.series.codes(
            event["product"].take(take), event["meter"].take(take), int64(event["scale"])[rows],
            batch.column("currency").take(take),
        )  # fmt: skip
        self.tallies.add(
            self.tallies.accounts.codes(batch.column("payer").take(take)),
            series,
            int64(batch.column("booked_at"))[rows],
            np.ones(len(rows), dtype=np.int64),
            int64(event["quantity"])[rows],
            int64(line["paid_nanos"]),
        )

    def fold_chunk(self, chunk: Mapping[str, Any]) -> None:
        """Takes a Chunk record: position, watermark, how far windows are closed, counts and sums."""
        self.next_offset, self.records = chunk["next_offset"], chunk["records"]
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
            self.seen.forget(self.watermark_us - self.settings.horizon_us)

    def snapshot(self) -> dict[str, bytes]:
        """The state as named blobs; of the book only its number."""
        meta = {
            name: getattr(self, name)
            for name in (
                "watermark_us", "closed_to_us", "forgotten_us", "cursor", "next_offset", "records", "counts",
                "book_number", "book_hash", "late_versions",
            )
        } | {"sums": {name: str(value) for name, value in self.sums.items()}}  # fmt: skip
        parts = {
            "meta": json.dumps(meta).encode(),
            "scopes": pack(self.scopes.arrays()),
            "seen": pack(self.seen.arrays()),
            "bases": pack(self.splits.bases()),
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
        bases = unpack(parts["bases"])
        self.splits.put(bases["high"], bases["low"], bases["base"])

    def hold(self, book: RuleBook, parts: Mapping[str, bytes]) -> None:
        """The rest of a restored snapshot, once its book is there."""
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
