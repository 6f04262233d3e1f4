"""Redriven uses: each was unpriced where its flag says that it stood, with the same content, and came again once.

The stage trusts the controls that carry such uses; here the ledger itself has to show that they told the truth."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow.compute as pc

from nanotally.streams.domain.reconciling import Check, Difference
from nanotally.streams.domain.reconciling_columns import Charges
from nanotally.streams.domain.records import Int64Array

NAME = "redriven uses: unpriced before, once"


class RedrivenUses:
    """Unpriced and redriven uses of one partition of `charges`, as they come; 16 and 32 bytes each."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self._unpriced: list[Int64Array] = []  # [n, 2]: usage offset, content hash
        self._redriven: list[Int64Array] = []  # [n, 4]: ledger offset, usage offset, where it stood, content hash

    def add(self, charges: Charges) -> None:
        """Adds charges of the ledger."""
        content = charges.column("content_hash")
        unpriced = pc.equal(charges.batch.column("outcome"), "unpriced").to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(unpriced)
        if len(rows):
            self._unpriced.append(np.column_stack((charges.column("usage_offset")[rows], content[rows])))
        rows = np.flatnonzero(charges.redriven_from >= 0)
        if len(rows):
            columns = (charges.offsets, charges.column("usage_offset"), charges.redriven_from, content)
            self._redriven.append(np.column_stack([column[rows] for column in columns]))

    def check(self) -> Check:
        """What is wrong, and how many unpriced uses are left."""
        unpriced = np.concatenate([np.zeros((0, 2), dtype=np.int64), *self._unpriced])
        redriven = np.concatenate([np.zeros((0, 4), dtype=np.int64), *self._redriven])
        unpriced = unpriced[np.argsort(unpriced[:, 0], kind="stable")]
        place = np.searchsorted(unpriced[:, 0], redriven[:, 2])
        at, came_before = np.minimum(place, max(0, len(unpriced) - 1)), set[int]()
        left = len(unpriced)
        check = Check(NAME, compared=len(redriven))
        for (offset, usage_offset, stood, content), i in zip(redriven.tolist(), at.tolist(), strict=True):
            if not len(unpriced) or int(unpriced[i, 0]) != stood or stood >= usage_offset:
                self._differ(check, offset, f"an unpriced use at usage offset {stood}", "none")
            elif int(unpriced[i, 1]) != content:
                self._differ(check, offset, f"the content of the use at usage offset {stood}", "another one")
            elif stood in came_before:
                self._differ(check, offset, f"the use at usage offset {stood} once more", "twice")
            else:
                came_before.add(stood)
                left -= 1
        check.figures = Counter({"redriven": len(redriven), "unpriced left": left})
        return check

    def _differ(self, check: Check, offset: int, expected: str, found: str) -> None:
        check.differ(Difference("redriven use", "charges", self.partition, offset, expected, found))
