"""What fell due at the end of a scope or of a pass, worked out again.

By how much each split's uses had been charged is in their charges, not in this one: that the parts add up to what is
due, and how each part is divided, is worked out here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from nanotally.streams.domain.explaining_lines import state_of, total_of
from nanotally.streams.domain.explaining_model import Claim, Differs, LineExplained, Part, same
from nanotally.streams.domain.explaining_shares import has_terms, parts_told
from nanotally.streams.domain.tariff import Meter, TariffVersion


def due_line(at: str, line: Mapping[str, Any], version: TariffVersion) -> LineExplained:
    """A line of what fell due: a minimum, or a part of what a pass took in."""
    return _minimum(at, line, version) if line["link"] == "minimum" else _sharing(at, line, version)


def check_due(charge: Mapping[str, Any], lines: Sequence[LineExplained]) -> None:
    """Raises Differs where the parts do not add up to what was due."""
    due = [line for line in lines if line.link != "pass"]
    first, asked = due[0], sum(line.amount for line in due)
    if first.link == "minimum":
        same("sum of the minimum's lines", first.minimum - first.charged_before, asked)
    else:
        same("sum of what is shared out", first.charged_before, asked)
    for line in due:
        same("charged before, of all lines", first.charged_before, line.charged_before)
        same("booked_at", line.scope_end_us - 1, charge["booked_at"])


def _minimum(at: str, line: Mapping[str, Any], version: TariffVersion) -> LineExplained:
    with_minimum = [r for r in version.rules if r.minimum_nanos and r.scope != "event"]
    rule = next((r for r in with_minimum if r.name == line["rule"] and r.minimum_nanos == line["minimum_nanos"]), None)
    if rule is None:
        names = ", ".join(f"{r.name} ({r.minimum_nanos} nanos)" for r in with_minimum) or "there is none"
        found = f"{line['rule']} ({line['minimum_nanos']} nanos)"
        raise Differs(f"{at}, rule and minimum_nanos", f"one with a minimum: {names}", found)
    same(f"{at}, scope", rule.scope, line["scope"])
    covering = next((p.name for p in version.passes if rule.name in p.covers), None)
    same(f"{at}, pass", covering, line["pass"])
    same(f"{at}, paid_nanos", line["amount_nanos"] if covering is None else 0, line["paid_nanos"])
    parts = parts_told(at, line["shares"], version.splits, line["base_before"], line["paid_nanos"])
    meter = version.meter_by_name[rule.meter]
    return _explained(at, line, rule.name, rule, version, meter, parts, covering or "")


def _sharing(at: str, line: Mapping[str, Any], version: TariffVersion) -> LineExplained:
    same(f"{at}, link", "sharing", line["link"])
    chosen = next((p for p in version.passes if p.name == line["rule"]), None)
    if chosen is None:
        raise Differs(f"{at}, pass", f"one of {', '.join(p.name for p in version.passes) or 'none'}", line["rule"])
    same(f"{at}, paid_nanos", 0, line["paid_nanos"])
    pool = f"pool:{version.tariff}/{chosen.name}"
    if not line["shares"] or line["shares"][-1]["account"] != pool:
        raise Differs(f"{at}, last share", pool, line["shares"][-1]["account"] if line["shares"] else "none")
    same(f"{at}, share of {pool}", -line["amount_nanos"], line["shares"][-1]["nanos"])
    parts = parts_told(at, line["shares"][:-1], version.splits, line["base_before"], line["amount_nanos"])
    from_pool = Part(pool, Fraction(1), -line["amount_nanos"], rest=False)
    meter = Meter("list price", version.currency, 9)
    return _explained(at, line, chosen.name, chosen.price, version, meter, parts, "", (from_pool,))


def _explained(
    at: str,
    line: Mapping[str, Any],
    name: str,
    rule: Any,
    version: TariffVersion,
    meter: Meter,
    parts: tuple[Part, ...],
    pass_name: str,
    pool: tuple[Part, ...] = (),
) -> LineExplained:
    told = tuple(Claim(part.account, part.fraction) for part in parts)
    return LineExplained(
        line["link"],
        name,
        rule,
        version,
        meter,
        line["scope_start"],
        line["scope_end"],
        state_of(at, line),
        line["quantity"],
        None,
        total_of(at, line, "after"),
        line["amount_nanos"],
        line["paid_nanos"],
        line["base_before"],
        (*pool, *parts),
        "",
        None,
        pass_name,
        line["catalog"],
        claims=() if any(has_terms(split) for split in version.splits) else told,
    )
