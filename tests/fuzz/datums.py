"""Target `codec`: mutated datums of every record type and version. What is accepted is what fastavro and the avro
package read, and round-trips; nothing else is; and the same alone as in company."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from functools import cache
from typing import Any

import avro.io
import avro.schema
import fastavro

from nanotally.schemas import catalog, codec
from nanotally.schemas.catalog import HEADER_BYTES, Schema
from nanotally.schemas.columns import records_of
from tests.support.records import mutated, random_record

# What the codec refuses on purpose though fastavro reads it: it drops the bits that do not fit, takes any byte for
# true, counts the branches of a union from behind and lets the last of two equal keys count.
STRICTER = (
    "beyond the 32 bits of an int",
    "has more than 10 bytes",
    "has more than 64 bits",
    "a boolean is 0 or 1",
    "branch -1 of a union",
    "branch -2 of a union",
    "a block says it ends",
    "stands twice in a map",
    "has the length -",
)
VALUES_MAX = 40
HUGE = (b"\xfe\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"\xfe\xff\x03")
JUNK = (b"", b"\xc3", b"\xc3\x01", b"\xc3\x01" + b"\x00" * 8, b"{}", b"\x00" * 64, b"\xff" * 64, b"\x80" * 64)


def case(random_: random.Random) -> Counter[str]:
    """A chunk of values of one record type, most of them spoilt."""
    name = random_.choice(catalog.names())
    spoilt = random_.choice([0.0, 0.1, 1.0, 1.0])
    values = [_value(name, random_, spoilt) for _ in range(random_.randrange(1, VALUES_MAX))]
    verdicts = _together(name, values)
    for value in random_.sample(values, min(3, len(values))):
        _alone(name, value)
    return verdicts


def _value(name: str, random_: random.Random, spoilt: float) -> bytes | None:
    if random_.random() >= spoilt:
        return codec.encode_one(name, random_record(catalog.schema(name).shape, random_))
    if random_.random() < 0.03:
        return random_.choice([None, *JUNK, random_.randbytes(random_.randrange(40))])
    writer = random_.choice(catalog.writers(name) if random_.random() < 0.9 else catalog.writers(_any(random_)))
    datum = writer.header + _written(writer, random_record(writer.shape, random_))
    match random_.randrange(8):
        case 0:
            return datum
        case 1:  # spliced with another one
            other = writer.header + _written(writer, random_record(writer.shape, random_))
            return datum[: random_.randrange(HEADER_BYTES, len(datum) + 1)] + other[random_.randrange(len(other)) :]
        case 2:  # a number that claims very much
            place = random_.randrange(HEADER_BYTES, len(datum) + 1)
            return datum[:place] + random_.choice(HUGE) + datum[place + random_.randrange(3) :]
        case 3:  # a header that is almost right
            place = random_.randrange(HEADER_BYTES)
            return datum[:place] + bytes([random_.randrange(256)]) + datum[place + 1 :]
    return mutated(datum, random_)


def _any(random_: random.Random) -> str:
    return random_.choice(catalog.names())


def _together(name: str, values: list[bytes | None]) -> Counter[str]:
    decoded = codec.decode(name, values)
    verdicts: Counter[str] = Counter()
    records = records_of(decoded.batch, catalog.schema(name).shape)
    assert sorted([*decoded.index.tolist(), *(bad.index for bad in decoded.bad)]) == list(range(len(values)))
    older = {int(decoded.index[row]) for row in decoded.older.tolist()}
    for position, record in zip(decoded.index.tolist(), records, strict=True):
        value = values[position]
        assert value is not None
        writer = catalog.writer(value)
        assert writer is not None and writer.name == name, value.hex()
        told = by_fastavro(writer, value)
        assert told is not None, f"accepted {value.hex()}, which fastavro refuses"
        if position not in older:
            assert told == record, f"{value.hex()} read as {record}, by fastavro as {told}"
        _round_trip(name, record)
        _carefully(writer, value, told)
        verdicts["accepted"] += 1
    for fault in decoded.bad:
        refused = values[fault.index]
        writer = catalog.writer(refused) if refused is not None else None
        if refused is not None and writer is not None and writer.name == name and fault.reason == "malformed":
            read = by_fastavro(writer, refused)
            assert read is None or any(kind in fault.detail for kind in STRICTER), (refused.hex(), fault.detail)
        verdicts["refused"] += 1
    if (
        decoded.whole and catalog.schema(name).from_outside
    ):  # proven to be in the one canonical encoding: they are not written anew
        assert codec.encode(name, decoded.batch) == values
    return verdicts


def _alone(name: str, value: bytes | None) -> None:
    """A value has a verdict alone, and `decode_one` agrees."""
    decoded = codec.decode(name, [value])
    assert len(decoded.index) + len(decoded.bad) == 1
    writer = None if value is None else catalog.writer(value)
    if len(decoded.index) and value is not None:
        assert writer is not None and writer.name == name
        _carefully(writer, value, by_fastavro(writer, value))
    elif writer is not None and writer.name == name:
        try:
            codec.decode_one(value)
        except codec.InvalidDatum as e:
            assert str(e) == decoded.bad[0].detail
        else:
            raise AssertionError(f"{value!r} is refused ({decoded.bad[0].detail}), and read alone")


def _carefully(writer: Schema, value: bytes, told: Any) -> None:
    """`decode_one` reads it too, with the fields of the current version. Of our own records' longs, which are written
    by nobody else, the columns are let keep the low 64 bits, as fastavro does."""
    current = catalog.schema(writer.name)
    if writer is not current and told is not None:
        told = fastavro.schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), writer.parsed, current.parsed)
    try:
        assert codec.decode_one(value) == (writer.name, told), value.hex()
    except codec.InvalidDatum as e:
        assert not writer.from_outside and "has more than 64 bits" in str(e), (value.hex(), str(e))


def _round_trip(name: str, record: dict[str, Any]) -> None:
    again = codec.encode_one(name, record)
    assert codec.decode_one(again) == (name, record)
    stream = io.BytesIO(again[HEADER_BYTES:])
    assert avro.io.DatumReader(avro_schema(name)).read(avro.io.BinaryDecoder(stream)) == record
    assert stream.tell() == len(again) - HEADER_BYTES


@cache
def avro_schema(name: str) -> avro.schema.Schema:
    """The current schema, for the avro package."""
    return avro.schema.parse(json.dumps(catalog.without_logical_types(json.loads(catalog.schema(name).text))))


def _written(writer: Schema, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, writer.parsed, record)
    return out.getvalue()


def by_fastavro(writer: Schema, value: bytes) -> Any:
    """The record; None where fastavro refuses the bytes or leaves some over."""
    stream = io.BytesIO(value[HEADER_BYTES:])
    try:
        record = fastavro.schemaless_reader(stream, writer.parsed, None)
    except (EOFError, IndexError, ValueError, OverflowError, MemoryError):  # its ways to refuse
        return None
    return record if stream.tell() == len(value) - HEADER_BYTES else None
