"""The codec against two other readers and writers of Avro: the `avro` package and fastavro."""

from __future__ import annotations

import io
import json
import random
from functools import cache
from typing import Any

import avro.io
import avro.schema
import fastavro
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanotally.schemas import catalog, codec
from nanotally.schemas.catalog import HEADER_BYTES
from nanotally.schemas.columns import records_of
from nanotally.schemas.datum import InvalidDatum, read_datum
from nanotally.schemas.shape import Shape
from tests.support.records import batch_of, mutated, random_record, records_strategy, usage_event

# What the codec refuses on purpose though fastavro reads it: it drops the bits that do not fit,
# takes any byte for true and counts the branches of a union from behind.
STRICTER = (
    "beyond the 32 bits of an int",
    "has more than 10 bytes",
    "has more than 64 bits",
    "a boolean is 0 or 1",
    "branch -1 of a union",
    "branch -2 of a union",
    "a block says it ends",
)


@cache
def oracle_schema(name: str) -> avro.schema.Schema:
    return avro.schema.parse(json.dumps(catalog.without_logical_types(json.loads(catalog.schema(name).text))))


def flat_fields(shares: int) -> dict[str, tuple[Shape, pa.DataType]]:
    """Fields of a charge with one line of so many shares, by their path: shape and Arrow type."""
    charge = catalog.schema("Charge")
    found: dict[str, tuple[Shape, pa.DataType]] = {}

    def enter(prefix: str, shape: Shape, types: list[pa.DataType]) -> None:
        for field, kind in zip(shape.fields, types, strict=True):
            path = prefix + field.name
            if field.shape.kind == "array":
                places = [""] if path == "lines" else [f"{place}." for place in range(shares)]
                inner = [part.type for part in kind.value_type]
                for place in places:
                    enter(f"{path}.{place}", field.shape.of, inner)
            elif path != "event":
                found[path] = field.shape, kind

    enter("", charge.shape, list(charge.arrow.types))
    return found


def whole_charge(flat: dict[str, Any], shares: int) -> dict[str, Any]:
    """The record whose fields stand by their paths."""
    top = {path: value for path, value in flat.items() if "." not in path}
    line = {path.removeprefix("lines."): value for path, value in flat.items() if path.startswith("lines.")}
    parts = [
        {path.rpartition(".")[2]: value for path, value in line.items() if path.startswith(f"shares.{place}.")}
        for place in range(shares)
    ]
    own = {path: value for path, value in line.items() if "." not in path}
    return {**top, "lines": [{**own, "shares": parts}]}


def written_by_avro(name: str, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    avro.io.DatumWriter(oracle_schema(name)).write(record, avro.io.BinaryEncoder(out))
    return catalog.schema(name).header + out.getvalue()


def read_by_avro(name: str, value: bytes) -> Any:
    stream = io.BytesIO(value[HEADER_BYTES:])
    record = avro.io.DatumReader(oracle_schema(name)).read(avro.io.BinaryDecoder(stream))
    assert stream.tell() == len(value) - HEADER_BYTES
    return record


def read_by_fastavro(name: str, value: bytes) -> Any:
    """The record; None where fastavro refuses the bytes or leaves some over."""
    stream = io.BytesIO(value[HEADER_BYTES:])
    try:
        record = fastavro.schemaless_reader(stream, catalog.schema(name).parsed, None)
    except (EOFError, IndexError, ValueError, OverflowError, MemoryError):  # its ways to refuse
        return None
    return record if stream.tell() == len(value) - HEADER_BYTES else None


@pytest.mark.parametrize("name", catalog.names())
def test_any_records_round_trip_and_agree_with_the_avro_package_both_ways(name: str) -> None:
    shape = catalog.schema(name).shape

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(st.lists(records_strategy(shape), min_size=1, max_size=4))
    def agree(records: list[dict[str, Any]]) -> None:
        values = codec.encode(name, batch_of(name, records))
        assert values == [written_by_avro(name, record) for record in records]
        assert values == [codec.encode_one(name, record) for record in records]
        assert [read_by_avro(name, value) for value in values] == records
        decoded = codec.decode(name, values)
        assert decoded.bad == ()
        assert records_of(decoded.batch, shape) == records
        assert codec.encode(name, decoded.batch) == values
        assert [codec.decode_one(value) for value in values] == [(name, record) for record in records]

    agree()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_charges_are_the_bytes_of_their_events_and_their_rest(data: st.DataObject) -> None:
    charge, usage = catalog.schema("Charge").shape, catalog.schema("UsageEvent").shape
    charges = data.draw(st.lists(records_strategy(charge), min_size=1, max_size=4))
    events = [data.draw(records_strategy(usage)) for _ in charges]
    whole = [{**record, "event": event} for record, event in zip(charges, events, strict=True)]
    values = codec.encode("UsageEvent", batch_of("UsageEvent", events))
    datums = codec.event_datums(values, codec.decode("UsageEvent", values))
    assert codec.encode_rest(batch_of("Charge", whole), datums) == [written_by_avro("Charge", one) for one in whole]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(0, 4), st.sampled_from([0.0, 0.1, 0.9, 1.0]))
def test_charges_of_one_line_written_with_what_is_alike_once_are_the_same_bytes(
    seed: int, n: int, shares: int, differing: float
) -> None:
    random_ = random.Random(seed)
    fields = flat_fields(shares)

    def charge() -> dict[str, Any]:
        return {path: random_record(shape, random_) for path, (shape, _) in fields.items()}

    model = charge()
    varied = [path for path in model if random_.random() < differing]
    flat = [model]
    for _ in range(n - 1):
        other = charge()
        flat.append({path: other[path] if path in varied else value for path, value in model.items()})
    told_apart = {path for path in model if path in varied or random_.random() < 0.2}
    alike = {path: value for path, value in model.items() if path not in told_apart}
    columns = {path: pa.array([one[path] for one in flat], fields[path][1]) for path in told_apart}
    values = codec.encode("UsageEvent", batch_of("UsageEvent", [usage_event(i) for i in range(n)]))
    datums = codec.event_datums(values, codec.decode("UsageEvent", values))
    whole = [{**whole_charge(one, shares), "event": usage_event(i)} for i, one in enumerate(flat)]
    encoded = codec.encode_flat(alike, columns, shares, datums)
    assert encoded == codec.encode("Charge", batch_of("Charge", whole))
    assert encoded == [written_by_avro("Charge", one) for one in whole]


@pytest.mark.parametrize(("name", "count"), [("UsageEvent", 20_000), ("Control", 4_000), ("Charge", 2_000)])
def test_no_mutated_datum_passes_that_fastavro_refuses(name: str, count: int) -> None:
    random_ = random.Random(5)
    shape = catalog.schema(name).shape
    values = [mutated(codec.encode_one(name, random_record(shape, random_)), random_) for _ in range(count)]
    decoded = codec.decode(name, values)
    read = dict(zip(decoded.index.tolist(), records_of(decoded.batch, shape), strict=True))
    assert len(read) + len(decoded.bad) == count
    assert min(len(read), len(decoded.bad)) > count // 10  # else nothing was tried
    for position, record in read.items():
        assert record == read_by_fastavro(name, values[position]), values[position].hex()
    for fault in decoded.bad:
        if read_by_fastavro(name, values[fault.index]) is not None:
            assert any(kind in fault.detail for kind in STRICTER), (values[fault.index].hex(), fault.detail)


@pytest.mark.parametrize("name", ["UsageEvent", "Control"])
def test_a_datum_is_judged_the_same_alone_in_company_and_by_the_careful_reader(name: str) -> None:
    random_ = random.Random(7)
    shape = catalog.schema(name).shape
    values = [mutated(codec.encode_one(name, random_record(shape, random_)), random_) for _ in range(1_500)]
    together = codec.decode(name, values)
    faults = {fault.index: fault.detail for fault in together.bad}
    rows = dict(zip(together.index.tolist(), together.batch.to_pylist(), strict=True))
    for position, value in enumerate(values):
        alone = codec.decode(name, [value])
        assert [fault.detail for fault in alone.bad] == ([faults[position]] if position in faults else [])
        assert alone.batch.to_pylist() == ([rows[position]] if position in rows else [])
        assert careful_verdict(shape, value) == faults.get(position)


def careful_verdict(shape: Shape, value: bytes) -> str | None:
    try:
        read_datum(shape, value, HEADER_BYTES)
    except InvalidDatum as error:
        return str(error)
    return None
