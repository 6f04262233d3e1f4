"""What an explanation consists of, and how a difference is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from nanotally.streams.domain.explaining_terms import Item, State, Step
from nanotally.streams.domain.rules import Rule
from nanotally.streams.domain.tariff import Meter, TariffVersion
from nanotally.streams.errors import ExitCode, NanotallyError


class Differs(NanotallyError):
    """The charge is not what its tariff version gives; says where, what was expected and what was found."""

    exit_code = ExitCode.DIFFERENCE

    def __init__(self, where: str, expected: object, found: object) -> None:
        super().__init__(f"{where}: worked out again it is {expected}, the charge has {found}")
        self.where, self.expected, self.found = where, expected, found


def same(where: str, expected: object, found: object) -> None:
    """Raises Differs where the two are not equal."""
    if expected != found:
        raise Differs(where, expected, found)


@dataclass(frozen=True)
class Claim:
    """What one account gets by a split: a fraction (of the charge, or of what is `left` of it), with the most nanos of
    one charge and who gets what is beyond, '' for the one that takes the rest."""

    account: str
    fraction: Fraction
    most: int | None = None
    beyond: str = ""
    left: bool = False


@dataclass(frozen=True)
class Part:
    """One account's share of a line, nanos; `rest` where it takes what the others leave."""

    account: str
    fraction: Fraction
    nanos: int
    rest: bool


@dataclass(frozen=True)
class LineExplained:
    """One line worked out: totals in exact nanos, the others whole.

    `name` is that of the rule or pass; `rule` what it was rated by (of a pass: its price, over nanos). `step` is None
    for what fell due. `starts_us`: where its piece of a use that was cut begins, else None. `pass_name`: the pass that
    settles it. `nothing` says why it costs nothing, if so. `first`: not a later piece of a use that was cut;
    `unit_price`: what came with the use, exact nanos per unscaled unit; `tier_quantity`: unscaled, likewise.
    `claims`: what the split gives whom; of what fell due by a split with caps that is not known."""

    link: str
    name: str
    rule: Rule
    version: TariffVersion
    meter: Meter
    scope_start_us: int
    scope_end_us: int
    before: State
    quantity: int
    step: Step | None
    total_after: Fraction
    amount: int
    paid: int
    base_before: int
    parts: tuple[Part, ...]
    nothing: str
    starts_us: int | None = None
    pass_name: str = ""
    catalog: str = ""
    first: bool = True
    unit_price: Fraction | None = None
    tier_quantity: int | None = None
    claims: tuple[Claim, ...] = ()

    @property
    def pieces(self) -> tuple[Item, ...]:
        """What the amount asked is made of."""
        return () if self.step is None else self.step.items

    @property
    def minimum(self) -> int:
        """What the scope costs at least, nanos."""
        return self.rule.minimum_nanos

    @property
    def quantity_before(self) -> int:
        """Quantity cumulated before, unscaled."""
        return self.before.quantity

    @property
    def total_before(self) -> Fraction:
        """Exact total before, nanos."""
        return self.before.total

    @property
    def charged_before(self) -> int:
        """Whole nanos charged before."""
        return self.before.charged


@dataclass(frozen=True)
class Explanation:
    """A charge worked out; `version` is the tariff version it was rated by, None where it was not rated. `said`: why
    it was not charged, for people. `before`: name of the record at which the use found no price, where it was redriven
    from there; `recorded_at_us`: the broker's time at which it came (again)."""

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
    said: str = ""
    payer: str = ""
    before: str = ""
    recorded_at_us: int = 0


def charge_name(charge: Mapping[str, Any]) -> str:
    """Public name of a charge: partition and offset of its use, and n where it is not 0."""
    name = f"{charge['usage_partition']}-{charge['usage_offset']}"
    return f"{name}-{charge['n']}" if charge["n"] else name
