"""Schemas of other versions that are told: what can be read is learned, whatever else is told is refused with why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nanotally.schemas import catalog, codec, learning, sources
from nanotally.schemas.catalog import Schema
from nanotally.schemas.columns import write_datum
from nanotally.schemas.learning import RefusedSchema
from nanotally.schemas.samples import samples

Document = dict[str, Any]
Change = Callable[[Document], object]


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What one test learns is not known to the next."""
    monkeypatch.setattr(catalog, "_learned", {})
    monkeypatch.setattr(catalog, "_refused", {})
    monkeypatch.setattr(sources, "_sources", {})
    yield
    catalog.writers.cache_clear()
    catalog._by_header.cache_clear()


def text_of(change: Change, name: str = "UsageEvent") -> str:
    document = json.loads(catalog.schema(name).text)
    change(document)
    return json.dumps(document)


def with_field(place: int = 0, **parts: Any) -> Change:
    return lambda document: document["fields"].insert(place, {"name": "added", "default": None, **parts})


NEXT = text_of(with_field(3, type=["null", "string"]))


def written(schema: Schema) -> list[bytes]:
    return [write_datum(schema, sample) for sample in samples(schema.shape)]


def test_what_a_later_version_writes_is_read_once_its_schema_is_learned() -> None:
    later = catalog.load(NEXT)
    values = written(later)
    assert codec.split_by_schema(values).keys() == {None}
    assert {bad.reason for bad in codec.decode("UsageEvent", values).bad} == {"unknown_schema"}
    learning.learn(NEXT)
    assert codec.split_by_schema(values).keys() == {"UsageEvent"}
    decoded = codec.decode("UsageEvent", [*values, *written(catalog.schema("UsageEvent"))])
    assert decoded.older.tolist() == [0, 1, 2]
    assert decoded.batch.slice(0, 3) == decoded.batch.slice(3, 3)
    assert [codec.decode_one(value) for value in values] == [
        codec.decode_one(value) for value in written(catalog.schema("UsageEvent"))
    ]


@pytest.mark.parametrize("name", catalog.names())
def test_what_is_told_is_the_schema_itself(name: str) -> None:
    mine = catalog.schema(name)
    told = catalog.load(learning.told(mine.text))
    assert (told.fingerprint, told.shape) == (mine.fingerprint, mine.shape)
    assert learning.learn(learning.told(mine.text), mine.fingerprint) is mine


def test_one_record_of_an_older_version_has_the_defaults_of_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    older = text_of(lambda document: document["fields"].remove(document["fields"][-1]))  # without attributes
    learning.learn(older)
    name, record = codec.decode_one(written(catalog.load(older))[1])
    assert (name, record["attributes"]) == ("UsageEvent", {})
    record["attributes"]["mine"] = "alone"
    assert codec.decode_one(written(catalog.load(older))[1])[1]["attributes"] == {}


def test_an_unknown_schema_is_looked_up_once_for_all_values() -> None:
    asked = []

    def source() -> None:
        asked.append(1)
        learning.learn(NEXT)

    sources.look_up_in(source, "test")
    assert codec.split_by_schema([*written(catalog.load(NEXT)), b"else"]).keys() == {"UsageEvent", None}
    assert asked == [1]
    assert codec.split_by_schema(written(catalog.load(NEXT))).keys() == {"UsageEvent"}
    assert asked == [1]
    strange = [b"\xc3\x01" + bytes([n] * 8) for n in range(100)]
    assert codec.split_by_schema(strange).keys() == {None}
    assert asked == [1, 1]


def test_known_schemas_and_what_has_no_header_ask_nobody() -> None:
    sources.look_up_in(lambda: pytest.fail("asked"), "test")
    values = [*written(catalog.schema("UsageEvent")), None, b"", b"x" * 20, b"\xc3\x01\x00"]
    codec.split_by_schema(values)
    codec.decode("UsageEvent", values)


def test_a_source_that_cannot_be_asked_is_an_error_and_no_unknown_schema() -> None:
    def away() -> None:
        raise ConnectionError("away")

    sources.look_up_in(away, "test")
    with pytest.raises(ConnectionError, match="away"):
        codec.split_by_schema(written(catalog.load(NEXT)))
    sources.look_up_in(None, "test")
    assert codec.split_by_schema(written(catalog.load(NEXT))).keys() == {None}


def nested(depth: int) -> str:
    shape: Any = "string"
    for _ in range(depth):
        shape = {"type": "array", "items": shape}
    return text_of(with_field(type=["null", shape]))


def doubled(times: int) -> str:
    """A schema of a few bytes that stands for 2^times fields."""
    fields: list[Document] = [{"name": "r0", "type": record("R0", [{"name": "a", "type": "int"}])}]
    for n in range(1, times):
        both = [{"name": name, "type": f"R{n - 1}"} for name in "ab"]
        fields.append({"name": f"r{n}", "type": record(f"R{n}", both)})
    return text_of(with_field(type=["null", record("All", fields)]))


def record(name: str, fields: list[Document]) -> Document:
    return {"type": "record", "name": name, "fields": fields}


HOSTILE = {
    "no JSON": ("{", "JSONDecodeError"),
    "no UTF-8": (b"\xff\xfe\xfd", "Error"),
    "a number": ("3", "TypeError"),
    "null": ("null", "TypeError"),
    "a plain type": ('"string"', "it is no record"),
    "an endless list": ("[" * 100_000, "RecursionError"),
    "a record without anything": ('{"type": "record"}', "KeyError 'name'"),
    "nested too deep": (nested(30), "nested more than"),
    "a tree that grows": (doubled(20), "types"),
    "too long": (text_of(lambda document: document.update(doc="x" * 300_000)), "at most 262,144"),
    "another record type": (text_of(lambda document: document.update(name="Stranger")), "no record type 'Stranger'"),
    "another namespace": (text_of(lambda document: document.update(namespace="x")), "the record was named"),
    "a fixed": (text_of(with_field(type=["null", {"type": "fixed", "name": "F", "size": 4}])), "no type 'fixed'"),
    "an enum": (text_of(with_field(type=["null", {"type": "enum", "name": "E", "symbols": ["a"]}])), "no type 'enum'"),
    "a union of three": (text_of(with_field(type=["null", "int", "string"])), "null and one other type"),
    "itself": (text_of(with_field(type=["null", "nanotally.UsageEvent"])), "no type 'nanotally.UsageEvent'"),
    "a new field without a default": (
        text_of(lambda document: document["fields"].insert(0, {"name": "added", "type": "string"})),
        "added: ",
    ),
    "a field less": (text_of(lambda document: document["fields"].pop(0)), "event_id: it is gone and had no default"),
    "another type": (text_of(lambda document: document["fields"][7].update(type="int")), "quantity: its type was long"),
    "a field twice": (text_of(with_field(name="payer", type=["null", "string"])), "named 'payer'"),
    "a field of the codec's own": (text_of(with_field(name="header_marker", type=["null", "int"])), "no field may be"),
    "a field with a strange name": (text_of(with_field(name="a b", type=["null", "int"])), "no field may be"),
    "fields that are none": (text_of(lambda document: document.update(fields=3)), "TypeError"),
    "a field that is none": (text_of(lambda document: document.update(fields=[None])), "TypeError"),
    "an empty record in it": (text_of(with_field(type=["null", record("E", [])])), "E has no fields"),
}


@pytest.mark.parametrize(("text", "why"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_cannot_be_read_is_refused_with_the_reason(text: str | bytes, why: str) -> None:
    before = catalog.writers("UsageEvent")
    with pytest.raises(RefusedSchema) as refused:
        learning.learn(text)
    assert why in str(refused.value)
    assert catalog.writers("UsageEvent") == before


def test_a_record_of_a_refused_schema_says_why() -> None:
    refused = catalog.load(text_of(with_field(type=["null", "string"])))
    text = text_of(lambda document: [with_field(type=["null", "string"])(document), document["fields"].pop(1)])
    other = catalog.load(text)
    with pytest.raises(RefusedSchema):
        learning.learn(text, other.fingerprint)
    (bad,) = codec.decode("UsageEvent", [other.header + b"rest"]).bad
    assert "is refused: it is no version of UsageEvent: event_id: it is gone" in bad.detail
    learning.learn(refused.text)  # a right one is taken afterwards all the same


def test_a_schema_that_is_told_under_another_fingerprint_is_refused() -> None:
    with pytest.raises(RefusedSchema, match="its fingerprint is"):
        learning.learn(NEXT, b"12345678")
    assert "its fingerprint is" in catalog.refusal(b"\xc3\x0112345678")
    assert catalog.known(catalog.load(NEXT).header) is None


def test_a_fingerprint_that_is_known_keeps_its_schema() -> None:
    mine = catalog.schema("UsageEvent")
    same_layout = text_of(lambda document: document["fields"][1].update(type="long"))  # no time any more
    assert learning.learn(same_layout) is mine
    assert catalog.known(mine.header) is mine
