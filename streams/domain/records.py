"""What goes into and comes out of a stage partition: plain values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from nanotally.streams.domain.tariff import RuleBook

Int64Array = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]
Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

Column = TypeVar("Column", bound="np.ndarray[Any, Any]")

LONG_AGO = -(2**63)  # a watermark before the first use
NO_END = 2**63 - 1  # the end of what never ends
FOLD_VERSION = 3  # of the state that a fold gives: a snapshot of another version is thrown away


def pick(column: Column, rows: Int64Array) -> Column:
    """The rows of a column, which rise and are distinct: so all of them are the column itself, without a copy."""
    return column if len(rows) == len(column) else cast(Column, column[rows])


@dataclass
class RawChunk:
    """The records of one partition that a fetch returned, in order of offset.

    offsets, recorded_at_us: int64[n], the latter the broker's time in microseconds UTC; keys, values: n bytes each
    (None where the record has none)."""

    topic: str
    partition: int
    offsets: Int64Array
    recorded_at_us: Int64Array
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]

    def __len__(self) -> int:
        return len(self.offsets)

    def since(self, offset: int) -> RawChunk:
        """The records at or after the offset."""
        i = int(np.searchsorted(self.offsets, offset))
        return self.part(i, len(self)) if i else self

    def part(self, first: int, end: int) -> RawChunk:
        """The records first..end-1 by place in the chunk."""
        return RawChunk(
            self.topic,
            self.partition,
            self.offsets[first:end],
            self.recorded_at_us[first:end],
            self.keys[first:end],
            self.values[first:end],
        )


@dataclass
class Emission:
    """Records for one partition of one topic (logical name), in order."""

    topic: str
    partition: int
    keys: Sequence[bytes | None]
    values: Sequence[bytes]


@dataclass
class Step:
    """What one transaction of a stage writes.

    taken: input records taken whole; next_offset: of the input; emissions in the order of writing, the very last
    value is the Chunk record; rejected: rejects among the input, but for redriven uses that still have no price; done
    False: a long close was cut at a slice, decide the rest of the chunk again."""

    taken: int
    next_offset: int
    emissions: list[Emission]
    rejected: int = 0
    done: bool = True


class PartitionLogic(Protocol):
    """The pure part of a stage for one input partition; owns that partition's state."""

    stage: str
    input_topic: str
    log_topic: str
    chunk_topic: str

    def needed_books(self, values: Sequence[bytes | None]) -> tuple[int, ...]:
        """Numbers of the rule books that these values and the state need and that were not learned yet."""
        ...

    def learn(self, book: RuleBook) -> None:
        """Takes a book that was asked for."""
        ...

    def decide(self, chunk: RawChunk) -> Step:
        """Decides the chunk and folds it into the state. If writing the step fails, the state is lost: leave."""
        ...

    def evolve(self, values: Sequence[bytes | None], first_offset: int) -> None:
        """Folds records of the log topic, in order, into the state."""
        ...

    def resume(self, chunk: Mapping[str, Any] | None) -> int:
        """Takes the last chunk record after the log was folded; gives the next input offset (0 without one)."""
        ...

    def snapshot(self) -> dict[str, bytes]:
        """The state as named blobs."""
        ...

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """The state from what `snapshot` gave."""
        ...

    def size(self) -> int:
        """Rows of state."""
        ...

    def account(self, account: str) -> dict[str, Any] | None:
        """Open windows and sums of one account, for live answers; None where there are none."""
        ...

    def metrics(self) -> dict[str, int]:
        """Watermark, closed-to and running counts by name."""
        ...
