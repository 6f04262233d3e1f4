"""Passes: what a payer pays for the list prices of several rules, as a function over money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from nanotally.streams.domain.tariff import NANOS_PER_UNIT, Pass, Rule, Tier
from nanotally.streams.tariffs import figures, values
from nanotally.streams.tariffs.counting import Counting, read_count
from nanotally.streams.tariffs.findings import Findings, Unreadable, choose
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.yaml_nodes import Items, Node, Scalar, Table, describe

EXAMPLE = "- {pass: day, covers: [article, song], count: {per: [payer], over: day}, cap: 0.50}"
GRADUATED_EXAMPLE = "{to 5: 100%, above: 80%}"
PASS_KEYS = {
    "pass": "day",
    "covers": "[article, song]",
    "count": "{per: [payer], over: day}",
    "cap": "0.50",
    "discount": "20%",
    "price": "0.50",
    "graduated": GRADUATED_EXAMPLE,
    "share": "by list price",
}
FUNCTIONS = ("discount", "price", "graduated")
SHARING = "by list price"


def read_passes(node: Node | None, rules: Sequence[Rule], currency: str, findings: Findings) -> tuple[Pass, ...]:
    """The passes of a tariff over its rules, as far as they can be read; the errors are noted."""
    if node is None:
        return ()
    if not isinstance(node, Items) or not node.items:
        findings.error(node.place, "passes", f"{describe(node)} where passes are due", f"write {EXAMPLE}")
        return ()
    reader = _PassReader(rules, currency, findings)
    found = [reader.read(item, number) for number, item in enumerate(node.items, 1)]
    return tuple(p for p in found if p is not None)


class _PassReader:
    def __init__(self, rules: Sequence[Rule], currency: str, findings: Findings) -> None:
        self._rules: Mapping[str, Rule] = {r.name: r for r in reversed(rules)}
        self._falling = {r.name for r in rules if r.falling}
        self._currency = currency
        self._findings = findings
        self._covered: dict[str, str] = {}  # rule -> the pass that covers it
        self._names: set[str] = set()

    def read(self, node: Node, number: int) -> Pass | None:
        before = len(self._findings)
        section = Section(node, f"passes.{_name_of(node) or number}", self._findings, PASS_KEYS)
        if not section.readable:
            return None
        name = section.read("pass", values.name, required=True)
        if name is not None:
            self._check_name(section, name)
        covers = self._covers(section, name or "")
        counting = self._count(section)
        cap = section.read("cap", lambda text: values.nanos(text, self._currency)) if section.has("cap") else None
        if cap == 0:
            section.error("cap", "a cap of nothing", "write discount: 100% for a pass that is free")
        priced = self._priced(section, cap)
        if section.has("share"):
            section.read("share", _sharing)
        if self._findings.errors_since(before) or name is None or priced is None:
            return None
        tiers, text = priced
        rule = Rule(
            name=name,
            meter="",
            when=(),
            tiers=tiers,
            per=counting.per,
            scope=counting.scope,
            length_us=counting.length_us,
            split="",
            cap_nanos=cap,
            text=text,
        )
        return Pass(name, covers, rule)

    def _check_name(self, section: Section, name: str) -> None:
        if name in self._names or name in self._rules:
            other = "pass" if name in self._names else "rule"
            section.error("pass", f"there is a {other} of this name", "give each rule and pass a name of its own")
        self._names.add(name)

    def _covers(self, section: Section, name: str) -> tuple[str, ...]:
        scalars = section.texts("covers") if section.node_of("covers", required=True) is not None else ()
        field = section.path("covers")
        if scalars == () and section.has("covers"):
            section.error("covers", "an empty list", "name the rules that the pass covers")
        for scalar in scalars or ():
            rule = scalar.text
            if rule not in self._rules:
                remedy = choose(rule, self._rules) if self._rules else "write rules"
                self._findings.error(scalar.place, field, f"{rule!r} is not among the rules of this tariff", remedy)
            elif rule in self._covered:
                self._findings.error(
                    scalar.place,
                    field,
                    f"{rule!r} is covered by pass {self._covered[rule]!r} already",
                    "let each rule fall under one pass",
                )
            elif rule in self._falling:
                self._findings.error(
                    scalar.place,
                    field,
                    f"{rule!r} pays back where its total falls, and what a pass has charged is not paid back",
                    "take reprice: down out of the rule, or the rule out of the pass",
                )
            self._covered.setdefault(rule, name)
        return tuple(dict.fromkeys(s.text for s in scalars or ()))

    def _count(self, section: Section) -> Counting:
        node = section.node_of("count", required=True)
        if node is None:
            return Counting()
        before = len(self._findings)
        counting = read_count(node, section.path("count"), None, self._findings, at_most=False)
        if self._findings.errors_since(before):
            return counting
        if counting.scope == "life":
            section.error(
                "count",
                "a pass for life has no end, so what was paid would never be shared out",
                "say over which time, as in over: day",
            )
        elif counting.scope == "event":
            section.error(
                "count",
                "a pass for a single use has nothing to add up",
                "say over which time, as in over: day, or change the rules' own prices",
            )
        return counting

    def _priced(self, section: Section, cap: int | None) -> tuple[tuple[Tier, ...], str] | None:
        """The function over money: quantity is nanos of list price. None with the error noted."""
        given = [name for name in FUNCTIONS if section.has(name)]
        whole = (Tier(None, Fraction(1)),)
        if not given:
            if cap is None and not section.has("cap"):
                self._findings.error(
                    section.node.place, section.path("cap"), "nothing changes under this pass", "write cap: 0.50"
                )
            return whole, "the list price"
        if len(given) > 1:
            section.error(given[1], f"two prices: {' and '.join(given)}", "keep one of them")
            return None
        if given == ["graduated"]:
            return self._graduated(section)
        scalar = section.scalar(given[0])
        if given == ["discount"]:
            part = section.read("discount", values.fraction)
            if part == 0:
                section.error("discount", "a discount of nothing", "write one, as in 20%")
            return None if part is None or scalar is None else ((Tier(None, 1 - part),), f"{scalar.text} off")
        amount = section.read("price", lambda text: values.money(text, self._currency))
        if section.has("cap"):
            section.error("cap", "a cap beside a price that is due once", "keep one of them")
        if amount == 0:
            section.error("price", "a pass for nothing", "write discount: 100%")
        if amount is None or scalar is None:
            return None
        return (Tier(None, Fraction(0), amount * NANOS_PER_UNIT),), scalar.text

    def _graduated(self, section: Section) -> tuple[tuple[Tier, ...], str] | None:
        """`{to 5: 100%, above: 80%}`: parts of the list price by what it comes to."""
        node, field = section.node_of("graduated"), section.path("graduated")
        assert node is not None, "the pass has tiers"
        if not isinstance(node, Table) or not node.entries:
            section.error("graduated", f"{describe(node)} where tiers are due", f"write {GRADUATED_EXAMPLE}")
            return None
        tiers: list[Tier] = []
        for key, value in node.entries:
            here = f"{field}.{key.text}"
            place = key.place
            try:
                if tiers and tiers[-1].up_to is None:
                    raise Unreadable(f"{key.text!r} stands behind 'above'", "'above' is the last tier")
                border = self._border(key.text, tiers[-1].up_to if tiers else None)
                place = value.place
                if not isinstance(value, Scalar) or not value.text:
                    raise Unreadable(f"{describe(value)} where a part of the list price is due", "write one: 80%")
                part = Fraction(0) if value.text == "free" else values.fraction(value.text)
            except Unreadable as e:
                self._findings.unreadable(place, here, e)
                return None
            tiers.append(Tier(border, part))
        if tiers[-1].up_to is not None:
            beyond = figures.money(tiers[-1].up_to, self._currency)
            section.error("graduated", f"nothing is said of what is above {beyond}", "add above: with a part, or free")
        return tuple(tiers), ", ".join(f"{k.text}: {v.text}" for k, v in node.entries if isinstance(v, Scalar))

    def _border(self, text: str, low: int | None) -> int | None:
        """Upper border in nanos; None for 'above'. Raises Unreadable."""
        words = text.split(maxsplit=1)
        if words == ["above"]:
            return None
        if len(words) != 2 or words[0] != "to":
            raise Unreadable(f"{text!r} names no tier", f"write tiers as in {GRADUATED_EXAMPLE}")
        border = values.nanos(words[1], self._currency)
        if border <= (low or 0):
            raise Unreadable("the border is not above the one before", "write the borders in rising order")
        return border


def _sharing(text: str) -> str:
    if text == SHARING:
        return text
    raise Unreadable(f"{text!r} is no way to share what was paid", f"write share: {SHARING}")


def _name_of(node: Node) -> str | None:
    if not isinstance(node, Table):
        return None
    return next((v.text for k, v in node.entries if k.text == "pass" and isinstance(v, Scalar)), None)
