"""Running figures of one stage partition, for people and Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from nanotally.streams.domain.records import PartitionLogic, Step
from nanotally.streams.pipeline.clock import Clock


class Figures:
    """Counts since the partition was opened, and seconds spent in each part of the work."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, float] = {
            "chunks": 0,
            "records": 0,
            "folded": 0,
            "snapshots": 0,
            "snapshots_failed": 0,
            "decide_seconds": 0.0,
            "write_seconds": 0.0,
            "snapshot_seconds": 0.0,
        }

    def taken(self, step: Step) -> None:
        """A transaction was committed."""
        self._counts["chunks"] += 1
        self._counts["records"] += step.taken

    def folded(self, records: int) -> None:
        """So many records of the log were folded at opening."""
        self._counts["folded"] += records

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the seconds that the block takes to a count: 'decide_seconds', 'write_seconds', 'snapshot_seconds'."""
        started_s = self._clock.seconds()
        try:
            yield
        finally:
            self._counts[name] += self._clock.seconds() - started_s

    def saved(self) -> None:
        """A snapshot was written."""
        self._counts["snapshots"] += 1

    def not_saved(self) -> None:
        """A snapshot could not be written."""
        self._counts["snapshots_failed"] += 1

    def all(self, logic: PartitionLogic) -> Mapping[str, float]:
        """These counts, the rows of state and what the logic itself counts."""
        return {**logic.metrics(), "state_rows": logic.size(), **self._counts}
