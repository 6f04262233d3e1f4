"""Records of `usage` as bytes, by fastavro and the contract's files alone: an oracle for the project's own codec."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from tests.support.reference_values import Control, Garbage, Record

AVSC = Path(__file__).resolve().parents[2] / "schemas" / "avsc"


def _load(name: str) -> tuple[Any, bytes]:
    """The parsed schema and its single-object header."""
    document = json.loads((AVSC / f"{name}.avsc").read_text())
    digest = fingerprint(to_parsing_canonical_form(document), "CRC-64-AVRO")
    return fastavro.parse_schema(document), b"\xc3\x01" + bytes.fromhex(digest)


USAGE_EVENT, USAGE_HEADER = _load("usage_event")
CONTROL, CONTROL_HEADER = _load("control")


def _datum(schema: Any, header: bytes, record: Mapping[str, Any]) -> bytes:
    out = io.BytesIO()
    out.write(header)
    fastavro.schemaless_writer(out, schema, dict(record))
    return out.getvalue()


def _long(value: int) -> bytes:
    """Avro's zigzag varint."""
    rest, out = (value << 1) ^ (value >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def _entry(key: str, value: str) -> bytes:
    return _long(len(key.encode())) + key.encode() + _long(len(value.encode())) + value.encode()


def encode_event(event: Mapping[str, Any], wire: str = "plain") -> bytes:
    """The event's datum. wire: 'plain' as every library writes it; 'blocks' with one block of the map per attribute;
    'sized' with blocks that tell their size; 'padded' with needless bytes in integers; 'twice' with each key given
    twice. All of that is valid Avro."""
    if wire == "plain":
        return _datum(USAGE_EVENT, USAGE_HEADER, event)
    out = _datum(USAGE_EVENT, USAGE_HEADER, {**event, "attributes": {}})[:-1]
    if wire == "twice" and event["attributes"]:
        entries = [_entry(k, other) for k, v in event["attributes"].items() for other in ("mars", v)]
        return out + _long(len(entries)) + b"".join(entries) + b"\x00"
    for key, value in event["attributes"].items():
        entry, count = _entry(key, value), 1
        if wire == "sized":
            out += _long(-1) + _long(len(entry))
        else:
            out += bytes([_long(count)[0] | 0x80, 0]) if wire == "padded" else _long(count)
        out += entry
    return out + (b"\x80\x00" if wire == "padded" else b"\x00")


def encode_control(control: Control) -> bytes:
    return _datum(
        CONTROL,
        CONTROL_HEADER,
        {
            "control_id": control.control_id,
            "kind": control.kind,
            "at": control.at_us,
            "book_number": control.book_number,
            "book_hash": control.book_hash,
            "note": control.note,
            "usage_offset": control.usage_offset,
            "use": control.use,
        },
    )


def encode(record: Record) -> bytes | None:
    """The record's value as it lies in the topic."""
    if isinstance(record.value, Garbage):
        return record.value.data
    if isinstance(record.value, Control):
        return encode_control(record.value)
    return encode_event(record.value, record.wire)


# ---- what comes out ----


def _without_times(part: Any) -> Any:
    """The schema without logical types, so that times are read as whole microseconds."""
    if isinstance(part, dict):
        return {k: _without_times(v) for k, v in part.items() if k != "logicalType"}
    return [_without_times(p) for p in part] if isinstance(part, list) else part


def _readers() -> dict[bytes, tuple[str, Any]]:
    found = {}
    for path in sorted(AVSC.glob("*.avsc")):
        document = json.loads(path.read_text())
        _, header = _load(path.stem)
        found[header] = document["name"], fastavro.parse_schema(_without_times(document))
    return found


READERS = _readers()


def decode(value: bytes) -> tuple[str, dict[str, Any]]:
    """Record type and record of a datum; nothing may be left over."""
    name, schema = READERS[value[:10]]
    source = io.BytesIO(value[10:])
    record = fastavro.schemaless_reader(source, schema)
    assert source.read() == b"", f"bytes left over after a {name}"
    assert isinstance(record, dict)
    return name, record
