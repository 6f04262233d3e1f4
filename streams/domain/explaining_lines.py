"""Lines of a charge worked out one by one: what a rule asks, and what the payer pays by a pass instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from nanotally.streams.domain.catalogs import CatalogItem, CatalogVersion
from nanotally.streams.domain.explaining_matches import first_match
from nanotally.streams.domain.explaining_model import Claim, Differs, LineExplained, Part, same
from nanotally.streams.domain.explaining_pieces import UsePiece
from nanotally.streams.domain.explaining_refusals import asked_price, asked_tier, why_nothing
from nanotally.streams.domain.explaining_shares import check_parts, claims_of, parts_of
from nanotally.streams.domain.explaining_terms import State, amount_of, counted, step_of
from nanotally.streams.domain.rules import Rule
from nanotally.streams.domain.tariff import OPENED_SCOPES, Meter, TariffVersion


def rule_line(
    at: str,
    line: Mapping[str, Any],
    charge: Mapping[str, Any],
    piece: UsePiece,
    first: bool,
    catalog: CatalogVersion | None,
    item: CatalogItem | None,
) -> LineExplained:
    """What a rule asks for a use, or for a piece of one that was cut."""
    event, version = charge["event"], piece.version
    rule = _rule(at, line, piece, event, item)
    same(f"{at}, catalog", "" if catalog is None else f"{catalog.catalog} v{catalog.version}", line["catalog"])
    same(f"{at}, quantity", counted(rule, piece.quantity), line["quantity"])
    _check_scope(at, line, rule, max(charge["booked_at"], piece.starts_us))
    unit_price, problem = asked_price(rule, event, item)
    if problem or rule.refuse:
        raise Differs(f"{at}, outcome", f"refused: {problem or 'the rule refuses'}", charge["outcome"])
    if rule.limit is not None and line["quantity_before"] + line["quantity"] > rule.limit:
        raise Differs(f"{at}, outcome", "refused: above the limit", charge["outcome"])
    state = state_of(at, line)
    meter = version.meter_by_name[rule.meter]
    tier_quantity = asked_tier(rule, event, meter)
    step = step_of(rule, state, line["quantity"], first, unit_price, tier_quantity)
    total = check_total(at, line, rule, state, step.nanos)
    same(f"{at}, over_after", step.over, line["over_after"])
    covering = next((p.name for p in version.passes if rule.name in p.covers), None)
    same(f"{at}, pass", covering, line["pass"])
    same(f"{at}, paid_nanos", line["amount_nanos"] if covering is None else 0, line["paid_nanos"])
    minimum = 0 if rule.scope == "event" else rule.minimum_nanos
    same(f"{at}, minimum_nanos", minimum, line["minimum_nanos"])
    claims = claims_of(version.split_by_name[line["split"]], event, item)
    parts = parts_of(claims, line["base_before"], line["paid_nanos"])
    check_parts(at, parts, line["shares"])
    return LineExplained(
        "rule",
        rule.name,
        rule,
        version,
        meter,
        line["scope_start"],
        line["scope_end"],
        state,
        line["quantity"],
        step,
        total,
        line["amount_nanos"],
        line["paid_nanos"],
        line["base_before"],
        parts,
        "" if line["paid_nanos"] or covering else why_nothing(line, version),
        piece.starts_us if piece.cut else None,
        covering or "",
        line["catalog"],
        first,
        unit_price,
        tier_quantity,
        claims,
    )


def _rule(
    at: str, line: Mapping[str, Any], piece: UsePiece, event: Mapping[str, Any], item: CatalogItem | None
) -> Rule:
    """The first rule that matches the piece; it must be the one that the line names."""
    found = first_match(piece.version, event, piece.starts_us, item)
    same(f"{at}, rule", found.name if found else "none", line["rule"])
    assert found is not None, "a line names a rule"
    same(f"{at}, variant", found.variant, line["variant"])
    same(f"{at}, scope", found.scope, line["scope"])
    same(f"{at}, split", found.split, line["split"])
    return found


def _check_scope(at: str, line: Mapping[str, Any], rule: Rule, booked_at: int) -> None:
    """A scope of the calendar holds the time of the booking; one that began with a use ends after it, and may have
    begun with one that happened later but came earlier."""
    start, end = line["scope_start"], line["scope_end"]
    opened = rule.scope in OPENED_SCOPES
    if not (opened or start <= booked_at) or booked_at >= end:
        raise Differs(f"{at}, scope", f"one around booked_at {booked_at}", f"a scope from {start} to before {end}")
    if rule.scope == "anchored":
        same(f"{at}, length of the scope in us", rule.length_us, end - start)
    if rule.scope == "session" and end - start < rule.length_us:
        raise Differs(f"{at}, length of the scope in us", f"{rule.length_us} or more", end - start)


def pass_line(
    at: str, line: Mapping[str, Any], above: Sequence[LineExplained], version: TariffVersion
) -> LineExplained:
    """What the payer pays by a pass for the lines above that it covers: rated like a use of their list price."""
    chosen = next((p for p in version.passes if p.name == line["rule"]), None)
    if chosen is None:
        raise Differs(f"{at}, pass", f"one of {', '.join(p.name for p in version.passes) or 'none'}", line["rule"])
    # What gives money back is not passed on: a pass never pays out.
    mine = (other for other in above if other.pass_name == chosen.name and other.version == version)
    listed = max(0, sum(other.amount for other in mine))
    same(f"{at}, quantity (list price in nanos)", listed, line["quantity"])
    state = state_of(at, line)
    step = step_of(chosen.price, state, listed)
    total = check_total(at, line, chosen.price, state, step.nanos)
    same(f"{at}, paid_nanos", line["amount_nanos"], line["paid_nanos"])
    pool = Part(f"pool:{version.tariff}/{chosen.name}", Fraction(1), line["paid_nanos"], rest=True)
    check_parts(at, (pool,), line["shares"])
    return LineExplained(
        "pass",
        chosen.name,
        chosen.price,
        version,
        Meter("list price", version.currency, 9),
        line["scope_start"],
        line["scope_end"],
        state,
        listed,
        step,
        total,
        line["amount_nanos"],
        line["paid_nanos"],
        line["base_before"],
        (pool,),
        "",
        claims=(Claim(pool.account, pool.fraction),),
    )


# ---- what every line has ----


def state_of(at: str, line: Mapping[str, Any]) -> State:
    """The scope before, as the line tells it."""
    return State(
        line["uses_before"],
        line["quantity_before"],
        line["over_before"],
        total_of(at, line, "before"),
        line["charged_before"],
    )


def total_of(at: str, line: Mapping[str, Any], when: str) -> Fraction:
    """The exact total before or after, nanos."""
    remainder, den = line[f"remainder_{when}"], line["remainder_den"]
    if not 0 <= remainder < den:
        raise Differs(f"{at}, remainder_{when}", f"from 0 to below {den}", remainder)
    return Fraction(line[f"total_{when}"]) + Fraction(remainder, den)


def check_total(at: str, line: Mapping[str, Any], rule: Rule, state: State, step: Fraction) -> Fraction:
    """The exact total after a step; raises Differs where the line's total or amount is another."""
    total = state.total + step
    same(f"{at}, exact total after", total, total_of(at, line, "after"))
    same(f"{at}, amount_nanos", amount_of(rule, total, state.charged), line["amount_nanos"])
    return total
