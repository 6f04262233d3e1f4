"""What differs between two versions of a tariff, worked out from the compiled rules; told in words elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from nanotally.streams.commands.plot_curves import Group, groups_of
from nanotally.streams.commands.tariff_diff_prices import Compared, compare
from nanotally.streams.commands.tariff_diff_uses import Moved, moved_uses
from nanotally.streams.domain.matching import NumberedRule
from nanotally.streams.domain.tariff import Meter, Rule, TariffVersion
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.restarts import CALENDAR_SCOPES, restarts
from nanotally.streams.tariffs.words import pass_words, split_words, variants_words


@dataclass(frozen=True)
class Change:
    """One thing that differs, in words; '' where there was or will be none."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class PriceChange:
    """A price that differs. variant: of the rule, '' for a rule without; rule: the new one, for its scope and text."""

    variant: str
    before: Rule
    after: Rule
    meter: Meter
    compared: Compared


@dataclass(frozen=True)
class RuleChange:
    """A rule of one name. kind: added, removed, changed, moved (only its place among the others)."""

    name: str
    kind: str
    changes: tuple[Change, ...]
    prices: tuple[PriceChange, ...] = ()
    anew: bool = False  # what it has counted so far no longer counts


@dataclass(frozen=True)
class Difference:
    """All that differs between two versions."""

    head: tuple[Change, ...]
    rules: tuple[RuleChange, ...]
    moved: tuple[Moved, ...]
    restarts: tuple[str, ...]  # sentences: which rules begin to count anew, and why

    @property
    def none(self) -> bool:
        return not (self.head or self.rules or self.moved or self.restarts)


def difference(before: TariffVersion, after: TariffVersion) -> Difference:
    """What changes from `before` to `after`."""
    return Difference(
        tuple(_head(before, after)),
        tuple(_rules(before, after)),
        tuple(moved_uses(before, after)),
        tuple(restarts(before, after)),
    )


def _head(before: TariffVersion, after: TariffVersion) -> Iterator[Change]:
    def products(v: TariffVersion) -> str:
        return figures.listing(list(v.products)) if v.products else "all that no other tariff names"

    facts = [
        ("tariff", before.tariff, after.tariff),
        ("in force from", figures.instant(before.effective_from_us), figures.instant(after.effective_from_us)),
        ("currency", before.currency, after.currency),
        ("calendar", before.calendar, after.calendar),
        ("products", products(before), products(after)),
    ]
    yield from (Change(*fact) for fact in facts if fact[1] != fact[2])
    yield from _named("meter", {m.name: _meter(m) for m in before.meters}, {m.name: _meter(m) for m in after.meters})
    yield from _named("split", _split_lines(before), _split_lines(after))


def _split_lines(version: TariffVersion) -> dict[str, str]:
    return {s.name: split_words(s, version.currency).removeprefix(f"split {s.name}: ") for s in version.splits}


def _named(what: str, before: dict[str, str], after: dict[str, str]) -> Iterator[Change]:
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name, ""), after.get(name, "")
        if was != now:
            yield Change(f"{what} {name}", was, now)


def _meter(meter: Meter) -> str:
    needs = f", needs {figures.listing(list(meter.needs))}" if meter.needs else ""
    return f"in {figures.plural(meter.unit)}, {meter.scale} decimal place{'s' * (meter.scale != 1)}{needs}"


def _rules(before: TariffVersion, after: TariffVersion) -> Iterator[RuleChange]:
    was = {g.name: g for g in groups_of(before)}
    now = {g.name: g for g in groups_of(after)}
    moved = _out_of_order([n for n in was if n in now], [n for n in now if n in was])
    for name in dict.fromkeys([*now, *was]):
        if name not in was:
            yield RuleChange(name, "added", tuple(Change("", "", line) for line in _lines(after, now[name])))
        elif name not in now:
            yield RuleChange(name, "removed", tuple(Change("", line, "") for line in _lines(before, was[name])))
        else:
            found = _changed(before, after, was[name], now[name])
            if found is not None:
                yield found
            elif name in moved:
                place = list(now).index(name) + 1
                yield RuleChange(name, "moved", (Change("place", str(list(was).index(name) + 1), str(place)),))


def _out_of_order(before: Sequence[str], after: Sequence[str]) -> set[str]:
    """Names that come earlier than they did, among those in both."""
    return {name for name in after if after.index(name) < before.index(name)}


def _changed(before: TariffVersion, after: TariffVersion, was: Group, now: Group) -> RuleChange | None:
    lines_was, lines_now = _lines(before, was), _lines(after, now)  # of a pass they also say what it covers
    if was.rules == now.rules and was.meter == now.meter and lines_was == lines_now:
        return None
    changes: list[Change] = []
    for old, new in _paired(lines_was, lines_now):
        changes.append(Change("", old, new))
    prices: list[PriceChange] = []
    for variant, old_rule, new_rule in _variants(was.rules, now.rules):
        if _bare(old_rule) != _bare(new_rule) or was.meter != now.meter:
            compared = compare(old_rule, new_rule, now.meter)
            prices.append(PriceChange(variant, old_rule, new_rule, now.meter, compared))
    return RuleChange(now.name, "changed", tuple(changes), tuple(prices), _begins_anew(before, after, was, now))


def _bare(rule: Rule) -> Rule:
    """The rule without what does not change the price of a quantity."""
    return replace(rule, when=(), split="", text="", variant="", name="", per=(), cut=False)


def _variants(before: Sequence[Rule], after: Sequence[Rule]) -> Iterator[tuple[str, Rule, Rule]]:
    """Rules to compare: of the same variant, or the only one of one side with each of the other."""
    was, now = {r.variant: r for r in before}, {r.variant: r for r in after}
    for variant, rule in now.items():
        if variant in was:
            yield variant, was[variant], rule
        elif len(was) == 1:
            yield variant, before[0], rule
    if len(now) == 1:
        yield from ((v, rule, after[0]) for v, rule in was.items() if v not in now and len(was) > 1)


def _lines(version: TariffVersion, group: Group) -> list[str]:
    """What the rules of a group say in words, but for their split."""
    for one in version.passes:
        if one.price is group.rules[0]:
            return pass_words(version, one)
    lines = variants_words(version, group.rules).lines()[:-1]
    if len({rule.split for rule in group.rules}) == 1:
        return [*lines, f"divided by split {group.rules[0].split}"]
    return [*lines, *(f"{rule.variant}: divided by split {rule.split}" for rule in group.rules)]


def _paired(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Lines that are not on both sides, those that took each other's place side by side."""
    was = [line for line in before if line not in after]
    now = [line for line in after if line not in before]
    for i in range(max(len(was), len(now))):
        yield (was[i] if i < len(was) else ""), (now[i] if i < len(now) else "")


def _begins_anew(before: TariffVersion, after: TariffVersion, was: Group, now: Group) -> bool:
    """Whether what the rule has counted so far no longer counts."""
    if was.rules[0].scope == "event" and now.rules[0].scope == "event":
        return False
    stems = [NumberedRule(0, v, g.rules[0]).stem for v, g in ((before, was), (after, now))]
    return stems[0] != stems[1] or (now.rules[0].scope in CALENDAR_SCOPES and before.calendar != after.calendar)
