"""Writers and servers killed in the middle of inserts: each record is in ClickHouse once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from nanotally.sinks.client import Address, ClickHouse, patiently
from nanotally.sinks.migrate import migrate
from tests.support import children
from tests.support.services import ClickHouseAddress, OwnServices
from tests.support.sink_process import CHARGES, CHUNKS, PARTITIONS, RECORDS, paid_nanos
from tests.support.worker_process import ROOT, WITHIN_S, until

# Where sinks are killed, each in an insert of its own: they write two side by side, of PARTITIONS times CHUNKS in all.
KILLS = ("half:1", "whole:1", "half:2", "whole:2", "half:1", "whole:2")
TOTAL = CHARGES * CHUNKS * PARTITIONS

Start = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts sinks; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start_one(address: Address, *stops: str) -> subprocess.Popen[str]:
        where = (address.native, address.http, address.database)
        command = [sys.executable, "-m", "tests.support.sink_process", *where, *stops]
        started.append(children.start(command, cwd=ROOT, stderr=subprocess.DEVNULL))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.wait()


def asked(address: Address, sql: str) -> list[tuple[object, ...]]:
    """Rows of a query, also while the server is coming back."""

    def ask() -> list[tuple[object, ...]]:
        clickhouse = ClickHouse(address)
        try:
            return clickhouse.query(sql, max_execution_time=60)
        finally:
            clickhouse.close()

    return patiently(ask, "asking", within_s=WITHIN_S)


def until_in_mid_insert(sink: subprocess.Popen[str]) -> None:
    """Waits until the sink stands still, with an insert that is sent, in part or whole, and not answered."""
    until("it stands still in the middle of an insert", lambda: stands_still(sink))


def stands_still(sink: subprocess.Popen[str]) -> bool:
    """Whether it has stopped itself."""
    assert sink.poll() is None, "it has ended"
    return Path(f"/proc/{sink.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def all_is_exact(address: Address) -> None:
    """Every offset of the ledger once; sums, projections and positions agree."""
    per_partition = asked(
        address,
        "SELECT kafka_partition, count(), uniqExact(kafka_offset), min(kafka_offset), max(kafka_offset) FROM charges "
        "GROUP BY kafka_partition ORDER BY kafka_partition",
    )
    n = CHARGES * CHUNKS
    assert per_partition == [(partition, n, n, 0, RECORDS * CHUNKS - 2) for partition in range(PARTITIONS)]
    total = Decimal(paid_nanos()).scaleb(-9)
    without = "SETTINGS optimize_use_projections = 0, optimize_use_implicit_projections = 0"
    assert asked(address, f"SELECT sum(paid) FROM charges {without}") == [(total,)]
    assert asked(address, "SELECT sum(uses), sum(paid) FROM revenue_by_hour") == [(TOTAL, total)]
    assert asked(address, "SELECT sum(earned) FROM earnings_by_day") == [(total,)]
    assert (
        asked(address, "SELECT max(next_offset), argMax(records, next_offset) FROM chunks GROUP BY kafka_partition")
        == [(RECORDS * CHUNKS, n)] * PARTITIONS
    )


def test_a_sink_killed_in_mid_insert_again_and_again_writes_each_record_once(
    clickhouse: ClickHouseAddress, database: str, start: Start
) -> None:
    migrate(clickhouse.native, database)
    address = Address(clickhouse.native, database, http=clickhouse.http)
    for stop in KILLS:
        sink = start(address, stop)
        until_in_mid_insert(sink)
        sink.kill()
        sink.wait()
    last = start(address)
    assert last.wait(WITHIN_S) == 0
    all_is_exact(address)


def test_two_sinks_at_the_same_partitions_write_each_record_once(
    clickhouse: ClickHouseAddress, database: str, start: Start
) -> None:
    """As for a moment after a rebalance: both think that the partitions are theirs."""
    migrate(clickhouse.native, database)
    address = Address(clickhouse.native, database, http=clickhouse.http)
    sinks = [start(address), start(address)]
    assert [sink.wait(WITHIN_S) for sink in sinks] == [0, 0]
    all_is_exact(address)


@pytest.mark.slow
def test_a_server_killed_in_mid_insert_loses_nothing(own_services: OwnServices, start: Start) -> None:
    """The sink waits until the server is back, and goes on by itself."""
    server = own_services.addresses.clickhouse
    migrate(server.native, "killed")
    address = Address(server.native, "killed", http=server.http)
    sink = start(address, "half:2", "whole:5", "half:8")
    for _ in range(3):
        until_in_mid_insert(sink)
        own_services.kill("clickhouse")
        sink.send_signal(signal.SIGCONT)
    assert sink.wait(WITHIN_S) == 0
    all_is_exact(address)
