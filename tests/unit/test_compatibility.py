"""Every record type can be read both ways; what breaks that is found, named and told how to mend."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanotally.schemas import catalog, codec, compatibility
from nanotally.schemas.catalog import Schema
from nanotally.schemas.columns import write_datum
from nanotally.schemas.projection import project
from nanotally.schemas.samples import samples

Document = dict[str, Any]


def changed(name: str, change: Callable[[Document], Any]) -> Schema:
    """The current schema of a record type after a change to its JSON."""
    document = json.loads(catalog.schema(name).text)
    change(document)
    return catalog.load(json.dumps(document))


def field(document: Document, name: str) -> Document:
    found: Document = next(field for field in document["fields"] if field["name"] == name)
    return found


def faults(change: Callable[[Document], Any], name: str = "Statement") -> list[str]:
    """What is said of a change when it is compared with the current schema."""
    return [str(fault) for fault in compatibility.breaks(changed(name, change), catalog.schema(name), 1)]


def added(**parts: Any) -> Callable[[Document], None]:
    return lambda document: document["fields"].insert(2, {"name": "added", "type": "string", "doc": "d", **parts})


def dropped(name: str) -> Callable[[Document], None]:
    return lambda document: document["fields"].remove(field(document, name))


@pytest.mark.parametrize("name", catalog.names())
def test_the_current_schemas_are_recorded_and_compatible(name: str) -> None:
    assert [str(fault) for fault in compatibility.check(catalog.schema(name))] == []
    assert compatibility.is_recorded(catalog.schema(name)), "run python -m nanotally.schemas.compatibility --record"


@pytest.mark.parametrize("name", catalog.names())
def test_the_bytes_recorded_for_the_current_schema_are_what_is_written_now(name: str) -> None:
    known = catalog.schema(name)
    for path in catalog.recorded(name).values():
        if catalog.load(path.read_text()).fingerprint == known.fingerprint:
            written = [write_datum(known, record) for record in samples(known.shape)]
            assert compatibility.recorded_datums(path) == written


class TestRules:
    def test_a_new_field_with_a_default_is_fine(self) -> None:
        assert faults(added(default="")) == []

    def test_a_new_field_without_one_is_not(self) -> None:
        assert faults(added()) == [
            "Statement.added against version 1: it is new and has no default. "
            "Give 'added' a default, so that older datums can be read."
        ]

    def test_a_field_without_a_default_must_stay(self) -> None:
        assert faults(dropped("due_nanos")) == [
            "Statement.due_nanos against version 1: it is gone and had no default. "
            "Keep 'due_nanos': what reads by the older version needs it."
        ]

    def test_a_field_with_a_default_may_go(self) -> None:
        assert faults(dropped("session"), "UsageEvent") == []

    def test_order_and_docs_may_change(self) -> None:
        assert faults(lambda document: document["fields"].reverse()) == []
        assert faults(lambda document: field(document, "count").update(doc="other")) == []

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            (lambda d: field(d, "count").update(type="int"), "Statement.count.*its type was long and is int"),
            (lambda d: field(d, "count").update(type="string"), "Statement.count.*its type was long and is string"),
            (lambda d: field(d, "count").update(type=["null", "long"]), "Statement.count.*null is allowed and was not"),
            (
                lambda d: field(d, "period_end")["type"].update(logicalType="timestamp-millis"),
                "Statement.period_end.*its meaning was timestamp-micros and is timestamp-millis",
            ),
            (lambda d: d.update(namespace="other"), "was named nanotally.Statement and is other.Statement"),
        ],
    )
    def test_one_change_is_named_once(self, change: Callable[[Document], Any], what: str) -> None:
        (fault,) = faults(change)
        assert re.search(what, fault), fault

    def test_null_must_stay_allowed(self) -> None:
        (fault,) = faults(lambda document: field(document, "creator").update(type="string", default=""), "UsageEvent")
        assert "UsageEvent.creator against version 1: null was allowed and is not" in fault

    def test_fields_deep_inside_are_found(self) -> None:
        def change(charge: Document) -> None:
            line = field(charge, "lines")["type"]["items"]
            added()(field(line, "shares")["type"]["items"])

        (fault,) = faults(change, "Charge")
        assert fault.startswith("Charge.lines[].shares[].added against version 1: it is new and has no default.")

    def test_values_of_maps_are_found(self) -> None:
        (fault,) = faults(lambda document: field(document, "counts")["type"].update(values="string"), "Chunk")
        assert fault.startswith("Chunk.counts[] against version 1: its type was long and is string.")


class TestReading:
    """A change within the rules is read for real, both ways, and compared with what fastavro resolves."""

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("UsageEvent", dropped("session")),
            ("UsageEvent", added(default="x")),
            ("UsageEvent", added(type={"type": "map", "values": "long"}, default={"a": 1})),
            ("UsageEvent", added(type={"type": "array", "items": "string"}, default=["b"])),
            ("UsageEvent", added(type=["null", "long"], default=None)),
            ("UsageEvent", lambda document: document["fields"].reverse()),
            ("Reject", added(type=["null", "bytes"], default=None)),
            ("Charge", lambda charge: dropped("session")(field(charge, "event")["type"][1])),
            ("Charge", lambda charge: added(default="x")(field(charge, "event")["type"][1])),
            ("Charge", lambda charge: dropped("catalog")(field(charge, "lines")["type"]["items"])),
            (
                "Charge",
                lambda charge: added(default="x")(
                    field(field(charge, "lines")["type"]["items"], "shares")["type"]["items"]
                ),
            ),
        ],
    )
    def test_both_ways(self, name: str, change: Callable[[Document], Any]) -> None:
        older, current = changed(name, change), catalog.schema(name)
        assert older.fingerprint != current.fingerprint
        for new, old in ((current, older), (older, current)):
            assert compatibility.breaks(new, old, 1) == []
            datums = [write_datum(old, record) for record in samples(old.shape)]
            assert [str(fault) for fault in compatibility.unread(new, old, 1, datums)] == []

    def test_a_default_of_bytes_stands_in_json_as_code_points(self) -> None:
        known, newer = catalog.schema("Reject"), changed("Reject", added(type="bytes", default="a\u00ff"))
        batch = codec.decode("Reject", [write_datum(known, record) for record in samples(known.shape)]).batch
        projected = project(batch, known.shape, newer.shape, newer.arrow)
        assert projected.column("added").to_pylist() == [b"a\xff"] * 3

    def test_recorded_bytes_that_are_no_datums_are_found(self) -> None:
        known = catalog.schema("Statement")
        good, bad, _ = (write_datum(known, record) for record in samples(known.shape))
        (fault,) = compatibility.unread(known, known, 3, [good, bad[:-1]])
        assert str(fault).startswith(
            "Statement against version 3: recorded datum 1 is not read: field due_nanos: it ends"
        )

    def test_values_that_are_read_wrongly_are_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        known = catalog.schema("Statement")
        monkeypatch.setattr(compatibility, "project", lambda batch, *_: batch.take([1, 0]))
        faults = compatibility.unread(known, known, 1, [write_datum(known, one) for one in samples(known.shape)[:2]])
        assert [fault.what[:28] for fault in faults] == ["recorded datum 0 is read as ", "recorded datum 1 is read as "]

    def test_what_the_rules_would_let_pass_is_found_by_reading(self) -> None:
        known, other = catalog.schema("Statement"), changed("Statement", added())
        datums = [write_datum(known, record) for record in samples(known.shape)[:1]]
        (fault,) = compatibility.unread(other, known, 1, datums)
        assert "a recorded datum cannot be read now: field 'added'" in str(fault)


class TestCommand:
    def test_it_prints_a_row_for_each_record_type(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert compatibility.main([]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
        assert [(row[0], row[-1]) for row in rows] == [(name, "yes") for name in catalog.names()]

    def test_what_is_not_recorded_is_a_fault_until_it_is(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert compatibility.main([], tmp_path) == 1
        assert "Tally: it is not recorded. Run python -m nanotally.schemas.compatibility --record" in (
            capsys.readouterr().err
        )
        assert compatibility.main(["--record"], tmp_path) == 0
        assert compatibility.main([], tmp_path) == 0
        assert sorted(path.name for path in (tmp_path / "Tally").iterdir()) == ["1.avsc", "1.hex"]

    def test_recording_again_writes_nothing(self, tmp_path: Path) -> None:
        compatibility.main(["--record"], tmp_path)
        compatibility.main(["--record"], tmp_path)
        assert list(catalog.recorded("Tally", tmp_path)) == [1]

    def test_a_compatible_change_becomes_the_next_version(self, tmp_path: Path) -> None:
        compatibility.record(changed("Tally", added(default="")), tmp_path)
        compatibility.main(["--record"], tmp_path)
        assert sorted(catalog.recorded("Tally", tmp_path)) == [1, 2]

    def test_a_break_is_never_recorded(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        compatibility.record(changed("Tally", added()), tmp_path)
        assert compatibility.main(["--record"], tmp_path) == 1
        assert list(catalog.recorded("Tally", tmp_path)) == [1]
        assert "Tally.added against version 1: it is gone and had no default." in capsys.readouterr().err
