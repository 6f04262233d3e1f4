"""Bad input to the payers' stage: nothing is lost, nothing stops, and the message says what to mend."""

from __future__ import annotations

import pytest

from nanotally.schemas import catalog
from nanotally.streams.domain.keys import partition_of
from tests.support.payers_bench import DAY, HOUR, T0, PayersBench, book, control, event, rule, version

GOOD = event("good")


def bench() -> PayersBench:
    return PayersBench(book(version(rule())), partitions=1)


@pytest.mark.parametrize(
    ("value", "reason", "told"),
    [
        (GOOD[:-4], "malformed", "end"),
        (GOOD + b"\x00", "malformed", "after"),
        (b"", "malformed", "header"),
        (None, "malformed", "no value"),
        (b'{"event_id": "e"}', "malformed", "c3 01"),
        (b"\xc3\x01" + b"\x00" * 8 + GOOD[10:], "unknown_schema", "fingerprint"),
        (catalog.schema("Tally").header, "unknown_schema", "does not belong"),
        (GOOD.replace(b"ana", b"a\xffa"), "malformed", "UTF-8"),
        (event("", T0), "invalid_id", "1 to 256 bytes"),
        (event("e" * 10_000), "invalid_id", "too long"),
        (event("e", payer="p" * 10_000), "invalid_id", "too long"),
        (event("e", attributes={"k": "v" * 2000}), "invalid_id", "attributes"),
        (event("e", attributes={"k": "1"})[:-1].replace(b"\x02\x02k\x021", b"\x04\x02k\x021\x02k\x022") + b"\x00",
         "invalid_id", "stands twice"),
        (event("e", quantity=-3), "negative", "-3 is below zero"),
        (event("e", quantity=10**16), "absurd", "10^15"),
        (event("e", scale=40), "absurd", "scale 40"),
        (event("e", at_us=1_000), "absurd", "microseconds"),
        (event("e", at_us=T0 // 1_000_000), "absurd", "check units"),
        (event("e", scale=2), "wrong_scale", "meter 'page'"),
        (event("e", meter="play", scale=3), "no_session", "session"),
        (event("e", attributes={"max_price": "cheap"}), "bad_price", "decimal number"),
        (control("explode"), "bad_control", "activate, tick, close"),
        (control("close"), "bad_control", "`at`"),
        (control("activate", book_number=7, book_hash="00"), "bad_book", "no book 7"),
    ],
)  # fmt: skip
def test_a_bad_record_is_kept_with_its_bytes_and_says_why(value: bytes | None, reason: str, told: str) -> None:
    tried = bench().take(value, GOOD)
    (reject,) = tried.of("Reject")
    assert reject["reason"] == reason
    assert told in reject["detail"], reject["detail"]
    assert (reject["value"], reject["offset"], reject["topic"]) == (value, 1, "usage")
    assert tried.paid() == [5_000_000]


def test_a_clock_ahead_of_the_broker_does_not_close_the_books() -> None:
    tried = bench().take(event("e", T0 + HOUR), recorded_at_us=T0).take(GOOD)
    assert tried.reasons() == ["future"]
    assert tried.logic.state.watermark_us == T0


def test_a_use_older_than_the_horizon_is_told_so() -> None:
    tried = bench().take(event("a", T0 + 3 * DAY), GOOD)
    (reject,) = tried.of("Reject")
    assert reject["reason"] == "too_old" and "horizon" in reject["detail"]


def test_a_record_in_the_wrong_partition_names_the_partitioner_to_use() -> None:
    payer = next(f"p{i}" for i in range(99) if partition_of(f"p{i}".encode(), 4) != 0)
    tried = PayersBench(book(version(rule())), partitions=4).take(event("e", payer=payer))
    (reject,) = tried.of("Reject")
    assert reject["reason"] == "wrong_partition" and "murmur2" in reject["detail"]


def test_a_use_of_another_schema_in_the_header_keeps_its_fingerprint() -> None:
    tried = bench().take(b"\xc3\x01" + bytes(range(8)) + b"x")
    assert tried.of("Reject")[0]["fingerprint"] == "0001020304050607"


def test_bad_records_in_between_change_nothing_for_the_good_ones() -> None:
    good = [event(f"e{i}", T0 + i) for i in range(50)]
    mixed: list[bytes | None] = []
    for i, value in enumerate(good):
        mixed += [value, (b"", None, GOOD[:7], event("x", quantity=-1))[i % 4]]
    clean, dirty = bench().take(*good), bench().take(*mixed)
    assert clean.paid() == dirty.paid() and len(dirty.of("Reject")) == 50
