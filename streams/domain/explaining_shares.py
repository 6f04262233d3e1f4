"""Who gets what of one charge, worked out in exact fractions from the split, the use and the base before.

Shares no code with what divides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor
from typing import Any

from nanotally.streams.domain.catalogs import CatalogItem
from nanotally.streams.domain.explaining_matches import value_of
from nanotally.streams.domain.explaining_model import Claim, Differs, Part, same
from nanotally.streams.domain.rules import Party, Split

_NAMES = re.compile(r"\{([^{}]+)\}")


Claims = tuple[Claim, ...]  # the one that takes the rest is the last


def claims_of(split: Split, event: Mapping[str, Any], item: CatalogItem | None) -> Claims:
    """The split for one use. Without caps equal accounts are merged, in order of their names, the rest at the end."""
    left = 1 - sum((p.fraction for p in split.parties if p.fraction is not None and not p.of_left), Fraction(0))
    claims = [c for p in split.parties if p.fraction is not None for c in _claims(p, p.fraction, event, item)]
    rest = [c for p in split.parties if p.fraction is None for c in _claims(p, left, event, item)]
    if has_terms(split):
        return (*claims, *rest)
    gets: dict[str, Fraction] = {}
    for claim in (*claims, *rest):
        gets[claim.account] = gets.get(claim.account, Fraction(0)) + claim.fraction
    last = rest[-1].account
    ordered = (*sorted(account for account in gets if account != last), last)
    return tuple(Claim(account, gets[account]) for account in ordered)


def has_terms(split: Split) -> bool:
    """Whether the split has caps, or parts of what is left."""
    return any(p.cap_nanos is not None or p.of_left for p in split.parties)


def _claims(party: Party, part: Fraction, event: Mapping[str, Any], item: CatalogItem | None) -> list[Claim]:
    """The accounts behind a party; whoever is absent is the platform, several writers divide what the creator gets."""
    if party.account == "creator" and event["creator"] is None and item is not None and item.writers:
        most = party.cap_nanos
        return [
            Claim(f"creator:{name}", part * of, None if most is None else floor(most * of), party.overflow or "",
                  party.of_left)
            for name, of in item.writers
        ]  # fmt: skip
    beyond = _account(party.overflow, event, item) if party.overflow else ""
    return [Claim(_account(party.account, event, item), part, party.cap_nanos, beyond, party.of_left)]


def _account(party: str, event: Mapping[str, Any], item: CatalogItem | None) -> str:
    if party == "creator":
        creator = value_of(event, "creator", item)
        return f"creator:{creator}" if creator else "platform"
    names = {name: value_of(event, name, item) for name in _NAMES.findall(party)}
    return _NAMES.sub(lambda found: names[found[1]] or "", party) if all(names.values()) else "platform"


def parts_of(claims: Claims, base: int, paid: int) -> tuple[Part, ...]:
    """`paid` nanos divided where `base` nanos were divided like this before: in the order of the claims, then who only
    takes what is beyond a cap, the rest at the end."""
    last = claims[-1].account
    fractions: dict[str, Fraction] = {}
    for claim in claims:
        fractions[claim.account] = fractions.get(claim.account, Fraction(0)) + claim.fraction
    gets = dict.fromkeys((*fractions, *(claim.beyond for claim in claims if claim.beyond)), 0)
    left = paid
    for claim in claims[:-1]:
        cumulated = floor((base + paid) * claim.fraction) - floor(base * claim.fraction)
        share = left if claim.left else cumulated
        kept = share if claim.most is None else min(share, claim.most)
        gets[claim.account] += kept
        left -= kept
        if claim.beyond:
            gets[claim.beyond] += share - kept
            left -= share - kept
    gets[last] += left
    ordered = (*(account for account in gets if account != last), last)
    return tuple(Part(a, fractions.get(a, Fraction(0)), gets[a], rest=a == last) for a in ordered)


def check_parts(at: str, parts: Sequence[Part], shares: Sequence[Mapping[str, Any]]) -> None:
    """Raises Differs where the charge's shares are others."""
    for part, share in zip(parts, shares, strict=False):
        found = (share["account"], str(Fraction(share["fraction_num"], share["fraction_den"])), share["nanos"])
        same(f"{at}, share of {part.account}", (part.account, str(part.fraction), part.nanos), found)
    same(f"{at}, number of shares", len(parts), len(shares))


def parts_told(
    at: str, shares: Sequence[Mapping[str, Any]], splits: Sequence[Split], base: int, paid: int
) -> tuple[Part, ...]:
    """The parts where no use names the accounts (what fell due), by the fractions that the shares tell themselves.
    Those of a split with caps are taken as told, if they add up."""
    told = [(s["account"], Fraction(s["fraction_num"], s["fraction_den"]), s["nanos"]) for s in shares]
    same(f"{at}, sum of the shares", paid, sum(nanos for _, _, nanos in told))
    whole = sum((fraction for _, fraction, _ in told), Fraction(0))
    capped = any(has_terms(split) for split in splits)
    if whole != 1 and not capped:
        raise Differs(f"{at}, sum of the fractions", 1, whole)
    plain = parts_of(tuple(Claim(account, fraction) for account, fraction, _ in told), base, paid)
    if capped:
        return tuple(Part(a, f, nanos, rest=place == len(told) - 1) for place, (a, f, nanos) in enumerate(told))
    check_parts(at, plain, shares)
    return plain
