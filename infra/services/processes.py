"""Background processes that survive the command which starts them, and are found again by pid and start time.

Each service runs under a small supervisor (`supervise.py`) that restarts it when it dies. The run file says which
process that is; a pid alone could by now be somebody else's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from infra.services.folder import Folder, make, read_json
from nanotally.streams.errors import Transient

START_TIME_TOLERANCE_S = 2.0
STEP_S = 0.05
START_WITHIN_S = 120.0  # of a supervisor, until it says so
LOG_BYTES_MAX = 50_000_000

# Supervisors that this very process has started: it must take their exit codes.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Service:
    """What to run: restarted at most `restarts_max` times within `restarts_within_s`, then given up; at once after
    one of the exit codes in `final_codes`, by which it says that another start will not help.

    `stop_within_s` is how long it may take to end after SIGTERM before it is killed. With `owner` it ends when
    that process does (a test run), without it lives until it is stopped."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_within_s: float = 15.0
    restarts_max: int = 5
    restarts_within_s: float = 300.0
    final_codes: tuple[int, ...] = ()
    owner: int | None = None


@dataclass(frozen=True)
class State:
    """What the run file and the process table say of one service."""

    name: str
    runs: bool
    pid: int = 0  # of the supervisor
    child: int = 0  # of the service itself
    since: float = 0.0  # Unix time
    restarts: int = 0
    gave_up: str = ""


def start_time(pid: int) -> float | None:
    """Unix time at which the process started; None when there is none, or it is dead and not yet reaped."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def is_same(pid: int, since: float) -> bool:
    """Whether the process with this pid is still the one that started then."""
    started = start_time(pid) if pid else None
    return started is not None and abs(started - since) < START_TIME_TOLERANCE_S


def state(folder: Folder, name: str) -> State:
    """What is known of the service. Raises InvalidInput when the run file is damaged."""
    seen = read_json(folder.run_file(name))
    if not seen:
        return State(name, runs=False)
    pid, since = int(str(seen.get("pid", 0))), float(str(seen.get("since", 0)))
    return State(
        name,
        runs=is_same(pid, since),
        pid=pid,
        child=int(str(seen.get("child", 0))),
        since=since,
        restarts=int(str(seen.get("restarts", 0))),
        gave_up=str(seen.get("gave_up", "")),
    )


def digest(service: Service) -> str:
    """Stands for command and environment, so that a change of either is seen."""
    return hashlib.sha256(repr((service.command, sorted(service.environment.items()))).encode()).hexdigest()[:16]


def is_current(folder: Folder, service: Service) -> bool:
    """Whether what runs under that name was started with the same command and environment."""
    return read_json(folder.run_file(service.name)).get("digest") == digest(service)


def start(folder: Folder, service: Service) -> State:
    """Start the service detached from this command; returns once its supervisor has said so.

    Raises Transient with the end of the log when the supervisor does not come up."""
    log = folder.log(service.name)
    make(log.parent)
    make(folder.run_file(service.name).parent)
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))
    stop(folder, service.name)  # what a killed supervisor may have left behind
    order = json.dumps({**asdict(service), "run_file": str(folder.run_file(service.name)), "digest": digest(service)})
    with log.open("ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "infra.services.supervise", service.name],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[supervisor.pid] = supervisor
    if supervisor.stdin:  # not as an argument: everybody may read those, and there may be a password in it
        with contextlib.suppress(BrokenPipeError), supervisor.stdin as pipe:
            pipe.write(order.encode())

    def said_so() -> bool:
        if supervisor.poll() is not None:
            raise Transient(f"{service.name} did not start:\n{tail(log)}")
        return state(folder, service.name).runs

    wait_until(said_so, START_WITHIN_S, otherwise=f"{service.name} did not start; see {log}")
    return state(folder, service.name)


def stop(folder: Folder, name: str, within_s: float = 60.0) -> bool:
    """Stop the service if it is ours and runs; whether there was something to stop. Its run file goes."""
    seen = read_json(folder.run_file(name))
    was = state(folder, name)
    if was.runs:
        _end(was.pid, was.since, within_s)
    # Left over when the supervisor was killed where children do not die with it.
    child, child_since = was.child, float(str(seen.get("child_since", 0)))
    orphan = is_same(child, child_since)
    if orphan:
        _end(child, child_since, within_s)
    folder.run_file(name).unlink(missing_ok=True)
    return was.runs or orphan


def _end(pid: int, since: float, within_s: float) -> None:
    """SIGTERM, then SIGKILL when it does not end in time."""
    for signum, patience_s in ((signal.SIGTERM, within_s), (signal.SIGKILL, 5.0)):
        if not is_same(pid, since):
            return
        try:
            os.kill(pid, signum)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience_s
        while is_same(pid, since) and time.monotonic() < deadline:
            if pid in _children and _children[pid].poll() is not None:
                del _children[pid]
            time.sleep(STEP_S)


def wait_until(condition: Callable[[], bool], within_s: float, otherwise: str) -> float:
    """Seconds until the condition held. Raises Transient with `otherwise` when it does not in time."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within_s:
            raise Transient(otherwise)
        time.sleep(STEP_S)
    return time.monotonic() - began


def tail(path: Path, lines: int = 12) -> str:
    """The last lines of a log, indented, for a message."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return f"    (no log at {path})"
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def in_order(folder: Folder, names: Sequence[str]) -> list[State]:
    """The states of all named services."""
    return [state(folder, name) for name in names]
