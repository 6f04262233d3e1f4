"""What snapshots say: restored, each is what the fold of the log comes to, up to where it says that it is.

A world seldom lives long enough for what a snapshot lacks to matter; here it is seen at once."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import numpy as np

from nanotally.streams.domain.accounts import AccountsLogic
from nanotally.streams.domain.accounts_state import AccountsState
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
    """One snapshot of one partition of each stage: of the payers' that of the most peculiar moment."""
    p, q = at.world.seed % PARTITIONS, at.world.seed % ACCOUNT_PARTITIONS
    if saved := _saved(at, f"payers-{p}"):
        snapshot = most_peculiar(saved, at.world.rng(f"snapshots payers {p}"))
        folded = _logic(p, books.values())
        folded.evolve(_log(at, "charges", p, snapshot), 0)
        restored = _logic(p, ())
        restored.restore(snapshot.parts)
        for book in books.values():
            restored.learn(book)
        _same(f"payers[{p}]", snapshot, facts(restored.state), facts(folded.state))
    # What a close that was cut has not closed yet, a fold has.
    kept = _saved(at, f"accounts-{q}")
    if whole := [one for one in kept if not json.loads(one.parts["accounts"])["chunk"]["cursor"]]:
        snapshot = at.world.rng(f"snapshots accounts {q}").choice(whole)
        told, earned = AccountsLogic(q), AccountsLogic(q)
        told.restore(snapshot.parts)
        earned.evolve(_log(at, "earnings", q, snapshot), 0)
        _same(f"accounts[{q}]", snapshot, facts_of_accounts(told.state), facts_of_accounts(earned.state))


def _saved(at: Installation, name: str) -> list[Snapshot]:
    return [kept for disk in at.disks for _, kept in disk.backups.get(name, ())]


def _log(at: Installation, topic: str, partition: int, snapshot: Snapshot) -> list[bytes | None]:
    log = at.kafka.logs[topic, partition].archive
    return [e.value for e in log if e.state == "committed" and e.offset < snapshot.log_offset]


def _same(whose: str, snapshot: Snapshot, found: Facts, expected: Facts) -> None:
    for what in expected:
        same(f"snapshot of {whose} at offset {snapshot.log_offset}, {what}", found[what], expected[what])


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


def facts_of_accounts(state: AccountsState) -> Facts:
    """The same of the accounts' stage: what each account carries, and what the chunk record tells but for the place."""
    carried = {name: state.carry.of(name) for name in state.carry._accounts.texts}
    chunk = state.chunk()
    sums = {name: nanos for name, nanos in chunk["sums"].items() if nanos != "0"}
    told = {name: chunk[name] for name in ("records", "watermark_us", "closed_to_us", "book_number")}
    return {**told, "sums": sums, "carried": {name: nanos for name, nanos in carried.items() if any(nanos.values())}}


def ids(seen: dict[str, np.ndarray], from_us: int) -> dict[tuple[int, int], tuple[int, int]]:
    """Content hash and time by id, of those that are not forgotten yet; the later use of an id counts."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    i = 0
    while f"{i}.high" in seen:
        columns = [seen[f"{i}.{name}"].tolist() for name in ("high", "low", "content", "at")]
        found |= {(high, low): (content, at) for high, low, content, at in zip(*columns, strict=True)}
        i += 1
    return {key: told for key, told in found.items() if told[1] >= from_us}
