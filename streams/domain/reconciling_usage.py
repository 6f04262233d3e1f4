"""Topic `usage` itself, as far as it is still kept, against what the ledger says became of each of its records.

The ledger can only tell of what its stage was given. That nothing was passed over, that what it tells of was there, and
that nobody has put other records in its place since, only `usage` tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from nanotally.schemas import codec
from nanotally.streams.domain.hashing import combine, combine_int, hash_strings
from nanotally.streams.domain.reconciling import Check, Difference
from nanotally.streams.domain.records import BoolArray, Int64Array

NAME = "usage as it is kept: what was taken"


def told_uses(offsets: Int64Array, event: Callable[[str], pa.Array]) -> Int64Array:
    """Offset and a hash of who used how much when, by which it is the same use: int64[n, 2]. event: a column of their
    events. Not their content hashes: versions that know other fields have others."""
    key = combine(
        combine(hash_strings(event("payer")), hash_strings(event("product"))), hash_strings(event("event_id"))
    )
    for name in ("occurred_at", "quantity"):
        key = combine_int(key, event(name).to_numpy(zero_copy_only=False))
    return np.column_stack((offsets, key[0].view(np.int64)))


class KeptUsage:
    """One partition: the records that are kept and were taken, as they come; 17 bytes each.

    first, end: the oldest offset that is kept, and the one after the newest; position: the next one to take, by the
    ledger's last chunk record."""

    def __init__(self, partition: int, first: int, end: int, position: int) -> None:
        self.partition, self.first, self.end, self.position = partition, first, end, position
        self._offsets: list[Int64Array] = []
        self._is_control: list[BoolArray] = []
        self._uses: list[Int64Array] = [np.zeros((0, 2), dtype=np.int64)]

    def add(self, offsets: Int64Array, values: Sequence[bytes | None]) -> None:
        """Adds records, in order of offset."""
        by_name = codec.split_by_schema(values)
        is_control = np.zeros(len(values), dtype=np.bool_)
        is_control[by_name.get("Control", offsets[:0])] = True
        self._offsets.append(offsets)
        self._is_control.append(is_control)
        places = by_name.get("UsageEvent", offsets[:0])
        decoded = codec.decode("UsageEvent", [values[i] for i in places.tolist()])
        self._uses.append(told_uses(offsets[places[decoded.index]], decoded.batch.column))

    def check(self, told: Int64Array, uses: Int64Array, silent: int, rejects_from: int) -> Check:
        """Compares. told: offsets that have an outcome, in any order; uses: those of the ledger, as `told_uses` gives
        them; silent: controls that have no outcome, since they changed nothing; rejects_from: before it rejects may be
        gone by retention."""
        check = Check(NAME)
        place = ("usage", self.partition, -1)
        if self.position > self.end:
            said = f"{self.position:,} or later, for so far it was taken", f"{self.end:,}"
            check.differ(Difference("end of the topic (was it created anew?)", *place, *said))
        if self.first > self.position and not self.first == self.end == self.position + 1:  # that was Kafka's own mark
            said = f"{self.position:,} or earlier, which is the next to be taken", f"{self.first:,}"
            check.differ(Difference("oldest record (some were deleted before they were taken)", *place, *said))
        none = np.zeros(0, dtype=np.int64)
        here = np.concatenate([none, *self._offsets])
        is_control = np.concatenate([np.zeros(0, dtype=np.bool_), *self._is_control])
        told = np.unique(told[(told >= self.first) & (told < self.position)])
        check.compared = len(here)
        without = ~np.isin(here, told) & (here >= rejects_from)
        for offset in here[without & ~is_control].tolist():
            self._differ(check, "record without an outcome", offset, "charged, rejected or another outcome", "none")
        left = int((without & is_control).sum())
        if left > silent:
            check.differ(Difference("controls without an outcome", *place, f"{silent:,} at most", f"{left:,}"))
        for offset in told[~np.isin(told, here)].tolist():
            self._differ(check, "record that was taken", offset, "a record", "none")
        for offset in _of_others(np.concatenate(self._uses), uses):
            self._differ(check, "use", offset, "the one that the ledger tells of", "another one")
        check.figures = Counter({"uses": sum(map(len, self._uses)), "controls": int(is_control.sum())})
        return check

    def _differ(self, check: Check, what: str, offset: int, *said: Any) -> None:
        check.differ(Difference(what, "usage", self.partition, offset, *said))


def _of_others(here: Int64Array, ledger: Int64Array) -> list[int]:
    """Offsets at which both have a use, but not the same."""
    ledger = ledger[np.argsort(ledger[:, 0], kind="stable")]
    if not len(ledger):
        return []
    at = np.minimum(np.searchsorted(ledger[:, 0], here[:, 0]), len(ledger) - 1)
    other = (ledger[at, 0] == here[:, 0]) & (ledger[at, 1] != here[:, 1])
    found: list[int] = here[other, 0].tolist()
    return found
