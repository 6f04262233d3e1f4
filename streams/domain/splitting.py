"""Who gets which part of a charge: resolved accounts, cumulated bases, whole nanos.

For each resolved split (currency, accounts with their fractions) the base b counts the nanos divided so far in this
partition; it may be below zero where prices give back. Of an amount a, every party but the last gets
floor((b + a) * f) - floor(b * f); the last takes the rest. So the parts always sum to the amount, and over any number
of charges a party is off by less than one nano (the last by less than the number of parties). Splits with caps are
divided charge by charge: see parties.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.hashing import combine, combine_int, hash_strings
from nanotally.streams.domain.keys import Interner, group, group_codes
from nanotally.streams.domain.matching import NumberedRule
from nanotally.streams.domain.parties import PLATFORM as PLATFORM
from nanotally.streams.domain.parties import Parties, Writers, has_terms, places_of
from nanotally.streams.domain.parties import divide_one as divide_one
from nanotally.streams.domain.parties import fields_of as fields_of
from nanotally.streams.domain.parties import resolve as resolve
from nanotally.streams.domain.parties import split_key as split_key
from nanotally.streams.domain.records import BoolArray, Int64Array, UInt64Array, pick
from nanotally.streams.domain.resolving import Made, Plain, PlainSplit, Resolved, Shape, is_plain, keys_of
from nanotally.streams.domain.rules import Split
from nanotally.streams.domain.uses import Uses

BASE_LIMIT = 2**61
SAMPLE = 512
FRACTION_DEN_MAX = 2**30  # so that fractions of what is left under the denominator fit in 64 bits


@dataclass
class Divided:
    """n charges divided. resolved: int64[n] resolved split; base_before: int64[n]; nanos: int64[n, k] by party, in
    the order of the resolved split's accounts."""

    resolved: Int64Array
    base_before: Int64Array
    nanos: Int64Array


class Splits:
    """Resolved splits of one partition and their bases. All arrays are by resolved split."""

    def __init__(self, accounts: Interner) -> None:
        self.accounts = accounts
        self._numbers: dict[tuple[str, Parties], int] = {}
        self._by_rule: dict[NumberedRule, Resolved] = {}
        self._plain: dict[Split, PlainSplit] = {}
        self._by_key: dict[tuple[int, int], int] = {}
        self.parties = Made()
        self.key_high: UInt64Array = np.zeros(0, dtype=np.uint64)
        self.key_low: UInt64Array = np.zeros(0, dtype=np.uint64)
        self.base: Int64Array = np.zeros(0, dtype=np.int64)
        self.period: Int64Array = np.zeros(0, dtype=np.int64)  # bases that differ by it divide alike
        self.count: Int64Array = np.zeros(0, dtype=np.int64)  # number of accounts
        self.singly: BoolArray = np.zeros(0, dtype=bool)  # whether it has more than cumulated fractions
        self.currency: Int64Array = np.zeros(0, dtype=np.int64)  # code of the currency
        self.currencies = Interner()
        self.account: Int64Array = np.zeros((0, 1), dtype=np.int64)  # [resolved, place]: code of the account
        self.num: Int64Array = np.zeros((0, 1), dtype=np.int64)
        self.den: Int64Array = np.ones((0, 1), dtype=np.int64)
        self._waiting: dict[tuple[int, int], int] = {}  # bases of keys that no charge has named again yet

    def number(self, currency: str, parties: Parties) -> int:
        """Number of a resolved split; a new one begins at its base in the ledger, else at 0."""
        found = self._numbers.get((currency, parties))
        if found is not None:
            return found
        key, places = split_key(currency, parties), places_of(parties)
        number = self._numbers[currency, parties] = self._by_key.setdefault(key, len(self.parties))
        if number < len(self.parties):
            return number  # made together with others
        self.parties.append(parties)
        if number >= len(self.base):
            self._grow(max(64, 2 * number), max(len(places), self.account.shape[1]))
        if len(places) > self.account.shape[1]:
            self._grow(len(self.base), len(places))
        self.key_high[number], self.key_low[number] = key
        self.base[number] = self._waiting.pop(key, 0)
        self.period[number] = lcm(*(p.fraction.denominator for p in parties if p.fraction is not None))
        self.count[number], self.singly[number] = len(places), has_terms(parties)
        self.currency[number] = self.currencies.add(currency)
        for place, (account, fraction) in enumerate(places):
            self.account[number, place] = self.accounts.add(account)
            self.num[number, place], self.den[number, place] = fraction.numerator, fraction.denominator
        return number

    def _number_all(self, currency: str, resolved: Sequence[Plain]) -> Int64Array:
        """`number` of many at once: int64[n]."""
        high, low = keys_of(currency, resolved)
        first = len(self.parties)
        new: dict[Shape, list[tuple[int, int]]] = {}  # by shape: numbers and rows
        numbers = np.empty(len(resolved), dtype=np.int64)
        for row, key in enumerate(zip(high.tolist(), low.tolist(), strict=True)):
            number = numbers[row] = self._by_key.setdefault(key, len(self.parties))
            if number == len(self.parties):
                self.parties.append(resolved[row])
                new.setdefault(resolved[row].shape, []).append((number, row))
        end, width = len(self.parties), max((len(shape.num) for shape in new), default=0)
        if end > len(self.base) or width > self.account.shape[1]:
            self._grow(max(len(self.base), 64, 2 * end), max(width, self.account.shape[1]))
        for shape, made in new.items():
            k = len(shape.num)
            mine, rows = np.array(made, dtype=np.int64).T
            codes = [self.accounts.add(account) for row in rows.tolist() for account in resolved[row].accounts]
            self.account[mine, :k] = np.array(codes, dtype=np.int64).reshape(-1, k)
            self.num[mine, :k], self.den[mine, :k] = shape.num, shape.den
            self.key_high[mine], self.key_low[mine] = high[rows], low[rows]
            self.period[mine], self.count[mine] = shape.period, k
        if end > first:
            self.currency[first:end] = self.currencies.add(currency)
            if self._waiting:
                keys = zip(self.key_high[first:end].tolist(), self.key_low[first:end].tolist(), strict=True)
                self.base[first:end] = [self._waiting.pop(key, 0) for key in keys]
        return numbers

    def _grow(self, rows: int, width: int) -> None:
        for name in ("key_high", "key_low", "base", "period", "count", "singly", "currency"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate((old, np.zeros(rows - len(old), dtype=old.dtype))))
        for name, fill in (("account", 0), ("num", 0), ("den", 1)):
            old = getattr(self, name)
            grown = np.full((rows, width), fill, dtype=np.int64)
            grown[: old.shape[0], : old.shape[1]] = old
            setattr(self, name, grown)

    def resolve_uses(
        self,
        numbered: NumberedRule,
        uses: Uses,
        rows: Int64Array,
        writers: Sequence[Writers] = (),
        written: Int64Array | None = None,
    ) -> Int64Array:
        """Resolved split of each of the rows, all of one rule: int64[rows]. written: int64[n uses], place in `writers`
        of who made each use's item, -1 where its creator did; places always stand for the same writers; without
        them those that the catalogs have of the uses' items."""
        split = numbered.version.split_by_name[numbered.rule.split]
        currency, fields = numbered.version.currency, fields_of(split)
        if not fields:
            return np.full(len(rows), self.number(currency, resolve(split, {})), dtype=np.int64)
        every = len(rows) == len(uses)
        columns = [uses.text(f) if every else uses.text(f).take(pa.array(rows)) for f in fields]
        if written is None and uses.found is not None:
            writers, written = uses.found.writers, uses.found.written
        by = None if written is None or "creator" not in fields else pick(written, rows)
        codes = None
        if len(columns) == 1 and by is None and _repeats(columns[0]):  # each text once, then by its code
            encoded = columns[0].dictionary_encode(null_encoding="encode")
            columns, codes = [encoded.dictionary], encoded.indices.to_numpy()
        # An absent value and an empty one resolve alike, so that their hash may be the same.
        key = hash_strings(columns[0])
        for column in columns[1:]:
            key = combine(key, hash_strings(column))
        if by is not None:
            key = combine_int(key, by)
        known = self._by_rule.setdefault(numbered, Resolved())
        numbers = known.find(key)
        missing = np.flatnonzero(numbers < 0)
        if len(missing):
            groups = group(key[0][missing], key[1][missing])
            first = missing[groups.first]
            texts = [column.take(pa.array(first)).to_pylist() for column in columns]
            whose = np.full(len(first), -1) if by is None else by[first]
            plain = np.flatnonzero(whose < 0) if is_plain(split) else first[:0]
            new = np.full(len(first), -1)
            if len(plain):
                if split not in self._plain:
                    self._plain[split] = PlainSplit(split)
                some = [[column[i] for i in plain.tolist()] for column in texts]
                new[plain] = self._number_all(currency, self._plain[split].resolve(len(plain), some))
            for i in np.flatnonzero(new < 0).tolist():
                values = {field: column[i] for field, column in zip(fields, texts, strict=True)}
                several = writers[whose[i]] if whose[i] >= 0 else ()
                new[i] = self.number(currency, resolve(split, values, several))
            known.add((key[0][first], key[1][first]), new)
            numbers[missing] = new[groups.codes]
        return numbers if codes is None else numbers[codes]

    def divide(self, resolved: Int64Array, paid: Int64Array) -> Divided:
        """Divides n amounts (nanos, within 2^62 up and down) in row order, and moves the bases."""
        n = len(resolved)
        groups = group_codes(resolved)
        splits = resolved[groups.first]
        width = int(self.count[splits].max(initial=1))
        most = _greatest(paid) * n + _greatest(self.base[splits])
        singly = self.singly[splits]
        if most >= BASE_LIMIT or int(self.den[splits].max(initial=1)) > FRACTION_DEN_MAX or singly.all():
            return self._divide_singly(resolved, paid, width)
        if singly.any():
            return self._divide_apart(resolved, paid, singly[groups.codes], width)
        ordered = paid[groups.order]
        running = np.cumsum(ordered)
        sizes = np.diff(np.append(groups.starts, n))
        offset = self.base[splits] - (running[groups.starts] - ordered[groups.starts])
        after = running + np.repeat(offset, sizes)
        base_before = np.empty(n, dtype=np.int64)
        base_before[groups.order] = after - ordered
        nanos = np.zeros((n, width), dtype=np.int64)
        last = self.count[resolved] - 1
        left = paid.copy()
        for party in range(width - 1):
            num, den = self.num[resolved, party], self.den[resolved, party]
            part = _floor(base_before + paid, num, den) - _floor(base_before, num, den)
            if (last <= party).any():
                part = np.where(party < last, part, 0)
            nanos[:, party] = part
            left -= part
        nanos[np.arange(n), last] = left
        self.base[splits] = after[groups.starts + sizes - 1]
        return Divided(resolved, base_before, nanos)

    def _divide_apart(self, resolved: Int64Array, paid: Int64Array, singly: BoolArray, width: int) -> Divided:
        """Charges of splits with and without caps, which have nothing to do with each other."""
        out = Divided(resolved, np.zeros(len(resolved), dtype=np.int64), np.zeros((len(resolved), width), np.int64))
        for rows in (np.flatnonzero(singly), np.flatnonzero(~singly)):
            part = self.divide(resolved[rows], paid[rows])
            out.base_before[rows] = part.base_before
            out.nanos[rows, : part.nanos.shape[1]] = part.nanos
        return out

    def _divide_singly(self, resolved: Int64Array, paid: Int64Array, width: int) -> Divided:
        base_before = np.empty(len(resolved), dtype=np.int64)
        nanos = np.zeros((len(resolved), width), dtype=np.int64)
        for row, (number, amount) in enumerate(zip(resolved.tolist(), paid.tolist(), strict=True)):
            base_before[row], parts = self.take(number, amount)
            nanos[row, : len(parts)] = parts
        return Divided(resolved, base_before, nanos)

    def take(self, number: int, amount: int) -> tuple[int, list[int]]:
        """Divides one amount by a resolved split and moves its base; gives the base before and the nanos of each of
        its accounts."""
        base = int(self.base[number])
        if abs(base) >= BASE_LIMIT:  # decided use by use, so that chunks do not show in what is recorded
            base %= int(self.period[number])
        self.base[number] = base + amount
        return base, [nanos for _, nanos in divide_one(self.parties[number], base, amount)]

    def put(self, high: UInt64Array, low: UInt64Array, base: Int64Array) -> None:
        """Sets bases by key, as the ledger has them. Keys must be distinct."""
        for key in zip(high.tolist(), low.tolist(), base.tolist(), strict=True):
            number = self._by_key.get(key[:2])
            if number is None:
                self._waiting[key[:2]] = key[2]
            else:
                self.base[number] = key[2]

    def bases(self) -> dict[str, Int64Array | UInt64Array]:
        """Keys and bases, for a snapshot."""
        n = len(self.parties)
        waiting = list(self._waiting.items())
        return {
            "high": np.append(self.key_high[:n], np.array([k[0] for k, _ in waiting], dtype=np.uint64)),
            "low": np.append(self.key_low[:n], np.array([k[1] for k, _ in waiting], dtype=np.uint64)),
            "base": np.append(self.base[:n], np.array([v for _, v in waiting], dtype=np.int64)),
        }


def _repeats(column: pa.Array) -> bool:
    """Whether a column seems to have few distinct texts, by its beginning."""
    return len(column) > 4 * SAMPLE and len(column.slice(0, SAMPLE).unique()) <= SAMPLE // 2


def _same(column: Int64Array) -> Int64Array:
    """The column, or its first element alone where all are the same: numpy divides by one number much quicker."""
    return column[:1] if len(column) and (column == column[0]).all() else column


def _greatest(column: Int64Array) -> int:
    return max(int(column.max(initial=0)), -int(column.min(initial=0)))


def _floor(base: Int64Array, num: Int64Array, den: Int64Array) -> Int64Array:
    """floor(base * num / den) where the product may not fit, but num <= den <= 2^30 and base do."""
    whole = base // den
    return whole * num + (base - whole * den) * num // den
