"""Which tests are left out where time is short."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.time_left import why_not

pytest_plugins = ["pytester"]

CONFTEST = """
from tests.support.time_left import pytest_addoption, pytest_runtest_setup, in_order

def pytest_collection_modifyitems(config, items):
    if config.getoption("--end-by"):
        items[:] = in_order(items)
"""
LATE, NEVER = "9999999999", "1"
TWO, FIVE = ("two", "beside_two"), ("five", "beside_five")


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(CONFTEST)
    root = Path(__file__).resolve().parents[2]
    pytester.makeini(f"[pytest]\nmarkers =\n    long\n    services\npythonpath = {root}")
    long = "import pytest\n\n@pytest.mark.long({})\ndef test_{}(): pass\n\ndef test_beside_{}(): pass\n"
    pytester.makepyfile(
        test_a=long.format(2, "two", "two"),
        test_b="import pytest\n\n@pytest.mark.services\ndef test_served(): pass",
        test_c=long.format(5, "five", "five"),
        test_d="def test_quick(): pass",
    )
    return pytester


def outcomes(project: pytest.Pytester, *options: str) -> list[str]:
    lines = project.runpytest_inprocess("-v", "-p", "no:cacheprovider", *options).outlines
    return [line.split("::")[1].split(" [")[0].strip() for line in lines if "::test_" in line]


def test_who_has_time_runs_all_in_the_usual_order(project: pytest.Pytester) -> None:
    assert outcomes(project) == [f"test_{name} PASSED" for name in (*TWO, "served", *FIVE, "quick")]


def test_where_there_is_an_end_long_ones_come_last_and_the_longest_first(project: pytest.Pytester) -> None:
    found = outcomes(project, "--end-by", LATE)
    assert found == [f"test_{name} PASSED" for name in ("served", "quick", *FIVE, *TWO)]


def test_long_ones_that_may_not_end_in_time_are_left_out_and_nothing_else(project: pytest.Pytester) -> None:
    found = [line.split(" (")[0] for line in outcomes(project, "--end-by", NEVER)]
    left_out, beside = ("five", "two"), ("served", "quick", "beside_five", "beside_two")
    assert [line for line in found if "SKIPPED" in line] == [f"test_{name} SKIPPED" for name in left_out]
    assert [line for line in found if "PASSED" in line] == [f"test_{name} PASSED" for name in beside]


def test_a_test_begins_as_long_as_its_minutes_are_left() -> None:
    assert why_not(2.0, 1120.0, 1000.0) == ""
    assert why_not(2.0, 1119.0, 1000.0) == "may take 2 minutes, which are not left here; `make test` runs it"
    assert why_not(0.0, 1000.0, 2000.0) == ""
    assert why_not(2.0, 0.0, 2000.0) == "", "there is no end"
