"""The catalog of record types: fingerprints, docs on every field, and what a charge shares with a use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import avro.schema
import pytest

from nanotally.schemas import catalog
from nanotally.schemas.shape import shape_of

ALL = (
    "Charge", "Chunk", "Control", "ControlTaken", "Earning", "Payout", "Redrive", "Reject", "RuleBook", "SourceMark",
    "Statement", "Tally", "UsageEvent",
)  # fmt: skip


def records_in(avro_type: Any) -> Iterator[dict[str, Any]]:
    if isinstance(avro_type, list):
        for branch in avro_type:
            yield from records_in(branch)
    elif isinstance(avro_type, dict):
        if avro_type["type"] == "record":
            yield avro_type
            for field in avro_type["fields"]:
                yield from records_in(field["type"])
        for part in ("items", "values"):
            yield from records_in(avro_type.get(part))


def test_there_is_one_schema_for_each_record_type() -> None:
    assert catalog.names() == ALL
    assert len(list(catalog.CURRENT.iterdir())) == len(ALL)


def test_a_name_that_is_not_in_the_catalog_is_a_key_error_that_lists_the_names() -> None:
    with pytest.raises(KeyError, match=r"'Invoice'.*UsageEvent"):
        catalog.schema("Invoice")


@pytest.mark.parametrize("name", ALL)
def test_every_record_and_every_field_has_a_doc(name: str) -> None:
    for record in records_in(json.loads(catalog.schema(name).text)):
        assert record["doc"].strip(), record["name"]
        for field in record["fields"]:
            assert field.get("doc", "").strip(), f"{record['name']}.{field['name']} has no doc"


@pytest.mark.parametrize("name", ALL)
def test_what_is_optional_may_be_left_out(name: str) -> None:
    for record in catalog.schema(name).shape.walk():
        for field in record.fields:
            if field.shape.optional:
                assert field.default is None, f"{record.full_name}.{field.name}"


def test_a_header_is_the_marker_and_the_fingerprint_of_avros_specification_little_endian() -> None:
    # 7275d51a3f395c8f is the fingerprint of "int" in the test data of Avro itself.
    text = '{"type": "record", "name": "R", "fields": []}'
    assert avro.schema.parse('"int"').fingerprint("CRC-64-AVRO").hex() == bytes.fromhex("7275d51a3f395c8f")[::-1].hex()
    assert catalog.load(text).header == b"\xc3\x01" + avro.schema.parse(text).fingerprint("CRC-64-AVRO")


@pytest.mark.parametrize("name", ALL)
def test_fingerprints_are_those_that_the_avro_package_finds(name: str) -> None:
    # It keeps logical types in its canonical form, where the specification strips them.
    known = catalog.schema(name)
    stripped = avro.schema.parse(json.dumps(catalog.without_logical_types(json.loads(known.text))))
    assert known.fingerprint == stripped.fingerprint("CRC-64-AVRO")
    assert known.header == b"\xc3\x01" + known.fingerprint


def test_the_header_tells_the_record_type() -> None:
    for name in ALL:
        header = catalog.schema(name).header
        assert catalog.name_of(header) == name
        assert catalog.name_of(header + b"and what follows") == name
    assert catalog.name_of(b"") is None
    assert catalog.name_of(b"\xc3\x01abcdefgh") is None
    assert catalog.name_of(catalog.schema("Charge").header[:9]) is None


def test_a_charges_event_is_a_usage_event_field_by_field() -> None:
    # The body of a use is copied into its charge as it was published.
    event = catalog.schema("Charge").shape.fields[-1]
    assert event.name == "event"
    assert event.shape == replace(catalog.schema("UsageEvent").shape, optional=True)


def test_the_use_that_a_redrive_carries_is_a_usage_event_field_by_field() -> None:
    use = catalog.schema("Control").shape.fields[-1]
    assert use.name == "use"
    assert use.shape == replace(catalog.schema("UsageEvent").shape, optional=True)


def test_only_rejects_have_fields_of_bytes() -> None:
    assert [name for name in ALL if catalog.schema(name).has_bytes] == ["Reject"]


def test_times_are_whole_microseconds_in_columns() -> None:
    assert str(catalog.schema("UsageEvent").arrow.field("occurred_at").type) == "int64"


@pytest.mark.parametrize(
    ("avro_type", "message"),
    [
        (["string", "null"], "null first"),
        (["null", "string", "long"], "null and one other"),
        ({"type": "fixed", "name": "F", "size": 4}, "'fixed'"),
        ("Unknown", "'Unknown'"),
    ],
)
def test_types_that_the_codec_cannot_handle_are_refused_at_loading(avro_type: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        shape_of({"type": "record", "name": "R", "fields": [{"name": "f", "type": avro_type}]})


def test_a_record_named_before_is_found_again_by_its_name() -> None:
    share = {"type": "record", "name": "Share", "namespace": "n", "fields": [{"name": "nanos", "type": "long"}]}
    shape = shape_of(
        {
            "type": "record",
            "name": "R",
            "namespace": "n",
            "fields": [{"name": "a", "type": share}, {"name": "b", "type": "Share"}, {"name": "c", "type": "n.Share"}],
        }
    )
    assert shape.fields[0].shape == shape.fields[1].shape == shape.fields[2].shape
    assert shape.fields[2].shape.full_name == "n.Share"
