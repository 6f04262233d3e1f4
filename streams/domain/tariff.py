"""The tariff as the engine rates by it: pure values, no file, no YAML.

A price is a piecewise linear function F of the cumulated quantity of a scope, in exact nanos; flat prices, graduated
tiers, allowances and `at_most` are all such functions. `document()` gives the canonical form that is hashed and
published; `from_document()` reads it back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nanotally.streams.domain.canonical import canonical_json as canonical_json
from nanotally.streams.domain.catalogs import CatalogVersion
from nanotally.streams.domain.rules import Condition as Condition
from nanotally.streams.domain.rules import Party as Party
from nanotally.streams.domain.rules import Pass as Pass
from nanotally.streams.domain.rules import Rule as Rule
from nanotally.streams.domain.rules import Split as Split
from nanotally.streams.domain.rules import party_document, party_from, pass_document, rule_document, rule_from
from nanotally.streams.domain.terms import Tier as Tier

NANOS_PER_UNIT = 10**9
DENOMINATOR_MAX = 2**62
SEMANTICS_VERSION = 1

SCOPES = ("event", "session", "hour", "day", "month", "year", "life", "anchored")
# Scopes that begin with their first use instead of at an instant of the calendar.
OPENED_SCOPES = ("session", "anchored")
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
    passes: tuple[Pass, ...] = ()

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
                    "parties": [party_document(p) for p in s.parties],
                }
                for s in self.splits
            ],
            "rules": [rule_document(r) for r in self.rules],
        } | ({"passes": [pass_document(p) for p in self.passes]} if self.passes else {})

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
    catalogs: tuple[CatalogVersion, ...] = ()

    @cached_property
    def book_hash(self) -> str:
        """SHA-256 over settings and the versions' hashes, hex; does not depend on `number`."""
        content: dict[str, Any] = {
            "settings": self.settings.document(),
            "tariffs": [[t.tariff, t.version, t.content_hash] for t in self.tariffs],
        }
        if self.catalogs:
            content["catalogs"] = [[c.catalog, c.version, c.content_hash] for c in self.catalogs]
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
                tuple(party_from(p) for p in s["parties"]),
            )
            for s in doc["splits"]
        ),
        rules=tuple(rule_from(r) for r in doc["rules"]),
        passes=tuple(Pass(p["name"], tuple(p["covers"]), rule_from(p["price"])) for p in doc.get("passes", ())),
    )
