"""What the bytes of a dead letter still tell, and which of them may come again as they were."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from nanotally.schemas import codec
from nanotally.streams.dead_letters import MAY_PASS_NOW, REASONS, UNPRICED, as_it_was, carried, told
from nanotally.streams.domain.reconciling_run import redriven_once
from nanotally.streams.errors import InvalidInput
from nanotally.streams.redriving import Step, steps
from tests.support.sink_records import event

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
USE = event(attributes={"segment": "school"})
DATUM = codec.encode_one("UsageEvent", USE)
AT = (2, 1047)


def control(**fields: Any) -> bytes:
    empty = dict.fromkeys(("at", "book_number", "book_hash", "usage_offset", "use"))
    return codec.encode_one("Control", {"control_id": "c", "note": "", **empty, **fields})


def test_a_use_that_breaks_off_is_told_up_to_there() -> None:
    found = [told(DATUM[:length]) for length in range(11, len(DATUM))]
    assert all(one.fault and USE.items() >= one.fields.items() for one in found)
    assert [len(one.fields) for one in found] == sorted(len(one.fields) for one in found)
    whole = told(DATUM)
    assert (whole.what, whole.fields, whole.fault, whole.guessed) == ("use", USE, "", False)


def test_bytes_after_a_use_are_said_and_its_fields_are_told() -> None:
    found = told(DATUM + b"\x00\x01")
    assert found.fields == USE and "2 bytes are left over" in found.fault


def test_a_use_without_its_header_is_read_and_said_to_be_so() -> None:
    found = told(DATUM[10:])
    assert found.fields == USE and "no known schema; read by the current one" in found.fault and not found.guessed


def test_what_is_read_of_other_bytes_is_called_a_guess() -> None:
    assert told(b"\xc3\x01" + b"\x07" * 20).guessed and told(b"").guessed
    assert told(None).fault == "there is no value"
    tally = codec.encode_one(
        "SourceMark", {"source": 1, "sources": 2, "watermark_us": 3, "book_number": 0, "settings": ""}
    )
    assert told(tally).fault == "it is a SourceMark, no use"


def test_no_bytes_whatever_stop_the_reading() -> None:
    random_ = random.Random(5)
    for _ in range(3000):
        value = bytearray(random_.choice([DATUM, control(kind="redrive", usage_offset=3, use=USE), b"\x00" * 40]))
        for _ in range(random_.randrange(1, 6)):
            value[random_.randrange(len(value))] = random_.randrange(256)
        assert told(bytes(value[: random_.randrange(len(value) + 1)])).what in ("use", "redrive", "control", "")


def test_a_control_that_carries_a_use_is_told_from_other_controls() -> None:
    found = told(control(kind="redrive", usage_offset=3, use=USE))
    assert (found.what, found.fields, found.usage_offset) == ("redrive", USE, 3)
    found = told(control(kind="close", at=7))
    assert (found.what, found.fields["kind"], found.usage_offset) == ("control", "close", None)
    assert told(control(kind="redrive")).what == "control"  # it carries none


@pytest.mark.parametrize("reason", MAY_PASS_NOW)
def test_what_may_pass_now_comes_again_as_it_was(reason: str) -> None:
    again = as_it_was(AT, reason, DATUM)
    assert (again.value, again.payer, again.event_id, again.mended, again.partition) == (
        DATUM, "p-1", "e-0", False, None,
    )  # fmt: skip


@pytest.mark.parametrize("reason", sorted({*REASONS} - {*MAY_PASS_NOW}))
def test_what_would_be_rejected_again_is_refused_by_its_name(reason: str) -> None:
    with pytest.raises(InvalidInput, match=rf"2-1047 would be rejected again \({reason}\): mend it"):
        as_it_was(AT, reason, DATUM)


def test_what_cannot_be_read_is_not_put_in_again() -> None:
    with pytest.raises(InvalidInput, match=r"2-1047 cannot be read .*mend it"):
        as_it_was(AT, "unknown_schema", DATUM[:30])


def test_an_unpriced_use_is_carried_by_a_control_in_its_own_partition_however_often() -> None:
    first = carried(AT, UNPRICED, AT[1], USE)
    name, record = codec.decode_one(first.value)
    assert (name, record["kind"], record["usage_offset"], record["use"]) == ("Control", "redrive", 1047, USE)
    assert (first.partition, first.event_id) == (2, "e-0")
    again = as_it_was((2, 1061), "still_unpriced", first.value)
    assert (again.place, again.value, again.partition) == ((2, 1061), first.value, 2)


def test_each_step_is_followed_to_the_end() -> None:
    one, two = (Step(to, "future", "e", False, 0, "") for to in ((1, 5), (0, 9)))
    assert steps({AT: one, (1, 5): two}, AT) == [(AT, one), ((1, 5), two)]
    assert steps({AT: one}, (0, 9)) == []


def redrives(*rows: tuple[int, int, int, int]) -> pl.DataFrame:
    columns = ("partition", "offset_of_input", "to_partition", "to_offset")
    numbered = [{**dict(zip(columns, row, strict=True)), "mended": i == 0, "offset": i} for i, row in enumerate(rows)]
    return pl.DataFrame(numbered)


def test_what_was_redriven_twice_is_found() -> None:
    assert redriven_once(redrives((0, 1, 0, 5), (0, 2, 0, 6))).clean
    assert "1 mended" in redriven_once(redrives((0, 1, 0, 5))).detail
    (twice,) = redriven_once(redrives((0, 1, 0, 5), (0, 1, 0, 6))).differences
    assert "old record 0-1" in str(twice)
    (same,) = redriven_once(redrives((0, 1, 0, 5), (0, 2, 0, 5))).differences
    assert "new record 0-5" in str(same)


def test_the_manual_says_of_every_reason_what_to_do() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    table = text[text.index("## Dead letters") :].split("\n## ")[0]
    assert [reason for reason in REASONS if f"`{reason}`" not in table] == []
