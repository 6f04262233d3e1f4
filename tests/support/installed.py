"""A whole installation over the tests' services: topics, tables, a rule book, workers, and its commands."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from typer.testing import CliRunner

from infra.prepare import prepare
from nanotally.streams import admin
from nanotally.streams.commands import app
from nanotally.streams.commands.positions import payers_positions
from nanotally.streams.environment import Environment
from nanotally.streams.publisher_ledger import TopicReader
from nanotally.streams.tariffs.publishing import closing, send_control
from tests.bench.installation import fill
from tests.bench.usage import usage
from tests.support.services import Addresses, drop_database, fresh_database, fresh_prefix
from tests.support.topics import decided
from tests.support.worker_process import WITHIN_S, WorkerProcess, until, workers

DAY_US = 86_400_000_000

Start = Callable[..., WorkerProcess]


@dataclass
class Installed:
    """One installation; `start(name, stage)` starts a worker of a stage, with a state folder that all share."""

    environment: Environment
    start_worker: Start
    members: dict[str, WorkerProcess]
    seeds: Iterator[int]

    def start(self, name: str, stage: str, **extra: str) -> WorkerProcess:
        """It starts itself over after a transient fault, as on a machine that is very slow for a moment."""
        extra = {"NANOTALLY_SUPERVISOR": "", **extra}
        self.members[name] = self.start_worker(name, f"nanotally.streams.commands worker {stage}", **extra)
        return self.members[name]

    def stop(self, name: str) -> None:
        worker = self.members.pop(name)
        assert worker.leaves(), worker.log

    def use(self, count: int, days_ago: int = 0) -> None:
        """Publishes so many uses of now, or of some days ago."""
        seed = next(self.seeds)
        at_us = time.time_ns() // 1000 - days_ago * DAY_US - 10_000_000
        fill(self.environment, [usage(count, seed=seed, ids=seed, start_us=at_us, step_us=10)])

    def close_books(self) -> None:
        """Settles everything up to now."""
        send_control(self.environment.kafka, self.environment.prefix, closing(time.time_ns() // 1000, "test"))

    def run(self, *arguments: str, database: str = "") -> tuple[int, str, str]:
        """A command in this process: exit code, standard output and error."""
        environment = replace(self.environment, database=database or self.environment.database)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.variables().items():
                patch.setenv(name, value)
            result = CliRunner().invoke(app, list(arguments))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout, result.stderr

    def reconcile(self, database: str = "") -> str:
        """What `nanotally reconcile` says once all uses are priced and sunk; fails where anything is missing."""
        return self._reconcile(database=database)

    def reconcile_ledger(self) -> str:
        """The same, without ClickHouse."""
        return self._reconcile("--ledger")

    def _reconcile(self, *options: str, database: str = "") -> str:
        self.priced()
        code, out, err = self.run("reconcile", "--wait", f"{WITHIN_S:.0f}", *options, database=database)
        assert code == 0 and "not priced yet" not in err and "not taken" not in err, out + err
        return out

    def priced(self) -> None:
        """Returns when all uses that are there now are priced and everybody can read what came of them. Else the
        earnings of the last ones may come to be seen only after somebody has looked whether all are taken."""
        environment = self.environment

        async def caught_up() -> None:
            async with TopicReader(environment.kafka, environment.prefix) as reader:
                target = {p.partition: p.end for p in await payers_positions(reader)}
                deadline = time.monotonic() + WITHIN_S
                while any(p.next_offset < target[p.partition] for p in await payers_positions(reader)):
                    assert time.monotonic() < deadline, f"not all is priced within {WITHIN_S:.0f} s"
                    await asyncio.sleep(0.1)
            counts = admin.partition_counts(environment.kafka, environment.prefix)
            places = [TopicPartition(environment.topic(topic), p) for topic, n in counts.items() for p in range(n)]
            await decided(environment.kafka, places)

        asyncio.run(caught_up())


@contextlib.contextmanager
def installed(services: Addresses, folder: Path) -> Iterator[Installed]:
    """An installation without workers; its topics, database and processes are gone afterwards."""
    environment = Environment(
        kafka=services.kafka,
        clickhouse=services.clickhouse.native,
        clickhouse_http=services.clickhouse.http,
        prefix=fresh_prefix(),
        database=fresh_database(),
        state=folder / "state",
    )
    prepare(environment, lambda _: None)
    with contextlib.ExitStack() as stack:
        stack.callback(drop_database, services.clickhouse, environment.database)
        stack.callback(admin.delete_topics, services.kafka, environment.prefix)
        started: dict[str, Start] = {}

        def start(name: str, module: str, **extra: str) -> WorkerProcess:
            if module not in started:
                started[module] = stack.enter_context(workers(module, environment, folder))
            return started[module](name, **extra)

        yield Installed(environment, start, {}, iter(range(1, 10**9, 10**6)))


__all__ = ["Installed", "installed", "until"]
