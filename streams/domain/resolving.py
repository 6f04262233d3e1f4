"""Plain splits resolved for many uses at once.

A plain split has neither caps nor parts of what is left. Where no writers go before the creator, what it resolves to
follows from two things: which of its parties have the same account, and in which order the texts of the accounts are.
That is its shape. Shapes are few, so fractions are added, reduced and written once for each, not once for each creator.
What comes out is what `parties.resolve` and `parties.split_key` give."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from json.encoder import encode_basestring
from math import lcm

import numpy as np

from nanotally.streams.domain.canonical import canonical_json
from nanotally.streams.domain.hashing import Hash
from nanotally.streams.domain.keys import KeyTable
from nanotally.streams.domain.parties import PLACEHOLDER, PLATFORM, Parties, fields_of, has_terms
from nanotally.streams.domain.records import Int64Array
from nanotally.streams.domain.rules import Party, Split


@dataclass(frozen=True, eq=False)
class Shape:
    """Resolved splits that differ in the texts of their accounts only. By place: num, den int64[k] of the fractions;
    between: what stands behind each account in the text that is hashed. period: of bases that divide alike."""

    fractions: tuple[Fraction, ...]
    num: Int64Array
    den: Int64Array
    between: tuple[str, ...]
    period: int


@dataclass(frozen=True, slots=True)
class Plain:
    """One resolved split: a shape and its accounts, in the order of the parties."""

    shape: Shape
    accounts: tuple[str, ...]

    def parties(self) -> Parties:
        """As `parties.resolve` gives them."""
        pairs = zip(self.accounts, self.shape.fractions, strict=True)
        return tuple(Party(account, fraction) for account, fraction in pairs)


class Made:
    """Resolved splits by number, those of plain splits without an object for each party."""

    def __init__(self) -> None:
        self._made: list[Parties | Plain] = []

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, number: int) -> Parties:
        made = self._made[number]
        return made.parties() if isinstance(made, Plain) else made

    def append(self, made: Parties | Plain) -> None:
        self._made.append(made)


class PlainSplit:
    """A split without caps and parts of what is left, for many uses at once."""

    def __init__(self, split: Split) -> None:
        rest = 1 - sum((p.fraction for p in split.parties if p.fraction is not None), Fraction(0))
        self.fields = fields_of(split)
        self._fractions = [rest if p.fraction is None else p.fraction for p in split.parties]
        self._last = next(i for i, p in enumerate(split.parties) if p.fraction is None)
        self._accounts = [p.account for p in split.parties]
        self._shapes: dict[tuple[int, ...], Shape] = {}

    def resolve(self, n: int, columns: Sequence[Sequence[str | None]]) -> list[Plain]:
        """The split for each of n rows of values of `fields`."""
        by_field = dict(zip(self.fields, columns, strict=True))
        resolved: list[Plain] = []
        for accounts in zip(*(_accounts(party, n, by_field) for party in self._accounts), strict=True):
            last = accounts[self._last]
            others = sorted({*accounts} - {last})
            place = {account: i for i, account in enumerate(others)} | {last: len(others)}
            places = tuple(place[account] for account in accounts)
            shape = self._shapes.get(places) or self._shape(places)
            resolved.append(Plain(shape, (*others, last)))
        return resolved

    def _shape(self, places: tuple[int, ...]) -> Shape:
        """The shape where the parties' accounts stand at these places."""
        shares = [Fraction(0)] * (max(places) + 1)
        for place, fraction in zip(places, self._fractions, strict=True):
            shares[place] += fraction
        shape = self._shapes[places] = Shape(
            tuple(shares),
            np.array([f.numerator for f in shares], dtype=np.int64),
            np.array([f.denominator for f in shares], dtype=np.int64),
            tuple(f',"{f}"]' for f in shares),
            lcm(*(f.denominator for f in shares)),
        )
        return shape


def is_plain(split: Split) -> bool:
    """Whether `PlainSplit` is for it."""
    return not has_terms(split.parties)


def keys_of(currency: str, resolved: Sequence[Plain]) -> Hash:
    """`parties.split_key` of each: two uint64[n]."""
    begin = canonical_json([currency])[:-1]
    digests: list[bytes] = []
    for plain in resolved:
        parts = [begin]
        for account, between in zip(plain.accounts, plain.shape.between, strict=True):
            parts += (",[", encode_basestring(account), between)
        parts.append("]")
        digests.append(hashlib.blake2b("".join(parts).encode(), digest_size=16).digest())
    words = np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2).astype(np.uint64)
    return words[:, 0].copy(), words[:, 1].copy()


def _accounts(party: str, n: int, columns: dict[str, Sequence[str | None]]) -> Iterable[str]:
    """The account of a party in each of n rows."""
    if party == "creator":
        return [f"creator:{creator}" if creator else PLATFORM for creator in columns["creator"]]
    pieces = PLACEHOLDER.split(party)
    names, literals = pieces[1::2], pieces[::2]
    if not names:
        return repeat(party, n)
    return [
        "".join(x for pair in zip(literals, (*values, ""), strict=True) for x in pair if x) if all(values) else PLATFORM
        for values in zip(*(columns[name] for name in names), strict=True)
    ]


class Resolved:
    """Numbers of the resolved splits of one rule by the hash of what decides them."""

    def __init__(self) -> None:
        self._table = KeyTable()
        self._by_slot: Int64Array = np.zeros(0, dtype=np.int64)

    def find(self, key: Hash) -> Int64Array:
        """Number of the resolved split of each row, -1 where it is not known yet: int64[n]."""
        slots = self._table.lookup(*key)
        if not len(self._by_slot):
            return np.full(len(slots), -1, dtype=np.int64)
        return np.where(slots >= 0, self._by_slot[slots], -1)

    def add(self, key: Hash, numbers: Int64Array) -> None:
        """Takes new keys, all distinct."""
        self._table.insert(*key)
        self._by_slot = np.concatenate((self._by_slot, numbers))
