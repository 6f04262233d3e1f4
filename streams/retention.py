"""Are records kept for long enough: longer than ids of uses are remembered, and what state hangs on for good?
And is all there that somebody has taken?"""

from __future__ import annotations

from collections.abc import Mapping

from nanotally.streams.admin import DAY_MS, KEPT, TOPICS, Finding

HOUR_MS = DAY_MS // 24


def shorter_than_horizon(retention_ms: Mapping[str, int], horizon_us: int, prefix: str = "") -> list[Finding]:
    """Topics that forget sooner than the horizon within which a repeated use is told from a new one.

    retention_ms: by logical name, KEPT for without limit; horizon_us: the longest of the rule books in force or to
    come. Within the horizon a repeat counts nothing, so as long must be there what it is a repeat of: the use, its
    reject to be mended, and its rows."""
    needed_ms = -(-horizon_us // 1000)
    found = []
    for topic in TOPICS:
        kept_ms = retention_ms.get(topic.name, KEPT)
        if topic.retention_ms != KEPT and kept_ms != KEPT and kept_ms <= needed_ms:
            enough_ms = max(topic.retention_ms, needed_ms + DAY_MS)
            found.append(
                Finding(
                    topic.name,
                    f"keeps records for {span(kept_ms)}, but uses are told from repeats for {span(needed_ms)} "
                    f"(the horizon of the rule book): it must keep them longer than that",
                    f"mend: kafka-configs --alter --topic {prefix}{topic.name} --add-config retention.ms={enough_ms}",
                )
            )
    return found


def forgotten(oldest: Mapping[str, Mapping[int, int]]) -> list[Finding]:
    """Topics without limit that have lost their oldest records all the same.

    oldest: by logical name and partition the first offset that is there."""
    return [
        Finding(
            topic.name,
            f"must keep everything, but begins at offset {first:,} in partition {partition}: records were deleted, "
            f"and state cannot be rebuilt from it",
            "keep the workers' state folders and checkpoints, and go on in a new installation (see docs/operations.md, "
            "'More partitions')",
        )
        for topic in TOPICS
        if topic.retention_ms == KEPT
        for partition, first in sorted(oldest.get(topic.name, {}).items())
        if first > 0
    ]


def _deleted(offsets: int) -> str:
    said = "offset was deleted before it was" if offsets == 1 else "offsets were deleted before they were"
    return f"{offsets:,} {said} taken"


def gone_before(taker: str, topic: str, oldest: Mapping[int, int], positions: Mapping[int, int]) -> list[Finding]:
    """Partitions whose records were deleted before `taker` took them. positions: its next offset by partition."""
    return [
        Finding(
            topic,
            f"begins at offset {first:,} in partition {partition}, but {taker} is at {positions.get(partition, 0):,}: "
            f"{_deleted(first - positions.get(partition, 0))}",
            _AFTER_LOSS[taker],
        )
        for partition, first in sorted(oldest.items())
        if first > positions.get(partition, 0)
    ]


def lost_after(taker: str, topic: str, ends: Mapping[int, int], positions: Mapping[int, int]) -> list[Finding]:
    """Partitions that end before `taker`'s place in them. ends: read after the positions, by partition."""
    return [
        Finding(
            topic,
            f"ends at offset {ends.get(partition, 0):,} in partition {partition}, but {taker} is at {at:,}: records "
            f"that were taken from it are gone, since a broker lost its disk or the topic was created anew",
            _AFTER_A_LOST_DISK[taker],
        )
        for partition, at in sorted(positions.items())
        if at > ends.get(partition, 0)
    ]


_SENT_AGAIN = (
    "bring the broker's disk back; else go on in a new installation (docs/operations.md, 'More partitions'), and "
    "publish again what `nanotally reconcile` says is missing"
)
_AFTER_A_LOST_DISK = {
    "payers": _SENT_AGAIN,
    "accounts": _SENT_AGAIN,
    "sink": "fill another database from the topics: nanotally sink replay --database NEW (docs/operations.md)",
}
_AFTER_LOSS = {
    "payers": "publish those uses again from where they came, and keep usage for longer",
    "accounts": "restore topic earnings from a copy of the broker's disk",
    "sink": "restore a newer backup of ClickHouse: nanotally backup restore",
}


def span(ms: int) -> str:
    """A time for people: '7 days', '36 hours', '90 s'."""
    for unit_ms, name in ((DAY_MS, "day"), (HOUR_MS, "hour")):
        if ms >= unit_ms and ms % unit_ms == 0:
            count = ms // unit_ms
            return f"{count:,} {name}{'s' * (count != 1)}"
    return f"{ms / 1000:,.15g} s"
