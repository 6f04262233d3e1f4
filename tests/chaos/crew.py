"""The workers under attack: processes of the three stages, started again whenever they die, as a supervisor would."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from infra.services import ports
from infra.up import is_ready
from nanotally.streams.environment import STAGES, Environment
from nanotally.streams.errors import ExitCode
from tests.support.worker_process import WorkerProcess

AGAIN_AFTER_S = 0.5
POLL_S = 0.1
PLACES = 2  # processes of each stage
FINE = (ExitCode.OK, ExitCode.UNAVAILABLE, -signal.SIGKILL, -signal.SIGTERM)  # SIGTERM: before it listens to it


@dataclass
class Member:
    """One process of a stage, and its successors in the same place. `wanted` False: it stays away when it ends.
    `allowed`: exit codes that the fault at work explains; `prepare` is called with each process just started."""

    stage: str
    place: int
    environment: Environment
    wanted: bool = True
    allowed: tuple[int, ...] = ()
    prepare: Callable[[int], None] | None = None
    process: WorkerProcess | None = None
    again_at: float = 0.0
    starts: int = 0

    @property
    def name(self) -> str:
        return f"{self.stage}-{self.place}"

    @property
    def state(self) -> Path:
        """Its state folder."""
        return self.environment.state

    def alive(self) -> bool:
        return self.process is not None and self.process.process.poll() is None


@dataclass
class Crew:
    """All members; a thread keeps them alive."""

    environment: Environment
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    kills: int = 0
    exits: Counter[str] = field(default_factory=Counter)  # how they ended
    wrong: list[str] = field(default_factory=list)  # ends that nothing explains
    ended: bool = False

    def start(self, places: int = PLACES) -> None:
        """Starts so many of each stage, and keeps them alive from here on."""
        for place in range(places):
            for stage in STAGES:
                self.add(stage, place)
        self._thread = threading.Thread(target=self._keep, name="crew", daemon=True)
        self._thread.start()

    def add(self, stage: str, place: int) -> Member:
        """One more process of the stage, with ports and a state folder of its own."""
        member = Member(
            stage,
            place,
            replace(
                self.environment,
                state=self.environment.state / f"{stage}-{place}",
                web_port=ports.choose(self.environment.web_port + 30 * place + 10 * STAGES.index(stage), count=3),
            ),
        )
        self.members.append(member)
        return member

    def of(self, stage: str) -> list[Member]:
        return [member for member in self.members if member.stage == stage]

    def kill(self, member: Member) -> bool:
        """kill -9; whether there was something to kill."""
        if not member.alive() or member.process is None:
            return False
        member.process.signal(signal.SIGKILL)
        self.kills += 1
        return True

    def leave(self, member: Member, within_s: float = 240.0) -> None:
        """SIGTERM to one that is to stay away; returns when it is gone."""
        member.wanted = False
        if member.alive() and member.process is not None:
            member.process.signal(signal.SIGTERM)
        deadline = time.monotonic() + within_s
        while member.alive() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if member.alive():
            self.wrong.append(f"{member.name} did not end within {within_s:.0f} s of SIGTERM")
            self.kill(member)

    def ready(self, member: Member) -> bool:
        """Whether all its partitions are open."""
        return member.alive() and is_ready(member.environment.web_port_of(member.stage))

    def close(self) -> None:
        """Ends all, also what stands still."""
        self.ended = True
        if hasattr(self, "_thread"):
            self._thread.join(120)
        for member in self.members:
            if member.alive() and member.process is not None:
                member.process.kill()

    def _keep(self) -> None:
        while not self.ended:
            for member in list(self.members):
                self._tend(member)
            time.sleep(POLL_S)

    def _tend(self, member: Member) -> None:
        if member.process is None:
            if member.wanted and time.monotonic() >= member.again_at:
                member.starts += 1
                member.process = WorkerProcess(
                    f"nanotally.streams.commands worker {member.stage}",
                    member.environment,
                    self.folder,
                    member.name,
                    **self.variables,
                )
                if member.prepare is not None:
                    member.prepare(member.process.process.pid)
            return
        code = member.process.process.poll()
        if code is None:
            return
        self.exits[_how(code)] += 1
        if code not in FINE and code not in member.allowed:
            last = "\n".join(member.process.log.splitlines()[-6:])
            self.wrong.append(f"{time.strftime('%H:%M:%S')} {member.name} ended {_how(code)}:\n{last}")
        member.process = None
        member.again_at = time.monotonic() + AGAIN_AFTER_S


def _how(code: int) -> str:
    if code < 0:
        return signal.Signals(-code).name
    return ExitCode(code).name.lower() if code in set(ExitCode) else f"exit code {code}"
