"""In which order the faults strike: all kinds once before any comes again."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.chaos import faults, intruders, places
from tests.chaos.faults import Fault

ALL: dict[str, Fault] = {
    "kill-one": faults.kill_one,
    "kill-all": faults.kill_all,
    "kill-a-stage": faults.kill_a_stage,
    "zombie": faults.zombie,
    "kill-kafka": faults.kill_kafka,
    "kill-clickhouse": faults.kill_clickhouse,
    "restart-kafka": faults.restart_kafka,
    "restart-clickhouse": faults.restart_clickhouse,
    "stop-kafka": faults.stop_kafka,
    "stop-clickhouse": faults.stop_clickhouse,
    "cut-kafka": faults.cut_kafka,
    "hold-kafka": faults.hold_kafka,
    "slow-kafka": faults.slow_kafka,
    "cut-clickhouse": faults.cut_clickhouse,
    "slow-clickhouse": faults.slow_clickhouse,
    "refuse-writes": faults.refuse_writes,
    "rebalances": faults.rebalances,
    "poison": intruders.poison,
    "flood": intruders.flood,
    "alien-transaction": intruders.alien_transaction,
    "stage-transaction": intruders.stage_transaction,
    "state-deleted": places.state_deleted,
    "state-corrupted": places.state_corrupted,
    "disk-full": places.disk_full,
    "disk-read-only": places.disk_read_only,
    "memory": places.memory,
}
SHORT = ("kill-all", "kill-clickhouse", "cut-kafka", "cut-clickhouse")


class Deck:
    """A shuffled deck, shuffled anew when it is used up."""

    def __init__(self, rng: random.Random, only: tuple[str, ...] = (), short: bool = False) -> None:
        """only: names of faults. Raises KeyError for a name that there is not."""
        self._rng = rng
        self._names = list(only or (SHORT if short else ALL))
        self._faults = {name: ALL[name] for name in self._names}
        self.unused = set(self._names)

    def deal(self) -> Iterator[tuple[str, Fault]]:
        """Faults and their names, without end. One counts as used when the next is asked for."""
        while True:
            self._rng.shuffle(self._names)
            for name in self._names:
                yield name, self._faults[name]
                self.unused.discard(name)
