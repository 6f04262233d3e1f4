"""`python -m tests.chaos --minutes 16 --seed S`: faults on real processes while uses run through; then the books are
closed, `reconcile` and the auditor look at everything, and a report says what was found. Ends with 1 where anything
was lost, came twice, differs, did not recover or ended without a reason."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from tests.chaos.run import Plan, Run

MINUTES = 13.5
KILLS = 100  # at least, in a run of that length
SHORT_MINUTES = 0.7


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Real faults on real processes.")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"of faults, {MINUTES:g} by default")
    parser.add_argument("--short", action="store_true", help="a few faults, in about a minute and a half")
    parser.add_argument("--seed", type=int, default=None, help="a new one by default")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and data")
    parser.add_argument("--only", default="", metavar="FAULT,...", help="these faults alone, by name")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupted)
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    plan = Plan(
        seed=seed,
        minutes=SHORT_MINUTES if given.short else given.minutes,
        kills=KILLS if given.minutes >= MINUTES and not given.short and not given.only else 0,
        short=given.short,
        only=tuple(name for name in given.only.split(",") if name),
    )
    folder = Path(tempfile.mkdtemp(prefix="nanotally-chaos-"))
    print(f"seed {seed}: python -m tests.chaos --minutes {plan.minutes:g} --seed {seed}; files in {folder}", flush=True)
    clean = False
    try:
        clean = Run(plan, folder).run()
    finally:
        if clean and not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if clean else 1


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
