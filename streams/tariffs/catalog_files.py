"""Catalog files: who made which item, who gets what of it, and what its creator asks for it.

As with tariffs every finding of a file is gathered before it is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from nanotally.streams.domain.catalogs import CatalogItem, CatalogVersion
from nanotally.streams.domain.terms import MONEY_PLACES
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.findings import Finding, Findings, Unreadable
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.source import read_source
from nanotally.streams.tariffs.yaml_nodes import Node, Scalar, Table, describe, parse

_T = TypeVar("_T")

CATALOG_KEYS = {
    "catalog": "songs",
    "version": "1",
    "effective_from": "2026-12-01T00:00:00Z",
    "products": "[music]",
    "items": "{song-1: {creator: ana, label: blue, price: 0.002}}",
}
ITEM_KEYS = {"creator": "ana", "label": "blue", "writers": "{ana: 60%, bob: 40%}", "price": "0.002"}
ITEM_BYTES_MAX = 1024
WRITERS_MAX = 100  # of one item: each gets a share of every charge for it
_PRICE = re.compile(rf"[0-9]{{1,18}}(\.[0-9]{{1,{MONEY_PLACES}}})?")


@dataclass(frozen=True)
class ReadCatalog:
    """A catalog file that can be used: the version, the file's text, and what is doubtful about it."""

    version: CatalogVersion
    source: str
    warnings: tuple[Finding, ...]


def read_catalog(source: Path | str, name: str | None = None) -> ReadCatalog:
    """The version that a file (Path) or text (str, called `name` in messages) describes.

    Raises TariffErrors with every finding; NotFound where there is no such file."""
    text, file = read_source(source, name or "catalog")
    findings = Findings()
    root = parse(text, file, findings)
    version = None if root is None else _version(root, findings)
    findings.raise_errors()
    assert version is not None, "without an error there is a version"
    return ReadCatalog(version, text, findings.warnings())


def _version(root: Node, findings: Findings) -> CatalogVersion | None:
    top = Section(root, "", findings, CATALOG_KEYS)
    if not top.readable:
        return None
    catalog = top.read("catalog", values.name, required=True)
    number = top.read("version", lambda text: values.whole(text, 1, 2**31 - 1), required=True)
    effective_from = top.read("effective_from", values.instant_us, required=True)
    products = _products(top, findings)
    items = _items(top, findings)
    if findings.failed():
        return None
    assert catalog and number and effective_from is not None
    return CatalogVersion(catalog, number, effective_from, products, items)


def _products(top: Section, findings: Findings) -> tuple[str, ...]:
    """The products whose items these are; none: of all products."""
    if not top.has("products"):
        return ()
    scalars = top.texts("products")
    if scalars == ():
        remedy = "list the products, or leave it out where the items are of all products"
        findings.error(top.key("products").place, "products", "an empty list", remedy)
    found = [_read(values.label, scalar, "products", findings) for scalar in scalars or ()]
    return tuple(dict.fromkeys(product for product in found if product is not None))


def _items(top: Section, findings: Findings) -> tuple[CatalogItem, ...]:
    node = top.node_of("items", required=True)
    if node is None:
        return ()
    if not isinstance(node, Table) or not node.entries:
        remedy = f"write items: {CATALOG_KEYS['items']}"
        findings.error(node.place, "items", f"{describe(node)} where items are due", remedy)
        return ()
    found = [_item(key, value, findings) for key, value in node.entries]
    return tuple(item for item in found if item is not None)


def _item(key: Scalar, node: Node, findings: Findings) -> CatalogItem | None:
    before, field = len(findings), f"items.{key.text}"
    _read(lambda text: values.label(text, ITEM_BYTES_MAX), key, field, findings)
    section = Section(node, field, findings, ITEM_KEYS)
    if not section.readable:
        return None
    creator = section.read("creator", values.label) if section.has("creator") else None
    label = section.read("label", values.label) if section.has("label") else None
    price = section.read("price", _price) if section.has("price") else None
    writers = _writers(section, findings) if section.has("writers") else ()
    if findings.errors_since(before):
        return None
    if creator is None and label is None and price is None and not writers:
        remedy = "say who made it, as in creator: ana, or take it out"
        findings.warning(key.place, field, "nothing is said of the item", remedy)
    return CatalogItem(key.text, creator, label, writers, price)


def _price(text: str) -> str:
    """A price per unit, without its currency, which is that of the tariff that takes it."""
    if _PRICE.fullmatch(text):
        return text
    digits = re.fullmatch(r"[0-9]+\.([0-9]+)", text)
    if digits and len(digits[1]) > MONEY_PLACES:
        raise Unreadable(f"{text!r} has more than {MONEY_PLACES} decimal places", "write it with fewer digits")
    if re.match(r"[0-9.,]+ *[A-Za-z$€£¥]|[$€£¥]", text):
        raise Unreadable(f"{text!r} is no price", "write the number alone: the tariff says in which currency")
    if text.startswith("-"):
        raise Unreadable(f"{text!r} is below zero", "prices are zero or more")
    if re.fullmatch(r"[0-9]+,[0-9]+", text):
        raise Unreadable(f"{text!r} is no price", f"write it with a point: {text.replace(',', '.')}")
    raise Unreadable(f"{text!r} is no price", "write a decimal number per unit, as in 0.002")


def _writers(section: Section, findings: Findings) -> tuple[tuple[str, Fraction], ...]:
    node, field = section.node_of("writers"), section.path("writers")
    if not isinstance(node, Table) or not node.entries:
        place = section.key("writers").place if node is None else node.place
        said = "nothing" if node is None else describe(node)
        findings.error(place, field, f"{said} where writers with their parts are due", "write {ana: 60%, bob: 40%}")
        return ()
    if len(node.entries) > WRITERS_MAX:
        problem = f"{len(node.entries):,} writers of one item, at most {WRITERS_MAX}"
        findings.error(node.place, field, problem, "name one account, and divide among them by yourself")
        return ()
    found: list[tuple[str, Fraction]] = []
    for key, value in node.entries:
        name = _read(values.label, key, f"{field}.{key.text}", findings)
        if not isinstance(value, Scalar):
            findings.error(value.place, f"{field}.{key.text}", f"{describe(value)} where a part is due", "write 60%")
            continue
        part = _read(_part, value, f"{field}.{key.text}", findings)
        if name is not None and part is not None:
            found.append((name, part))
    total = sum((part for _, part in found), Fraction(0))
    if len(found) == len(node.entries) and total != 1:
        remedy = "make them 100%: they divide what the creator gets"
        findings.error(section.key("writers").place, field, f"the parts come to {figures.percent(total)}", remedy)
    return tuple(found)


def _part(text: str) -> Fraction:
    if text == "rest":
        raise Unreadable("writers have no `rest`", "write each one's part, as in 60%")
    part = values.fraction(text)
    if part == 0:
        raise Unreadable("a part of nothing", "take the writer out")
    return part


def _read(reader: Callable[[str], _T], scalar: Scalar, field: str, findings: Findings) -> _T | None:
    try:
        return reader(scalar.text)
    except Unreadable as e:
        findings.unreadable(scalar.place, field, e)
        return None
