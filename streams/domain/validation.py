"""What makes a use unusable in itself: checks that need neither tariff nor state."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.streams.domain.hashing import combine_int, hash_strings
from nanotally.streams.domain.keys import group
from nanotally.streams.domain.records import BoolArray, Int64Array
from nanotally.streams.domain.uses import Uses, byte_lengths

ID_BYTES_MAX = 256
ITEM_BYTES_MAX = 1024
ATTRIBUTES_MAX = 64
ATTRIBUTE_BYTES_MAX = 1024
QUANTITY_MAX = 10**15
SCALE_MAX = 18
OCCURRED_AT_MIN_US = 946_684_800_000_000  # 2000-01-01
OCCURRED_AT_MAX_US = 7_258_118_400_000_000  # 2200-01-01

# Reasons in the order in which they are looked for: the first that holds is told.
REASONS = ("", "invalid_id", "negative", "absurd", "wrong_partition", "future")
_IDS = ("event_id", "product", "payer", "item", "meter")
_OPTIONAL_IDS = ("creator", "session")


def check(uses: Uses, right_partition: BoolArray, skew_us: int) -> Int64Array:
    """Index into REASONS for each use, 0 where it is usable: int64[n].

    right_partition: bool[n], whether the payer belongs to this partition; skew_us: how far a use may lie ahead of
    the broker's time of its record."""
    quantity, occurred_at = uses.quantity, uses.occurred_at_us
    absurd = (quantity > QUANTITY_MAX) | (uses.scale < 0) | (uses.scale > SCALE_MAX)
    absurd |= (occurred_at < OCCURRED_AT_MIN_US) | (occurred_at >= OCCURRED_AT_MAX_US)
    verdict = np.zeros(len(uses), dtype=np.int64)
    tests = (_bad_ids(uses), quantity < 0, absurd, ~right_partition, occurred_at > uses.recorded_at_us + skew_us)
    for reason in range(len(tests), 0, -1):
        failed = tests[reason - 1]
        if failed.any():
            verdict[failed] = reason
    return verdict


def _bad_ids(uses: Uses) -> BoolArray:
    bad = np.zeros(len(uses), dtype=bool)
    for name in _IDS:
        size = byte_lengths(uses.column(name))
        bad |= (size < 1) | (size > (ITEM_BYTES_MAX if name == "item" else ID_BYTES_MAX))
    for name in _OPTIONAL_IDS:
        column = uses.column(name)
        if column.null_count < len(column):
            size = byte_lengths(column)
            bad |= ((size < 1) | (size > ID_BYTES_MAX)) & _present(column)
    return bad | _bad_attributes(uses)


def _present(column: pa.Array) -> BoolArray:
    present: BoolArray = pc.is_valid(column).to_numpy(zero_copy_only=False)
    return present


def _bad_attributes(uses: Uses) -> BoolArray:
    maps = uses.column("attributes")
    offsets = np.asarray(maps.offsets)
    first, end = int(offsets[0]), int(offsets[-1])
    if first == end:
        return np.zeros(len(uses), dtype=bool)
    bad = np.diff(offsets) > ATTRIBUTES_MAX
    longest = np.maximum(
        byte_lengths(maps.keys.slice(first, end - first)), byte_lengths(maps.items.slice(first, end - first))
    )
    too_long = np.flatnonzero(longest > ATTRIBUTE_BYTES_MAX)
    bad[np.searchsorted(offsets - first, too_long, side="right") - 1] = True
    counts = np.diff(offsets)
    if (counts > 1).any():  # Avro allows a key twice in a map; which one counts would depend on the reader
        row = np.repeat(np.arange(len(uses)), counts)
        groups = group(*combine_int(hash_strings(maps.keys.slice(first, end - first)), row))
        if len(groups) < len(row):
            bad[row[(np.bincount(groups.codes) > 1)[groups.codes]]] = True
    return bad


def describe(reason: str, event: dict[str, object], partition: int, partitions_rule: str = "") -> str:
    """What is wrong with a rejected use, where and how to mend it; one sentence or two for people."""
    texts = {
        "invalid_id": f"an id is empty or too long (event_id, product, payer, meter, creator, session: 1 to "
        f"{ID_BYTES_MAX} bytes; item: 1 to {ITEM_BYTES_MAX}), or attributes number more than {ATTRIBUTES_MAX} or one "
        f"is longer than {ATTRIBUTE_BYTES_MAX} bytes or stands twice; mend it and publish again",
        "negative": f"quantity {event.get('quantity')} is below zero; a use is never negative, corrections are "
        "records of their own",
        "absurd": f"quantity {event.get('quantity')} at scale {event.get('scale')} or occurred_at "
        f"{event.get('occurred_at')} us is out of range (quantity at most 10^15 unscaled, scale 0 to {SCALE_MAX}, "
        "time from 2000 to 2199, in microseconds since 1970); check units",
        "wrong_partition": f"payer {str(event.get('payer'))[:80]!r} does not belong to partition {partition}; use the "
        "payer's bytes as key and murmur2 as partitioner (librdkafka: partitioner=murmur2_random)",
        "future": f"occurred_at {event.get('occurred_at')} us is later than the broker's time of the record by more "
        "than the allowed skew; check the clock of the publisher",
        "too_old": f"occurred_at {event.get('occurred_at')} us is older than the watermark less the dedup horizon, so "
        "it could be a repeat that is no longer known; publish it as a correction",
        "conflict": f"event_id {str(event.get('event_id'))[:80]!r} was used by this payer and product with other "
        "content; give the use an id of its own",
        "wrong_scale": f"quantity has scale {event.get('scale')}, which is not that of meter {event.get('meter')!r}; "
        "publish with the meter's scale",
        "no_session": f"meter {event.get('meter')!r} needs a session and the use has none; set the field session",
        "bad_price": "attribute max_price is no decimal number of currency units from 0, such as 0.05; mend or omit it",
    }
    return texts[reason]
