"""Whether a worker does its work: the position advances while there is lag, or there is none.

Being alive is not enough: a worker that holds its partitions and takes nothing is what nobody notices for hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nanotally.streams.pipeline.clock import Clock
from nanotally.streams.pipeline.lanes import Lane
from nanotally.streams.pipeline.transport import Seen

SILENT_S = 3.0  # Kafka answers several times a second, also when there is nothing new


@dataclass(frozen=True)
class PartitionHealth:
    """state: opening, working, idle or stuck. lag: records, None before Kafka said where the end is. seconds: since
    the last progress, or since Kafka last answered where there is nothing to do; 0 while all is well."""

    topic: str
    partition: int
    state: str
    position: int
    end: int | None
    lag: int | None
    seconds: float
    waiting_for: str

    def words(self) -> str:
        """One line for people."""
        lag = "lag unknown" if self.lag is None else f"{self.lag:,} behind"
        if self.lag == 0:
            return (
                f"{self.topic}[{self.partition}] at {self.position:,}: Kafka has not answered for {self.seconds:.0f} s"
            )
        waits = f", waits for {self.waiting_for}" if self.waiting_for else ""
        return (
            f"{self.topic}[{self.partition}] at {self.position:,}, {lag}, no progress for {self.seconds:.0f} s{waits}"
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Liveness:
    """Remembers since when nothing has moved; `observe` is called every second and by whoever asks."""

    def __init__(self, stuck_s: float, clock: Clock) -> None:
        self._stuck_s = stuck_s
        self._clock = clock
        self._moved: dict[tuple[str, int], tuple[object, float]] = {}

    def observe(
        self, lanes: Sequence[Lane], seen: Mapping[tuple[str, int], Seen], now_s: float
    ) -> list[PartitionHealth]:
        """Health by partition. seen: what the fetcher knows, by logical topic and partition; now_s: seconds since
        1970."""
        found = [self._one(lane, seen.get((lane.topic, lane.tp.partition)), now_s) for lane in lanes]
        held = {(health.topic, health.partition) for health in found}
        self._moved = {key: moved for key, moved in self._moved.items() if key in held}
        return found

    def _one(self, lane: Lane, seen: Seen | None, now_s: float) -> PartitionHealth:
        key = (lane.topic, lane.tp.partition)
        position = lane.worker.position
        end = seen.end if seen else None
        drained = lane.opened and lane.idle and _is_at_end(seen)
        lag = 0 if drained else None if end is None else max(0, end - position)
        marker = (lane, lane.opened, position, lane.worker.figures().get("folded"), drained)
        at_s = self._clock.seconds()
        before, since_s = self._moved.get(key, (None, 0.0))
        if marker != before:
            since_s = at_s
            self._moved[key] = (marker, since_s)
        silent_s = now_s - seen.answered_s if seen else 0.0
        seconds = at_s - since_s if not drained else silent_s if silent_s > SILENT_S else 0.0
        if seconds > self._stuck_s:
            state = "stuck"
        elif not lane.opened:
            state = "opening"
        else:
            state = "idle" if drained else "working"
        return PartitionHealth(*key, state, position, end, lag, round(seconds, 3), lane.worker.waiting_for)


def _is_at_end(seen: Seen | None) -> bool:
    """Whether all that is committed was handed over. Control records have offsets too, so the position may stay below
    the end for ever."""
    return seen is not None and seen.end is not None and seen.next_offset is not None and seen.next_offset >= seen.end
