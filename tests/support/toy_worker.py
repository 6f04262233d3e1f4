"""Runs the toy stage as a worker process: `python -m tests.support.toy_worker`, settings from the environment.

TOY_SLOW_S: seconds that each decision takes; TOY_FETCH: records handed over at a time; so that a fault meets the worker
at work. TOY_STOP_AT: it stops itself (SIGSTOP) in the first decision that reaches so many records of a partition.
TOY_LOSE: the fetch after so many gets lost on its way to the lanes.
TOY_SESSION_S: after so long without a word of it the group takes it for dead."""

from __future__ import annotations

import os
import signal
import time

from faust.types import TP

from nanotally.streams.domain.records import PartitionLogic, RawChunk, Step
from nanotally.streams.environment import Environment
from nanotally.streams.pipeline import app, lanes, transport
from nanotally.streams.pipeline.broker import Broker
from nanotally.streams.pipeline.knobs import Knobs
from nanotally.streams.pipeline.logs import set_up_logging
from nanotally.streams.pipeline.stage import LiveAnswers
from nanotally.streams.pipeline.stages import logic_stage
from nanotally.streams.pipeline.store import Slot
from nanotally.streams.pipeline.worker import run
from tests.support.toy_logic import ToyLogic

SLOW_S = float(os.environ.get("TOY_SLOW_S", "0"))
STOP_AT = int(os.environ.get("TOY_STOP_AT", "0"))
LOSE = int(os.environ.get("TOY_LOSE", "-1"))


class SlowToy(ToyLogic):
    stopped = False  # once in a process

    def decide(self, chunk: RawChunk) -> Step:
        time.sleep(SLOW_S)
        before, step = self.n, super().decide(chunk)
        if before < STOP_AT <= self.n and not SlowToy.stopped:
            SlowToy.stopped = True
            os.kill(os.getpid(), signal.SIGSTOP)
        return step


class Forgetful(lanes.Lanes):
    fetches = 0

    def put(self, tp: TP, fetched: transport.Fetched) -> None:
        if self.fetches != LOSE:
            super().put(tp, fetched)
        self.fetches += 1


async def _logic(broker: Broker, partition: int) -> PartitionLogic:
    return SlowToy(partition)


def main() -> None:
    set_up_logging("payers")
    if "TOY_FETCH" in os.environ:
        transport.FETCH_RECORDS = lanes.CHUNK_RECORDS = int(os.environ["TOY_FETCH"])
    if "TOY_SESSION_S" in os.environ:
        app.SESSION_TIMEOUT_S = float(os.environ["TOY_SESSION_S"])
    app.Lanes = Forgetful  # type: ignore[attr-defined]
    environment, knobs = Environment.load(), Knobs.load()
    slot = Slot(environment.state / f"{environment.prefix}payers")
    answers = LiveAnswers("payers", "payer:", "usage")
    run(logic_stage("payers", "usage", _logic, answers, environment, knobs, slot), environment, knobs, slot)


if __name__ == "__main__":
    main()
