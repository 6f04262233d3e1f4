"""`make status`: what runs, where, since when, and whether it answers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import urllib3

from infra.command import run
from infra.services import clickhouse, kafka, local, processes
from infra.services.folder import Folder
from nanotally.streams.environment import STAGES, Environment
from nanotally.streams.errors import ExitCode


@dataclass(frozen=True)
class Line:
    """One service or stage. `fine` None: it is not meant to run."""

    name: str
    fine: bool | None
    words: str


def look(folder: Folder) -> Iterator[Line]:
    """A line for each service and each stage of the workers."""
    environment = Environment.load(folder=folder.root.parent)
    native, http = environment.clickhouse, environment.clickhouse_http
    yield _service(folder, kafka.NAME, environment.kafka, kafka.answers(environment.kafka))
    yield _service(folder, clickhouse.NAME, native, clickhouse.answers(native, http))
    seen = processes.state(folder, local.WORKER)
    if not seen.runs:
        yield _absent(folder, seen)
        return
    yield Line(local.WORKER, True, f"runs  {_since(seen)}")
    for stage in STAGES:
        yield _stage(stage, local.ports_of(folder).get("web", environment.web_port) + STAGES.index(stage))


def _service(folder: Folder, name: str, address: str, answers: bool) -> Line:
    """One that this folder runs, or that the environment gives."""
    seen, variable = processes.state(folder, name), f"NANOTALLY_{name.upper()}"
    words = f"{address}  {'answers' if answers else 'does not answer'}"
    if os.environ.get(variable):
        return Line(name, answers, f"{words} (given by {variable})")
    return Line(name, answers, f"{words}  {_since(seen)}") if seen.runs else _absent(folder, seen)


def _absent(folder: Folder, seen: processes.State) -> Line:
    if seen.gave_up:
        return Line(seen.name, False, f"was given up: {seen.gave_up}; see {folder.log(seen.name)}")
    if seen.pid:
        return Line(seen.name, False, f"is gone without being stopped; see {folder.log(seen.name)}")
    return Line(seen.name, None, "does not run")


def _since(seen: processes.State) -> str:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seen.since))
    return f"pid {seen.child}, since {started}" + (f", {seen.restarts} restarts" if seen.restarts else "")


def _stage(stage: str, port: int) -> Line:
    """What the stage's own health page says."""
    url = f"http://127.0.0.1:{port}/health"
    try:
        with urllib3.PoolManager(retries=False, timeout=2.0) as pool:
            reply = pool.request("GET", url)
            body = json.loads(reply.data)
            state = str(body.get("state", "unknown"))
            return Line(f"  {stage}", reply.status == 200, f"{state}  {'; '.join(body.get('stuck', []))}{url}")
    except (urllib3.exceptions.HTTPError, ValueError):
        return Line(f"  {stage}", False, f"does not answer  {url}")


def main() -> int:
    """Print the table; 0 when all that should run does, 5 when something does not."""
    folder = Folder.of()
    lines = list(look(folder)) if folder.root.exists() else []
    if not any(line.fine is not None for line in lines):
        print("nothing runs here; make up starts it")
        return ExitCode.OK
    for line in lines:
        mark = {True: "✔", False: "✘", None: "·"}[line.fine]
        print(f"{mark} {line.name:<12} {line.words}")
    return ExitCode.UNAVAILABLE if any(line.fine is False for line in lines) else ExitCode.OK


if __name__ == "__main__":
    run(main)
