"""`make up`: services, topics, tables, a rule book and the workers, each only where it is missing.

`bring_up` is the same for other commands (the demo), with another folder, prefix or database.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import urllib3

from infra.command import run, say
from infra.prepare import prepare
from infra.services import local, processes
from infra.services.folder import Folder, read_json
from infra.services.local import WORKER, Say
from nanotally.streams.environment import STAGES, Environment
from nanotally.streams.errors import ExitCode, Transient

READY_WITHIN_S = 240.0


def bring_up(
    folder: Folder, say: Say, environ: Mapping[str, str] | None = None, workers: bool = True, book: bool = True
) -> Environment:
    """Bring everything up; what runs already stays as it is. Returns the environment to work with.

    `environ` (by default this process's) gives addresses, prefix and database; without `book` no rule book is
    published, without `workers` none are started. Raises Transient or InvalidInput with the remedy."""
    variables = dict(os.environ if environ is None else environ)
    services = local.ensure(folder, say, variables)
    environment = environment_of(services, variables, folder)
    # Whoever brings up something for itself alone, as the demo does, leaves the database of the installation's own.
    before = str(read_json(folder.services_file).get("database", "nanotally"))
    local.write_addresses(folder, services, environment.database if workers else before)
    prepare(environment, say, book)
    if workers:
        start_workers(folder, environment, say)
    return environment


def environment_of(services: local.Services, variables: Mapping[str, str], folder: Folder) -> Environment:
    """The environment that the services and variables together make."""
    given = {
        **variables,
        "NANOTALLY_KAFKA": services.kafka,
        "NANOTALLY_CLICKHOUSE": services.clickhouse,
        "NANOTALLY_CLICKHOUSE_HTTP": services.clickhouse_http,
        "NANOTALLY_WEB_PORT": str(services.web_port),
    }
    return Environment.load(given, folder.root.parent)


def start_workers(folder: Folder, environment: Environment, say: Say) -> None:
    """Start `nanotally worker` detached, anew where it runs with other addresses; returns when every stage is ready.

    Raises Transient with the end of its log when it does not get there."""
    command = (str(Path(sys.executable).parent / "nanotally"), "worker")
    service = processes.Service(
        WORKER,
        command,
        environment.variables(),
        stop_within_s=40.0,
        final_codes=(ExitCode.USAGE, ExitCode.INVALID, ExitCode.NOT_FOUND, ExitCode.BROKEN),
    )
    if processes.state(folder, WORKER).runs and not processes.is_current(folder, service):
        say("the workers run with other addresses; starting them anew")
        processes.stop(folder, WORKER)
    started = not processes.state(folder, WORKER).runs
    if started:
        processes.start(folder, service)
    began = time.monotonic()

    def all_ready() -> bool:
        seen = processes.state(folder, WORKER)
        if not seen.runs:
            log = folder.log(WORKER)
            raise Transient(
                f"the workers do not stay up: {seen.gave_up or 'they ended'}; {log}:\n{processes.tail(log)}"
            )
        return all(is_ready(environment.web_port_of(stage)) for stage in STAGES)

    missing = f"the workers are not ready after {READY_WITHIN_S:.0f} s; see {folder.log(WORKER)}"
    processes.wait_until(all_ready, READY_WITHIN_S, missing)
    took = f" ({time.monotonic() - began:.1f} s)" if started else ", as before"
    say(f"workers ready: {', '.join(STAGES)}, health at http://127.0.0.1:{environment.web_port}/health{took}")


def is_ready(port: int) -> bool:
    """Whether the stage's web server says that every partition of it is open."""
    try:
        with urllib3.PoolManager(retries=False, timeout=2.0) as pool:
            return pool.request("GET", f"http://127.0.0.1:{port}/ready").status == 200
    except urllib3.exceptions.HTTPError:
        return False


def main() -> None:
    """Bring everything up and say what one can do now."""
    folder = Folder.of()
    with folder.only_one("make up"):
        environment = bring_up(folder, say)
    print(f"\nup: Kafka {environment.kafka} · ClickHouse {environment.clickhouse}")
    if environment.clickhouse_http:
        print(f"  ask     http://{environment.clickhouse_http}/play?database={environment.database}")
    print("  look    make status · .venv/bin/nanotally doctor")
    print("  stop    make down      forget everything  make reset")


if __name__ == "__main__":
    run(main)
