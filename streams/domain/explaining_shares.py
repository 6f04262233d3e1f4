"""Who gets what of one charge, worked out in exact fractions from the split, the use and the base before.

Shares no code with the columns that divide."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor
from typing import Any

from nanotally.streams.domain.catalogs import CatalogItem
from nanotally.streams.domain.explaining_matches import value_of
from nanotally.streams.domain.explaining_model import Differs, Part, same
from nanotally.streams.domain.rules import Split

_NAMES = re.compile(r"\{([^{}]+)\}")

Fractions = tuple[tuple[str, Fraction], ...]  # accounts with their parts; the one that takes the rest is the last


def fractions_of(split: Split, event: Mapping[str, Any], item: CatalogItem | None) -> Fractions:
    """The accounts of a split without caps, for one use: equal ones merged, in order of name, the rest at the end."""
    left = 1 - sum((p.fraction for p in split.parties if p.fraction is not None), Fraction(0))
    gets: dict[str, Fraction] = {}
    last = "platform"
    for party in split.parties:
        for account, part in _accounts(party.account, event, item):
            gets[account] = gets.get(account, Fraction(0)) + part * (left if party.fraction is None else party.fraction)
            last = account if party.fraction is None else last
    return (*sorted((account, part) for account, part in gets.items() if account != last), (last, gets[last]))


def _accounts(party: str, event: Mapping[str, Any], item: CatalogItem | None) -> list[tuple[str, Fraction]]:
    """The accounts behind a party with their parts of its share; whoever is absent is the platform."""
    if party == "creator":
        if event["creator"] is None and item is not None and item.writers:
            return [(f"creator:{name}", part) for name, part in item.writers]
        creator = value_of(event, "creator", item)
        return [(f"creator:{creator}" if creator else "platform", Fraction(1))]
    names = {name: value_of(event, name, item) for name in _NAMES.findall(party)}
    if not all(names.values()):
        return [("platform", Fraction(1))]
    return [(_NAMES.sub(lambda found: names[found[1]] or "", party), Fraction(1))]


def parts_of(fractions: Fractions, base: int, paid: int) -> tuple[Part, ...]:
    """`paid` nanos divided where `base` nanos were divided like this before."""
    parts: list[Part] = []
    for account, fraction in fractions[:-1]:
        parts.append(Part(account, fraction, floor((base + paid) * fraction) - floor(base * fraction), rest=False))
    account, fraction = fractions[-1]
    return (*parts, Part(account, fraction, paid - sum(part.nanos for part in parts), rest=True))


def check_parts(at: str, parts: Sequence[Part], shares: Sequence[Mapping[str, Any]]) -> None:
    """Raises Differs where the charge's shares are others."""
    for part, share in zip(parts, shares, strict=False):
        found = (share["account"], str(Fraction(share["fraction_num"], share["fraction_den"])), share["nanos"])
        same(f"{at}, share of {part.account}", (part.account, str(part.fraction), part.nanos), found)
    same(f"{at}, number of shares", len(parts), len(shares))


def fractions_told(at: str, shares: Sequence[Mapping[str, Any]]) -> Fractions:
    """Accounts and parts as a line tells them itself, where no use names them (what fell due)."""
    told = tuple((s["account"], Fraction(s["fraction_num"], s["fraction_den"])) for s in shares)
    if sum((part for _, part in told), Fraction(0)) != 1:
        raise Differs(f"{at}, fractions of the shares", "a sum of 1", sum((part for _, part in told), Fraction(0)))
    return told
