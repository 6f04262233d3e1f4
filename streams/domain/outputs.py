"""What one transaction of the payers' stage writes: collected run by run, encoded at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from nanotally.schemas import catalog, codec
from nanotally.streams.domain.earnings import AccountPlaces, Deltas
from nanotally.streams.domain.falling_due import FallenDue
from nanotally.streams.domain.ledger import ChargeRows, share_nanos
from nanotally.streams.domain.ledger_lines import shares_of
from nanotally.streams.domain.ledger_order import LedgerOrder
from nanotally.streams.domain.pricing import Priced
from nanotally.streams.domain.records import LONG_AGO, Emission, Int64Array, RawChunk, Step, pick
from nanotally.streams.domain.redriven import STILL_UNPRICED
from nanotally.streams.domain.settlement import statements
from nanotally.streams.domain.state import PayersState
from nanotally.streams.domain.tallies_rows import Closed
from nanotally.streams.domain.tariff import canonical_json
from nanotally.streams.domain.uses import Uses
from nanotally.streams.domain.validation import describe
from nanotally.streams.domain.windows import MINUTE_US

FIELDS_TOLD = ("event_id", "payer", "product", "meter", "quantity", "scale", "occurred_at")


class Outputs:
    """Records of one transaction, and the running counts and sums in the state."""

    def __init__(self, state: PayersState, partition: int, partitions: int, places: AccountPlaces) -> None:
        self.state, self.partition, self.partitions = state, partition, partitions
        self.closed_rows = 0
        self._closed_before = state.closed_to_us
        self._ledger = LedgerOrder(state, partition)
        self._tallies: tuple[list[bytes | None], list[bytes]] = ([], [])
        self._statements: tuple[list[bytes | None], list[bytes]] = ([], [])
        self._rejects: list[tuple[int, bytes | None, bytes]] = []
        self._bad = 0  # rejects that whoever publishes is to blame for
        self._duplicates: list[int] = []
        self._deltas = Deltas(partition, places)

    def number_from(self, offset: int, n: int) -> None:
        """How many charges were written at an offset already, by the transaction before."""
        if n:
            self._ledger.numbers[offset] = n

    def number_at(self, offset: int) -> int:
        """Number of the next charge at an offset."""
        return self._ledger.numbers.get(offset, 0)

    # ---- usage ----

    def charges(self, taken: ChargeRows, priced: Priced) -> None:
        """Uses that enter the ledger: charged, refused, unpriced."""
        if not len(taken.rows):
            return
        state, uses, booked_at = self.state, taken.uses, taken.booked_at
        self._ledger.uses(taken, priced, self._came_at())
        state.counts["rows.charges"] += len(taken.rows)
        self._count(taken)
        charged = np.flatnonzero(taken.charged)
        if len(charged) and state.book is not None:
            self._sum(taken, charged, priced)
            single = charged if priced.several is None else charged[~priced.several[charged]]
            nanos = share_nanos(priced, len(uses))[single]
            self._deltas.add(uses, single, booked_at[single], priced.numbers["resolved"][single], nanos, state.splits)
            for lines in priced.lines:
                first = np.diff(lines.row, prepend=-1) != 0
                resolved = lines.numbers["resolved"]
                self._deltas.add(uses, lines.row, booked_at[lines.row], resolved, lines.nanos, state.splits, first)

    def dues(self, fallen: Sequence[FallenDue], offset: int, recorded_at_us: int) -> None:
        """What fell due at the record of `usage` of that offset."""
        state, splits = self.state, self.state.splits
        self._ledger.dues(fallen, offset, recorded_at_us)
        self.closed_rows += len(fallen)
        state.counts["rows.charges"] += len(fallen)
        state.counts["due"] += len(fallen)
        for due in fallen:
            state.counts[f"due.{due.reason}"] += 1
            account, nanos = shares_of(due, splits)
            state.sums[f"paid.{due.currency}"] += due.paid
            state.sums[f"shares.{due.currency}"] += exact_sum(nanos)
            self._deltas.add_due(("", "", 0, due.currency), due.booked_at_us, account, nanos)

    def _came_at(self) -> Int64Array:
        """Broker's time at which the version of each rule came late; long ago where it did not: int64[rules]."""
        late = self.state.late_versions
        rules = self.state.book.rules if self.state.book is not None else []
        times = [late.get(f"{r.version.tariff} {r.version.version}", LONG_AGO) for r in rules]
        return np.array(times, dtype=np.int64)

    def _count(self, taken: ChargeRows) -> None:
        counts = self.state.counts
        for place, number in enumerate(np.bincount(taken.outcome_code).tolist()):
            if number:
                outcome, reason = taken.outcomes[place]
                counts[outcome] += number
                if reason:
                    counts[f"{outcome}.{reason}"] += number
        rows = taken.rows
        late = int(np.count_nonzero(pick(taken.booked_at, rows) > pick(taken.uses.occurred_at_us, rows)))
        if late:
            counts["late"] += late

    def _sum(self, taken: ChargeRows, charged: Int64Array, priced: Priced) -> None:
        assert self.state.book is not None
        amount = priced.numbers["amount"][charged]
        free = int(np.count_nonzero(amount == 0))
        if free:
            self.state.counts["free"] += free
        currency = [r.version.currency for r in self.state.book.rules]
        rules = taken.rule[charged]
        for name in sorted(set(currency)):
            mine = np.isin(rules, [i for i, c in enumerate(currency) if c == name])
            if mine.any():
                paid = exact_sum(amount[mine])
                self.state.sums[f"paid.{name}"] += paid
                nanos = share_nanos(priced, len(taken.uses))[charged[mine]]
                self.state.sums[f"shares.{name}"] += exact_sum(nanos.reshape(-1))
        for lines in priced.lines:
            for name in {self.state.book.links[link].version.currency for link in np.unique(lines.link).tolist()}:
                links = [link.number for link in self.state.book.links if link.version.currency == name]
                self.state.sums[f"shares.{name}"] += exact_sum(lines.nanos[np.isin(lines.link, links)].reshape(-1))

    def duplicates(self, offsets: Int64Array) -> None:
        """Uses told again."""
        if len(offsets):
            self._duplicates.extend(offsets.tolist())
            self.state.counts["duplicate"] += len(offsets)

    # ---- rejects and controls ----

    def reject(self, chunk: RawChunk, place: int, reason: str, detail: str) -> None:
        """An input that cannot be used, by its place in the chunk."""
        value = chunk.values[place]
        offset = int(chunk.offsets[place])
        record = {
            "reason": reason,
            "detail": detail,
            "topic": chunk.topic,
            "partition": chunk.partition,
            "offset": offset,
            "recorded_at": int(chunk.recorded_at_us[place]),
            "fingerprint": value[2:10].hex() if value is not None and value[:2] == b"\xc3\x01" else "",
            "key": chunk.keys[place],
            "value": value,
        }
        self._rejects.append((offset, chunk.keys[place], codec.encode_one("Reject", record)))
        self._bad += reason != STILL_UNPRICED
        self.state.counts["rejected"] += 1
        self.state.counts[f"rejected.{reason}"] += 1
        self.state.counts["rows.rejects"] += 1

    def reject_foreign(self, chunk: RawChunk, place: int) -> None:
        """An input of no record type that belongs in `usage`."""
        value = chunk.values[place]
        known = None if value is None else catalog.known(value)  # it was looked up with the others of its chunk
        if value is None:
            self.reject(chunk, place, "malformed", "the record has no value; publish an Avro datum")
        elif known is not None:
            self.reject(chunk, place, "unknown_schema", f"a {known.name} does not belong in topic {chunk.topic}")
        else:
            head = value[:10].hex()
            self.reject(
                chunk, place, "unknown_schema" if value[:2] == b"\xc3\x01" else "malformed",
                f"the value begins with {head or 'nothing'}, which is no header of a known schema (c3 01 and 8 bytes "
                f"of fingerprint); {catalog.refusal(value) or 'publish with the schemas of this version'}",
            )  # fmt: skip

    def reject_use(self, chunk: RawChunk, place: int, reason: str, uses: Uses, row: int) -> None:
        """A use that can be read but not used."""
        event = {name: uses.column(name)[row].as_py() for name in FIELDS_TOLD}
        self.reject(chunk, place, reason, describe(reason, event, self.partition))

    def control_taken(self, record: dict[str, Any]) -> None:
        """A control that took effect."""
        self._ledger.flush()
        self._ledger.keys.append(None)
        self._ledger.values.append(codec.encode_one("ControlTaken", record))
        self.state.counts["rows.charges"] += 1

    # ---- closing ----

    def closed(self, closed: Closed) -> None:
        """Windows and periods that ended."""
        self.closed_rows += len(closed)
        self.state.sums.update(closed.sums)
        self._put(self._tallies, "Tally", "payer_tallies", closed.tallies)
        settled = statements(closed.settlements, self.state.settings.settlement)
        self._put(self._statements, "Statement", "statements", settled)

    def _put(
        self, target: tuple[list[bytes | None], list[bytes]], record: str, topic: str, batch: pa.RecordBatch
    ) -> None:
        if len(batch):
            target[0].extend(_bytes(batch.column("account")))
            target[1].extend(codec.encode(record, batch))
            self.state.counts[f"rows.{topic}"] += len(batch)

    # ---- the transaction ----

    def step(self, taken: int, done: bool) -> Step:
        """All records of the transaction, the chunk record last."""
        state, p = self.state, self.partition
        emissions = [
            Emission("payer_tallies", p, *self._tallies),
            Emission("statements", p, *self._statements),
        ]
        if self._rejects:
            self._rejects.sort(key=lambda reject: reject[0])
            keys = [key for _, key, _ in self._rejects]
            emissions.append(Emission("rejects", p, keys, [value for _, _, value in self._rejects]))
        mark = self._mark()
        if mark is not None:
            self._deltas.mark(mark)
        earnings = self._deltas.emissions()
        for emission in earnings:
            state.counts["rows.earnings"] += len(emission.values)
            state.counts[f"rows.earnings.{emission.partition}"] += self._deltas.rows[emission.partition]
        ledger = self._ledger
        ledger.flush()
        ledger.keys.append(None)
        ledger.values.append(codec.encode_one("Chunk", self._chunk()))
        emissions = [*(e for e in emissions + earnings if e.values), Emission("charges", p, ledger.keys, ledger.values)]
        return Step(taken, state.next_offset, emissions, self._bad, done)

    def mark_before_new_book(self) -> None:
        """Marks how far the source got under the book in force, before another one is: so the book that rules an
        end does not depend on chunks."""
        mark = self._mark()
        if mark is not None:
            self._deltas.mark(mark)

    def _mark(self) -> bytes | None:
        """The source's mark, where a finished close brought it over a minute; sent after the deltas it covers."""
        state = self.state
        minute = state.closed_to_us // MINUTE_US
        if state.book is None or state.closed_to_us == LONG_AGO or minute <= self._closed_before // MINUTE_US:
            return None
        self._closed_before = state.closed_to_us
        return codec.encode_one(
            "SourceMark",
            {
                "source": self.partition,
                "sources": self.partitions,
                "watermark_us": state.closed_to_us,
                "book_number": state.book_number,
                "settings": canonical_json(state.settings.document()),
            },
        )

    def _chunk(self) -> dict[str, Any]:
        state = self.state
        return {
            "stage": "payers",
            "input_partition": self.partition,
            "next_offset": state.next_offset,
            "next_n": state.next_n,
            "watermark_us": state.watermark_us,
            "closed_to_us": state.closed_to_us,
            "cursor": state.cursor,
            "book_number": state.book_number,
            "book_hash": state.book_hash,
            "records": state.records,
            "counts": dict(sorted(state.counts.items())),
            "sums": {name: str(value) for name, value in sorted(state.sums.items())},
            "duplicates": self._duplicates,
            "source_watermarks": {},
        }


def exact_sum(values: Int64Array) -> int:
    """Sum as a Python integer, never wrapping."""
    most = max(abs(int(values.max(initial=0))), abs(int(values.min(initial=0))))
    return int(values.sum()) if most * len(values) < 2**62 else sum(values.tolist())


def _bytes(column: pa.Array) -> list[bytes]:
    texts: list[bytes] = column.cast(pa.binary()).to_pylist()
    return texts
