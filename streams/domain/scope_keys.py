"""In which scope a use counts: key, start and end, for columns of uses."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.hashing import Hash, combine, combine_int, hash_strings, hash_text
from nanotally.streams.domain.matching import NumberedRule
from nanotally.streams.domain.records import NO_END, Int64Array
from nanotally.streams.domain.tariff import OPENED_SCOPES, canonical_json
from nanotally.streams.domain.uses import Uses
from nanotally.streams.domain.windows import Calendar


@lru_cache(maxsize=256)
def calendar_of(zone: str) -> Calendar:
    """Calendar of a zone, made once."""
    return Calendar(zone)


@lru_cache(maxsize=4096)
def _stem(rule_of: NumberedRule) -> Hash:
    """Hash of what is the same for all scopes of a rule. Meter, kind of scope and `per` are in it, so that a
    changed scope begins anew."""
    return hash_text(canonical_json(rule_of.stem))


def bounds_of(rule_of: NumberedRule, booked_at: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Start and end of the scope that uses booked at the instants count in; of a scope that opens with its first use
    those that a use would open."""
    rule, n = rule_of.rule, len(booked_at)
    if rule.scope == "life":
        return np.zeros(n, dtype=np.int64), np.full(n, NO_END, dtype=np.int64)
    if rule.scope == "event":
        return booked_at, booked_at + 1
    if rule.scope in OPENED_SCOPES:
        return booked_at, booked_at + rule.length_us
    calendar = calendar_of(rule_of.version.calendar)
    start = calendar.starts(rule.scope, booked_at)
    return start, calendar.ends(rule.scope, start)


def scope_of(
    rule_of: NumberedRule, uses: Uses, rows: Int64Array, booked_at: Int64Array
) -> tuple[Hash, Int64Array, Int64Array]:
    """Key, start and end (see `bounds_of`) of the scope that each of the rows, all of one rule, counts in;
    booked_at: int64[rows]. Rows may repeat. The key has the start in it, unless a use opens the scope."""
    rule, n = rule_of.rule, len(rows)
    start, end = bounds_of(rule_of, booked_at)
    stem = _stem(rule_of)
    high, low = uses.payer_hash
    whole = n == len(uses) and bool((rows == np.arange(n)).all())
    every = np.arange(n) if whole else rows

    def some(hashed: Hash) -> Hash:
        return hashed if whole else (hashed[0][every], hashed[1][every])

    key = combine((np.repeat(stem[0], n), np.repeat(stem[1], n)), some((high, low)))
    for field in rule.per:
        column = uses.text(field)
        key = combine(key, some(hash_strings(column)))
        if column.null_count:  # an absent value is not the empty one
            key = combine_int(key, column.is_null().to_numpy(zero_copy_only=False)[every].astype(np.int64))
        else:
            key = combine_int(key, np.zeros(n, dtype=np.int64))
    if rule.scope in OPENED_SCOPES:
        return key, start, end
    own = start if rule.scope != "event" else (uses.offsets if whole else uses.offsets[every])
    return combine_int(key, own), start, end


def scope_of_payer(rule_of: NumberedRule, payer: str, booked_at_us: int, offset: int) -> tuple[Hash, int, int]:
    """The same for something that is no use: it has no item, session or attribute. offset: its place in `usage`."""
    booked_at = np.array([booked_at_us], dtype=np.int64)
    start, end = bounds_of(rule_of, booked_at)
    key = combine(_stem(rule_of), hash_text(payer))
    for _ in rule_of.rule.per:
        nothing = hash_strings(pa.array([""], pa.string()))
        key = combine_int(combine(key, nothing), np.ones(1, dtype=np.int64))
    if rule_of.rule.scope not in OPENED_SCOPES:
        key = combine_int(key, start if rule_of.rule.scope != "event" else np.array([offset], dtype=np.int64))
    return key, int(start[0]), int(end[0])
