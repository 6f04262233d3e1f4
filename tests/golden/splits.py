"""Golden vectors of splits: the parties as a tariff file, and who got what of one charge.

One of the source's smallest units is one nano here. Amounts that no use can cost (below zero, beyond 64 bits) go to the
function that divides single charges."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from nanotally.streams.domain import splitting
from nanotally.streams.domain.tariff import TariffVersion
from nanotally.streams.tariffs.reader import read_tariff
from tests.golden.calculator import NONE, Table, number, portions
from tests.golden.words import NotExpressible, decimal, file_text, nanos, rule_text
from tests.support.payers_bench import PayersBench, book, event

USE_MAX = 10**15


def split_text(tariff: Table) -> str:
    """A tariff file with one price of a nano, divided as the vector says. Raises NotExpressible."""
    lines = _waterfall(tariff["waterfall"]) if "waterfall" in tariff else _Parties().lines(tariff["parts"])
    split = "splits:\n  all:\n" + "\n".join(f"    {line}" for line in lines)
    return file_text("unit", 0, [rule_text("r", "m", ["price: 0.000000001"], "life")], split=split)


class _Parties:
    """Parties are called by their number in the order of leaves."""

    def __init__(self) -> None:
        self._number = 0

    def _next(self) -> str:
        self._number += 1
        return f"party:{self._number}"

    def lines(self, parts: Sequence[Table]) -> list[str]:
        """Lines for parts that stand side by side. The one that remains, else the last without a cap, is the rest."""
        places = [n for n, part in enumerate(parts) if "cap" not in part]
        rest = next((n for n in places if parts[n]["portion"] == "remaining"), max(places, default=-1))
        lines: list[str] = []
        for place, (part, share) in enumerate(zip(parts, portions(parts), strict=True)):
            text = "rest" if place == rest else part_text(share)
            if "parts" in part:
                lines.append(f'"party:{part["party"]}": {{of: {text}, {", ".join(self.lines(part["parts"]))}}}')
            elif "cap" in part:
                lines += self._capped(part, share)
            else:
                lines.append(f'"{self._next()}": {text}')
        if rest < 0:
            raise NotExpressible("a split in which all parties have caps: nobody takes the rest")
        return lines

    def _capped(self, part: Table, share: Fraction) -> list[str]:
        """A party with a cap, and the next number for what is beyond it."""
        account, cap = self._next(), number(part["cap"])
        beyond = self._next() if part.get("cap_overflow") == "rest" else None
        if cap == 0:
            return [] if beyond is None else [f'"{beyond}": {part_text(share)}']
        over = "" if beyond is None else f" rest to {beyond}"
        return [f'"{account}": "{part_text(share)} at most {nanos(cap / 10**9)}{over}"']


def part_text(share: Fraction) -> str:
    """'80%', '1/3'."""
    try:
        return f"{decimal(share * 100)}%"
    except NotExpressible:
        return f"{share.numerator}/{share.denominator}"


def _waterfall(parties: Sequence[Table]) -> list[str]:
    lines: list[str] = []
    for place, party in enumerate(parties, 1):
        if "max" not in party:
            return [*lines, f'"party:{place}": rest']
        if number(party["max"]):
            lines.append(f'"party:{place}": first {nanos(number(party["max"]) / 10**9)}')
    return [*lines, "platform: rest"]


def divide(tariff: Table, total: int, leaves: int) -> list[int]:
    """What each of the leaves got of a charge of `total` nanos, which sum to it unless a waterfall leaves something."""
    version = read_tariff(split_text(tariff), "golden.yaml")
    if not 0 <= total <= USE_MAX:
        shares = splitting.divide_one(version.splits[0].parties, 0, total)
        got = dict(shares)
    else:
        got = _charged(version, total)
    if sum(got.values()) != total:
        raise AssertionError(f"shares sum to {sum(got.values())}, not to {total}")
    return [got.get(f"party:{place}", 0) for place in range(1, leaves + 1)]


def _charged(version: TariffVersion, total: int) -> dict[str, int]:
    charge = PayersBench(book(version)).take(event("e", meter="m", quantity=total)).charge()
    return {share["account"]: share["nanos"] for share in charge["lines"][0]["shares"]}


def floors(exact: Sequence[Fraction], shares: Sequence[int]) -> bool:
    """Whether all shares but one are their exact parts rounded down, and that one has what they leave."""
    whole = [int(part // 1) for part in exact]
    off = [place for place, (part, share) in enumerate(zip(whole, shares, strict=True)) if part != share]
    return len(off) <= 1 and sum(shares) == sum(exact, NONE)
