"""Keeps one service alive: starts it, restarts it when it dies, stops it on SIGTERM.

The embedded ClickHouse server aborts on a failed login and now and then when a client dies, so somebody must bring it
back. Started by `processes.start` with its order as JSON on standard input; ends 0 when told to stop or when the
service ended by itself with 0, 1 after giving up.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.services.folder import write_json
from infra.services.processes import is_same, start_time

PR_SET_PDEATHSIG = 1
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0
LOOK_EVERY_S = 1.0


def say(text: str) -> None:
    """A line of the supervisor's own in the service's log."""
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} supervisor: {text}", flush=True)


def ends_with_its_parent() -> Callable[[], None] | None:
    """What a child does first, so that it does not outlive a killed supervisor; only Linux can."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def ask_for_signal() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask_for_signal


class Supervisor:
    """One service, its restarts and its run file."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.run_file = Path(order["run_file"])
        self.stopping = False
        self.child: subprocess.Popen[bytes] | None = None
        self.restarted_at: deque[float] = deque()
        self.restarts = 0
        self.since = start_time(os.getpid()) or 0.0
        self.owner_since = start_time(order["owner"]) if order["owner"] else None
        # Signals wake the wait below through this pipe; nothing polls.
        self.wake, alarm = os.pipe()
        os.set_blocking(alarm, False)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, self.on_stop)

    def on_stop(self, *_: object) -> None:
        self.stopping = True

    def record(self, gave_up: str = "") -> None:
        """Write who runs, for `status` and `down`."""
        child = self.child.pid if self.child else 0
        write_json(
            self.run_file,
            {
                "name": self.order["name"],
                "pid": 0 if gave_up else os.getpid(),
                "since": self.since,
                "child": child,
                "child_since": start_time(child) or 0.0 if child else 0.0,
                "restarts": self.restarts,
                "gave_up": gave_up,
                "digest": self.order["digest"],
            },
        )

    def pause(self, seconds: float) -> None:
        """Wait for a signal or so long."""
        if select.select([self.wake], [], [], seconds)[0]:
            os.read(self.wake, 4096)

    def orphaned(self) -> bool:
        """Whether the process for which this service was started is gone."""
        owner = self.order["owner"]
        return bool(owner) and not is_same(owner, self.owner_since or 0.0)

    def run(self) -> int:
        """Until told to stop, ended by itself, or given up; the exit code."""
        wait_s = FIRST_WAIT_S
        while True:
            began = time.monotonic()
            try:
                code = self.run_once()
            except OSError as e:
                return self.give_up(f"it cannot be started: {e}")
            if self.stopping or code == 0:
                self.run_file.unlink(missing_ok=True)
                say(f"{self.order['name']} ended")
                return 0
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            if code in self.order["final_codes"]:
                return self.give_up(f"it {how}, which another start does not mend")
            now = time.monotonic()
            while self.restarted_at and now - self.restarted_at[0] > self.order["restarts_within_s"]:
                self.restarted_at.popleft()
            if len(self.restarted_at) >= self.order["restarts_max"]:
                return self.give_up(f"it {how}, after {len(self.restarted_at)} restarts in a short time")
            wait_s = FIRST_WAIT_S if now - began > LONGEST_WAIT_S else min(wait_s * 2, LONGEST_WAIT_S)
            say(f"{self.order['name']} {how}; starting it again in {wait_s:.1f} s")
            self.rest(wait_s)
            self.restarted_at.append(time.monotonic())
            self.restarts += 1

    def give_up(self, reason: str) -> int:
        """Leave the reason for `status` to find; the exit code."""
        self.child = None
        self.record(gave_up=reason)
        say(f"{self.order['name']} is given up: {reason}")
        return 1

    def rest(self, seconds: float) -> None:
        """Wait before a restart, not beyond a stop."""
        deadline = time.monotonic() + seconds
        while not self.stopping and (left := deadline - time.monotonic()) > 0:
            self.pause(left)

    def run_once(self) -> int:
        """Start the service and wait for its end, which is brought about when asked to stop; its exit code."""
        if self.stopping:
            return 0
        self.child = subprocess.Popen(
            self.order["command"],
            env={**os.environ, **self.order["environment"]},
            stdin=subprocess.DEVNULL,
            preexec_fn=ends_with_its_parent(),
        )
        self.record()
        told_at = None
        while (code := self.child.poll()) is None:
            if self.orphaned():
                self.stopping = True
            if self.stopping and told_at is None:
                self.child.terminate()
                told_at = time.monotonic()
            if told_at is not None and time.monotonic() - told_at > self.order["stop_within_s"]:
                say(f"{self.order['name']} does not end; killing it")
                self.child.kill()
            self.pause(LOOK_EVERY_S)
        return code


if __name__ == "__main__":
    raise SystemExit(Supervisor(json.load(sys.stdin)).run())
