"""What one transaction of the accounts' stage writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from nanotally.schemas import codec
from nanotally.streams.domain.records import Emission, Step
from nanotally.streams.domain.tallies_rows import Closed


class Output:
    """Tallies and payouts of one step, encoded as they come. room: rows that the step may still close."""

    def __init__(self, partition: int, slice_rows: int) -> None:
        self.room = slice_rows
        self._partition = partition
        self._tallies: tuple[list[bytes | None], list[bytes]] = ([], [])
        self._payouts: tuple[list[bytes | None], list[bytes]] = ([], [])

    def put(self, closed: Closed, payouts: pa.RecordBatch) -> None:
        """Adds closed windows, and payouts (columns of payout.avsc)."""
        self.room -= len(closed)
        for (keys, values), record, batch in (
            (self._tallies, "Tally", closed.tallies),
            (self._payouts, "Payout", payouts),
        ):
            if len(batch):
                keys += batch.column("account").cast(pa.binary()).to_pylist()
                values += codec.encode(record, batch)

    def step(self, taken: int, done: bool, chunk: Mapping[str, Any]) -> Step:
        """The transaction, with its chunk record last."""
        self._tallies[0].append(None)
        self._tallies[1].append(codec.encode_one("Chunk", chunk))
        emissions = [Emission("payouts", self._partition, *self._payouts)] if self._payouts[1] else []
        emissions.append(Emission("account_tallies", self._partition, *self._tallies))
        return Step(taken, chunk["next_offset"], emissions, done=done)
