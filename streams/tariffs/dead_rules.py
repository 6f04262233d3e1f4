"""Rules that no use can reach, because others above them take all that they name; and uses that no rule takes.

Conditions on different fields are independent, so the uses a rule names are a box; what the rules above leave of it
is found by cutting each of them off, condition by condition, until a use is left or nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nanotally.streams.domain.tariff import Condition, Rule
from nanotally.streams.tariffs.text_sets import Effort, TooHard, find, holds

CUTS_MAX = 5_000
RULES_MAX = 2_000  # of a tariff, variants counted: each is held against those above it

Use = dict[str, str]  # the fields and attributes of an example; what is absent is left out


@dataclass(frozen=True)
class Dead:
    """A rule that can never match: the rules above that take its uses (none: its own conditions exclude each other)
    and a use that it names (None where there is none)."""

    rule: Rule
    by: tuple[Rule, ...]
    example: Use | None


def dead_rules(rules: Sequence[Rule], products: Sequence[str]) -> list[Dead]:
    """The rules that can never match. `products`: those of the tariff, empty for any."""
    dead, effort = [], Effort()
    for i, rule in enumerate(rules):
        above = [r for r in rules[:i] if r.meter == rule.meter]
        try:
            if example_use(rule, above, products, effort) is not None:
                continue
            example = example_use(rule, (), products, effort)
            by = () if example is None else _takers(rule, above, products, effort)
        except TooHard:  # cannot be proved dead, so it is taken as it is
            continue
        dead.append(Dead(rule, by, example))
    return dead


def unmatched_use(
    meter: str, rules: Sequence[Rule], products: Sequence[str], effort: Effort | None = None
) -> Use | None:
    """A use of the meter that no rule takes; None where each is taken or it cannot be told."""
    mine = [r for r in rules if r.meter == meter]
    try:
        return example_use(replace(mine[0], when=()), mine, products, effort) if mine else {"meter": meter}
    except TooHard:
        return None


def example_use(rule: Rule, above: Sequence[Rule], products: Sequence[str], effort: Effort | None = None) -> Use | None:
    """A use that the rule names and none of those above takes; None where there is none. Raises TooHard."""
    # Every field that any of the rules asks for, so that the example says enough to be tried.
    box: _Box = {c.field: ((), ()) for r in (rule, *above) for c in r.when}
    if products:
        box = {**box, "product": ((Condition("product", "equals", tuple(products)),), ())}
    for condition in rule.when:
        box = _cut(box, condition, inside=True)
    found = _use(box, tuple(above), effort or Effort())
    if found is None:
        return None
    return {"meter": rule.meter} | {field: value for field, value in found.items() if value is not None}


def _takers(rule: Rule, above: Sequence[Rule], products: Sequence[str], effort: Effort) -> tuple[Rule, ...]:
    """The rule that alone takes all uses of `rule`, else the few that do together."""
    for other in above:
        if example_use(rule, [other], products, effort) is None:
            return (other,)
    needed = list(above)
    for other in above:
        fewer = [r for r in needed if r is not other]
        if example_use(rule, fewer, products, effort) is None:
            needed = fewer
    return tuple(needed)


def _texts(yes: Sequence[Condition], no: Sequence[Condition]) -> int:
    """Texts that are held against conditions, at most."""
    return sum(len(c.values) for c in yes) * (1 + len(no))


# Field -> conditions that hold, conditions that do not.
_Box = Mapping[str, tuple[tuple[Condition, ...], tuple[Condition, ...]]]


def _cut(box: _Box, condition: Condition, inside: bool) -> _Box:
    yes, no = box[condition.field]
    both = ((*yes, condition), no) if inside else (yes, (*no, condition))
    return {**box, condition.field: both}


def _use(box: _Box, above: tuple[Rule, ...], effort: Effort) -> dict[str, str | None] | None:
    """A use in the box that none of the rules takes: a use is picked, and where a rule takes it, what lies outside of
    each of that rule's conditions is searched on."""
    boxes = [(box, above)]
    for _ in range(CUTS_MAX):
        if not boxes:
            return None
        box, above = boxes.pop()
        effort.spend(len(above) + sum(len(yes) + len(no) + _texts(yes, no) for yes, no in box.values()))
        values = {field: find(field, yes, no, effort) for field, (yes, no) in box.items()}
        use = {field: found.value for field, found in values.items() if found is not None}
        if len(use) < len(values):
            continue
        taker = next((r for r in above if all(holds(c, use[c.field]) for c in r.when)), None)
        if taker is None:
            return use
        rest = tuple(r for r in above if r is not taker)
        boxes += [(_cut(box, condition, inside=False), rest) for condition in reversed(taker.when)]
    raise TooHard
