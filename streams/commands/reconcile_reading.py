"""Reads what a reconciliation compares, in an order that makes it whole while the stages go on: once they have taken
what there was, what the accounts wrote and the ledger, each up to a chunk record, then what must be there by then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from nanotally.schemas import codec
from nanotally.streams.commands.positions import StagePosition, accounts_positions, payers_positions
from nanotally.streams.domain.reconciling import Check
from nanotally.streams.domain.reconciling_ledger import LedgerFold
from nanotally.streams.domain.reconciling_payers import Beside
from nanotally.streams.domain.reconciling_records import frame
from nanotally.streams.domain.reconciling_run import AccountsPartition, Material
from nanotally.streams.domain.reconciling_usage import KeptUsage
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.domain.windows import Calendar
from nanotally.streams.errors import NotFound
from nanotally.streams.publisher_ledger import Records, TopicReader

APPEAR_S = 10.0  # rows of a transaction are to be seen in all its topics within this time
RECORD_OF = {
    "rejects": "Reject",
    "payer_tallies": "Tally",
    "statements": "Statement",
    "account_tallies": "Tally",
    "payouts": "Payout",
    "earnings": "Earning",
    "redrives": "Redrive",
}


async def read(reader: TopicReader, books: list[RuleBook], wait_s: float) -> Material:
    """Everything, each partition up to its newest chunk record. wait_s: how long to wait for the payers' stage to take
    the uses that are there at the start, and for the accounts' stage to take the earnings of them. Raises Transient and
    NotFound as TopicReader."""
    until = asyncio.get_running_loop().time() + wait_s
    waiting_uses = await _caught_up(partial(payers_positions, reader), until)
    await decided(reader, "earnings", until)
    waiting_earnings = await _caught_up(partial(accounts_positions, reader), until)
    account_rows = await reader.read_all("account_tallies")
    chunks = {q: _last_chunk(records) for q, records in account_rows.items()}
    folds = await _fold_ledger(reader, books)
    counts = {p: fold.cut.chunk["counts"] if fold.cut else {} for p, fold in folds.items()}
    material = Material(books, folds, waiting_uses=waiting_uses, waiting_earnings=waiting_earnings)
    beside: dict[str, dict[int, pl.DataFrame]] = {}
    for topic in ("rejects", "payer_tallies", "statements"):
        wanted = {p: counts[p].get(f"rows.{topic}", 0) for p in folds}
        beside[topic] = await _frames(reader, topic, wanted, material)
    material.beside = {p: Beside(**{topic: beside[topic][p] for topic in beside}) for p in folds}
    payouts = {q: chunk[1]["counts"].get("rows.payouts", 0) if chunk else 0 for q, chunk in chunks.items()}
    paid_out = await _frames(reader, "payouts", payouts, material)
    for q, records in account_rows.items():
        chunk = chunks[q]
        end = 0 if chunk is None else chunk[0] + 1
        tallies = _frame("account_tallies", records, material.reading, end)
        material.accounts[q] = AccountsPartition(
            None if chunk is None else chunk[1],
            -1 if chunk is None else int(records.offsets[chunk[0]]),
            tallies,
            paid_out[q],
            len(records.values) - end,
        )
    material.earnings = await _earnings(reader, counts, material.reading)
    material.redrives = await _redrives(reader, material.reading)
    await _usage(reader, material)
    return material


async def _usage(reader: TopicReader, material: Material) -> None:
    """What `usage` still keeps of what was taken, and how much is in partitions of which there is no ledger."""
    taken = {p: fold.cut.chunk["next_offset"] if fold.cut else 0 for p, fold in material.folds.items()}
    bounds = await reader.bounds("usage")
    material.usage = {p: KeptUsage(p, *bounds[p], position) for p, position in taken.items() if p in bounds}
    ranges = {p: (first, min(end, taken.get(p, end))) for p, (first, end) in bounds.items()}
    async for piece in reader.stream("usage", ranges):
        if piece.partition in material.usage:
            material.usage[piece.partition].add(piece.offsets, piece.values)
        else:
            controls = codec.split_by_schema(piece.values).get("Control", ())
            material.added_uses += len(piece.values) - len(controls)


async def _redrives(reader: TopicReader, check: Check) -> pl.DataFrame | None:
    try:
        reader.partitions("redrives")
    except NotFound:  # an older release made no such topic
        return None
    return _frame("redrives", (await reader.read_all("redrives"))[0], check)


async def _caught_up(positions: Callable[[], Awaitable[Sequence[StagePosition]]], until: float) -> int:
    """Waits until a stage has taken all that is there now, or the time is up; gives how many records it has not taken,
    counted by offsets."""
    asked = await positions()
    target = {p.partition: p.end for p in asked}
    while waiting := sum(max(0, target[p.partition] - p.next_offset) for p in asked):
        if asyncio.get_running_loop().time() >= until:
            return waiting
        await asyncio.sleep(0.2)
        asked = await positions()
    return 0


async def decided(reader: TopicReader, topic: str, until: float) -> None:
    """Waits until what is written there now is committed or aborted, or the time is up: Kafka puts the marks of one
    commit into its partitions one after the other, so what is seen in one may not be seen in another yet."""
    written = await reader.written(topic)
    while asyncio.get_running_loop().time() < until:
        bounds = await reader.bounds(topic)
        if all(bounds[p][1] >= end for p, end in written.items()):
            return
        await asyncio.sleep(0.05)


def _last_chunk_of(values: list[bytes | None]) -> int | None:
    places = codec.split_by_schema(values).get("Chunk")
    return None if places is None or not len(places) else int(places[-1])


def _last_chunk(records: Records) -> tuple[int, dict[str, Any]] | None:
    """Place and content of the last chunk record."""
    place = _last_chunk_of(records.values)
    return None if place is None else (place, codec.decode_one(records.values[place])[1])


async def _fold_ledger(reader: TopicReader, books: list[RuleBook]) -> dict[int, LedgerFold]:
    settings = books[0].settings if books else None
    calendar = Calendar(settings.zone) if settings else None
    finest = settings.windows[0] if settings else ""
    bounds, kept = await reader.bounds("charges"), await reader.bounds("usage")
    folds = {p: LedgerFold(p, calendar, finest, kept[p][0] if p in kept else 0) for p in bounds}
    async for piece in reader.stream("charges", bounds):
        folds[piece.partition].add(piece.offsets, piece.values)
    return folds


async def _frames(
    reader: TopicReader, topic: str, wanted: Mapping[int, int], material: Material
) -> dict[int, pl.DataFrame]:
    """Rows of a topic by partition, once there are as many as wanted or no more come."""
    found = await _read_until(reader, topic, lambda r: all(len(r[p].values) >= n for p, n in wanted.items() if p in r))
    expired = [p for p, records in found.items() if records.first > 0]
    if expired:
        material.expired[topic] = expired
    return {p: _frame(topic, records, material.reading) for p, records in found.items()}


async def _earnings(reader: TopicReader, counts: Mapping[int, Mapping[str, int]], check: Check) -> pl.DataFrame:
    """All rows of earnings, once the sources' chunk records are covered."""
    wanted = sum(c.get("rows.earnings", 0) for c in counts.values())
    found = await _read_until(reader, "earnings", lambda r: sum(len(part.values) for part in r.values()) >= wanted)
    frames = [_frame("earnings", records, check) for records in found.values()]
    return pl.concat(frames)


async def _read_until(
    reader: TopicReader, topic: str, enough: Callable[[Mapping[int, Records]], bool]
) -> dict[int, Records]:
    loop = asyncio.get_running_loop()
    until = loop.time() + APPEAR_S
    found = await reader.read_all(topic)
    while not enough(found) and loop.time() < until:
        await asyncio.sleep(0.1)
        ends = await reader.bounds(topic)
        more = await reader.read_all(topic, {p: (found[p].end, end) for p, (_, end) in ends.items()})
        for p, records in more.items():
            found[p].extend(records)
    return found


def _frame(topic: str, records: Records, check: Check, end: int | None = None) -> pl.DataFrame:
    check.compared += len(records.values[:end])
    offsets = np.asarray(records.offsets[:end], dtype=np.int64)
    return frame(RECORD_OF[topic], topic, records.partition, offsets, records.values[:end], check)
