"""Records of any schema: random ones for properties, a plain use for everything else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from nanotally.schemas import catalog
from nanotally.schemas.shape import Shape

INT_EDGES = [0, -1, 63, 64, -64, -65, 8191, 8192, (1 << 27) - 1, 1 << 27, -(1 << 27) - 1, (1 << 31) - 1, -(1 << 31)]
LONG_EDGES = [*INT_EDGES, (1 << 62) - 1, 1 << 62, -(1 << 62), -(1 << 62) - 1, (1 << 63) - 1, -(1 << 63)]
TEXTS = ["", "a", "news", "ñ€🎵", "\x00", "x" * 63, "x" * 64, "é" * 32, "y" * 8191, "y" * 8192]


def usage_event(n: int = 0, **changes: Any) -> dict[str, Any]:
    """A plain use, the n-th of a series a second apart, with these fields changed."""
    return {
        "event_id": f"e-{n:06d}",
        "occurred_at": 1_794_000_000_000_000 + n * 1_000_000,
        "product": "news",
        "payer": f"p-{n % 7}",
        "creator": f"c-{n % 3}",
        "item": f"/blog/{n % 11}",
        "meter": "page.view",
        "quantity": 1,
        "scale": 0,
        "session": None,
        "duration_us": None,
        "attributes": {"segment": "school"},
        **changes,
    }


def batch_of(name: str, records: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Columns of these records, in the Arrow schema of the record type."""
    return pa.RecordBatch.from_pylist(list(records), schema=catalog.schema(name).arrow)


def records_strategy(shape: Shape) -> st.SearchStrategy[Any]:
    """Any record of the shape, with a liking for the edges of its numbers and lengths."""
    inner = _strategy(shape)
    return st.none() | inner if shape.optional else inner


def random_record(shape: Shape, random_: random.Random) -> Any:
    """A record of the shape, quickly; short strings, few items."""
    if shape.optional and random_.random() < 0.5:
        return None
    match shape.kind:
        case "record":
            return {field.name: random_record(field.shape, random_) for field in shape.fields}
        case "array":
            return [random_record(shape.of, random_) for _ in range(random_.randrange(3))]
        case "map":
            return {f"k{n}": random_record(shape.of, random_) for n in range(random_.randrange(3))}
        case "string":
            return random_.choice(["", "a", "page.view", "ñ€🎵", f"{random_.getrandbits(64):x}"])
        case "bytes":
            return random_.randbytes(random_.randrange(9))
        case "boolean":
            return random_.random() < 0.5
        case "int":
            return random_.randrange(-(1 << random_.randrange(32)), 1 << random_.randrange(32))
        case "long":
            return random_.randrange(-(1 << random_.randrange(64)), 1 << random_.randrange(64))
    raise TypeError(shape.kind)


def mutated(value: bytes, random_: random.Random, header: int = catalog.HEADER_BYTES) -> bytes:
    """The datum with up to three bytes changed behind its header; one in four is cut, lengthened or spliced as well."""
    body = bytearray(value[header:])
    for _ in range(random_.randrange(1, 4)):
        body[random_.randrange(len(body))] = random_.choice([random_.randrange(256), 0, 1, 2, 0x7F, 0x80, 0xFF])
    place = random_.randrange(len(body))
    match random_.randrange(12):
        case 0:
            del body[place:]
        case 1:
            body += random_.randbytes(random_.randrange(1, 4))
        case 2:
            body[place:place] = random_.choice([b"\x80\x00", b"\xff\xff\xff\xff\x0f", b"\x80" * 9 + b"\x01", b"\x00"])
    return value[:header] + bytes(body)


def _strategy(shape: Shape) -> st.SearchStrategy[Any]:
    match shape.kind:
        case "record":
            return st.fixed_dictionaries({field.name: records_strategy(field.shape) for field in shape.fields})
        case "array":
            return st.lists(records_strategy(shape.of), max_size=3)
        case "map":
            return st.dictionaries(_texts(), records_strategy(shape.of), max_size=3)
        case "string":
            return _texts()
        case "bytes":
            return st.binary(max_size=80)
        case "boolean":
            return st.booleans()
        case "int":
            return st.sampled_from(INT_EDGES) | st.integers(-(1 << 31), (1 << 31) - 1)
        case "long":
            return st.sampled_from(LONG_EDGES) | st.integers(-(1 << 63), (1 << 63) - 1)
    raise TypeError(shape.kind)


def _texts() -> st.SearchStrategy[str]:
    return st.sampled_from(TEXTS) | st.text(max_size=70)
