"""Workers that are restarted and exchanged for those of another version while products publish."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.up import is_ready
from nanotally.schemas import catalog, codec
from nanotally.sinks.client import ClickHouse, patiently
from nanotally.sinks.sink import address_of
from tests.support.installed import Installed, until
from tests.support.steady_publisher import PUBLISHES
from tests.support.topics import read_committed
from tests.support.worker_process import ROOT, WITHIN_S, WorkerProcess

PARTITIONS = {"usage": 4, "charges": 4, "earnings": 2, "account_tallies": 2}

Facts = dict[str, Any]  # what a product leaves: own, common (numbers of uses), version


class Product:
    """A steady publisher in a process of its own."""

    def __init__(self, world: Installed, folder: Path, name: str, start_us: int, path: Path | None = None) -> None:
        self.facts_file = folder / f"{name}.json"
        extra = {"PYTHONPATH": str(path)} if path else {}
        module = f"tests.support.steady_publisher {name} {folder} {start_us}"
        self.process = WorkerProcess(module, world.environment, folder, f"product-{name}", **extra)

    def end(self) -> Facts:
        assert self.process.end() == 0, self.process.log
        facts: Facts = json.loads(self.facts_file.read_text())
        return facts


@contextlib.contextmanager
def products(*found: Product) -> Iterator[None]:
    """Begins when each has published something."""
    try:
        for product in found:
            until("it publishes", lambda product=product: PUBLISHES in product.process.log)  # type: ignore[misc]
        yield
    finally:
        for product in found:
            if product.process.process.poll() is None:
                product.process.kill()


def start(world: Installed, name: str, stage: str, **extra: str) -> WorkerProcess:
    """Starts a worker; returns when it holds partitions and all of them are open."""
    worker = world.start(name, stage, **extra)
    until(f"{name} is ready", lambda: is_ready(worker.environment.web_port_of(stage)))
    return worker


def rows(world: Installed, what: str) -> int:
    """The number that ClickHouse gives for SELECT `what`; a server that is away for a moment is waited for."""

    def ask() -> int:
        clickhouse = ClickHouse(address_of(world.environment))
        try:
            ((found,),) = clickhouse.query(f"SELECT {what}")
        finally:
            clickhouse.close()
        return int(found)

    return patiently(ask, "asking", within_s=WITHIN_S)


def goes_on(world: Installed, of: str = "1") -> None:
    """Returns when more charges are in ClickHouse than at first: payers and sink are at work. of: of which charges."""
    before = rows(world, f"countIf({of}) FROM charges")
    until("charges go on", lambda: rows(world, f"countIf({of}) FROM charges") > before + 50)


def everything_is_there(world: Installed, *facts: Facts) -> None:
    """Each use once in ClickHouse, repeats told as such, nothing rejected, and both sides of every sum agree."""
    world.close_books()
    world.reconcile()
    own, common = sum(fact["own"] for fact in facts), [fact["common"] for fact in facts]
    assert rows(world, "count() FROM charges WHERE event_id != ''") == own + max(common)
    assert rows(world, "uniqExact(event_id) FROM charges WHERE event_id != ''") == own + max(common)
    assert rows(world, "count() FROM rejects") == 0
    chunks = [
        codec.decode_one(value)[1]
        for mine in read_committed(world.environment.kafka, world.environment.topic("charges"), 4).values()
        for value in mine
        if value and catalog.name_of(value) == "Chunk"
    ]
    assert sum(len(chunk["duplicates"]) for chunk in chunks) == sum(common) - max(common)


def command(world: Installed, extra: dict[str, str], module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A module run as a command, with the version that PYTHONPATH in `extra` says."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | world.environment.variables() | extra,
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * WITHIN_S,
    )


def nanotally(world: Installed, extra: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of nanotally's."""
    return command(world, extra, "nanotally.streams.commands", *arguments)


def reconciled(world: Installed, extra: dict[str, str]) -> None:
    """Fails where that version's `reconcile` finds anything, or uses that are not priced."""
    told = nanotally(world, extra, "reconcile", "--wait", f"{WITHIN_S:.0f}")
    assert told.returncode == 0 and "not priced yet" not in told.stderr, told.stdout + told.stderr
