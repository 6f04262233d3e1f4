"""`nanotally worker` keeps one process for each stage running, and knows when that is pointless."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nanotally.streams.environment import Environment
from nanotally.streams.errors import BrokenInvariant, ExitCode, InvalidInput, NanotallyError
from nanotally.streams.pipeline import supervisor
from nanotally.streams.pipeline.supervisor import run_all
from nanotally.streams.pipeline.worker import check_port
from tests.support.worker_process import ROOT, free_port, until

STAYS = "import time; time.sleep(600)"


@pytest.fixture
def environment() -> Environment:
    return Environment(web_port=free_port())


def starts(file: Path) -> list[int]:
    """Pids of the processes that noted themselves in the file."""
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def python(code: str, file: Path) -> list[str]:
    """A process that notes its pid in the file, then runs the code."""
    return [sys.executable, "-c", f"import os, sys; print(os.getpid(), file=open({str(file)!r}, 'a')); {code}"]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def commands(tmp_path: Path, **code: str) -> Callable[[str], Sequence[str]]:
    return lambda stage: python(code.get(stage, STAYS), tmp_path / stage)


def test_a_child_that_dies_is_started_again_and_the_others_are_left_alone(
    environment: Environment, tmp_path: Path
) -> None:
    def killer() -> None:
        until("both run", lambda: starts(tmp_path / "payers") and starts(tmp_path / "accounts"))
        os.kill(starts(tmp_path / "payers")[0], signal.SIGKILL)
        until("it is started again", lambda: len(starts(tmp_path / "payers")) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=killer)
    thread.start()
    run_all(environment, ("payers", "accounts"), commands(tmp_path))
    thread.join()
    assert len(starts(tmp_path / "accounts")) == 1
    assert all(is_gone(pid) for stage in ("payers", "accounts") for pid in starts(tmp_path / stage))


def test_a_broken_invariant_found_twice_ends_everything(environment: Environment, tmp_path: Path) -> None:
    with pytest.raises(BrokenInvariant, match="worker payers found a broken invariant twice within 60 s"):
        run_all(environment, ("payers", "sink"), commands(tmp_path, payers="sys.exit(70)"))
    assert len(starts(tmp_path / "payers")) == 2
    assert is_gone(starts(tmp_path / "sink")[0])


def test_what_only_a_person_can_mend_is_not_tried_again(environment: Environment, tmp_path: Path) -> None:
    with pytest.raises(NanotallyError, match=r"worker payers ended with exit code 3 \(invalid\)") as raised:
        run_all(environment, ("payers",), commands(tmp_path, payers="sys.exit(3)"))
    assert raised.value.exit_code == ExitCode.INVALID
    assert len(starts(tmp_path / "payers")) == 1


def test_waits_grow_from_death_to_death_and_are_forgotten_after_a_long_life(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    child = supervisor.Child("payers", [])
    waits = []
    for lived_s in (5, 5, 5, 5, 5, 5, 61, 5):
        child.started_s = now_s[0]
        now_s[0] += lived_s
        child.died(ExitCode.UNAVAILABLE)
        waits.append(child.again_at_s - now_s[0])
    assert waits == [1, 2, 4, 8, 16, 30, 0, 1]


def test_two_broken_invariants_an_hour_apart_do_not_end_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    child = supervisor.Child("payers", [])
    child.died(ExitCode.BROKEN)
    now_s[0] += 3600
    child.died(ExitCode.BROKEN)


def test_a_taken_port_is_named_before_anything_is_started(environment: Environment, tmp_path: Path) -> None:
    holder = (
        f"import socket, time; s = socket.create_server(('127.0.0.1', {environment.web_port + 1})); time.sleep(600)"
    )
    process = subprocess.Popen(python(f"{holder}", tmp_path / "holder"), cwd=ROOT)
    try:
        until("the port is held", lambda: _refused(environment))
        with pytest.raises(InvalidInput, match=rf"port {environment.web_port + 1} .* set NANOTALLY_WEB_PORT"):
            run_all(environment, ("payers", "accounts"), commands(tmp_path))
        assert not starts(tmp_path / "payers")
    finally:
        process.kill()
        process.wait()


def _refused(environment: Environment) -> bool:
    try:
        check_port(environment.web_port + 1, "127.0.0.1")
    except InvalidInput:
        return True
    return False
