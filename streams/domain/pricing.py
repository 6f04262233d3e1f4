"""Prices a run of uses between two closings: scope, amount, split, and what the scopes are afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from nanotally.streams.domain.exact import max_price_nanos
from nanotally.streams.domain.hashing import Hash, combine, combine_int, hash_strings, hash_text
from nanotally.streams.domain.keys import Groups, group
from nanotally.streams.domain.matching import CompiledBook, NumberedRule
from nanotally.streams.domain.prices import Price
from nanotally.streams.domain.rated import COLUMNS as RATED
from nanotally.streams.domain.rating import Asked, Rated, rate, rate_mixed
from nanotally.streams.domain.records import NO_END, Int64Array, UInt64Array, pick
from nanotally.streams.domain.scopes import ScopeRows, Scopes
from nanotally.streams.domain.splitting import Splits
from nanotally.streams.domain.tariff import canonical_json
from nanotally.streams.domain.uses import Uses
from nanotally.streams.domain.windows import Calendar

NUMBERS = (*RATED, "scope_start", "scope_end", "resolved", "base_before")


class Priced:
    """Columns of the lines of n uses, filled run by run; rows that were never priced stay zero.

    numbers: int64[n] by name (see NUMBERS); key_high, key_low: uint64[n] scope keys; shares: list of (rows, int64[rows,
    k] nanos by party) in the order of pricing."""

    def __init__(self, n: int) -> None:
        self.numbers = {name: np.zeros(n, dtype=np.int64) for name in NUMBERS}
        self.key_high: UInt64Array = np.zeros(n, dtype=np.uint64)
        self.key_low: UInt64Array = np.zeros(n, dtype=np.uint64)
        self.shares: list[tuple[Int64Array, Int64Array]] = []

    def put(self, name: str, rows: Int64Array, values: Int64Array) -> None:
        """Sets rows, which rise, of a column; all of them without a copy."""
        if len(rows) == len(self.key_high):
            self.numbers[name] = values
        else:
            self.numbers[name][rows] = values

    def put_keys(self, rows: Int64Array, key: Hash) -> None:
        """Sets the scope keys of rows."""
        if len(rows) == len(self.key_high):
            self.key_high, self.key_low = key
        else:
            self.key_high[rows], self.key_low[rows] = key


@lru_cache(maxsize=4096)
def _price(rule_of: NumberedRule) -> Price:
    return Price(rule_of.rule)


@lru_cache(maxsize=256)
def calendar_of(zone: str) -> Calendar:
    """Calendar of a zone, made once."""
    return Calendar(zone)


@lru_cache(maxsize=4096)
def _stem(rule_of: NumberedRule) -> Hash:
    """Hash of what is the same for all scopes of a rule. Meter, kind of scope and `per` are in it, so that a
    changed scope begins anew."""
    return hash_text(canonical_json(rule_of.stem))


def scope_of(
    rule_of: NumberedRule, uses: Uses, rows: Int64Array, booked_at: Int64Array
) -> tuple[Hash, Int64Array, Int64Array]:
    """Key, start and end of the scope that each of the rows, all of one rule, counts in; booked_at: int64[rows]."""
    rule, n = rule_of.rule, len(rows)
    if rule.scope == "life":
        start, end = np.zeros(n, dtype=np.int64), np.full(n, NO_END, dtype=np.int64)
    elif rule.scope == "event":
        start, end = booked_at, booked_at + 1
    else:
        calendar = calendar_of(rule_of.version.calendar)
        start = calendar.starts(rule.scope, booked_at)
        end = calendar.ends(rule.scope, start)
    stem = _stem(rule_of)
    high, low = uses.payer_hash
    key = combine((np.repeat(stem[0], n), np.repeat(stem[1], n)), (pick(high, rows), pick(low, rows)))
    for field in rule.per:
        column = uses.text(field)
        hashed = hash_strings(column)
        key = combine(key, (pick(hashed[0], rows), pick(hashed[1], rows)))
        if column.null_count:  # an absent value is not the empty one
            key = combine_int(key, column.is_null().to_numpy(zero_copy_only=False)[rows].astype(np.int64))
        else:
            key = combine_int(key, np.zeros(n, dtype=np.int64))
    return combine_int(key, pick(uses.offsets, rows) if rule.scope == "event" else start), start, end


@dataclass
class Limits:
    """`max_price` of n uses in nanos, None without one; `bad`: rows whose attribute is no price."""

    nanos: list[Fraction | None] | None
    bad: Int64Array


def limits_of(uses: Uses) -> Limits:
    """What the uses' attribute max_price says."""
    texts = uses.attribute("max_price")
    if texts.null_count == len(texts):
        return Limits(None, np.zeros(0, dtype=np.int64))
    nanos = [None if text is None else max_price_nanos(text) for text in texts.to_pylist()]
    bad = [i for i, (text, value) in enumerate(zip(texts.to_pylist(), nanos, strict=True)) if text and value is None]
    bad += [i for i, text in enumerate(texts.to_pylist()) if text == ""]
    return Limits(nanos, np.array(sorted(bad), dtype=np.int64))


def price_run(
    book: CompiledBook,
    uses: Uses,
    rows: Int64Array,
    rule: Int64Array,
    booked_at: Int64Array,
    limits: list[Fraction | None] | None,
    scopes: Scopes,
    splits: Splits,
    out: Priced,
) -> Int64Array:
    """Prices `rows` (in row order, all with a rule) into `out` and moves scopes and bases; gives the rows that were
    charged, in row order. rule, booked_at: int64[n] of all uses."""
    present = np.flatnonzero(np.bincount(rule[rows])).tolist() if len(rows) else []
    by_family: dict[int, list[int]] = {}
    for number in present:
        by_family.setdefault(book.family[number], []).append(number)
    for numbers in by_family.values():
        mine = rows if len(present) == len(numbers) else rows[np.isin(rule[rows], numbers)]
        _price_family([book.rules[number] for number in numbers], uses, mine, rule, booked_at, limits, scopes, out)
    for number in present:
        mine = rows if len(present) == 1 else rows[rule[rows] == number]
        mine = _not_refused(out, mine)
        out.put("resolved", mine, splits.resolve_uses(book.rules[number], uses, mine))
    charged_rows = _not_refused(out, rows)
    amounts = pick(out.numbers["amount"], charged_rows)
    divided = splits.divide(pick(out.numbers["resolved"], charged_rows), amounts)
    out.put("base_before", charged_rows, divided.base_before)
    out.shares.append((charged_rows, divided.nanos))
    return charged_rows


def _not_refused(out: Priced, rows: Int64Array) -> Int64Array:
    """Those of the rows, which were rated, that are charged."""
    kept = pick(out.numbers["refusal"], rows) == 0
    charged: Int64Array = rows if kept.all() else rows[kept]
    return charged


def _price_family(
    rules: list[NumberedRule],
    uses: Uses,
    mine: Int64Array,
    rule: Int64Array,
    booked_at: Int64Array,
    limits: list[Fraction | None] | None,
    scopes: Scopes,
    out: Priced,
) -> None:
    """Prices rows of rules that share their scopes: one rule, or the same one in several versions."""
    for rule_of in rules:
        part = mine if len(rules) == 1 else mine[rule[mine] == rule_of.number]
        key, start, end = scope_of(rule_of, uses, part, pick(booked_at, part))
        out.put("scope_start", part, start)
        out.put("scope_end", part, end)
        out.put_keys(part, key)
    key = pick(out.key_high, mine), pick(out.key_low, mine)
    groups = group(*key)
    if len(rules) == 1:
        _rate_into(rules[0], uses, mine, groups, key, limits, scopes, out)
        return
    # Where uses under two versions meet in one scope their order counts, so these go through it use by use.
    ordered = rule[mine][groups.order]
    least, most = np.minimum.reduceat(ordered, groups.starts), np.maximum.reduceat(ordered, groups.starts)
    mixed = (least != most)[groups.codes]
    for rule_of in rules:
        part = np.flatnonzero(~mixed & (rule[mine] == rule_of.number))
        if len(part):
            part_key = key[0][part], key[1][part]
            _rate_into(rule_of, uses, mine[part], group(*part_key), part_key, limits, scopes, out)
    part = np.flatnonzero(mixed)
    if len(part):
        part_key, rows = (key[0][part], key[1][part]), mine[part]
        groups = group(*part_key)
        price = {rule_of.number: _price(rule_of) for rule_of in rules}
        before = scopes.get(part_key[0][groups.first], part_key[1][groups.first], 1)
        prices = [price[number] for number in rule[rows].tolist()]
        rated = rate_mixed(prices, groups, before, Asked(pick(uses.quantity, rows), max_price=_asked(limits, rows)))
        _keep(rules[0], rows, groups, part_key, rated, scopes, out)


def _rate_into(
    rule_of: NumberedRule,
    uses: Uses,
    rows: Int64Array,
    groups: Groups,
    key: Hash,
    limits: list[Fraction | None] | None,
    scopes: Scopes,
    out: Priced,
) -> None:
    price = _price(rule_of)
    if rule_of.rule.scope == "event":
        before = ScopeRows.new(len(groups), price.den)
    else:
        before = scopes.get(key[0][groups.first], key[1][groups.first], price.den)
    rated = rate(price, groups, before, Asked(pick(uses.quantity, rows), max_price=_asked(limits, rows)))
    _keep(rule_of, rows, groups, key, rated, scopes, out)


def _asked(limits: list[Fraction | None] | None, rows: Int64Array) -> list[Fraction | None] | None:
    """The rows' limits; None where none of them has one."""
    if limits is None:
        return None
    asked = [limits[row] for row in rows.tolist()]
    return asked if any(limit is not None for limit in asked) else None


def _keep(
    rule_of: NumberedRule,
    rows: Int64Array,
    groups: Groups,
    key: Hash,
    rated: Rated,
    scopes: Scopes,
    out: Priced,
) -> None:
    for name in RATED:
        out.put(name, rows, getattr(rated, name))
    if rule_of.rule.scope != "event":
        charged = np.flatnonzero(rated.refusal == 0)
        start, end = pick(out.numbers["scope_start"], rows), pick(out.numbers["scope_end"], rows)
        _put_scopes(scopes, groups, key, charged, rated, start, end)


def _put_scopes(
    scopes: Scopes, groups: Groups, key: Hash, charged: Int64Array, rated: Rated, start: Int64Array, end: Int64Array
) -> None:
    """Sets each scope to what it is after its last charged use."""
    if len(charged) < len(end):
        groups = group(key[0][charged], key[1][charged])
        last = charged[groups.last]
    else:
        last = groups.last
    after = ScopeRows(
        uses=rated.uses_before[last] + 1,
        quantity=rated.quantity_before[last] + rated.counted[last],
        over=rated.over_after[last],
        total=rated.total_after[last],
        remainder=rated.remainder_after[last],
        den=rated.remainder_den[last],
        charged=rated.charged_before[last] + rated.amount[last],
        start=start[last],
        end=end[last],
    )
    scopes.put(key[0][last], key[1][last], after)
