"""Golden vectors with a time of day: sessions in bands and steps, quantities in bands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from tests.golden.calculator import DAY, NONE, Table, clock, holds, number
from tests.golden.uses import Translation, Use
from tests.golden.words import (
    NotExpressible,
    decimal,
    decimals,
    endless,
    file_text,
    limit_lines,
    nanos,
    plainer,
    price_text,
    ratio,
    rule_text,
)

EPOCH = date(1970, 1, 1)


def sessions(tariff: Table, usage: Sequence[Any]) -> Translation:
    seconds = [number(u["seconds"]) for u in usage]
    whole = {"from": "00:00:00", "to": "24:00:00", "connect_fee": tariff.get("connect_fee", "0")}
    bands = tariff.get("bands") or [whole | {"slices": tariff["slices"]}]
    sizes = [number(s[name]) for b in bands for s in b["slices"] for name in ("from_seconds", "increment")]
    scale = max(map(decimals, [*seconds, *sizes]))
    connects = tariff.get("connect_fee_charged") != "no"
    lines = _bands(bands, lambda band: _steps(band, connects)) + limit_lines(tariff)
    at_start = tariff.get("band_choice") == "at_start"
    if "bands" in tariff:
        lines.append(f"crossing: {'start' if at_start else 'cut'}")
    rule = rule_text("r", "m", lines, "session, ends_after: 7d idle", per="payer, session")
    uses = [Use(f"p{n}", s, start=u["start"], seconds=s) for n, (u, s) in enumerate(zip(usage, seconds, strict=True))]
    return Translation(file_text("second", scale, [rule], "session"), tuple(uses), "own", scale, not at_start)


def _steps(band: Table, connects: bool) -> list[str]:
    slices = sorted(band["slices"], key=lambda part: number(part["from_seconds"]))
    borders = [f"to {decimal(number(part['from_seconds']))}" for part in slices[1:]] + ["above"]
    prices = [
        f"{border}: {decimal(price * endless(price))} per {decimal(number(part['per']) * endless(price))} seconds"
        f" by {decimal(number(part['increment']))} seconds"
        for border, part in zip(borders, slices, strict=True)
        for price in [number(part["unit_price"])]
    ]
    fee = number(band.get("connect_fee", "0")) if connects else NONE
    return ["steps: {" + ", ".join(prices) + "}"] + ([f"connect: {decimal(fee)}"] if fee else [])


def windows(tariff: Table, usage: Sequence[Any]) -> Translation:
    quantities = [number(u["quantity"]) for u in usage]
    if any(q < 0 for q in quantities):
        raise NotExpressible("a quantity below zero in a band of time")
    scale = max(map(decimals, quantities))
    rule = rule_text("r", "m", _bands(tariff["bands"], _window), "event")
    uses = tuple(Use(f"p{n}", q, start=usage[n]["start"]) for n, q in enumerate(quantities))
    return Translation(file_text("unit", scale, [rule]), uses, "own", scale, choppable=False)


def _window(band: Table) -> list[str]:
    band = plainer(band)
    lines = [f"price: {price_text(number(band['unit_price']))}"]
    least, factor = number(band.get("min", "0")), number(band.get("overage_factor", "1"))
    due = band.get("min_due") == "yes"
    if "min" in band and factor != 1:
        lines.append(
            f"commitment: {{amount: {ratio(least)}, overage: {ratio(factor)}, due: {'at end' if due else 'never'}}}"
        )
    elif least and due:
        lines.append(f"minimum: {nanos(least)}")
    return lines


def _bands(bands: Sequence[Table], body: Callable[[Table], list[str]]) -> list[str]:
    """The bands by priority; one that holds always ends the list."""
    ordered = living(sorted(bands, key=lambda band: -number(band.get("priority", "0"))))
    whole = [
        place
        for place, band in enumerate(ordered)
        if (band["from"], band["to"]) == ("00:00:00", "24:00:00") and "weekdays" not in band and "dates" not in band
    ]
    last = whole[0] if whole else len(ordered)
    if last == 0:
        return body(ordered[0])
    lines = ["bands:"]
    for place, band in enumerate(ordered[: last + 1]):
        if band["from"] == band["to"]:
            continue
        if place == last:
            return [*lines, "  - otherwise:", *(f"      {line}" for line in body(band))]
        first, *others = _when(band, place) + body(band)
        lines += [f"  - {first}", *(f"    {line}" for line in others)]
    return lines


def living(bands: Sequence[Table]) -> list[Table]:
    """Those of the bands, the first before the others, to which the ones before leave any time. Tried at all times of
    day when one begins or ends, on each weekday, on each day that has a name and on the one after it."""
    named = {date for band in bands for date in band.get("dates", ())}
    days = [EPOCH + timedelta(days=n) for n in range(28 * 366)]
    near = [day for day in days if {f"{day:%m-%d}", f"{day - timedelta(days=1):%m-%d}"} & named]
    times = sorted({clock(band[name]) % DAY for band in bands for name in ("from", "to")})
    alive = set()
    for day in [*days[:14], *days[180:194], *near]:
        for time in times:
            at = Fraction((day - EPOCH).days * DAY + time)
            alive.add(next((place for place, band in enumerate(bands) if holds(band, at)), -1))
    return [band for place, band in enumerate(bands) if place in alive]


def _when(band: Table, place: int) -> list[str]:
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    lines = [f"name: b{place}", f'from: "{band["from"]}"', f'to: "{band["to"]}"']
    if "weekdays" in band:
        lines.append(f"days: [{', '.join(days[int(day) - 1] for day in band['weekdays'])}]")
    if "dates" in band:
        lines.append(f"dates: [{', '.join(band['dates'])}]")
    return lines
