"""Which rule of which tariff version a use falls under, for columns of uses.

A rule book is compiled once: each rule gets a number over all versions, and for each product and meter only the rules
that can match are looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.catalog_items import CatalogIndex
from nanotally.streams.domain.conditions import fulfilled, matches
from nanotally.streams.domain.keys import Groups, group_codes
from nanotally.streams.domain.records import BoolArray, Int64Array
from nanotally.streams.domain.tariff import OPENED_SCOPES, Condition, Rule, RuleBook, TariffVersion
from nanotally.streams.domain.uses import Uses

# What matching may say instead of a rule, as negative numbers in `Matched.rule`.
NO_TARIFF, UNKNOWN_METER, WRONG_SCALE, NO_SESSION, NO_RULE = -1, -2, -3, -4, -5
UNPRICED_REASONS = {NO_TARIFF: "no_tariff", UNKNOWN_METER: "unknown_meter", NO_RULE: "no_rule"}
REJECT_REASONS = {WRONG_SCALE: "wrong_scale", NO_SESSION: "no_session"}


@dataclass(frozen=True, eq=False)
class NumberedRule:
    """A rule with its version; `number` is its place among all links of the book. The price of a pass is one too, with
    link 'pass'. Equal only to itself, so that it is a cheap key of what is worked out once per rule."""

    number: int
    version: TariffVersion
    rule: Rule
    link: str = "rule"

    @property
    def stem(self) -> tuple[str, ...]:
        """What is the same for all scopes of the rule, over all versions that have it so."""
        rule = self.rule
        # A scope of another length begins anew; windows of the calendar have none of their own.
        length = (str(rule.length_us),) if rule.scope in OPENED_SCOPES else ()
        link = () if self.link == "rule" else (self.link,)
        return (*link, self.version.tariff, rule.name, rule.meter, rule.scope, *length, *rule.per)


class CompiledBook:
    """A rule book made ready to match."""

    def __init__(self, book: RuleBook) -> None:
        self.book = book
        self.rules: list[NumberedRule] = []
        self._of_version: dict[tuple[str, int], list[NumberedRule]] = {}
        for version in book.tariffs:
            mine = [NumberedRule(len(self.rules) + i, version, rule) for i, rule in enumerate(version.rules)]
            self.rules += mine
            self._of_version[version.tariff, version.version] = mine
        # The rules, and behind them the prices of the passes, which are rated as rules are.
        self.links = list(self.rules)
        for version in book.tariffs:
            for p in version.passes:
                self.links.append(NumberedRule(len(self.links), version, replace(p.price, name=p.name), "pass"))
        # Links of several versions that share their scopes (see pricing): number of the family by number of the link.
        families: dict[tuple[str, ...], int] = {}
        self.family = [families.setdefault(link.stem, len(families)) for link in self.links]

    @cached_property
    def items(self) -> CatalogIndex | None:
        """The items of the book's catalogs; None where it has none."""
        return CatalogIndex(self.book.catalogs) if self.book.catalogs else None

    @cached_property
    def named(self) -> dict[tuple[str, int, str, str, str], NumberedRule]:
        """Links by tariff, version, link, name and variant."""
        return {(n.version.tariff, n.version.version, n.link, n.rule.name, n.rule.variant): n for n in self.links}

    @cached_property
    def covering(self) -> Int64Array:
        """Number of the pass that covers each rule, the first that does, -1 where none does: int64[rules]."""
        numbers = np.full(len(self.rules), -1, dtype=np.int64)
        for n in self.rules:
            p = next((p for p in n.version.passes if n.rule.name in p.covers), None)
            if p is not None:
                key = n.version.tariff, n.version.version, "pass", p.name, p.price.variant
                numbers[n.number] = self.named[key].number
        return numbers

    @cached_property
    def tracked(self) -> BoolArray:
        """Links of whose scopes one must know who was charged what, because at their end something may be due: those
        of families in which any version has a minimum, and all passes: bool[links]."""
        return self._of_families(lambda n: n.link == "pass" or (n.rule.minimum_nanos > 0 and n.rule.scope != "event"))

    @cached_property
    def careful(self) -> BoolArray:
        """Links whose refused uses must leave no trace in others: scopes that uses open or extend, and rules under a
        pass, with all that share scopes with them: bool[links]."""
        covered = {n.number for n in self.rules if self.covering[n.number] >= 0}
        return self._of_families(lambda n: n.rule.scope in OPENED_SCOPES or n.number in covered)

    def _of_families(self, wanted: Callable[[NumberedRule], bool]) -> BoolArray:
        families = {self.family[n.number] for n in self.links if wanted(n)}
        return np.array([family in families for family in self.family], dtype=bool)

    @cached_property
    def cuts(self) -> BoolArray:
        """Rules whose uses are cut: bool[rules]."""
        return np.array([n.rule.cut for n in self.rules], dtype=bool)

    @cached_property
    def refuses(self) -> BoolArray:
        """Rules whose uses are refused: bool[rules]."""
        return np.array([n.rule.refuse for n in self.rules], dtype=bool)

    def bands_of(self, numbered: NumberedRule) -> tuple[Condition, ...]:
        """Bands of time of all variants of a rule."""
        bands = (
            c
            for n in self._of_version[numbered.version.tariff, numbered.version.version]
            if n.rule.name == numbered.rule.name
            for c in n.rule.when
            if c.kind == "band"
        )
        return tuple(dict.fromkeys(bands))

    @cached_property
    def versions(self) -> dict[str, tuple[TariffVersion, ...]]:
        """Versions by tariff, in the order in which they come into force."""
        return {t.tariff: self.book.versions(t.tariff) for t in self.book.tariffs}

    def match(self, uses: Uses) -> Int64Array:
        """Number of the rule that each use falls under, or one of the negative verdicts above: int64[n].

        Before it the uses get what the book's catalogs have of their items."""
        self.enrich(uses)
        return self._match(uses, np.arange(len(uses)), uses.occurred_at_us, uses.pairs[0])

    def enrich(self, uses: Uses) -> None:
        """Gives the uses what the book's catalogs have of their items."""
        uses.found = None if self.items is None else self.items.find(
            uses.column("product"), uses.column("item"), uses.column("creator"), uses.occurred_at_us
        )  # fmt: skip

    def match_at(self, uses: Uses, rows: Int64Array, at_us: Int64Array) -> Int64Array:
        """The same for some rows, in any order and number, as if used at the instants given: int64[rows]."""
        if not len(rows):
            return np.zeros(0, dtype=np.int64)
        return self._match(uses, rows, at_us, group_codes(uses.pairs[0].codes[rows]))

    def _match(self, uses: Uses, rows: Int64Array, at_us: Int64Array, groups: Groups) -> Int64Array:
        """groups: the rows by product and meter."""
        verdict = np.full(len(rows), NO_TARIFF, dtype=np.int64)
        pairs, names = uses.pairs
        ends = np.append(groups.starts[1:], len(rows)).tolist()
        for first, start, end in zip(groups.first.tolist(), groups.starts.tolist(), ends, strict=True):
            product, meter = names[int(pairs.codes[rows[first]])]
            tariff = self.book.tariff_of(product)
            if tariff is None:
                continue
            places = groups.order[start:end]
            versions = self.versions[tariff]
            starts = np.array([v.effective_from_us for v in versions], dtype=np.int64)
            chosen = np.searchsorted(starts, at_us[places], side="right") - 1
            for number in range(len(versions)):
                mine = places[chosen == number]
                if len(mine):
                    verdict[mine] = self._match_version(versions[number], product, meter, uses, rows[mine], at_us[mine])
        return verdict

    def _match_version(
        self, version: TariffVersion, product: str, meter_name: str, uses: Uses, rows: Int64Array, at_us: Int64Array
    ) -> Int64Array:
        meter = version.meter_by_name.get(meter_name)
        verdict = np.full(len(rows), NO_RULE if meter else UNKNOWN_METER, dtype=np.int64)
        if meter is None:
            return verdict
        open_rows = np.arange(len(rows))
        for numbered in self._of_version[version.tariff, version.version]:
            rule = numbered.rule
            if rule.meter != meter_name or not len(open_rows):
                continue
            hit = np.ones(len(open_rows), dtype=bool)
            for condition in rule.when:
                if condition.field == "product":
                    hit &= _product_matches(condition, product)
                else:
                    hit &= fulfilled(condition, uses, rows[open_rows], at_us[open_rows])
            verdict[open_rows[hit]] = numbered.number
            open_rows = open_rows[~hit]
        if "session" in meter.needs:
            verdict[uses.column("session").is_null().to_numpy(zero_copy_only=False)[rows]] = NO_SESSION
        verdict[uses.scale[rows] != meter.scale] = WRONG_SCALE
        return verdict


def _product_matches(condition: Condition, product: str) -> bool:
    return bool(matches(condition, pa.array([product], pa.string()))[0])
