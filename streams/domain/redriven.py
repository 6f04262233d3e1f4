"""Unpriced uses that were taken once more: the flag on their charges, and which offsets they stood at.

Such a charge stands at the offset of the control that carried the use, and its flag tells where the use was."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.streams.domain.records import Int64Array

FLAG = "redrive:"
STILL_UNPRICED = "still_unpriced"  # why a redrive is rejected as long as there is no price; it may come again
LATEST = 4096  # so many are kept aside before they are sorted in


def flag_of(offset: int) -> str:
    """The flag of the charge of a use that was redriven from the offset."""
    return f"{FLAG}{offset}"


def offset_of(flags: str) -> int:
    """The offset that a charge's flags tell; -1 where its use was not redriven."""
    return next((int(word[len(FLAG) :]) for word in flags.split() if word.startswith(FLAG)), -1)


def offsets_of(flags: pa.Array) -> Int64Array:
    """The same for a column of flags, of which most are empty: int64[n]."""
    offsets = np.full(len(flags), -1, dtype=np.int64)
    for row in np.flatnonzero(pc.match_substring(flags, FLAG).to_numpy(zero_copy_only=False)).tolist():
        offsets[row] = offset_of(flags[row].as_py())
    return offsets


class Redriven:
    """A set of offsets that only grows, kept for ever: 8 bytes each."""

    def __init__(self, offsets: Int64Array | None = None) -> None:
        self._sorted: Int64Array = np.zeros(0, dtype=np.int64) if offsets is None else offsets
        self._latest: set[int] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._latest)

    def __contains__(self, offset: int) -> bool:
        if offset in self._latest:
            return True
        place = int(np.searchsorted(self._sorted, offset))
        return place < len(self._sorted) and int(self._sorted[place]) == offset

    def add(self, offset: int) -> None:
        """Takes an offset that is not there yet."""
        self._latest.add(offset)
        if len(self._latest) >= LATEST:
            self._sorted, self._latest = self.offsets(), set()

    def offsets(self) -> Int64Array:
        """All of them, rising: int64[n]."""
        return np.sort(np.concatenate((self._sorted, np.array(list(self._latest), dtype=np.int64))))
