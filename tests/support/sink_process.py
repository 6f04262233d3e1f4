"""A sink as a process of its own, over a ledger that it makes up: to be killed.

Usage: python -m tests.support.sink_process NATIVE HTTP DATABASE [STOP...]. Writes all of LEDGER from its position on
and ends. A STOP is half:N or whole:N: it stops itself (SIGSTOP) when half, or all, of its Nth insert is sent and none
of it answered."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import sys
from functools import cache
from itertools import count
from typing import Any

import numpy as np

from nanotally.schemas import codec
from nanotally.sinks.client import Address
from nanotally.sinks.sink import SinkPartition
from nanotally.sinks.writer import ClickHouseWarehouse
from nanotally.streams.domain.records import RawChunk
from tests.support.sink_records import NOON_US, charge, chunk, line, share

PARTITIONS = 2
CHUNKS = 8
CHARGES = 10_000  # in each chunk, over three months, so that an insert lands in three parts
DISTINCT = 1_000
MONTH_US = 31 * 86_400_000_000
RECORDS = CHARGES + 1  # the chunk record is the last


@cache
def _values() -> list[bytes]:
    charges = [
        charge(n, [line(n, [share("platform", n - n * 9 // 10), share(f"creator:{n % 7}", n * 9 // 10)])],
               booked_at=NOON_US + n % 3 * MONTH_US + n)
        for n in range(DISTINCT)
    ]  # fmt: skip
    datums = [codec.encode_one("Charge", one) for one in charges]
    return [*datums * (CHARGES // DISTINCT), codec.encode_one("Chunk", chunk())]


def ledger(partition: int, number: int) -> RawChunk:
    """The chunk of that number of a partition."""
    offsets = np.arange(number * RECORDS, (number + 1) * RECORDS, dtype=np.int64)
    return RawChunk("charges", partition, offsets, offsets, [None] * RECORDS, _values())


def paid_nanos() -> int:
    """What all charges of all partitions sum to."""
    return sum(range(DISTINCT)) * (CHARGES // DISTINCT) * CHUNKS * PARTITIONS


async def write(address: Address, partition: int) -> None:
    """Takes one partition over and writes it to its end."""
    sink = SinkPartition("charges", partition, ClickHouseWarehouse(address))
    await sink.open()
    for number in range(CHUNKS):
        await sink.process(ledger(partition, number))
    await sink.close()


class StoppingConnection(http.client.HTTPConnection):
    """Stops the process in the middle of inserts."""

    stops: frozenset[str] = frozenset()
    numbers = count(1)

    def send(self, data: Any) -> None:
        if not isinstance(data, memoryview):  # a head
            super().send(data)
            return
        number, half = next(self.numbers), len(data) // 2
        for how, part in (("half", data[:half]), ("whole", data[half:])):
            super().send(part)
            if f"{how}:{number}" in self.stops:
                os.kill(os.getpid(), signal.SIGSTOP)


async def _all(address: Address) -> None:
    await asyncio.gather(*(write(address, partition) for partition in range(PARTITIONS)))


if __name__ == "__main__":
    native, over_http, database, *stops = sys.argv[1:]
    if stops:
        StoppingConnection.stops = frozenset(stops)
        http.client.HTTPConnection = StoppingConnection  # type: ignore[misc]
    asyncio.run(_all(Address(native, database, http=over_http)))
