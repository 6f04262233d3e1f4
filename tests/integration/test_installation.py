"""`make up`, `status`, `down` and `reset` as a person runs them, in a folder of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.services import processes
from infra.services.folder import Folder, read_json
from tests.support import children

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 240.0

pytestmark = [pytest.mark.services, pytest.mark.slow]


class Installation:
    """A project folder; each command is a process of its own, with none of this shell's addresses."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.folder = Folder.of(project)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return children.run(self.command(command), cwd=self.project, env=self.variables())

    @staticmethod
    def command(name: str) -> list[str]:
        return [sys.executable, "-m", f"infra.{name}"]

    @staticmethod
    def variables() -> dict[str, str]:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("NANOTALLY_")}
        for kept in ("NANOTALLY_CACHE",):
            if kept in os.environ:
                variables[kept] = os.environ[kept]
        return {**variables, "PYTHONPATH": str(ROOT)}

    def pids(self) -> list[int]:
        """Of all supervisors and services that the run files name."""
        states = [processes.state(self.folder, name) for name in ("kafka", "clickhouse", "worker")]
        return [pid for state in states for pid in (state.pid, state.child) if pid]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for all tests here, brought up once; whatever happens, nothing of it stays."""
    installed = Installation(tmp_path_factory.mktemp("project"))
    reset = installed.command("reset")
    with children.should_this_process_die(reset, cwd=installed.project, env=installed.variables()):
        try:
            brought_up = installed.run("up")
            assert brought_up.returncode == 0, brought_up.stdout + brought_up.stderr
            assert "topics made: usage, charges," in brought_up.stdout
            assert "rule book 0 activated" in brought_up.stdout
            assert "workers ready: payers, accounts, sink" in brought_up.stdout
            yield installed
        finally:
            installed.run("reset")


def test_a_second_up_leaves_everything_as_it_is(installation: Installation) -> None:
    before = installation.pids()
    assert len(before) == 6
    again = installation.run("up")
    assert again.returncode == 0, again.stderr
    for words in ("topics are there", "tables are there", "rule book 0 is in force"):
        assert words in again.stdout
    assert again.stdout.count("as before") == 3
    assert installation.pids() == before


def test_addresses_are_written_for_nanotally(installation: Installation) -> None:
    services = read_json(installation.folder.services_file)
    assert set(services) == {"kafka", "clickhouse", "clickhouse_http", "database", "web_port"}
    assert f"Kafka {services['kafka']} · ClickHouse {services['clickhouse']}" in installation.run("up").stdout


def test_status_sees_what_is_killed_and_what_comes_back(installation: Installation) -> None:
    assert until_fine(installation).count("✔") == 6
    killed = processes.state(installation.folder, "clickhouse").child
    os.kill(killed, signal.SIGKILL)
    processes.wait_until(
        lambda: processes.state(installation.folder, "clickhouse").child not in (0, killed),
        WITHIN_S,
        "ClickHouse did not come back",
    )
    # The embedded server ends now and then when a client dies, and its clients were just cut off.
    assert re.search(r"\b[1-9]\d* restarts", until_fine(installation))


def until_fine(installation: Installation) -> str:
    """What status says once all is well: it asks each with a short patience."""
    said: list[subprocess.CompletedProcess[str]] = []

    def fine() -> bool:
        said.append(installation.run("status"))
        return said[-1].returncode == 0

    processes.wait_until(fine, WITHIN_S, "not all is well")
    return said[-1].stdout


def test_two_commands_at_once_are_refused(installation: Installation) -> None:
    with installation.folder.only_one("make demo"):
        refused = installation.run("up")
    assert refused.returncode == 5
    assert f"error: make demo (process {os.getpid()}, since" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_down_stops_everything_and_keeps_the_data(installation: Installation) -> None:
    pids = installation.pids()
    stopped = installation.run("down")
    assert "stopped: worker, clickhouse, kafka; data stay in" in stopped.stdout
    assert [pid for pid in pids if processes.start_time(pid) is not None] == []
    assert installation.run("down").stdout == "nothing was running\n"
    assert installation.run("status").stdout == "nothing runs here; make up starts it\n"
    ports = read_json(installation.folder.ports_file)
    again = installation.run("up")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "rule book 0 is in force" in again.stdout, "Kafka kept it"
    assert "tables are there" in again.stdout, "ClickHouse kept them"
    assert read_json(installation.folder.ports_file) == ports


def test_reset_forgets_everything(installation: Installation) -> None:
    pids = installation.pids()
    forgotten = installation.run("reset")
    assert forgotten.returncode == 0, forgotten.stderr
    assert "forgotten: clickhouse, kafka, logs, ports.json, run, services.json" in forgotten.stdout
    assert [pid for pid in pids if processes.start_time(pid) is not None] == []
    assert [path.name for path in installation.folder.root.iterdir()] == ["lock"]


def test_nothing_started_is_nothing_to_stop(tmp_path: Path) -> None:
    fresh = Installation(tmp_path)
    for command, says in (("down", "nothing was started here"), ("reset", "nothing was started here")):
        done = fresh.run(command)
        assert (done.returncode, done.stdout) == (0, f"{says}\n")
    assert fresh.run("status").stdout == "nothing runs here; make up starts it\n"
    assert not fresh.folder.root.exists()
