"""One rule of a tariff: which uses, at what price, counted how, divided how."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import lcm

from nanotally.streams.domain.tariff import DENOMINATOR_MAX, Meter, Rule
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.assembly import Variant, variants_of
from nanotally.streams.tariffs.bands import read_bands
from nanotally.streams.tariffs.body import Body
from nanotally.streams.tariffs.conditions import read_when
from nanotally.streams.tariffs.counting import Counting, read_count
from nanotally.streams.tariffs.extras import EXTRA_KEYS
from nanotally.streams.tariffs.findings import Findings, Unreadable, choose
from nanotally.streams.tariffs.prices import MULTIPLY_EXAMPLE, PRICE_FUNCTIONS
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.tiers import PriceContext
from nanotally.streams.tariffs.yaml_nodes import Node, Scalar, Table

BODY_KEYS = {**PRICE_FUNCTIONS, "multiply": MULTIPLY_EXAMPLE, **EXTRA_KEYS}
RULE_KEYS = {
    "rule": "article",
    "when": "{meter: page.view}",
    **BODY_KEYS,
    "count": "{per: [payer, item], over: day}",
    "split": "standard",
    "bands": "[{name: peak, days: mon-fri, price: 0.10 per minute}, {otherwise: 0.05 per minute}]",
    "zone": "Europe/Berlin",
    "crossing": "cut",
}
INSTEAD = {
    "package": "write price: 15 per started 10 pages",
    "packages": "write price: 15 per started 10 pages",
    "percentage": "write price: 2.9%, for a meter that counts money",
    "fee": "write price: 5 flat + 0.02 per page for each scope, or each: {fee: 0.30} for each use",
    "discount": "write multiply: {by: segment, school: 0.8, otherwise: 1}, or a pass",
    "at_most": "write it within count: {at_most: 1 page}",
}
CROSSINGS = ("cut", "start")


@dataclass(frozen=True)
class Surroundings:
    """What rules stand in: meters by name (None: not readable), currency, calendar, whether uses are cut where a band
    or a version ends, and patterns of payers by group."""

    meters: Mapping[str, Meter | None]
    currency: str
    calendar: str = "UTC"
    cut: bool = False
    groups: Mapping[str, tuple[str, ...]] | None = None


@dataclass(frozen=True)
class ReadRule:
    """A rule of the file with its variants; none where it cannot be read, which is noted."""

    node: Node
    variants: tuple[Variant, ...]

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(v.rule for v in self.variants)


def crossing_cuts(text: str) -> bool:
    """Whether a use is cut where a band or a version ends: 'cut', or 'start'. Raises Unreadable."""
    if text in CROSSINGS:
        return text == "cut"
    raise Unreadable(f"{text!r} is no way to cross a border", choose(text, CROSSINGS))


class RuleReader:
    """Reads the rules of one tariff."""

    def __init__(self, around: Surroundings, splits: Collection[str], findings: Findings) -> None:
        self._around = around
        self._splits = splits
        self._findings = findings

    def read(self, node: Node, number: int) -> ReadRule:
        """The rule that stands as the `number`th (from 1)."""
        around, findings = self._around, self._findings
        before = len(findings)
        section = Section(node, f"rules.{_name_of(node) or number}", findings, RULE_KEYS, INSTEAD)
        if not section.readable:
            return ReadRule(node, ())
        name = section.read("rule", values.name, required=True)
        when_node = section.node_of("when", required=True)
        when = when_node and read_when(when_node, section.path("when"), around.meters, around.groups or {}, findings)
        meter = when.meter if when else None
        counting = Counting()
        count_node = section.node_of("count")
        if count_node is not None:
            counting = read_count(count_node, section.path("count"), meter, findings)
        split = self._split(section)
        cut = section.read("crossing", crossing_cuts) if section.has("crossing") else around.cut
        zone = section.read("zone", values.zone) if section.has("zone") else around.calendar
        if meter is None:
            return ReadRule(node, ())
        base = Rule(
            name=name or "",
            meter=meter.name,
            when=when.conditions if when else (),
            tiers=(),
            per=counting.per,
            scope=counting.scope,
            length_us=counting.length_us,
            split=split or "",
            cut=bool(cut),
        )
        body = Body([section], PriceContext(meter, around.currency, findings))
        if section.has("bands"):
            variants = read_bands(section, body, base, counting.at_most, zone or "UTC", BODY_KEYS)
        else:
            variants = variants_of(body, base, counting.at_most)
            self._check_zone(section)
        if findings.errors_since(before) or not variants:
            return ReadRule(node, ())
        self._warn_of_events(section, counting)
        self._check_denominator(section, body, variants)
        return ReadRule(node, () if findings.errors_since(before) else tuple(variants))

    def _split(self, section: Section) -> str | None:
        scalar = section.scalar("split", required=True)
        if scalar is None or scalar.text in self._splits:
            return None if scalar is None else scalar.text
        remedy = choose(scalar.text, self._splits) if self._splits else "list it under splits"
        self._findings.error(
            scalar.place, section.path("split"), f"{scalar.text!r} is not among the splits of this tariff", remedy
        )
        return None

    def _check_zone(self, section: Section) -> None:
        if section.has("zone"):
            self._findings.error(
                section.key("zone").place,
                section.path("zone"),
                "a zone without bands of time",
                "take it out: days and months begin in the calendar of the tariff",
            )

    def _warn_of_events(self, section: Section, counting: Counting) -> None:
        if counting.scope == "event":
            self._findings.warning(
                section.key("count").place,
                section.path("count"),
                "each use is rounded down to a nano by itself, and what is left over is lost",
                "count over a day, month or life to carry it on",
            )

    def _check_denominator(self, section: Section, body: Body, variants: list[Variant]) -> None:
        """The variants share their scopes, so remainders need one denominator for all of them."""
        common = lcm(*(v.rule.denominator for v in variants))
        if common <= DENOMINATOR_MAX:
            return
        given = next((name for name in ("bands", *PRICE_FUNCTIONS) if section.has(name)), "price")
        body.error(
            given,
            f"too fine: remainders of a nano would be counted in {figures.number(common)}ths, "
            f"at most 2^62 = {figures.number(DENOMINATOR_MAX)}",
            "write the price with fewer digits, or for a rounder number of units",
        )


def _name_of(node: Node) -> str | None:
    if not isinstance(node, Table):
        return None
    return next((v.text for k, v in node.entries if k.text == "rule" and isinstance(v, Scalar)), None)
