"""A golden vector as a tariff file and uses.

Every number of the vector goes into the tariff as it stands; nothing is priced here. Three ways to count:

* `shared`: all entries are uses of one payer in one scope, so each pays the difference of running totals.
* `own`: each entry is priced alone, so each has a payer of its own.
* `levels`: each running total is priced alone and an entry's amount is the difference to the one before. A use is never
  negative here: what a source takes back is the difference of two totals. So is a minimum that grows with each entry.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil
from typing import Any

from tests.golden import timetables
from tests.golden.calculator import NONE, Table, number, stepped
from tests.golden.uses import Translation, Use
from tests.golden.words import (
    NotExpressible,
    decimal,
    decimals,
    file_text,
    limit_lines,
    plainer,
    price_text,
    rule_text,
    tier_text,
)

TIERED = ("graduated", "graduated_percentage", "volume")
SWAPPED = {"up": "down", "down": "up"}


def translate(vector: Table) -> Translation:
    """The vector's tariff and uses. Raises NotExpressible."""
    tariff, usage = vector["tariff"], vector["usage"]
    first = usage[0] if usage else None
    if isinstance(first, Mapping) and "seconds" in first:
        return timetables.sessions(plainer(tariff), usage)
    if isinstance(first, Mapping) and "start" in first:
        return timetables.windows(tariff, usage)
    if vector["model"] == "percentage":
        return _percentages(tariff, usage)
    return _quantities(plainer(tariff), tariff.get("base_model", vector["model"]), usage)


# ---- quantities ----


def _quantities(tariff: Table, model: str, usage: Sequence[Any]) -> Translation:
    how = tariff.get("accumulate", "total")
    quantities = [number(u["quantity"] if isinstance(u, Mapping) else u) for u in usage]
    if not usage and how == "total":
        quantities = [NONE]
    if how not in ("total", "running", "each"):
        raise NotExpressible(f"accumulate: {how}")
    chooses = None
    if len(usage) == 1 and isinstance(usage[0], Mapping) and how == "total" and model == "volume" and "tiers" in tariff:
        chooses = usage[0].get("tier_quantity")
    negative = any(q < 0 for q in quantities)
    nothing = _fee_of_nothing(tariff, model)
    if how == "total" and (negative or nothing):
        quantities = [sum(quantities, NONE)]
    if how == "running" and (negative or nothing or "min" in tariff):
        way = "levels"
        quantities = [sum(quantities[: n + 1], NONE) for n in range(len(quantities))]
    else:
        way = (
            "own" if how == "each" or chooses is not None or nothing or any(q < 0 for q in quantities[:1]) else "shared"
        )
    uses = [_use(tariff, model, q, "p" if way == "shared" else f"p{n}") for n, q in enumerate(quantities)]
    if chooses is not None:
        uses = [Use("p0", uses[0].quantity, chooses=number(chooses))]
    words = _Words(tariff, model, [q for use in uses for q in (use.quantity, use.chooses or NONE)])
    over = "event" if way == "own" else "month"
    if chooses is not None:
        words.lines.append("tier_by: tier_quantity")
    rules = [words.rule("r", "m", over)]
    if nothing:
        if chooses is not None:
            raise NotExpressible("a fee for usage of nothing in a tier that another quantity chooses")
        lines = [f"price: {nothing}", "zero_usage: fee", *limit_lines(tariff)]
        rules.insert(0, rule_text("nothing", f"m, quantity: to {_unbilled(tariff, words.scale)}", lines, over))
    if any(use.back for use in uses):
        back, back_model = mirrored(tariff, model)
        rules.append(_Words(back, back_model, [], words.scale).rule("back", "b", over))
    text = file_text(words.unit, words.scale, rules, backwards=len(rules) > 1)
    return Translation(text, tuple(uses), way, words.scale, choppable=way != "own" and not negative)


def _fee_of_nothing(tariff: Table, model: str) -> str:
    """The fee of a first tier up to 0, which is due for usage of nothing and no other; '' where there is none."""
    first = tariff["tiers"][0] if "tiers" in tariff and model in TIERED else {"up_to": None}
    if first["up_to"] is None or number(first["up_to"]) > 0 or tariff.get("zero_usage_flat_fee") != "first_tier":
        return ""
    fee = number(first["flat_fee"])
    return price_text(NONE, fee=fee) if fee else ""


def _unbilled(tariff: Table, scale: int) -> str:
    """The greatest quantity of which nothing is billed: the allowance, and what is rounded away."""
    free, step = number(tariff.get("free_units", "0")), number(tariff.get("increment", "0"))
    mode = tariff.get("increment_rounding", "up") if step else "none"
    late = tariff.get("free_applies") == "after_increment"

    def billed(quantity: Fraction) -> bool:
        rest = quantity if late else max(NONE, quantity - free)
        rest = stepped(rest, step, mode)
        return rest > (free if late else 0)

    unit = Fraction(1, 10**scale)
    most = bisect_left(range(int((free + 2 * step) / unit) + 2), True, key=lambda n: billed(n * unit))
    return decimal((most - 1) * unit)


def _use(tariff: Table, model: str, quantity: Fraction, payer: str) -> Use:
    """The use of a quantity. One below zero gives back what its opposite would have cost; with an allowance it is one
    of zero."""
    if quantity >= 0:
        return Use(payer, quantity)
    if "free_units" in tariff and (model != "percentage" or tariff.get("free_applies") == "after_increment"):
        return Use(payer, NONE)
    return Use(payer, -quantity, sign=1 if "min" in tariff else -1, back=True)


def mirrored(tariff: Table, model: str) -> tuple[dict[str, Any], str]:
    """The tariff for what is given back: rounding up takes off as much as rounding down adds. It reaches no second tier
    and no cap. Nothing is given back under a minimum, which is due all the same, nor in tiers, which begin at zero."""
    back: dict[str, Any] = {k: v for k, v in tariff.items() if k not in ("max", "tiers", "block_tiers")}
    if model == "volume" and "tiers" in tariff and number(tariff["tiers"][0]["flat_fee"]):
        raise NotExpressible("a quantity below zero in a tier with a flat fee")
    if "min" in tariff or (model.startswith("graduated") and "block_tiers" not in tariff):
        return back | {"unit_price": "0"}, "flat"
    if "increment" in back:
        mode = back.get("increment_rounding", "up")
        back["increment_rounding"] = SWAPPED.get(mode, mode)
    first = tariff.get("block_tiers", tariff.get("tiers", [{}]))[0]
    if model == "package":
        mode = back.get("package_rounding", "up")
        return back | {"package_rounding": SWAPPED.get(mode, mode)}, model
    if "package_size" in first:
        price = first.get("package_price", first.get("unit_price"))
        back |= {"package_size": first["package_size"], "package_price": price, "package_rounding": "down"}
        return back, "package"
    if "tiers" in tariff:
        return back | {"unit_price": first["unit_price"]}, "flat"
    return back, model


class _Words:
    """The words for one tariff: its price, then `lines` for what else it says."""

    def __init__(self, tariff: Table, model: str, quantities: Sequence[Fraction], scale: int | None = None) -> None:
        self.tariff, self.model = tariff, model
        percent = model in ("percentage", "graduated_percentage")
        self.unit = "USD" if percent else "unit"
        self.lines: list[str] = []
        sizes = [number(tariff[name]) for name in ("increment", "free_units", "package_size") if name in tariff]
        sizes += [number(t[name]) for t in _tiers(tariff) for name in ("up_to", "package_size") if t.get(name)]
        if model == "package" and tariff.get("package_rounding") == "half_up":
            sizes.append(number(tariff["package_size"]) / 2)
        self.scale = max(map(decimals, [*sizes, *quantities]), default=0) if scale is None else scale

    def value(self, name: str, otherwise: str = "0") -> Fraction:
        return number(self.tariff.get(name, otherwise))

    def rule(self, name: str, meter: str, over: str) -> str:
        return rule_text(name, meter, [self.price(), *self.allowance(), *limit_lines(self.tariff), *self.lines], over)

    def price(self) -> str:
        match self.model:
            case "flat" | "increment":
                return f"price: {price_text(self.value('unit_price') / self.value('per', '1'))}"
            case "percentage":
                return f"price: {tier_text({'rate_percent': self.tariff['rate_percent'], 'flat_fee': '0'})}"
            case "package":
                return self.packages()
            case "volume":
                return f"volume: {self.tiers(volume=True)}\nreprice: down{self.zero_usage()}"
            case "graduated" | "graduated_percentage":
                return f"graduated: {self.tiers(volume=False)}{self.zero_usage()}"
        raise NotExpressible(f"model {self.model}")

    def zero_usage(self) -> str:
        if self.tariff.get("zero_usage_flat_fee") != "first_tier" or "block_tiers" in self.tariff:
            return ""
        first = self.tariff["tiers"][0]
        dead = first["up_to"] is not None and number(first["up_to"]) <= 0  # told by a rule for usage of nothing
        return "\nzero_usage: fee" if number(first["flat_fee"]) and not dead else ""

    def packages(self) -> str:
        """Started packages; whole or nearest ones start late: the first begins where it counts."""
        size, price = self.value("package_size"), self.value("package_price")
        mode = self.tariff.get("package_rounding", "up")
        if mode == "none":
            return f"price: {price_text(price / size)}"
        started = price_text(price, step=size)
        if mode == "up":
            return f"price: {started}"
        counts_at = size if mode == "down" else ceil(size / 2 * 10**self.scale) / Fraction(10**self.scale)
        late = counts_at - Fraction(1, 10**self.scale)
        if late == 0:
            return f"price: {started}"
        return f"graduated: {{to {decimal(late)}: free, above: {started}}}"

    def tiers(self, volume: bool) -> str:
        entries: list[str] = []
        low, text, alive = NONE, "", False
        for tier in _tiers(self.tariff):
            high, text = None if tier["up_to"] is None else number(tier["up_to"]), tier_text(tier)
            alive = high is None or high > low
            if not alive:
                continue
            entries.append(f"{'above' if high is None else f'to {decimal(high)}'}: {text}")
            if high is None:
                return "{" + ", ".join(entries) + "}"
            low = high
        if volume:
            entries = [*(entries[:-1] if alive else entries), f"above: {text}"]
        else:
            entries.append("above: free")
        return "{" + ", ".join(entries) + "}"

    def allowance(self) -> list[str]:
        """Free units and rounding, in the order in which the vector has them."""
        lines = []
        mode = self.tariff.get("increment_rounding", "up") if "increment" in self.tariff else "none"
        if mode != "none":
            lines.append(f"round: {mode} to {decimal(self.value('increment'))}")
        units, late = self.value("free_units"), self.tariff.get("free_applies") == "after_increment"
        if units and (late or self.model != "percentage"):
            after = ", after: rounding" if late and lines else ""
            lines.append(f"free: {{units: {decimal(units)}{after}}}")
        return lines


def _tiers(tariff: Table) -> list[Table]:
    """Tiers with upper borders; blocks have as many packages as they say."""
    if "block_tiers" not in tariff:
        return list(tariff.get("tiers", ()))
    out: list[Table] = []
    low = NONE
    for block in tariff["block_tiers"]:
        size, most = block["package_size"], block["max_packages"]
        low += NONE if most is None else number(most) * number(size)
        tier = {"up_to": None if most is None else str(low), "unit_price": block["package_price"], "flat_fee": "0"}
        out.append(tier | {"package_size": size})
    return out


# ---- percentages, use by use ----


def _percentages(tariff: Table, usage: Sequence[str]) -> Translation:
    amounts = [number(u) for u in usage]
    negative = any(amount < 0 for amount in amounts)
    bounds = {"fee": "fixed_fee", "at_least": "min_per_event", "at_most": "max_per_event"}
    each = {word: number(tariff[name]) for word, name in bounds.items() if name in tariff}
    if "at_most" in each and "at_least" in each:
        each["at_least"] = min(each["at_least"], each["at_most"])
    if not each.get("fee"):
        each.pop("fee", None)
    uses = ceil(number(tariff["free_events"])) if "free_events" in tariff else None
    units = number(tariff["free_units"]) if "free_units" in tariff else None
    lines = [f"price: {decimal(number(tariff['rate_percent']))}%"]
    if each:
        lines.append("each: {" + ", ".join(f"{word}: {decimal(amount)}" for word, amount in each.items()) + "}")
    allowed = (uses, units) != (None, None) and uses != 0 and units != 0
    if allowed:
        free = [] if units is None else [f"units: {decimal(units)}"]
        free += [] if uses is None else [f"events: {uses}"]
        lines.append("free: {" + ", ".join([*free, *(["fee: when reached"] if each else [])]) + "}")
    if negative and len(lines) > 1:
        raise NotExpressible("fees, limits or an allowance of amounts below zero")
    scale = max(map(decimals, [*amounts, units or NONE]), default=0)
    text = file_text("USD", scale, [rule_text("r", "m", lines, "month")])
    if negative:  # each amount for itself: what is below zero gives back what its opposite would have cost
        alone = tuple(Use(f"p{n}", abs(a), sign=-1 if a < 0 else 1) for n, a in enumerate(amounts))
        return Translation(text, alone, "own", scale, choppable=True)
    one_by_one = bool(each) or (allowed and uses is not None)
    return Translation(text, tuple(Use("p", a) for a in amounts), "shared", scale, choppable=not one_by_one)
