"""`make bench`: a table for people and, below it, a JSON line for each figure. Names on the command line choose."""

from __future__ import annotations

import os
import platform
import sys

from tests.bench import limits
from tests.bench.backlog import backlog, partitions_64
from tests.bench.core import core_flat, core_stateful
from tests.bench.installation import installation
from tests.bench.pipeline import latency, pipeline, stage_rate
from tests.bench.rebuild import refold
from tests.bench.report import Figure
from tests.bench.simulate import simulate_flat, simulate_stateful

ALONE = {
    "core-flat": core_flat,
    "core-stateful": core_stateful,
    "simulate-flat": simulate_flat,
    "simulate-stateful": simulate_stateful,
}
# Limits instead of rates: they take long, and run when they are named.
LIMITS = [*limits.BENCHES, "backlog", "partitions-64", "refold"]
WITH_SERVICES = {"stage-rate": stage_rate, "pipeline": pipeline, "latency": latency} | {
    "backlog": backlog,
    "partitions-64": partitions_64,
    "refold": refold,
}


def main(names: list[str]) -> int:
    """Runs the benches of these names; without names all but those of limits."""
    known = [*ALONE, *limits.BENCHES, *WITH_SERVICES]
    if unknown := [name for name in names if name not in known]:
        print(f"no bench {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = names or [name for name in known if name not in LIMITS]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; higher is better")
    figures: list[Figure] = []

    def keep(figure: Figure) -> None:
        figures.append(figure)
        print(figure.row(), flush=True)

    for name in chosen:
        if name in ALONE:
            keep(ALONE[name]())
        elif name in limits.BENCHES:
            keep(limits.apart(name))
    if any(name in WITH_SERVICES for name in chosen):
        with installation() as environment:
            for name in chosen:
                if name in WITH_SERVICES:
                    keep(WITH_SERVICES[name](environment))
    for figure in figures:
        print(figure.json_line())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
