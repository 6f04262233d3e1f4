"""Background processes: found again, brought back, given up, stopped, and never confused with somebody else's."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from infra.services import processes
from infra.services.folder import Folder
from infra.services.processes import Service
from nanotally.streams.errors import InvalidInput, Transient

SLEEPER = Service("sleeper", (sys.executable, "-c", "import time; time.sleep(600)"), owner=os.getpid())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / ".nanotally")


def wait_for_child(folder: Folder, other_than: int = 0) -> int:
    """The service's own pid, once the supervisor has written one other than the given."""

    def is_there() -> bool:
        return processes.state(folder, "sleeper").child not in (0, other_than)

    processes.wait_until(is_there, within_s=30, otherwise="the service was not started")
    return processes.state(folder, "sleeper").child


def test_a_service_runs_until_it_is_stopped(folder: Folder) -> None:
    assert not processes.state(folder, "sleeper").runs
    started = processes.start(folder, SLEEPER)
    child = wait_for_child(folder)
    assert started.runs and processes.start_time(child) is not None
    assert processes.stop(folder, "sleeper")
    assert processes.start_time(child) is None
    assert not processes.state(folder, "sleeper").runs
    assert not folder.run_file("sleeper").exists()
    assert not processes.stop(folder, "sleeper"), "there is nothing left to stop"


def test_a_killed_service_is_brought_back(folder: Folder) -> None:
    processes.start(folder, SLEEPER)
    first = wait_for_child(folder)
    os.kill(first, signal.SIGKILL)
    second = wait_for_child(folder, other_than=first)
    assert processes.state(folder, "sleeper").restarts == 1
    processes.stop(folder, "sleeper")
    assert processes.start_time(second) is None
    assert "was ended by signal 9; starting it again" in folder.log("sleeper").read_text()


def test_a_service_that_always_dies_is_given_up(folder: Folder) -> None:
    dying = replace(SLEEPER, command=(sys.executable, "-c", "raise SystemExit(70)"), restarts_max=1)
    processes.start(folder, dying)
    processes.wait_until(
        lambda: bool(processes.state(folder, "sleeper").gave_up), within_s=30, otherwise="it was not given up"
    )
    state = processes.state(folder, "sleeper")
    assert not state.runs
    assert state.gave_up == "it ended with exit code 70, after 1 restarts in a short time"
    assert not processes.stop(folder, "sleeper")


def test_a_service_that_says_it_cannot_go_on_is_given_up_at_once(folder: Folder) -> None:
    broken = replace(SLEEPER, command=(sys.executable, "-c", "raise SystemExit(70)"), final_codes=(3, 70))
    with contextlib.suppress(Transient):  # it may be over before it is seen to run
        processes.start(folder, broken)
    processes.wait_until(
        lambda: bool(processes.state(folder, "sleeper").gave_up), within_s=30, otherwise="it was not given up"
    )
    state = processes.state(folder, "sleeper")
    assert state.gave_up == "it ended with exit code 70, which another start does not mend"
    assert state.restarts == 0


def test_a_service_that_ends_well_is_not_brought_back(folder: Folder) -> None:
    order = {
        "name": "done", "command": [sys.executable, "-c", "print('done')"], "environment": {}, "stop_within_s": 1,
        "restarts_max": 5, "restarts_within_s": 60, "final_codes": [], "owner": None, "digest": "",
        "run_file": str(folder.run_file("done")),
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-m", "infra.services.supervise", "done"], input=json.dumps(order),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 0
    assert "done ended" in ended.stdout
    assert not folder.run_file("done").exists()


def test_a_service_that_will_not_end_is_killed(folder: Folder, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    deaf = (
        "import signal, time, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"pathlib.Path({str(ready)!r}).touch(); time.sleep(600)"
    )
    processes.start(folder, replace(SLEEPER, command=(sys.executable, "-c", deaf), stop_within_s=0.1))
    processes.wait_until(ready.exists, within_s=30, otherwise="the service did not get so far")
    child = wait_for_child(folder)
    processes.stop(folder, "sleeper")
    assert processes.start_time(child) is None
    assert "does not end; killing it" in folder.log("sleeper").read_text()
    assert "sleeper ended" in folder.log("sleeper").read_text(), "the supervisor saw it through"


def test_somebody_elses_process_with_the_same_pid_is_left_alone(folder: Folder) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as other:
        try:
            started = processes.start_time(other.pid)
            assert started is not None
            folder.run_file("sleeper").parent.mkdir(parents=True)
            folder.run_file("sleeper").write_text(
                json.dumps({"pid": other.pid, "since": started - 100, "child": other.pid, "child_since": started - 100})
            )
            assert not processes.state(folder, "sleeper").runs
            assert not processes.stop(folder, "sleeper")
            assert other.poll() is None, "it still runs"
        finally:
            other.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_a_killed_supervisor_takes_its_service_along(folder: Folder) -> None:
    supervisor = processes.start(folder, SLEEPER).pid
    child = wait_for_child(folder)
    os.kill(supervisor, signal.SIGKILL)
    processes.wait_until(
        lambda: processes.start_time(child) is None, within_s=30, otherwise="the service outlived its supervisor"
    )
    assert not processes.state(folder, "sleeper").runs
    again = processes.start(folder, SLEEPER)
    assert again.runs and again.pid != supervisor
    processes.stop(folder, "sleeper")


def test_a_service_with_an_owner_ends_with_it(folder: Folder) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as owner:
        processes.start(folder, replace(SLEEPER, owner=owner.pid))
        child = wait_for_child(folder)
        owner.kill()
    processes.wait_until(
        lambda: not processes.state(folder, "sleeper").runs, within_s=30, otherwise="it outlived its owner"
    )
    assert processes.start_time(child) is None


def test_a_service_that_cannot_be_started_says_why(folder: Folder) -> None:
    with pytest.raises(Transient, match=r"(?s)sleeper did not start.*no-such-program"):
        processes.start(folder, replace(SLEEPER, command=("no-such-program",)))
    assert "it cannot be started" in processes.state(folder, "sleeper").gave_up


def test_a_change_of_command_or_environment_is_seen(folder: Folder) -> None:
    processes.start(folder, SLEEPER)
    wait_for_child(folder)
    assert processes.is_current(folder, SLEEPER)
    assert not processes.is_current(folder, replace(SLEEPER, environment={"NANOTALLY_PREFIX": "other-"}))
    processes.stop(folder, "sleeper")


def test_a_damaged_run_file_says_what_to_do(folder: Folder) -> None:
    folder.run_file("sleeper").parent.mkdir(parents=True)
    folder.run_file("sleeper").write_text("{")
    with pytest.raises(InvalidInput, match=r"sleeper\.json is damaged .*; delete it and start again"):
        processes.state(folder, "sleeper")
