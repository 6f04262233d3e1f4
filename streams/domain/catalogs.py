"""Catalogs of items as the engine knows them: who made an item, who gets what of it, what its creator asks for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from nanotally.streams.domain.canonical import canonical_json


@dataclass(frozen=True)
class CatalogItem:
    """One item. A use's own creator and attribute `item.label` go before these.

    `writers`: several creators by their parts of what the creator gets, which sum to 1; empty: `creator` alone.
    `price`: decimal text in units of the tariff's currency per unit of the meter, None: no price of its own."""

    item: str
    creator: str | None = None
    label: str | None = None
    writers: tuple[tuple[str, Fraction], ...] = ()
    price: str | None = None


@dataclass(frozen=True)
class CatalogVersion:
    """One immutable version of a catalog. `products` empty: items of all products."""

    catalog: str
    version: int
    effective_from_us: int
    products: tuple[str, ...]
    items: tuple[CatalogItem, ...]

    @cached_property
    def item_by_id(self) -> dict[str, CatalogItem]:
        """Items by id."""
        return {i.item: i for i in self.items}

    def document(self) -> dict[str, Any]:
        """The version as plain values: what is hashed and published."""
        return {
            "catalog": self.catalog,
            "version": self.version,
            "effective_from_us": self.effective_from_us,
            "products": list(self.products),
            "items": [
                {
                    "item": i.item,
                    "creator": i.creator,
                    "label": i.label,
                    "writers": [[name, str(part)] for name, part in i.writers],
                    "price": i.price,
                }
                for i in self.items
            ],
        }

    @cached_property
    def canonical(self) -> str:
        """The document as canonical JSON."""
        return canonical_json(self.document())

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON, hex."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()


def catalog_from_document(doc: dict[str, Any]) -> CatalogVersion:
    """A version from its document. Raises KeyError or ValueError where it is none."""
    return CatalogVersion(
        doc["catalog"],
        doc["version"],
        doc["effective_from_us"],
        tuple(doc["products"]),
        tuple(
            CatalogItem(
                i["item"],
                i["creator"],
                i["label"],
                tuple((name, Fraction(part)) for name, part in i["writers"]),
                i["price"],
            )
            for i in doc["items"]
        ),
    )
