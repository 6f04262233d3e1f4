"""Answers of ClickHouse to what commands ask. Money is Decimal in currency units, times are datetime in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal


@dataclass(frozen=True)
class Period:
    """One statement of a payer. state: 'closed', with its id, or 'open' (period and end None; start None where none was
    closed before)."""

    state: str
    period: str | None
    start: datetime | None
    end: datetime | None
    currency: str
    uses: int
    due: Decimal
    statement_id: str | None


@dataclass(frozen=True)
class StatementLine:
    """What a payer used of one meter of one product in one period; `used` in the meter's unit."""

    state: str
    start: datetime | None
    end: datetime | None
    product: str
    meter: str
    currency: str
    uses: int
    used: Decimal
    paid: Decimal


@dataclass(frozen=True)
class PayerStatement:
    """A payer's periods and their lines, in order of time, the open one last."""

    payer: str
    periods: tuple[Period, ...]
    lines: tuple[StatementLine, ...]
    complete_until: datetime | None


@dataclass(frozen=True)
class EarningDay:
    """What an account earned on a UTC day of booked_at: uses it has a share in, what was paid for them, its shares."""

    day: date
    currency: str
    uses: int
    gross: Decimal
    earned: Decimal


@dataclass(frozen=True)
class PayoutRow:
    """One settlement of an account: brought + earned = paid + carried."""

    payout_id: str
    period: str
    start: datetime
    end: datetime
    currency: str
    uses: int
    brought: Decimal
    earned: Decimal
    paid: Decimal
    carried: Decimal


@dataclass(frozen=True)
class AccountEarnings:
    """An account's days and payouts, in order of time."""

    account: str
    days: tuple[EarningDay, ...]
    payouts: tuple[PayoutRow, ...]
    complete_until: datetime | None


@dataclass(frozen=True)
class TopCreator:
    """A creator by what it earned; gross is what was paid for the uses."""

    rank: int
    creator: str
    currency: str
    uses: int
    gross: Decimal
    earned: Decimal


@dataclass(frozen=True)
class TopItem:
    """An item by what was paid for it."""

    rank: int
    item: str
    product: str
    currency: str
    uses: int
    paid: Decimal


@dataclass(frozen=True)
class Outcome:
    """How many records became this; `free` of them charged with 0."""

    outcome: str
    reason: str
    records: int
    free: int


@dataclass(frozen=True)
class TariffText:
    """A version of a tariff as it was published: canonical JSON, and the file as its owner wrote it."""

    tariff: str
    version: int
    content_hash: str
    effective_from: datetime
    document: str
    source: str
