"""What snapshots say: restored, each is what the fold of the log comes to, up to where it says that it is.

A world seldom lives long enough for what a snapshot lacks to matter; here it is seen at once."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import numpy as np

from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.records import LONG_AGO
from nanotally.streams.domain.state import PayersState, unpack
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.pipeline.store import Snapshot
from tests.simulation.installation import Installation
from tests.simulation.workers import ACCOUNT_PARTITIONS, PARTITIONS
from tests.simulation.written import same

Facts = dict[str, Any]


def check_snapshots(at: Installation, books: dict[int, RuleBook]) -> None:
    """One snapshot of each partition of the payers' stage, that of the most peculiar moment."""
    for p in range(PARTITIONS):
        saved = [kept for disk in at.disks for _, kept in disk.backups.get(f"payers-{p}", ())]
        if not saved:
            continue
        snapshot = most_peculiar(saved, at.world.rng(f"snapshots {p}"))
        log = [e for e in at.kafka.logs["charges", p].archive if e.state == "committed"]
        folded = _logic(p, books.values())
        folded.evolve([e.value for e in log if e.offset < snapshot.log_offset], 0)
        restored = _logic(p, ())
        restored.restore(snapshot.parts)
        for book in books.values():
            restored.learn(book)
        found, expected = facts(restored.state), facts(folded.state)
        for what in expected:
            same(f"snapshot of payers[{p}] at offset {snapshot.log_offset}, {what}", found[what], expected[what])


def most_peculiar(saved: list[Snapshot], rng: random.Random) -> Snapshot:
    """One of a close that was cut, or of what else is seldom; else any."""

    def rank(snapshot: Snapshot) -> int:
        meta = json.loads(snapshot.parts["meta"])
        seldom = (meta["forgotten_us"] > LONG_AGO, meta["next_n"] > 0, meta["cursor"] is not None)
        return sum(1 << i for i, there in enumerate(seldom) if there)

    ranks = [rank(snapshot) for snapshot in saved]
    return rng.choice([snapshot for snapshot, one in zip(saved, ranks, strict=True) if one == max(ranks)])


def _logic(partition: int, books: Iterable[RuleBook]) -> PayersLogic:
    logic = PayersLogic(partition, PARTITIONS, ACCOUNT_PARTITIONS)
    for book in books:
        logic.learn(book)
    return logic


def facts(state: PayersState) -> Facts:
    """What later records may hang on, in an order of its own: not what has only not been tidied up yet."""
    parts = state.snapshot()
    meta = json.loads(parts["meta"])
    meta["counts"] = {name: count for name, count in meta["counts"].items() if count}
    meta["sums"] = {name: nanos for name, nanos in meta["sums"].items() if nanos != "0"}
    scopes, bases, seen = (unpack(parts[name]) for name in ("scopes", "bases", "seen"))
    living = scopes["end"] > state.closed_to_us
    columns = [scopes[name][living].tolist() for name in sorted(scopes)]
    begun = [bases[name][bases["base"] != 0].tolist() for name in ("high", "low", "base")]
    return {
        **meta,
        "scopes": sorted(zip(*columns, strict=True)),
        "bases of splits": sorted(zip(*begun, strict=True)),
        "ids": ids(seen, max(state.watermark_us - state.settings.horizon_us, state.forgotten_us)),
        "redriven offsets": unpack(parts["redriven"])["offsets"].tolist(),
    }


def ids(seen: dict[str, np.ndarray], from_us: int) -> dict[tuple[int, int], tuple[int, int]]:
    """Content hash and time by id, of those that are not forgotten yet; the later use of an id counts."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    i = 0
    while f"{i}.high" in seen:
        columns = [seen[f"{i}.{name}"].tolist() for name in ("high", "low", "content", "at")]
        found |= {(high, low): (content, at) for high, low, content, at in zip(*columns, strict=True)}
        i += 1
    return {key: told for key, told in found.items() if told[1] >= from_us}
