"""`python -m tests.fuzz --inputs N --seed S [TARGET ...]`: tries inputs until there were N of each target (all without
names), and prints what became of them. Ends with 1 at the first that goes wrong and says how to see it again."""

from __future__ import annotations

import argparse
import platform
import random
import sys
import traceback

from tests.fuzz.runner import Fault, one, run
from tests.fuzz.targets import TARGETS

INPUTS = 100_000


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Inputs that nobody should send.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all without names")
    parser.add_argument("--inputs", type=int, default=INPUTS, help=f"of each target, {INPUTS:,} by default")
    parser.add_argument("--seed", type=int, default=None, help="a new one by default")
    parser.add_argument("--case", type=int, default=None, help="this one case alone, whose fault is raised as it is")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.targets if name not in TARGETS]:
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    seed = random.randrange(1 << 32) if given.seed is None else given.seed
    names = given.targets or list(TARGETS)
    if given.case is not None:
        for name in names:
            print(name, dict(one(name, TARGETS[name], seed, given.case)))
        return 0
    print(f"{platform.machine()}, Python {platform.python_version()}, seed {seed}")
    for name in names:
        try:
            print(run(name, TARGETS[name], given.inputs, seed).row(), flush=True)
        except Fault as e:
            traceback.print_exception(e.__cause__, limit=-4)
            print(f"  {name}: {e}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
