"""Moving to a new installation: when the old one is closed, and what begins anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nanotally.streams.commands.output import instant
from nanotally.streams.commands.positions import PayersPosition
from nanotally.streams.domain.records import LONG_AGO
from nanotally.streams.domain.tariff import Rule, RuleBook, Settings, TariffVersion
from nanotally.streams.domain.windows import HOUR_US, SIZES, Calendar
from nanotally.streams.errors import InvalidInput


@dataclass(frozen=True)
class Plan:
    """closes_at_us: the end of the period in which the old installation is closed; watermark_us: how far its uses had
    brought it; at_end: whether the period is as good as over, so that the new installation begins with the next one;
    horizon_us: how long uses are told from repeats; anew: what begins to count anew, a sentence for each."""

    closes_at_us: int
    watermark_us: int
    at_end: bool
    horizon_us: int
    lateness_us: int
    skew_us: int
    anew: tuple[str, ...]

    @property
    def ids_from_us(self) -> int:
        """Uses that occurred before it are too old to be told from repeats, in the new installation too."""
        begins = self.closes_at_us if self.at_end else self.watermark_us
        return max(LONG_AGO + self.horizon_us, begins) - self.horizon_us

    def watermark_of_new_us(self, newest_us: int) -> int:
        """Where the new installation's time begins. newest_us: when the newest of the carried uses occurred."""
        if self.at_end:
            return self.closes_at_us
        return max(self.watermark_us, newest_us - self.lateness_us)


def plan(book: RuleBook, positions: list[PayersPosition], now_us: int) -> Plan:
    """For a move now. Raises InvalidInput where a partition has not been told of the newest book yet."""
    behind = [str(p.partition) for p in positions if p.book_number != book.number]
    if behind:
        raise InvalidInput(
            f"rule book {book.number} is not in force in partition {', '.join(behind)} yet: start the old workers, and "
            f"see `nanotally books show`; `nanotally tariff publish` with the same files activates it"
        )
    settings = book.settings
    watermark_us = max((p.watermark_us for p in positions), default=LONG_AGO)
    calendar, size = Calendar(settings.zone), settings.settlement
    at = np.array([max(now_us, watermark_us)], dtype=np.int64)
    closes_at_us = int(calendar.ends(size, calendar.starts(size, at))[0])
    at_end = closes_at_us - now_us <= min(HOUR_US, settings.horizon_us // 4)
    return Plan(
        closes_at_us,
        watermark_us,
        at_end,
        settings.horizon_us,
        settings.lateness_us,
        settings.skew_us,
        tuple(dict.fromkeys(_anew(book, at_end))),
    )


def refuse(found: Plan, settlement: str) -> None:
    """Raises InvalidInput with what would begin anew, and how to avoid or accept it."""
    if found.anew:
        when = (
            "what counts for longer than that cannot be carried over"
            if found.at_end
            else f"run it in the last hour of the {settlement}, which ends at {instant(found.closes_at_us)}, and only "
            f"what counts for longer begins anew"
        )
        listed = "\n".join(f"  {one}" for one in found.anew)
        raise InvalidInput(f"this begins anew in the new installation:\n{listed}\n{when}; --begin-anew accepts it")


def _anew(book: RuleBook, at_end: bool) -> Iterator[str]:
    settings = book.settings
    if not at_end:
        yield (
            f"the running {settings.settlement}: what it comes to is settled by both installations, each with its part"
        )
    for version in book.tariffs:
        for rule in version.rules:
            if not (_ends_with_it(rule, version, settings) and at_end) and rule.scope != "event":
                yield f"tariff {version.tariff!r}, rule {rule.name!r}, which counts per {rule.scope}"
        for one in version.passes:
            yield f"tariff {version.tariff!r}, pass {one.name!r}: who has one pays again with the next use"


def _ends_with_it(rule: Rule, version: TariffVersion, settings: Settings) -> bool:
    """Whether every scope of the rule ends with the settlement's period or within it."""
    if rule.scope not in SIZES or version.calendar != settings.zone:
        return False
    return SIZES.index(rule.scope) <= SIZES.index(settings.settlement)
