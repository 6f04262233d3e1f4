"""The Faust app of a stage: the one place that wires agent, transport, lanes and web. Nothing connects here."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import faust
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError
from faust.types import TP
from mode import CrashingSupervisor

from nanotally.streams import sealing
from nanotally.streams.environment import DATABASE, Environment
from nanotally.streams.pipeline import ticks, transport, web
from nanotally.streams.pipeline.clock import Clock, SystemClock
from nanotally.streams.pipeline.health import Liveness, PartitionHealth
from nanotally.streams.pipeline.knobs import Knobs
from nanotally.streams.pipeline.lanes import Lanes
from nanotally.streams.pipeline.leaving import leave
from nanotally.streams.pipeline.metrics import Metrics, Scraped
from nanotally.streams.pipeline.stage import Stage
from nanotally.streams.pipeline.transport import Seen, StageConsumer, StageTransport

log = logging.getLogger(__name__)

SESSION_TIMEOUT_S = 6.0  # a killed worker's partitions wait for so long; Kafka's own minimum
HEARTBEAT_S = 1.5
QUEUED_FETCHES = 16
OBSERVE_S = 1.0
SAY_S = 5.0  # without progress
SHOWN = 3  # partitions in one line


class StageApp(faust.App):
    """A Faust app that owns lanes; any crash of one of its services ends the process."""

    logger = logging.getLogger("faust.app")
    stage: Stage
    lanes: Lanes
    environment: Environment
    knobs: Knobs
    liveness: Liveness

    def positions(self, tps: Iterable[TP]) -> Mapping[TP, int]:
        """Asked by the transport: where to read on."""
        return self.lanes.positions(tps)

    def take(self, event: Any) -> None:
        """A fetch goes into the lane of its partition, but for one of an older generation of the group: its partition
        may have been given back and taken over since, and what belongs in its lane now is fetched anew."""
        if event.message.generation_id == self.consumer_generation_id:
            self.lanes.put(event.message.tp, event.value)

    def health(self) -> list[PartitionHealth]:
        """Of every partition that this process holds."""
        lanes = self.lanes.all()
        seen = {(lane.topic, lane.tp.partition): self._seen(lane.tp) for lane in lanes if lane.opened}
        return self.liveness.observe(lanes, {key: s for key, s in seen.items() if s}, time.time())

    def scrape(self) -> list[Scraped]:
        lanes = {(lane.topic, lane.tp.partition): lane for lane in self.lanes.all()}
        return [Scraped(h, lanes[h.topic, h.partition].worker.figures()) for h in self.health()]

    def _seen(self, tp: TP) -> Seen | None:
        consumer = cast(StageConsumer, self.consumer)
        return consumer.seen(tp) if tp in consumer.assignment() else None

    def _crash(self, reason: BaseException) -> None:
        """Faust's supervision would go on past the event that failed, and lose it."""
        if self.should_stop:
            super()._crash(reason)
        else:
            leave(reason, supervised=self.knobs.supervised)


def build_app(
    stage: Stage, environment: Environment, knobs: Knobs, folder: Path, clock: Clock | None = None
) -> StageApp:
    """The app of a stage, ready to be run by `worker.run`. folder: where Faust may put files."""
    app = StageApp(
        group_of(stage.name, environment),
        broker=[f"aiokafka://{address}" for address in environment.kafka.split(",")],
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_max_poll_records=transport.FETCH_RECORDS,
        consumer_max_fetch_size=transport.FETCH_PARTITION_BYTES,
        consumer_auto_offset_reset="earliest",  # until the first seek only: see transport
        stream_buffer_maxsize=QUEUED_FETCHES,
        stream_wait_empty=False,  # the lanes wait for the chunk in hand
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        key_serializer="raw",
        value_serializer="raw",
        datadir=folder,
        web_bind=knobs.web_bind,
        web_port=environment.web_port_of(stage.name),
        web_stats_enabled=False,
        web_graph_enabled=False,
        web_router_enabled=False,
        web_tables_enabled=False,
        web_host=socket.gethostname() if knobs.web_bind == "0.0.0.0" else knobs.web_bind,
    )
    app.transport = StageTransport(app.conf.broker_consumer, app)
    app.stage, app.environment, app.knobs = stage, environment, knobs
    app.liveness = Liveness(knobs.stuck_s, clock or SystemClock())
    app.lanes = Lanes(
        stage,
        environment.prefix,
        hold=lambda tp: app.consumer.on_buffer_full(tp),
        release=lambda tp: app.consumer.on_buffer_drop(tp),
        leave=functools.partial(leave, supervised=knobs.supervised),
    )
    _follow_rebalances(app)
    _add_agent(app)
    _watch(app)
    if knobs.ticks_s and ticks.TOPIC in stage.topics:
        _add_ticks(app, knobs.ticks_s)
    web.add_pages(app, Metrics(stage.name, app.scrape))
    return app


def group_of(stage: str, environment: Environment) -> str:
    """Faust app id and Kafka consumer group of a stage; sinks of another database share nothing with the usual one."""
    own = "" if stage != "sink" or environment.database == DATABASE else f"-{environment.database}"
    return f"{environment.prefix}nanotally-{stage}{own}"


def _add_agent(app: StageApp) -> None:
    topics = app.topic(*(app.environment.topic(name) for name in app.stage.topics), acks=False)

    @app.agent(topics, name=app.stage.name, supervisor_strategy=CrashingSupervisor)
    async def take(stream: Any) -> None:
        """Puts each fetch into the lane of its partition; the lanes do the rest, side by side."""
        async for event in stream.noack().events():
            app.take(event)


def _follow_rebalances(app: StageApp) -> None:
    """All partitions are given back before every rebalance, and taken over after it, before the first seek."""

    @app.on_partitions_revoked.connect
    async def give_back(*args: Any, **kwargs: Any) -> None:
        await app.lanes.close()

    @app.on_rebalance_complete.connect
    async def take_over(*args: Any, **kwargs: Any) -> None:
        await app.lanes.open(app.consumer.assignment())

    @app.on_before_shutdown.connect
    async def end(*args: Any, **kwargs: Any) -> None:
        await app.lanes.close()
        await app.stage.close_shared()


def _add_ticks(app: StageApp, interval_s: float) -> None:
    environment = app.environment
    topic = environment.topic(ticks.TOPIC)

    async def send(partition: int, value: bytes) -> bool:
        producer = await app.maybe_start_producer()
        try:
            await producer.send_and_wait(topic, None, value, partition=partition, timestamp=None, headers=None)
        except (MessageSizeTooLargeError, RecordListTooLargeError):  # of a tick: it is sealed
            return False
        return True

    async def why_sealed() -> str:
        return await asyncio.to_thread(sealing.why_sealed, environment.kafka, environment.prefix)

    rounds = ticks.Ticks(send, why_sealed)

    async def tick() -> None:
        await rounds.round(app.health())

    app.timer(interval=interval_s)(tick)


def _watch(app: StageApp) -> None:
    """Observes progress all the time, and says every few seconds where there is none."""
    said_s = 0.0

    async def observe() -> None:
        nonlocal said_s
        late = [one.words() for one in app.health() if one.seconds >= SAY_S]
        if late and time.monotonic() - said_s >= SAY_S:
            said_s = time.monotonic()
            more = f"; and {len(late) - SHOWN} more" if len(late) > SHOWN else ""
            log.warning("no progress: %s%s", "; ".join(late[:SHOWN]), more)

    app.timer(interval=OBSERVE_S)(observe)
