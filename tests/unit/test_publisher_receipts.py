"""A use is found in the ledger by its offset, however long the ledger and wherever a chunk was cut."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nanotally.schemas import codec
from nanotally.streams.publisher_receipts import Found, find, reaches

CHUNK = {
    "stage": "payers",
    "input_partition": 0,
    "next_n": 0,
    "watermark_us": 0,
    "closed_to_us": 0,
    "cursor": None,
    "book_number": 0,
    "book_hash": "",
    "records": 0,
    "counts": {},
    "sums": {},
    "duplicates": [],
    "source_watermarks": {},
}


def chunk(next_offset: int, **more: Any) -> bytes:
    return codec.encode_one("Chunk", CHUNK | {"next_offset": next_offset} | more)


def charge(usage_offset: int, n: int = 0, outcome: str = "charged") -> bytes:
    record: dict[str, Any] = {
        "event": None,
        "usage_partition": 0,
        "usage_offset": usage_offset,
        "n": n,
        "payer": "p",
        "recorded_at": 0,
        "booked_at": 0,
        "late": False,
        "flags": "",
        "outcome": outcome,
        "reason": "",
        "currency": "USD",
        "paid_nanos": 0,
        "book_number": 0,
        "content_hash": 0,
        "lines": [],
    }
    return codec.encode_one("Charge", record)


def control(usage_offset: int) -> bytes:
    record = {"usage_partition": 0, "usage_offset": usage_offset, "recorded_at": 0, "control_id": "c", "kind": "tick"}
    return codec.encode_one("ControlTaken", record | {"at": None, "book_number": None, "book_hash": None})


def reject(offset: int) -> bytes:
    record = {"reason": "future", "detail": "d", "topic": "usage", "partition": 0, "offset": offset}
    return codec.encode_one("Reject", record | {"recorded_at": 0, "fingerprint": "", "key": None, "value": None})


class MemoryLog:
    """A partition whose transactions end with a marker that takes an offset, as Kafka's do."""

    def __init__(self, *transactions: list[bytes], first: int = 0) -> None:
        self.records: list[tuple[int, bytes]] = []
        self.first = self.end = first
        self.reads = 0
        for values in transactions:
            self.commit(values)

    def commit(self, values: list[bytes]) -> None:
        self.records += [(self.end + i, value) for i, value in enumerate(values)]
        self.end += len(values) + 1

    async def bounds(self) -> tuple[int, int]:
        return self.first, self.end

    async def read(self, offset: int, wait_s: float) -> list[tuple[int, bytes]]:
        self.reads += 1
        return [record for record in self.records if record[0] >= offset][:100]


class Clock:
    """Each look at it takes a tenth of a second."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 0.1
        return self.now_s


def found(ledger: MemoryLog, usage_offset: int, rejects: MemoryLog | None = None) -> Found | None:
    return asyncio.run(find(ledger, rejects or MemoryLog(), usage_offset, Clock(), 1.0))


def test_a_charge_is_found_in_the_newest_chunk() -> None:
    ledger = MemoryLog([charge(0), charge(1), chunk(2)], [charge(2), chunk(3)])
    result = found(ledger, 2)
    assert result is not None
    assert [c["usage_offset"] for c in result.charges] == [2]
    assert result.chunk is not None and result.chunk["next_offset"] == 3


def test_every_charge_of_a_long_ledger_is_found_in_few_reads() -> None:
    ledger = MemoryLog(*[[charge(10 * k + i) for i in range(10)] + [chunk(10 * k + 10)] for k in range(500)], first=77)
    for usage_offset in (0, 1, 9, 10, 2499, 2500, 4989, 4998, 4999):
        ledger.reads = 0
        result = found(ledger, usage_offset)
        assert result is not None and [c["usage_offset"] for c in result.charges] == [usage_offset]
        assert ledger.reads < 20


def test_charges_of_a_close_that_was_cut_are_found_on_both_sides_of_the_cut() -> None:
    due = [charge(5, n, "due") for n in range(4)]
    ledger = MemoryLog(
        [charge(4), chunk(5)], [*due[:2], chunk(5, next_n=2, cursor="[1]")], [*due[2:], charge(5, 4), chunk(6)]
    )
    result = found(ledger, 5)
    assert result is not None and [c["n"] for c in result.charges] == [0, 1, 2, 3, 4]
    # Halving is right wherever it looks only if what it asks for is false up to some record and then true.
    flags = [reaches(value, 5) for _, value in ledger.records]
    assert flags == [False, False, True, True, True, True, True, True, True]


def test_a_duplicate_is_told_by_its_chunk() -> None:
    result = found(MemoryLog([charge(0), chunk(2, duplicates=[1])]), 1)
    assert result is not None and result.duplicate and not result.charges


def test_a_reject_is_found_in_its_own_topic() -> None:
    rejects = MemoryLog([reject(1)], [reject(4), reject(6)])
    ledger = MemoryLog([charge(0), chunk(2)], [charge(2), charge(3), charge(5), chunk(7)])
    for offset in (1, 4, 6):
        result = found(ledger, offset, rejects)
        assert result is not None and result.reject is not None and result.reject["offset"] == offset


def test_a_control_is_found() -> None:
    result = found(MemoryLog([charge(0), control(1), chunk(2)]), 1)
    assert result is not None and len(result.controls) == 1


def test_what_is_not_rated_yet_is_waited_for() -> None:
    ledger = MemoryLog([charge(0), chunk(1)])
    read = ledger.read

    async def later(offset: int, wait_s: float) -> list[tuple[int, bytes]]:
        if ledger.reads == 3:
            ledger.commit([charge(1), chunk(2)])
        return await read(offset, wait_s)

    ledger.read = later  # type: ignore[method-assign]
    result = found(ledger, 1)
    assert result is not None and [c["usage_offset"] for c in result.charges] == [1]


@pytest.mark.parametrize("ledger", [MemoryLog(), MemoryLog([charge(0), chunk(1)]), MemoryLog([charge(0), charge(1)])])
def test_what_no_chunk_record_covers_is_not_told(ledger: MemoryLog) -> None:
    assert found(ledger, 1) is None
