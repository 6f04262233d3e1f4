"""What tests start ends with them, also when they are killed hard; ports are given to one test process only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.services.processes import start_time, wait_until
from tests.support import children, reserved_ports
from tests.support.worker_process import ROOT

WITHIN_S = 120.0
SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")

# A test process: two children, one of them started by a thread. Once that is over the child still answers, and is
# stopped. It tells their pids.
PARENT = f"""
import os, signal, subprocess, threading, time
from tests.support import children
started = [children.start({SLEEPS!r})]
def start():
    started.append(children.start(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
thread = threading.Thread(target=start)
thread.start()
thread.join()
while os.path.exists(f"/proc/self/task/{{thread.native_id}}"):
    pass
started[1].stdin.write("asked\\n")
started[1].stdin.flush()
answer = started[1].stdout.readline().strip()
os.kill(started[1].pid, signal.SIGSTOP)
print(answer, *[process.pid for process in started], flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def parent(code: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that runs the code, and the first line it says."""
    with children.start([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as found:
        try:
            assert found.stdout
            yield found, found.stdout.readline()
        finally:
            found.kill()


def until_gone(*pids: int) -> None:
    wait_until(lambda: all(start_time(pid) is None for pid in pids), WITHIN_S, f"{pids} outlived their parent")


@linux_only
def test_children_end_with_a_parent_that_is_killed_and_not_with_the_thread_that_asked_for_them() -> None:
    with parent(PARENT) as (killed, said):
        answer, *pids = said.split()
        assert (answer, len(pids)) == ("asked", 2)
        killed.kill()
        until_gone(*map(int, pids))


@linux_only
def test_a_child_whose_parent_died_before_it_could_ask_for_the_signal_runs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ran"
    whole = [*children.CHILD, "with", str(os.getpid() + 1), "1", "touch", str(file)]
    done = subprocess.run(whole, stdout=subprocess.DEVNULL, check=False)
    assert done.returncode == 1 and not file.exists()


def test_a_child_is_the_command_itself_and_tells_what_it_says() -> None:
    with children.start([sys.executable, "-c", "import os; print(os.getpid(), os.getppid())"], stdout=-1) as child:
        assert child.communicate()[0].split() == [str(child.pid), str(os.getpid())]
    told = children.run([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"])
    assert (told.returncode, told.stdout, told.stderr) == (3, "out\n", "err\n")
    with children.start(SLEEPS) as asked:
        asked.send_signal(signal.SIGTERM)
        assert asked.wait(WITHIN_S) == -signal.SIGTERM


def test_what_is_left_to_be_done_is_done_when_the_process_dies_and_only_then(tmp_path: Path) -> None:
    done, died = tmp_path / "done", tmp_path / "died"
    with children.should_this_process_die(["touch", str(done)], cwd=tmp_path, env=os.environ):
        pass
    code = f"""
import os, time
from pathlib import Path
from tests.support import children
with children.should_this_process_die(["touch", {str(died)!r}], cwd=Path("/"), env=os.environ):
    print("inside", flush=True)
    time.sleep(600)
"""
    with parent(code) as (killed, said):
        assert said == "inside\n"
        assert not died.exists()
        killed.kill()
    wait_until(died.exists, WITHIN_S, "nothing was done")
    assert not done.exists()


def test_a_group_of_ports_is_given_to_one_process_only() -> None:
    mine = reserved_ports.reserve(40_000, 40_006, 3)
    ask = "import sys; from tests.support.reserved_ports import reserve; print(reserve(40_000, 40_006, 3), flush=True)"
    with parent(f"{ask}; sys.stdin.read()") as (_, said):
        theirs = int(said)
        assert {mine, theirs} == {40_000, 40_003}
        with pytest.raises(AssertionError, match="are held"):
            reserved_ports.reserve(40_000, 40_006, 3)
    assert reserved_ports.reserve(40_000, 40_006, 3) == theirs, "given back by its end"
    for port in (mine, theirs):
        reserved_ports.give_back(port)
