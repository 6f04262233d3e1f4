"""Deliberate bugs, one at a time: each must be seen by some seed, and the table says how many seeds that took.

A bug is a changed method of a real class (or of the client that stands for the real one), put in place while a world
runs and taken out again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.simulation.run import simulate

MOST_SEEDS = 400

Change = tuple[Any, str, Any]  # of what, which attribute, what it becomes


@dataclass(frozen=True)
class Mutant:
    """`changes` is asked for when the bug is switched on."""

    name: str
    changes: Callable[[], list[Change]]


@contextmanager
def planted(bug: Mutant) -> Iterator[None]:
    """The bug, while the block runs."""
    changes = bug.changes()
    before = [(of, name, of.__dict__[name]) for of, name, _ in changes]
    try:
        for of, name, value in changes:
            setattr(of, name, value)
        yield
    finally:
        for of, name, value in before:
            setattr(of, name, value)


@dataclass(frozen=True)
class Hunted:
    """seed: the one that saw it; None where none did."""

    name: str
    seed: int | None
    seeds: int
    seconds: float
    told: str


def hunt(name: str, seeds: int = MOST_SEEDS, first: int = 0) -> Hunted:
    """Runs worlds with the bug until one sees it."""
    bug = named([name])[0]
    started = time.monotonic()
    for n in range(seeds):
        with planted(bug):
            verdict = simulate(first + n)
        if verdict.error is not None:
            told = f"{type(verdict.error).__name__}: {' '.join(str(verdict.error).split())}"
            return Hunted(name, first + n, n + 1, time.monotonic() - started, told[:160])
    return Hunted(name, None, seeds, time.monotonic() - started, "")


def named(names: Sequence[str]) -> list[Mutant]:
    """The bugs of these names, or all. Raises ValueError for a name that is none."""
    from tests.simulation import planted_domain, planted_pipeline, planted_sink

    known = {m.name: m for of in (planted_pipeline, planted_sink, planted_domain) for m in of.bugs()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no such bug: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(known.values())


def hunt_all(names: Sequence[str], seeds: int, processes: int = 2) -> int:
    """A table of the bugs and the seeds that they took; 1 where one was not seen."""
    unseen = 0
    print(f"{'bug':58} {'seeds':>5}  how it shows")
    with ProcessPoolExecutor(processes) as pool:
        for found in pool.map(hunt, [m.name for m in named(names)], [min(seeds, MOST_SEEDS)] * len(named(names))):
            unseen += found.seed is None
            seen = f"{found.seeds:5}  {found.told[:110]}" if found.seed is not None else f"NOT SEEN in {found.seeds}"
            print(f"{found.name:58} {seen}", flush=True)
    return 1 if unseen else 0
