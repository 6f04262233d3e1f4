"""Runs worlds from seeds, or one seed step by step, or the deliberate bugs.

python -m tests.simulation --seeds 1000 [--from N] [--processes 2]
python -m tests.simulation --seed N --trace
python -m tests.simulation --soak
python -m tests.simulation --mutants [NAME...]"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial

from tests.simulation.run import Verdict, simulate


def one(seed: int, trace: bool, bug: str) -> int:
    """A seed in this process, told in full."""
    started = time.monotonic()
    verdict = simulated(seed, bug, trace=trace)
    print(tell(verdict), f"({time.monotonic() - started:.2f} s)")
    if verdict.error is not None:
        traceback.print_exception(verdict.error)
    return verdict.error is not None


def tell(verdict: Verdict) -> str:
    told = ", ".join(f"{kind} {n}" for kind, n in sorted(verdict.faults.items()))
    end = "holds" if verdict.error is None else f"FAILS: {verdict.error!r:.300}"
    length = f"{verdict.world_s:.0f} s of the world, digest {verdict.digest:08x}"
    return f"seed {verdict.seed}: {length}, {told or 'no faults'}: {end}"


def many(seeds: Iterable[int], processes: int, worlds: str, bug: str) -> int:
    """Seeds side by side; stops at the first that fails."""
    started, done, records = time.monotonic(), 0, 0
    faults: Counter[str] = Counter()
    said_s = started
    with ProcessPoolExecutor(processes) as pool:
        for some in batches(seeds, 50 * processes):
            for verdict in pool.map(partial(simulate_quietly, bug=bug), some, chunksize=5):
                done, records = done + 1, records + verdict.records
                faults.update(verdict.faults)
                if verdict.error is not None:
                    print(tell(verdict))
                    told = f" --with '{bug}'" if bug else ""
                    print(f"replay it: python -m tests.simulation --seed {verdict.seed} --trace{told}")
                    pool.shutdown(cancel_futures=True)
                    return 1
            if time.monotonic() - said_s > 10:
                said_s = time.monotonic()
                print(
                    f"{done}{worlds} worlds hold, {sum(faults.values()):,} faults, {said_s - started:.0f} s", flush=True
                )
    print(
        f"{done} worlds hold: {records:,} records, {sum(faults.values()):,} faults, {time.monotonic() - started:.0f} s"
    )
    for kind, n in faults.most_common():
        print(f"  {kind:22} {n:8,}")
    return 0


def batches(seeds: Iterable[int], size: int) -> Iterable[list[int]]:
    iterator = iter(seeds)
    while some := list(itertools.islice(iterator, size)):
        yield some


def simulated(seed: int, bug: str, *, trace: bool = False) -> Verdict:
    """The seed, with a deliberate bug where one is named."""
    from tests.simulation.mutants import named, planted

    with planted(named([bug])[0]) if bug else nullcontext():
        return simulate(seed, trace=trace)


def simulate_quietly(seed: int, bug: str) -> Verdict:
    """For another process: an error as plain text, since not every error can be sent."""
    verdict = simulated(seed, bug)
    if verdict.error is not None:
        verdict.error = AssertionError(f"{type(verdict.error).__name__}: {verdict.error}"[:2000])
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--soak", action="store_true", help="until stopped")
    parser.add_argument("--mutants", nargs="*", metavar="NAME", help="all deliberate bugs, or these")
    parser.add_argument("--with", default="", dest="bug", metavar="NAME", help="with this deliberate bug")
    chosen = parser.parse_args()
    if chosen.mutants is not None:
        from tests.simulation.mutants import hunt_all

        return hunt_all(chosen.mutants, chosen.seeds)
    if chosen.seed is not None:
        return one(chosen.seed, chosen.trace, chosen.bug)
    seeds = itertools.count(chosen.first) if chosen.soak else range(chosen.first, chosen.first + chosen.seeds)
    return many(seeds, chosen.processes, "" if chosen.soak else f" of {chosen.seeds}", chosen.bug)


if __name__ == "__main__":
    sys.exit(main())
