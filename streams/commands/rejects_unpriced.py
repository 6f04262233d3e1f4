"""Uses without a price that are left, from the ledger: not redriven since by a control, and not mended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nanotally.schemas import catalog, codec
from nanotally.schemas.catalog import HEADER_BYTES
from nanotally.streams.commands.rejects_reading import Listing, Source, Wanted
from nanotally.streams.dead_letters import STILL_UNPRICED, UNPRICED, Again, Place, Told, carried
from nanotally.streams.domain.redriven import FLAG, offset_of
from nanotally.streams.environment import Environment
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
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        done = await history(reader)
        ledger = await _read(reader)
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


def head_of(done: History, place: Place) -> Place:
    """The last of the records that took a place's use over: of it something new can be put in."""
    return found[-1][1].to if (found := steps(done, place)) else place


def _head(done: History, place: Place, taken: Mapping[int, int]) -> Place | None:
    """The same; None where the use is on its way still, or was mended and has a record of its own."""
    followed = steps(done, place)
    if any(step.mended for _, step in followed):
        return None
    head = followed[-1][1].to if followed else place
    return head if head[1] < taken.get(head[0], 0) else None


async def _read(reader: TopicReader) -> _Ledger:
    """Streams the ledger. Only records that have the words in them are decoded."""
    unpriced: dict[Place, bytes] = {}
    newest: dict[int, bytes] = {}
    async for records in reader.stream("charges", await reader.bounds("charges")):
        for value in records.values:
            writer = catalog.writer(value[:HEADER_BYTES]) if value else None
            if value is None or writer is None:
                continue
            if writer.name == "Chunk":
                newest[records.partition] = value
            elif writer.name == "Charge" and any(mark in value for mark in _MARKS):
                charge = codec.decode_one(value)[1]
                if charge["outcome"] == UNPRICED:
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
