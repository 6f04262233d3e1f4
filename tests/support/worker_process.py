"""Worker processes that a test starts, watches over HTTP, kills, stops and continues."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from infra.services.ports import is_free
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode
from tests.support import children
from tests.support.reserved_ports import give_back, reserve

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 240.0  # for what only has to get on: cores may be many times slower than usual
ANSWER_S = 20.0  # of a page
PORTS = (10_000, 19_999, 3)  # for `reserve`: as many in a row as there are stages


class WorkerProcess:
    """One process, which ends with this one; `log` is what it said so far."""

    def __init__(self, module: str, environment: Environment, folder: Path, name: str, **extra: str) -> None:
        self.environment = environment
        self.log_file = folder / f"{name}.log"
        variables = {**os.environ, **environment.variables(), "NANOTALLY_SUPERVISOR": str(os.getpid()), **extra}
        with open(self.log_file, "ab") as log:
            command = [sys.executable, "-m", *module.split()]
            self.process = children.start(command, cwd=ROOT, env=variables, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, also of one that is stopped."""
        self.process.kill()
        self.process.wait(WITHIN_S)

    def end(self) -> int:
        """SIGTERM; gives the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """The exit code, once it has ended by itself."""
        return self.process.wait(WITHIN_S)

    def leaves(self) -> bool:
        """SIGTERM; whether it ended in order, or as it was, after a transient fault or 15 s, which loses nothing
        either, or before it listened."""
        return self.end() in (ExitCode.OK, ExitCode.UNAVAILABLE, -signal.SIGTERM)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and body of a page of its web server, redirects not followed; (0, None) where nothing listens."""
        url = f"http://127.0.0.1:{self.environment.web_port}{path}"
        try:
            with urllib.request.build_opener(_Stay).open(url, timeout=ANSWER_S) as answer:
                return answer.status, _body(answer)
        except urllib.error.HTTPError as e:
            return e.code, _body(e)
        except OSError:
            return 0, None

    def positions(self) -> dict[int, int]:
        """Position by partition, of the partitions it holds open."""
        _, body = self.get("/position")
        found = body["partitions"] if body else []
        return {p["partition"]: p["position"] for p in found if p["state"] != "opening"}

    def is_stopped(self) -> bool:
        """Whether the process stands still (SIGSTOP)."""
        state = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state == "T"


class _Stay(urllib.request.HTTPRedirectHandler):
    """Gives a redirect as the answer it is."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _body(answer: Any) -> Any:
    text = answer.read().decode()
    return json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text


@contextlib.contextmanager
def workers(module: str, environment: Environment, folder: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers on request, each with ports of its own; none of them outlives the test."""
    started: list[WorkerProcess] = []
    held: list[int] = []

    def start(name: str, **extra: str) -> WorkerProcess:
        held.append(free_port())
        own = Environment(**{**vars(environment), "web_port": held[-1]})
        started.append(WorkerProcess(module, own, folder, name, **extra))
        return started[-1]

    try:
        yield start
    finally:
        for worker in started:
            if worker.process.poll() is None:
                worker.kill()
        for port in held:
            give_back(port)


def free_port() -> int:
    """The first of three free ports, below those the system hands out itself; nobody else who asks gets them."""
    while True:
        port = reserve(*PORTS)
        if all(is_free(port + i) for i in range(PORTS[2])):
            return port  # else it stays held: it is of no use to others either


def until(what: str, happened: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Returns as soon as it has happened; fails with `what` when it does not."""
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.05)


__all__ = ["ROOT", "WITHIN_S", "WorkerProcess", "free_port", "until", "workers"]
