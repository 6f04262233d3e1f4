"""One charge with the tariff versions it was rated by, from the Kafka ledger or from ClickHouse."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nanotally.schemas import codec
from nanotally.sinks.charge_query import charge_of_use, charges_of_event
from nanotally.sinks.client import Address
from nanotally.sinks.queries import asking
from nanotally.streams.commands.explain_later import Later, in_clickhouse, in_ledger
from nanotally.streams.dead_letters import UNPRICED
from nanotally.streams.domain.catalogs import CatalogVersion
from nanotally.streams.domain.redriven import offset_of
from nanotally.streams.domain.tariff import RuleBook, TariffVersion, from_document
from nanotally.streams.environment import Environment
from nanotally.streams.errors import InvalidInput, NotFound, Transient
from nanotally.streams.installation import Told, told_of
from nanotally.streams.publisher_ledger import TopicReader, run
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


@dataclass(frozen=True)
class Sourced:
    """A decoded Charge record with the tariff versions and catalogs that it was rated by; of one that was refused the
    version that was in force, where that can be told."""

    charge: dict[str, Any]
    versions: tuple[TariffVersion, ...]
    catalogs: tuple[CatalogVersion, ...] = ()
    later: Later | None = None  # what became since of a use that found no price


# ---- the ledger ----


async def from_ledger(environment: Environment, asked: str) -> Sourced:
    """A charge and its versions by row key or event id, from topics `charges` and `books`.

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
        later = await in_ledger(reader, charge)
    books = read_books(environment.kafka, environment.prefix)
    return replace(rated_by(charge, books, environment.topic("books")), later=later)


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
    async for records in reader.stream("charges", await reader.bounds("charges")):
        for value in records.values:
            if value is not None and needle in value:
                name, record = codec.decode_one(value)
                if name == "Charge" and (record["event"] or {}).get("event_id") == event_id:
                    found.append(record)
    return _only(found, event_id)


def _only(found: list[dict[str, Any]], event_id: str) -> dict[str, Any]:
    if not found:
        said = f"no charge has the name or the event id {event_id!r}; names are PARTITION-OFFSET, as in 2-1047"
        raise NotFound(f"{said} (ClickHouse may be a moment behind: --ledger asks Kafka)")
    found = without_redriven(found)
    if len(found) > 1:
        names = ", ".join(f"{c['usage_partition']}-{c['usage_offset']} (payer {c['payer']})" for c in found[:5])
        raise InvalidInput(f"event id {event_id!r} is of {len(found)} charges: {names}; ask by the charge's name")
    return found[0]


def without_redriven(charges: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The charges but for those without a price that were redriven: their use has another one among them."""
    later = {(c["usage_partition"], offset_of(c["flags"])) for c in charges}
    return [c for c in charges if (c["usage_partition"], c["usage_offset"]) not in later]


def rated_by(charge: dict[str, Any], books: Sequence[RuleBook], where: str) -> Sourced:
    """The charge with what the books have of its rules. Raises NotFound where none of them has a version it names."""
    versions: dict[str, TariffVersion] = {}
    for wanted in dict.fromkeys(line["tariff_hash"] for line in charge["lines"]):
        held = (v for book in reversed(books) for v in book.tariffs if v.content_hash.startswith(wanted))
        found = next(held, None)
        if found is None:
            raise NotFound(f"no rule book in {where} has the tariff version {wanted}")
        versions[wanted] = found
    book = next((b for b in books if b.number == charge["book_number"]), None)
    if book is None:
        return Sourced(charge, tuple(versions.values()))
    if not versions and charge["event"] is not None:
        product = charge["event"]["product"]
        in_force = _in_force(book.versions(book.tariff_of(product) or ""), charge["event"]["occurred_at"])
        return Sourced(charge, in_force, book.catalogs)
    return Sourced(charge, tuple(versions.values()), book.catalogs)


def _in_force(versions: Iterable[TariffVersion], at_us: int) -> tuple[TariffVersion, ...]:
    """The newest of a tariff's versions that had begun; none where none had."""
    return tuple(v for v in versions if v.effective_from_us <= at_us)[-1:]


# ---- ClickHouse ----


def from_clickhouse(environment: Environment, asked: str) -> Sourced:
    """The same from the tables `charges` and `tariffs`; catalogs, and what was in force at a refusal, from Kafka."""
    with asking(address_of(environment)) as ask:
        key = key_of(asked)
        found = [] if key is None else charge_of_use(ask.clickhouse, key.partition, key.offset, key.n)
        if key is not None and key.n is None:
            found = [charge for charge in found if charge["outcome"] != "due"]
        if key is not None and not found:
            found = charges_of_event(ask.clickhouse, asked)
            if not found:  # perhaps it is no charge: the ledger says what became of the use, and is ahead
                return run(from_ledger(environment, asked))
        charge = _only(found or charges_of_event(ask.clickhouse, asked), asked)
        if any(line["catalog"] for line in charge["lines"]):
            return rated_by(charge, read_books(environment.kafka, environment.prefix), environment.topic("books"))
        if not charge["lines"]:
            told: Told | None = None
            try:
                books = read_books(environment.kafka, environment.prefix)
                sourced = rated_by(charge, books, environment.topic("books"))
                if charge["outcome"] == UNPRICED:
                    told = told_of(environment.kafka, environment.prefix)
            except Transient:  # its reason can be told without the tariff
                sourced = Sourced(charge, ())
            return replace(sourced, later=in_clickhouse(ask.clickhouse, charge, told))
        versions = []
        for wanted in dict.fromkeys(line["tariff_hash"] for line in charge["lines"]):
            stored = ask.tariff(wanted)
            if stored is None:
                raise NotFound(f"table tariffs does not have version {wanted} yet; try again, or with --ledger")
            versions.append(from_document(json.loads(stored.document)))
        return Sourced(charge, tuple(versions))


def address_of(environment: Environment) -> Address:
    """The environment's ClickHouse, as sinks know it."""
    return Address(
        environment.clickhouse,
        environment.database,
        environment.clickhouse_user,
        environment.clickhouse_password,
        environment.clickhouse_http,
    )
