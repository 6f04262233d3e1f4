"""Long tests are left out, and named, where no time is left for them: `--end-by`.

So whoever has to answer within a given time, as continuous integration has, does so on a slow machine too. Without that
option all tests run, in the usual order; with it all but long ones do, whatever the time."""

from __future__ import annotations

import time

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "run long tests last, and leave those out that may not end by then (seconds since 1970)"
    parser.addoption("--end-by", type=float, default=0.0, metavar="SECONDS", help=told)


def minutes_of(item: pytest.Item) -> float:
    """How long it may take; 0 where it is not long."""
    marker = item.get_closest_marker("long")
    return float(marker.args[0]) if marker else 0.0


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Files with long tests last, the longest first, so that both cores end together. A file stays together, and in its
    own order."""
    longest: dict[object, float] = {}
    for item in items:
        longest[item.path] = max(longest.get(item.path, 0.0), minutes_of(item))
    return sorted(items, key=lambda item: (longest[item.path] > 0, -longest[item.path]))


def why_not(minutes: float, end_by_s: float, now_s: float) -> str:
    """Why it does not begin any more; empty where it does."""
    if not minutes or not end_by_s or now_s + 60 * minutes <= end_by_s:
        return ""
    return f"may take {minutes:g} minutes, which are not left here; `make test` runs it"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before its fixtures, which may take long, too."""
    if why := why_not(minutes_of(item), item.config.getoption("--end-by"), time.time()):
        pytest.skip(why)
