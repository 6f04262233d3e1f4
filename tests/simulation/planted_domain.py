"""Bugs of the logic that only show when a process dies, moves or is late."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nanotally.schemas import codec
from nanotally.streams.domain import controls, state_fold
from nanotally.streams.domain.accounts_sources import Sources
from nanotally.streams.domain.accounts_state import AccountsState
from nanotally.streams.domain.dedup import SeenIds
from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.records import LONG_AGO, RawChunk
from nanotally.streams.domain.redriven import Redriven
from nanotally.streams.domain.settlement import Carry
from nanotally.streams.domain.state import PayersState, pack
from nanotally.streams.domain.tariff import RuleBook, Settings
from tests.simulation.mutants import Mutant

real_evolve = PayersLogic.evolve
real_snapshot = PayersState.snapshot
real_decide = controls.decide
real_learn = PayersLogic.learn
real_fold_chunk = PayersState.fold_chunk
real_restore = PayersState.restore
real_agree = AccountsState.agree
real_forget = SeenIds.forget
real_fold_other = PayersLogic._fold_other


def bugs() -> list[Mutant]:
    return [
        Mutant("ids are forgotten when the ledger is folded", lambda: [(PayersLogic, "evolve", without_ids)]),
        Mutant("ids are forgotten in snapshots", lambda: [(PayersState, "snapshot", snapshot_without_ids)]),
        Mutant(
            "redriven offsets are forgotten", lambda: [(Redriven, "add", nothing), (PayersState, "restore", forgetful)]
        ),
        Mutant(
            "redriven offsets are forgotten when the ledger is folded", lambda: [(state_fold, "offsets_of", first_come)]
        ),
        Mutant("redriven offsets are forgotten in snapshots", lambda: [(PayersState, "restore", forgetful)]),
        Mutant("a tick moves the watermark by the worker's clock", lambda: [(controls, "decide", by_wall_clock)]),
        Mutant("a tariff is taken when it arrives", lambda: [(PayersLogic, "learn", at_once)]),
        Mutant("a close that was cut begins anew", lambda: [(PayersState, "fold_chunk", without_cursor)]),
        Mutant("the number of the next charge is not kept", lambda: [(PayersState, "fold_chunk", without_n)]),
        Mutant("running sums begin anew with each process", lambda: [(PayersState, "fold_chunk", without_sums)]),
        Mutant(
            "accounts close by the fastest source", lambda: [(Sources, "least", fastest), (Sources, "ruling", of_any)]
        ),
        Mutant("accounts do not wait for sources not heard of", lambda: [(Sources, "least", of_those_heard)]),
        Mutant("splits begin anew after a snapshot", lambda: [(PayersState, "restore", without_bases)]),
        Mutant("ids are forgotten at half of the horizon", lambda: [(SeenIds, "forget", early)]),
        Mutant(
            "a longer horizon brings back what a shorter one forgot", lambda: [(PayersState, "restore", unforgotten)]
        ),
        Mutant("how far a close was is forgotten in snapshots", lambda: [(PayersState, "restore", not_cut)]),
        Mutant("what accounts carry is forgotten in snapshots", lambda: [(Carry, "restore", nothing)]),
        Mutant("a fold takes the newest book for the one in force", lambda: [(PayersLogic, "_fold_other", newest)]),
    ]


def without_ids(self: PayersLogic, values: Sequence[bytes | None], first_offset: int) -> None:
    add = SeenIds.add
    SeenIds.add = lambda *_: None  # type: ignore[method-assign]
    try:
        real_evolve(self, values, first_offset)
    finally:
        SeenIds.add = add  # type: ignore[method-assign]


def snapshot_without_ids(self: PayersState) -> dict[str, bytes]:
    return real_snapshot(self) | {"seen": pack(SeenIds().arrays())}


def nothing(*_: Any) -> None:
    """What is left out."""


def first_come(flags: Any) -> Any:
    return np.full(len(flags), -1, dtype=np.int64)


def forgetful(self: PayersState, parts: Mapping[str, bytes]) -> None:
    real_restore(self, {**parts, "redriven": pack({"offsets": np.zeros(0, dtype=np.int64)})})


def by_wall_clock(chunk: RawChunk, place: int, *rest: Any) -> Any:
    late = chunk.recorded_at_us + int(asyncio.get_running_loop().time() * 1e6) % 60_000_000
    as_now = RawChunk(chunk.topic, chunk.partition, chunk.offsets, late, chunk.keys, chunk.values)
    taken = real_decide(as_now, place, *rest)
    if isinstance(taken, controls.Taken) and taken.record is not None:
        taken.record["recorded_at"] = int(chunk.recorded_at_us[place])
    return taken


def at_once(self: PayersLogic, book: RuleBook) -> None:
    real_learn(self, book)
    if self.state.book is not None and book.number > self.state.book_number and self._snapshot is None:
        self.state.activate(book, 0)


def without_cursor(self: PayersState, chunk: Mapping[str, Any]) -> None:
    real_fold_chunk(self, {**chunk, "cursor": None})


def without_n(self: PayersState, chunk: Mapping[str, Any]) -> None:
    real_fold_chunk(self, {**chunk, "next_n": 0})


def without_sums(self: PayersState, chunk: Mapping[str, Any]) -> None:
    real_fold_chunk(self, chunk)
    self.sums = Counter()


def fastest(self: Sources) -> int:
    return max(self.watermarks.values(), default=LONG_AGO) if len(self.watermarks) == self._number else LONG_AGO


def of_any(self: Sources, end_us: int) -> Settings:
    """A source that has not come to the end yet counts with the book that it has."""
    return self._settings[min(next((b for b, to in r if to >= end_us), r[-1][0]) for r in self._reached.values())]


def of_those_heard(self: Sources) -> int:
    return min(self.watermarks.values(), default=LONG_AGO)


def early(self: SeenIds, before_us: int, horizon_us: int) -> None:
    real_forget(self, before_us + horizon_us // 2, horizon_us)


def with_meta(parts: Mapping[str, bytes], **changes: Any) -> dict[str, bytes]:
    return {**parts, "meta": json.dumps(json.loads(parts["meta"]) | changes).encode()}


def unforgotten(self: PayersState, parts: Mapping[str, bytes]) -> None:
    real_restore(self, with_meta(parts, forgotten_us=LONG_AGO))


def not_cut(self: PayersState, parts: Mapping[str, bytes]) -> None:
    real_restore(self, with_meta(parts, cursor=None))


def newest(self: PayersLogic, value: bytes | None) -> None:
    name, record = codec.decode_one(value)
    if name == "ControlTaken" and record["kind"] == "activate":
        self.state.activate(self.books[max(self.books)], record["recorded_at"])
    else:
        real_fold_other(self, value)


def without_bases(self: PayersState, parts: Mapping[str, bytes]) -> None:
    empty = pack({name: array[:0] for name, array in self.splits.bases().items()})
    real_restore(self, {**parts, "bases": empty})
