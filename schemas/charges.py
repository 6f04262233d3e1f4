"""Encodes charges: the events' bytes go in as they were published, and what many charges have alike is written once.

A charge ends with its event, so that its bytes are those of all other fields, one byte for the branch of the union,
and the datum of the event. Its fields begin with what is the same for all charges of one rule, its lines too.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import repeat
from operator import itemgetter
from typing import Any, Final

import fastavro
import pyarrow as pa
from pyruhvro import avro_to_arrow_schema, serialize_record_batch

from nanotally.schemas import catalog
from nanotally.schemas.catalog import HEADER_BYTES
from nanotally.schemas.fitting import fitted
from nanotally.schemas.shape import Shape

NO_EVENT, EVENT = 0, 1  # branches of the union
_BODY = itemgetter(slice(HEADER_BYTES, None))  # of a datum
BLOCK: Final = 4096  # rows made into bytes objects at a time, so that those that are only passing stay in the cache


@dataclass(frozen=True)
class _Leaf:
    """One field of a flat record: of a charge, of its only line or of a share of that. Its path is 'payer',
    'lines.rule', 'lines.shares.0.nanos'. `value` is what it is in any case (counts of an array's block)."""

    path: str
    avro: Any
    value: int | None = None


def encode_rest(batch: pa.RecordBatch, datums: Sequence[bytes] | None) -> list[bytes]:
    """Datums of charges: `batch` has every field of Charge but `event`; `datums` are as `codec.event_datums` gives
    them.

    None for `datums` means charges without an event. Raises ValueError as `codec.encode` does.
    """
    n = len(batch)
    if datums is not None and len(datums) != n:
        raise ValueError(f"{len(datums)} events for {n} charges")
    charge, shape, arrow, text = _without_event()
    branch = pa.repeat(pa.scalar(NO_EVENT if datums is None else EVENT, pa.int32()), n)
    columns = [*fitted(shape, arrow, batch), branch]
    rests = _serialized(columns, [*arrow.names, "event_branch"], text, n)
    return _joined(charge.header, rests, datums)


def encode_flat(
    alike: Mapping[str, Any], columns: Mapping[str, pa.Array], shares: int, datums: Sequence[bytes]
) -> list[bytes]:
    """Datums of charges of uses that have exactly one line each, and that as many shares.

    Fields are named by path: 'payer', 'lines.rule', 'lines.shares.0.nanos'. `alike` has the values of fields that are
    the same for all of the charges, `columns` the others, in Arrow's types of the schema; `datums` are as
    `codec.event_datums` gives them. Raises ValueError for a field that is missing, or a column that does not fit.
    """
    n = len(datums)
    if not n:
        return []
    leaves = _leaves(shares)
    first = next((i for i, leaf in enumerate(leaves) if leaf.value is None and leaf.path not in alike), len(leaves))
    head = _template(shares, tuple(alike[leaf.path] if leaf.value is None else leaf.value for leaf in leaves[:first]))
    rest, arrow, text = _flat_rest(shares, first)
    found = []
    for leaf, kind in zip(rest, arrow.types, strict=True):
        if leaf.value is not None or leaf.path in alike:
            value = alike[leaf.path] if leaf.value is None else leaf.value
            found.append(pa.repeat(pa.scalar(value, kind), n))
            continue
        column = columns.get(leaf.path)
        if column is None:
            raise ValueError(f"there is no column {leaf.path!r}; there are {sorted(columns)}")
        optional = isinstance(leaf.avro, list)
        if column.type != kind or len(column) != n or (column.null_count and not optional):
            raise ValueError(
                f"column {leaf.path!r} is {len(column)} of {column.type} with {column.null_count} nulls; "
                f"{n} of {kind} are needed"
            )
        found.append(column)
    return _joined(head, _serialized(found, arrow.names, text, n), datums)


@lru_cache(maxsize=1)
def _without_event() -> tuple[catalog.Schema, Shape, pa.Schema, str]:
    """The schema, and shape, Arrow schema and pyruhvro's text of it without the event, the last with a branch."""
    charge = catalog.schema("Charge")
    if charge.shape.fields[-1].name != "event":
        raise TypeError("a charge has to end with its event")
    shape = replace(charge.shape, fields=charge.shape.fields[:-1])
    body = json.loads(charge.body_text)
    fields = [*body["fields"][:-1], {"name": "event_branch", "type": "int"}]
    return charge, shape, charge.arrow.remove(len(charge.arrow) - 1), json.dumps({**body, "fields": fields})


@lru_cache(maxsize=64)
def _leaves(shares: int) -> tuple[_Leaf, ...]:
    """The fields of a charge of one line with so many shares, in the order in which they are written."""
    body = json.loads(catalog.schema("Charge").body_text)
    leaves: list[_Leaf] = []

    def walk(fields: list[dict[str, Any]], path: str, counts: Mapping[str, int]) -> None:
        for field in fields:
            name, avro = path + field["name"], field["type"]
            if isinstance(avro, dict) and avro["type"] == "array":
                leaves.extend([_Leaf(f"{name}.count", "long", counts[name])] if counts[name] else [])
                for place in range(counts[name]):
                    inner = f"{name}." if name == "lines" else f"{name}.{place}."
                    walk(avro["items"]["fields"], inner, counts)
                leaves.append(_Leaf(f"{name}.end", "long", 0))
            else:
                leaves.append(_Leaf(name, avro))

    walk(body["fields"][:-1], "", {"lines": 1, "lines.shares": shares})
    return (*leaves, _Leaf("event_branch", "int", EVENT))


def _record(leaves: Sequence[_Leaf]) -> dict[str, Any]:
    fields = [{"name": f"f{i}", "type": leaf.avro} for i, leaf in enumerate(leaves)]
    return {"type": "record", "name": "Flat", "fields": fields}


@lru_cache(maxsize=4096)
def _template(shares: int, values: tuple[Any, ...]) -> bytes:
    """Header and first fields of a charge."""
    out = io.BytesIO()
    out.write(catalog.schema("Charge").header)
    parsed = _parsed(shares, len(values))
    fastavro.schemaless_writer(out, parsed, {f"f{i}": value for i, value in enumerate(values)}, strict=True)
    return out.getvalue()


@lru_cache(maxsize=256)
def _parsed(shares: int, first: int) -> Any:
    return fastavro.parse_schema(_record(_leaves(shares)[:first]))


@lru_cache(maxsize=256)
def _flat_rest(shares: int, first: int) -> tuple[tuple[_Leaf, ...], pa.Schema, str]:
    """The fields from the first one that differs, their Arrow types and pyruhvro's text."""
    rest = _leaves(shares)[first:]
    text = json.dumps(_record(rest))
    return rest, avro_to_arrow_schema(text), text


def _serialized(columns: Sequence[pa.Array], names: Sequence[str], text: str, n: int) -> pa.Array:
    if not n:
        return pa.array([], pa.binary())
    batch = pa.RecordBatch.from_arrays(list(columns), names=list(names))
    return serialize_record_batch(batch, text, 1)[0]


def _joined(head: bytes, rests: pa.Array, datums: Sequence[bytes] | None) -> list[bytes]:
    out: list[bytes] = []
    for start in range(0, len(rests), BLOCK):
        some = rests.slice(start, BLOCK).to_pylist()
        if datums is None:
            out += map(b"".join, zip(repeat(head), some))
        else:
            bodies = map(_BODY, datums[start : start + BLOCK])
            out += map(b"".join, zip(repeat(head), some, bodies))
    return out
