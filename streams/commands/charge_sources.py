"""One charge with the tariff version it was rated by, from the Kafka ledger or from ClickHouse."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nanotally.schemas import codec
from nanotally.sinks.client import Address, ClickHouse
from nanotally.streams.domain.records import NO_END
from nanotally.streams.domain.tariff import TariffVersion, from_document
from nanotally.streams.environment import Environment
from nanotally.streams.errors import InvalidInput, NotFound
from nanotally.streams.publisher_ledger import TopicReader
from nanotally.streams.publisher_receipts import Found, find, view
from nanotally.streams.tariffs.publishing import read_books

NAME = re.compile(r"(?P<partition>\d{1,5})-(?P<offset>\d{1,19})(?:-(?P<n>\d{1,9}))?")
WAIT_S = 5.0


@dataclass(frozen=True)
class Key:
    """Row key of a charge; n None: the use's own charge."""

    partition: int
    offset: int
    n: int | None = None


def key_of(text: str) -> Key | None:
    """The row key that 'P-OFFSET' or 'P-OFFSET-N' says; None where the text is none."""
    found = NAME.fullmatch(text)
    if not found:
        return None
    return Key(int(found["partition"]), int(found["offset"]), None if found["n"] is None else int(found["n"]))


# ---- the ledger ----


async def from_ledger(environment: Environment, asked: str) -> tuple[dict[str, Any], TariffVersion | None]:
    """A charge and its version by row key or event id, from topics `charges` and `books`.

    An event id is looked for in the whole ledger. Raises NotFound, which says what became of the use instead."""
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        key = key_of(asked)
        partitions = len(reader.partitions("charges"))
        if key is not None and key.partition < partitions:
            logs = reader.log("charges", key.partition), reader.log("rejects", key.partition)
            found = await find(*logs, key.offset, time.monotonic, WAIT_S)
            charge = _one(found, key, asked)
        else:
            charge = await _by_event_id(reader, asked)
    return charge, _version(environment, charge)


def _one(found: Found | None, key: Key, asked: str) -> dict[str, Any]:
    if found is None:
        raise NotFound(f"the ledger does not reach {asked} yet; `nanotally doctor` tells how far the workers are")
    own = [c for c in found.charges if (c["outcome"] != "due" if key.n is None else c["n"] == key.n)]
    if not own and found.charges:
        numbers = ", ".join(str(c["n"]) for c in found.charges)
        raise NotFound(f"at {key.partition}-{key.offset} there are charges with n {numbers}, none with {key.n}")
    if not own:
        raise NotFound(f"{asked} is no charge: {view(asked, found, lambda _: '')}")
    return own[0]


async def _by_event_id(reader: TopicReader, event_id: str) -> dict[str, Any]:
    needle = event_id.encode()
    found = []
    for records in (await reader.read_all("charges")).values():
        for value in records.values:
            if value is not None and needle in value:
                name, record = codec.decode_one(value)
                if name == "Charge" and (record["event"] or {}).get("event_id") == event_id:
                    found.append(record)
    return _only(found, event_id)


def _only(found: list[dict[str, Any]], event_id: str) -> dict[str, Any]:
    if not found:
        raise NotFound(f"no charge has the name or the event id {event_id!r}; names are PARTITION-OFFSET, as in 2-1047")
    if len(found) > 1:
        names = ", ".join(f"{c['usage_partition']}-{c['usage_offset']} (payer {c['payer']})" for c in found[:5])
        raise InvalidInput(f"event id {event_id!r} is of {len(found)} charges: {names}; ask by the charge's name")
    return found[0]


def _version(environment: Environment, charge: Mapping[str, Any]) -> TariffVersion | None:
    if not charge["lines"]:
        return None
    wanted = charge["lines"][0]["tariff_hash"]
    for book in reversed(read_books(environment.kafka, environment.prefix)):
        for version in book.tariffs:
            if version.content_hash.startswith(wanted):
                return version
    raise NotFound(f"no rule book in topic {environment.topic('books')} has the tariff version {wanted}")


# ---- ClickHouse ----

_EVENT_TEXTS = ("event_id", "product", "payer", "creator", "item", "meter", "session")
_ARRAYS = (
    "link", "tariff", "version", "tariff_hash", "rule", "scope", "scope_start", "scope_end", "quantity_before",
    "quantity", "total_before", "remainder_before", "total_after", "remainder_after", "remainder_den",
    "charged_before", "amount_nanos", "paid_nanos", "pass", "split", "base_before",
)  # fmt: skip
_COLUMNS = [
    *_EVENT_TEXTS, "occurred_at", "quantity", "scale", "attributes", "booked_at", "late", "outcome", "reason",
    "currency", "paid_nanos", "usage_partition", "usage_offset", "n",
    *(f"lines.{name}" for name in _ARRAYS),
    *(f"shares.{name}" for name in ("line", "account", "fraction_num", "fraction_den", "nanos")),
]  # fmt: skip
_PLAIN = (
    "payer", "booked_at", "late", "outcome", "reason", "currency", "paid_nanos", "usage_partition", "usage_offset", "n",
)  # fmt: skip
_TIMES = {"occurred_at", "booked_at"}
_TIME_ARRAYS = {"lines.scope_start", "lines.scope_end"}


def from_clickhouse(environment: Environment, asked: str) -> tuple[dict[str, Any], TariffVersion | None]:
    """The same from the tables `charges` and `tariffs`."""
    clickhouse = ClickHouse(address_of(environment))
    try:
        key = key_of(asked)
        found = [] if key is None else _rows(clickhouse, *_by_key(key))
        if not found:
            found = _rows(clickhouse, "event_id = {event_id:String}", {"event_id": asked})
        charge = _only([_charge(row) for row in found], asked)
        return charge, _stored_version(clickhouse, charge)
    finally:
        clickhouse.close()


def address_of(environment: Environment) -> Address:
    """The environment's ClickHouse, as sinks know it."""
    return Address(
        environment.clickhouse,
        environment.database,
        environment.clickhouse_user,
        environment.clickhouse_password,
        environment.clickhouse_http,
    )


def _by_key(key: Key) -> tuple[str, dict[str, Any]]:
    which = "outcome != 'due'" if key.n is None else "n = {n:UInt32}"
    condition = f"usage_partition = {{partition:UInt16}} AND usage_offset = {{offset:Int64}} AND {which}"
    return condition, {"partition": key.partition, "offset": key.offset, "n": key.n or 0}


def _rows(clickhouse: ClickHouse, condition: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    columns = [_selected(name) for name in _COLUMNS]
    rows = clickhouse.query(f"SELECT {', '.join(columns)} FROM charges WHERE {condition} LIMIT 100", parameters)
    return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]


def _selected(name: str) -> str:
    if name in _TIMES:
        return f"toUnixTimestamp64Micro({name})"
    return f"arrayMap(t -> toUnixTimestamp64Micro(t), `{name}`)" if name in _TIME_ARRAYS else f"`{name}`"


def _charge(row: Mapping[str, Any]) -> dict[str, Any]:
    """The Charge record that a row is, as far as an explanation needs it."""
    event = None
    if row["outcome"] != "due":
        event = {name: row[name] for name in (*_EVENT_TEXTS, "occurred_at", "quantity", "scale", "attributes")}
        event |= {name: row[name] or None for name in ("creator", "session")}
    lines = []
    for number in range(len(row["lines.link"])):
        line = {name: row[f"lines.{name}"][number] for name in _ARRAYS}
        line["pass"] = line["pass"] or None
        line["scope_end"] = NO_END if line["scope"] == "life" else line["scope_end"]
        line["shares"] = [
            {name: row[f"shares.{name}"][i] for name in ("account", "fraction_num", "fraction_den", "nanos")}
            for i, of_line in enumerate(row["shares.line"])
            if of_line == number
        ]
        lines.append(line)
    return {**{name: row[name] for name in _PLAIN}, "event": event, "lines": lines}


def _stored_version(clickhouse: ClickHouse, charge: Mapping[str, Any]) -> TariffVersion | None:
    if not charge["lines"]:
        return None
    wanted = charge["lines"][0]["tariff_hash"]
    rows = clickhouse.query(
        "SELECT document FROM tariffs WHERE startsWith(content_hash, {wanted:String}) LIMIT 1", {"wanted": wanted}
    )
    if not rows:
        raise NotFound(f"table tariffs does not have version {wanted} yet; try again, or with --ledger")
    return from_document(json.loads(rows[0][0]))
