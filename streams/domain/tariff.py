"""The tariff as the engine rates by it: pure values, no file, no YAML.

A price is a piecewise linear function F of the cumulated quantity of a scope, in exact nanos; flat prices, graduated
tiers, allowances and `at_most` are all such functions. `document()` gives the canonical form that is hashed and
published; `from_document()` reads it back.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import lcm
from typing import Any

NANOS_PER_UNIT = 10**9
DENOMINATOR_MAX = 2**62
SEMANTICS_VERSION = 1

SCOPES = ("event", "hour", "day", "month", "life")
# Fields of a usage event that a rule may ask for or count by; anything else is an attribute.
EVENT_FIELDS = ("product", "item", "meter", "creator", "payer", "session")


@dataclass(frozen=True)
class Meter:
    """What is counted: `scale` decimal places, `needs` names event fields that must be there (session)."""

    name: str
    unit: str
    scale: int = 0
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Party:
    """One party of a split. `account` is 'platform', 'creator' or 'party:TEXT' with {item.label} or {attribute}
    in it; `fraction` None is the rest."""

    account: str
    fraction: Fraction | None


@dataclass(frozen=True)
class Split:
    """Parties of each charge, exactly one of them the rest."""

    name: str
    parties: tuple[Party, ...]


@dataclass(frozen=True)
class Tier:
    """One piece of F: up to `up_to` (inclusive, unscaled quantity; None: open) each unscaled unit costs
    `price` exact nanos."""

    up_to: int | None
    price: Fraction


@dataclass(frozen=True)
class Condition:
    """One `when` entry. kind: equals (one of `values`), pattern (glob with * and ?), present, absent."""

    field: str
    kind: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """Which uses, at what price, cumulated over which scope, divided how. First match from the top wins.

    `per` names the event fields or attributes that open a scope of their own besides the payer.
    `cap_nanos` limits what a scope is charged."""

    name: str
    meter: str
    when: tuple[Condition, ...]
    tiers: tuple[Tier, ...]
    per: tuple[str, ...]
    scope: str
    split: str
    cap_nanos: int | None = None
    text: str = ""  # the price as its owner wrote it, for people: '0.005 per page'

    @cached_property
    def denominator(self) -> int:
        """Least common denominator of the rule's prices, nanos per unscaled unit; at most DENOMINATOR_MAX."""
        return lcm(*(t.price.denominator for t in self.tiers))


@dataclass(frozen=True)
class TariffVersion:
    """One immutable version of a tariff. `products` empty: all products that no other tariff claims."""

    tariff: str
    version: int
    effective_from_us: int
    currency: str
    calendar: str
    products: tuple[str, ...]
    meters: tuple[Meter, ...]
    splits: tuple[Split, ...]
    rules: tuple[Rule, ...]

    @cached_property
    def meter_by_name(self) -> dict[str, Meter]:
        return {m.name: m for m in self.meters}

    @cached_property
    def split_by_name(self) -> dict[str, Split]:
        return {s.name: s for s in self.splits}

    def document(self) -> dict[str, Any]:
        """The version as plain values: what is hashed and published."""
        return {
            "tariff": self.tariff,
            "version": self.version,
            "effective_from_us": self.effective_from_us,
            "currency": self.currency,
            "calendar": self.calendar,
            "products": list(self.products),
            "meters": [{"name": m.name, "unit": m.unit, "scale": m.scale, "needs": list(m.needs)} for m in self.meters],
            "splits": [
                {
                    "name": s.name,
                    "parties": [
                        {"account": p.account, "fraction": None if p.fraction is None else str(p.fraction)}
                        for p in s.parties
                    ],
                }
                for s in self.splits
            ],
            "rules": [
                {
                    "name": r.name,
                    "meter": r.meter,
                    "when": [{"field": c.field, "kind": c.kind, "values": list(c.values)} for c in r.when],
                    "tiers": [{"up_to": t.up_to, "price": str(t.price)} for t in r.tiers],
                    "per": list(r.per),
                    "scope": r.scope,
                    "split": r.split,
                    "cap_nanos": r.cap_nanos,
                    "text": r.text,
                }
                for r in self.rules
            ],
        }

    @cached_property
    def canonical(self) -> str:
        """The document as canonical JSON: keys sorted, no white space, no escapes but JSON's own."""
        return canonical_json(self.document())

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON, hex; a charge carries its first 16 digits."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()


@dataclass(frozen=True)
class Settings:
    """Every setting that changes a result; part of the rule book. Times in microseconds.

    `zone`, `windows` (finest first) and `settlement` (one of `windows`) are fixed by the first book of an
    installation. `thresholds` gives, by currency, what a payout must reach, in nanos."""

    lateness_us: int = 60_000_000
    skew_us: int = 120_000_000
    horizon_us: int = 86_400_000_000
    zone: str = "UTC"
    windows: tuple[str, ...] = ("hour", "day", "month")
    settlement: str = "day"
    thresholds: tuple[tuple[str, int], ...] = ()
    semantics: int = SEMANTICS_VERSION

    def document(self) -> dict[str, Any]:
        return {
            "lateness_us": self.lateness_us,
            "skew_us": self.skew_us,
            "horizon_us": self.horizon_us,
            "zone": self.zone,
            "windows": list(self.windows),
            "settlement": self.settlement,
            "thresholds": dict(self.thresholds),
            "semantics": self.semantics,
        }

    @staticmethod
    def from_document(doc: dict[str, Any]) -> Settings:
        return Settings(
            lateness_us=doc["lateness_us"],
            skew_us=doc["skew_us"],
            horizon_us=doc["horizon_us"],
            zone=doc["zone"],
            windows=tuple(doc["windows"]),
            settlement=doc["settlement"],
            thresholds=tuple(sorted(doc["thresholds"].items())),
            semantics=doc["semantics"],
        )


@dataclass(frozen=True)
class RuleBook:
    """The complete list of tariff versions in force and to come, with the settings. `number` is its offset in
    topic `books`, -1 where it has not been published."""

    number: int
    settings: Settings
    tariffs: tuple[TariffVersion, ...]

    @cached_property
    def book_hash(self) -> str:
        """SHA-256 over settings and the versions' hashes, hex; does not depend on `number`."""
        content = {
            "settings": self.settings.document(),
            "tariffs": [[t.tariff, t.version, t.content_hash] for t in self.tariffs],
        }
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    def tariff_of(self, product: str) -> str | None:
        """Name of the tariff that the product belongs to; None where there is none."""
        fallback = None
        for t in self.tariffs:
            if product in t.products:
                return t.tariff
            if not t.products:
                fallback = t.tariff
        return fallback

    def versions(self, tariff: str) -> tuple[TariffVersion, ...]:
        """The tariff's versions, in the order in which they come into force."""
        mine = (t for t in self.tariffs if t.tariff == tariff)
        return tuple(sorted(mine, key=lambda t: (t.effective_from_us, t.version)))


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space; the same value always gives the same text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def from_document(doc: dict[str, Any]) -> TariffVersion:
    """A version from its canonical document. Raises KeyError or ValueError where it is none."""
    return TariffVersion(
        tariff=doc["tariff"],
        version=doc["version"],
        effective_from_us=doc["effective_from_us"],
        currency=doc["currency"],
        calendar=doc["calendar"],
        products=tuple(doc["products"]),
        meters=tuple(Meter(m["name"], m["unit"], m["scale"], tuple(m["needs"])) for m in doc["meters"]),
        splits=tuple(
            Split(
                s["name"],
                tuple(
                    Party(p["account"], None if p["fraction"] is None else Fraction(p["fraction"]))
                    for p in s["parties"]
                ),
            )
            for s in doc["splits"]
        ),
        rules=tuple(
            Rule(
                name=r["name"],
                meter=r["meter"],
                when=tuple(Condition(c["field"], c["kind"], tuple(c["values"])) for c in r["when"]),
                tiers=tuple(Tier(t["up_to"], Fraction(t["price"])) for t in r["tiers"]),
                per=tuple(r["per"]),
                scope=r["scope"],
                split=r["split"],
                cap_nanos=r["cap_nanos"],
                text=r["text"],
            )
            for r in doc["rules"]
        ),
    )
