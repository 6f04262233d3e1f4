"""Uses without a price that are left, from the ledger: not redriven since by a control, and not mended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nanotally.schemas import catalog, codec
from nanotally.schemas.catalog import HEADER_BYTES
from nanotally.streams.commands.rejects_reading import Listing, Source, Wanted, ranges_since
from nanotally.streams.dead_letters import STILL_UNPRICED, UNPRICED, Again, Place, Told, carried
from nanotally.streams.domain.redriven import FLAG, offset_of
from nanotally.streams.environment import Environment
from nanotally.streams.installation import told_of
from nanotally.streams.publisher_ledger import TopicReader
from nanotally.streams.redriving import History, history, steps

_MARKS = (UNPRICED.encode(), FLAG.encode())


@dataclass(frozen=True)
class _Ledger:
    """What the ledger says. unpriced: records of uses that were not redriven, by place; taken: by partition the offset
    before which all of `usage` was taken."""

    unpriced: Mapping[Place, bytes]
    taken: Mapping[int, int]


async def listed_unpriced(environment: Environment, wanted: Wanted, limit: int) -> tuple[Listing, list[Again]]:
    """Uses without a price that are left, `limit` of them at most, and the controls that carry these once more."""
    known = (await asyncio.to_thread(told_of, environment.kafka, environment.prefix)).carried
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        done = await history(reader)
        ledger = await _read(reader, known, wanted.since_us)
        heads = {place: head for place in ledger.unpriced if (head := _head(done, place, ledger.taken)) is not None}
        hopeless = await _refused(reader, {head for place, head in heads.items() if head != place})
    listing = Listing()
    for place, head in heads.items():
        one = _source(place, ledger.unpriced[place], done)
        late_enough = wanted.since_us is None or one.recorded_at_us >= wanted.since_us
        if head not in hopeless and late_enough and wanted.has(one.told.fields):
            listing.take(one, limit)
    listing.keep(limit)
    uses = [carried(heads[one.place], UNPRICED, one.place[1], one.told.fields) for one in listing.found]
    return listing, uses


def _head(done: History, place: Place, taken: Mapping[int, int]) -> Place | None:
    """The last of the records that took an unpriced use over: of it something new can be put in. None where it is on
    its way still, or was mended and so is a record of its own."""
    followed = steps(done, place)
    if not followed:
        return place
    head = followed[-1][1].to
    on_its_way = head[1] >= taken.get(head[0], 0)
    return None if on_its_way or any(step.mended for _, step in followed) else head


async def _read(reader: TopicReader, known: Mapping[int, int], since_us: int | None) -> _Ledger:
    """Streams the ledger. Only records that have the words in them are decoded. known: by partition the offset before
    which uses were charged in the installation that this one follows."""
    unpriced: dict[Place, bytes] = {}
    newest: dict[int, bytes] = {}
    async for records in reader.stream("charges", await ranges_since(reader, "charges", since_us)):
        for value in records.values:
            writer = catalog.writer(value[:HEADER_BYTES]) if value else None
            if value is None or writer is None:
                continue
            if writer.name == "Chunk":
                newest[records.partition] = value
            elif writer.name == "Charge" and any(mark in value for mark in _MARKS):
                charge = codec.decode_one(value)[1]
                if charge["outcome"] == UNPRICED and charge["usage_offset"] >= known.get(records.partition, 0):
                    unpriced[records.partition, charge["usage_offset"]] = value
                elif (redriven := offset_of(charge["flags"])) >= 0:
                    unpriced.pop((records.partition, redriven), None)
    return _Ledger(unpriced, {p: codec.decode_one(value)[1]["next_offset"] for p, value in newest.items()})


async def _refused(reader: TopicReader, heads: set[Place]) -> set[Place]:
    """Controls that were rejected for more than a missing price: these are to be mended."""
    found: set[Place] = set()
    if not heads:
        return found
    async for records in reader.stream("rejects", await reader.bounds("rejects")):
        for value in records.values:
            record = codec.decode_one(value)[1]
            place = (record["partition"], record["offset"])
            if place in heads and record["reason"] != STILL_UNPRICED:
                found.add(place)
    return found


def _source(place: Place, value: bytes, done: History) -> Source:
    charge: dict[str, Any] = codec.decode_one(value)[1]
    detail = f"no rule gave it a price ({charge['reason'] or 'no rule'})"
    return Source(
        place, UNPRICED, detail, charge["recorded_at"], Told("use", charge["event"]), None, done.get(place)
    )  # fmt: skip
