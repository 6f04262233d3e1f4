"""Where a use with a duration is cut, and what each of its pieces counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from nanotally.streams.domain.catalogs import CatalogItem
from nanotally.streams.domain.explaining_matches import EPOCH, clock_of, first_match, in_band, zone_of
from nanotally.streams.domain.rules import Condition
from nanotally.streams.domain.tariff import TariffVersion

_QUARTER = timedelta(minutes=15)  # clocks are set at quarters of an hour


@dataclass(frozen=True)
class UsePiece:
    """A use, or a piece of one that was cut: quantity unscaled; `version`: the tariff version in force at its start."""

    starts_us: int
    quantity: int
    version: TariffVersion
    cut: bool


def pieces_of_use(
    event: Mapping[str, Any], versions: Sequence[TariffVersion], item: CatalogItem | None
) -> tuple[UsePiece, ...]:
    """The pieces of a use; `versions`: those that its lines name, in their order, at least one."""
    begins, quantity, duration = event["occurred_at"], event["quantity"], max(0, event["duration_us"] or 0)
    starts = list(_starts(event, versions, item)) if duration else [(begins, versions[0])]
    # Each piece counts the whole quantities that were reached at its end less those reached at its start.
    reached = [quantity * (at - begins) // duration for at, _ in starts] if duration else [0]
    counts = [after - before for before, after in zip(reached, [*reached[1:], quantity], strict=True)]
    cut = len(starts) > 1
    return tuple(UsePiece(at, count, version, cut) for (at, version), count in zip(starts, counts, strict=True))


def _starts(
    event: Mapping[str, Any], versions: Sequence[TariffVersion], item: CatalogItem | None
) -> Iterator[tuple[int, TariffVersion]]:
    """Where each piece starts, with the version in force there."""
    at, end, version = event["occurred_at"], event["occurred_at"] + event["duration_us"], versions[0]
    later = sorted((v for v in versions if v is not version), key=lambda v: (v.effective_from_us, v.version))
    while True:
        yield at, version
        rule = first_match(version, event, at, item)
        if rule is None or not rule.cut:
            return
        bands = {c for r in version.rules if r.name == rule.name for c in r.when if c.kind == "band"}
        borders = [border for band in bands for border in [next_border(band, at, end)] if border is not None]
        borders += [v.effective_from_us for v in later if at < v.effective_from_us < end]
        if not borders:
            return
        at = min(borders)
        version = next((v for v in reversed(later) if v.effective_from_us <= at), version)


def next_border(band: Condition, at_us: int, end_us: int) -> int | None:
    """The first instant after `at_us` and before `end_us` at which the band begins or ends; None without one."""
    inside = in_band(band, at_us)
    return next((at for at in _candidates(band, at_us, end_us) if in_band(band, at) != inside), None)


def _candidates(band: Condition, at_us: int, end_us: int) -> list[int]:
    """Instants between at which the band's clock is set, or shows midnight or one of its times."""
    zone = zone_of(band.values[0])
    first = EPOCH + timedelta(microseconds=at_us)
    last = EPOCH + timedelta(microseconds=end_us)
    quarter = first - timedelta(minutes=first.minute % 15, seconds=first.second, microseconds=first.microsecond)
    offsets: list[timedelta] = []
    found: list[datetime] = []
    while quarter < last + _QUARTER:
        offset = quarter.astimezone(zone).utcoffset() or timedelta(0)
        if offsets and offset != offsets[-1]:
            found.append(quarter)
        offsets.append(offset)
        quarter += _QUARTER
    for offset in set(offsets):
        day = datetime.combine((first + offset).date(), datetime.min.time(), EPOCH.tzinfo)
        while day - offset < last:
            found += [
                day + clock - offset for clock in (timedelta(0), clock_of(band.values[3]), clock_of(band.values[4]))
            ]
            day += timedelta(days=1)
    return sorted({(at - EPOCH) // timedelta(microseconds=1) for at in found if first < at < last})
