"""Writers and servers killed in the middle of inserts: each record is in ClickHouse once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from nanotally.sinks.client import Address, ClickHouse, patiently
from nanotally.sinks.migrate import migrate
from nanotally.streams.errors import Transient
from tests.support.services import ClickHouseAddress, OwnServices
from tests.support.sink_process import CHARGES, CHUNKS, PARTITIONS, RECORDS, paid_nanos

KILLS = 6
WITHIN_S = 120.0
TOTAL = CHARGES * CHUNKS * PARTITIONS

Start = Callable[[Address], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts sinks; what still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start_one(address: Address) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-m", "tests.support.sink_process", address.native, address.http, address.database]
        started.append(subprocess.Popen(arguments, stderr=subprocess.DEVNULL))
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


def until_in_mid_insert(address: Address, sink: subprocess.Popen[bytes], rows: int) -> bool:
    """Waits until at least so many rows are there and an insert runs; False when the sink is done before that."""
    running = f"SELECT count() FROM system.processes WHERE query_id LIKE 'nanotally/{address.database}/%/charges'"
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        if sink.poll() is not None:
            return False
        if asked(address, f"SELECT (SELECT count() FROM charges) >= {rows} AND ({running}) > 0") == [(1,)]:
            return True
    raise Transient(f"no insert after {rows} rows within {WITHIN_S} s")


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
    killed = 0
    for number in range(KILLS):
        sink = start(address)
        if until_in_mid_insert(address, sink, number * TOTAL // (KILLS + 1)):
            sink.kill()
            killed += 1
        sink.wait()
    last = start(address)
    assert last.wait(WITHIN_S) == 0
    assert killed >= KILLS // 2
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
    sink = start(address)
    for number in range(3):
        if until_in_mid_insert(address, sink, number * TOTAL // 4):
            own_services.kill("clickhouse")
    assert sink.wait(WITHIN_S) == 0
    all_is_exact(address)
