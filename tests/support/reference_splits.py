"""Who gets what of a charge, one charge at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

from nanotally.streams.domain.tariff import Party, Split
from tests.support.reference_pricing import Known, field_of
from tests.support.reference_values import Event, Share


@dataclass(frozen=True)
class Part:
    """One account of a resolved split. `cap`: the most it gets of one charge, `overflow`: who gets what is beyond,
    None: the rest. `of_left`: what the parts before it leave, instead of a fraction of the whole."""

    account: str
    fraction: Fraction
    cap: int | None = None
    overflow: str | None = None
    of_left: bool = False

    def sorting(self) -> tuple[Any, ...]:
        return self.account, self.fraction, -1 if self.cap is None else self.cap, self.overflow or "", self.of_left


Parts = tuple[Part, ...]
PLATFORM_ALONE = (Part("platform", Fraction(1)),)


def sorting(parts: Parts) -> tuple[Any, ...]:
    """Order among resolved splits."""
    return tuple(p.sorting() for p in parts)


def account_of(template: str, event: Event) -> str:
    """The account that a party of a split stands for; whoever is absent leaves it to the platform."""
    if template == "creator":
        return f"creator:{event['creator']}" if event["creator"] else "platform"
    pieces = re.split(r"\{([^}]*)\}", template)
    for i in range(1, len(pieces), 2):
        value = field_of(event, pieces[i])
        if not value:
            return "platform"
        pieces[i] = value
    return "".join(pieces)


def resolve_split(split: Split, use: Event | Known) -> Parts:
    """Accounts with fractions. Where no party has a cap: equal accounts merged, in order of their text, the account of
    the rest last; else as they stand in the file, the rest last."""
    known = use if isinstance(use, Known) else Known(use)
    named = sum((p.fraction for p in split.parties if p.fraction is not None and not p.of_left), Fraction(0))
    parts, rest = list[Part](), list[Part]()
    for party in split.parties:
        fraction = 1 - named if party.fraction is None else party.fraction
        (rest if party.fraction is None else parts).extend(parts_of(party, fraction, known))
    if any(p.cap is not None or p.of_left for p in parts):
        return (*parts, *rest)
    fractions: dict[str, Fraction] = {}
    for part in parts + rest:
        fractions[part.account] = fractions.get(part.account, Fraction(0)) + part.fraction
    last = Part(rest[-1].account, fractions.pop(rest[-1].account))
    return (*(Part(a, f) for a, f in sorted(fractions.items())), last)


def parts_of(party: Party, fraction: Fraction, known: Known) -> list[Part]:
    """The party's accounts: one, or the writers where it is the creator of an item that has several."""
    if party.account == "creator" and known.writers:
        most = party.cap_nanos
        return [
            Part(
                f"creator:{name}",
                fraction * part,
                None if most is None else floor(most * part),
                party.overflow,
                party.of_left,
            )
            for name, part in known.writers
        ]
    overflow = None if party.overflow is None else account_of(party.overflow, known.event)
    return [Part(account_of(party.account, known.event), fraction, party.cap_nanos, overflow, party.of_left)]


def divide(parts: Parts, base: int, amount: int) -> tuple[Share, ...]:
    """Differences of floors of each cumulated fraction, or all that is left, no more than the cap; the last takes the
    rest. One share an account: parties first, then who only gets what is beyond a cap, who takes the rest last."""
    *others, rest = parts
    fractions, nanos, left = dict[str, Fraction](), dict[str, int](), amount

    def give(account: str, fraction: Fraction, share: int) -> None:
        nonlocal left
        fractions[account] = fractions.get(account, Fraction(0)) + fraction
        nanos[account] = nanos.get(account, 0) + share
        left -= share

    beyond = list[tuple[str, int]]()
    for part in others:
        share = floor((base + amount) * part.fraction) - floor(base * part.fraction)
        if part.of_left:
            share = left
        most = share if part.cap is None else min(share, part.cap)
        give(part.account, part.fraction, most)
        if part.overflow is not None:
            beyond.append((part.overflow, share - most))
            left -= share - most
    for account, share in beyond:
        left += share
        give(account, Fraction(0), share)
    give(rest.account, rest.fraction, left)
    order = [a for a in nanos if a != rest.account] + [rest.account]
    return tuple(Share(a, fractions[a], nanos[a]) for a in order)
