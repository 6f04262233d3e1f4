"""What is wrong or doubtful about a tariff as a whole: names twice, rules that can never match, parts without use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from nanotally.streams.domain.tariff import Condition, Rule
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.dead_rules import Dead, Use, dead_rules, unmatched_use
from nanotally.streams.tariffs.findings import Findings, Place
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.text_sets import find
from nanotally.streams.tariffs.yaml_nodes import Node, Table

Rules = Sequence[tuple[Node, Rule | None]]


def check_rules(rules: Rules, products: Sequence[str], meters: Collection[str], findings: Findings) -> None:
    """Notes rules of one name, rules that can never match, and uses that no rule takes."""
    places: dict[str, Place] = {}
    for node, rule in rules:
        if rule is None:
            continue
        if rule.name in places:
            findings.error(
                node.place,
                f"rules.{rule.name}",
                f"a second rule of this name (first in line {places[rule.name].line})",
                "give each rule a name of its own: what was counted is kept under it",
            )
        places.setdefault(rule.name, node.place)
    readable = [rule for _, rule in rules if rule is not None]
    if findings.failed() or len(readable) != len(rules):
        return  # what is left of the rules would give false alarms
    for dead in dead_rules(readable, products):
        findings.error(places[dead.rule.name], f"rules.{dead.rule.name}", *_dead_words(dead, places, products))
    if findings.failed():
        return
    for meter in meters:
        use = unmatched_use(meter, readable, products) if any(r.meter == meter for r in readable) else None
        if use is not None:
            last = max(places[r.name] for r in readable if r.meter == meter)
            findings.warning(
                last, "rules", f"no rule takes {use_words(use)}: it stays unpriced", "add a rule for the others"
            )


def check_use_of_parts(
    top: Section, meters: Collection[str], splits: Collection[str], rules: Rules, findings: Findings
) -> None:
    """Notes meters and splits that no rule uses."""
    readable = [rule for _, rule in rules if rule is not None]
    if len(readable) != len(rules):
        return
    idle_meters = [m for m in meters if all(r.meter != m for r in readable)]
    idle_splits = [s for s in splits if all(r.split != s for r in readable)]
    for part, names, words, remedy in (
        ("meters", idle_meters, "no rule prices it: its uses stay unpriced", "write a rule for it"),
        ("splits", idle_splits, "no rule divides by it", "take it out, or name it in a rule"),
    ):
        node = top.node_of(part)
        keys = {key.text: key.place for key, _ in node.entries} if isinstance(node, Table) else {}
        for name in names:
            findings.warning(keys[name], f"{part}.{name}", words, remedy)


def _dead_words(dead: Dead, places: Mapping[str, Place], products: Sequence[str]) -> tuple[str, str]:
    if dead.example is None:
        asked = next((c for c in dead.rule.when if c.field == "product" and products), None)
        if asked is not None and find("product", (asked, Condition("product", "equals", tuple(products))), ()) is None:
            return (
                f"it can never match: the tariff is for {figures.listing(list(products))} only",
                "name one of these products, or add the other to `products`",
            )
        return (
            "it can never match: no use fulfils its conditions",
            "mend `when`: a use has an item and a product always",
        )
    takers = [f"{r.name!r} (line {places[r.name].line})" for r in dead.by]
    verb = "takes" if len(takers) == 1 else "together take"
    return (
        f"it can never match: {figures.listing(takers)} above {verb} every use it names, "
        f"for example {use_words(dead.example)}",
        f"move {dead.rule.name!r} above, or take it out",
    )


def use_words(use: Use) -> str:
    """'a use with meter page.view, product news'."""
    return "a use with " + ", ".join(f"{field} {value or 'empty'}" for field, value in use.items())
