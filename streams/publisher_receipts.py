"""What became of one usage record, found in the ledger by its offset, and how it reads to a person.

Records of a ledger partition are in the order of the usage offsets they come from, so one is found by halving the
range of offsets; the chunk record after it proves that nothing more will come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nanotally.schemas import codec
from nanotally.streams.domain.decimals import decimal_text
from nanotally.streams.publisher_ledger import Log

REJECT_WITHIN_S = 5.0  # a slow broker is no missing reject; waited for only where nothing but Kafka's markers is left
SCAN_RECORDS = 500  # a range this short is read through rather than halved


@dataclass
class Found:
    """What the ledger holds of one usage offset. `charges` and `controls` are decoded records, `reject` likewise;
    `chunk` the chunk record that covers the offset."""

    charges: list[dict[str, Any]] = field(default_factory=list)
    controls: list[dict[str, Any]] = field(default_factory=list)
    duplicate: bool = False
    reject: dict[str, Any] | None = None
    chunk: dict[str, Any] | None = None


async def find(ledger: Log, rejects: Log, usage_offset: int, clock: Callable[[], float], wait_s: float) -> Found | None:
    """What became of the usage offset; None where its chunk was not committed within the wait.

    ledger: partition of `charges` with the number of the usage record's, rejects: likewise; clock: seconds."""
    until = clock() + wait_s
    found = Found()
    at = await _first_at(ledger, lambda value: reaches(value, usage_offset))
    while found.chunk is None:
        records = await ledger.read(at, min(0.2, max(0.0, until - clock())))
        for offset, value in records:
            at = offset + 1
            if _collect(value, usage_offset, found):
                break
        if not records and clock() >= until:
            return None
    if not (found.charges or found.controls or found.duplicate):
        found.reject = await _find_reject(rejects, usage_offset)
    return found


def _collect(value: bytes, usage_offset: int, found: Found) -> bool:
    """Takes a record of the ledger in; True at the chunk record that covers the offset."""
    name, record = codec.decode_one(value)
    if name == "Chunk":
        if record["next_offset"] <= usage_offset:
            return False
        found.chunk, found.duplicate = record, usage_offset in record["duplicates"]
        return True
    if record["usage_offset"] == usage_offset:
        (found.charges if name == "Charge" else found.controls).append(record)
    return False


def reaches(value: bytes, usage_offset: int) -> bool:
    """Whether this ledger record or one before it can be of the usage offset: false up to some place, then true."""
    name, record = codec.decode_one(value)
    if name == "Chunk":
        return (record["next_offset"], record["next_n"]) > (usage_offset, 0)
    return bool(record["usage_offset"] >= usage_offset)


async def _first_at(log: Log, reached: Callable[[bytes], bool]) -> int:
    """An offset at or shortly before the first record for which `reached` holds; the end where there is none."""
    low, high = await log.bounds()
    step = 2  # a transaction ends with its chunk record and Kafka's marker: mostly the newest record decides
    while low < high and (tail := max(low, high - step)) > low:
        newest = await log.read(tail, 0.5)
        if not newest:
            step *= 8
            continue
        if not reached(newest[-1][1]):
            return newest[-1][0] + 1
        break
    while high - low > SCAN_RECORDS:
        middle = (low + high) // 2
        records = await log.read(middle, 0.5)
        if not records or records[0][0] >= high or reached(records[0][1]):
            high = middle
        else:
            low = records[0][0] + 1
    return low


async def _find_reject(rejects: Log, usage_offset: int) -> dict[str, Any] | None:
    at = await _first_at(rejects, lambda value: bool(codec.decode_one(value)[1]["offset"] >= usage_offset))
    end = (await rejects.bounds())[1]
    while at < end:
        records = await rejects.read(at, REJECT_WITHIN_S)
        if not records:
            return None
        for offset, value in records:
            record = codec.decode_one(value)[1]
            if record["offset"] >= usage_offset:
                return record if record["offset"] == usage_offset else None
            at = offset + 1
    return None


@dataclass(frozen=True)
class ChargeView:
    """A use's outcome, to read or to compute with.

    name: partition and offset, as `nanotally explain` takes it; outcome: charged, refused, unpriced, duplicate,
    rejected; paid_nanos: whole nanos; shares: account and nanos, creators first; note: why nothing was charged."""

    name: str
    outcome: str
    reason: str = ""
    paid_nanos: int = 0
    currency: str = ""
    rule: str = ""
    version: int = 0
    shares: tuple[tuple[str, int], ...] = ()
    note: str = ""

    @property
    def amount(self) -> str:
        """What was paid, in currency units: an exact decimal."""
        return decimal_text(self.paid_nanos)

    def __str__(self) -> str:
        if self.outcome != "charged":
            return " · ".join(part for part in (f"not charged: {self.outcome}", self.reason, self.note) if part)
        parts = [f"{self.amount} {self.currency}", f"{self.rule} v{self.version}"]
        if self.note:
            parts.append(self.note)
        parts += [f"{account.split(':', 1)[-1]} {decimal_text(nanos)}" for account, nanos in self.shares if nanos]
        return " · ".join(parts)


def view(name: str, found: Found, why_nothing: Callable[[Mapping[str, Any]], str]) -> ChargeView:
    """What was found as a view; `why_nothing` tells of a charge of 0 why it costs nothing."""
    use = next((c for c in found.charges if c["outcome"] != "due"), None)
    if use is None:
        if found.reject is not None:
            return ChargeView(name, "rejected", found.reject["reason"], note=found.reject["detail"])
        if found.duplicate:
            return ChargeView(name, "duplicate", note="this use was taken before, once")
        return ChargeView(name, "control" if found.controls else "rejected")
    if use["outcome"] != "charged":
        return ChargeView(name, use["outcome"], use["reason"], note=_NOTES.get(use["reason"], ""))
    shares: dict[str, int] = {}
    for line in use["lines"]:
        for share in line["shares"]:
            shares[share["account"]] = shares.get(share["account"], 0) + share["nanos"]
    first = use["lines"][0]
    return ChargeView(
        name,
        "charged",
        use["reason"],
        use["paid_nanos"],
        use["currency"],
        first["rule"],
        first["version"],
        tuple(sorted(shares.items(), key=lambda share: (_ORDER.get(share[0].split(":")[0], 1), share[0]))),
        _note(first) if use["paid_nanos"] else why_nothing(use),
    )


def _note(line: Mapping[str, Any]) -> str:
    """What a reader of the shares must know: under a pass they go to its pool first."""
    return f"by pass {line['pass']}, shared out when it ends" if line["pass"] is not None else ""


_ORDER = {"creator": 0, "party": 1, "pool": 2, "platform": 3}
_NOTES = {
    "max_price": "the tariff asks more than the use's max_price",
    "price": "the tariff refuses such a use, or the price that came with it is none or out of its bounds",
    "limit": "the scope would hold more than its rule allows",
    "out_of_range": "quantity or total would leave what can be counted",
    "no_tariff": "no tariff is in force for this product; the use is kept and can be priced later",
    "unknown_meter": "the product's tariff does not know this meter; the use is kept and can be priced later",
    "no_rule": "no rule of the tariff matches; the use is kept and can be priced later",
}
