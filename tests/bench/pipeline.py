"""stage-rate: the payers' stage on a real broker. pipeline: publish to queryable in ClickHouse. latency: the same, one
use at a time. Broker, server and workers share the machine."""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime

from clickhouse_driver import Client

from nanotally.streams import Publisher
from nanotally.streams.environment import STAGES, Environment
from tests.bench.installation import drawn, fill, page, prepare, workers
from tests.bench.report import Figure

STAGE_EVENTS = 800_000
PIPELINE_EVENTS = 1_000_000
LATENCY_S = 20
LATENCY_PER_S = 1_000
POLL_S = 0.02


def stage_rate(environment: Environment) -> Figure:
    """Waiting events through the payers' stage, everything on: dedup, tallies, earnings, one transaction a chunk.

    From the first commit that is seen to the last, so that start-up does not count."""
    environment = prepare(environment, "stage")
    fill(environment, drawn(STAGE_EVENTS))
    with workers(environment, "payers"):
        first_at, first = 0.0, 0
        while True:
            done = _done(environment, "payers")
            now = time.perf_counter()
            if done and not first:
                first_at, first = now, done
            if done >= STAGE_EVENTS:
                break
            time.sleep(POLL_S)
    rate = (STAGE_EVENTS - first) / (now - first_at)
    return Figure("stage-rate", rate, 80_000, {"events": STAGE_EVENTS - first})


def pipeline(environment: Environment) -> Figure:
    """Publish, rate, tally and write to ClickHouse at the same time, on two cores with broker and server.

    From the first event sent to the last charge queryable."""
    environment = prepare(environment, "pipeline")
    with workers(environment, *STAGES):
        fill(environment, drawn(20_000, seed=99))  # warms all processes
        _wait_for_rows(environment, 20_000)
        events = drawn(PIPELINE_EVENTS, seed=7)
        started = time.perf_counter()
        sender = threading.Thread(target=fill, args=(environment, events))
        sender.start()
        _wait_for_rows(environment, 20_000 + PIPELINE_EVENTS)
        seconds = time.perf_counter() - started
        sender.join()
    return Figure("pipeline", PIPELINE_EVENTS / seconds, 40_000, {"events": PIPELINE_EVENTS})


def latency(environment: Environment) -> Figure:
    """At 1,000 uses a second through the public publisher: from `use()` to the row being visible in ClickHouse.

    One in a hundred uses is looked for, by polling its event id every 20 ms, which is in the figure."""
    environment = prepare(environment, "latency")
    waits: list[float] = []
    with workers(environment, *STAGES), Publisher(environment.kafka, product="news", prefix=environment.prefix) as nano:
        nano.use("page.view", payer="payer-0", item="warm")
        _wait_for_rows(environment, 1)
        watched: dict[str, float] = {}
        lock, done = threading.Lock(), threading.Event()
        watcher = threading.Thread(target=_watch, args=(environment, watched, waits, lock, done))
        watcher.start()
        began, sent = time.perf_counter(), 0
        while (now := time.perf_counter()) - began < LATENCY_S:
            while sent < (now - began) * LATENCY_PER_S:
                use = nano.use("page.view", payer=f"payer-{random.randrange(10**4)}", item="i", creator="c")
                if sent % 100 == 0:
                    with lock:
                        watched[use.event_id] = now
                sent += 1
            time.sleep(0.001)
        seconds = time.perf_counter() - began
        done.set()
        watcher.join()
    waits.sort()
    p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    more = {"p50_ms": round(p50 * 1e3), "p99_ms": round(p99 * 1e3), "watched": len(waits), "goal_p99_ms": 2000}
    return Figure("latency", sent / seconds, LATENCY_PER_S, more)


def _done(environment: Environment, stage: str) -> int:
    """Input records that the stage has taken, controls left out."""
    text = page(environment, stage, "position")
    if not text:
        return 0
    return sum(max(0, p["position"] - 1) for p in text["partitions"] if p["position"] is not None)


def _client(environment: Environment) -> Client:
    host, port = environment.clickhouse_address
    return Client(host, port=port, database=environment.database)


def _wait_for_rows(environment: Environment, rows: int) -> None:
    client = _client(environment)
    while client.execute("SELECT count() FROM charges")[0][0] < rows:
        time.sleep(POLL_S)
    client.disconnect()


def _watch(
    environment: Environment,
    watched: dict[str, float],
    waits: list[float],
    lock: threading.Lock,
    done: threading.Event,
) -> None:
    """Looks for the watched uses until all were seen."""
    client = _client(environment)
    since = datetime.now(UTC)
    while True:
        with lock:
            ids = list(watched)
        if not ids and done.is_set():
            break
        if ids:
            found = client.execute(
                "SELECT event_id FROM charges WHERE event_id IN %(ids)s AND recorded_at >= %(since)s",
                {"ids": ids, "since": since},
            )
            now = time.perf_counter()
            with lock:
                waits.extend(now - watched.pop(event_id) for (event_id,) in found)
        time.sleep(POLL_S)
    client.disconnect()
