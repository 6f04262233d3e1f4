"""Tests that take long are left out, and named, where no time is left for them: `--end-by`.

So whoever has to answer within a given time, as continuous integration has, does so on a slow machine too. Without that
option all tests run, in the usual order."""

from __future__ import annotations

import time

import pytest

LONG, SERVICES = "long", "services"
WITH_SERVICES = 0.5  # minutes that those may take that are not marked as long


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "run tests with services last, and leave those out that may not end by then (seconds since 1970)"
    parser.addoption("--end-by", type=float, default=0.0, metavar="SECONDS", help=told)


def minutes_of(item: pytest.Item) -> float:
    """How long it may take; 0 where that is nothing to speak of."""
    if marker := item.get_closest_marker(LONG):
        return float(marker.args[0])
    return WITH_SERVICES if item.get_closest_marker(SERVICES) else 0.0


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Files without services first, then those with them, then those with long tests, the longest first: so that both
    cores end together. A file stays together, and in its own order."""
    longest: dict[object, float] = {}
    for item in items:
        longest[item.path] = max(longest.get(item.path, 0.0), minutes_of(item))

    def place(item: pytest.Item) -> tuple[int, float]:
        minutes = longest[item.path]
        return (2, -minutes) if minutes > WITH_SERVICES else (int(minutes > 0), 0.0)

    return sorted(items, key=place)


def why_not(minutes: float, end_by_s: float, now_s: float) -> str:
    """Why it does not begin any more; empty where it does."""
    if not minutes or not end_by_s or now_s + 60 * minutes <= end_by_s:
        return ""
    return f"may take {minutes * 60:.0f} s, which are not left here; `make test` runs it"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before its fixtures, which may take long, too."""
    if why := why_not(minutes_of(item), item.config.getoption("--end-by"), time.time()):
        pytest.skip(why)
