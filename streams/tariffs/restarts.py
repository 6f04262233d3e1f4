"""What begins to count anew from one version of a tariff to the next: nothing is lost, but what a payer has used so far
no longer counts towards tiers, allowances, caps and `at_most`."""

from __future__ import annotations

from collections.abc import Iterator

from nanotally.streams.domain.tariff import OPENED_SCOPES, Rule, TariffVersion
from nanotally.streams.tariffs import figures

CALENDAR_SCOPES = ("hour", "day", "month", "year")


def restarts(old: TariffVersion, new: TariffVersion) -> list[str]:
    """A sentence for each rule and pass whose scopes of `old` are not gone on with in `new`; none where all are."""
    if old.tariff != new.tariff:
        return [f"tariff {new.tariff!r} counts for itself, apart from all that {old.tariff!r} has counted"]
    told = list(_calendar(old, new))
    for kind, before, after in (
        ("rule", {r.name: r for r in old.rules}, {r.name: r for r in new.rules}),
        ("pass", {p.name: p.price for p in old.passes}, {p.name: p.price for p in new.passes}),
    ):
        for name, was in before.items():
            if was.scope == "event":
                continue
            if name in after:
                changes = list(_changes(was, after[name]))
                if changes:
                    told.append(f"{kind} {name!r} begins to count anew: {figures.listing(changes)}")
            else:
                told += _renamed(kind, was, [r for r in after.values() if r.name not in before])
    return told


def _calendar(old: TariffVersion, new: TariffVersion) -> Iterator[str]:
    kept = {r.name for r in new.rules} & {r.name for r in old.rules if r.scope in CALENDAR_SCOPES}
    if old.calendar != new.calendar and kept:
        yield (
            f"calendar {new.calendar} instead of {old.calendar}: the hours, days, months and years that rules count "
            "over begin at other times, so those that are open begin anew"
        )


def _changes(was: Rule, now: Rule) -> Iterator[str]:
    """What of a rule's scopes is another."""
    if was.meter != now.meter:
        yield f"meter {now.meter} instead of {was.meter}"
    if was.per != now.per:
        yield f"per {figures.listing(['payer', *now.per])} instead of {figures.listing(['payer', *was.per])}"
    if (was.scope, _length(was)) != (now.scope, _length(now)):
        yield f"over {scope_words(now)} instead of {scope_words(was)}"


def _length(rule: Rule) -> int:
    return rule.length_us if rule.scope in OPENED_SCOPES else 0


def scope_words(rule: Rule) -> str:
    """'day', 'session that ends after 30m', '24h from the first use'."""
    if rule.scope == "session":
        return f"session that ends after {figures.duration(rule.length_us)}"
    return f"{figures.duration(rule.length_us)} from the first use" if rule.scope == "anchored" else rule.scope


def _renamed(kind: str, was: Rule, fresh: list[Rule]) -> Iterator[str]:
    """A rule that is gone and one that came in its place."""
    like = [r for r in fresh if (r.meter, r.when, r.scope) == (was.meter, was.when, was.scope)]
    if like:
        yield (
            f"{kind} {was.name!r} is called {like[0].name!r} now, and counts from zero: what was counted is kept under "
            f"the name, so call it {was.name!r} as before to go on"
        )
    else:
        yield f"{kind} {was.name!r} is gone: what it has counted ends with it"
