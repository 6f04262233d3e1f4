"""What a tariff means, in plain words: told from the compiled rules that the engine rates by, not from the file."""

from __future__ import annotations

from dataclasses import dataclass

from nanotally.streams.domain.tariff import Condition, Meter, Party, Rule, Split, TariffVersion
from nanotally.streams.tariffs import figures


@dataclass(frozen=True)
class RuleWords:
    """One rule in sentences: whom it is for, what it costs, how it counts, who gets it."""

    name: str
    uses: str
    price: str
    counted: str
    divided: str

    def lines(self) -> list[str]:
        return [self.uses, self.price, self.counted, self.divided]


def head_words(version: TariffVersion) -> list[str]:
    """What the version says of itself: name, time, money, products."""
    products = f"product {figures.listing(list(version.products))}" if version.products else "no other tariff names"
    belongs = f"for {products}" if version.products else f"for every product that {products}"
    return [
        f"{version.tariff}, version {version.version}: in force from {figures.instant(version.effective_from_us)}, "
        f"in {version.currency}, {belongs}",
        f"days and months begin in {version.calendar}; content {version.content_hash[:16]}",
    ]


def rule_words(version: TariffVersion, rule: Rule) -> RuleWords:
    """One rule of the version in sentences."""
    meter = version.meter_by_name[rule.meter]
    return RuleWords(
        name=rule.name,
        uses=_uses(rule, meter),
        price=_price(rule, meter, version.currency),
        counted=_counted(rule, version.calendar),
        divided=split_words(version.split_by_name[rule.split]),
    )


def version_words(version: TariffVersion) -> str:
    """The whole version as text for a terminal."""
    lines = head_words(version)
    for number, rule in enumerate(version.rules, 1):
        words = rule_words(version, rule)
        lines.append(f"{number:>3}. {words.name}")
        lines += [f"     {line}" for line in words.lines()]
    return "\n".join(lines)


def _uses(rule: Rule, meter: Meter) -> str:
    asked = "".join(f", {_condition(c)}" for c in rule.when)
    return f"each use of {meter.name}, in {figures.plural(meter.unit)}{asked}"


def _condition(condition: Condition) -> str:
    match condition.kind:
        case "present":
            return f"with a {condition.field}"
        case "absent":
            return f"without a {condition.field}"
        case "equals":
            return f"{condition.field} {figures.listing([v or 'empty' for v in condition.values], 'or')}"
        case _:
            return f"{condition.field} like {figures.listing(list(condition.values), 'or')}"


def _price(rule: Rule, meter: Meter, currency: str) -> str:
    tiers = [figures.price(t.price, meter, currency) for t in rule.tiers]
    if len(tiers) < 2:
        words = tiers[0] if tiers else "the price that comes with the use"
    else:
        steps = [
            f"{price} up to {figures.quantity(tier.up_to, meter)}"
            for price, tier in zip(tiers, rule.tiers, strict=True)
            if tier.up_to is not None
        ]
        words = f"{', '.join(steps)}, {tiers[-1]} above"
    return words if rule.cap_nanos is None else f"{words}; at most {figures.money(rule.cap_nanos, currency)} in all"


def _counted(rule: Rule, calendar: str) -> str:
    who = figures.listing(["payer", *rule.per])
    match rule.scope:
        case "event":
            return "each use counted by itself, and rounded down to a nano"
        case "life":
            return f"counted per {who} for life, never starting again"
        case scope:
            return f"counted per {who}, anew each {scope} ({calendar})"


def split_words(split: Split) -> str:
    """'split standard: platform 10 %, creator the rest; an absent creator leaves it to the platform'."""
    parts = ", ".join(_party(p) for p in split.parties)
    who = [p.account for p in split.parties if p.account == "creator"]
    who += [p.account for p in split.parties if "{" in p.account]
    absent = f"; what an absent {figures.listing(who, 'or')} would get goes to the platform" if who else ""
    return f"split {split.name}: {parts}{absent}"


def _party(party: Party) -> str:
    return f"{party.account} {'the rest' if party.fraction is None else figures.percent(party.fraction)}"
