"""Worker processes that a test starts, watches over HTTP, kills, stops and continues."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nanotally.streams.environment import Environment

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 60.0


class WorkerProcess:
    """One process; `log` is what it said so far."""

    def __init__(self, module: str, environment: Environment, folder: Path, name: str, **extra: str) -> None:
        self.environment = environment
        self.log_file = folder / f"{name}.log"
        variables = {**os.environ, **environment.variables(), "NANOTALLY_SUPERVISOR": str(os.getpid()), **extra}
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *module.split()], cwd=ROOT, env=variables, stdout=log, stderr=log
            )

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
        return self.process.wait(WITHIN_S)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and body of a page of its web server, redirects not followed; (0, None) where nothing listens."""
        url = f"http://127.0.0.1:{self.environment.web_port}{path}"
        try:
            with urllib.request.build_opener(_Stay).open(url, timeout=5) as answer:
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

    def start(name: str, **extra: str) -> WorkerProcess:
        own = Environment(**{**vars(environment), "web_port": free_port()})
        started.append(WorkerProcess(module, own, folder, name, **extra))
        return started[-1]

    try:
        yield start
    finally:
        for worker in started:
            if worker.process.poll() is None:
                worker.kill()


def free_port() -> int:
    """The first of three free ports, below those the system hands out itself."""
    while True:
        port = random.randrange(31_000, 32_700, 3)
        if all(_is_free(port + i) for i in range(3)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def until(what: str, happened: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Returns as soon as it has happened; fails with `what` when it does not."""
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.05)
