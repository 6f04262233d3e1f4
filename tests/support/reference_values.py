"""What goes into and comes out of the plain reference: one record, one charge, one row at a time.

Money and totals are Python integers or fractions; times are microseconds since 1970 UTC; an event is a plain mapping
with the field names of the UsageEvent contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Event = Mapping[str, Any]

LONG_AGO = -(2**63)
NO_END = 2**63 - 1
# Two bits below int64: what reaches it is refused as absurd, so no sum of two of them wraps.
TOO_MUCH = 2**62


@dataclass(frozen=True)
class Control:
    """A control as it is published."""

    control_id: str
    kind: str
    at_us: int | None = None
    book_number: int | None = None
    book_hash: str | None = None
    note: str = ""
    usage_offset: int | None = None
    use: Event | None = None


@dataclass(frozen=True)
class Garbage:
    """Bytes that are no usage event and no control; `reason` is what the dead letter must say."""

    data: bytes | None
    reason: str


@dataclass(frozen=True)
class Record:
    """A record of one partition of `usage`; `wire` is how its attributes are written (see reference_wire)."""

    offset: int
    recorded_at_us: int
    key: bytes | None
    value: Event | Control | Garbage
    wire: str = "plain"


@dataclass(frozen=True)
class Share:
    account: str
    fraction: Fraction
    nanos: int


@dataclass(frozen=True)
class Line:
    """Totals are exact and not capped; `scope_key` and `split_key` are the keys themselves, not hashes."""

    link: str
    tariff: str
    version: int
    tariff_hash: str
    rule: str
    variant: str
    scope: str
    scope_key: tuple[Any, ...]
    scope_start_us: int
    scope_end_us: int
    minimum_nanos: int = 0
    uses_before: int = 0
    uses_after: int = 0
    quantity_before: int = 0
    quantity: int = 0
    over_before: int = 0
    over_after: int = 0
    total_before: Fraction = Fraction(0)
    total_after: Fraction = Fraction(0)
    charged_before: int = 0
    amount_nanos: int = 0
    paid_nanos: int = 0
    pass_name: str | None = None
    catalog: str = ""
    split: str = ""
    split_key: tuple[Any, ...] = ()
    base_before: int = 0
    shares: tuple[Share, ...] = ()

    @property
    def scope_place(self) -> tuple[Any, ...]:
        """Which scope it is: the pieces of one use share the scope of the event."""
        return self.scope_key, 0 if self.scope == "event" else self.scope_start_us


@dataclass(frozen=True)
class Charge:
    """`series`: product, meter and scale that it is tallied under."""

    usage_offset: int
    n: int
    event: Event | None
    payer: str
    series: tuple[str, str, int]
    recorded_at_us: int
    booked_at_us: int
    late: bool
    flags: str
    outcome: str
    reason: str
    currency: str
    paid_nanos: int
    book_number: int
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Reject:
    offset: int
    reason: str
    recorded_at_us: int
    key: bytes | None


@dataclass(frozen=True)
class ControlTaken:
    usage_offset: int
    recorded_at_us: int
    control_id: str
    kind: str
    at_us: int | None
    book_number: int | None
    book_hash: str | None


@dataclass(frozen=True, order=True)
class Tally:
    account: str
    size: str
    window_start_us: int
    window_end_us: int
    product: str
    meter: str
    scale: int
    currency: str
    count: int
    quantity: int
    amount_nanos: int


@dataclass(frozen=True, order=True)
class Statement:
    statement_id: str
    account: str
    period: str
    period_start_us: int
    period_end_us: int
    currency: str
    count: int
    due_nanos: int


@dataclass(frozen=True, order=True)
class EarningKey:
    account: str
    minute_us: int
    product: str
    meter: str
    scale: int
    currency: str


@dataclass
class Sum:
    """Count of uses, unscaled quantity and nanos."""

    count: int = 0
    quantity: int = 0
    amount_nanos: int = 0

    def add(self, count: int, quantity: int, amount_nanos: int) -> None:
        self.count += count
        self.quantity += quantity
        self.amount_nanos += amount_nanos


@dataclass
class Outputs:
    """Everything that one partition's records became, so far."""

    outcomes: dict[int, tuple[str, str]] = field(default_factory=dict)  # offset -> outcome, reason
    charges: list[Charge] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    controls: list[ControlTaken] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    earnings: dict[EarningKey, Sum] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)
