"""Reads one datum slowly and strictly, and says of a bad one what is wrong with it and in which field.

The columns are read fast and without questions; whatever looks odd there comes here. Accepted is what the Avro
specification allows: also arrays and maps in several blocks or with their size in front, and varints with needless
bytes up to 10 in all. Refused are, stricter than fastavro: varints of more than 10 bytes or 64 bits, an int beyond 32
bits, a boolean other than 0 or 1, a block whose size is not what it says. Of a key twice in a map the last one counts.
"""

from __future__ import annotations

import struct
from typing import Any

from nanotally.schemas.shape import Shape


class InvalidDatum(ValueError):
    """The bytes are no datum of the schema, or the record does not fit it; says where and why."""


def read_datum(shape: Shape, value: bytes, start: int = 0) -> dict[str, Any]:
    """The record in `value` from byte `start` to its end; times are whole microseconds. Raises InvalidDatum."""
    reader = _Reader(value, start)
    record: dict[str, Any] = reader.read(shape)
    if reader.at != len(value):
        raise InvalidDatum(f"{len(value) - reader.at} bytes are left over after the last field, from byte {reader.at}")
    return record


def read_as_far(shape: Shape, value: bytes, start: int = 0) -> tuple[dict[str, Any], str]:
    """The fields that can be read from byte `start` on, in order, and what is wrong after them; empty: nothing."""
    reader, record = _Reader(value, start), {}
    try:
        for field in shape.fields:
            reader.path = [field.name]
            record[field.name] = reader.read(field.shape)
    except InvalidDatum as error:
        return record, str(error)
    left = len(value) - reader.at
    return record, f"{left} bytes are left over after the last field, from byte {reader.at}" if left else ""


class _Reader:
    def __init__(self, value: bytes, start: int) -> None:
        self.value = value
        self.at = start
        self.path: list[str] = []

    def read(self, shape: Shape) -> Any:
        if shape.optional:
            branch = self.varint()
            if branch not in (0, 1):
                raise self.error(f"branch {branch} of a union that has 0 (null) and 1 ({shape.kind})")
            if branch == 0:
                return None
        match shape.kind:
            case "long":
                return self.varint()
            case "int":
                return self.int32()
            case "string":
                return self.string()
            case "bytes":
                return self.take(self.length("bytes"))
            case "boolean":
                return self.boolean()
            case "double":
                return struct.unpack("<d", self.take(8))[0]
            case "float":
                return struct.unpack("<f", self.take(4))[0]
            case "record":
                return self.record(shape)
            case "array":
                return self.array(shape)
            case "map":
                return self.map(shape)
        raise TypeError(f"no reader for {shape.kind}")

    def record(self, shape: Shape) -> dict[str, Any]:
        record = {}
        for field in shape.fields:
            self.path.append(field.name)
            record[field.name] = self.read(field.shape)
            self.path.pop()
        return record

    def array(self, shape: Shape) -> list[Any]:
        items: list[Any] = []
        while (block := self.block()) is not None:
            count, end = block
            for _ in range(count):
                items.append(self.read(shape.of))
            self.check_end(end)
        return items

    def map(self, shape: Shape) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        while (block := self.block()) is not None:
            count, end = block
            for _ in range(count):
                key = self.string()
                if key in entries:  # which one counts would depend on the reader
                    raise self.error(f"{key[:80]!r} stands twice in a map")
                entries[key] = self.read(shape.of)
            self.check_end(end)
        return entries

    def block(self) -> tuple[int, int | None] | None:
        """Count of the next block and where it says to end; None at the end of the array or map."""
        count = self.varint()
        if count == 0:
            return None
        if count > 0:
            return count, None
        size = self.length("block")
        return -count, self.at + size

    def check_end(self, end: int | None) -> None:
        if end is not None and end != self.at:
            raise self.error(f"a block says it ends at byte {end}, but ends at byte {self.at}")

    def varint(self) -> int:
        start, shift, bits = self.at, 0, 0
        while True:
            byte = self.take(1)[0]
            bits |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise self.error(f"the integer at byte {start} has more than 10 bytes")
        if bits >> 64:
            raise self.error(f"the integer at byte {start} has more than 64 bits")
        return (bits >> 1) ^ -(bits & 1)

    def int32(self) -> int:
        number = self.varint()
        if not -(1 << 31) <= number < 1 << 31:
            raise self.error(f"{number} is beyond the 32 bits of an int")
        return number

    def boolean(self) -> bool:
        byte = self.take(1)[0]
        if byte > 1:
            raise self.error(f"a boolean is 0 or 1, not {byte}")
        return byte == 1

    def string(self) -> str:
        start = self.at
        content = self.take(self.length("string"))
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise self.error(f"the string at byte {start} is not UTF-8: {error.reason}") from error

    def length(self, what: str) -> int:
        start, length = self.at, self.varint()
        if length < 0:
            raise self.error(f"the {what} at byte {start} has the length {length}")
        return length

    def take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self.value):
            raise self.error(f"it ends at byte {len(self.value)}, but {length} bytes are needed from byte {self.at}")
        content = self.value[self.at : end]
        self.at = end
        return content

    def error(self, message: str) -> InvalidDatum:
        return InvalidDatum(f"field {'.'.join(self.path) or '(none)'}: {message}")
