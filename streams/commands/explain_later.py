"""What became later of a use that found no price when it came, and what is to be done where nothing did."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanotally.schemas import codec
from nanotally.sinks.charge_query import charge_redriven, steps_of
from nanotally.sinks.client import ClickHouse
from nanotally.streams.commands.output import instant
from nanotally.streams.commands.rejects_reading import ranges_since
from nanotally.streams.dead_letters import UNPRICED, Place, name_of
from nanotally.streams.domain.decimals import decimal_text, fixed_text
from nanotally.streams.domain.explaining import charge_name
from nanotally.streams.domain.redriven import flag_of, offset_of
from nanotally.streams.installation import Told, told_of
from nanotally.streams.publisher_ledger import TopicReader
from nanotally.streams.publisher_receipts import find
from nanotally.streams.redriving import Step, history, steps

WAIT_S = 2.0
Charge = Mapping[str, Any]


@dataclass(frozen=True)
class Later:
    """state: 'redriven', `charge` is what it was charged then; 'mended', another use stands for it, at `to`; 'carried',
    it was decided in the installation before, and is known here to tell repeats; 'moved', it is decided in installation
    `moved_to`; 'unpriced', nothing of these, although a control carried it once more at `to`, where that is not empty.
    at_us: when that happened; asked: whether Kafka answered, which alone knows what was carried and moved."""

    use: str
    state: str
    to: str = ""
    at_us: int | None = None
    charge: Charge | None = None
    moved_to: str = ""
    asked: bool = True

    @property
    def remedy(self) -> str:
        """The command that gives it a price, once a tariff has one; empty where nothing is to be done."""
        return f"nanotally rejects redrive {self.use}" if self.state == "unpriced" else ""

    def words(self) -> list[str]:
        """Lines for people."""
        at = "" if self.at_us is None else f" at {instant(self.at_us)}"
        if self.charge is not None:
            return [f"  redriven{at}: {_outcome(self.charge)}; nanotally explain {self.to}"]
        if self.state == "mended":
            return [f"  mended{at}: another use stands for it, at {self.to}; nanotally rejects show {self.use}"]
        if self.state == "carried":
            said = "known here from the installation that this one follows, so that a repeat is told"
            return [f"  {said}; what became of it stands there"]
        if self.state == "moved":
            return [f"  this installation was moved to {self.moved_to!r}: the use is decided there"]
        out = ["  still without a price"]
        if self.to:
            out[0] += f", although it was redriven{at} (as {self.to}); nanotally rejects show {self.use} says why"
        out.append(f"  once a tariff has a price for it: {self.remedy}")
        if not self.asked:
            out.append("  (Kafka does not answer, which knows whether it was decided in another installation)")
        return out

    def document(self) -> dict[str, Any]:
        """The same for scripts; the amount is a decimal."""
        own = self.charge
        return {
            "state": self.state,
            "name": self.to or None,
            "at": None if self.at_us is None else instant(self.at_us),
            "outcome": own and own["outcome"],
            "reason": own and own["reason"],
            "amount": own and decimal_text(own["paid_nanos"]),
            "currency": own and own["currency"],
            "moved_to": self.moved_to or None,
            "remedy": self.remedy or None,
        }


def _outcome(charge: Charge) -> str:
    if charge["outcome"] == "charged":
        return f"charged {fixed_text(charge['paid_nanos'])} {charge['currency']}"
    return f"{charge['outcome']} ({charge['reason']})"


async def in_ledger(reader: TopicReader, charge: Charge) -> Later | None:
    """What the ledger has of a decoded Charge record that has no price; None for one that was decided."""
    if charge["outcome"] != UNPRICED:
        return None
    told = await asyncio.to_thread(told_of, reader.bootstrap, reader.prefix)
    since = steps(await history(reader), place_of(charge))
    return judged(charge, await _charge_in_ledger(reader, charge, since), since, told)


def in_clickhouse(clickhouse: ClickHouse, charge: Charge, told: Told | None) -> Later | None:
    """The same by the tables `charges` and `redrives`; told: None where Kafka did not answer."""
    if charge["outcome"] != UNPRICED:
        return None
    rows = steps_of(clickhouse, place_of(charge))
    since = [(place, Step(to, UNPRICED, event_id, mended, at_us, "")) for place, to, event_id, mended, at_us in rows]
    return judged(charge, charge_redriven(clickhouse, charge), since, told)


def place_of(charge: Charge) -> Place:
    """Where its use stands in `usage`."""
    return charge["usage_partition"], charge["usage_offset"]


def judged(charge: Charge, later: Charge | None, since: Sequence[tuple[Place, Step]], told: Told | None) -> Later:
    """charge: without a price; later: what its use was charged when it was redriven; since: what was put in for it."""
    place = place_of(charge)
    name = name_of(place)
    if later is not None:
        return Later(name, "redriven", charge_name(later), later["recorded_at"], later)
    to, at_us = (name_of(since[-1][1].to), since[-1][1].at_us) if since else ("", None)
    if any(step.mended for _, step in since):
        return Later(name, "mended", to, at_us)
    if told and place[1] < told.carried.get(place[0], 0):
        return Later(name, "carried")
    if told and told.moved_to:
        return Later(name, "moved", moved_to=told.moved_to)
    return Later(name, "unpriced", to, at_us, asked=told is not None)


async def _charge_in_ledger(
    reader: TopicReader, charge: Charge, since: Sequence[tuple[Place, Step]]
) -> dict[str, Any] | None:
    """The later charge: where its history leads to, or else wherever it stands in the ledger after the use."""
    partition, offset = place_of(charge)
    if since and since[-1][1].to[0] == partition:
        logs = reader.log("charges", partition), reader.log("rejects", partition)
        found = await find(*logs, since[-1][1].to[1], time.monotonic, WAIT_S)
        for one in found.charges if found else ():
            if offset_of(one["flags"]) == offset:
                return one
    ranges = {partition: (await ranges_since(reader, "charges", charge["recorded_at"]))[partition]}
    needle = flag_of(offset).encode()
    async for records in reader.stream("charges", ranges):
        for value in records.values:
            if value is not None and needle in value:
                kind, record = codec.decode_one(value)
                if kind == "Charge" and offset_of(record["flags"]) == offset:
                    return record
    return None
