"""Health tells a worker that does its work from one that only lives."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from nanotally.streams.domain.records import LONG_AGO
from nanotally.streams.pipeline.health import Liveness, PartitionHealth
from nanotally.streams.pipeline.metrics import Metrics, Scraped
from nanotally.streams.pipeline.ticks import Ticks, tick
from nanotally.streams.pipeline.transport import Seen
from tests.support.clock import HandClock

STUCK_S = 60.0


class FakeLane:
    """A lane as health sees it."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.topic = "usage"
        self.tp = TP("p-usage", 2)
        self.opened = True
        self.idle = True


class World:
    """One lane, watched once a second."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.liveness = Liveness(STUCK_S, self.clock)
        self.folded = 0
        self.worker = SimpleNamespace(position=10, waiting_for="", figures=lambda: {"folded": self.folded})
        self.lane: Any = FakeLane(self.worker)
        self.seen: Seen | None = None

    def fetched(self, next_offset: int, end: int) -> None:
        """Kafka answers: the fetcher stands at next_offset, what is committed ends at `end`."""
        self.seen = Seen(next_offset, end, self.clock.seconds())

    def health(self) -> PartitionHealth:
        seen = {("usage", 2): self.seen} if self.seen else {}
        (found,) = self.liveness.observe([self.lane], seen, self.clock.seconds())
        return found

    def after(self, seconds: float) -> PartitionHealth:
        for _ in range(int(seconds)):
            self.clock.turn(1)
            found = self.health()
        return found


@pytest.fixture
def world() -> World:
    return World()


def test_a_drained_partition_is_idle_however_long(world: World) -> None:
    for _ in range(100):
        world.clock.turn(1)
        world.fetched(10, 10)
        found = world.health()
    assert (found.state, found.lag, found.seconds) == ("idle", 0, 0)


def test_control_records_at_the_end_are_no_lag(world: World) -> None:
    world.fetched(next_offset=12, end=12)  # 10 and 11 are control records: nothing comes of them
    assert (world.health().lag, world.health().state) == (0, "idle")


def test_lag_without_progress_is_stuck_after_a_while(world: World) -> None:
    world.lane.idle = False
    world.fetched(25, 30)
    assert (world.health().state, world.health().lag) == ("working", 20)
    assert world.after(60).state == "working"
    found = world.after(1)
    assert found.state == "stuck"
    assert found.words() == "usage[2] at 10, 20 behind, no progress for 61 s"
    world.worker.waiting_for = "rule book 7"
    assert world.after(1).words().endswith("no progress for 62 s, waits for rule book 7")


def test_progress_makes_it_well_again(world: World) -> None:
    world.lane.idle = False
    world.fetched(25, 30)
    world.after(80)
    world.worker.position = 11
    assert (world.health().state, world.health().seconds) == ("working", 0)


def test_a_broker_that_does_not_answer_is_noticed_though_there_is_no_lag(world: World) -> None:
    world.fetched(10, 10)
    assert world.after(2).seconds == 0
    found = world.after(8)
    assert (found.state, found.words()) == ("idle", "usage[2] at 10: Kafka has not answered for 10 s")
    assert world.after(51).state == "stuck"


def test_folding_the_log_is_progress_of_an_opening(world: World) -> None:
    world.lane.opened = False
    for _ in range(90):
        world.folded += 1000
        found = world.after(1)
    assert (found.state, found.lag) == ("opening", None)
    assert world.after(61).state == "stuck"


def test_a_partition_that_came_back_begins_anew(world: World) -> None:
    world.lane.idle = False
    world.fetched(25, 30)
    world.after(80)
    world.lane = FakeLane(world.worker)
    assert world.health().state == "working"


def health(**changes: Any) -> PartitionHealth:
    known: dict[str, Any] = {
        "topic": "usage",
        "partition": 2,
        "state": "idle",
        "position": 10,
        "end": 12,
        "lag": 0,
        "seconds": 0.0,
        "waiting_for": "",
    }
    return PartitionHealth(**{**known, **changes})


def test_metrics_name_stage_topic_and_partition() -> None:
    figures = {"records": 7, "decide_seconds": 0.5, "state_rows": 3, "watermark_us": 5_000_000, "charged": 6}
    text = Metrics("payers", lambda: [Scraped(health(state="stuck", lag=4), figures)]).text()
    where = 'partition="2",stage="payers",topic="usage"'
    for line in (
        f"nanotally_position{{{where}}} 10.0",
        f"nanotally_lag_records{{{where}}} 4.0",
        f"nanotally_stuck{{{where}}} 1.0",
        f"nanotally_state_rows{{{where}}} 3.0",
        f"nanotally_watermark_seconds{{{where}}} 5.0",
        f"nanotally_records_total{{{where}}} 7.0",
        f"nanotally_decide_seconds_total{{{where}}} 0.5",
        f'nanotally_counted_total{{name="charged",{where}}} 6.0',
    ):
        assert line in text.splitlines()


def test_metrics_leave_out_what_is_not_known_yet() -> None:
    text = Metrics("payers", lambda: [Scraped(health(lag=None), {"watermark_us": LONG_AGO})]).text()
    assert "nanotally_lag_records{" not in text
    assert "nanotally_watermark_seconds{" not in text


async def no_seal() -> str:
    raise AssertionError("nothing is sealed")


def test_a_partition_gets_a_tick_for_each_interval_in_which_nothing_else_came() -> None:
    sent: list[tuple[int, bytes]] = []

    async def send(partition: int, value: bytes) -> bool:
        sent.append((partition, value))
        return True

    async def scenario() -> None:
        ticks = Ticks(send, no_seal)
        await ticks.round([health(position=10)])  # was it quiet before? not known
        await ticks.round([health(position=10)])
        assert sent == [(2, tick(2, 10))]
        await ticks.round([health(position=11)])  # its own tick was all that came
        assert sent[1:] == [(2, tick(2, 11))]
        await ticks.round([health(position=15)])  # uses came
        await ticks.round([health(position=15, state="working")])
        await ticks.round([health(position=15)])
        assert len(sent) == 2
        await ticks.round([health(position=15), health(topic="charges", partition=3)])
        assert sent[2:] == [(2, tick(2, 15))]

    asyncio.run(scenario())


def test_a_sealed_topic_gets_one_probe_a_round_and_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[int] = []
    sealed = True

    async def send(partition: int, value: bytes) -> bool:
        sent.append(partition)
        return not sealed

    async def why_sealed() -> str:
        return "it goes on elsewhere"

    async def scenario() -> None:
        nonlocal sealed
        ticks = Ticks(send, why_sealed)
        quiet = [health(partition=partition, position=10) for partition in range(3)]
        for _ in range(4):
            await ticks.round(quiet)
        assert sent == [0, 0, 0]
        assert caplog.messages == ["it goes on elsewhere"]
        sealed = False
        await ticks.round(quiet)
        assert sent[3:] == [0, 1, 2]
        assert caplog.messages[1:] == ["usage takes records again: ticks go on"]
        sealed = True
        await ticks.round([health(partition=0, position=11)])
        assert caplog.messages[2:] == ["it goes on elsewhere"]

    asyncio.run(scenario())
