"""backlog: five million waiting events and the memory of the worker that takes them. partitions-64: one worker with 64
partitions. On a real broker, which shares the machine."""

from __future__ import annotations

import subprocess
import time

import psutil

from nanotally.streams.environment import Environment
from tests.bench.installation import drawing, fill, page, prepare, workers
from tests.bench.report import Figure

BACKLOG = 5_000_000
MANY_PARTITIONS, MANY_EVENTS = 64, 1_000_000
SAMPLE_S = 0.05
MB = 1 << 20


def backlog(environment: Environment) -> Figure:
    """Everything waits before the worker starts; its memory is looked at until the last event is taken."""
    environment = prepare(environment, "backlog")
    fill(environment, drawing(BACKLOG))
    return _drained(environment, "backlog", BACKLOG, {})


def partitions_64(environment: Environment) -> Figure:
    """Events over 64 partitions, all of them on one worker."""
    environment = prepare(environment, "many", MANY_PARTITIONS)
    fill(environment, drawing(MANY_EVENTS), MANY_PARTITIONS)
    return _drained(environment, "partitions-64", MANY_EVENTS, {"partitions": MANY_PARTITIONS})


def _drained(environment: Environment, name: str, events: int, more: dict[str, int]) -> Figure:
    """The worker's rate, and its memory when it has just started and at its most."""
    begun = time.perf_counter()
    with workers(environment, "payers") as (worker,):
        ready_s = time.perf_counter() - begun
        first_mb, peak, done, since = _rss(worker) // MB, 0, 0, time.perf_counter()
        while done < events:
            peak = max(peak, _rss(worker))
            done = taken(environment)
            time.sleep(SAMPLE_S)
        seconds = time.perf_counter() - since
    memory = {"first_rss_mb": first_mb, "peak_rss_mb": peak // MB, "ready_s": round(ready_s, 1)}
    return Figure(name, events / seconds, 0, {"events": events, **memory, **more})


def taken(environment: Environment) -> int:
    """Uses that the payers' stage has taken, the activation in each partition left out."""
    told = page(environment, "payers", "position")
    places = told["partitions"] if told else []
    return sum(max(0, place["position"] - 1) for place in places if place["position"] is not None)


def _rss(worker: subprocess.Popen[bytes]) -> int:
    """Bytes of the worker and of what it started."""
    try:
        own = psutil.Process(worker.pid)
        return sum(process.memory_info().rss for process in (own, *own.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0
