"""A redriving that is killed, or wakes up after another one took over: nothing is charged twice, nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanotally.schemas import codec
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.errors import ExitCode
from tests.bench.installation import now_us
from tests.support.installed import Installed, installed, until
from tests.support.services import Addresses
from tests.support.stopped_redrive import STOPPED
from tests.support.topics import publish, read_committed
from tests.support.worker_process import WorkerProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PARTITIONS = 4
COUNT = 600  # more than one transaction
COMMAND = "tests.support.stopped_redrive rejects redrive --reason wrong_partition"


@pytest.fixture(scope="module")
def running(services: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with installed(services, tmp_path_factory.mktemp("redrives")) as found:
        for stage in ("payers", "accounts", "sink"):
            found.start(stage, stage)
        yield found


def reject(running: Installed, batch: str) -> list[str]:
    """So many uses in wrong partitions, once all are rejected; their event ids."""
    values: dict[int, list[bytes]] = {}
    ids = [f"{batch}-{i}" for i in range(COUNT)]
    for event_id in ids:
        use = {
            "event_id": event_id, "occurred_at": now_us() - 1_000_000, "product": "news", "payer": event_id,
            "creator": "cleo", "item": "/a", "meter": "page.view", "quantity": 1, "scale": 0, "session": None,
            "duration_us": None, "attributes": {},
        }  # fmt: skip
        wrong = (partition_of(event_id.encode(), PARTITIONS) + 1) % PARTITIONS
        values.setdefault(wrong, []).append(codec.encode_one("UsageEvent", use))
    asyncio.run(publish(running.environment.kafka, running.environment.topic("usage"), values))
    until("all are rejected", lambda: left(running) == COUNT)
    return ids


def left(running: Installed) -> int:
    code, out, err = running.run("rejects", "list", "--left", "--limit", "0", "--json")
    assert code == 0, err
    return sum(json.loads(out)["counts"].values())


def stopped(running: Installed, where: str, go: Path) -> WorkerProcess:
    """A real process that redrives and stands still at the place."""
    process = running.start_worker(f"{go.parent.name} {where}", COMMAND, STOPS=where, GO=str(go))
    until("it stands still", lambda: STOPPED in process.log)
    return process


def charged(running: Installed, ids: list[str]) -> Counter[str]:
    """How often each use is in the ledger."""
    topic = running.environment.topic("charges")
    found: Counter[str] = Counter()
    for values in read_committed(running.environment.kafka, topic, PARTITIONS).values():
        for value in values:
            name, record = codec.decode_one(value)
            if name == "Charge" and record["outcome"] == "charged":
                found[record["event"]["event_id"]] += 1
    return Counter({event_id: found[event_id] for event_id in ids})


def all_is_right(running: Installed, ids: list[str]) -> None:
    """Each use is charged once, and was put in once."""
    once = dict.fromkeys(ids, 1)
    until("all are charged", lambda: sum(charged(running, ids).values()) >= COUNT)
    assert charged(running, ids) == once
    usage = read_committed(running.environment.kafka, running.environment.topic("usage"), PARTITIONS)
    records = (codec.decode_one(value) for values in usage.values() for value in values)
    came = Counter(record["event_id"] for name, record in records if name == "UsageEvent")
    assert {event_id: came[event_id] for event_id in ids} == dict.fromkeys(ids, 2)  # as it was, and put in again
    until("nothing is left", lambda: left(running) == 0)  # a transaction's parts are to be seen one after the other
    assert "dead letters: each redriven once" in running.reconcile()


@pytest.mark.parametrize(("where", "again"), [("sent", COUNT), ("told", COUNT), ("committed", COUNT - 500)])
def test_a_redriving_that_is_killed_goes_on_when_it_is_run_again(
    running: Installed, tmp_path: Path, where: str, again: int
) -> None:
    ids = reject(running, where)
    stopped(running, where, tmp_path / "go").kill()
    until("what was committed is to be seen", lambda: left(running) == again)
    code, _, err = running.run("rejects", "redrive", "--reason", "wrong_partition")
    assert (code, err) == (0, f"{again} redriven\n")
    all_is_right(running, ids)


@pytest.mark.parametrize("where", ["sent", "told"])
def test_one_that_wakes_up_after_another_took_over_can_no_longer_write(
    running: Installed, tmp_path: Path, where: str
) -> None:
    ids = reject(running, f"{where}-zombie")
    zombie = stopped(running, where, tmp_path / "go")
    assert running.run("rejects", "redrive", "--reason", "wrong_partition")[2] == f"{COUNT} redriven\n"
    (tmp_path / "go").touch()
    assert zombie.wait() == ExitCode.UNAVAILABLE
    assert "run it again: nothing is done twice" in zombie.log
    all_is_right(running, ids)
