"""Who gets which part of one charge, in exact integers: a split resolved for one use, and one amount divided by it.

A resolved split is a tuple of parties whose accounts stand for themselves; all have a fraction, the last one takes the
rest. Where no party has a cap or takes of what is left, equal accounts are one party, in order of their text; else the
parties stand as in the file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from nanotally.streams.domain.canonical import canonical_json
from nanotally.streams.domain.rules import Party, Split

PLATFORM = "platform"
PLACEHOLDER = re.compile(r"\{([^{}]+)\}")

Parties = tuple[Party, ...]
Writers = tuple[tuple[str, Fraction], ...]  # creators with their parts of what the creator gets


def resolve(split: Split, values: Mapping[str, str | None], writers: Writers = ()) -> Parties:
    """The split for one use; `values` gives creator and attributes. Who is absent leaves the share to the platform.
    writers: those of the use's item, who go before its creator; empty where the use has a creator of its own."""
    named = (p.fraction for p in split.parties if p.fraction is not None and not p.of_left)
    rest_fraction = 1 - sum(named, Fraction(0))
    parties: list[Party] = []
    rest: list[Party] = []
    for party in split.parties:
        fraction = rest_fraction if party.fraction is None else party.fraction
        (rest if party.fraction is None else parties).extend(
            _resolved(replace(party, fraction=fraction), values, writers)
        )
    if has_terms(parties):
        return (*parties, *rest)
    shares: dict[str, Fraction] = {}
    for party in (*parties, *rest):
        shares[party.account] = shares.get(party.account, Fraction(0)) + _fraction(party)
    last = rest[-1].account
    others = sorted((account, fraction) for account, fraction in shares.items() if account != last)
    return tuple(Party(account, fraction) for account, fraction in (*others, (last, shares[last])))


def _resolved(party: Party, values: Mapping[str, str | None], writers: Writers) -> list[Party]:
    """A party with its account, or several where it is the creator of an item with writers; a cap is divided too."""
    if party.account == "creator" and writers:
        cap = party.cap_nanos
        return [
            replace(
                party,
                account=f"creator:{name}",
                fraction=_fraction(party) * part,
                cap_nanos=None if cap is None else int(cap * part),
            )
            for name, part in writers
        ]
    overflow = None if party.overflow is None else _account(party.overflow, values)
    return [replace(party, account=_account(party.account, values), overflow=overflow)]


def _account(party: str, values: Mapping[str, str | None]) -> str:
    if party == "creator":
        creator = values.get("creator")
        return f"creator:{creator}" if creator else PLATFORM
    names = PLACEHOLDER.findall(party)
    if any(not values.get(name) for name in names):
        return PLATFORM
    return PLACEHOLDER.sub(lambda found: values[found[1]] or "", party)


def _fraction(party: Party) -> Fraction:
    if party.fraction is None:
        raise ValueError(f"party {party.account!r} of a resolved split has no fraction")
    return party.fraction


def fields_of(split: Split) -> tuple[str, ...]:
    """Event fields and attributes that decide who a split's parties are."""
    fields: list[str] = []
    for party in split.parties:
        for account in (party.account, party.overflow or ""):
            fields += ["creator"] if account == "creator" else PLACEHOLDER.findall(account)
    return tuple(dict.fromkeys(fields))


def has_terms(parties: Sequence[Party]) -> bool:
    """Whether shares are more than cumulated fractions: a cap, or a part of what is left."""
    return any(p.cap_nanos is not None or p.of_left for p in parties)


def places_of(parties: Parties) -> tuple[tuple[str, Fraction], ...]:
    """The distinct accounts of a resolved split, each with its fraction: in the order of the parties, those that only
    take what is beyond a cap (fraction 0) after them, the one of the rest last."""
    shares: dict[str, Fraction] = {}
    for party in parties:
        shares[party.account] = shares.get(party.account, Fraction(0)) + _fraction(party)
    for party in parties:
        if party.overflow is not None:
            shares.setdefault(party.overflow, Fraction(0))
    last = parties[-1].account
    return (*((account, fraction) for account, fraction in shares.items() if account != last), (last, shares[last]))


def divide_one(parties: Sequence[Party], base: int, amount: int) -> tuple[tuple[str, int], ...]:
    """Nanos of each account of one amount of any size and sign, where `base` nanos were divided before: they sum to
    it, one for each of `places_of`. The rest goes to the party without a fraction, else to the last.

    Each other party gets floor((base + amount) * fraction) - floor(base * fraction), or with `of_left` all that the
    parties before it left, and no more than its cap; what is beyond goes to `overflow`, else to the rest."""
    rest = next((place for place, party in enumerate(parties) if party.fraction is None), len(parties) - 1)
    gets: dict[str, int] = {}
    beyond = {party.overflow: 0 for party in parties if party.overflow is not None}
    left = amount
    for party in (*parties[:rest], *parties[rest + 1 :]):
        fraction = _fraction(party)
        share = left if party.of_left else _floor(base + amount, fraction) - _floor(base, fraction)
        most = share if party.cap_nanos is None else min(share, party.cap_nanos)
        gets[party.account] = gets.get(party.account, 0) + most
        left -= most
        if party.overflow is not None:
            beyond[party.overflow] += share - most
            left -= share - most
    for account, nanos in beyond.items():
        gets[account] = gets.get(account, 0) + nanos
    last = parties[rest].account
    own = gets.pop(last, 0)
    return (*gets.items(), (last, own + left))


def _floor(amount: int, fraction: Fraction) -> int:
    return amount * fraction.numerator // fraction.denominator


def split_key(currency: str, parties: Parties) -> tuple[int, int]:
    """Key of a resolved split, as the ledger has it: two unsigned 64-bit words of a BLAKE2b digest."""
    texts: list[list[object]] = []
    for party in parties:
        terms: list[object] = [party.cap_nanos, party.overflow, party.of_left] if has_terms([party]) else []
        texts.append([party.account, str(_fraction(party)), *terms])
    digest = hashlib.blake2b(canonical_json([currency, *texts]).encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
