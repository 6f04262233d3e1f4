"""One run: services, workers and load up; fault after fault; books closed; everything looked at; all stopped."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from infra.prepare import prepare
from nanotally.streams.admin import PARTITIONS
from nanotally.streams.environment import Environment
from nanotally.streams.errors import Transient
from nanotally.streams.tariffs.publishing import closing, send_control
from tests.chaos import books, verdict
from tests.chaos.crew import Crew
from tests.chaos.deck import Deck
from tests.chaos.faults import World, kill_one
from tests.chaos.load import Load
from tests.chaos.report import Report
from tests.chaos.site import Site
from tests.chaos.uses import Uses, start_of
from tests.chaos.watch import Watch

PER_S = 400.0  # uses
SPAN_HOURS = 40  # that pass in the uses' own time
READY_WITHIN_S = 300.0
RECOVERS_WITHIN_S = 300.0
REJECTS_PER_MINUTE = 3_000  # more stop the workers of the payers' stage
KILLS_BETWEEN = 3
MORE_S = 150.0  # beyond the minutes of the plan; a short run has a few faults, and strikes with each
END_OF_TIME_US = 2_000_000_000_000_000


@dataclass(frozen=True)
class Plan:
    """What a run does. kills: so many at least; only: names of faults, empty: all."""

    seed: int
    minutes: float
    kills: int = 0
    short: bool = False
    only: tuple[str, ...] = ()


class Run:
    """A run in a folder."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.rng = random.Random(plan.seed)
        self.report = Report(plan.seed)
        self.began = time.monotonic()

    def run(self) -> bool:
        """Whether all was as it should be. Everything that was started is stopped, also after an interrupt."""
        with contextlib.ExitStack() as stack:
            site = stack.enter_context(contextlib.closing(Site(self.folder / "services")))
            native, http = site.clickhouse
            environment = Environment(
                kafka=site.kafka,
                clickhouse=native,
                clickhouse_http=http,
                prefix="chaos.",
                database="chaos",
                state=self.folder / "state",
                web_port=site.web_port,
            )
            prepare(environment, self._say, book=False)
            books.publish(environment, self.folder / "tariffs")
            limits = {"NANOTALLY_REJECTS_PER_MINUTE": str(REJECTS_PER_MINUTE)}
            crew = stack.enter_context(contextlib.closing(Crew(environment, self._made("logs"), limits)))
            watch = stack.enter_context(contextlib.closing(Watch(site, environment, PARTITIONS)))
            world = World(site, crew, environment, self.rng, self.folder, pace=0.3 if self.plan.short else 1.0)
            load = Load(environment, self._uses(), PER_S, self.folder / "arrived.tsv")
            self._put_through(world, watch, load)
            self._look_at(world, watch, load)
            return self._tell(world, watch, load)

    def _made(self, name: str) -> Path:
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def _uses(self) -> Uses:
        span = timedelta(hours=SPAN_HOURS - 1)
        step = span / (PER_S * 60 * max(self.plan.minutes, 1.0) * 1.5)
        return Uses(self.plan.seed, start_of(SPAN_HOURS), step, span)

    def _put_through(self, world: World, watch: Watch, load: Load) -> None:
        """Faults, with the load on, until time is up and every kind has struck."""
        world.crew.start()
        load.start()
        with _until("the workers are ready", READY_WITHIN_S) as waiting:
            while not all(world.crew.ready(member) for member in world.crew.members):
                waiting()
        watch.start()
        self._say(f"workers ready; {PER_S:.0f} uses a second from here on")
        deck = Deck(self.rng, self.plan.only, self.plan.short)
        ends_at, more_s = time.monotonic() + self.plan.minutes * 60, math.inf if self.plan.short else MORE_S
        # Time, kinds and kills are all wanted, but not for ever: a slow machine says what it did not get done.
        for name, fault in deck.deal():
            late_s = time.monotonic() - ends_at
            if load.error or (late_s > 0 and not deck.unused and world.kills >= self.plan.kills) or late_s > more_s:
                break
            watch.during = name
            self._say(f"{name}  ({world.kills} kills so far)")
            fault(world)
            for _ in range(KILLS_BETWEEN):
                world.hold(0.5, 3)
                kill_one(world)
            took = watch.recovered(RECOVERS_WITHIN_S)
            if took is None:
                self.report.problems.append(f"not recovered within {RECOVERS_WITHIN_S:.0f} s of {name}")
                continue
            self.report.recovered(name, took)
        if deck.unused and not self.report.problems:
            self.report.problems.append(f"no time was left for {', '.join(sorted(deck.unused))}")
        watch.during = "the end"

    def _look_at(self, world: World, watch: Watch, load: Load) -> None:
        """Closes the books and lets reconcile and the auditor say what they find."""
        load.end()
        environment = world.environment
        send_control(environment.kafka, environment.prefix, closing(END_OF_TIME_US, "end of the run"))
        watch.close()
        differs = verdict.reconciled(environment)
        self.report.reconcile = "differs" if differs else "clean"
        if differs:
            self.report.problems.append(f"reconcile: {differs}")
        self._audit(world)

    def _audit(self, world: World) -> None:
        site = world.site
        try:
            found = verdict.audited(world.environment, site.kafka_inside, site.http_inside, self.folder / "arrived.tsv")
        except RuntimeError as e:
            self.report.problems.append(str(e))
            return
        self.report.audit = found
        self.report.lost, self.report.duplicated = found["lost"], found["duplicated"]
        if found["differences"]:
            self.report.problems.append(f"the auditor disagrees: {found['differences'][:5]}")

    def _tell(self, world: World, watch: Watch, load: Load) -> bool:
        report = self.report
        report.minutes = round((time.monotonic() - self.began) / 60, 1)
        report.faults, report.ends = dict(world.counts), dict(world.crew.exits)
        report.kills, report.uses, report.batches_sent_again = world.kills, load.published, load.sent_again
        report.longest_pause_s, report.longest_pause_in = round(watch.longest_pause_s, 1), watch.longest_of
        report.problems += world.crew.wrong
        if world.kills < self.plan.kills:
            report.problems.append(f"{world.kills} kills only, {self.plan.kills} were wanted")
        print("\n".join(report.lines()), flush=True)
        return report.clean

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {text}", flush=True)


@contextlib.contextmanager
def _until(what: str, within_s: float) -> Iterator[Callable[[], None]]:
    """Gives a function to call while waiting. Raises Transient when it takes too long."""
    deadline = time.monotonic() + within_s

    def waiting() -> None:
        if time.monotonic() > deadline:
            raise Transient(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.2)

    yield waiting
