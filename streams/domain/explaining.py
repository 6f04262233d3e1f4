"""Why a charge is what it is, worked out again in exact rationals from the charge and the tariff version alone.

Shares no arithmetic with the columns that rated it: fractions here, whole-number columns there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

import pyarrow as pa

from nanotally.streams.domain.decimals import decimal_text
from nanotally.streams.domain.matching import matches
from nanotally.streams.domain.splitting import fields_of, resolve
from nanotally.streams.domain.tariff import Meter, Rule, TariffVersion
from nanotally.streams.errors import ExitCode, NanotallyError

HASH_DIGITS = 16  # of a version's content hash, in a charge


class Differs(NanotallyError):
    """The charge is not what its tariff version gives; says where, what was expected and what was found."""

    exit_code = ExitCode.DIFFERENCE

    def __init__(self, where: str, expected: object, found: object) -> None:
        super().__init__(f"{where}: worked out again it is {expected}, the charge has {found}")
        self.where, self.expected, self.found = where, expected, found


@dataclass(frozen=True)
class Piece:
    """The part of a use's quantity that falls into one tier. Unscaled quantities; `lower` exclusive, `upper`
    inclusive, None: open; price in exact nanos per unscaled unit."""

    quantity: int
    lower: int
    upper: int | None
    price: Fraction

    @property
    def nanos(self) -> Fraction:
        """What this part costs, exact nanos."""
        return self.quantity * self.price


@dataclass(frozen=True)
class Part:
    """One account's share of a line, nanos; `rest` where it takes what the others leave."""

    account: str
    fraction: Fraction
    nanos: int
    rest: bool


@dataclass(frozen=True)
class LineExplained:
    """One line worked out: totals in exact nanos, the others whole. `nothing` says why it costs nothing, if so."""

    rule: Rule
    meter: Meter
    scope_start_us: int
    scope_end_us: int
    quantity_before: int
    quantity: int
    pieces: tuple[Piece, ...]
    total_before: Fraction
    total_after: Fraction
    charged_before: int
    amount: int
    paid: int
    base_before: int
    parts: tuple[Part, ...]
    nothing: str


@dataclass(frozen=True)
class Explanation:
    """A charge worked out; `version` is the tariff version it was rated by, None where it was not rated."""

    name: str
    outcome: str
    reason: str
    event: Mapping[str, Any] | None
    booked_at_us: int
    late: bool
    currency: str
    paid: int
    version: TariffVersion | None
    lines: tuple[LineExplained, ...]


def charge_name(charge: Mapping[str, Any]) -> str:
    """Public name of a charge: partition and offset of its use, and n where it is not 0."""
    name = f"{charge['usage_partition']}-{charge['usage_offset']}"
    return f"{name}-{charge['n']}" if charge["n"] else name


def explain(charge: Mapping[str, Any], version: TariffVersion | None) -> Explanation:
    """Works the charge out again from its tariff version. `charge`: a decoded Charge record; `version` may be None
    where it has no lines. Raises Differs where the charge is not what the version gives."""
    lines: list[LineExplained] = []
    for number, line in enumerate(charge["lines"]):
        if version is None:
            raise Differs(f"line {number}, tariff", "without a version", f"{line['tariff']} v{line['version']}")
        lines.append(_line(f"line {number}", line, charge, version))
    _same("paid_nanos", sum(line.paid for line in lines), charge["paid_nanos"])
    if lines and version is not None:
        _same("currency", version.currency, charge["currency"])
    return Explanation(
        charge_name(charge),
        charge["outcome"],
        charge["reason"],
        charge["event"],
        charge["booked_at"],
        charge["late"],
        charge["currency"],
        charge["paid_nanos"],
        version if lines else None,
        tuple(lines),
    )


def _line(at: str, line: Mapping[str, Any], charge: Mapping[str, Any], version: TariffVersion) -> LineExplained:
    rule = _rule(at, line, charge["event"], version)
    before, quantity = line["quantity_before"], line["quantity"]
    if charge["event"] is not None:
        _same(f"{at}, quantity", charge["event"]["quantity"], quantity)
    if not line["scope_start"] <= charge["booked_at"] < line["scope_end"]:
        scope = f"a scope from {line['scope_start']} to before {line['scope_end']}"
        raise Differs(f"{at}, scope", f"one around booked_at {charge['booked_at']}", scope)
    pieces = pieces_of(rule, before, quantity)
    total_before = _total(at, line, "before")
    total_after = total_before + sum((piece.nanos for piece in pieces), Fraction(0))
    _same(f"{at}, exact total after", total_after, _total(at, line, "after"))
    charged = floor(total_after) if rule.cap_nanos is None else min(floor(total_after), rule.cap_nanos)
    _same(f"{at}, amount_nanos", max(0, charged - line["charged_before"]), line["amount_nanos"])
    if line["pass"] is None:
        _same(f"{at}, paid_nanos", line["amount_nanos"], line["paid_nanos"])
    return LineExplained(
        rule,
        version.meter_by_name[rule.meter],
        line["scope_start"],
        line["scope_end"],
        before,
        quantity,
        pieces,
        total_before,
        total_after,
        line["charged_before"],
        line["amount_nanos"],
        line["paid_nanos"],
        line["base_before"],
        _parts(at, line, charge["event"] or {}, version),
        "" if line["paid_nanos"] else why_nothing(line, version),
    )


def _rule(at: str, line: Mapping[str, Any], event: Mapping[str, Any] | None, version: TariffVersion) -> Rule:
    """The rule by the line's name; for a use it must be the first one that matches."""
    rated_by = f"{line['tariff']} v{line['version']} {line['tariff_hash']}"
    _same(f"{at}, tariff", f"{version.tariff} v{version.version} {version.content_hash[:HASH_DIGITS]}", rated_by)
    if event is not None and line["link"] == "rule":
        first = next((r for r in version.rules if _matches(r, event)), None)
        _same(f"{at}, rule", first.name if first else "none", line["rule"])
    found = next((r for r in version.rules if r.name == line["rule"]), None)
    if found is None:
        raise Differs(f"{at}, rule", f"one of {', '.join(r.name for r in version.rules)}", line["rule"])
    _same(f"{at}, scope", found.scope, line["scope"])
    _same(f"{at}, split", found.split, line["split"])
    return found


def _matches(rule: Rule, event: Mapping[str, Any]) -> bool:
    return rule.meter == event["meter"] and all(
        bool(matches(c, pa.array([_field(event, c.field)], pa.string()))[0]) for c in rule.when
    )


def _field(event: Mapping[str, Any], name: str) -> str | None:
    value = event[name] if name in event else event.get("attributes", {}).get(name)
    return value if isinstance(value, str) else None


def pieces_of(rule: Rule, before: int, quantity: int) -> tuple[Piece, ...]:
    """The quantity from `before` to `before + quantity`, cut at the tiers' borders."""
    pieces, lower = [], 0
    for tier in rule.tiers:
        high = before + quantity if tier.up_to is None else min(before + quantity, tier.up_to)
        if high > max(before, lower):
            pieces.append(Piece(high - max(before, lower), lower, tier.up_to, tier.price))
        lower = tier.up_to or lower
    return tuple(pieces)


def _total(at: str, line: Mapping[str, Any], when: str) -> Fraction:
    remainder, den = line[f"remainder_{when}"], line["remainder_den"]
    if not 0 <= remainder < den:
        raise Differs(f"{at}, remainder_{when}", f"from 0 to below {den}", remainder)
    return Fraction(line[f"total_{when}"]) + Fraction(remainder, den)


def _parts(at: str, line: Mapping[str, Any], event: Mapping[str, Any], version: TariffVersion) -> tuple[Part, ...]:
    split = version.split_by_name[line["split"]]
    parties = resolve(split, {name: _field(event, name) for name in fields_of(split)})
    base, paid, parts = line["base_before"], line["paid_nanos"], []
    for account, fraction in parties[:-1]:
        parts.append(Part(account, fraction, floor((base + paid) * fraction) - floor(base * fraction), rest=False))
    account, fraction = parties[-1]
    parts.append(Part(account, fraction, paid - sum(part.nanos for part in parts), rest=True))
    found = [(s["account"], Fraction(s["fraction_num"], s["fraction_den"]), s["nanos"]) for s in line["shares"]]
    for part, share in zip(parts, found, strict=False):
        _same(
            f"{at}, share of {part.account}",
            (part.account, str(part.fraction), part.nanos),
            (share[0], str(share[1]), share[2]),
        )
    _same(f"{at}, number of shares", len(parts), len(found))
    return tuple(parts)


def why_nothing(line: Mapping[str, Any], version: TariffVersion) -> str:
    """Why a line of 0 nanos costs nothing, for people: 'free: counted already in this day'."""
    rule = next((r for r in version.rules if r.name == line["rule"]), None)
    if rule is None or line["pass"] is not None:
        return "free"
    within = {"event": "", "life": " before"}.get(line["scope"], f" in this {line['scope']}")
    pieces = pieces_of(rule, line["quantity_before"], line["quantity"])
    if not pieces:
        return "free: nothing was used"
    if rule.cap_nanos is not None and line["charged_before"] >= rule.cap_nanos:
        return f"free: the cap of {decimal_text(rule.cap_nanos)} {version.currency} is reached{within}"
    if any(piece.price for piece in pieces):
        return "free so far: below one nano, the exact value is carried on" if within else "free: below one nano"
    last = pieces[-1]
    if last.lower:
        return f"free: counted already{within}"
    if last.upper is None:
        return "free by its rule"
    meter = version.meter_by_name[rule.meter]
    return f"free: within the first {decimal_text(last.upper, meter.scale)} {meter.unit}{within}"


def _same(where: str, expected: object, found: object) -> None:
    if expected != found:
        raise Differs(where, expected, found)
