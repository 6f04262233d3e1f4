"""What Prometheus sees of a worker: positions, lag, watermark, outcomes, time spent; by stage, topic and partition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nanotally.streams.domain.records import LONG_AGO
from nanotally.streams.pipeline.health import PartitionHealth

WHERE = ("stage", "topic", "partition")
GAUGES = {
    "position": "Offset of the next input record to take.",
    "lag_records": "Input records not taken yet.",
    "stuck": "1 where there is lag and no progress.",
    "seconds_since_progress": "Seconds since the position moved, 0 while there is nothing to do.",
    "watermark_seconds": "Watermark, seconds since 1970.",
    "closed_to_seconds": "Windows that end at or before this are closed, seconds since 1970.",
    "state_rows": "Rows of state.",
}
COUNTERS = {
    "chunks": "Chunks committed since the partition was opened here.",
    "records": "Input records taken since the partition was opened here.",
    "folded": "Records of the log folded at opening.",
    "snapshots": "Snapshots written.",
    "snapshots_failed": "Snapshots that could not be written since the partition was opened here.",
    "decide_seconds": "Seconds spent deciding chunks.",
    "write_seconds": "Seconds spent in transactions.",
    "snapshot_seconds": "Seconds spent on snapshots.",
}
TIMES_US = {"watermark_us": "watermark_seconds", "closed_to_us": "closed_to_seconds"}


@dataclass(frozen=True)
class Scraped:
    """One partition at the time of a scrape."""

    health: PartitionHealth
    figures: Mapping[str, float]


class Metrics(Collector):
    """Asks for the partitions anew at each scrape, so that none is shown that was given back."""

    def __init__(self, stage: str, scrape: Callable[[], Iterable[Scraped]]) -> None:
        self._stage = stage
        self._scrape = scrape
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> str:
        """In Prometheus' text format."""
        return generate_latest(self._registry).decode()

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: the registry would scrape to find out."""
        return ()

    def collect(self) -> Iterator[Metric]:
        gauges = {name: GaugeMetricFamily(f"nanotally_{name}", text, labels=WHERE) for name, text in GAUGES.items()}
        counters = {
            name: CounterMetricFamily(f"nanotally_{name}", text, labels=WHERE) for name, text in COUNTERS.items()
        }
        counted = CounterMetricFamily(
            "nanotally_counted", "Running counts of the stage since its beginning, by name.", labels=(*WHERE, "name")
        )
        for one in self._scrape():
            where = (self._stage, one.health.topic, str(one.health.partition))
            for name, value in _gauge_values(one).items():
                gauges[name].add_metric(where, value)
            for name, value in one.figures.items():
                if name in counters:
                    counters[name].add_metric(where, value)
                elif name not in TIMES_US and name not in gauges:
                    counted.add_metric((*where, name), value)
        yield from gauges.values()
        yield from counters.values()
        yield counted


def _gauge_values(one: Scraped) -> dict[str, float]:
    values = {
        "position": float(one.health.position),
        "stuck": float(one.health.state == "stuck"),
        "seconds_since_progress": one.health.seconds,
        "state_rows": one.figures.get("state_rows", 0.0),
    }
    if one.health.lag is not None:
        values["lag_records"] = float(one.health.lag)
    for figure, name in TIMES_US.items():
        if one.figures.get(figure, LONG_AGO) != LONG_AGO:
            values[name] = one.figures[figure] / 1_000_000
    return values
