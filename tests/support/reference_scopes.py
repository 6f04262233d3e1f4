"""What the plain reference remembers of scopes, and how a use, a pass or a due goes through one."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

from nanotally.streams.domain.tariff import OPENED_SCOPES, Pass, Rule, TariffVersion
from tests.support.reference_price import State, Use, take
from tests.support.reference_pricing import field_of, scope_bounds
from tests.support.reference_splits import Parts
from tests.support.reference_values import Event, Line


class Key(NamedTuple):
    """What is the same for all scopes of a rule or pass that one payer's uses with the same values count in. `own`:
    the use's offset where each use has a scope of its own."""

    link: str
    payer: str
    tariff: str
    rule: str
    meter: str
    scope: str
    length_us: int
    per: tuple[tuple[str, str | None], ...]
    own: int | None


Place = tuple[Key, int]  # key and start of a scope


@dataclass(frozen=True)
class Scope:
    """`state` after its last use, whose line, rule and version are kept; `weights`: nanos by resolved split that uses
    asked for in it, which is what its minimum, or what its pass took in, is shared out by."""

    state: State
    end_us: int
    line: Line
    rule: Rule
    version: TariffVersion
    weights: MutableMapping[tuple[str, Parts], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Priced:
    """A line before it is divided, and the scope it went through. `parts`: the split of a rule's line; a pass has none.
    `asked`: exact nanos to hold against a max_price; `start_us`: when its use or piece began."""

    line: Line
    version: TariffVersion
    place: Place
    asked: Fraction = Fraction(0)
    parts: Parts | None = None
    covering: Pass | None = None
    start_us: int | None = None

    def split(self) -> tuple[str, Parts]:
        """What a base is kept for."""
        assert self.parts is not None
        return self.version.currency, self.parts


class Scopes:
    """Scopes of one partition; those that open with their first use also by what is the same for all of a kind."""

    def __init__(self) -> None:
        self.at: MutableMapping[Place, Scope] = {}
        self.newest: MutableMapping[Key, int] = {}

    def trial(self) -> Scopes:
        """The same scopes, to be changed without a trace."""
        other = Scopes()
        other.at, other.newest = ChainMap({}, self.at), ChainMap({}, self.newest)
        return other

    def bounds(self, rule: Rule, key: Key, at_us: int, calendar: str) -> tuple[int, int]:
        """Start and end of the scope that a use booked at the instant counts in. A scope that opens with its first use
        is joined by whatever is booked before its end; a session's end moves on with its uses."""
        if rule.scope not in OPENED_SCOPES:
            return scope_bounds(rule.scope, at_us, calendar)
        start = self.newest.get(key)
        if start is not None and at_us < self.at[key, start].end_us:
            end = self.at[key, start].end_us
        else:
            start, end = at_us, at_us + rule.length_us
        return start, max(end, at_us + rule.length_us) if rule.scope == "session" else end

    def rate(
        self, link: str, version: TariffVersion, rule: Rule, key: Key, at_us: int, use: Use, seen: set[Place]
    ) -> Priced | str:
        """The use through its scope, which moves; or why it is refused, and nothing moves. `seen`: the scopes that
        earlier pieces of it went through."""
        start, end = self.bounds(rule, key, at_us, version.calendar)
        place = self.place(rule, key, start)
        known = self.at.get(place)
        before = known.state if known else State()
        use = replace(use, first=place not in seen)
        seen.add(place)
        taken = take(rule, before, use)
        if isinstance(taken, str):
            return taken
        line = Line(
            link=link,
            tariff=version.tariff,
            version=version.version,
            tariff_hash=version.content_hash[:16],
            rule=rule.name,
            variant=rule.variant,
            scope=rule.scope,
            scope_key=key,
            scope_start_us=start,
            scope_end_us=end,
            minimum_nanos=0 if rule.scope == "event" else rule.minimum_nanos,
            uses_before=before.uses,
            uses_after=taken.after.uses,
            quantity_before=before.quantity,
            quantity=taken.counted,
            over_before=before.over,
            over_after=taken.after.over,
            total_before=before.total,
            total_after=taken.after.total,
            charged_before=before.charged,
            amount_nanos=taken.amount,
        )
        weights = dict(known.weights) if known else {}
        self.at[place] = Scope(taken.after, end, line, rule, version, weights)
        if rule.scope in OPENED_SCOPES:
            self.newest[key] = start
        return Priced(line, version, place, taken.asked)

    def place(self, rule: Rule, key: Key, start: int) -> Place:
        """Where the scope is kept. The pieces of one use share the scope of the event."""
        return key, 0 if rule.scope == "event" else start

    def keep(self, trial: Scopes, priced: list[Priced]) -> None:
        """What the lines of a charge have changed. A use's own scope is over with it."""
        for place, scope in trial.at.maps[0].items():  # type: ignore[attr-defined]
            if scope.line.scope != "event" or scope.line.link == "pass":
                self.at[place] = scope
        self.newest.update(trial.newest.maps[0])  # type: ignore[attr-defined]
        for p in priced:
            self.weigh(p, priced)

    def weigh(self, p: Priced, priced: list[Priced]) -> None:
        """A line's list price counts in its scope and in that of the pass that covers it."""
        passes = [q.place for q in priced if q.parts is None and q.covering == p.covering and q.version == p.version]
        for place in [p.place, *passes] if p.parts is not None and p.line.link == "rule" else passes:
            if p.parts is not None and place in self.at:
                weights = self.at[place].weights
                weights[p.split()] = weights.get(p.split(), 0) + p.line.amount_nanos

    def drop(self, place: Place) -> None:
        del self.at[place]
        if self.newest.get(place[0]) == place[1]:
            del self.newest[place[0]]


def key_of(link: str, version: TariffVersion, rule: Rule, payer: str, event: Event | None, own: int) -> Key:
    """The key of the scopes of a rule or pass that the event of the payer counts in."""
    per = tuple((name, field_of(event, name) if event else None) for name in rule.per)
    number = own if rule.scope == "event" else None
    return Key(link, payer, version.tariff, rule.name, rule.meter, rule.scope, rule.length_us, per, number)


def pass_of(version: TariffVersion, rule: str) -> Pass | None:
    """The first pass that covers the rule."""
    return next((p for p in version.passes if rule in p.covers), None)
