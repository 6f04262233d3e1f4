"""Rules, splits and passes of a tariff as the engine rates by them: pure values and their documents."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from nanotally.streams.domain.terms import (
    Each,
    Free,
    Overage,
    PriceFrom,
    Rounding,
    Tier,
    terms_denominator,
    terms_document,
    terms_from_document,
)


@dataclass(frozen=True)
class Party:
    """One party of a split. `account` is 'platform', 'creator' or 'party:TEXT' with {item.label} or {attribute}
    in it; `fraction` None is the rest.

    `cap_nanos` is the most it gets of one charge; what is beyond goes to `overflow`, None: to the rest. `of_left`:
    the fraction is of what the parties before it left of the charge, not of the whole."""

    account: str
    fraction: Fraction | None
    cap_nanos: int | None = None
    overflow: str | None = None
    of_left: bool = False


@dataclass(frozen=True)
class Split:
    """Parties of each charge, exactly one of them the rest."""

    name: str
    parties: tuple[Party, ...]


@dataclass(frozen=True)
class Condition:
    """One `when` entry. kind: equals (one of `values`), pattern (glob with * and ?), present, absent,
    range (a decimal number from values[0] to values[1], both inclusive, '' for none),
    band (field 'occurred_at': in a band of time, see bands.py)."""

    field: str
    kind: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """Which uses, at what price, cumulated over which scope, divided how. First match from the top wins.

    Rules of one name are the variants of one rule of the file (a price by attribute, a band of time): they share their
    scopes, and `variant` tells them apart. `refuse`: the use is refused, reason 'price'.

    `per` names the event fields or attributes that open a scope of their own besides the payer. `length_us`: idle gap
    of a session, length of an anchored scope. `cut`: a use with a duration is cut where a band or a version ends,
    instead of being rated by its start. The price is the function of prices.py of the fields from `tiers` on."""

    name: str
    meter: str
    when: tuple[Condition, ...]
    tiers: tuple[Tier, ...]
    per: tuple[str, ...]
    scope: str
    split: str
    cap_nanos: int | None = None  # the most that a scope is charged
    text: str = ""  # the price as its owner wrote it, for people: '0.005 per page'
    variant: str = ""
    refuse: bool = False
    length_us: int = 0
    cut: bool = False
    volume: bool = False  # all units at the price of the tier that the quantity reaches
    carry: bool = False  # what a started step has beyond its tier is taken from the next tier
    zero_fee: bool = False  # the first tier's fee is due with the first use, even one of quantity 0
    falling: bool = False  # a lower total gives money back instead of waiting until it is reached again
    free: Free | None = None
    rounding: Rounding | None = None
    each: Each | None = None
    connect: Fraction = Fraction(0)  # exact nanos, once a scope, with the first use that is not of quantity 0
    overage: Overage | None = None
    minimum_nanos: int = 0  # due at the scope's end; of scope event at once
    limit: int | None = None  # cumulated quantity above which uses are refused, reason 'limit'
    tier_by: str | None = None  # attribute with the quantity that chooses the volume tier
    price_from: PriceFrom | None = None

    @cached_property
    def denominator(self) -> int:
        """Least common denominator of the rule's prices, nanos per unscaled unit; at most DENOMINATOR_MAX."""
        return terms_denominator(self)


@dataclass(frozen=True)
class Pass:
    """A function over money, across rules: what the payer pays for the list prices of the rules it covers.

    Rated like a use of `list price` nanos under `price`, a rule whose quantity is nanos: flat 4/5 is a discount, a cap
    the most that a scope of it costs. Its scope, `per` and the split are those of `price`; shares go to the account
    'pool:TARIFF/NAME' until the scope ends, then to the uses' splits in proportion to list prices."""

    name: str
    covers: tuple[str, ...]
    price: Rule


def party_document(party: Party) -> dict[str, Any]:
    """A party as plain values."""
    doc: dict[str, Any] = {
        "account": party.account,
        "fraction": None if party.fraction is None else str(party.fraction),
    }
    further = {"cap_nanos": party.cap_nanos, "overflow": party.overflow, "of_left": party.of_left or None}
    return doc | {name: value for name, value in further.items() if value is not None}


def party_from(doc: dict[str, Any]) -> Party:
    """A party from its plain values."""
    fraction = None if doc["fraction"] is None else Fraction(doc["fraction"])
    return Party(doc["account"], fraction, doc.get("cap_nanos"), doc.get("overflow"), doc.get("of_left", False))


def rule_document(rule: Rule) -> dict[str, Any]:
    """A rule as plain values."""
    return {
        "name": rule.name,
        "meter": rule.meter,
        "when": [{"field": c.field, "kind": c.kind, "values": list(c.values)} for c in rule.when],
        "tiers": [t.document() for t in rule.tiers],
        "per": list(rule.per),
        "scope": rule.scope,
        "split": rule.split,
        "cap_nanos": rule.cap_nanos,
        "text": rule.text,
    } | terms_document(rule)


def rule_from(doc: dict[str, Any]) -> Rule:
    """A rule from its plain values."""
    return Rule(
        name=doc["name"],
        meter=doc["meter"],
        when=tuple(Condition(c["field"], c["kind"], tuple(c["values"])) for c in doc["when"]),
        tiers=tuple(Tier.from_document(t) for t in doc["tiers"]),
        per=tuple(doc["per"]),
        scope=doc["scope"],
        split=doc["split"],
        cap_nanos=doc["cap_nanos"],
        text=doc["text"],
        **terms_from_document(doc),
    )


def pass_document(p: Pass) -> dict[str, Any]:
    """A pass as plain values."""
    return {"name": p.name, "covers": list(p.covers), "price": rule_document(p.price)}
