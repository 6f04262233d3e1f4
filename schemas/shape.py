"""The shape of an Avro type as a small tree, so that nobody else walks Avro's JSON.

The codec handles what the contracts use: null only as the first branch of a union of two; no fixed, decimal, uuid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

SCALARS: Final = frozenset({"boolean", "int", "long", "float", "double", "string", "bytes"})
REQUIRED: Final = object()
"""Default of a field that has none (None is a default: null)."""


@dataclass(frozen=True)
class Field:
    """One field of a record. `default` is the JSON value of the schema, or REQUIRED."""

    name: str
    shape: Shape
    default: Any = REQUIRED


@dataclass(frozen=True)
class Shape:
    """One type: a scalar's Avro name, 'record', 'array' or 'map'; `optional` for a union of null and that."""

    kind: str
    optional: bool = False
    fields: tuple[Field, ...] = ()
    item: Shape | None = None  # what an array holds; the values of a map
    full_name: str = ""  # of a record, with its namespace
    logical: str = ""  # logical type; bytes and columns do not show it

    @property
    def of(self) -> Shape:
        """The items of an array, the values of a map."""
        if self.item is None:
            raise TypeError(f"{self.kind} holds no items")
        return self.item

    def walk(self) -> Iterator[Shape]:
        """This shape and all that is in it."""
        yield self
        for field in self.fields:
            yield from field.shape.walk()
        if self.item is not None:
            yield from self.item.walk()


def shape_of(avro: Any) -> Shape:
    """Shape of a schema given as parsed JSON. Raises TypeError for a type that the codec does not handle."""
    return _shape(avro, {}, "")


def _shape(avro: Any, named: dict[str, Shape], namespace: str) -> Shape:
    if isinstance(avro, list):
        if len(avro) != 2 or avro[0] != "null":
            raise TypeError(f"a union must be null and one other type, null first: {avro}")
        inner = _shape(avro[1], named, namespace)
        return replace(inner, optional=True)
    if isinstance(avro, str):
        if avro in SCALARS:
            return Shape(avro)
        known = named.get(avro) or named.get(f"{namespace}.{avro}")
        if known is None:
            raise TypeError(f"the codec handles no type {avro!r}")
        return known
    kind = avro["type"]
    if kind == "record":
        namespace = avro.get("namespace", namespace)
        full_name = avro["name"] if "." in avro["name"] or not namespace else f"{namespace}.{avro['name']}"
        fields = tuple(
            Field(field["name"], _shape(field["type"], named, namespace), field.get("default", REQUIRED))
            for field in avro["fields"]
        )
        named[full_name] = Shape("record", fields=fields, full_name=full_name)
        return named[full_name]
    if kind in ("array", "map"):
        return Shape(kind, item=_shape(avro["items" if kind == "array" else "values"], named, namespace))
    return replace(_shape(kind, named, namespace), logical=avro.get("logicalType", ""))
