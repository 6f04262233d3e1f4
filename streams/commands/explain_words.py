"""An explanation as text for people; every figure is exact and has its unit."""

from __future__ import annotations

from fractions import Fraction

from nanotally.streams.commands.output import instant
from nanotally.streams.domain.decimals import fixed_text
from nanotally.streams.domain.explaining import HASH_DIGITS, Explanation, Extra, LineExplained, Piece
from nanotally.streams.domain.explaining_terms import with_overage
from nanotally.streams.domain.records import NO_END
from nanotally.streams.domain.rules import Rule
from nanotally.streams.domain.tariff import Meter
from nanotally.streams.tariffs import figures

CHECK = "\N{HEAVY CHECK MARK}"
_ROUNDED = {"up": "up", "down": "down", "half_up": "half up"}


def words(explained: Explanation) -> str:
    """The explanation, a few lines of text."""
    out = _head(explained)
    for line in explained.lines:
        out += line_words(line, explained.currency)
    if explained.version is not None:
        for version in dict.fromkeys(line.version for line in explained.lines):
            out.append(f"  tariff {version.tariff} v{version.version} {version.content_hash[:HASH_DIGITS]}")
        for catalog in dict.fromkeys(line.catalog for line in explained.lines if line.catalog):
            out.append(f"  catalog {catalog}")
        out.append(f"  worked out again in fractions from the charge and the tariff: the same {CHECK}")
    else:
        out.append(f"  {explained.outcome}: {explained.said}")
    return "\n".join(out)


def _head(explained: Explanation) -> list[str]:
    event = explained.event
    amount = f"{fixed_text(explained.paid)} {explained.currency}" if explained.lines else "NOTHING"
    at = explained.booked_at_us if event is None else event["occurred_at"]
    out = [f"WHY WAS {explained.payer} CHARGED {amount} AT {instant(at)}?   (charge {explained.name})"]
    if event is not None:
        creator = f", creator {event['creator']}" if event["creator"] else ""
        out.append(f"  {event['product']}: {event['meter']} of {event['item']}{creator}   event {event['event_id']}")
    if explained.before:
        again = instant(explained.recorded_at_us)
        out.append(f"  found no price when it came (as {explained.before}); redriven at {again}")
    if explained.late:
        out.append(f"  came late: booked at {instant(explained.booked_at_us)}")
    return out


def line_words(line: LineExplained, currency: str) -> list[str]:
    """One line of the charge: what was counted, what that costs, how it becomes whole nanos, who gets it."""
    out = [_title(line, currency)]
    rows = [_cells(item, line, currency) for item in line.pieces]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
    if line.step is not None and line.link == "rule":
        out += _priced(line)
    for count, border, price, nanos in rows:
        cells = [
            f"{count:>{widths[0]}}",
            f"{border:<{widths[1]}}",
            f"× {price:<{widths[2]}}" if price else "",
            f"= {nanos:>{widths[3]}}",
        ]
        out.append("    " + " ".join(cell for cell in cells if cell.strip()) + " nanos")
    out += _whole_nanos(line, currency)
    return out + _divided(line)


def _title(line: LineExplained, currency: str) -> str:
    variant = f" ({line.rule.variant})" if line.rule.variant else ""
    if line.link == "minimum":
        due = figures.money(line.rule.minimum_nanos, currency)
        begun = figures.money(line.charged_before, currency)
        said = f"rule {line.name} costs {due} at least{_since(line)}; {begun} was charged"
        return f"  {said}, of what is missing this is {figures.money(line.amount, currency)}"
    if line.link == "sharing":
        return f"  pass {line.name} is over{_since(line)}: {figures.money(line.amount, currency)} go to who was used"
    if line.link == "pass":
        listed = figures.money(line.quantity, currency)
        return f"  {listed} list price by pass {line.name}{_scope(line)}"
    used = figures.quantity(line.quantity, line.meter)
    begins = "" if line.starts_us is None else f" from {instant(line.starts_us)}"
    return f"  {used}{begins} by rule {line.name}{variant}{_scope(line)}"


def _since(line: LineExplained) -> str:
    return f" from {instant(line.scope_start_us)} to {instant(line.scope_end_us)}"


def _scope(line: LineExplained) -> str:
    kind = line.rule.scope
    if kind == "event":
        return ", each use by itself"
    before = figures.number(Fraction(line.quantity_before, 10**line.meter.scale))
    after = figures.number(Fraction(line.quantity_before + line.quantity, 10**line.meter.scale))
    per = f" per {', '.join(line.rule.per)}" if line.rule.per else ""
    if line.scope_end_us == NO_END or kind == "life":
        since = "so far"
    elif kind in ("session", "anchored"):
        named = "session" if kind == "session" else "period"
        since = f"this {named} ({instant(line.scope_start_us)} to {instant(line.scope_end_us)})"
    else:
        since = f"this {kind} ({instant(line.scope_start_us)[:10]})"
    return f"; {since}{per} {before} -> {after}"


def _priced(line: LineExplained) -> list[str]:
    """What of the quantity is priced, where that is not all of it."""
    rule, step, meter = line.rule, line.step, line.meter
    out = []
    if rule.price_from is not None:
        place = (
            f"catalog {line.catalog}" if rule.price_from.source == "catalog" else f"the use ({rule.price_from.name})"
        )
        out.append(f"    the price comes from {place}")
    why = _allowance(rule, meter)
    if step is None or not why:
        return out
    if rule.each is not None or (rule.free is not None and rule.free.events is not None):
        out.append(f"    priced: {figures.quantity(step.billable_after, meter)} ({why})")
        return out
    before, after = (figures.number(Fraction(b, 10**meter.scale)) for b in (step.billable_before, step.billable_after))
    return [*out, f"    priced: {before} -> {after} {figures.plural(meter.unit)} ({why})"]


def _allowance(rule: Rule, meter: Meter) -> str:
    parts = []
    if rule.free is not None:
        units = [] if rule.free.units is None else [figures.quantity(rule.free.units, meter)]
        uses = [] if rule.free.events is None else [f"{rule.free.events} uses"]
        parts.append(f"the first {' and '.join(units + uses)} free")
    if rule.rounding is not None:
        each = "each use " if rule.rounding.event else ""
        parts.append(f"{each}rounded {_ROUNDED[rule.rounding.mode]} to {figures.quantity(rule.rounding.step, meter)}")
    if rule.carry:
        parts.append("by started steps, paid for in advance")
    return ", ".join(parts)


def _cells(item: Piece | Extra, line: LineExplained, currency: str) -> tuple[str, str, str, str]:
    """Count, tier, price and nanos of one row."""
    if isinstance(item, Extra):
        return "", item.what, "", exact(item.nanos)
    scale = line.meter.scale
    count = figures.number(Fraction(item.quantity, 10**scale))
    lower = figures.number(Fraction(item.lower, 10**scale))
    if item.upper is None:
        border = f"above {lower}" if item.lower else ""
    else:
        upper = figures.number(Fraction(item.upper, 10**scale))
        border = f"above {lower} to {upper}" if item.lower else f"to {upper}"
    if line.link == "pass":
        return f"{count} {currency}", border, f"{figures.percent(item.price)} of the list price", exact(item.nanos)
    return count, border, figures.price(item.price, line.meter, currency), exact(item.nanos)


def _whole_nanos(line: LineExplained, currency: str) -> list[str]:
    """How the exact total becomes whole nanos, where that is not plain already."""
    out = []
    if line.step is not None:
        rule, total = line.rule, line.total_after
        over, cap = with_overage(rule, total), rule.cap_nanos
        if rule.overage is not None and over != total:
            factor, above = figures.number(rule.overage.factor), figures.amount(rule.overage.above / 10**9, currency)
            out.append(f"    exact total {exact(total)} nanos; what is above {above} × {factor}: {exact(over)} nanos")
        if cap is not None and int(over) > cap:
            out.append(f"    exact total {exact(over)} nanos, capped at {figures.money(cap, currency)}")
        elif rule.scope == "event" and line.amount == rule.minimum_nanos > int(over):
            out.append(f"    exact total {exact(over)} nanos, raised to {figures.money(rule.minimum_nanos, currency)}")
        elif line.step.nanos != line.amount:
            before = with_overage(rule, line.total_before)
            out.append(
                f"    exact total {exact(before)} -> {exact(over)} nanos; whole nanos "
                f"{int(over):,} less {line.charged_before:,} charged before = {line.amount:,}"
            )
    if line.amount < 0:
        out.append(f"    the whole costs less than was charged: {-line.amount:,} nanos are given back")
    if line.nothing:
        out.append(f"    {line.nothing}")
    return out


def _divided(line: LineExplained) -> list[str]:
    if line.pass_name:
        return [
            f"    list price {line.amount:,} nanos; what the payer pays for it is in the line of pass {line.pass_name}"
        ]
    if line.link == "pass":
        return [f"    paid {line.paid:,} nanos into {line.parts[0].account}, to be shared out when the pass ends"]
    divided = line.amount if line.link == "sharing" else line.paid
    name = line.rule.split if line.link == "rule" else "by the uses"
    out = [f"  split {name}   of {divided:,} nanos, {line.base_before:,} divided like this before"]
    widest = max(len(part.account) for part in line.parts)
    for part in reversed(line.parts):
        share = "rest" if part.rest else figures.percent(part.fraction)
        out.append(f"    {part.account:<{widest}}  {share:>6}  {part.nanos:>15,}")
    out.append(f"    {'sum':<{widest}}          {sum(part.nanos for part in line.parts):>15,} {CHECK}")
    return out


def exact(value: Fraction) -> str:
    """'322,200', '666,666 2/3': whole nanos and the fraction beyond them."""
    whole, rest = divmod(value, 1)
    return f"{whole:,} {rest}" if rest else f"{whole:,}"
