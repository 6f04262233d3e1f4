"""What an insert does that its writer does not see to its end: the same on a real ClickHouse and in the simulator."""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pytest

from nanotally.sinks.client import Address, ClickHouse, patiently
from nanotally.sinks.http_insert import _stream
from nanotally.sinks.migrate import migrate
from nanotally.sinks.tables import by_months
from nanotally.sinks.writer import SETTINGS, ClickHouseWarehouse
from nanotally.streams.errors import Transient
from tests.contract.test_warehouse import InSimulation, SimulatedWarehouse, charges
from tests.simulation.warehouse import Link
from tests.support.services import ClickHouseAddress, OwnServices

ROWS = range(6000)  # so many that the real server begins before it has read them all
MONTH_US = 31 * 86_400_000_000
MONTHS = 60
WITHIN_S = 60.0
USUAL = "nanotally/{database}/charges/0/charges"


class Begun(Protocol):
    """An insert that has begun and waits for the rest of what its writer sends."""

    def end(self) -> bool:
        """The rest comes; True where the rows landed."""
        ...


class Subject(Protocol):
    def begin(self, batch: pa.RecordBatch, query_id: str = USUAL) -> Begun: ...

    def warehouse(self) -> Any: ...

    def offsets(self) -> list[int]: ...


class InClickHouse:
    def __init__(self, address: Address) -> None:
        self.address = address

    def begin(self, batch: pa.RecordBatch, query_id: str = USUAL) -> Begun:
        return HalfSent(self.address, batch, query_id.format(database=self.address.database))

    def warehouse(self) -> ClickHouseWarehouse:
        return ClickHouseWarehouse(self.address)

    def offsets(self) -> list[int]:
        clickhouse = ClickHouse(self.address)
        try:
            return sorted(offset for (offset,) in clickhouse.query("SELECT kafka_offset FROM charges"))
        finally:
            clickhouse.close()


class HalfSent:
    """Half of the bytes of an insert, over HTTP."""

    def __init__(self, address: Address, batch: pa.RecordBatch, query_id: str) -> None:
        warehouse = ClickHouseWarehouse(address)
        sql = f"{warehouse._insert('charges', batch, 'charges', 0)} FORMAT ArrowStream"
        warehouse.close()
        self.body = bytes(_stream(batch))
        parameters = {"database": address.database, "query": sql, "query_id": query_id, **SETTINGS}
        host, _, port = address.http.rpartition(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=WITHIN_S)
        self.connection.putrequest("POST", f"/?{urlencode(parameters)}")
        self.connection.putheader("Content-Length", str(len(self.body)))
        self.connection.endheaders()
        self.connection.send(self.body[: len(self.body) // 2])
        asked = ClickHouse(address)
        running = "SELECT 1 FROM system.processes WHERE query_id = {id:String}"
        while not asked.query(running, {"id": query_id}):
            pass
        asked.close()

    def end(self) -> bool:
        try:
            self.connection.send(self.body[len(self.body) // 2 :])
            answer = self.connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            self.connection.close()
        return answer.status == http.client.OK


class Simulated(InSimulation):
    def begin(self, batch: pa.RecordBatch, query_id: str = USUAL) -> Begun:
        return Gated(self, batch, query_id.format(database="nanotally"))

    def offsets(self) -> list[int]:
        return [offset for (offset,) in self.values("charges", "kafka_offset")]


class Gated:
    """An insert of the simulated server behind a closed gate. Everything else there passes: it has its own."""

    def __init__(self, subject: Simulated, batch: pa.RecordBatch, query_id: str) -> None:
        self.loop = subject.world.loop
        self.gate = subject.server.gate = asyncio.Event()
        link = Link(subject.process, subject.server, native=False)
        over: Any = link.warehouse
        over._query_id = lambda *_: query_id
        self.task = self.loop.create_task(link.elsewhere(link.warehouse.write, "charges", batch, "charges", 0))
        while query_id not in subject.server.running:
            self.loop.run_until_complete(asyncio.sleep(0.01))
        subject.server.gate = asyncio.Event()
        subject.server.gate.set()

    def end(self) -> bool:
        self.gate.set()
        try:
            self.loop.run_until_complete(self.task)
        except Transient:
            return False
        return True


@pytest.fixture(params=["simulated", pytest.param("clickhouse", marks=pytest.mark.services)])
def subject(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "simulated":
        simulated = Simulated()
        yield simulated
        simulated.close()
        return
    server: ClickHouseAddress = request.getfixturevalue("clickhouse")
    database: str = request.getfixturevalue("database")
    migrate(server.native, database)
    yield InClickHouse(Address(server.native, database, http=server.http))


def test_while_an_insert_runs_another_with_its_query_id_is_refused(subject: Subject) -> None:
    begun = subject.begin(charges(ROWS))
    with pytest.raises(Transient, match=r"same query id.*code 216"):
        subject.warehouse().write("charges", charges(ROWS), "charges", 0)
    assert begun.end()
    assert subject.offsets() == list(ROWS)


def test_a_late_insert_lands_after_its_writer_was_given_up_and_is_left_out_of_the_next(subject: Subject) -> None:
    begun = subject.begin(charges(ROWS))
    assert subject.offsets() == []
    assert begun.end()
    subject.warehouse().write("charges", charges(range(len(ROWS) + 9)), "charges", 0)
    assert subject.offsets() == list(range(len(ROWS) + 9))


def test_an_insert_reads_which_rows_are_there_when_it_begins(subject: Subject) -> None:
    """So beside another one, under another query id, it writes rows twice: that is what the fixed id prevents."""
    begun = subject.begin(charges(ROWS), query_id="another")
    subject.warehouse().write("charges", charges(ROWS), "charges", 0)
    assert begun.end()
    assert subject.offsets() == sorted([*ROWS, *ROWS])


def test_taking_a_partition_over_ends_what_runs_there(subject: Subject) -> None:
    begun = subject.begin(charges(ROWS))
    successor = subject.warehouse()
    successor.open("charges", 0)
    assert not begun.end()
    patiently(lambda: successor.write("charges", charges(range(9)), "charges", 0), "writing", within_s=WITHIN_S)
    assert subject.offsets() == list(range(9))


def in_months() -> pa.RecordBatch:
    batch = charges(range(MONTHS * 20))
    start = batch.column("booked_at").view(pa.int64()).to_numpy()[0]
    booked_at = pa.array(start - np.arange(len(batch)) % MONTHS * MONTH_US).view(batch.column("booked_at").type)
    columns = [booked_at if name == "booked_at" else batch.column(name) for name in batch.schema.names]
    whole = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
    assert len(list(by_months("charges", whole))) == 1, "it must be one insert"
    return whole


def test_a_server_that_dies_leaves_an_insert_in_part_and_the_next_try_adds_the_rest() -> None:
    subject = Simulated()
    link = Link(subject.process, subject.server, native=False)

    async def cut_off() -> None:
        task = subject.world.loop.create_task(
            link.elsewhere(link.warehouse.write, "charges", in_months(), "charges", 0)
        )
        while not subject.server.tables["charges"].rows:
            await asyncio.sleep(0.001)
        subject.server.go_down()
        with pytest.raises(Transient):
            await task
        subject.server.up = True

    subject.world.loop.run_until_complete(cut_off())
    assert 0 < len(subject.offsets()) < MONTHS * 20
    assert len(subject.offsets()) % 20 == 0, "months are there wholly or not at all"
    SimulatedWarehouse(link).write("charges", in_months(), "charges", 0)
    assert subject.offsets() == list(range(MONTHS * 20))
    subject.close()


def test_a_real_server_that_is_killed_does_so_too(own_services: OwnServices) -> None:
    native, over_http = own_services.addresses.clickhouse.native, own_services.addresses.clickhouse.http
    for n in range(12):  # until one is hit in the middle
        address = Address(native, f"cut_off_{n}", http=over_http)
        patiently(lambda d=address.database: migrate(native, d), "migrating", within_s=WITHIN_S)  # type: ignore[misc]
        subject = InClickHouse(address)
        failed = threading.Event()
        writing = threading.Thread(target=write_once, args=(subject, failed))
        writing.start()
        deadline = time.monotonic() + WITHIN_S
        while not subject.offsets() and time.monotonic() < deadline:
            pass
        own_services.kill("clickhouse")
        writing.join()
        there = patiently(subject.offsets, "asking", within_s=WITHIN_S)
        if len(there) < MONTHS * 20:
            break
    assert failed.is_set()
    assert 0 < len(there) < MONTHS * 20
    assert len(there) % 20 == 0, "months are there wholly or not at all"
    successor = subject.warehouse()
    patiently(lambda: successor.write("charges", in_months(), "charges", 0), "writing", within_s=WITHIN_S)
    assert patiently(subject.offsets, "asking", within_s=WITHIN_S) == list(range(MONTHS * 20))
    successor.close()


def write_once(subject: InClickHouse, failed: threading.Event) -> None:
    warehouse = subject.warehouse()
    try:
        warehouse.write("charges", in_months(), "charges", 0)
    except Transient:
        failed.set()
    finally:
        warehouse.close()
