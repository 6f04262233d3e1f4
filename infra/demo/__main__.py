"""`make demo`: two real data sets through the whole pipeline, and one screen that says what became of them.

Each run has topics, tables and state of its own, so it can be run again and again; the run before it is forgotten."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from infra import up
from infra.command import run, say
from infra.demo import screen
from infra.demo.facts import client_of, gather
from infra.demo.live import Live
from infra.demo.publishing import Published, publish
from infra.services import ports, processes
from infra.services.folder import Folder, read_json, write_json
from nanotally.streams import admin
from nanotally.streams.environment import STAGES, Environment
from nanotally.streams.errors import BrokenInvariant, ExitCode, Transient
from nanotally.streams.tariffs.publishing import closing, send_control

NANOTALLY = Path(sys.executable).parent / "nanotally"
DAY_US = 86_400_000_000
ARRIVES_WITHIN_S = 300.0
WORKER = "demo-worker"


def main() -> int:
    """The whole demo."""
    folder = Folder.of()
    with folder.only_one("make demo"):
        print("nanotally demo: real usage becomes charges, tallies, settlements and answers\n", flush=True)
        environment = _fresh_environment(folder)
        service = processes.Service(
            WORKER, (str(NANOTALLY), "worker"), environment.variables(), stop_within_s=40.0, owner=os.getpid()
        )
        processes.start(folder, service)
        try:
            _wait_for_workers(folder, environment)
            published = _feed(folder, environment)
            code = _show(folder, environment, published)
        finally:
            processes.stop(folder, WORKER)
        return code


def _fresh_environment(folder: Folder) -> Environment:
    """Services up, and topics, database and state folder that no run had before."""
    number = int(time.time())
    web = ports.choose(6166, count=len(STAGES))
    variables = os.environ | {
        "NANOTALLY_PREFIX": f"demo-{number}.",
        "NANOTALLY_DATABASE": f"nanotally_demo_{number}",
        "NANOTALLY_STATE": str(folder.root / "demo" / str(number)),
    }
    processes.stop(folder, WORKER)  # of a run that was killed
    environment = up.bring_up(folder, say, variables, workers=False)
    environment = _with_web_port(environment, web)
    _forget_last(folder, environment)
    _write_command(folder, environment)
    return environment


def _with_web_port(environment: Environment, port: int) -> Environment:
    return Environment.load(environment.variables() | {"NANOTALLY_WEB_PORT": str(port)})


def _forget_last(folder: Folder, environment: Environment) -> None:
    """Deletes what the run before left in Kafka, ClickHouse and the state folder."""
    record = folder.root / "demo.json"
    last = read_json(record) if record.exists() else {}
    write_json(record, {"prefix": environment.prefix, "database": environment.database})
    if last.get("prefix"):
        admin.delete_topics(environment.kafka, str(last["prefix"]))
    if last.get("database"):
        client = client_of(environment)
        client.execute(f"DROP DATABASE IF EXISTS `{last['database']}` SYNC")
        client.disconnect()
    for state in (folder.root / "demo").glob("*"):
        if state != environment.state:
            shutil.rmtree(state, ignore_errors=True)


def _write_command(folder: Folder, environment: Environment) -> Path:
    """A script that asks this run: `nanotally` with the run's addresses and names."""
    lines = [f"export {name}='{value}'" for name, value in environment.variables().items()]
    script = folder.root / "demo.sh"
    script.write_text("\n".join(["#!/bin/sh", *lines, f'exec "{NANOTALLY}" "$@"', ""]), encoding="utf-8")
    script.chmod(0o755)
    return script


def _wait_for_workers(folder: Folder, environment: Environment) -> None:
    def ready() -> bool:
        state = processes.state(folder, WORKER)
        if not state.runs:
            raise Transient(f"the workers ended:\n{processes.tail(folder.log(WORKER))}")
        return all(up.is_ready(environment.web_port_of(stage)) for stage in STAGES)

    took = processes.wait_until(ready, up.READY_WITHIN_S, f"the workers are not ready; see {folder.log(WORKER)}")
    say(f"workers ready: {', '.join(STAGES)} ({took:.1f} s)")


def _feed(folder: Folder, environment: Environment) -> Published:
    """Publishes everything, closes the books at the end of the data, waits until all is in ClickHouse."""
    print(flush=True)
    published = Published()
    with Live(environment) as live:
        publish(environment, published, live.on_published)
        end_us = (published.last_at_us // DAY_US + 1) * DAY_US
        send_control(environment.kafka, environment.prefix, closing(end_us, "end of the demo's data"))
        partitions = admin.partition_counts(environment.kafka, environment.prefix)["usage"]
        expected = published.records + 2 * partitions  # every partition is told of the book and of the close
        started = time.monotonic()
        while live.show() < expected:
            if not processes.state(folder, WORKER).runs:
                raise BrokenInvariant(f"the workers ended:\n{processes.tail(folder.log(WORKER))}")
            if time.monotonic() - started > ARRIVES_WITHIN_S:
                raise Transient(f"not everything has arrived after {ARRIVES_WITHIN_S:.0f} s; see {folder.log(WORKER)}")
            time.sleep(0.2)
        live.show(last=True)
    return published


def _show(folder: Folder, environment: Environment, published: Published) -> int:
    """The last screen; 0 where nothing is missing."""
    reconciled = _nanotally(environment, "reconcile", "--wait", "120")
    facts = gather(environment, "service:code", "1.00 USD")
    script = os.path.relpath(folder.root / "demo.sh")
    print(flush=True)
    screen.show_input(published, print)
    complete = screen.show_outcomes(published, facts, print)
    print()
    screen.show_money(facts, print)
    print()
    explained = _nanotally(environment, "explain", facts.crossing)
    print(explained.stdout, explained.stderr, sep="")
    screen.show_statement(facts, print)
    screen.show_late(facts, print)
    print("\nRECONCILE  usage -> charges -> tallies -> settlements -> ClickHouse")
    print(reconciled.stdout, end="")
    print(reconciled.stderr, end="", file=sys.stderr)
    print()
    screen.show_next(environment, script, facts, print)
    if reconciled.returncode:
        return reconciled.returncode
    return ExitCode.OK if complete and explained.returncode == 0 else ExitCode.DIFFERENCE


def _nanotally(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NANOTALLY, *arguments], env=os.environ | environment.variables(), capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    run(main)
