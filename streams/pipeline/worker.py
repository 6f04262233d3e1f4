"""Running one stage in this process: what must be there first, then Faust's worker, then a clean or a clear end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from typing import NoReturn

import faust

from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode, InvalidInput, Transient
from nanotally.streams.installation import join
from nanotally.streams.pipeline.app import build_app, group_of
from nanotally.streams.pipeline.arenas import ARENAS_MB, keep_arenas
from nanotally.streams.pipeline.kafka_broker import KafkaBroker
from nanotally.streams.pipeline.knobs import Knobs
from nanotally.streams.pipeline.leaving import asked_to_end, leave, wait_if_started_over
from nanotally.streams.pipeline.logs import set_up_logging
from nanotally.streams.pipeline.stage import Stage
from nanotally.streams.pipeline.stages import stage_of
from nanotally.streams.pipeline.store import Slot

log = logging.getLogger(__name__)

END_WITHIN_S = 15.0  # after SIGTERM; then the process leaves as it is, which loses nothing
PARENT_S = 1.0
WAIT_S = 3.0  # between two tries to reach Kafka, each with a line that says so


class StageWorker(faust.Worker):
    """Faust's worker, ending in bounded time also while Kafka is away."""

    def _schedule_shutdown(self, signal: signal.Signals) -> None:
        asked_to_end()
        threading.Thread(target=self._leave_in_time, name="end", daemon=True).start()
        super()._schedule_shutdown(signal)

    def _leave_in_time(self) -> None:
        time.sleep(END_WITHIN_S)
        leave(
            Transient(f"could not end in order within {END_WITHIN_S:.0f} s; leaving as it is, which loses nothing"),
            supervised=True,
        )


def run_stage(name: str, environment: Environment) -> NoReturn:
    """Runs the stage payers, accounts or sink until SIGTERM or SIGINT; ends the process with its exit code.

    Raises InvalidInput where the state folder or the port cannot be used."""
    set_up_logging(name)
    knobs = Knobs.load()
    slot = Slot(environment.state / f"{environment.prefix}{name}")
    run(stage_of(name, environment, knobs, slot), environment, knobs, slot)


def run(stage: Stage, environment: Environment, knobs: Knobs, slot: Slot) -> NoReturn:
    """Runs a stage that is already put together."""
    wait_if_started_over()
    check_port(environment.web_port_of(stage.name), knobs.web_bind)
    if knobs.supervisor:
        _end_with(knobs.supervisor)
    keep_arenas(ARENAS_MB)
    asyncio.run(wait_for_kafka(stage, environment))
    join_installation(stage, environment, knobs)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    folder = slot.folder / "faust"
    folder.mkdir(parents=True, exist_ok=True)
    app = build_app(stage, environment, knobs, folder)
    worker = StageWorker(app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True, loglevel="WARN")
    worker.spinner = None
    log.info("%s: group %s, state in %s, web on port %d", stage.name, app.conf.id, slot.folder, app.conf.web_port)
    try:
        worker.execute_from_commandline()
    except SystemExit as e:
        if worker.crash_reason:
            leave(worker.crash_reason, supervised=knobs.supervised)
        log.info("%s: ended", stage.name)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(e.code or ExitCode.OK))  # nothing is left to be done, and no thread may hold the process up
    raise AssertionError("Faust's worker returned without an exit code")


async def wait_for_kafka(stage: Stage, environment: Environment) -> None:
    """Returns when Kafka answers and has the stage's input topics; says every few seconds what is missing."""
    broker = KafkaBroker(environment.kafka, prefix=environment.prefix, group=group_of(stage.name, environment))
    for topic in stage.topics:
        while True:
            try:
                await broker.describe(topic)
                break
            except Transient as e:
                log.warning("%s waits: %s", stage.name, e)
                await asyncio.sleep(WAIT_S)


def join_installation(stage: Stage, environment: Environment, knobs: Knobs) -> None:
    """Tells the installation this release's schemas and looks up those of others; waits while Kafka is away.

    Raises InvalidInput where partitions were added to it, unless NANOTALLY_LEAVE_ADDED says that they are known."""
    while True:
        try:
            join(environment.kafka, environment.prefix, __name__, knobs.leave_added)
            return
        except Transient as e:
            log.warning("%s waits: %s", stage.name, e)
            time.sleep(WAIT_S)


def check_port(port: int, address: str) -> None:
    """Raises InvalidInput where the web server could not listen."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as e:
            raise InvalidInput(
                f"port {port} of {address} cannot be used ({e.strerror}): end what uses it, or set NANOTALLY_WEB_PORT "
                f"to the first of three free ports"
            ) from e


def _end_with(supervisor: int) -> None:
    """A supervised process ends when its supervisor is gone, also when that was killed."""

    def watch() -> None:
        while os.getppid() == supervisor:
            time.sleep(PARENT_S)
        log.warning("the supervisor is gone: ending")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="supervisor", daemon=True).start()
