"""The simulator itself: worlds hold, runs can be repeated, and it sees what it is there to see."""

from __future__ import annotations

import functools
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.faults import ACTS
from tests.simulation.mutants import hunt
from tests.simulation.run import Verdict, simulate
from tests.support import children

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
OF_REQUESTS = {
    "freeze", "request lost", "answer lost", "request twice", "published twice", "overtaken", "late insert",
    "silent client", "clickhouse dies", "fetch dropped",
}  # fmt: skip
EFFECTS = {
    "left", "zombie fenced", "transaction aborted", "transaction timed out", "partition held back",
    "rows there already", "insert killed", "use redriven", "redriven use taken",
}  # fmt: skip


@functools.cache
def verdict_of(seed: int) -> Verdict:
    return simulate(seed)


@pytest.mark.parametrize("first", range(0, SEEDS, AT_A_TIME))
def test_whatever_breaks_nothing_is_lost_and_nothing_is_twice(first: int) -> None:
    for seed in range(first, first + AT_A_TIME):
        verdict = verdict_of(seed)
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
    """Each kind of fault strikes somewhere, and what the system does about faults is seen."""
    verdicts = [verdict_of(seed) for seed in range(SEEDS)]
    faults = {kind for verdict in verdicts for kind in verdict.faults}
    effects = {kind for verdict in verdicts for kind in verdict.effects}
    assert faults >= {act for act in ACTS if act != "kill all"} | OF_REQUESTS
    assert effects == EFFECTS


@pytest.mark.parametrize("name", QUICKLY_SEEN)
def test_a_deliberate_bug_is_seen(name: str) -> None:
    found = hunt(name, seeds=40)
    assert found.seed is not None


@pytest.mark.parametrize("size", [[], ["--size", "18"]])
def test_a_failing_seed_says_how_to_replay_it(size: list[str]) -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "40", "--processes", "1", "--with", QUICKLY_SEEN[0]]
    failed = subprocess.run([*command, *size], cwd=ROOT, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    told, replay = failed.stdout.splitlines()[-2:]
    words = shlex.split(replay.removeprefix("replay it: python "))
    again = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert told.split(": FAILS: ")[0] in again.stdout, "the same world: its digest, its faults"


def test_a_soak_that_is_stopped_tells_what_it_came_to() -> None:
    command = [sys.executable, "-u", "-m", "tests.simulation", "--soak", "--from", "5000", "--processes", "1"]
    soak = children.start(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert soak.stdout is not None
    soak.stdout.readline()  # it has begun to tell
    soak.send_signal(signal.SIGINT)
    told, errors = soak.communicate()
    assert soak.returncode == 0
    assert "worlds hold: " in told
    assert errors == ""
