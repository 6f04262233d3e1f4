"""The words of tariff files that say what golden vectors say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from tests.golden.calculator import NONE, Table, number

# What a tariff says in money.
MONEY = frozenset({
    "unit_price", "package_price", "flat_fee", "rate_percent", "fixed_fee", "connect_fee", "min", "max",
    "min_per_event", "max_per_event",
})  # fmt: skip


class NotExpressible(Exception):
    """The language has no words for what the vector says."""


def scaled(value: Any, factor: Fraction) -> Any:
    """A vector, or a part of it, with its prices times the factor."""
    if isinstance(value, Mapping):
        return {k: str(number(v) * factor) if k in MONEY else scaled(v, factor) for k, v in value.items()}
    return [scaled(item, factor) for item in value] if isinstance(value, list) else value


def plainer(tariff: Table) -> Table:
    """The same tariff without caps of nothing (a nano is the least there is) and commitments to nothing, which have no
    words: with a cap of nothing all is free, beyond a commitment to nothing all is multiplied."""
    least = number(tariff.get("min", "0")) * number(tariff.get("min_prorate", "1"))
    if "overage_factor" in tariff and "min" in tariff and least == 0:
        factor = number(tariff["overage_factor"])
        tariff = {k: v for k, v in scaled(tariff, factor).items() if k != "overage_factor"}
    most, caps = number(tariff.get("max", "1")), tariff.get("max_strategy", "cap") in ("cap", "free")
    if caps and (most == 0 or (most < Fraction(1, 10**9) and least <= most)):
        tariff = {k: v for k, v in (scaled(tariff, NONE) | committed(tariff)).items() if k != "max"}
    return tariff


def committed(tariff: Table) -> Table:
    """What the tariff says of a commitment."""
    return {k: v for k, v in tariff.items() if k == "min"}


def decimal(value: Fraction) -> str:
    """Digits with a decimal point. Raises NotExpressible where they do not end."""
    places = decimals(value)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    text = digits if places == 0 else f"{digits[:-places]}.{digits[-places:]}"
    return f"-{text}" if value < 0 else text


def decimals(value: Fraction) -> int:
    """Decimal places of an exact number."""
    rest, places = value.denominator, 0
    while rest % 10 == 0:
        rest, places = rest // 10, places + 1
    while rest % 2 == 0 or rest % 5 == 0:
        rest, places = rest // (2 if rest % 2 == 0 else 5), places + 1
    if rest != 1:
        raise NotExpressible(f"{value} has no end as a decimal number")
    return places


def ratio(value: Fraction) -> str:
    """Digits, over a whole number where they would not end: '137.8/31'."""
    parts = endless(value)
    return decimal(value) if parts == 1 else f"{decimal(value * parts)}/{parts}"


def endless(value: Fraction) -> int:
    """The least whole number of times that a number has an end as a decimal one."""
    parts = value.denominator
    for prime in (2, 5):
        while parts % prime == 0:
            parts //= prime
    return parts


def nanos(value: Fraction) -> str:
    """An amount in whole nanos, what is below a nano dropped."""
    return decimal(Fraction(value * 10**9 // 1, 10**9))


def tier_text(tier: Table) -> str:
    fee = number(tier["flat_fee"])
    if "rate_percent" in tier and "package_size" not in tier and endless(number(tier["rate_percent"])) == 1:
        rate = f"{decimal(number(tier['rate_percent']))}%"
        return f"{decimal(fee)} flat + {rate}" if fee else rate
    step = number(tier["package_size"]) if "package_size" in tier else None
    price = number(tier["rate_percent"]) / 100 if "rate_percent" in tier else number(tier["unit_price"])
    return price_text(price, fee=fee, step=step)


def price_text(price: Fraction, fee: Fraction = NONE, step: Fraction | None = None) -> str:
    """'5 flat + 0.10 per 1', 'free', '1 per started 1000'; a price without end is one of several units."""
    term = ""
    units = endless(price)
    if price and step is not None and units == 1:
        term = f"{decimal(price)} per started {decimal(step)}"
    elif price and step is not None:
        term = f"{decimal(price * units)} per {decimal(step * units)} by {decimal(step)}"
    elif price:
        term = f"{decimal(price * units)} per {units}"
    parts = [f"{decimal(fee)} flat"] * bool(fee) + [term] * bool(term)
    return " + ".join(parts) or "free"


def limit_lines(tariff: Table) -> list[str]:
    """Cap and commitment. Here a cap bounds what is charged; in a vector it bounds what the overage is reckoned of."""
    least = number(tariff["min"]) * number(tariff.get("min_prorate", "1")) if "min" in tariff else NONE
    factor = number(tariff.get("overage_factor", "1")) if "min" in tariff else Fraction(1)
    most = number(tariff["max"]) if "max" in tariff and tariff.get("max_strategy", "cap") in ("cap", "free") else None
    if most is not None and most <= least:  # nothing but the commitment is ever due
        return [f"minimum: {nanos(least)}", f"cap: {nanos(least)}"]
    lines = []
    if factor != 1:
        lines.append(f"commitment: {{amount: {ratio(least)}, overage: {ratio(factor)}, due: at end}}")
    elif least:
        lines.append(f"minimum: {nanos(least)}")
    if most is not None and factor:  # without a price for what is above, nothing is
        if factor != 1:
            most = least + (most - least) * factor
        lines.append(f"cap: {nanos(most)}")
    return lines


def rule_text(name: str, meter: str, lines: Sequence[str], over: str, per: str = "payer") -> str:
    """One rule, indented by nothing."""
    body = [f"when: {{meter: {meter}}}", *(one for line in lines for one in line.splitlines())]
    body += [f"count: {{per: [{per}], over: {over}}}", "split: all"]
    return "\n".join([f"- rule: {name}", *(f"  {line}" for line in body)])


def file_text(
    unit: str, scale: int, rules: Sequence[str], needs: str = "", backwards: bool = False, split: str = ""
) -> str:
    """The rules in a tariff file with the meter m (and b of what is given back)."""
    meter = f"{{unit: {unit}, scale: {scale}{f', needs: {needs}' if needs else ''}}}"
    meters = f"  m: {meter}\n" + (f"  b: {meter}\n" if backwards else "")
    return (
        "tariff: golden\nversion: 1\neffective_from: 2000-01-01T00:00:00Z\ncurrency: USD\n"
        f"meters:\n{meters}{split or 'splits: {all: {creator: rest}}'}\nrules:\n" + "\n".join(rules) + "\n"
    )
