"""Runs worlds from seeds, or one seed step by step, or the deliberate bugs.

python -m tests.simulation --seeds 1000 [--from N] [--size RECORDS] [--processes 2]
python -m tests.simulation --seed N [--size RECORDS] --trace
python -m tests.simulation --soak [--size RECORDS]
python -m tests.simulation --mutants [NAME...]"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import signal
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field

import pyarrow as pa

from tests.simulation.run import Verdict, simulate
from tests.simulation.world import SIZE

AHEAD = 32  # worlds for each process that are given out before the oldest of them is told
SAID_EVERY = 50
SOAKED = (SIZE, 10, 28, 18, 36, 22)  # sizes: short worlds break at their ends, long ones come to see what is rare

Worlds = Iterable[tuple[int, int]]  # seed, size


def one(seed: int, size: int, trace: bool, bug: str) -> int:
    """A seed in this process, told in full."""
    started = time.monotonic()
    verdict = simulated(seed, size, bug, trace=trace)
    print(tell(verdict), f"({time.monotonic() - started:.2f} s)")
    if verdict.error is not None:
        traceback.print_exception(verdict.error)
    return verdict.error is not None


def tell(verdict: Verdict) -> str:
    told = counted(verdict.faults) or "no faults"
    came = f"; {counted(verdict.effects)}" if verdict.effects else ""
    end = "holds" if verdict.error is None else f"FAILS: {verdict.error!r:.300}"
    length = f"{verdict.world_s:.0f} s of the world, digest {verdict.digest:08x}"
    return f"seed {verdict.seed}{sized(verdict.size, ', size')}: {length}, {told}{came}: {end}"


def sized(size: int, word: str) -> str:
    """Said where it is not what it is without being asked for."""
    return "" if size == SIZE else f"{word} {size}"


def counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items()))


@dataclass
class Told:
    """What worlds came to, so far."""

    stopped: bool = False
    started: float = field(default_factory=time.monotonic)
    worlds: int = 0
    records: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)
    worlds_with: Counter[str] = field(default_factory=Counter)

    def take(self, verdict: Verdict) -> None:
        self.worlds, self.records = self.worlds + 1, self.records + verdict.records
        self.faults.update(verdict.faults)
        self.effects.update(verdict.effects)
        self.worlds_with.update({*verdict.faults, *verdict.effects})

    def stop(self, *_: object) -> None:
        """For signals: raising from within the pool's own work might leave it waiting for itself."""
        self.stopped = True

    def summary(self) -> str:
        faults, seconds = sum(self.faults.values()), time.monotonic() - self.started
        lines = [f"{self.worlds} worlds hold: {self.records:,} records, {faults:,} faults, {seconds:.0f} s"]
        for title, kinds in (("faults", self.faults), ("what came of them", self.effects)):
            lines.append(f"  {title:24} {'times':>8} {'worlds':>8}")
            lines += [f"    {kind:22} {n:8,} {self.worlds_with[kind]:8,}" for kind, n in kinds.most_common()]
        return "\n".join(lines)


def many(seeds: Worlds, processes: int, worlds: str, bug: str) -> int:
    """Worlds side by side; stops at the first that fails. An interrupt ends it with what it came to: that is no fault
    where it would never end by itself."""
    told = Told()
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, told.stop)
    if not worlds:
        print("worlds without end; interrupt it to see what they came to", flush=True)
    pool = ProcessPoolExecutor(processes, initializer=begin)
    try:
        failed = first_that_fails(pool, told, seeds, processes, worlds, bug)
    finally:
        pool.shutdown(cancel_futures=True)
    if failed is None:
        print(told.summary())
        return 130 if told.stopped and worlds else 0
    print(tell(failed))
    planted = f" --with '{bug}'" if bug else ""
    print(f"replay it: python -m tests.simulation --seed {failed.seed}{sized(failed.size, ' --size')} --trace{planted}")
    return 1


def begin() -> None:
    """A process that runs worlds. What is interrupted is the one that tells what was found; it ends the others. Worlds
    leave little behind: looking for it less often takes a seventh less time. Their columns are short, so that other
    threads only stand in the way of the other process."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def first_that_fails(
    pool: ProcessPoolExecutor, told: Told, seeds: Worlds, processes: int, worlds: str, bug: str
) -> Verdict | None:
    said_s = told.started
    for verdict in side_by_side(pool, seeds, processes, bug):
        if verdict.error is not None:
            return verdict
        told.take(verdict)
        if told.stopped:
            return None
        now_s = time.monotonic()
        if now_s - said_s > 10 and told.worlds % SAID_EVERY == 0:
            said_s = now_s
            faults = sum(told.faults.values())
            print(f"{told.worlds}{worlds} worlds hold, {faults:,} faults, {now_s - told.started:.0f} s", flush=True)
    return None


def side_by_side(pool: ProcessPoolExecutor, seeds: Worlds, processes: int, bug: str) -> Iterator[Verdict]:
    """Verdicts in the order of the seeds, of which there may be no end: some are always on their way."""
    left, running = iter(seeds), deque[Future[Verdict]]()
    while True:
        ahead = AHEAD * processes - len(running)
        running.extend(pool.submit(simulate_quietly, seed, size, bug) for seed, size in itertools.islice(left, ahead))
        if not running:
            return
        yield running.popleft().result()


def simulated(seed: int, size: int, bug: str, *, trace: bool = False) -> Verdict:
    """The seed, with a deliberate bug where one is named."""
    from tests.simulation.mutants import named, planted

    with planted(named([bug])[0]) if bug else nullcontext():
        return simulate(seed, size=size, trace=trace)


def simulate_quietly(seed: int, size: int, bug: str) -> Verdict:
    """For another process: an error as plain text, since not every error can be sent."""
    verdict = simulated(seed, size, bug)
    if verdict.error is not None:
        verdict.error = AssertionError(f"{type(verdict.error).__name__}: {verdict.error}"[:2000])
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="this world alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: every step")
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds (default 1000)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (default 0)")
    of_sizes = f"of usage in each partition, about (default {SIZE}; with --soak several in turn)"
    parser.add_argument("--size", type=int, metavar="RECORDS", help=of_sizes)
    cores = max(2, os.cpu_count() or 2)
    parser.add_argument("--processes", type=int, default=cores, help=f"side by side (default {cores})")
    parser.add_argument("--soak", action="store_true", help="until stopped, or until one fails")
    parser.add_argument("--mutants", nargs="*", metavar="NAME", help="all deliberate bugs, or these")
    parser.add_argument("--with", default="", dest="bug", metavar="NAME", help="with this deliberate bug")
    chosen = parser.parse_args()
    if chosen.size is not None and chosen.size < 2:
        parser.error(f"--size {chosen.size}: a world needs 2 records or more in each partition")
    if chosen.mutants is not None:
        from tests.simulation.mutants import hunt_all

        return hunt_all(chosen.mutants, chosen.seeds)
    if chosen.seed is not None:
        return one(chosen.seed, chosen.size or SIZE, chosen.trace, chosen.bug)
    seeds = itertools.count(chosen.first) if chosen.soak else range(chosen.first, chosen.first + chosen.seeds)
    sizes = (chosen.size,) if chosen.size else SOAKED if chosen.soak else (SIZE,)
    worlds = zip(seeds, itertools.cycle(sizes))
    return many(worlds, chosen.processes, "" if chosen.soak else f" of {chosen.seeds}", chosen.bug)


if __name__ == "__main__":
    sys.exit(main())
