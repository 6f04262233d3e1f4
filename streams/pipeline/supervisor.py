"""`nanotally worker`: a process for each stage, started again when it dies, ended together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

from nanotally.streams.environment import STAGES, Environment
from nanotally.streams.errors import BrokenInvariant, ExitCode, NanotallyError
from nanotally.streams.pipeline.knobs import SUPERVISOR, Knobs
from nanotally.streams.pipeline.logs import set_up_logging
from nanotally.streams.pipeline.worker import check_port

log = logging.getLogger(__name__)

POLL_S = 0.2
WAIT_MAX_S = 30.0
SHORT_S = 60.0  # two broken invariants within it: starting again does not help
END_WITHIN_S = 30.0  # then they are killed, which loses nothing either
NOT_AGAIN = (ExitCode.USAGE, ExitCode.INVALID, ExitCode.NOT_FOUND)  # what only a person can mend


@dataclass
class Child:
    """One stage's process, and what became of those before it. Times in seconds of time.monotonic."""

    stage: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    again_at_s: float = 0.0
    failures: int = 0
    broken_at_s: list[float] = field(default_factory=list)

    def start(self, environment: Environment) -> None:
        variables = {**os.environ, **environment.variables(), SUPERVISOR: str(os.getpid())}
        self.process = subprocess.Popen(self.command, env=variables)
        self.started_s = time.monotonic()

    def died(self, code: int) -> None:
        """Plans when to start again: at once after a long life, later and later after short ones.

        Raises the error that ends everything, where starting again does not help."""
        now_s = time.monotonic()
        self.process = None
        self.failures = 0 if now_s - self.started_s > SHORT_S else self.failures + 1
        if code in NOT_AGAIN:
            error = NanotallyError(
                f"worker {self.stage} ended {_how(code)} and says above why; all workers are stopped, nothing is lost"
            )
            error.exit_code = ExitCode(code)
            raise error
        if code == ExitCode.BROKEN:
            self.broken_at_s = [at_s for at_s in self.broken_at_s if now_s - at_s < SHORT_S] + [now_s]
            if len(self.broken_at_s) > 1:
                raise BrokenInvariant(
                    f"worker {self.stage} found a broken invariant twice within {SHORT_S:.0f} s; it says above what it "
                    f"is. All workers are stopped; nothing is lost"
                )
        wait_s = min(2.0 ** (self.failures - 1), WAIT_MAX_S) if self.failures else 0.0
        self.again_at_s = now_s + wait_s
        log.warning("worker %s ended %s; starting it again in %.0f s", self.stage, _how(code), wait_s)


def command_of(stage: str) -> list[str]:
    """The command line of one stage's process: `nanotally worker STAGE`, wherever nanotally is installed."""
    return [sys.executable, "-c", "from nanotally.streams.commands import main; main()", "worker", stage]


def run_all(
    environment: Environment,
    stages: Sequence[str] = STAGES,
    command_of: Callable[[str], Sequence[str]] = command_of,
) -> None:
    """Runs the stages until SIGTERM or SIGINT, then ends them cleanly.

    Raises InvalidInput where a port is taken, and the error that makes going on pointless."""
    set_up_logging("worker")
    address = Knobs.load().web_bind
    for stage in stages:
        check_port(environment.web_port_of(stage), address)
    children = [Child(stage, command_of(stage)) for stage in stages]
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while not asked:
            for child in children:
                _tend(child, environment)
            time.sleep(POLL_S)
        log.info("ending %s", ", ".join(stages))
    finally:
        end(children)
        for number, handler in before.items():
            signal.signal(number, handler)


def _tend(child: Child, environment: Environment) -> None:
    if child.process is None:
        if time.monotonic() >= child.again_at_s:
            child.start(environment)
        return
    code = child.process.poll()
    if code is not None:
        child.died(code)


def end(children: Sequence[Child]) -> None:
    """SIGTERM to all, and kills who does not end in time."""
    alive = [child for child in children if child.process]
    for child in alive:
        if child.process and child.process.poll() is None:
            child.process.terminate()
    deadline_s = time.monotonic() + END_WITHIN_S
    for child in alive:
        if not child.process:
            continue
        try:
            child.process.wait(max(0.1, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("worker %s does not end: killing it", child.stage)
            child.process.kill()
            child.process.wait()


def _how(code: int) -> str:
    if code < 0:
        return f"by {signal.Signals(-code).name}"
    known = code in set(ExitCode)
    return f"with exit code {code} ({ExitCode(code).name.lower()})" if known else f"with exit code {code}"
