"""The codec: columns of a chunk, and of every bad datum why it is bad, without harm to its neighbours."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyruhvro
import pytest

from nanotally.schemas import catalog, codec, columns
from nanotally.schemas.codec import InvalidDatum
from nanotally.schemas.columns import records_of
from nanotally.schemas.samples import samples
from tests.support.records import batch_of, usage_event

USAGE = catalog.schema("UsageEvent")
CONTROL = catalog.schema("Control")
GOOD = [codec.encode_one("UsageEvent", usage_event(n)) for n in range(40)]

CHARGES = [
    {**samples(catalog.schema("Charge").shape)[1], "event": usage_event(n, scale=n), "usage_offset": n}
    for n in range(5)
]


def zigzag(number: int) -> bytes:
    bits = (number << 1) ^ (number >> 63)
    out = bytearray()
    while bits > 0x7F:
        out.append(bits & 0x7F | 0x80)
        bits >>= 7
    return bytes(out) + bytes([bits])


def text(value: bytes) -> bytes:
    return zigzag(len(value)) + value


def event_bytes(
    *, meter: bytes = text(b"page.view"), quantity: bytes = b"\x02", scale: bytes = b"\x00", session: bytes = b"\x00",
    attributes: bytes = b"\x00", header: bytes = USAGE.header,
) -> bytes:  # fmt: skip
    """A use of which these fields are given as encoded bytes."""
    head = text(b"e-1") + zigzag(1_794_000_000_000_000) + text(b"news") + text(b"p-1") + b"\x00" + text(b"/a")
    return header + head + meter + quantity + scale + session + b"\x00" + attributes


def sole_fault(value: bytes | None, name: str = "UsageEvent") -> codec.BadDatum:
    """What is wrong with this value among good ones, which all come through."""
    good = GOOD if name == "UsageEvent" else []
    decoded = codec.decode(name, [*good[:20], value, *good[20:]])
    assert decoded.index.tolist() == [n for n in range(len(good) + 1) if n != len(good[:20])]
    assert len(decoded.batch) == len(good)
    (fault,) = decoded.bad
    assert fault.index == len(good[:20])
    return fault


class TestRoundTrip:
    @pytest.mark.parametrize("name", catalog.names())
    def test_every_record_type_goes_through_columns_and_back(self, name: str) -> None:
        known = catalog.schema(name)
        records = samples(known.shape)
        values = codec.encode(name, batch_of(name, records))
        assert values == [codec.encode_one(name, record) for record in records]
        decoded = codec.decode(name, values)
        assert decoded.bad == ()
        assert decoded.index.tolist() == [0, 1, 2]
        assert decoded.batch.schema == known.arrow
        assert records_of(decoded.batch, known.shape) == records
        assert codec.encode(name, decoded.batch) == values

    @pytest.mark.parametrize("name", catalog.names())
    def test_one_datum_says_which_record_it_is(self, name: str) -> None:
        for record in samples(catalog.schema(name).shape):
            assert codec.decode_one(codec.encode_one(name, record)) == (name, record)

    @pytest.mark.parametrize("name", catalog.names())
    def test_no_datums_are_no_rows(self, name: str) -> None:
        decoded = codec.decode(name, [])
        assert decoded.batch.schema == catalog.schema(name).arrow
        assert (len(decoded.batch), len(decoded.index), decoded.bad) == (0, 0, ())
        assert codec.encode(name, decoded.batch) == []

    def test_a_datum_written_by_hand_is_read(self) -> None:
        value = event_bytes(
            session=b"\x02" + text(b"s-1"), attributes=b"\x02" + text(b"segment") + text(b"pro") + b"\x00"
        )
        expected = usage_event(
            event_id="e-1", payer="p-1", creator=None, item="/a", session="s-1", attributes={"segment": "pro"}
        )
        assert codec.decode_one(value) == ("UsageEvent", expected)
        assert codec.encode_one("UsageEvent", expected) == value

    def test_columns_come_in_any_order_and_in_other_types_of_string_and_integer(self) -> None:
        plain = batch_of("UsageEvent", [usage_event(n) for n in range(40)])
        changed = {name: plain.column(name) for name in reversed(plain.schema.names)}
        changed["product"] = changed["product"].dictionary_encode()
        changed["item"] = changed["item"].cast(pa.large_string())
        changed["payer"] = changed["payer"].cast(pa.string_view())
        changed["quantity"] = changed["quantity"].cast(pa.int32())
        changed["duration_us"] = pa.nulls(40)
        changed["further"] = pa.array(range(40))
        assert codec.encode("UsageEvent", pa.RecordBatch.from_pydict(changed)) == GOOD

    def test_a_slice_of_a_batch_is_encoded_as_that_slice(self) -> None:
        batch = batch_of("UsageEvent", [usage_event(n) for n in range(40)])
        assert codec.encode("UsageEvent", batch.slice(7, 20)) == GOOD[7:27]


class TestEncodingRefuses:
    def refused(self, changed: dict[str, Any], message: str) -> None:
        batch = batch_of("UsageEvent", [usage_event(n) for n in range(2)])
        columns_ = {**{name: batch.column(name) for name in batch.schema.names}, **changed}
        with pytest.raises(ValueError, match=message):
            codec.encode("UsageEvent", pa.RecordBatch.from_pydict(columns_))

    def test_a_null_that_would_be_written_as_zero(self) -> None:
        self.refused({"quantity": pa.array([1, None])}, "column 'quantity' has 1 nulls")
        self.refused({"payer": pa.array(["p", None])}, "column 'payer' has 1 nulls")

    def test_a_null_deep_in_a_list(self) -> None:
        charge = samples(catalog.schema("Charge").shape)[2]
        charge["lines"][0]["shares"][0]["account"] = None
        with pytest.raises(ValueError, match=r"column 'lines\.shares\.account' has 1 nulls"):
            codec.encode("Charge", batch_of("Charge", [charge]))

    def test_a_null_in_the_values_of_a_map(self) -> None:
        attributes = pa.array([[("a", None)], []], pa.map_(pa.string(), pa.string()))
        self.refused({"attributes": attributes}, "column 'attributes' has 1 nulls")

    def test_a_column_that_is_missing(self) -> None:
        batch = batch_of("UsageEvent", [usage_event()]).drop_columns(["meter"])
        with pytest.raises(ValueError, match=r"column 'meter' of nanotally\.UsageEvent is missing"):
            codec.encode("UsageEvent", batch)

    def test_arrows_own_times_whose_unit_could_be_mistaken(self) -> None:
        self.refused({"occurred_at": pa.array([1, 2], pa.timestamp("ns"))}, "'occurred_at'.*whole microseconds")

    def test_floats(self) -> None:
        self.refused({"quantity": pa.array([1.0, 2.0])}, "'quantity' is double; int64 is needed")

    def test_integers_beyond_their_type(self) -> None:
        self.refused({"scale": pa.array([0, 1 << 31])}, "'scale' is int64; int32 is needed")


class TestCharges:
    def test_the_rest_joined_to_the_event_as_published_is_the_charge(self) -> None:
        batch = batch_of("Charge", CHARGES)
        events = [codec.encode_one("UsageEvent", record["event"]) for record in CHARGES]
        datums = codec.event_datums(events, codec.decode("UsageEvent", events))
        assert codec.encode_rest(batch.drop_columns(["event"]), datums) == codec.encode("Charge", batch)
        assert codec.encode_rest(batch, datums) == [codec.encode_one("Charge", record) for record in CHARGES]

    def test_what_fell_due_has_no_event(self) -> None:
        records = [{**record, "event": None} for record in CHARGES]
        rests = codec.encode_rest(batch_of("Charge", records), None)
        assert rests == [codec.encode_one("Charge", record) for record in records]
        decoded = codec.decode("Charge", [*rests, *codec.encode("Charge", batch_of("Charge", CHARGES))])
        assert decoded.bad == ()
        assert records_of(decoded.batch, catalog.schema("Charge").shape) == records + CHARGES

    def test_no_charges_are_no_datums(self) -> None:
        assert codec.encode_rest(batch_of("Charge", []), []) == []
        assert codec.encode_rest(batch_of("Charge", []), None) == []

    def test_one_event_is_needed_for_each_charge(self) -> None:
        with pytest.raises(ValueError, match="4 events for 5 charges"):
            codec.encode_rest(batch_of("Charge", CHARGES), [b""] * 4)

    def test_datums_are_those_of_the_rows(self) -> None:
        values = [GOOD[0], b"junk", GOOD[1]]
        decoded = codec.decode("UsageEvent", values)
        assert codec.event_datums(values, decoded) == [GOOD[0], GOOD[1]]

    def test_an_event_encoded_in_another_way_gets_the_one_encoding_that_the_ledger_has(self) -> None:
        roundabout = event_bytes(quantity=b"\x82\x00")
        (datum,) = codec.event_datums([roundabout], codec.decode("UsageEvent", [roundabout]))
        assert datum == event_bytes(quantity=b"\x02")
        (charge,) = codec.encode_rest(batch_of("Charge", CHARGES[:1]), [datum])
        decoded = codec.decode("Charge", [charge])
        assert decoded.bad == ()
        assert decoded.batch.column("event").to_pylist()[0]["quantity"] == 1


class TestMalformed:
    @pytest.mark.parametrize(
        ("value", "detail"),
        [
            (None, "there is no value"),
            (b"", "the value is empty"),
            (b"\xc3", "it begins with c3, not with c3 01"),
            (b'{"event_id": "e-1"}', "it begins with 7b 22, not with c3 01"),
            (b"\x00\x00\x00\x00\x07confluent", "it begins with 00 00"),
            (USAGE.header[:9], "it ends within the header: 9 of 10 bytes"),
            (USAGE.header, "field event_id: it ends at byte 10"),
            (GOOD[3][:-1], "field attributes: it ends at byte"),
            (GOOD[3] + b"\x00", "1 bytes are left over after the last field"),
            (GOOD[3] + GOOD[4], "bytes are left over"),
            (event_bytes(meter=text(b"page.vi\xff")), "field meter: the string at byte 35 is not UTF-8"),
            (event_bytes(meter=text("\ud800".encode("utf-8", "surrogatepass"))), "field meter: the string"),
            (event_bytes(meter=text(b"\xc0\x80")), "field meter: the string"),
            (event_bytes(meter=b"\x01"), "field meter: the string at byte 35 has the length -1"),
            (event_bytes(meter=zigzag(1 << 62)), "field meter: it ends at byte"),
            (event_bytes(session=b"\x04"), "field session: branch 2 of a union"),
            (event_bytes(session=b"\x01"), "field session: branch -1 of a union"),
            (event_bytes(scale=zigzag(1 << 31)), "field scale: 2147483648 is beyond the 32 bits"),
            (event_bytes(scale=zigzag(1 << 40)), "field scale: 1099511627776 is beyond the 32 bits"),
            (event_bytes(scale=zigzag((1 << 33) + (1 << 27))), "field scale: 8724152320 is beyond the 32 bits"),
            (event_bytes(quantity=b"\x82" + b"\x80" * 9 + b"\x00"), "the integer at byte 45 has more than 10 bytes"),
            (event_bytes(quantity=b"\xff" * 9 + b"\x03"), "the integer at byte 45 has more than 64 bits"),
            (event_bytes(attributes=b"\x02" + text(b"\xff") + text(b"b") + b"\x00"), "field attributes: the string"),
            (event_bytes(attributes=b"\x02" + text(b"a") + text(b"\xff") + b"\x00"), "field attributes: the string"),
            (event_bytes(attributes=zigzag(1 << 40)), "field attributes: it ends at byte"),
            (
                event_bytes(attributes=b"\x01\x0a" + text(b"a") + text(b"b") + b"\x00"),
                "field attributes: a block says it ends at byte 56, but ends at byte 55",
            ),
        ],
    )  # fmt: skip
    def test_it_is_found_alone_and_said_what_is_wrong(self, value: bytes | None, detail: str) -> None:
        fault = sole_fault(value)
        assert fault.reason == "malformed"
        assert detail in fault.detail
        with pytest.raises(InvalidDatum, match=re.escape(detail)):
            codec.decode_one(value)

    def test_a_fingerprint_that_nobody_knows(self) -> None:
        fault = sole_fault(b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08" + GOOD[0][10:])
        assert fault.reason == "unknown_schema"
        assert fault.detail.startswith("fingerprint 0102030405060708 is of no version of UsageEvent")

    def test_a_record_of_another_type(self) -> None:
        fault = sole_fault(codec.encode_one("Control", {"control_id": "c", "kind": "tick"}))
        assert fault.reason == "unknown_schema"
        assert fault.detail == f"fingerprint {CONTROL.fingerprint.hex()} is of Control, not of UsageEvent"

    def test_every_cut_of_a_datum_is_malformed(self) -> None:
        value = codec.encode_one("UsageEvent", usage_event(creator="ñ", session="s", duration_us=1 << 40))
        cuts: list[bytes | None] = [value[:length] for length in range(len(value))]
        decoded = codec.decode("UsageEvent", cuts)
        assert [fault.index for fault in decoded.bad] == list(range(len(cuts)))
        assert {fault.reason for fault in decoded.bad} == {"malformed"}

    def test_a_reject_with_its_bytes_is_judged_as_strictly(self) -> None:
        (record,) = samples(catalog.schema("Reject").shape)[2:]
        value = codec.encode_one("Reject", record)
        assert sole_fault(value[:-1], "Reject").reason == "malformed"
        decoded = codec.decode("Reject", [value, None, value])
        assert decoded.index.tolist() == [0, 2]
        assert records_of(decoded.batch, catalog.schema("Reject").shape) == [record, record]

    def test_faults_and_rows_keep_their_places(self) -> None:
        values: list[bytes | None] = list(GOOD)
        for place in (0, 1, 17, 39):
            values[place] = b"\xc3\x01garbage!"
        values[20] = None
        decoded = codec.decode("UsageEvent", values)
        assert [fault.index for fault in decoded.bad] == [0, 1, 17, 20, 39]
        assert decoded.batch.column("event_id").to_pylist() == [f"e-{n:06d}" for n in decoded.index]
        assert len(decoded.index) == 35


class TestRoundaboutEncodings:
    """Allowed by the specification, though no one need write them so."""

    @pytest.mark.parametrize(
        ("value", "changes"),
        [
            (event_bytes(quantity=b"\x82\x00"), {"quantity": 1}),
            (event_bytes(quantity=b"\x82" + b"\x80" * 8 + b"\x00"), {"quantity": 1}),
            (event_bytes(meter=b"\x82\x00a"), {"meter": "a"}),
            (
                event_bytes(attributes=b"\x01\x08" + text(b"a") + text(b"b") + b"\x00"),
                {"attributes": {"a": "b"}},
            ),
            (
                event_bytes(
                    attributes=(b"\x02" + text(b"a") + text(b"b")) + (b"\x02" + text(b"c") + text(b"d")) + b"\x00"
                ),
                {"attributes": {"a": "b", "c": "d"}},
            ),
        ],
        ids=["long", "long of 10 bytes", "length", "block with its size", "two blocks"],
    )
    def test_they_are_read_and_come_out_in_place(self, value: bytes, changes: dict[str, Any]) -> None:
        decoded = codec.decode("UsageEvent", [GOOD[0], value, GOOD[1]])
        assert decoded.bad == ()
        plain = usage_event(event_id="e-1", payer="p-1", creator=None, item="/a", attributes={})
        assert records_of(decoded.batch, USAGE.shape) == [usage_event(0), {**plain, **changes}, usage_event(1)]

    def test_the_greatest_integers_are_read_though_their_length_proves_nothing(self) -> None:
        records = [
            usage_event(scale=scale, quantity=quantity)
            for scale in (-(1 << 31), (1 << 31) - 1, 1 << 27)
            for quantity in (-(1 << 63), (1 << 63) - 1, 1 << 62)
        ]
        values = [codec.encode_one("UsageEvent", record) for record in records]
        decoded = codec.decode("UsageEvent", values)
        assert decoded.bad == ()
        assert records_of(decoded.batch, USAGE.shape) == records

    def test_of_a_key_twice_in_a_map_both_stay_in_the_columns(self) -> None:
        twice = b"\x04" + text(b"a") + text(b"b") + text(b"a") + text(b"c") + b"\x00"
        decoded = codec.decode("UsageEvent", [event_bytes(attributes=twice)])
        assert decoded.batch.column("attributes").to_pylist() == [[("a", "b"), ("a", "c")]]


class TestIsolation:
    @pytest.fixture
    def readings(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many datums each reading as columns had."""
        seen: list[int] = []
        read = pyruhvro.deserialize_array

        def counted(values: list[bytes], text: str) -> pa.RecordBatch:
            seen.append(len(values))
            return read(values, text)

        monkeypatch.setattr(columns, "deserialize_array", counted)
        return seen

    def test_a_sound_chunk_is_read_once(self, readings: list[int]) -> None:
        codec.decode("UsageEvent", GOOD)
        assert readings == [40]

    def test_so_is_one_with_all_lengths_of_strings_and_integers(self, readings: list[int]) -> None:
        # Where a varint gets one byte longer: at 64 * 128^k and one below the opposite.
        edges = [edge + side for k in range(8) for edge in (64 << 7 * k, -(64 << 7 * k)) for side in (-1, 0, 1)]
        lengths = [0, 1, 63, 64, 65, 8191, 8192, 8193]
        records = [usage_event(quantity=edge, duration_us=edge) for edge in edges]
        records += [usage_event(item="x" * length, session="y" * length) for length in lengths]
        records += [usage_event(attributes={f"k{n}": "v" for n in range(count)}) for count in (0, 1, 63, 64, 65)]
        records += [usage_event(creator=None, scale=scale) for scale in (-(1 << 27), (1 << 27) - 1)]
        for some in (records, *([record] for record in records)):
            readings.clear()
            decoded = codec.decode("UsageEvent", [codec.encode_one("UsageEvent", record) for record in some])
            assert records_of(decoded.batch, USAGE.shape) == some
            assert readings == [len(some)], some

    @pytest.mark.parametrize("bad", [[0], [4095], [1000, 1001], [5, 1500, 3000]])
    def test_k_bad_ones_of_n_cost_k_log_n_readings(self, readings: list[int], bad: list[int]) -> None:
        values = (GOOD * 103)[:4096]
        for place in bad:
            values[place] = values[place][:-1]
        decoded = codec.decode("UsageEvent", values)
        assert [fault.index for fault in decoded.bad] == bad
        assert len(readings) <= 2 + len(bad) * (2 * math.ceil(math.log2(4096)) + columns.FEW)

    def test_a_panic_of_the_reader_is_a_doubt_and_not_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
        read = pyruhvro.deserialize_array

        def reader(values: list[bytes], text: str) -> pa.RecordBatch:
            if roundabout in values:
                raise panic("not implemented")
            return read(values, text)

        roundabout = event_bytes(quantity=b"\x82\x00")
        monkeypatch.setattr(columns, "deserialize_array", reader)
        decoded = codec.decode("UsageEvent", [*GOOD, roundabout, *GOOD])
        assert decoded.bad == ()
        assert decoded.batch.column("quantity").to_pylist() == [1] * 81

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
    def test_nothing_else_is_swallowed(self, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
        read, errors = pyruhvro.deserialize_array, [error]

        def reader(values: list[bytes], text: str) -> pa.RecordBatch:
            if errors:
                raise errors.pop()
            return read(values, text)

        monkeypatch.setattr(columns, "deserialize_array", reader)
        with pytest.raises(error):
            codec.decode("UsageEvent", GOOD)

    def test_pyruhvros_panic_on_bytes_is_known_as_one(self, capfd: pytest.CaptureFixture[str]) -> None:
        reject = catalog.schema("Reject")
        value = codec.encode_one("Reject", samples(reject.shape)[1])
        with pytest.raises(BaseException, match="not implemented") as caught:
            pyruhvro.deserialize_array([value], reject.columnar_text)
        assert columns.is_panic(caught.value)
        assert not isinstance(caught.value, Exception)
        assert not columns.is_panic(KeyboardInterrupt())


class TestSplitting:
    CONTROL_VALUE = codec.encode_one("Control", {"control_id": "c", "kind": "tick"})

    @staticmethod
    def split(values: list[bytes | None]) -> dict[str | None, list[int]]:
        return {name: found.tolist() for name, found in codec.split_by_schema(values).items()}

    def test_all_alike(self) -> None:
        assert self.split(list(GOOD)) == {"UsageEvent": list(range(40))}
        assert self.split([b"\xc3\x01abcdefgh"] * 3) == {None: [0, 1, 2]}
        assert codec.split_by_schema(GOOD)["UsageEvent"].dtype == np.int64

    def test_nothing(self) -> None:
        assert self.split([]) == {}

    def test_mixed(self) -> None:
        values = [GOOD[0], self.CONTROL_VALUE, None, GOOD[1], b"", b"\xc3\x01", GOOD[2]]
        assert self.split(values) == {"UsageEvent": [0, 3, 6], "Control": [1], None: [2, 4, 5]}
        assert self.split([GOOD[0], self.CONTROL_VALUE]) == {"UsageEvent": [0], "Control": [1]}
        assert self.split([self.CONTROL_VALUE, GOOD[0]]) == {"UsageEvent": [1], "Control": [0]}

    def test_none_alone(self) -> None:
        assert self.split([None]) == {None: [0]}
        assert self.split([None, None]) == {None: [0, 1]}


class TestOneDatum:
    def test_fields_with_a_default_may_be_left_out(self) -> None:
        record = usage_event()
        del record["session"], record["duration_us"], record["creator"], record["attributes"]
        assert codec.decode_one(codec.encode_one("UsageEvent", record))[1] == {
            **usage_event(), "creator": None, "attributes": {},
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda event: event.pop("payer"), "payer"),
            (lambda event: event.update(quantity="1"), "quantity"),
            (lambda event: event.update(quantity=1.5), "quantity"),
            (lambda event: event.update(quantity=1 << 63), "quantity"),
            (lambda event: event.update(scale=1 << 31), "scale"),
            (lambda event: event.update(meter=None), "meter"),
            (lambda event: event.update(attributes={"a": 1}), "attributes"),
            (lambda event: event.update(meter="\ud800"), "surrogates"),
            (lambda event: event.update(creater="ana"), "no field 'creater'; did you mean 'creator'"),
            (lambda event: event.update(zzz=1), "no field 'zzz'; its fields are event_id, occurred_at"),
        ],
    )
    def test_a_record_that_does_not_fit_is_refused_and_the_field_named(
        self, change: Callable[[dict[str, Any]], Any], message: str
    ) -> None:
        event = usage_event()
        change(event)
        with pytest.raises(InvalidDatum, match=message):
            codec.encode_one("UsageEvent", event)

    def test_an_unknown_record_type_is_a_key_error(self) -> None:
        with pytest.raises(KeyError, match="Invoice"):
            codec.encode_one("Invoice", {})
        with pytest.raises(KeyError, match="Invoice"):
            codec.decode("Invoice", GOOD)


class TestOlderVersions:
    @pytest.fixture
    def older(self, monkeypatch: pytest.MonkeyPatch) -> catalog.Schema:
        """A version of UsageEvent that had no session, and a field that is gone, somewhere else in the order."""
        document = json.loads(USAGE.text)
        fields = [field for field in document["fields"] if field["name"] not in ("session", "attributes")]
        fields.insert(2, {"name": "gone", "type": "string", "default": "", "doc": "d"})
        fields[0], fields[1] = fields[1], fields[0]
        older = catalog.load(json.dumps({**document, "fields": fields}))
        writers = catalog.writers

        def with_older(name: str) -> tuple[catalog.Schema, ...]:
            return (*writers(name), older) if name == "UsageEvent" else writers(name)

        monkeypatch.setattr(catalog, "writers", with_older)
        return older

    def test_they_are_read_as_the_current_one_wherever_they_stand(self, older: catalog.Schema) -> None:
        old = [columns.write_datum(older, {**usage_event(n), "gone": "x"}) for n in range(40)]
        values = [old[n] if n % 3 == 0 else GOOD[n] for n in range(40)]
        values[10] += b"!"
        values[12] += b"!"
        decoded = codec.decode("UsageEvent", values)
        assert [fault.index for fault in decoded.bad] == [10, 12]
        assert decoded.index.tolist() == [n for n in range(40) if n not in (10, 12)]
        assert decoded.index[decoded.older].tolist() == [n for n in range(0, 40, 3) if n != 12]
        expected = [usage_event(n, **({"attributes": {}} if n % 3 == 0 else {})) for n in decoded.index.tolist()]
        assert records_of(decoded.batch, USAGE.shape) == expected
        datums = codec.event_datums(values, decoded)
        assert datums == [codec.encode_one("UsageEvent", event) for event in expected]

    def test_all_of_an_older_version(self, older: catalog.Schema) -> None:
        old = [columns.write_datum(older, {**usage_event(n), "gone": "x"}) for n in range(3)]
        decoded = codec.decode("UsageEvent", old)
        assert decoded.older.tolist() == [0, 1, 2]
        assert records_of(decoded.batch, USAGE.shape) == [usage_event(n, attributes={}) for n in range(3)]
