"""Reconciliation reads `usage` itself, as far as it is kept: a ledger cannot tell of what its stage was never given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nanotally.schemas import codec
from nanotally.streams.commands import reconcile
from nanotally.streams.domain.reconciling import Check
from nanotally.streams.domain.reconciling_usage import NAME, KeptUsage
from tests.support.ledger_world import World, use, world

SOUND = world()
AGAIN = world(redriven=True)
NO_OFFSETS, NO_USES = np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.int64)


def found(of: World) -> Check:
    return next(check for check in of.report().checks if check.name == NAME)


def said(of: World) -> list[tuple[str, int, int, str, str]]:
    return [(d.what, d.partition, d.offset, d.expected, d.found) for d in found(of).differences]


def charged(of: World, nth: int = 0) -> tuple[int, int]:
    """Partition and offset in `usage` of the nth charged use."""
    partition, place = of.find("charges", "Charge", nth)
    return partition, codec.decode_one(of.topics["charges"][partition][place][1])[1]["usage_offset"]


def last_chunk(of: World, partition: int) -> dict[str, Any]:
    chunk: dict[str, Any] = codec.decode_one(of.topics["charges"][partition][-1][1])[1]
    return chunk


@pytest.mark.parametrize("sound", [SOUND, AGAIN])
def test_what_usage_keeps_is_what_was_taken(sound: World) -> None:
    check = found(sound)
    assert check.clean
    assert check.compared == sum(map(len, sound.topics["usage"].values())) > 80
    assert check.figures["controls"] >= 4


def test_a_use_that_was_passed_over_is_found() -> None:
    """As by a fetch that begins behind the position: no count and no sum of the ledger differs."""
    skipped = SOUND.copy()
    end = last_chunk(skipped, 1)["next_offset"]
    fields = use(900)
    skipped.topics["usage"][1].append((end, codec.encode_one("UsageEvent", fields)))
    skipped.ends["usage", 1] = end + 3
    skipped.spoil_last_chunk(1, next_offset=end + 1)
    assert said(skipped) == [("record without an outcome", 1, end, "charged, rejected or another outcome", "none")]
    assert [check.name for check in skipped.report().checks if not check.clean] == [NAME]


def test_a_use_in_the_place_of_the_one_that_was_charged_is_found() -> None:
    """As after a broker that lost what it had not written to disk: new uses take the lost places."""
    other = SOUND.copy()
    partition, offset = charged(other)
    log = other.topics["usage"][partition]
    fields = codec.decode_one(dict(log)[offset])[1] | {"quantity": 7}
    other.topics["usage"][partition] = [
        (at, codec.encode_one("UsageEvent", fields) if at == offset else value) for at, value in log
    ]
    assert said(other) == [("use", partition, offset, "the one that the ledger tells of", "another one")]


def test_a_record_that_was_taken_and_is_not_there_is_found() -> None:
    lacking = SOUND.copy()
    partition, offset = charged(lacking)
    lacking.topics["usage"][partition] = [one for one in lacking.topics["usage"][partition] if one[0] != offset]
    assert said(lacking) == [("record that was taken", partition, offset, "a record", "none")]


def test_usage_that_was_created_anew_is_found() -> None:
    """Its stage is far beyond its end, so that nothing seems to wait."""
    anew = SOUND.copy()
    position = last_chunk(anew, 0)["next_offset"]
    anew.topics["usage"][0] = anew.topics["usage"][0][:3]
    anew.ends["usage", 0] = 3
    assert anew.material().waiting_uses == 0
    assert said(anew)[0] == (
        "end of the topic (was it created anew?)", 0, -1, f"{position} or later, for so far it was taken", "3",
    )  # fmt: skip


def test_uses_that_were_deleted_before_they_were_taken_are_found() -> None:
    kept = KeptUsage(0, first=10, end=14, position=7)
    check = kept.check(NO_OFFSETS, NO_USES, 0, 0)
    assert [(d.expected, d.found) for d in check.differences] == [
        ("7 or earlier, which is the next to be taken", "10"),
    ]


def test_kafkas_own_mark_that_went_with_the_records_before_it_is_no_loss() -> None:
    kept = KeptUsage(0, first=8, end=8, position=7)
    assert kept.check(NO_OFFSETS, NO_USES, 0, 0).clean


def test_more_controls_without_a_record_than_the_chunk_counts_are_found() -> None:
    more = SOUND.copy()
    end = last_chunk(more, 0)["next_offset"]
    close = next(v for _, v in reversed(more.topics["usage"][0]) if codec.decode_one(v)[0] == "Control")
    more.topics["usage"][0].append((end, close))
    more.ends["usage", 0] = end + 3
    more.spoil_last_chunk(0, next_offset=end + 1)
    assert said(more) == [("controls without an outcome", 0, -1, "1 at most", "2")]


def test_rejects_that_retention_took_do_not_make_their_uses_seem_passed_over() -> None:
    older = SOUND.copy()
    partition, place = older.find("rejects", "Reject", 0)
    older.topics["rejects"][partition] = older.topics["rejects"][partition][place + 1 :]
    assert not found(older).clean
    older.firsts["rejects", partition] = 1
    assert found(older).clean


def test_controls_that_were_rejected_in_a_time_of_which_rejects_are_gone_are_not_missed() -> None:
    kept = KeptUsage(0, first=0, end=9, position=9)
    control = next(value for _, value in SOUND.topics["usage"][0] if codec.decode_one(value)[0] == "Control")
    kept.add(np.array([4, 7]), [control, control])
    assert kept.check(NO_OFFSETS, NO_USES, silent=1, rejects_from=7).clean
    assert not kept.check(NO_OFFSETS, NO_USES, silent=1, rejects_from=4).clean


def test_what_usage_has_forgotten_is_not_missed() -> None:
    forgotten = SOUND.copy()
    for p in (0, 1):
        forgotten.topics["usage"][p] = forgotten.topics["usage"][p][20:]
        forgotten.firsts["usage", p] = 20
    assert found(forgotten).clean
    assert forgotten.report().clean


def test_earnings_that_nobody_has_taken_and_added_partitions_are_told() -> None:
    behind = SOUND.copy()
    behind.topics["account_tallies"], behind.topics["payouts"] = {}, {}
    material = behind.material()
    assert material.waiting_earnings == sum(behind.topics["earnings"][q][-1][0] + 1 for q in (0, 1)) > 100
    behind.write("usage", 2, [codec.encode_one("UsageEvent", use(901)), behind.topics["usage"][0][0][1]])
    behind.widths["usage"] = 3
    material = behind.material()
    assert material.added_uses == 1
    told = reconcile._waiting(material)
    assert [note.split()[0] for note in told] == [f"{material.waiting_earnings:,}", "1"]
    assert "not taken by the accounts' stage yet" in told[0] and "partitions of usage that were added" in told[1]
    assert reconcile._waiting(SOUND.material()) == []
