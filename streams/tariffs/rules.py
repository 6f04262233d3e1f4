"""One rule of a tariff: which uses, at what price, counted how, divided how."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from nanotally.streams.domain.tariff import DENOMINATOR_MAX, Meter, Rule
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.conditions import read_when
from nanotally.streams.tariffs.counting import Counting, read_count
from nanotally.streams.tariffs.findings import Findings, choose
from nanotally.streams.tariffs.prices import LATER_PRICES, PRICE_FUNCTIONS, PriceContext, Priced, close_tiers
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.yaml_nodes import Node, Scalar, Table

RULE_KEYS = {
    "rule": "article",
    "when": "{meter: page.view}",
    **{name: example for name, (_, example) in PRICE_FUNCTIONS.items()},
    "count": "{per: [payer, item], over: day}",
    "cap": "0.004",
    "split": "standard",
}
LATER_RULE = {
    **LATER_PRICES,
    "round": "rounding of the use",
    "minimum": "a minimum",
    "commitment": "a commitment",
    "discount": "a discount",
    "fee": "a flat fee",
}


class RuleReader:
    """Reads the rules of one tariff, given its meters (None: not readable), the names of its splits, its currency."""

    def __init__(
        self, meters: Mapping[str, Meter | None], splits: Collection[str], currency: str, findings: Findings
    ) -> None:
        self._meters = meters
        self._splits = splits
        self._currency = currency
        self._findings = findings

    def read(self, node: Node, number: int) -> Rule | None:
        """The rule that stands as the `number`th (from 1); None with the errors noted."""
        before = len(self._findings)
        section = Section(node, f"rules.{_name_of(node) or number}", self._findings, RULE_KEYS, LATER_RULE)
        if not section.readable:
            return None
        name = section.read("rule", values.name, required=True)
        when_node = section.node_of("when", required=True)
        when = read_when(when_node, section.path("when"), self._meters, self._findings) if when_node else None
        meter = when.meter if when else None
        counting = Counting()
        count_node = section.node_of("count")
        if count_node is not None:
            counting = read_count(count_node, section.path("count"), meter, self._findings)
        priced = self._priced(section, meter, counting.at_most)
        cap = section.read("cap", lambda text: values.nanos(text, self._currency)) if section.has("cap") else None
        split = self._split(section)
        if not self._findings.errors_since(before):
            self._check_scope(section, counting, cap)
        if self._findings.errors_since(before) or not (name and when and meter and priced and split):
            return None
        rule = Rule(
            name=name,
            meter=meter.name,
            when=when.conditions,
            tiers=priced.tiers,
            per=counting.per,
            scope=counting.scope,
            split=split,
            cap_nanos=cap,
            text=priced.text,
        )
        return rule if self._denominator_fits(section, rule) else None

    def _priced(self, section: Section, meter: Meter | None, at_most: int | None) -> Priced | None:
        """The rule's one price function; None with the error noted, or where the meter is not known."""
        given = [name for name in PRICE_FUNCTIONS if section.has(name)]
        if len(given) != 1:
            problem = f"two prices: {' and '.join(given)}" if given else "no price"
            place = section.key(given[1]).place if given else section.node.place
            remedy = "keep one of them" if given else "write price: 0.005 per page, or graduated: {...}"
            if given or not self._later_price(section):
                self._findings.error(place, section.path("price"), problem, remedy)
            return None
        node = section.node_of(given[0])
        if node is None or meter is None:
            return None
        context = PriceContext(meter, self._currency, self._findings)
        field = section.path(given[0])
        priced = PRICE_FUNCTIONS[given[0]][0](node, field, context)
        return None if priced is None else close_tiers(priced, at_most, node.place, field, context)

    def _later_price(self, section: Section) -> bool:
        """Whether a price was given that is not supported yet: then it was said so already."""
        return isinstance(section.node, Table) and any(key.text in LATER_PRICES for key, _ in section.node.entries)

    def _split(self, section: Section) -> str | None:
        scalar = section.scalar("split", required=True)
        if scalar is None or scalar.text in self._splits:
            return None if scalar is None else scalar.text
        remedy = choose(scalar.text, self._splits) if self._splits else "list it under splits"
        self._findings.error(
            scalar.place, section.path("split"), f"{scalar.text!r} is not among the splits of this tariff", remedy
        )
        return None

    def _check_scope(self, section: Section, counting: Counting, cap: int | None) -> None:
        if counting.scope == "event":
            self._findings.warning(
                section.key("count").place,
                section.path("count"),
                "each use is rounded down to a nano by itself, and what is left over is lost",
                "count over a day, month or life to carry it on",
            )
        if cap == 0:
            self._findings.error(
                section.key("cap").place, section.path("cap"), "a cap of nothing", "write price: free instead"
            )
        if cap and counting.scope == "life":
            self._findings.warning(
                section.key("cap").place,
                section.path("cap"),
                "the cap is for life: once it is reached, nothing is charged ever again",
                "say over which time with count: {per: [payer], over: day}",
            )

    def _denominator_fits(self, section: Section, rule: Rule) -> bool:
        if rule.denominator <= DENOMINATOR_MAX:
            return True
        given = next(name for name in PRICE_FUNCTIONS if section.has(name))
        self._findings.error(
            section.key(given).place,
            section.path(given),
            f"too fine: remainders of a nano would be counted in {figures.number(rule.denominator)}ths, "
            f"at most 2^62 = {figures.number(DENOMINATOR_MAX)}",
            "write the price with fewer digits, or for a rounder number of units",
        )
        return False


def _name_of(node: Node) -> str | None:
    if not isinstance(node, Table):
        return None
    return next((v.text for k, v in node.entries if k.text == "rule" and isinstance(v, Scalar)), None)
