"""Who gets which part of a charge: resolved accounts, cumulated bases, whole nanos.

For each resolved split (currency, accounts with their fractions) the base b counts the nanos divided so far in this
partition. Of an amount a, every party but the last gets floor((b + a) * f) - floor(b * f); the last takes the rest.
So the parts always sum to the amount, and over any number of charges a party is off by less than one nano (the last
by less than the number of parties)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.hashing import Hash, combine, hash_strings
from nanotally.streams.domain.keys import Groups, Interner, KeyTable, group, group_codes
from nanotally.streams.domain.matching import NumberedRule
from nanotally.streams.domain.records import Int64Array, UInt64Array
from nanotally.streams.domain.tariff import Split, canonical_json
from nanotally.streams.domain.uses import Uses

PLATFORM = "platform"
BASE_LIMIT = 2**61
FRACTION_DEN_MAX = 2**30  # so that fractions of what is left under the denominator fit in 64 bits
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")

Parties = tuple[tuple[str, Fraction], ...]


def resolve(split: Split, values: dict[str, str | None]) -> Parties:
    """Accounts with their fractions for one use; `values` gives creator and attributes. Who is absent leaves the
    share to the platform, equal accounts merge, the account that takes the rest comes last."""
    rest_fraction = 1 - sum((p.fraction for p in split.parties if p.fraction is not None), Fraction(0))
    shares: dict[str, Fraction] = {}
    rest = PLATFORM
    for party in split.parties:
        account = _account(party.account, values)
        if party.fraction is None:
            rest = account
        fraction = rest_fraction if party.fraction is None else party.fraction
        shares[account] = shares.get(account, Fraction(0)) + fraction
    others = sorted((a, f) for a, f in shares.items() if a != rest)
    return (*others, (rest, shares[rest]))


def _account(party: str, values: dict[str, str | None]) -> str:
    if party == "creator":
        creator = values.get("creator")
        return f"creator:{creator}" if creator else PLATFORM
    names = _PLACEHOLDER.findall(party)
    if any(not values.get(name) for name in names):
        return PLATFORM
    return _PLACEHOLDER.sub(lambda found: values[found[1]] or "", party)


def fields_of(split: Split) -> tuple[str, ...]:
    """Event fields and attributes that decide who a split's parties are."""
    fields: list[str] = []
    for party in split.parties:
        fields += ["creator"] if party.account == "creator" else _PLACEHOLDER.findall(party.account)
    return tuple(dict.fromkeys(fields))


def split_key(currency: str, parties: Parties) -> tuple[int, int]:
    """Key of a resolved split, as the ledger has it: two unsigned 64-bit words of a BLAKE2b digest."""
    text = canonical_json([currency, *([account, str(fraction)] for account, fraction in parties)])
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


class _Resolved:
    """Resolved splits of one rule by the hash of what decides them."""

    def __init__(self) -> None:
        self._table = KeyTable()
        self._numbers: list[int] = []
        self._by_slot: Int64Array = np.zeros(0, dtype=np.int64)

    def find(self, key: Hash) -> Int64Array:
        """Number of the resolved split of each row, -1 where it is not known yet: int64[n]."""
        slots = self._table.lookup(*key)
        if not len(self._by_slot):
            return np.full(len(slots), -1, dtype=np.int64)
        return np.where(slots >= 0, self._by_slot[slots], -1)

    def add(self, key: Hash, numbers: list[int]) -> None:
        """Takes new keys, all distinct."""
        self._table.insert(*key)
        self._numbers += numbers
        self._by_slot = np.array(self._numbers, dtype=np.int64)


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
        self._by_rule: dict[NumberedRule, _Resolved] = {}
        self._by_key: dict[tuple[int, int], int] = {}
        self.parties: list[Parties] = []
        self.key_high: UInt64Array = np.zeros(0, dtype=np.uint64)
        self.key_low: UInt64Array = np.zeros(0, dtype=np.uint64)
        self.base: Int64Array = np.zeros(0, dtype=np.int64)
        self.period: Int64Array = np.zeros(0, dtype=np.int64)  # bases that differ by it divide alike
        self.count: Int64Array = np.zeros(0, dtype=np.int64)  # number of parties
        self.currency: Int64Array = np.zeros(0, dtype=np.int64)  # code of the currency
        self.currencies = Interner()
        self.account: Int64Array = np.zeros((0, 1), dtype=np.int64)  # [resolved, party]: code of the account
        self.num: Int64Array = np.zeros((0, 1), dtype=np.int64)
        self.den: Int64Array = np.ones((0, 1), dtype=np.int64)
        self._waiting: dict[tuple[int, int], int] = {}  # bases of keys that no charge has named again yet

    def number(self, currency: str, parties: Parties) -> int:
        """Number of a resolved split; a new one begins at its base in the ledger, else at 0."""
        found = self._numbers.get((currency, parties))
        if found is not None:
            return found
        number = self._numbers[currency, parties] = len(self.parties)
        self.parties.append(parties)
        key = split_key(currency, parties)
        self._by_key[key] = number
        if number >= len(self.base):
            self._grow(max(64, 2 * number), max(len(parties), self.account.shape[1]))
        if len(parties) > self.account.shape[1]:
            self._grow(len(self.base), len(parties))
        self.key_high[number], self.key_low[number] = key
        self.base[number] = self._waiting.pop(key, 0)
        self.period[number] = lcm(*(f.denominator for _, f in parties))
        self.count[number] = len(parties)
        self.currency[number] = self.currencies.add(currency)
        for place, (account, fraction) in enumerate(parties):
            self.account[number, place] = self.accounts.add(account)
            self.num[number, place], self.den[number, place] = fraction.numerator, fraction.denominator
        return number

    def _grow(self, rows: int, width: int) -> None:
        for name in ("key_high", "key_low", "base", "period", "count", "currency"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate((old, np.zeros(rows - len(old), dtype=old.dtype))))
        for name, fill in (("account", 0), ("num", 0), ("den", 1)):
            old = getattr(self, name)
            grown = np.full((rows, width), fill, dtype=np.int64)
            grown[: old.shape[0], : old.shape[1]] = old
            setattr(self, name, grown)

    def resolve_uses(self, numbered: NumberedRule, uses: Uses, rows: Int64Array) -> Int64Array:
        """Resolved split of each of the rows, all of one rule: int64[rows]."""
        split = numbered.version.split_by_name[numbered.rule.split]
        currency, fields = numbered.version.currency, fields_of(split)
        if not fields:
            return np.full(len(rows), self.number(currency, resolve(split, {})), dtype=np.int64)
        every = len(rows) == len(uses)
        columns = [uses.text(f) if every else uses.text(f).take(pa.array(rows)) for f in fields]
        # An absent value and an empty one resolve alike, so that their hash may be the same.
        key = hash_strings(columns[0])
        for column in columns[1:]:
            key = combine(key, hash_strings(column))
        known = self._by_rule.setdefault(numbered, _Resolved())
        numbers = known.find(key)
        missing = np.flatnonzero(numbers < 0)
        if len(missing):
            groups = group(key[0][missing], key[1][missing])
            first = missing[groups.first]
            texts = zip(*(column.take(pa.array(first)).to_pylist() for column in columns), strict=True)
            new = [self.number(currency, resolve(split, dict(zip(fields, values, strict=True)))) for values in texts]
            known.add((key[0][first], key[1][first]), new)
            numbers[missing] = np.array(new, dtype=np.int64)[groups.codes]
        return numbers

    def divide(self, resolved: Int64Array, paid: Int64Array) -> Divided:
        """Divides n amounts (nanos, below 2^62) in row order, and moves the bases."""
        n = len(resolved)
        groups = group_codes(resolved)
        splits = resolved[groups.first]
        width = int(self.count[splits].max(initial=1))
        most = int(paid.max(initial=0)) * n + int(self.base[splits].max(initial=0))
        if most >= BASE_LIMIT or int(self.den[splits].max(initial=1)) > FRACTION_DEN_MAX:
            return self._divide_exactly(resolved, paid, groups, width)
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

    def _divide_exactly(self, resolved: Int64Array, paid: Int64Array, groups: Groups, width: int) -> Divided:
        base_before = np.empty(len(resolved), dtype=np.int64)
        nanos = np.zeros((len(resolved), width), dtype=np.int64)
        for row, (number, amount) in enumerate(zip(resolved.tolist(), paid.tolist(), strict=True)):
            base = int(self.base[number])
            if base >= BASE_LIMIT:  # decided use by use, so that chunks do not show in what is recorded
                base %= int(self.period[number])
            base_before[row], left = base, amount
            parties = self.parties[number]
            for place, (_, fraction) in enumerate(parties[:-1]):
                part = (base + amount) * fraction.numerator // fraction.denominator
                part -= base * fraction.numerator // fraction.denominator
                nanos[row, place] = part
                left -= part
            nanos[row, len(parties) - 1] = left
            self.base[number] = base + amount
        return Divided(resolved, base_before, nanos)

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


def _floor(base: Int64Array, num: Int64Array, den: Int64Array) -> Int64Array:
    """floor(base * num / den) where the product may not fit, but num <= den <= 2^30 and base do."""
    whole = base // den
    return whole * num + (base - whole * den) * num // den
