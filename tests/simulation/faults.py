"""What may go wrong in a world, and how often: chosen once for each world, so that worlds differ in kind."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """Probabilities are for each request or step; seconds are the world's."""

    crash: float  # a process dies at a step
    freeze: float  # or stands still at it, as a zombie does
    freeze_s: float
    late: float  # an insert lands much later than its writer thinks
    cut: float  # ClickHouse dies between two blocks of an insert
    block_rows: int  # what lands at once
    tries: int  # of a request to Kafka, before its sender gives up
    lost: float  # a request never arrives
    answer_lost: float  # it does, but its answer does not come back
    twice: float  # it arrives a second time, some time later
    slow: float  # something that is quick takes up to slow_s
    slow_s: float
    timeout_s: float
    nemesis_s: float  # between two larger faults, on average; 0: none
    acts: tuple[str, ...]  # the larger faults of this world
    workers: tuple[int, int, int]  # processes of payers, accounts, sink
    slice_rows: int
    chunk_records: int
    fetch_records: int
    snapshot_records: int
    rows_max: int
    look_back: int
    batch_records: int  # of a producer's batch
    rejects_per_minute: int
    rich: float  # share of rule books with everything the tariff language has
    close_at_end: bool
    drop: float  # what was fetched vanishes before it is queued

    @staticmethod
    def of(r: random.Random) -> Profile:
        acts = tuple(act for act in ACTS if r.random() < 0.6)
        return Profile(
            crash=r.choice((0.0, 0.001, 0.005, 0.02)),
            freeze=r.choice((0.0, 0.0, 0.002, 0.01)),
            freeze_s=r.choice((1.0, 7.0, 15.0)),
            late=r.choice((0.0, 0.05, 0.2)),
            cut=r.choice((0.0, 0.0, 0.005, 0.03)),
            block_rows=r.choice((1, 4, 1_000_000)),
            tries=r.choice((1, 2, 4)),
            lost=r.choice((0.0, 0.0, 0.005, 0.03)),
            answer_lost=r.choice((0.0, 0.0, 0.005, 0.03)),
            twice=r.choice((0.0, 0.0, 0.005, 0.03)),
            slow=r.choice((0.0, 0.02, 0.1)),
            slow_s=r.choice((0.3, 2.0, 8.0)),
            timeout_s=r.choice((0.5, 2.0)),
            nemesis_s=r.choice((1.5, 3.0, 6.0)),
            acts=acts,
            workers=(r.choice((1, 1, 2)), r.choice((1, 1, 2)), r.choice((1, 1, 2))),
            slice_rows=r.choice((1, 2, 5, 20_000, 20_000)),
            chunk_records=r.choice((2, 6, 20, 40_000)),
            fetch_records=r.choice((2, 6, 20, 500)),
            snapshot_records=r.choice((1, 5, 40, 200_000)),
            rows_max=r.choice((1, 7, 50_000, 50_000)),
            look_back=r.choice((1, 2, 64)),
            batch_records=r.choice((2, 5, 1000)),
            rejects_per_minute=r.choice((3, 10**9, 10**9)),
            rich=r.choice((0.0, 0.0, 1.0)),
            close_at_end=r.random() < 0.7,
            drop=r.choice((0.0, 0.0, 0.0, 0.1)),
        )


# Those that are named more than once come more often.
ACTS = (
    "kill", "kill all", "stop", "stop", "cut off", "cut off", "cut off", "unplugged", "slow consumer", "leave", "join",
    "broker down", "clickhouse down", "clickhouse restart", "clickhouse refuses", "disk lost", "disk stale",
    "disk corrupt", "open transaction", "retention", "compaction", "offsets expire", "clock jumps", "rebalance",
)  # fmt: skip
