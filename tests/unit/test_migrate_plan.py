"""When an installation is closed for a move, what begins anew, and what the command refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest

from nanotally.streams.commands.migrate_plan import Plan, plan, refuse
from nanotally.streams.commands.positions import PayersPosition
from nanotally.streams.domain.records import LONG_AGO
from nanotally.streams.domain.tariff import Meter, Party, Rule, RuleBook, Settings, Split, TariffVersion, Tier
from nanotally.streams.errors import InvalidInput

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000


def us(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[misc, arg-type]


def book(*scopes: str, settlement: str = "day", calendar: str = "UTC", horizon_us: int = DAY_US) -> RuleBook:
    split = Split("standard", (Party("platform", Fraction(1, 10)), Party("creator", None)))
    rules = tuple(
        Rule(f"r{n}", f"m{n}", (), (Tier(None, Fraction(5)),), (), scope, "standard", text="5")
        for n, scope in enumerate(scopes)
    )
    meters = tuple(Meter(f"m{n}", "page") for n in range(len(scopes)))
    version = TariffVersion("media", 1, 0, "USD", calendar, (), meters, (split,), rules)
    return RuleBook(3, Settings(settlement=settlement, horizon_us=horizon_us), (version,))


def at(*watermarks_us: int, number: int = 3) -> list[PayersPosition]:
    return [
        PayersPosition("payers", p, 10, 10, number, watermark_us, LONG_AGO)
        for p, watermark_us in enumerate(watermarks_us)
    ]


NOON = us(2026, 11, 20, 12)
LATE = us(2026, 11, 20, 23, 30)
MIDNIGHT = us(2026, 11, 21)


def anew(*scopes: str, now_us: int = LATE, **settings: str) -> list[str]:
    return list(plan(book(*scopes, **settings), at(now_us), now_us).anew)  # type: ignore[arg-type]


def test_the_old_books_are_closed_at_the_end_of_the_settlements_period() -> None:
    assert plan(book("event"), at(NOON), NOON).closes_at_us == MIDNIGHT
    assert plan(book("event", settlement="month"), at(NOON), NOON).closes_at_us == us(2026, 12, 1)
    # Also where uses or a close had brought the books further than the clock.
    assert plan(book("event"), at(us(2026, 11, 23, 1)), NOON).closes_at_us == us(2026, 11, 24)
    assert plan(book("event"), at(LONG_AGO, LONG_AGO), NOON).closes_at_us == MIDNIGHT


def test_in_the_last_hour_only_what_counts_for_longer_begins_anew() -> None:
    assert anew("event", "hour", "day") == []
    assert anew("month", "life", "year", "session") == [
        f"tariff 'media', rule 'r{n}', which counts per {scope}"
        for n, scope in enumerate(("month", "life", "year", "session"))
    ]
    assert anew("month", settlement="month", now_us=us(2026, 11, 30, 23, 30)) == []
    assert anew("day", calendar="Europe/Berlin") == ["tariff 'media', rule 'r0', which counts per day"]


def test_in_mid_period_all_that_counts_begins_anew() -> None:
    first, *rest = anew("event", "day", now_us=NOON)
    assert first.startswith("the running day: what it comes to is settled by both installations")
    assert rest == ["tariff 'media', rule 'r1', which counts per day"]


def test_what_begins_anew_is_refused_with_the_way_around_it() -> None:
    with pytest.raises(InvalidInput) as refused:
        refuse(plan(book("day"), at(NOON), NOON), "day")
    assert "run it in the last hour of the day, which ends at 2026-11-21T00:00:00" in str(refused.value)
    assert "--begin-anew" in str(refused.value)
    with pytest.raises(InvalidInput, match="cannot be carried over"):
        refuse(plan(book("life"), at(LATE), LATE), "day")
    refuse(plan(book("day"), at(LATE), LATE), "day")


def test_a_partition_that_lacks_the_newest_book_is_refused() -> None:
    positions = [*at(NOON), replace(at(NOON)[0], partition=1, book_number=2)]
    with pytest.raises(InvalidInput, match="rule book 3 is not in force in partition 1 yet"):
        plan(book("event"), positions, NOON)


def test_ids_go_over_as_far_as_they_are_still_told_from_repeats() -> None:
    middle = plan(book("event"), at(NOON - HOUR_US, NOON - 2 * HOUR_US), NOON)
    assert not middle.at_end
    assert middle.ids_from_us == NOON - HOUR_US - DAY_US
    # Uses that came meanwhile bring the new installation as far as they had brought the old one.
    assert middle.watermark_of_new_us(NOON) == NOON - middle.lateness_us
    assert middle.watermark_of_new_us(LONG_AGO) == NOON - HOUR_US
    end = plan(book("event"), at(LATE - HOUR_US), LATE)
    assert end.at_end
    assert end.watermark_of_new_us(LATE) == MIDNIGHT
    assert end.ids_from_us == MIDNIGHT - DAY_US


def test_a_horizon_so_short_that_uses_of_now_would_be_too_old_is_no_end() -> None:
    assert not plan(book("event", horizon_us=HOUR_US), at(LATE), LATE).at_end


def test_without_a_use_no_id_goes_over() -> None:
    empty: Plan = plan(book("event"), at(LONG_AGO), NOON)
    assert empty.ids_from_us == LONG_AGO
    assert empty.watermark_of_new_us(LONG_AGO) == LONG_AGO
