"""A use that found no price is taken once more by a control that names the offset where it stood."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nanotally.schemas import catalog, codec
from nanotally.schemas.columns import write_datum
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.domain.records import RawChunk
from nanotally.streams.domain.redriven import LATEST, Redriven
from nanotally.streams.domain.tariff import Condition
from tests.support.payers_bench import (
    DAY,
    HOUR,
    MINUTE,
    T0,
    PayersBench,
    activate,
    book,
    close,
    control,
    event,
    redrive,
    rule,
    shares,
    values_of,
    version,
)
from tests.support.payers_twins import accounts, alike

ONLY_B = version(rule(when=(Condition("item", "equals", ("/b",)),), price="5"))  # item /a finds no rule
FIRST = book(ONLY_B)
USE = event("u", T0)  # at offset 1 of the benches here, behind the activation


def second(price: str = "7", **more: Any) -> Any:
    """The next book, with a version that prices all pages."""
    return book(ONLY_B, version(rule(price=price, **more), number=2, since_us=1), number=1)


def again(*values: bytes, later: Any = None, first: Any = FIRST) -> PayersBench:
    """The use that finds no price, the next book, and the values."""
    later = later or second()
    return alike(first, USE, activate(later), *values, later=[later])


def told(bench: PayersBench) -> list[tuple[int, str, str, int, str]]:
    return [
        (c["usage_offset"], c["outcome"], c["reason"], c["paid_nanos"], c["flags"].removeprefix("late_version "))
        for c in bench.of("Charge")
    ]


def test_it_is_charged_at_the_offset_of_the_control_with_a_flag_that_tells_where_it_stood() -> None:
    bench = again(redrive(1, USE))
    assert told(bench) == [(1, "unpriced", "no_rule", 0, ""), (3, "charged", "", 7, "redrive:1")]
    before, charge = bench.of("Charge")
    assert charge["event"] == before["event"] and charge["content_hash"] == before["content_hash"]
    assert accounts(bench) == {"platform": 0, "creator:ana": 7}
    counts = bench.logic.state.counts
    assert {name: counts[name] for name in ("unpriced", "charged", "redriven", "control", "rejected")} == {
        "unpriced": 1, "charged": 1, "redriven": 1, "control": 2, "rejected": 0,
    }  # fmt: skip
    assert len(bench.of("ControlTaken")) == 2, "what it became is told by its charge alone"


def test_it_is_redriven_at_most_once_whatever_the_control_is_called() -> None:
    bench = again(redrive(1, USE), redrive(1, USE), redrive(1, USE, quantity=2))
    assert told(bench)[1:] == [(3, "charged", "", 7, "redrive:1")]
    assert [offset for chunk in bench.of("Chunk") for offset in chunk["duplicates"]] == [4, 5]
    bench.take(redrive(1, USE))
    assert len(bench.of("Charge")) == 2 and bench.of("Chunk")[-1]["duplicates"] == [6]


def test_neither_the_horizon_nor_its_own_id_stand_in_its_way() -> None:
    far = event("far", T0 + 40 * DAY, item="/b")
    bench = again(USE, far, USE, redrive(1, USE))
    assert bench.of("Chunk")[-1]["duplicates"] == [3], "its id stays used"
    assert bench.reasons() == ["too_old"], "and is not taken by itself later"
    charge = bench.charge()
    assert (charge["outcome"], charge["booked_at"], charge["late"]) == ("charged", T0 + 40 * DAY, True)
    assert charge["event"]["occurred_at"] == T0


def test_its_id_is_left_to_the_use_that_has_it_by_now() -> None:
    newer = event("u", T0 + 40 * DAY, item="/b")
    far = event("far", T0 + 40 * DAY, item="/b")
    bench = again(far, newer, redrive(1, USE), newer, event("u", T0 + 40 * DAY, item="/c"))
    assert [c["usage_offset"] for c in bench.of("Charge")] == [1, 3, 4, 5]
    assert bench.of("Chunk")[-1]["duplicates"] == [6] and bench.reasons() == ["conflict"]


def test_before_there_is_a_price_it_is_rejected_changes_nothing_and_may_be_tried_again() -> None:
    bench = PayersBench(FIRST).take(USE)
    state = bench.logic.state
    watermark = state.watermark_us
    bench.take(redrive(1, USE), redrive(1, USE, occurred_at=T0 + HOUR), redrive(1, USE, meter="gone"))
    assert bench.reasons() == ["still_unpriced"] * 3
    details = [reject["detail"] for reject in bench.of("Reject")]
    assert all("the rule book in force (0) has no rule for the use" in detail for detail in details[:2])
    assert "no meter 'gone' for product 'news' at 2026-11-07T00:00:00Z; publish a version" in details[2]
    assert state.watermark_us == watermark and not len(state.redriven) and state.counts["redriven"] == 0
    bench.books[1] = second()
    bench.take(activate(bench.books[1]), redrive(1, USE))
    assert told(bench)[1:] == [(6, "charged", "", 7, "redrive:1")]


def test_redrives_without_a_price_are_no_flood_of_bad_input() -> None:
    bench = PayersBench(FIRST).take(USE)
    values = [redrive(1, USE)] * 3 + [redrive(1, USE, quantity=-1)]
    chunk = RawChunk("usage", 0, np.arange(2, 6), np.full(4, T0 + DAY), [None] * 4, values)
    assert bench.logic.decide(chunk).rejected == 1
    assert bench.logic.state.counts["rejected"] == 4


def test_without_any_book_or_tariff_it_is_told_what_is_missing() -> None:
    bench = PayersBench().take(USE, redrive(0, USE))
    assert bench.reasons() == ["still_unpriced"]
    assert "no rule book has no tariff" not in bench.of("Reject")[0]["detail"]
    assert "there is no rule book in force" in bench.of("Reject")[0]["detail"]
    other = book(version(rule(), products=("music",)))
    bench.books[0] = other
    bench.take(activate(other), redrive(0, USE))
    assert "has no tariff for product 'news'" in bench.of("Reject")[-1]["detail"]


def test_a_rejected_redrive_is_kept_as_it_came() -> None:
    value = redrive(1, USE)
    bench = PayersBench(FIRST).take(USE, value)
    reject = bench.of("Reject")[0]
    assert (reject["offset"], reject["value"]) == (2, value)


def test_a_part_without_a_price_leaves_the_whole_without_one() -> None:
    at_night = (Condition("occurred_at", "band", ("UTC", "", "", "01:00:00", "02:00:00")),)
    later = second(when=at_night, cut=True)
    long_use = event("u", T0 + HOUR, duration_us=2 * HOUR, quantity=8)
    bench = alike(FIRST, long_use, activate(later), redrive(1, long_use), later=[later])
    assert bench.reasons() == ["still_unpriced"] and "or for a part of it" in bench.of("Reject")[0]["detail"]
    short = event("u", T0 + HOUR, duration_us=HOUR, quantity=8)
    assert alike(FIRST, short, activate(later), redrive(1, short), later=[later]).paid() == [0, 56]


def test_above_its_max_price_it_is_refused_for_good() -> None:
    dear = event("u", attributes={"max_price": "0.000000006"})
    later = second()
    bench = alike(FIRST, dear, activate(later), redrive(1, dear), redrive(1, USE), later=[later])
    assert told(bench)[1:] == [(3, "refused", "max_price", 0, "redrive:1")]
    assert bench.of("Chunk")[-1]["duplicates"] == [4] and bench.logic.state.counts["redriven"] == 1


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (redrive(1, None), "needs usage_offset and use"),
        (redrive(None, USE), "needs usage_offset and use"),
        (redrive(-1, USE), "cannot be of the use at -1"),
        (redrive(3, USE), "a redrive at offset 3 cannot be of the use at 3"),
        (redrive(2**62, USE), "cannot be of the use at"),
    ],
)
def test_a_redrive_that_names_no_use_before_it_is_a_bad_control(value: bytes, detail: str) -> None:
    bench = again(value)
    assert bench.reasons() == ["bad_control"] and detail in bench.of("Reject")[0]["detail"]
    assert len(bench.of("Charge")) == 1


def test_a_redrive_written_by_the_first_version_of_the_schema_has_no_use() -> None:
    first = catalog.writers("Control")[-1]
    assert "use" not in [field.name for field in first.shape.fields]
    fields = {"at": None, "book_number": None, "book_hash": None, "note": ""}
    bench = again(write_datum(first, {"control_id": "x", "kind": "redrive", **fields}))
    assert bench.reasons() == ["bad_control"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scale": 2}, "wrong_scale"),
        ({"meter": "play"}, "wrong_scale"),
        ({"meter": "play", "scale": 3}, "no_session"),
        ({"quantity": -1}, "negative"),
        ({"payer": ""}, "invalid_id"),
        ({"occurred_at": T0 + 401 * DAY}, "future"),
        ({"attributes": {"max_price": "free"}}, "bad_price"),
        ({"meter": "gone"}, "still_unpriced"),
    ],
)
def test_what_is_wrong_with_the_use_itself_is_told_as_of_any_use(changes: dict[str, Any], reason: str) -> None:
    bench = again(redrive(1, USE, **changes), redrive(1, USE))
    assert bench.reasons() == [reason]
    assert told(bench)[1:] == [(4, "charged", "", 7, "redrive:1")], "the use itself may still come"


def test_in_the_partition_of_another_payer_it_is_rejected() -> None:
    stranger = next(name for name in map(str, range(100)) if partition_of(name.encode(), 2) == 1)
    mine = next(name for name in map(str, range(100)) if partition_of(name.encode(), 2) == 0)
    bench = PayersBench(FIRST, second(), partitions=2)
    bench.take(redrive(0, USE, payer=stranger), redrive(1, USE, payer=mine))
    assert bench.reasons() == ["wrong_partition"] and told(bench) == [(3, "charged", "", 7, "redrive:1")]


def test_a_version_that_came_after_the_use_is_flagged_too() -> None:
    known = version(rule(price="7"), number=2, since_us=T0)
    before = PayersBench(book(ONLY_B, known)).take(event("u", T0 - 1), redrive(1, event("u", T0)))
    assert before.charge()["flags"] == "redrive:1"
    assert again(redrive(1, USE)).charge()["flags"] == "late_version redrive:1"


def test_the_version_is_that_of_its_time_in_the_book_in_force_now() -> None:
    old, new = version(rule(price="3"), number=2, since_us=1), version(rule(price="9"), number=3, since_us=T0 + HOUR)
    later = book(ONLY_B, old, new, number=1)
    bench = alike(FIRST, USE, activate(later), close(T0 + 2 * HOUR), redrive(1, USE), later=[later])
    assert bench.paid() == [0, 3] and values_of(bench.of("Charge")[1:], "version") == [2]


def test_it_counts_in_the_scope_and_the_window_of_the_day_at_which_it_comes() -> None:
    later = second(scope="day")
    today = event("today", T0 + 2 * DAY, item="/b")
    after = event("after", T0 + 2 * DAY + MINUTE, item="/c")
    bench = again(today, redrive(1, USE), after, close(T0 + 4 * DAY), later=later)
    assert values_of(bench.of("Charge")[2:], "scope_start") == [T0 + 2 * DAY] * 2
    assert values_of(bench.of("Charge")[2:], "quantity_before") == [1, 2]
    days = [(t["window_start"], t["count"], t["amount_nanos"]) for t in bench.of("Tally") if t["size"] == "day"]
    assert days == [(T0 + 2 * DAY, 3, "21")]


def test_a_session_takes_it_late() -> None:
    play = rule("song", "play", price="1", scope="session", per=("session",), length_us=30 * MINUTE)
    later = book(ONLY_B, version(play, number=2, since_us=1), number=1)
    song = {"meter": "play", "scale": 3, "session": "s"}
    use, open_now = event("u", T0, **song), event("v", T0 + 2 * DAY, **song)
    bench = alike(FIRST, use, activate(later), open_now, redrive(1, use), later=[later])
    assert bench.paid() == [0, 1, 1]
    assert values_of(bench.of("Charge")[1:], "scope_start") == [T0 + 2 * DAY] * 2
    assert values_of(bench.of("Charge")[1:], "quantity_before") == [0, 1]


def test_what_falls_due_at_it_stands_before_it_at_its_offset() -> None:
    """A use that moves the watermark over the end of a day in which two payers owe their minimum."""
    later = second(scope="day", minimum_nanos=100)
    uses = [event("a", T0 + DAY, payer=name) for name in ("p", "q")]
    new = event("n", T0 + 2 * DAY + HOUR)
    bench = alike(FIRST, USE, activate(later), *uses, redrive(1, new), redrive(0, new), later=[later])
    rows = [(c["usage_offset"], c["n"], c["outcome"], c["paid_nanos"]) for c in bench.of("Charge")]
    assert rows == [
        (1, 0, "unpriced", 0), (3, 0, "charged", 7), (4, 0, "charged", 7),
        (5, 0, "due", 93), (5, 1, "due", 93), (5, 2, "charged", 7), (6, 0, "charged", 7),
    ]  # fmt: skip
    assert bench.charge(-2)["flags"].endswith("redrive:1") and bench.charge()["flags"].endswith("redrive:0")
    assert all(c["flags"] == "" for c in bench.of("Charge")[3:5])


def test_many_at_once_and_between_other_records_come_to_the_same() -> None:
    uses = [event(f"u{i}", T0 + i, quantity=i, payer=f"p{i % 3}") for i in range(12)]
    later = second()
    mixed: list[bytes] = []
    for i, use in enumerate(uses):
        mixed += [redrive(1 + i, use), *([control("tick"), event(f"x{i}", T0 + DAY)] if i % 4 == 3 else [])]
    bench = alike(FIRST, *uses, activate(later), *mixed, redrive(3, uses[2]), later=[later])
    redriven = [c for c in bench.of("Charge") if "redrive:" in c["flags"]]
    assert [c["paid_nanos"] for c in redriven] == [7 * i for i in range(12)]
    assert [c["flags"].split(":")[1] for c in redriven] == [str(1 + i) for i in range(12)]
    assert sum(shares(c)["creator:ana"] + shares(c)["platform"] for c in redriven) == 7 * 66
    assert [offset for chunk in bench.of("Chunk") for offset in chunk["duplicates"]] == [bench.offset - 1]


def test_offsets_are_known_however_many_there_are() -> None:
    known = Redriven()
    offsets = [(i * 7919) % 100_003 for i in range(2 * LATEST + 5)]
    for place, offset in enumerate(offsets):
        assert offset not in known
        known.add(offset)
        assert offset in known and offsets[place // 2] in known and len(known) == place + 1
    assert known.offsets().tolist() == sorted(offsets) and -1 not in known
    copy = Redriven(known.offsets())
    assert all(offset in copy for offset in offsets) and len(copy) == len(offsets)


def test_a_redrive_is_written_and_read_with_its_use_inside() -> None:
    name, record = codec.decode_one(redrive(1, USE))
    assert (name, record["kind"], record["usage_offset"]) == ("Control", "redrive", 1)
    assert codec.encode_one("UsageEvent", record["use"]) == USE
