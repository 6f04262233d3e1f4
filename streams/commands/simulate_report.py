"""What a simulation found, ready to be told: changes by payer, party, item, feature and rule, with their spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from nanotally.streams.commands.simulate_sums import DAY_US, NOBODY, Change, SideSums, Simulation, Totals

QUANTILES = (10, 25, 50, 75, 90, 99, 100)  # percent; 100 is the greatest
# Bars of the histogram: the greatest change in percent that is in each, and its name.
BARS: tuple[tuple[Fraction | None, str], ...] = (
    (Fraction(-50), "-50 % or more"), (Fraction(-20), "-20 to -50 %"), (Fraction(-5), "-5 to -20 %"),
    (Fraction(0), "to -5 %"), (Fraction(0), "the same"), (Fraction(5), "to +5 %"),
    (Fraction(20), "+5 to +20 %"), (Fraction(50), "+20 to +50 %"), (None, "more than +50 %"),
)  # fmt: skip
SAME = 4
FRESH = "new"  # nothing before, something now


@dataclass(frozen=True)
class Kind:
    """Changes of all payers (parties, items, features). changes: by the amount of change, greatest first; bars: how
    many changed by how much, in the order of BARS and last those with nothing before; quantiles: nanos of those with
    something before or after: (percent, before, after)."""

    title: str
    changes: tuple[Change, ...]
    bars: tuple[tuple[str, int], ...]
    quantiles: tuple[tuple[int, int, int], ...]

    @property
    def one(self) -> str:
        """What one of them is called."""
        return "party" if self.title == "other parties" else self.title.removesuffix("s")

    @property
    def more(self) -> list[Change]:
        """With more than before, the greatest change first."""
        return [c for c in self.changes if c.difference > 0]

    @property
    def less(self) -> list[Change]:
        """With less than before, the greatest change first."""
        return [c for c in self.changes if c.difference < 0]

    @property
    def same(self) -> int:
        return sum(1 for c in self.changes if c.difference == 0)


@dataclass(frozen=True)
class Report:
    """All that is told. before_name '' where there is nothing to compare with; nanos and uses everywhere."""

    before_name: str
    after_name: str
    source: str
    currency: str
    by: str
    uses: int
    first_us: int | None
    last_us: int | None
    before: int
    after: int
    due: tuple[int, int]
    charged: int | None  # what the ledger has
    kinds: tuple[Kind, ...]
    rules: tuple[Change, ...]
    days: tuple[tuple[int, int, int], ...]  # microseconds of the day's begin, before, after
    outcomes: tuple[tuple[str, int, int], ...]
    left_out: tuple[tuple[str, int], ...]

    @property
    def percent(self) -> Fraction | None:
        """Change of revenue in percent."""
        return Fraction((self.after - self.before) * 100, self.before) if self.before else None


def report(
    simulation: Simulation, before_name: str, after_name: str, source: str, currency: str, charged: int | None
) -> Report:
    """Works out the report from the sums."""
    s, (was, now) = simulation, simulation.sides
    was = was if before_name else SideSums()  # what stands alone is compared with nothing
    accounts = s.names.accounts.texts
    parties = _changes(accounts, was.accounts, now.accounts)
    creators = [_renamed(c) for c in parties if c.name.startswith("creator:")]
    others = [c for c in parties if not c.name.startswith("creator:")]
    features = _changes(s.features.texts(), was.features, now.features)
    kinds = [
        _kind("payers", _changes(s.payers.texts(), was.payers, now.payers)),
        _kind("creators", creators),
        _kind("other parties", others),
        _kind("items", _changes(s.items.texts(), was.items, now.items)),
    ]
    if [c.name for c in features] != [NOBODY]:
        kinds.append(_kind(f"{s.by}s", features))
    rules = _changes(["(not charged)", *s.names.rules.texts], was.rules, now.rules, keep_idle=False)
    days = sorted((day * DAY_US, _at(was.days, code), _at(now.days, code)) for day, code in s.days.items())
    outcomes = [
        (text, _uses(was.outcomes, code), _uses(now.outcomes, code)) for code, text in enumerate(s.names.outcomes.texts)
    ]
    return Report(
        before_name, after_name, source, currency, s.by, s.uses, s.first_us, s.last_us, was.revenue, now.revenue,
        (was.due, now.due), charged, tuple(k for k in kinds if k.changes), tuple(rules), tuple(days),
        tuple(o for o in outcomes if o[1] or o[2]), tuple((why, n) for why, n in s.left_out.items() if n),
    )  # fmt: skip


def _at(totals: Totals, code: int) -> int:
    return int(totals.nanos[code]) if code < len(totals.nanos) else 0


def _uses(totals: Totals, code: int) -> int:
    return int(totals.uses[code]) if code < len(totals.uses) else 0


def _changes(names: Sequence[str], was: Totals, now: Totals, keep_idle: bool = True) -> list[Change]:
    """Each name with its sums, the greatest change first; names alike are in the order of the alphabet."""
    n = len(names)
    before, after = was.sized(n).tolist(), now.sized(n).tolist()
    uses_before, uses = ([_uses(totals, i) for i in range(n)] for totals in (was, now))
    found = [Change(*row) for row in zip(names, uses, before, after, uses_before, strict=True)]
    kept = found if keep_idle else [c for c in found if c.uses or c.uses_before or c.before or c.after]
    return sorted(kept, key=lambda c: (-abs(c.difference), -c.after, c.name))


def _renamed(change: Change) -> Change:
    return replace(change, name=change.name.removeprefix("creator:"))


def _kind(title: str, changes: list[Change]) -> Kind:
    counts = [0] * (len(BARS) + 1)
    for c in changes:
        counts[_bar(c)] += 1
    bars = [(name, count) for (_, name), count in zip([*BARS, (None, FRESH)], counts, strict=True)]
    return Kind(title, tuple(changes), tuple(bars), tuple(_quantiles(changes)))


def _bar(change: Change) -> int:
    if change.difference == 0:
        return SAME
    percent = change.percent
    if percent is None:
        return len(BARS)
    return next(i for i, (most, _) in enumerate(BARS) if most is None or (percent <= most and i != SAME))


def _quantiles(changes: Sequence[Change]) -> list[tuple[int, int, int]]:
    """Of those with something before or after: the value that so many percent do not exceed, on each side."""
    some = [c for c in changes if c.before or c.after]
    if not some:
        return []

    def ranked(value: Callable[[Change], int]) -> list[int]:
        ordered = sorted(value(c) for c in some)
        return [ordered[-(-len(ordered) * q // 100) - 1] for q in QUANTILES]

    return list(zip(QUANTILES, ranked(lambda c: c.before), ranked(lambda c: c.after), strict=True))
