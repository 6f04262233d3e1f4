"""The simulator itself: worlds hold, runs can be repeated, and it sees what it is there to see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.mutants import hunt
from tests.simulation.run import simulate

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 60
AT_A_TIME = 10
# Bugs of different kinds that a few seeds see; `python -m tests.simulation --mutants` tries all.
QUICKLY_SEEN = (
    "the position is committed before the earnings",
    "a transaction without an answer is written again",
    "the sink does not ask which rows are there",
    "a write that is refused is given up",
    "accounts close by the fastest source",
)


@pytest.mark.parametrize("first", range(0, SEEDS, AT_A_TIME))
def test_whatever_breaks_nothing_is_lost_and_nothing_is_twice(first: int) -> None:
    for seed in range(first, first + AT_A_TIME):
        verdict = simulate(seed)
        if verdict.error is not None:
            raise AssertionError(f"replay it: python -m tests.simulation --seed {seed} --trace") from verdict.error


def test_a_seed_goes_the_same_way_in_every_process() -> None:
    digests = set()
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-c", "from tests.simulation.run import simulate; print(simulate(7).digest)"]
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
        digests.add(int(done.stdout))
    assert len(digests) == 1
    assert simulate(7).digest in digests
    assert simulate(8).digest not in digests


def test_the_worlds_are_as_bad_as_they_are_meant_to_be() -> None:
    kinds = {kind for seed in range(12) for kind in simulate(seed).faults}
    assert {"kill", "left", "stop", "request lost", "answer lost", "transaction timed out"} <= kinds


@pytest.mark.parametrize("name", QUICKLY_SEEN)
def test_a_deliberate_bug_is_seen(name: str) -> None:
    found = hunt(name, seeds=40)
    assert found.seed is not None


def test_a_failing_seed_says_how_to_replay_it() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "40", "--processes", "1", "--with"]
    done = subprocess.run([*command, QUICKLY_SEEN[0]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "replay it: python -m tests.simulation --seed " in done.stdout
