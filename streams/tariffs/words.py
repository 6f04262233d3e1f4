"""What a tariff means, in plain words: told from the compiled rules that the engine rates by, not from the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from nanotally.streams.domain.tariff import NANOS_PER_UNIT, Condition, Meter, Party, Pass, Rule, Split, TariffVersion
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.price_words import price_parts

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class RuleWords:
    """One rule in sentences: whom it is for, what it costs (a line for each variant), how it counts, who gets it."""

    name: str
    uses: str
    prices: tuple[str, ...]
    counted: str
    divided: str

    def lines(self) -> list[str]:
        return [self.uses, *self.prices, self.counted, self.divided]


def head_words(version: TariffVersion) -> list[str]:
    """What the version says of itself: name, time, money, products."""
    products = f"product {figures.listing(list(version.products))}" if version.products else "no other tariff names"
    belongs = f"for {products}" if version.products else f"for every product that {products}"
    return [
        f"{version.tariff}, version {version.version}: in force from {figures.instant(version.effective_from_us)}, "
        f"in {version.currency}, {belongs}",
        f"days and months begin in {version.calendar}; content {version.content_hash[:16]}",
    ]


def rules_words(version: TariffVersion) -> list[RuleWords]:
    """The rules of the file, the variants of one together, in their order."""
    return [variants_words(version, list(mine)) for _, mine in groupby(version.rules, key=lambda r: r.name)]


def rule_words(version: TariffVersion, rule: Rule) -> RuleWords:
    """One compiled rule of the version, or one variant alone, in sentences."""
    return variants_words(version, [rule])


def variants_words(version: TariffVersion, variants: Sequence[Rule]) -> RuleWords:
    """One rule of the file, by its variants, in sentences."""
    rule = variants[0]
    meter = version.meter_by_name[rule.meter]
    common = [c for c in rule.when if all(c in v.when for v in variants)]
    return RuleWords(
        name=rule.name,
        uses=_uses(meter, common),
        prices=_prices(variants, common, meter, version.currency),
        counted=_counted(rule, version.calendar),
        divided=split_words(version.split_by_name[rule.split], version.currency),
    )


def pass_words(version: TariffVersion, one: Pass) -> list[str]:
    """One pass of the version in sentences."""
    money = Meter("", version.currency, 9)  # it counts nanos of list price
    tiers = one.price.tiers
    if tiers[0].fee:
        fee = figures.amount(tiers[0].fee / NANOS_PER_UNIT, version.currency)
        words = f"{fee} with the first use that costs anything, then free"
    else:
        parts = [f"{figures.percent(t.price)} of the list price" if t.price else "free" for t in tiers]
        steps = [
            f"{part} up to {figures.money(tier.up_to, money.unit)}"
            for part, tier in zip(parts, tiers, strict=True)
            if tier.up_to is not None
        ]
        words = f"{', '.join(steps)}, {parts[-1]} above" if steps else parts[-1]
    if one.price.cap_nanos is not None:
        words += f"; at most {figures.money(one.price.cap_nanos, version.currency)} in all"
    return [
        f"for what {figures.listing(list(one.covers))} would cost",
        words,
        f"{_counted(one.price, version.calendar)}; then shared out by list price",
    ]


def version_words(version: TariffVersion) -> str:
    """The whole version as text for a terminal."""
    lines = head_words(version)
    for number, words in enumerate(rules_words(version), 1):
        lines.append(f"{number:>3}. {words.name}")
        lines += [f"     {line}" for line in words.lines()]
    for one in version.passes:
        lines.append(f"  pass {one.name}")
        lines += [f"     {line}" for line in pass_words(version, one)]
    return "\n".join(lines)


def _uses(meter: Meter, conditions: Iterable[Condition]) -> str:
    asked = "".join(f", {_condition(c)}" for c in conditions)
    return f"each use of {meter.name}, in {figures.plural(meter.unit)}{asked}"


def _prices(variants: Sequence[Rule], common: Sequence[Condition], meter: Meter, currency: str) -> tuple[str, ...]:
    """A line for each variant, and one for what holds for all that are not refused."""
    told = [price_parts(v, meter, currency) for v in variants]
    if len(variants) == 1:
        return ("; ".join(told[0]),)
    charged = [parts for parts, v in zip(told, variants, strict=True) if not v.refuse]
    shared = [part for part in charged[0][1:] if all(part in parts for parts in charged)] if charged else []
    lines = [
        f"{_variant(v, common)}: {'; '.join(part for part in parts if part not in shared)}"
        for v, parts in zip(variants, told, strict=True)
    ]
    return (*lines, *([f"in each case {'; '.join(shared)}"] if shared else []))


def _variant(rule: Rule, common: Sequence[Condition]) -> str:
    """'peak, Mon-Fri 08:00 to 19:00 (UTC)', 'segment school', 'otherwise'."""
    own = [_condition(c) for c in rule.when if c not in common]
    # A band has a name of its own; a value of an attribute is told with the attribute.
    named = [rule.variant.split(", ")[0]] if any(c.kind == "band" for c in rule.when) else []
    return ", ".join([*named, *own]) or "otherwise"


def _condition(condition: Condition) -> str:
    match condition.kind:
        case "present":
            return f"with a {condition.field}"
        case "absent":
            return f"without a {condition.field}"
        case "equals":
            return f"{condition.field} {figures.listing([v or 'empty' for v in condition.values], 'or')}"
        case "range":
            return f"{condition.field} {_range(*condition.values)}"
        case "band":
            return band_words(condition)
        case _:
            return f"{condition.field} like {figures.listing(list(condition.values), 'or')}"


def _range(low: str, high: str) -> str:
    if low == high:
        return low
    if not low or not high:
        return f"from {low}" if low else f"up to {high}"
    return f"from {low} to {high}"


def band_words(condition: Condition) -> str:
    """'Mon-Fri 08:00 to 19:00 (Europe/Berlin)', '12-25 (UTC)'."""
    zone, days, dates, start, end = condition.values
    words = [_day_words(days)] if days else []
    words += [figures.listing(dates.split(","), "or")] if dates else []
    if (start, end) != ("00:00:00", "24:00:00") or not words:
        words.append(f"{start.removesuffix(':00')} to {end.removesuffix(':00')}")
    return f"{' '.join(words)} ({zone})"


def _day_words(days: str) -> str:
    names = [_DAYS[int(d) - 1] for d in days]
    run = len(days) > 2 and days in "1234567"
    return f"{names[0]}-{names[-1]}" if run else figures.listing(names, "or")


def _counted(rule: Rule, calendar: str) -> str:
    who = figures.listing(["payer", *rule.per])
    match rule.scope:
        case "event":
            return "each use counted by itself, and rounded down to a nano"
        case "life":
            return f"counted per {who} for life, never starting again"
        case "session":
            return f"counted per {who}, anew after {figures.duration(rule.length_us)} without a use"
        case "anchored":
            return f"counted per {who}, for {figures.duration(rule.length_us)} from the first use each time"
        case scope:
            return f"counted per {who}, anew each {scope} ({calendar})"


def split_words(split: Split, currency: str = "") -> str:
    """'split standard: platform 10 %, creator the rest; an absent creator leaves it to the platform'."""
    parts = ", ".join(_party(p, currency) for p in split.parties)
    who = [p.account for p in split.parties if p.account == "creator"]
    who += [p.account for p in split.parties if "{" in p.account]
    absent = f"; what an absent {figures.listing(who, 'or')} would get goes to the platform" if who else ""
    return f"split {split.name}: {parts}{absent}"


def _party(party: Party, currency: str) -> str:
    if party.fraction is None:
        return f"{party.account} the rest"
    cap = "" if party.cap_nanos is None else figures.money(party.cap_nanos, currency).strip()
    beyond = "" if party.overflow is None else f" (what is beyond goes to {party.overflow})"
    if party.of_left:
        return f"{party.account} the first {cap} of what is left{beyond}"
    return f"{party.account} {figures.percent(party.fraction)}" + (f" but at most {cap}{beyond}" if cap else "")
