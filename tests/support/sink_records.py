"""Records as the stages write them, for tests of the sink: plain ones, with some fields changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nanotally.schemas import codec
from nanotally.streams.domain.records import LONG_AGO, NO_END, RawChunk

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
NOON_US = 1_794_052_800_000_000 - 1_794_052_800_000_000 % DAY_US + 12 * HOUR_US  # 2026-11-07T12:00:00Z


def share(account: str, nanos: int, num: int = 1, den: int = 1) -> dict[str, Any]:
    """A share of a line."""
    return {"account": account, "fraction_num": num, "fraction_den": den, "nanos": nanos}


def line(paid: int, shares: Sequence[dict[str, Any]] | None = None, /, **changes: Any) -> dict[str, Any]:
    """A line of a rule over the day; all to the platform unless told otherwise."""
    return {
        "link": "rule",
        "tariff": "media",
        "version": 3,
        "tariff_hash": "9f2c41d0a8b37e55",
        "rule": "article",
        "scope": "day",
        "scope_key_high": 1,
        "scope_key_low": -1,
        "scope_start": NOON_US - 12 * HOUR_US,
        "scope_end": NOON_US + 12 * HOUR_US,
        "quantity_before": 0,
        "quantity": 1,
        "total_before": 0,
        "remainder_before": 0,
        "total_after": paid,
        "remainder_after": 0,
        "remainder_den": 1,
        "charged_before": 0,
        "amount_nanos": paid,
        "paid_nanos": paid,
        "pass": None,
        "variant": "",
        "uses_before": 0,
        "over_before": 0,
        "over_after": 0,
        "minimum_nanos": 0,
        "catalog": "",
        "split": "standard",
        "split_key_high": 7,
        "split_key_low": 8,
        "base_before": 0,
        "shares": [share("platform", paid)] if shares is None else list(shares),
        **changes,
    }


def event(n: int = 0, /, **changes: Any) -> dict[str, Any]:
    """A use, the n-th of a series a second apart from noon."""
    return {
        "event_id": f"e-{n}",
        "occurred_at": NOON_US + n * 1_000_000,
        "product": "news",
        "payer": "p-1",
        "creator": "ana",
        "item": "/blog/faust",
        "meter": "page.view",
        "quantity": 1,
        "scale": 0,
        "session": None,
        "duration_us": None,
        "attributes": {},
        **changes,
    }


def charge(n: int = 0, lines: Sequence[dict[str, Any]] = (), /, **changes: Any) -> dict[str, Any]:
    """A charge of the use `event(n)`, or of `event=`, booked when it occurred; paid is the sum of the lines."""
    use = changes.pop("event", event(n))
    occurred_at = use["occurred_at"] if use else NOON_US
    return {
        "event": use,
        "usage_partition": 0,
        "usage_offset": n,
        "n": 0,
        "payer": use["payer"] if use else "p-1",
        "recorded_at": occurred_at + 50_000,
        "booked_at": occurred_at,
        "late": False,
        "flags": "",
        "outcome": "charged",
        "reason": "",
        "currency": "USD",
        "paid_nanos": sum(part["paid_nanos"] for part in lines),
        "book_number": 0,
        "content_hash": n,
        "lines": list(lines),
        **changes,
    }


def tally(**changes: Any) -> dict[str, Any]:
    """A closed hour of a payer."""
    return {
        "account": "payer:p-1",
        "size": "hour",
        "window_start": NOON_US,
        "window_end": NOON_US + HOUR_US,
        "product": "news",
        "meter": "page.view",
        "scale": 0,
        "currency": "USD",
        "count": 2,
        "quantity": "2",
        "amount_nanos": "10000000",
        **changes,
    }


def statement(**changes: Any) -> dict[str, Any]:
    """A closed day of a payer."""
    return {
        "statement_id": "0123456789abcdef0123456789abcdef",
        "account": "payer:p-1",
        "period": "day",
        "period_start": NOON_US - 12 * HOUR_US,
        "period_end": NOON_US + 12 * HOUR_US,
        "currency": "USD",
        "count": 2,
        "due_nanos": "10000000",
        **changes,
    }


def payout(**changes: Any) -> dict[str, Any]:
    """A closed day of an account, below the threshold."""
    return {
        "payout_id": "fedcba9876543210fedcba9876543210",
        "account": "creator:ana",
        "period": "day",
        "period_start": NOON_US - 12 * HOUR_US,
        "period_end": NOON_US + 12 * HOUR_US,
        "currency": "USD",
        "count": 2,
        "brought_nanos": "1000000",
        "earned_nanos": "9000000",
        "paid_nanos": "0",
        "carried_nanos": "10000000",
        **changes,
    }


def reject(**changes: Any) -> dict[str, Any]:
    """An input that ends too soon."""
    return {
        "reason": "malformed",
        "detail": "it ends within the header",
        "topic": "usage",
        "partition": 0,
        "offset": 9,
        "recorded_at": NOON_US,
        "fingerprint": "",
        "key": b"p-1",
        "value": b"\xc3\x01\x00\xff",
        **changes,
    }


def control_taken(**changes: Any) -> dict[str, Any]:
    """The activation of book 0."""
    return {
        "usage_partition": 0,
        "usage_offset": 0,
        "recorded_at": NOON_US,
        "control_id": "activate-0",
        "kind": "activate",
        "at": None,
        "book_number": 0,
        "book_hash": "ab" * 32,
        **changes,
    }


def chunk(**changes: Any) -> dict[str, Any]:
    """A chunk record of the payers' stage."""
    return {
        "stage": "payers",
        "input_partition": 0,
        "next_offset": 10,
        "next_n": 0,
        "watermark_us": LONG_AGO,
        "closed_to_us": LONG_AGO,
        "cursor": None,
        "book_number": 0,
        "book_hash": "ab" * 32,
        "records": 10,
        "counts": {},
        "sums": {},
        "duplicates": [],
        "source_watermarks": {},
        **changes,
    }


def rule_book(**changes: Any) -> dict[str, Any]:
    """A book of two versions of one tariff, and a catalog of two items."""
    version = {
        "tariff": "media",
        "effective_from": NOON_US,
        "content_hash": "cd" * 32,
        "document": '{"tariff":"media"}',
        "source": "tariff: media\n",
    }
    return {
        "book_hash": "ab" * 32,
        "published_at": NOON_US,
        "note": "first",
        "settings": '{"zone":"UTC"}',
        "tariffs": [{**version, "version": 1}, {**version, "version": 2}],
        "catalogs": [
            {
                "catalog": "songs",
                "version": 3,
                "effective_from": NOON_US,
                "content_hash": "ef" * 32,
                "document": '{"items":[{"creator":"ana","item":"a","label":"blue","price":"0.002","writers":[]},'
                '{"creator":null,"item":"b","label":null,"price":null,"writers":[["ana","3/5"],["bob","2/5"]]}]}',
                "source": "catalog: songs\n",
            }
        ],
        **changes,
    }


def raw_chunk(
    topic: str, records: Sequence[tuple[str, dict[str, Any]]], first: int = 0, partition: int = 0
) -> RawChunk:
    """What a fetch of the topic gives: (record type, fields) at offsets from `first` on."""
    offsets = np.arange(first, first + len(records), dtype=np.int64)
    values = [codec.encode_one(name, fields) for name, fields in records]
    return RawChunk(topic, partition, offsets, offsets * 0 + NOON_US, [None] * len(records), values)


__all__ = ["DAY_US", "HOUR_US", "LONG_AGO", "NOON_US", "NO_END"]
__all__ += ["charge", "chunk", "control_taken", "event", "line", "payout", "raw_chunk", "reject", "rule_book", "share"]
__all__ += ["statement", "tally"]
