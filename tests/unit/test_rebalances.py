"""What the app and its consumer do when one rebalance comes on the heels of another."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import OffsetResetStrategy
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from nanotally.streams.environment import Environment
from nanotally.streams.pipeline.app import StageApp, build_app
from nanotally.streams.pipeline.knobs import Knobs
from nanotally.streams.pipeline.stage import Stage
from nanotally.streams.pipeline.transport import StageConsumer, _message

ZERO, ONE = TP("usage", 0), TP("usage", 1)
ROOT = Path(__file__).resolve().parents[2]


class Thread:
    """Stands for the thread that talks to Kafka; `meanwhile` happens while it seeks."""

    def __init__(self) -> None:
        self.strategy = OffsetResetStrategy.EARLIEST
        self.sought: list[dict[TP, int]] = []
        self.meanwhile: Any = None

    def on_gone(self, strategy: int) -> None:
        self.strategy = strategy

    async def seek_wait(self, positions: Mapping[TP, int]) -> None:
        self.sought.append(dict(positions))
        if self.meanwhile:
            await self.meanwhile()


class Consumer(StageConsumer):
    """The consumer without Faust around it."""

    def __init__(self, open_at: dict[TP, int], assigned: set[TP]) -> None:
        self.open_at, self.assigned = open_at, assigned
        self._thread = Thread()  # type: ignore[assignment]
        self.app = SimpleNamespace(positions=lambda tps: {tp: open_at[tp] for tp in tps if tp in open_at})  # type: ignore[assignment]

    def assignment(self) -> set[TP]:
        return self.assigned

    async def given_back(self) -> None:
        await self.on_partitions_revoked(self.assigned)


def sought(consumer: Consumer) -> tuple[list[dict[TP, int]], int]:
    asyncio.run(consumer.seek_to_committed())
    thread: Any = consumer._thread
    return thread.sought, thread.strategy


def test_after_every_partition_was_sought_records_that_are_gone_are_an_error() -> None:
    consumer = Consumer({ZERO: 7, ONE: 9}, {ZERO, ONE})
    assert sought(consumer) == ([{ZERO: 7, ONE: 9}], OffsetResetStrategy.NONE)


@pytest.mark.parametrize("still_open", [{}, {ZERO: 7}])
def test_partitions_that_were_given_back_before_they_were_sought_need_no_offset_yet(still_open: dict[TP, int]) -> None:
    """They get one when the rebalance that is under way is over; a group may not have committed any yet."""
    assert sought(Consumer(still_open, {ZERO, ONE})) == ([still_open], OffsetResetStrategy.EARLIEST)
    assert sought(Consumer({}, set()))[1] == OffsetResetStrategy.EARLIEST


def test_partitions_that_are_given_back_while_they_are_sought_need_no_offset_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def of_faust(self: Any, revoked: set[TP]) -> None:
        """Tells the app, which is not here."""

    monkeypatch.setattr(driver.Consumer, "on_partitions_revoked", of_faust)
    consumer = Consumer({ZERO: 7}, {ZERO})
    thread: Any = consumer._thread
    thread.meanwhile = consumer.given_back
    assert sought(consumer)[1] == OffsetResetStrategy.EARLIEST
    thread.meanwhile = None
    assert sought(consumer)[1] == OffsetResetStrategy.NONE  # the next rebalance


class Fetching(Consumer):
    """One whose fetch, of offset 7, ends at a moment of its own."""

    should_stop = False
    given_back_meanwhile = False

    async def _wait_next_records(self, timeout: float) -> Any:
        self._revocations += self.given_back_meanwhile
        return {ZERO: [SimpleNamespace(offset=7, timestamp=5, timestamp_type=1)]}, {ZERO}


@pytest.mark.parametrize(("flows", "given_back"), [(True, False), (False, False), (False, True), (True, True)])
def test_a_fetch_that_ends_between_the_seek_and_the_flow_is_fetched_again(flows: bool, given_back: bool) -> None:
    """It began before the rebalance, and took what the seek had made ready: dropped alone it would be missing."""
    consumer = Fetching({ZERO: 7}, {ZERO})
    consumer.app.consumer_generation_id = 3
    consumer.flow_active, consumer.given_back_meanwhile = flows, given_back

    async def scenario() -> list[int]:
        return [message.offset async for _, message in consumer.getmany(1.0)]

    handed_over = asyncio.run(scenario())
    thread: Any = consumer._thread
    assert (handed_over, thread.sought) == (([7], []) if flows and not given_back else ([], [{ZERO: 7}]))


@pytest.fixture
def app(tmp_path: Path) -> StageApp:
    async def no_worker(topic: str, partition: int) -> Any:
        raise AssertionError("nothing is opened here")

    stage = Stage("payers", ("usage",), no_worker)
    return build_app(stage, Environment(kafka="127.0.0.1:1"), Knobs(), tmp_path)


def test_a_fetch_of_an_older_generation_is_not_put_into_a_lane(app: StageApp, monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[tuple[TP, Any]] = []
    monkeypatch.setattr(app.lanes, "put", lambda tp, records: put.append((tp, records)))

    def event(generation: int) -> Any:
        message: ConsumerMessage = _message(
            ZERO, [SimpleNamespace(offset=3, timestamp=5, timestamp_type=1)], generation
        )
        return SimpleNamespace(message=message, value=message.value)

    before, after = event(4), event(5)
    app.consumer_generation_id = 4
    app.take(before)
    app.consumer_generation_id = 5
    app.take(before)
    app.take(after)
    assert put == [(ZERO, before.value), (ZERO, after.value)]


SAYS = """
import logging, pathlib, sys
from nanotally.streams.environment import Environment
from nanotally.streams.pipeline.app import build_app
from nanotally.streams.pipeline.knobs import Knobs
from nanotally.streams.pipeline.logs import set_up_logging
from nanotally.streams.pipeline.stage import Stage

set_up_logging("payers")
app = build_app(Stage("payers", ("usage",), None), Environment(kafka="127.0.0.1:1"), Knobs(), pathlib.Path(sys.argv[1]))
app.on_rebalance_end()  # the one before, late
app.on_rebalance_return()
app.log.warning("something else of Faust's")
logging.getLogger("nanotally.any").info("ours")
"""


def test_logs_do_not_tell_what_faust_has_forgotten_of_a_rebalance_that_was_overtaken(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAYS, str(tmp_path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
    assert [line.split(" payers ", 1)[1] for line in said.splitlines() if " payers " in line] == [
        "[^StageApp]: something else of Faust's",
        "ours",
    ]
    assert "sensor" not in said
