"""Which rule of which tariff version a use falls under, for columns of uses.

A rule book is compiled once: each rule gets a number over all versions, and for each product and meter only the rules
that can match are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.conditions import fulfilled, matches
from nanotally.streams.domain.keys import Groups, group_codes
from nanotally.streams.domain.records import Int64Array
from nanotally.streams.domain.tariff import OPENED_SCOPES, Condition, Rule, RuleBook, TariffVersion
from nanotally.streams.domain.uses import Uses

# What matching may say instead of a rule, as negative numbers in `Matched.rule`.
NO_TARIFF, UNKNOWN_METER, WRONG_SCALE, NO_SESSION, NO_RULE = -1, -2, -3, -4, -5
UNPRICED_REASONS = {NO_TARIFF: "no_tariff", UNKNOWN_METER: "unknown_meter", NO_RULE: "no_rule"}
REJECT_REASONS = {WRONG_SCALE: "wrong_scale", NO_SESSION: "no_session"}


@dataclass(frozen=True, eq=False)
class NumberedRule:
    """A rule with its version; `number` is its place among all rules of the book. Equal only to itself, so that it
    is a cheap key of what is worked out once per rule."""

    number: int
    version: TariffVersion
    rule: Rule

    @property
    def stem(self) -> tuple[str, ...]:
        """What is the same for all scopes of the rule, over all versions that have it so."""
        rule = self.rule
        # A scope of another length begins anew; windows of the calendar have none of their own.
        length = (str(rule.length_us),) if rule.scope in OPENED_SCOPES else ()
        return (self.version.tariff, rule.name, rule.meter, rule.scope, *length, *rule.per)


class CompiledBook:
    """A rule book made ready to match."""

    def __init__(self, book: RuleBook) -> None:
        self.book = book
        self.rules: list[NumberedRule] = []
        # Rules of several versions that share their scopes (see pricing): number of the family by number of the rule.
        self.family: list[int] = []
        families: dict[tuple[str, ...], int] = {}
        self._of_version: dict[tuple[str, int], list[NumberedRule]] = {}
        for version in book.tariffs:
            mine = [NumberedRule(len(self.rules) + i, version, rule) for i, rule in enumerate(version.rules)]
            self.rules += mine
            for numbered in mine:
                self.family.append(families.setdefault(numbered.stem, len(families)))
            self._of_version[version.tariff, version.version] = mine

    @cached_property
    def versions(self) -> dict[str, tuple[TariffVersion, ...]]:
        """Versions by tariff, in the order in which they come into force."""
        return {t.tariff: self.book.versions(t.tariff) for t in self.book.tariffs}

    def match(self, uses: Uses) -> Int64Array:
        """Number of the rule that each use falls under, or one of the negative verdicts above: int64[n]."""
        return self._match(uses, np.arange(len(uses)), uses.occurred_at_us, uses.pairs[0])

    def match_at(self, uses: Uses, rows: Int64Array, at_us: Int64Array) -> Int64Array:
        """The same for some rows, in any order and number, as if used at the instants given: int64[rows]."""
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
