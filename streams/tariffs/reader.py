"""Tariff files: from the text that a pricing owner writes to the version that the engine rates by.

Every finding of a file is gathered before it is refused, so that one reading shows all there is to mend.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nanotally.streams.domain.tariff import Meter, Pass, TariffVersion
from nanotally.streams.tariffs import values
from nanotally.streams.tariffs.checks import check_rules, check_use_of_parts
from nanotally.streams.tariffs.findings import Finding, Findings, Unreadable
from nanotally.streams.tariffs.groups import read_groups
from nanotally.streams.tariffs.meters import read_meters
from nanotally.streams.tariffs.passes import read_passes
from nanotally.streams.tariffs.rules import ReadRule, RuleReader, Surroundings, crossing_cuts
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.source import read_source
from nanotally.streams.tariffs.splits import read_splits
from nanotally.streams.tariffs.yaml_nodes import Items, Node, describe, parse

T = TypeVar("T")

TARIFF_KEYS = {
    "tariff": "media-and-ai",
    "version": "1",
    "effective_from": "2026-12-01T00:00:00Z",
    "currency": "USD",
    "calendar": "UTC",
    "products": "[news]",
    "crossing": "cut",
    "groups": '{students: ["edu-*"]}',
    "meters": "{page.view: {unit: page}}",
    "splits": "{standard: {platform: 10%, creator: rest}}",
    "passes": "[{pass: day, covers: [article], count: {per: [payer], over: day}, cap: 0.50}]",
    "rules": "[{rule: article, when: {meter: page.view}, price: 0.005 per page, split: standard}]",
}


@dataclass(frozen=True)
class ReadTariff:
    """A tariff file that can be used: the version, the file's text, and what is doubtful about it."""

    version: TariffVersion
    source: str
    warnings: tuple[Finding, ...]


def read_tariff(source: Path | str, name: str | None = None) -> TariffVersion:
    """The version that a file (Path) or text (str, called `name` in messages) describes.

    Raises TariffErrors with every finding; NotFound where there is no such file."""
    return examine_tariff(source, name).version


def examine_tariff(source: Path | str, name: str | None = None) -> ReadTariff:
    """As `read_tariff`, with the warnings and the text."""
    text, file = read_source(source, name or "tariff")
    findings = Findings()
    root = parse(text, file, findings)
    version = None if root is None else _Reader(root, findings).version()
    findings.raise_errors()
    assert version is not None, "without an error there is a version"
    return ReadTariff(version, text, findings.warnings())


class _Reader:
    def __init__(self, root: Node, findings: Findings) -> None:
        self._findings = findings
        self._top = Section(root, "", findings, TARIFF_KEYS)

    def version(self) -> TariffVersion | None:
        """The version; None where anything is wrong, which is noted."""
        top = self._top
        if not top.readable:
            return None
        tariff = top.read("tariff", values.name, required=True)
        number = top.read("version", lambda text: values.whole(text, 1, 2**31 - 1), required=True)
        effective_from = top.read("effective_from", values.instant_us, required=True)
        currency = top.read("currency", values.currency, required=True)
        calendar = top.read("calendar", values.zone) if top.has("calendar") else "UTC"
        products = self._products()
        crossing = top.read("crossing", crossing_cuts) if top.has("crossing") else False
        groups = read_groups(top.node_of("groups"), self._findings)
        meters: dict[str, Meter | None] = self._part("meters", read_meters) or {}
        # A wrong currency is noted already: the prices are read all the same, to show what is wrong with them.
        surroundings = Surroundings(meters, currency or "USD", calendar or "UTC", bool(crossing), groups)
        node = top.node_of("splits", required=True)
        splits = {} if node is None else read_splits(node, surroundings.currency, self._findings)
        rules = self._rules(surroundings, splits)
        flat = [rule for read in rules for rule in read.rules]
        passes: tuple[Pass, ...] = ()
        if all(read.variants for read in rules):  # else a pass may cover what could not be read
            passes = read_passes(top.node_of("passes"), flat, surroundings.currency, self._findings)
        check_use_of_parts(top, meters, splits, rules, self._findings)
        check_rules(rules, products, meters, self._findings)
        if self._findings.failed():
            return None
        assert tariff and number and effective_from is not None and currency and calendar
        return TariffVersion(
            tariff=tariff,
            version=number,
            effective_from_us=effective_from,
            currency=currency,
            calendar=calendar,
            products=products,
            meters=tuple(m for m in meters.values() if m is not None),
            splits=tuple(s for s in splits.values() if s is not None),
            rules=tuple(flat),
            passes=passes,
        )

    def _part(self, name: str, reader: Callable[[Node, Findings], T]) -> T | None:
        node = self._top.node_of(name, required=True)
        return None if node is None else reader(node, self._findings)

    def _products(self) -> tuple[str, ...]:
        """The tariff's own products; none: all that no other tariff claims."""
        if not self._top.has("products"):
            return ()
        found: list[str] = []
        scalars = self._top.texts("products")
        for scalar in scalars or ():
            try:
                found.append(values.label(scalar.text))
            except Unreadable as e:
                self._findings.unreadable(scalar.place, "products", e)
        if scalars == ():
            self._findings.error(
                self._top.key("products").place,
                "products",
                "an empty list",
                "list the products, or leave it out for all that no other tariff names",
            )
        return tuple(dict.fromkeys(found))

    def _rules(self, surroundings: Surroundings, splits: Collection[str]) -> list[ReadRule]:
        """Each rule of the file; without variants where one cannot be read."""
        node = self._top.node_of("rules", required=True)
        if node is None:
            return []
        if not isinstance(node, Items) or not node.items:
            self._findings.error(
                node.place,
                "rules",
                f"{describe(node)} where rules are due",
                "write each behind a dash: - rule: article",
            )
            return []
        reader = RuleReader(surroundings, splits, self._findings)
        return [reader.read(item, number) for number, item in enumerate(node.items, 1)]
