"""Rejects and uses without a price, as the commands need them: what they were, and what came of them since."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nanotally.schemas import catalog, codec
from nanotally.schemas.catalog import HEADER_BYTES
from nanotally.streams.commands.output import instant
from nanotally.streams.dead_letters import UNPRICED, Place, Told, name_of, told
from nanotally.streams.domain.decimals import decimal_text
from nanotally.streams.environment import Environment
from nanotally.streams.errors import NotFound
from nanotally.streams.installation import told_of
from nanotally.streams.publisher_ledger import TopicReader
from nanotally.streams.publisher_receipts import Found, find
from nanotally.streams.redriving import History, Step, history, steps

WAIT_S = 5.0
CLOCKS_MS = 60_000  # by how much clocks of brokers may differ
NOT_TAKEN = "not taken yet"


@dataclass(frozen=True)
class Source:
    """A record of `usage` that can be redriven, or a control that was rejected.

    value: its bytes (None for an unpriced use, of which the ledger has the event); step: what was put in in its place,
    if anything was."""

    place: Place
    reason: str
    detail: str
    recorded_at_us: int
    told: Told
    value: bytes | None = None
    step: Step | None = None

    @property
    def name(self) -> str:
        return name_of(self.place)

    @property
    def unpriced(self) -> Place | None:
        """Where the use stood when it first found no price; None for others."""
        if self.reason == UNPRICED:
            return self.place
        return None if self.told.usage_offset is None else (self.place[0], self.told.usage_offset)

    def document(self) -> dict[str, Any]:
        """For people and scripts."""
        is_control, fields = self.told.what == "control", self.told.fields
        return {
            "name": self.name,
            "reason": self.reason,
            "detail": self.detail,
            "recorded_at": instant(self.recorded_at_us),
            "use": {} if is_control else use_of(fields),
            "control": control_of(fields) if is_control else {},
            "unreadable": self.told.fault,
            "unpriced": name_of(self.unpriced) if self.unpriced else None,
            "redriven_to": name_of(self.step.to) if self.step else None,
        }


def use_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as a use is written by people: times as text, the quantity as a decimal, absent ones left out."""
    use = {name: value for name, value in fields.items() if value not in (None, "", {})}
    quantity, scale = use.pop("quantity", None), use.pop("scale", None)
    if quantity is not None and scale is not None and 0 <= scale <= 18:
        use["quantity"] = decimal_text(quantity, scale)
    if "occurred_at" in use:
        use["occurred_at"] = instant(use["occurred_at"])
    return use


def control_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a control, absent ones left out."""
    control = {name: value for name, value in fields.items() if value not in (None, "")}
    return control | ({"at": instant(control["at"])} if "at" in control else {})


@dataclass(frozen=True)
class Wanted:
    """Which ones: None or False for all. since_us: recorded then or later; left: not redriven, and no control, of which
    nothing is to be redriven; meter, product: as far as the bytes tell them."""

    reason: str | None = None
    since_us: int | None = None
    left: bool = False
    meter: str | None = None
    product: str | None = None

    def has(self, use: Mapping[str, Any]) -> bool:
        """Whether a use is of the meter and product."""
        return self.meter in (None, use.get("meter")) and self.product in (None, use.get("product"))


@dataclass
class Listing:
    """The oldest of those that were wanted, how many there are by reason, and topics that lost some to retention."""

    found: list[Source] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    gone: bool = False

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def take(self, one: Source, limit: int) -> None:
        """Counts it, and keeps it while it may be among the oldest `limit`."""
        self.counts[one.reason] += 1
        self.found.append(one)
        if len(self.found) > limit + limit // 4 + 1000:
            self.keep(limit)

    def keep(self, limit: int) -> None:
        """Keeps the oldest ones."""
        self.found.sort(key=lambda one: (one.recorded_at_us, one.place))
        del self.found[limit:]


async def listed(environment: Environment, wanted: Wanted, limit: int) -> Listing:
    """The rejects that are wanted: the topic is streamed, and `limit` of them are kept."""
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        done, bounds = await history(reader), await reader.bounds("rejects")
        listing = Listing(gone=any(first for first, _ in bounds.values()))
        async for records in reader.stream("rejects", await ranges_since(reader, "rejects", wanted.since_us)):
            for value in records.values:
                record = codec.decode_one(value)[1]
                if wanted.reason not in (None, record["reason"]):
                    continue
                if wanted.since_us is not None and record["recorded_at"] < wanted.since_us:
                    continue
                if wanted.left and ((record["partition"], record["offset"]) in done or _is_final(record["value"])):
                    continue
                one = _of_reject(record, done)
                if wanted.has(one.told.fields):
                    listing.take(one, limit)
    listing.keep(limit)
    return listing


async def ranges_since(reader: TopicReader, topic: str, since_us: int | None) -> dict[int, tuple[int, int]]:
    """Offsets of an output of the payers' stage where records stand whose input was recorded then or later: they were
    written after their input, by a broker whose clock may differ a little."""
    return await (reader.bounds(topic) if since_us is None else reader.since(topic, since_us // 1000 - CLOCKS_MS))


def _is_final(value: bytes | None) -> bool:
    """Whether it is a control of which nothing can be redriven."""
    writer = None if value is None else catalog.writer(value[:HEADER_BYTES])
    return writer is not None and writer.name == "Control" and told(value).what == "control"


async def source(environment: Environment, place: Place) -> Source:
    """The reject or the unpriced use at a place. Raises NotFound where there is neither."""
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        found = await _find(reader, place)
        if found is None:
            raise NotFound(
                f"{name_of(place)} was not taken yet, or is not there; `nanotally doctor` says how far the payers are"
            )
        done = await history(reader)
        if found.reject:
            return _of_reject(found.reject, done)
        charge = next((c for c in found.charges if c["outcome"] == UNPRICED), None)
        if charge is None:
            raise NotFound(await _what_else(reader, place, found))
        known = (await asyncio.to_thread(told_of, environment.kafka, environment.prefix)).carried
        if place[1] < known.get(place[0], 0):
            raise NotFound(
                f"{name_of(place)} is a use of the installation that this one follows, known here so that a repeat is "
                f"told; what became of it stands there"
            )
    detail = f"no rule gave it a price ({charge['reason'] or 'no rule'})"
    return Source(
        place, UNPRICED, detail, charge["recorded_at"], Told("use", charge["event"]), None, done.get(place)
    )  # fmt: skip


async def _what_else(reader: TopicReader, place: Place, found: Found) -> str:
    """What to say of a place where there is neither a reject nor a use without a price."""
    name, (partition, offset) = name_of(place), place
    if found.duplicate or found.controls or found.charges:
        was = "a duplicate" if found.duplicate else "a control" if found.controls else "rated or refused"
        return f"{name} was neither rejected nor without a price: it is {was}"
    if (await reader.bounds("rejects"))[partition][0]:
        return (
            f"{name} is not in topic rejects, of which the oldest records are gone by retention. If it was rejected, "
            f"ClickHouse still has it: SELECT reason, detail, recorded_at, hex(value) FROM rejects "
            f"WHERE input_partition = {partition} AND input_offset = {offset}"
        )
    return (
        f"{name} was neither rejected nor without a price: it is a control that changed nothing, or a mark of Kafka's"
    )


async def followed(environment: Environment, found: Source) -> list[dict[str, Any]]:
    """Each step since: from, to, when, why, and what came of the new record."""
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        return [
            {
                "from": name_of(place),
                "to": name_of(step.to),
                "at": instant(step.at_us),
                "mended": step.mended,
                "event_id": step.event_id,
                "note": step.note,
                "came_of_it": _words(await _find(reader, step.to)),
            }
            for place, step in steps(await history(reader), found.place)
        ]


async def came_from(environment: Environment, found: Source) -> str | None:
    """Name of the record that this one was put in for; None where it came by itself."""
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        before = (place for place, step in (await history(reader)).items() if step.to == found.place)
        return next((name_of(place) for place in before), None)


def _words(now: Found | None) -> str:
    if now is None:
        return NOT_TAKEN
    if now.reject:
        return f"rejected: {now.reject['reason']}: {now.reject['detail']}"
    if now.duplicate:
        return "a duplicate of a use that was taken"
    own = [c for c in now.charges if c["outcome"] != "due"]  # what fell due at its offset is of other uses
    said = ", ".join(f"{c['outcome']}{': ' + c['reason'] if c['reason'] else ''}" for c in own)
    return said or "rejected; its record is gone by retention"


def _of_reject(record: Mapping[str, Any], done: History) -> Source:
    place = (record["partition"], record["offset"])
    value = record["value"]
    return Source(
        place, record["reason"], record["detail"], record["recorded_at"], told(value), value, done.get(place)
    )  # fmt: skip


async def _find(reader: TopicReader, place: Place) -> Found | None:
    partition, offset = place
    bounds = await reader.bounds("usage")
    if partition not in bounds or offset >= bounds[partition][1]:
        return None
    charges, rejected = reader.log("charges", partition), reader.log("rejects", partition)
    return await find(charges, rejected, offset, time.monotonic, WAIT_S)
