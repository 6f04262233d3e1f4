"""One charge from ClickHouse, in the shape of the Charge record that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nanotally.sinks.client import ClickHouse
from nanotally.streams.domain.records import NO_END
from nanotally.streams.domain.redriven import flag_of

Place = tuple[int, int]  # partition and offset in `usage`

_EVENT_TEXTS = ("event_id", "product", "payer", "creator", "item", "meter", "session")
_EVENT_REST = ("occurred_at", "quantity", "scale", "duration_us", "attributes")
_OWN = (
    *("usage_partition", "usage_offset", "n", "payer", "recorded_at", "booked_at", "late", "flags", "outcome"),
    *("reason", "currency", "paid_nanos", "book_number"),
)
_LINE = (
    *("link", "tariff", "version", "tariff_hash", "rule", "variant", "scope", "scope_start", "scope_end"),
    *("uses_before", "quantity_before", "over_before", "over_after"),
    *("quantity", "total_before", "remainder_before", "total_after", "remainder_after", "remainder_den"),
    *("charged_before", "amount_nanos", "paid_nanos", "minimum_nanos", "pass", "catalog", "split", "base_before"),
)
_SHARE = ("line", "account", "fraction_num", "fraction_den", "nanos")
_TIMES = {"occurred_at", "recorded_at", "booked_at"}
_LINE_TIMES = {"scope_start", "scope_end"}

_NAMES = list(dict.fromkeys((*_EVENT_TEXTS, *_EVENT_REST, *_OWN)))
_SELECT = ", ".join(
    [f"toUnixTimestamp64Micro({name})" if name in _TIMES else name for name in _NAMES]
    + [
        f"arrayMap(t -> toUnixTimestamp64Micro(t), `lines.{name}`)" if name in _LINE_TIMES else f"`lines.{name}`"
        for name in _LINE
    ]
    + [f"`shares.{name}`" for name in _SHARE]
)
# by_use is read instead of all rows, however small the table: the default is to try that on a million rows.
_BY_USE = {"min_table_rows_to_use_projection_index": 0}


def charge_of_use(clickhouse: ClickHouse, partition: int, offset: int, n: int | None = None) -> list[dict[str, Any]]:
    """The charges written at a usage offset, by n; with `n` that one alone.

    Records as the codec gives them (times in microseconds UTC), less the hashes, which stay in the ledger: content_hash
    and the keys of scope and split. Empty where there is none (yet)."""
    which = "" if n is None else " AND n = {n:UInt32}"
    return _charges(
        clickhouse,
        f"usage_partition = {{partition:UInt16}} AND usage_offset = {{offset:Int64}}{which}",
        {"partition": partition, "offset": offset, "n": n or 0},
        _BY_USE,
    )


def charges_of_event(clickhouse: ClickHouse, event_id: str, limit: int = 100) -> list[dict[str, Any]]:
    """The charges of uses with that event id, which is unique per payer and product only; records as above."""
    return _charges(clickhouse, "event_id = {event_id:String}", {"event_id": event_id, "limit": limit}, {})


def charge_redriven(clickhouse: ClickHouse, charge: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the use of a charge without a price was charged when it was redriven; a record as above, or None."""
    found = _charges(
        clickhouse,
        # By payer, since that is what the table is sorted by.
        "payer = {payer:String} AND usage_partition = {partition:UInt16} "
        "AND has(splitByChar(' ', flags), {flag:String})",
        {
            "payer": charge["payer"],
            "partition": charge["usage_partition"],
            "flag": flag_of(charge["usage_offset"]),
        },
        {},
    )
    return found[0] if found else None


def steps_of(clickhouse: ClickHouse, place: Place) -> list[tuple[Place, Place, str, bool, int]]:
    """What was put in for the record at a place of `usage`, and for that one, and so on: from where, to where, the new
    event id, whether a person mended it, and when (microseconds UTC)."""
    found: list[tuple[Place, Place, str, bool, int]] = []
    while True:
        rows = clickhouse.query(
            "SELECT to_partition, to_offset, event_id, mended, toUnixTimestamp64Micro(at) FROM redrives "
            "WHERE input_partition = {partition:UInt16} AND input_offset = {offset:Int64}",
            {"partition": place[0], "offset": place[1]},
        )
        if not rows:
            return found
        partition, offset, event_id, mended, at_us = rows[0]
        found.append((place, (partition, offset), event_id, bool(mended), at_us))
        place = partition, offset


def _charges(
    clickhouse: ClickHouse, condition: str, parameters: dict[str, Any], settings: dict[str, int]
) -> list[dict[str, Any]]:
    rows = clickhouse.query(
        f"SELECT {_SELECT} FROM charges WHERE {condition} ORDER BY usage_partition, usage_offset, n "
        f"LIMIT {{limit:UInt32}}",
        {"limit": 100, **parameters},
        **settings,
    )
    return [_record(row) for row in rows]


def _record(row: tuple[Any, ...]) -> dict[str, Any]:
    own = dict(zip(_NAMES, row, strict=False))
    line_columns = row[len(_NAMES) : len(_NAMES) + len(_LINE)]
    shares = [dict(zip(_SHARE, share, strict=True)) for share in zip(*row[-len(_SHARE) :], strict=True)]
    lines = []
    for number, values in enumerate(zip(*line_columns, strict=True)):
        line = dict(zip(_LINE, values, strict=True))
        line["pass"] = line["pass"] or None
        if line["scope"] == "life":
            line["scope_end"] = NO_END
        line["shares"] = [_without_line(share) for share in shares if share["line"] == number]
        lines.append(line)
    return {**{name: own[name] for name in _OWN}, "event": _event(own), "lines": lines}


def _event(own: Mapping[str, Any]) -> dict[str, Any] | None:
    if own["outcome"] == "due":
        return None
    event = {name: own[name] for name in (*_EVENT_TEXTS, *_EVENT_REST)}
    return {**event, "creator": own["creator"] or None, "session": own["session"] or None}


def _without_line(share: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in share.items() if name != "line"}
