"""What is wrong or doubtful about a tariff as a whole: names twice, rules that can never match, parts without use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from nanotally.streams.domain.tariff import Condition, Rule
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.dead_rules import RULES_MAX, Dead, Use, dead_rules, unmatched_use
from nanotally.streams.tariffs.findings import Findings, Place
from nanotally.streams.tariffs.rules import ReadRule
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.text_sets import Effort, find
from nanotally.streams.tariffs.yaml_nodes import Table

Rules = Sequence[ReadRule]
TAKERS_MAX = 6  # as many names as a message can bear


def check_rules(rules: Rules, products: Sequence[str], meters: Collection[str], findings: Findings) -> None:
    """Notes rules of one name, rules that can never match, and uses that no rule takes."""
    places: dict[str, Place] = {}
    for read in rules:
        name = _name(read)
        if name is None:
            continue
        if name in places:
            findings.error(
                read.node.place,
                f"rules.{name}",
                f"a second rule of this name (first in line {places[name].line})",
                "give each rule a name of its own: what was counted is kept under it",
            )
        places.setdefault(name, read.node.place)
    if findings.failed() or not all(read.variants for read in rules):
        return  # what is left of the rules would give false alarms
    flat = [rule for read in rules for rule in read.rules]
    if len(flat) > RULES_MAX:
        problem = f"{len(flat):,} rules and variants, at most {RULES_MAX:,}"
        findings.error(rules[0].node.place, "rules", problem, "divide them into tariffs of their own `products`")
        return
    dead = {id(d.rule): d for d in dead_rules(flat, products)}
    for read in rules:
        _check_dead(read, dead, places, products, findings)
    if findings.failed():
        return
    priced, effort = {r.meter for r in flat}, Effort()
    for meter in meters:
        use = unmatched_use(meter, flat, products, effort) if meter in priced else None
        if use is not None:
            last = max(places[r.name] for r in flat if r.meter == meter)
            findings.warning(
                last, "rules", f"no rule takes {use_words(use)}: it stays unpriced", "add a rule for the others"
            )


def _check_dead(
    read: ReadRule, dead: Mapping[int, Dead], places: Mapping[str, Place], products: Sequence[str], findings: Findings
) -> None:
    """Notes a rule none of whose variants can match, or else each part of it that can in no combination."""
    gone = [dead.get(id(v.rule)) for v in read.variants]
    name = read.rules[0].name
    if all(d is not None for d in gone):
        first = gone[0]
        assert first is not None
        findings.error(places[name], f"rules.{name}", *_dead_words(first, places, products))
        return
    told = {part for v in read.variants for part in v.parts}
    for part in sorted(told, key=lambda p: p.place):
        mine = [d for v, d in zip(read.variants, gone, strict=True) if part in v.parts]
        first = mine[0]
        if first is not None and all(d is not None for d in mine):
            findings.error(part.place, part.field, *_dead_words(first, places, products))


def check_use_of_parts(
    top: Section, meters: Collection[str], splits: Collection[str], rules: Rules, findings: Findings
) -> None:
    """Notes meters and splits that no rule uses."""
    if not all(read.variants for read in rules):
        return
    flat = [rule for read in rules for rule in read.rules]
    priced, divided_by = {r.meter for r in flat}, {r.split for r in flat}
    idle_meters = [m for m in meters if m not in priced]
    idle_splits = [s for s in splits if s not in divided_by]
    for part, names, words, remedy in (
        ("meters", idle_meters, "no rule prices it: its uses stay unpriced", "write a rule for it"),
        ("splits", idle_splits, "no rule divides by it", "take it out, or name it in a rule"),
    ):
        node = top.node_of(part)
        keys = {key.text: key.place for key, _ in node.entries} if isinstance(node, Table) else {}
        for name in names:
            findings.warning(keys[name], f"{part}.{name}", words, remedy)


def _name(read: ReadRule) -> str | None:
    if read.variants:
        return read.variants[0].rule.name
    return None


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
    takers = list(dict.fromkeys(_taker(r, dead.rule, places) for r in dead.by))
    if len(takers) > TAKERS_MAX:
        takers = [*takers[: TAKERS_MAX - 1], f"{len(takers) - TAKERS_MAX + 1} others"]
    verb = "takes" if len(takers) == 1 else "together take"
    name = repr(dead.rule.name) if not dead.rule.variant else repr(dead.rule.variant)
    return (
        f"it can never match: {figures.listing(takers)} above {verb} every use it names, "
        f"for example {use_words(dead.example)}",
        f"move {name} above, or take it out",
    )


def _taker(rule: Rule, dead: Rule, places: Mapping[str, Place]) -> str:
    """'article' (line 8); the variants of the rule itself by their own names."""
    return repr(rule.variant) if rule.name == dead.name else f"{rule.name!r} (line {places[rule.name].line})"


def use_words(use: Use) -> str:
    """'a use with meter page.view, product news'."""
    return "a use with " + ", ".join(f"{field} {value or 'empty'}" for field, value in use.items())
