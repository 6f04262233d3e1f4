"""What catalogs say of the items of uses, for columns of uses: who made them, who gets what of them, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.streams.domain.catalogs import CatalogItem, CatalogVersion
from nanotally.streams.domain.records import Int64Array

Writers = tuple[tuple[str, Fraction], ...]  # creators with their parts of what the creator gets
ENRICHED = ("creator", "item.label")  # what a use does not say itself, its item's catalog does


@dataclass(frozen=True)
class FoundItems:
    """What the catalogs of a book have of the items of n uses. entry: int64[n] place among the index's items, -1
    where no catalog has the item; written: int64[n] place in `writers` of who made it, -1 where its creator did or
    the use names one itself."""

    index: CatalogIndex
    entry: Int64Array
    written: Int64Array

    @property
    def writers(self) -> Sequence[Writers]:
        """Those of all items; a place always stands for the same ones of a book."""
        return self.index.writers

    def text(self, field: str, own: pa.Array) -> pa.Array:
        """`own`, and where it is absent what the catalog has of one of ENRICHED: strings, null for neither."""
        column = self.index.creators if field == "creator" else self.index.labels
        return pc.coalesce(own, column.take(pa.array(self.entry, mask=self.entry < 0)))

    def prices(self, rows: Int64Array) -> list[Fraction | None]:
        """The items' own prices in currency units, None without one."""
        table = self.index.prices
        return [None if entry < 0 else table[entry] for entry in self.entry[rows].tolist()]

    def names(self, rows: Int64Array) -> pa.Array:
        """'songs v3' of the catalogs that had the items, '' where none had: strings."""
        return self.index.names.take(
            pa.array(np.where(self.entry[rows] < 0, len(self.index.creators), self.entry[rows]))
        )


class CatalogIndex:
    """The catalogs of one rule book, made ready to look items up."""

    def __init__(self, catalogs: Sequence[CatalogVersion]) -> None:
        self.starts = np.array(sorted({c.effective_from_us for c in catalogs}), dtype=np.int64)
        self.writers: list[Writers] = []
        self._versions = sorted(catalogs, key=lambda c: (c.catalog, c.effective_from_us, c.version))
        self._entries: dict[tuple[str, int], dict[str, int]] = {}
        self._tables: dict[tuple[int, str], list[dict[str, int]]] = {}
        items: list[tuple[CatalogVersion, CatalogItem]] = []
        writers: dict[Writers, int] = {}
        written: list[int] = []
        for version in self._versions:
            known = self._entries[version.catalog, version.version] = {}
            for item in version.items:
                known[item.item] = len(items)
                items.append((version, item))
                written.append(writers.setdefault(item.writers, len(writers)) if item.writers else -1)
        self.writers += writers
        self.written = np.array(written, dtype=np.int64)
        self.creators = pa.array([item.creator for _, item in items], pa.string())
        self.labels = pa.array([item.label for _, item in items], pa.string())
        self.prices = [None if item.price is None else Fraction(item.price) for _, item in items]
        self.names = pa.array([*(f"{version.catalog} v{version.version}" for version, _ in items), ""], pa.string())

    def find(self, product: pa.Array, item: pa.Array, creator: pa.Array, at_us: Int64Array) -> FoundItems:
        """Looks up the items of n uses, each distinct one once. product, item, creator: strings; at_us: int64[n] when
        the uses happened, which chooses the catalogs' versions."""
        products, items = product.dictionary_encode(), item.dictionary_encode()
        segment = np.searchsorted(self.starts, at_us, side="right") - 1  # -1: before the first catalog
        of_product, of_item = products.indices.to_numpy(), items.indices.to_numpy()
        code = ((segment + 1) * len(products.dictionary) + of_product) * max(1, len(items.dictionary)) + of_item
        _, first, back = np.unique(code, return_index=True, return_inverse=True)
        names, ids = products.dictionary.to_pylist(), items.dictionary.to_pylist()
        distinct = (segment[first].tolist(), of_product[first].tolist(), of_item[first].tolist())
        found = np.full(len(first), -1, dtype=np.int64)
        for place, (number, name, asked) in enumerate(zip(*distinct, strict=True)):
            for table in self._in_force(number, names[name]):
                if ids[asked] in table:
                    found[place] = table[ids[asked]]
                    break
        entry = found[back]
        written = np.append(self.written, -1)[entry]
        if written.max(initial=-1) >= 0:
            written[creator.is_valid().to_numpy(zero_copy_only=False)] = -1
        return FoundItems(self, entry, written)

    def _in_force(self, segment: int, product: str) -> list[dict[str, int]]:
        """Items of the catalogs' versions that are in force for a product between two starts."""
        if segment < 0:
            return []
        key = (segment, product)
        if key not in self._tables:
            newest = {c.catalog: c for c in self._versions if c.effective_from_us <= int(self.starts[segment])}
            mine = (c for c in newest.values() if not c.products or product in c.products)
            self._tables[key] = [self._entries[c.catalog, c.version] for c in mine]
        return self._tables[key]
