"""Target `schemas`: schemas that nobody should tell. What is learned reads its own records, and no broken ones, as the
current version has them; everything else is refused by RefusedSchema."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import fastavro

from nanotally.schemas import catalog, codec, learning
from nanotally.schemas.catalog import HEADER_BYTES, Schema
from nanotally.schemas.columns import records_of, write_datum
from nanotally.schemas.learning import RefusedSchema
from nanotally.schemas.samples import samples

TYPES: list[Any] = [
    "null", "int", "long", "string", "bytes", "double", "float", "boolean", "enum", "fixed", "record", "array", "map",
    "nanotally.UsageEvent", None, 3, [], {}, ["null", "int"], ["int", "null"], ["null", "int", "string"],
    {"type": "array", "items": "int"}, {"type": "array", "items": ["null", {"type": "array", "items": "string"}]},
    {"type": "map", "values": ["null", "string"]}, {"type": "map", "values": {"type": "array", "items": "bytes"}},
    {"type": "record", "name": "X", "fields": [{"name": "x", "type": ["null", "int"]}]},
    {"type": "record", "name": "Y", "fields": []}, {"type": "enum", "name": "E", "symbols": ["a"]},
    {"type": "fixed", "name": "F", "size": 8}, {"type": "bytes", "logicalType": "decimal", "precision": 3},
    {"type": "string", "logicalType": "uuid"}, {"type": "long", "logicalType": "timestamp-micros"},
]  # fmt: skip
NOISE = b'{}[]",:0123456789nul \xff'


def case(random_: random.Random) -> Counter[str]:
    """One schema."""
    text = learning.told(catalog.schema(random_.choice(catalog.names())).text)
    spoilt: str | bytes = _bytes(text, random_) if random_.random() < 0.3 else _document(text, random_)
    try:
        found = learning.learn(spoilt)
    except RefusedSchema as e:
        assert str(e), spoilt
        return Counter(refused=1)
    if found.header not in catalog._learned:
        return Counter(known=1)
    try:
        _reads(found, random_)
    finally:
        catalog._learned.clear()
        catalog.writers.cache_clear()
        catalog._by_header.cache_clear()
    return Counter(learned=1)


def _reads(found: Schema, random_: random.Random) -> None:
    """Whole records are read as fastavro reads them by the current schema; of broken ones nothing crashes."""
    current = catalog.schema(found.name)
    good = [write_datum(found, sample) for sample in samples(found.shape)]
    broken = [value[: random_.randrange(len(value))] for value in good] + [value + b"\x00" for value in good]
    broken += [_flipped(value, random_) for value in good]
    alone = codec.decode(found.name, good)
    assert not alone.bad and alone.batch.schema == current.arrow
    wanted = [
        fastavro.schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), found.parsed, current.parsed) for value in good
    ]
    assert records_of(alone.batch, current.shape) == wanted
    assert [codec.decode_one(value)[1] for value in good] == wanted
    codec.encode(found.name, alone.batch)
    everything = good + broken
    random_.shuffle(everything)
    accepted = {everything[place] for place in codec.decode(found.name, everything).index.tolist()}
    assert accepted >= set(good)
    for value in broken:
        try:
            codec.decode_one(value)
        except codec.InvalidDatum:
            assert value not in accepted


def _flipped(value: bytes, random_: random.Random) -> bytes:
    changed = bytearray(value)
    for _ in range(3):
        changed[random_.randrange(len(changed))] = random_.randrange(256)
    return bytes(changed)


def _bytes(text: str, random_: random.Random) -> bytes:
    changed = bytearray(text.encode())
    for _ in range(random_.randint(1, 4)):
        place = random_.randrange(len(changed))
        match random_.randrange(3):
            case 0:
                changed[place] = random_.randrange(256)
            case 1:
                del changed[place : place + random_.randint(1, 9)]
            case _:
                changed[place:place] = bytes(random_.choice(NOISE) for _ in range(random_.randint(1, 4)))
    return bytes(changed)


def _document(text: str, random_: random.Random) -> str:
    document = json.loads(text)
    only_grown = random_.random() < 0.4  # as a later version might be
    for _ in range(random_.randint(1, 3)):
        if only_grown:
            _grow(document, random_)
            continue
        node = random_.choice(list(_nodes(document)))
        if isinstance(node, dict) and node:
            _change(node, random_)
        elif isinstance(node, list) and node:
            if random_.random() < 0.5:
                node.insert(random_.randrange(len(node)), _copy(random_.choice(node)))
            else:
                node.pop(random_.randrange(len(node)))
    return json.dumps(document)


def _grow(record: dict[str, Any], random_: random.Random) -> None:
    field = {"name": f"n{random_.randrange(99)}", "type": ["null", _copy(random_.choice(TYPES))], "default": None}
    record["fields"].insert(random_.randint(0, len(record["fields"])), field)


def _change(node: dict[str, Any], random_: random.Random) -> None:
    key = random_.choice(list(node))
    if isinstance(node.get("fields"), list) and random_.random() < 0.6:
        _grow(node, random_)
    elif random_.random() < 0.4:
        node[key] = _copy(random_.choice(TYPES))
    elif random_.random() < 0.5:
        node.pop(key)
    else:
        node[key] = random_.choice(["", None, 5, [], "a b", "nanotally", "payer"])


def _nodes(document: Any) -> Iterator[Any]:
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict | list):
            yield node
            waiting += node.values() if isinstance(node, dict) else node


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))
