"""What a vector's tariff comes to in plain fractions: an independent reading of the vectors' format, with and without
the quirks of their sources. It knows nothing of tariff files, events, scopes or nanos.

Amounts and quantities are Fractions in the vector's own units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from math import ceil, floor
from typing import Any

Table = Mapping[str, Any]
NONE = Fraction(0)
DAY = 86400

# What a source does on top of the exact price; each can be switched off.
ROUNDING = "money rounding"
INCREMENT_COST = "rounded price of one increment"
ZERO_TOTAL = "fixed fee dropped where the sum is zero"
QUIRKS = frozenset({ROUNDING, INCREMENT_COST, ZERO_TOTAL})


class NotComputable(Exception):
    """The vector says something that this reading of the format has no meaning for."""


@dataclass(frozen=True)
class Figures:
    """Amount of all usage, and of each entry where entries have amounts of their own."""

    total: Fraction
    per: tuple[Fraction, ...] | None = None


def number(value: object) -> Fraction:
    """'1.5', '12%', '2/3'."""
    text = str(value).strip()
    return Fraction(text[:-1]) / 100 if text.endswith("%") else Fraction(text)


def rounded(value: Fraction, mode: str) -> int:
    """A whole number: up to +infinity, down to -infinity, half_up with ties away from zero."""
    match mode:
        case "up":
            return ceil(value)
        case "down":
            return floor(value)
        case "half_up":
            return floor(value + Fraction(1, 2)) if value >= 0 else ceil(value - Fraction(1, 2))
    raise NotComputable(f"rounding {mode!r}")


def to_decimals(value: Fraction, mode: str, decimals: int) -> Fraction:
    """Rounded to decimal places, which may be fewer than none."""
    unit = Fraction(10) ** -decimals
    return value if mode == "none" else rounded(value / unit, mode) * unit


def stepped(quantity: Fraction, step: Fraction, mode: str) -> Fraction:
    """A multiple of the step."""
    return quantity if mode == "none" else rounded(quantity / step, mode) * step


def calculate(vector: Table, quirks: frozenset[str] = QUIRKS) -> Figures:
    """The amounts of a vector other than of a split, with the source's quirks as far as `quirks` names them."""
    return _Reading(vector["tariff"], vector["model"], quirks).figures(vector["usage"])


class _Reading:
    def __init__(self, tariff: Table, model: str, quirks: frozenset[str]) -> None:
        self.tariff, self.model, self.quirks = tariff, model, quirks

    def value(self, name: str, otherwise: str = "0") -> Fraction:
        return number(self.tariff.get(name, otherwise))

    def money(self, amount: Fraction, scope: str) -> Fraction:
        rounding = self.tariff.get("rounding")
        if rounding is None or rounding["scope"] != scope or ROUNDING not in self.quirks:
            return amount
        return to_decimals(amount, rounding["mode"], int(rounding["decimals"]))

    def figures(self, usage: Sequence[Any]) -> Figures:
        first = usage[0] if usage else None
        if isinstance(first, Mapping) and "seconds" in first:
            return self.of_each([self.limited(self.session(number(u["seconds"]), u["start"])) for u in usage])
        if isinstance(first, Mapping) and "start" in first:
            amounts = [self.window(number(u["quantity"]), u["start"]) for u in usage]
            return Figures(sum(amounts, NONE), tuple(amounts))
        if self.model == "percentage":
            return self.of_each(self.events([number(u) for u in usage]))
        quantities = [number(u["quantity"] if isinstance(u, Mapping) else u) for u in usage]
        match self.tariff.get("accumulate", "total"):
            case "total":
                alone = first if len(usage) == 1 and isinstance(first, Mapping) else {}
                chooses = number(alone["tier_quantity"]) if "tier_quantity" in alone else None
                return Figures(self.money(self.price(sum(quantities, NONE), chooses), "total"))
            case "each":
                return self.of_each([self.money(self.price(q), "each") for q in quantities])
            case "running":
                return self.of_running(quantities)
        raise NotComputable(f"accumulate {self.tariff['accumulate']!r}")

    def of_each(self, amounts: Sequence[Fraction]) -> Figures:
        return Figures(self.money(sum(amounts, NONE), "total"), tuple(amounts) or None)

    def of_running(self, quantities: Sequence[Fraction]) -> Figures:
        levels = [self.money(self.price(sum(quantities[: n + 1], NONE)), "running") for n in range(len(quantities))]
        steps = [level - before for level, before in zip(levels, [NONE, *levels], strict=False)]
        return Figures(sum(steps, NONE), tuple(steps) or None)

    # ---- one cumulated quantity ----

    def price(self, quantity: Fraction, chooses: Fraction | None = None) -> Fraction:
        """Price of a cumulated quantity; `chooses`: the quantity that chooses the volume tier."""
        model = self.tariff.get("base_model", self.model)
        late = self.tariff.get("free_applies") == "after_increment"
        free = self.value("free_units") if "free_units" in self.tariff else None
        if free is not None and not late and model != "percentage":
            quantity = max(NONE, quantity - free)
        if "increment" in self.tariff:
            quantity = stepped(quantity, self.value("increment"), self.tariff.get("increment_rounding", "up"))
        if free is not None and late:
            quantity = max(NONE, quantity - free)
        return self.limited(self.base(model, quantity, chooses))

    def base(self, model: str, quantity: Fraction, chooses: Fraction | None) -> Fraction:
        blocks = "block_tiers" in self.tariff
        match model:
            case "flat" | "increment":
                return quantity * self.value("unit_price") / self.value("per", "1")
            case "percentage":
                return quantity * self.value("rate_percent") / 100
            case "package":
                size, mode = self.value("package_size"), self.tariff.get("package_rounding", "up")
                return stepped(quantity, size, mode) / size * self.value("package_price")
            case "graduated" | "graduated_percentage":
                return self.blocks_in_turn(quantity) if blocks else self.graduated(quantity)
            case "volume":
                return self.blocks_of_one(quantity) if blocks else self.volume(quantity, chooses)
        raise NotComputable(f"model {model!r}")

    def limited(self, amount: Fraction) -> Fraction:
        """The cap, then the commitment."""
        if "max" in self.tariff and self.tariff.get("max_strategy", "cap") in ("cap", "free"):
            amount = min(amount, self.value("max"))
        if "min" not in self.tariff:
            return amount
        least = self.value("min") * self.value("min_prorate", "1")
        return max(amount, least) + max(NONE, amount - least) * (self.value("overage_factor", "1") - 1)

    def tiers(self) -> Iterator[tuple[Fraction, Fraction | None, Table]]:
        """Lower border (exclusive), upper border (inclusive, None: open) and the tier."""
        low = NONE
        for tier in self.tariff["tiers"]:
            high = None if tier["up_to"] is None else number(tier["up_to"])
            yield low, high, tier
            low = low if high is None else high

    def in_tier(self, tier: Table, width: Fraction) -> Fraction:
        """Price of a part of the quantity in a tier, without the tier's fee."""
        price = number(tier["rate_percent"]) / 100 if "rate_percent" in tier else number(tier["unit_price"])
        if "package_size" in tier:
            return ceil(width / number(tier["package_size"])) * price
        return width * price

    def graduated(self, quantity: Fraction) -> Fraction:
        if quantity == 0:
            due = self.tariff.get("zero_usage_flat_fee") == "first_tier"
            return number(self.tariff["tiers"][0]["flat_fee"]) if due else NONE
        total = NONE
        for low, high, tier in self.tiers():
            width = (quantity if high is None else min(quantity, high)) - low
            if width > 0:
                total += number(tier["flat_fee"]) + self.in_tier(tier, width)
        return total

    def volume(self, quantity: Fraction, chooses: Fraction | None) -> Fraction:
        chosen = self.tariff["tiers"][-1]
        for _, high, tier in self.tiers():
            if high is None or (quantity if chooses is None else chooses) <= high:
                chosen = tier
                break
        due = quantity != 0 or self.tariff.get("zero_usage_flat_fee") == "first_tier"
        return (number(chosen["flat_fee"]) if due else NONE) + self.in_tier(chosen, quantity)

    def blocks(self) -> Iterator[tuple[Fraction, Fraction | None, Fraction, Fraction]]:
        """Lower border, upper border (None: open), size and price of a block."""
        low = NONE
        for block in self.tariff["block_tiers"]:
            size, most = number(block["package_size"]), block["max_packages"]
            high = None if most is None else low + number(most) * size
            yield low, high, size, number(block["package_price"])
            low = low if high is None else high

    def blocks_in_turn(self, quantity: Fraction) -> Fraction:
        total, last = NONE, NONE
        for low, high, size, price in self.blocks():
            inside = (quantity if high is None else min(quantity, high)) - low
            if inside > 0 or (low == 0 and inside < 0):
                total += ceil(inside / size) * price
            last = quantity if high is None else high
        if quantity > last and self.tariff.get("beyond_last_tier") != "dropped":
            raise NotComputable("usage beyond the last blocks")
        return total

    def blocks_of_one(self, quantity: Fraction) -> Fraction:
        blocks = list(self.blocks())
        _, _, size, price = next((b for b in blocks if b[1] is None or quantity <= b[1]), blocks[-1])
        return ceil(quantity / size) * price

    # ---- percentages, use by use ----

    def events(self, amounts: Sequence[Fraction]) -> list[Fraction]:
        rate, fixed = self.value("rate_percent") / 100, self.value("fixed_fee")
        uses = ceil(self.value("free_events")) if "free_events" in self.tariff else None
        units = self.value("free_units") if "free_units" in self.tariff else None
        nothing_free = uses is None and units is None
        out = []
        for place, amount in enumerate(amounts):
            before = sum(amounts[:place], NONE)
            counts = not nothing_free and (uses is None or place < uses)
            if counts and (units is None or before + amount < units):
                out.append(NONE)
                continue
            free = min(amount, max(NONE, units - before)) if counts and units is not None else NONE
            due = (amount - free) * rate + fixed
            due = max(due, self.value("min_per_event")) if "min_per_event" in self.tariff else due
            out.append(min(due, self.value("max_per_event")) if "max_per_event" in self.tariff else due)
        if self.tariff.get("fixed_fee_when_total_zero") == "none" and ZERO_TOTAL in self.quirks and sum(amounts) == 0:
            return [due - fixed for due in out]
        return out

    # ---- time of day ----

    def bands(self) -> list[Table]:
        """By priority, the first listed before others of the same."""
        whole = {"from": "00:00:00", "to": "24:00:00", "connect_fee": self.tariff.get("connect_fee", "0")}
        bands = self.tariff.get("bands") or [whole | {"slices": self.tariff.get("slices")}]
        return sorted(bands, key=lambda band: -number(band.get("priority", "0")))

    def band_at(self, at: Fraction) -> Table:
        for band in self.bands():
            if holds(band, at):
                return band
        raise NotComputable("a time in no band")

    def next_border(self, at: Fraction) -> Fraction:
        """The next instant at which a band may begin or end."""
        day = at // DAY
        times = {clock(band[name]) for band in self.bands() for name in ("from", "to")} | {DAY}
        return min(Fraction(day * DAY + time) for time in times if day * DAY + time > at)

    def session(self, seconds: Fraction, start: str) -> Fraction:
        """Price of a session: each band and slice by started increments; what one has beyond its end eats the next."""
        if seconds == 0:
            return NONE
        begin = _instant(start)
        first = self.band_at(begin)
        total = NONE if self.tariff.get("connect_fee_charged") == "no" else number(first.get("connect_fee", "0"))
        at = NONE
        while at < seconds:
            stays = self.tariff.get("band_choice") == "at_start"
            band = first if stays else self.band_at(begin + at)
            ends = [seconds] if stays else [seconds, self.next_border(begin + at) - begin]
            slices = sorted(band["slices"], key=lambda part: number(part["from_seconds"]))
            ends += [number(part["from_seconds"]) for part in slices if number(part["from_seconds"]) > at]
            current = [part for part in slices if number(part["from_seconds"]) <= at][-1]
            increment = number(current["increment"])
            count = ceil((min(ends) - at) / increment)
            cost = number(current["unit_price"]) * increment / number(current["per"])
            if "increment_cost_decimals" in self.tariff and INCREMENT_COST in self.quirks:
                cost = to_decimals(cost, "half_up", int(self.tariff["increment_cost_decimals"]))
            total += count * cost
            at += count * increment
        return total

    def window(self, quantity: Fraction, start: str) -> Fraction:
        """Price of a quantity in the band of its time, with the band's own commitment."""
        band = self.band_at(_instant(start))
        base = quantity * number(band["unit_price"])
        if "min" not in band:
            return base
        least = number(band["min"])
        if base < least:
            return least if band.get("min_due") == "yes" else base
        return least + (base - least) * number(band.get("overage_factor", "1"))


def clock(text: str) -> int:
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return hours * 3600 + minutes * 60 + seconds


def _instant(text: str) -> Fraction:
    return Fraction(int(datetime.fromisoformat(text).astimezone(UTC).timestamp()))


def holds(band: Table, at: Fraction) -> bool:
    """Whether a band holds at an instant; what is after midnight belongs to the day on which the band began."""
    begin, end = clock(band["from"]), clock(band["to"])
    day, time = at // DAY, at % DAY
    if begin > end and time < end:
        day, inside = day - 1, True
    else:
        inside = time >= begin if begin > end else begin <= time < end
    when = date.fromordinal(date(1970, 1, 1).toordinal() + day)
    weekdays, dates = band.get("weekdays"), band.get("dates")
    return (
        inside
        and (weekdays is None or str(when.isoweekday()) in weekdays)
        and (dates is None or f"{when:%m-%d}" in dates)
    )


# ---- splits ----


def exact_shares(tariff: Table, total: Fraction) -> list[Fraction]:
    """What each leaf of a split would get if money were divisible; a capped leaf whose excess goes elsewhere is
    followed by that excess."""
    if "waterfall" in tariff:
        return [*_waterfall(tariff["waterfall"], total)]
    return _leaves(tariff["parts"], total)


def _leaves(parts: Sequence[Table], total: Fraction) -> list[Fraction]:
    out: list[Fraction] = []
    for part, share in zip(parts, portions(parts), strict=True):
        amount = total * share
        if "parts" in part:
            out += _leaves(part["parts"], amount)
        elif "cap" in part:
            capped = min(amount, number(part["cap"]))
            out += [capped, amount - capped] if part.get("cap_overflow") == "rest" else [capped]
        else:
            out.append(amount)
    return out


def portions(parts: Sequence[Table]) -> list[Fraction]:
    """Fractions of parts that stand side by side; `remaining` is what the others leave."""
    given = sum((number(p["portion"]) for p in parts if p["portion"] != "remaining"), NONE)
    return [1 - given if p["portion"] == "remaining" else number(p["portion"]) for p in parts]


def _waterfall(parties: Sequence[Table], total: Fraction) -> Iterator[Fraction]:
    for party in parties:
        taken = min(total, number(party["max"])) if "max" in party else total
        yield taken
        total -= taken


def source_shares(tariff: Table, total: int) -> list[int]:
    """The leaves in whole units by the source's own rule for odd units, level by level."""
    if "waterfall" in tariff:
        return [int(share) for share in _waterfall(tariff["waterfall"], Fraction(total))]
    return _divided(tariff["parts"], total, tariff["remainder_rule"])


def _divided(parts: Sequence[Table], total: int, rule: str) -> list[int]:
    exact = [total * share for share in portions(parts)]
    whole = [floor(amount) for amount in exact]
    places = list(range(len(parts)))
    if rule == "largest_fraction":
        places.sort(key=lambda place: whole[place] - exact[place])
    for place in places[: total - sum(whole)]:
        whole[place] += 1
    out: list[int] = []
    for part, amount in zip(parts, whole, strict=True):
        if "parts" in part:
            out += _divided(part["parts"], amount, rule)
        elif "cap" in part:
            capped = min(amount, int(number(part["cap"])))
            if part.get("cap_overflow") != "rest" and capped < amount:
                raise NotComputable("a cap without a place for what is beyond it")
            out += [capped, amount - capped] if part.get("cap_overflow") == "rest" else [capped]
        else:
            out.append(amount)
    return out
