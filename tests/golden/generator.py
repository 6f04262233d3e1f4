"""Further vectors in the format of vectors.json, drawn from a seed: other numbers, and combinations of all its fields.
What they come to is the calculator's word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any

from tests.golden.calculator import NotComputable, calculate, exact_shares, source_shares
from tests.golden.words import NotExpressible, decimal

Tariff = dict[str, Any]
QUANTITIES = ("flat", "increment", "package", "graduated", "volume", "graduated_percentage")
FAMILIES = (*QUANTITIES, "percentage", "cap", "minimum", "connect", "timeofday", "window", "split")


def vectors(seed: int, count: int) -> list[dict[str, Any]]:
    """So many vectors, of all families in turn."""
    random = Random(seed)
    made: list[dict[str, Any]] = []
    while len(made) < count:
        family = FAMILIES[len(made) % len(FAMILIES)]
        vector = {"id": f"{family}-{seed}-{len(made)}"} | _Draw(random).vector(family)
        try:
            vector |= _expected(vector)
        except NotComputable:
            continue  # such as a tariff whose last block is passed
        made.append(vector)
    return made


def text(value: Fraction) -> str:
    """As the format writes numbers."""
    try:
        return decimal(value)
    except NotExpressible:
        return str(value)


def _expected(vector: Tariff) -> Tariff:
    if vector["model"] == "split":
        total = int(vector["usage"][0])
        if len(exact_shares(vector["tariff"], Fraction(total))) == 0:
            raise NotComputable("nobody to divide among")
        return {"expected": [str(share) for share in source_shares(vector["tariff"], total)]}
    stated, plain = calculate(vector), calculate(vector, frozenset())
    told: Tariff = {"expected": text(stated.total)}
    if stated.per is not None:
        told["expected_per_usage"] = [text(amount) for amount in stated.per]
    return told | ({"exact": text(plain.total)} if plain.total != stated.total else {})


class _Draw:
    """Draws one vector."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def number(self, most: int, places: Sequence[int] = (0, 0, 1, 3), least: int = 0) -> str:
        """A decimal number from `least` to `most`."""
        scale = 10 ** self.random.choice(places)
        return text(Fraction(self.random.randint(least * scale, most * scale), scale))

    def price(self) -> str:
        return self.random.choice(["0", "1", self.number(20), self.number(2, (2, 4)), self.number(1, (6, 9))])

    def maybe(self, chance: float = 0.3) -> bool:
        return self.random.random() < chance

    def vector(self, family: str) -> Tariff:
        makers: dict[str, Callable[[], Tariff]] = {
            "percentage": self.events,
            "connect": self.sessions,
            "timeofday": self.sessions,
            "window": self.windows,
            "split": self.split,
        }
        return makers[family]() if family in makers else self.quantities(family)

    # ---- quantities ----

    def quantities(self, family: str) -> Tariff:
        tariff: Tariff = {}
        model = family
        if family in ("cap", "minimum"):
            model = tariff["base_model"] = self.random.choice(
                ["flat", "increment", "package", "graduated", "volume", "percentage", "graduated_percentage"]
            )
        getattr(self, f"_{model}")(tariff)
        how = self.random.choice(["total", "total", "running", "each"])
        usage: list[Any] = [self.number(60, (0, 0, 1, 3)) for _ in range(self.random.randint(1, 4))]
        if how == "running" and self.maybe():
            usage.append(text(-Fraction(usage[-1]) * Fraction(self.random.randint(0, 10), 10)))
        elif self.maybe(0.05) and model in ("flat", "increment", "package", "graduated", "percentage"):
            usage = [text(-Fraction(usage[0]))]
        elif model == "volume" and self.maybe(0.3) and "tiers" in tariff:
            usage = [{"quantity": usage[0], "tier_quantity": self.number(60)}]
        if how != "total":
            tariff["accumulate"] = how
        if self.maybe():
            tariff["free_units"] = self.number(25)
        if self.maybe() or model == "increment":
            tariff["increment"] = self.random.choice(["1", "10", "0.5", "7", "2.5"])
            tariff["increment_rounding"] = self.random.choice(["up", "down", "half_up", "none"])
            if "free_units" in tariff and self.maybe(0.5):
                tariff["free_applies"] = "after_increment"
        if family == "cap" or self.maybe(0.1):
            tariff["max"] = self.number(90, (0, 2))
        if family == "minimum" or self.maybe(0.1):
            self._minimum(tariff)
        if self.maybe():
            scope = {"total": "total", "running": "running", "each": "each"}[how]
            tariff["rounding"] = {
                "mode": self.random.choice(["up", "down", "half_up"]),
                "decimals": self.random.choice(["0", "1", "2", "-1"]),
                "scope": scope,
            }
        return {"model": family, "tariff": tariff, "usage": usage}

    def _minimum(self, tariff: Tariff) -> None:
        tariff["min"] = self.random.choice(["0", *[self.number(60, (0, 2)) for _ in range(5)]])
        if self.maybe():
            tariff["overage_factor"] = self.random.choice(["2", "1.5", "0.5"])
        elif self.maybe():
            tariff["min_prorate"] = f"{self.random.randint(1, 31)}/31"

    def _flat(self, tariff: Tariff) -> None:
        tariff["unit_price"] = self.price()
        if self.maybe():
            tariff["per"] = self.random.choice(["10", "1000", "3", "60"])

    _increment = _flat

    def _percentage(self, tariff: Tariff) -> None:
        tariff["rate_percent"] = self.number(150, (0, 1, 3))

    def _package(self, tariff: Tariff) -> None:
        tariff["package_size"] = self.random.choice(["1", "10", "7", "2.5", "5"])
        tariff["package_price"] = self.price()
        tariff["package_rounding"] = self.random.choice(["up", "up", "down", "half_up"])

    def _graduated(self, tariff: Tariff) -> None:
        if self.maybe(0.25):
            tariff["block_tiers"] = self._blocks()
            tariff["beyond_last_tier"] = "dropped"
        else:
            self._tiers(tariff, "unit_price")

    def _volume(self, tariff: Tariff) -> None:
        if self.maybe(0.25):
            tariff["block_tiers"] = self._blocks()
            tariff["beyond_last_tier"] = "last_tier"
        else:
            self._tiers(tariff, "unit_price")

    def _graduated_percentage(self, tariff: Tariff) -> None:
        self._tiers(tariff, "rate_percent")

    def _tiers(self, tariff: Tariff, price: str) -> None:
        borders = sorted(
            {
                Fraction(self.number(80, (0, 0, 1), self.random.choice([0, 1, 1])))
                for _ in range(self.random.randint(0, 4))
            }
        )
        tiers: list[Tariff] = [{"up_to": text(border)} for border in borders] + [{"up_to": None}]
        if len(tiers) > 1 and self.maybe(0.2):
            tiers.pop()
        for tier in tiers:
            tier[price] = self.number(20, (0, 1)) if price == "rate_percent" else self.price()
            tier["flat_fee"] = self.random.choice(["0", "0", self.number(50, (0, 2))])
            if self.maybe(0.15):
                tier["package_size"] = self.random.choice(["10", "3", "0.5"])
        tariff["tiers"] = tiers
        if self.maybe(0.6):
            tariff["zero_usage_flat_fee"] = self.random.choice(["first_tier", "none"])

    def _blocks(self) -> list[Tariff]:
        blocks: list[Tariff] = [
            {
                "package_size": self.random.choice(["1", "5", "10", "2.5"]),
                "max_packages": str(self.random.randint(1, 6)),
                "package_price": self.price(),
            }
            for _ in range(self.random.randint(1, 4))
        ]
        if self.maybe():
            blocks[-1]["max_packages"] = None
        return blocks

    # ---- percentages, use by use ----

    def events(self) -> Tariff:
        tariff: Tariff = {"rate_percent": self.number(15, (0, 1, 2))}
        for name, most in (("fixed_fee", 3), ("min_per_event", 4), ("max_per_event", 20)):
            if self.maybe(0.4):
                tariff[name] = self.number(most, (0, 2))
        if self.maybe(0.4):
            tariff["free_events"] = str(self.random.randint(0, 4))
        usage = [self.random.choice(["0", self.number(400, (0, 2))]) for _ in range(self.random.randint(1, 6))]
        if self.maybe(0.5):
            exact_end = sum((Fraction(u) for u in usage[:2]), Fraction(0))
            tariff["free_units"] = self.random.choice([text(exact_end), self.number(600)])
        if self.maybe(0.2):
            tariff["fixed_fee_when_total_zero"] = "none"
        if self.maybe():
            tariff["rounding"] = {"mode": "half_up", "decimals": "2", "scope": "total"}
        return {"model": "percentage", "tariff": tariff, "usage": usage}

    # ---- time ----

    def sessions(self) -> Tariff:
        tariff: Tariff = {}
        if self.maybe(0.6):
            tariff["bands"] = self._bands(self._session_band)
            if self.maybe(0.2):
                tariff["band_choice"] = "at_start"
        else:
            tariff |= {"slices": self._slices(), "connect_fee": self.number(1, (2,))}
        if self.maybe(0.2):
            tariff["connect_fee_charged"] = "no"
        if self.maybe(0.3):
            tariff["increment_cost_decimals"] = self.random.choice(["5", "6", "2"])
        if self.maybe(0.4):
            tariff["rounding"] = {"mode": self.random.choice(["up", "half_up"]), "decimals": "4", "scope": "total"}
        if self.maybe(0.2):
            tariff["max"] = self.number(50, (0, 2), 1)
            tariff["max_strategy"] = self.random.choice(["free", "disconnect", "cap"])
        if self.maybe(0.1):
            self._minimum(tariff)
        usage = [
            {"seconds": self.random.choice(["0", self.number(200), self.number(9000, (0,))]), "start": self._start()}
            for _ in range(self.random.randint(1, 3))
        ]
        return {"model": "timeofday" if "bands" in tariff else "connect", "tariff": tariff, "usage": usage}

    def _start(self) -> str:
        seconds = self.random.choice([0, 30, 59, 17]) + 60 * self.random.choice([0, 59, 30, self.random.randint(0, 59)])
        day = datetime(2018, 1, 1, tzinfo=UTC) + timedelta(days=self.random.choice([364, self.random.randint(0, 800)]))
        at = day + timedelta(hours=self.random.choice([7, 8, 17, 18, 23, 0, 12]), seconds=seconds)
        return f"{at:%Y-%m-%dT%H:%M:%SZ}"

    def _bands(self, body: Callable[[], Tariff]) -> list[Tariff]:
        """Bands that cover each instant: days cut at some hours, some of them with days or dates of their own."""
        hours = sorted(self.random.sample(range(1, 24), self.random.randint(0, 3)))
        ends = [0, *hours, 24]
        bands: list[Tariff] = []
        whole_week: list[list[str] | None] = [None]
        parts_of_week: list[list[str] | None] = [["1", "2", "3", "4", "5"], ["6", "7"]]
        for days in self.random.choice([whole_week, whole_week, parts_of_week]):
            for start, end in pairwise(ends):
                band = {"from": f"{start:02}:00:00", "to": f"{end:02}:00:00"} | body()
                bands.append(band if days is None else {"weekdays": days} | band)
        if self.maybe(0.3):
            bands = [band | {"priority": "10"} for band in bands]
            special = {"dates": ["12-31", "01-01"], "priority": "20", "from": "00:00:00", "to": "24:00:00"}
            bands.insert(self.random.randint(0, len(bands)), special | body())
        return bands

    def _session_band(self) -> Tariff:
        return {"connect_fee": self.number(1, (2,)), "slices": self._slices()}

    def _slices(self) -> list[Tariff]:
        starts = sorted({0, *(self.random.choice([30, 60, 90, 600]) for _ in range(self.random.randint(0, 2)))})
        return [
            {
                "from_seconds": str(start),
                "unit_price": self.random.choice(["0", self.number(2, (2, 3))]),
                "per": self.random.choice(["1", "60", "10"]),
                "increment": self.random.choice(["1", "60", "6", "30", "10", "7"]),
            }
            for start in starts
        ]

    def windows(self) -> Tariff:
        tariff = {"bands": self._bands(self._window_band), "priced": "quantity"}
        usage = [{"quantity": self.number(30), "start": self._start()} for _ in range(self.random.randint(1, 4))]
        return {"model": "timeofday", "tariff": tariff, "usage": usage}

    def _window_band(self) -> Tariff:
        band: Tariff = {"unit_price": self.price()}
        if self.maybe(0.6):
            band |= {"min": self.number(20, (0, 2)), "min_due": self.random.choice(["yes", "no"])}
            if self.maybe(0.6):
                band["overage_factor"] = self.random.choice(["2", "1.5", "0.5"])
        return band

    # ---- splits ----

    def split(self) -> Tariff:
        usage = [str(self.random.choice([0, 1, 2, 5, self.random.randint(0, 10**6), self.random.randint(0, 10**24)]))]
        if self.maybe(0.2):
            usage = [f"-{usage[0]}"]
        if self.maybe(0.2):
            waterfall = [{"party": "ABC"[n], "max": str(self.random.randint(0, 500))} for n in range(3)]
            if self.maybe(0.7):
                waterfall[2].pop("max")
            return {"model": "split", "tariff": {"waterfall": waterfall}, "usage": [usage[0].removeprefix("-")]}
        rule = self.random.choice(["first_in_order", "largest_fraction"])
        parts = self._parts(2)
        if self.maybe(0.3) and parts[0]["portion"] != "remaining" and "parts" not in parts[0]:
            parts[0] |= {"cap": str(self.random.randint(0, 50)), "cap_overflow": "rest"}
            usage = [usage[0].removeprefix("-")]
        return {"model": "split", "tariff": {"parts": parts, "remainder_rule": rule}, "usage": usage}

    def _parts(self, depth: int) -> list[Tariff]:
        count = self.random.randint(2, 4)
        whole = self.random.choice([100, 1000, 7, 12])
        cuts = sorted(self.random.randint(0, whole) for _ in range(count - 1))
        sizes = [b - a for a, b in zip([0, *cuts], [*cuts, whole], strict=True)]
        parts: list[Tariff] = [{"party": f"P{n}", "portion": f"{size}/{whole}"} for n, size in enumerate(sizes)]
        if whole == 100:
            parts = [part | {"portion": f"{size}%"} for part, size in zip(parts, sizes, strict=True)]
        if self.maybe(0.4):
            parts[self.random.randrange(count)]["portion"] = "remaining"
        if depth and self.maybe(0.25):
            parts[self.random.randrange(count)]["parts"] = self._parts(depth - 1)
        return parts
