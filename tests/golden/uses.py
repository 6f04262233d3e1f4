"""What a golden vector becomes: a tariff file and uses."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from tests.golden.calculator import NONE


@dataclass(frozen=True)
class Use:
    """One use. `sign` -1: what it costs is given back. `start` ISO 8601; `seconds` of a session, which may be reported
    in several uses. `back`: priced by the rule for what is given back."""

    payer: str
    quantity: Fraction
    sign: int = 1
    back: bool = False
    start: str | None = None
    seconds: Fraction | None = None
    chooses: Fraction | None = None


@dataclass(frozen=True)
class Translation:
    """A tariff file and the uses of a vector, one for each entry of usage; way: shared, own or levels. `scale` is that
    of the meter. `choppable`: in how many pieces a use is reported makes no difference."""

    text: str
    uses: tuple[Use, ...]
    way: str
    scale: int
    choppable: bool


def chopped(use: Use, pieces: int, scale: int) -> list[tuple[Use, Fraction]]:
    """The use in pieces, each with the seconds after the use's start at which it begins."""
    unit = Fraction(1, 10**scale)
    total = int(use.quantity / unit)
    whole, rest = divmod(total, pieces)
    sizes = [size for n in range(pieces) if (size := whole + (n < rest))] or [0]
    out, done = [], 0
    for size in sizes:
        amount = size * unit
        seconds = None if use.seconds is None else amount
        piece = Use(use.payer, amount, use.sign, use.back, use.start, seconds, use.chooses)
        out.append((piece, done * unit if use.seconds is not None else NONE))
        done += size
    return out
