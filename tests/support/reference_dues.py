"""What falls due at the end of a scope: its minimum, and the sharing-out of what a pass took in."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from nanotally.streams.domain.tariff import Pass, TariffVersion
from tests.support.reference_scopes import Key, Place, Priced, Scope, Scopes, pass_of
from tests.support.reference_splits import PLATFORM_ALONE, Parts, sorting
from tests.support.reference_uses import rate_pass
from tests.support.reference_values import Line

Order = Callable[[Place], Any]


def by_text(place: Place) -> Any:
    """Some order of scopes that end together. Which it is matters to nobody, but it must always be the same."""
    return tuple(str(v) for v in place[0]), place[1]


def owes(scope: Scope) -> bool:
    """Whether anything is due when the scope ends."""
    if scope.line.link == "pass":
        return scope.state.charged > 0
    return scope.line.scope != "event" and scope.state.charged < scope.line.minimum_nanos


def next_due(scopes: Scopes, watermark: int, order: Order) -> Place | None:
    """The scope whose end comes first, minimums before passes of the same end, then by the order. Where
    nothing is due any more all that has ended is dropped, not before: a minimum may still fall under a pass."""
    ended = [(place, scope) for place, scope in scopes.at.items() if scope.end_us <= watermark]
    due = [(s.end_us, s.line.link == "pass", order(p), p) for p, s in ended if owes(s)]
    if due:
        return min(due, key=lambda e: e[:3])[-1]
    for place, _ in ended:
        scopes.drop(place)
    return None


def share_out(total: int, weights: dict[tuple[str, Parts], int]) -> list[tuple[Parts, int]]:
    """Whole nanos in proportion to weights: cumulated floors in the order of the splits, so that they sum to the
    total. Where nothing weighs anything the platform gets it all."""
    whole, seen, parts = sum(weights.values()), 0, list[tuple[Parts, int]]()
    if whole <= 0:
        return [(PLATFORM_ALONE, total)]
    for split in sorted(weights, key=lambda s: sorting(s[1])):
        after = seen + weights[split]
        parts.append((split[1], total * after // whole - total * seen // whole))
        seen = after
    return [(split, part) for split, part in parts if part]


def lines_due(scopes: Scopes, place: Place) -> tuple[int, list[Priced]]:
    """End of the scope, which is dropped, and the lines that it still asks for."""
    scope = scopes.at[place]
    scopes.drop(place)
    if scope.line.link == "pass":
        parts = share_out(scope.state.charged, dict(scope.weights))
        return scope.end_us, [due_line(scope, place, "sharing", split, part, None) for split, part in parts]
    covering = pass_of(scope.version, scope.rule.name)
    total = scope.line.minimum_nanos - scope.state.charged
    parts = share_out(total, dict(scope.weights))
    lines = [due_line(scope, place, "minimum", split, part, covering) for split, part in parts]
    return scope.end_us, lines if covering is None else through_pass(scopes, scope, place[0], covering, total, lines)


def through_pass(
    scopes: Scopes, scope: Scope, key: Key, covering: Pass, total: int, lines: list[Priced]
) -> list[Priced]:
    """A minimum under a pass is a use of it like any other."""
    trial = scopes.trial()
    settled = rate_pass(trial, scope.version, covering, key.payer, None, scope.end_us - 1, 0, total, set())
    assert not isinstance(settled, str), f"the pass refuses what is due: {settled}"
    scopes.keep(trial, [*lines, settled])
    return [*lines, settled]


def due_line(scope: Scope, place: Place, link: str, parts: Parts, nanos: int, covering: Pass | None) -> Priced:
    version: TariffVersion = scope.version
    line = Line(
        link=link,
        tariff=version.tariff,
        version=version.version,
        tariff_hash=scope.line.tariff_hash,
        rule=scope.line.rule,
        variant="",
        scope=scope.line.scope,
        scope_key=place[0],
        scope_start_us=scope.line.scope_start_us,
        scope_end_us=scope.end_us,
        minimum_nanos=scope.line.minimum_nanos,
        charged_before=scope.state.charged,
        amount_nanos=nanos,
        paid_nanos=nanos if link == "minimum" and covering is None else 0,
        pass_name=covering.name if covering else None,
        split=scope.rule.split if sum(scope.weights.values()) > 0 else "",
    )
    return Priced(line, version, place, Fraction(0), parts, covering)
