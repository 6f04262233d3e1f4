"""Fixtures for all tests: one Kafka and one ClickHouse a run, a fresh topic prefix and database a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from nanotally.schemas import sources
from nanotally.streams import admin
from nanotally.streams.environment import Environment
from tests.support.services import (
    Addresses,
    ClickHouseAddress,
    OwnServices,
    drop_database,
    fresh_database,
    fresh_prefix,
    running_services,
)
from tests.support.time_left import in_order, pytest_addoption, pytest_runtest_setup

__all__ = ["pytest_addoption", "pytest_runtest_setup"]  # hooks

# How fast examples are made says nothing of the code, and much of the machine.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

NEED_SERVICES = {"services", "own_services"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs services by what it asks for, so that `make unit` leaves it out."""
    for item in items:
        if NEED_SERVICES & set(getattr(item, "fixturenames", ())):
            item.add_marker("services")
    if config.getoption("--end-by"):
        items[:] = in_order(items)


@pytest.fixture(scope="module", autouse=True)
def sources_of_module() -> Iterator[None]:
    """Where a module's installations look for unknown schemas is forgotten with their services."""
    with sources.as_they_are():
        yield


@pytest.fixture(autouse=True)
def sources_of_test(sources_of_module: None) -> Iterator[None]:
    """The same for what one test looks up: a later one in this process has another Kafka, or none."""
    with sources.as_they_are():
        yield


@pytest.fixture(scope="session")
def services() -> Iterator[Addresses]:
    """Both services, started once for all tests unless the environment gives their addresses."""
    with running_services() as addresses:
        yield addresses


@pytest.fixture(scope="session")
def kafka(services: Addresses) -> str:
    """Bootstrap address of a real broker, `host:port`."""
    return services.kafka


@pytest.fixture(scope="session")
def clickhouse(services: Addresses) -> ClickHouseAddress:
    """Addresses of a real ClickHouse server."""
    return services.clickhouse


@pytest.fixture
def prefix(kafka: str) -> Iterator[str]:
    """A topic prefix of this test's own; its topics go with the test."""
    name = fresh_prefix()
    yield name
    admin.delete_topics(kafka, name)


@pytest.fixture
def database(clickhouse: ClickHouseAddress) -> Iterator[str]:
    """Name of a database of this test's own, not made yet; it goes with the test."""
    name = fresh_database()
    yield name
    drop_database(clickhouse, name)


@pytest.fixture
def environment(kafka: str, clickhouse: ClickHouseAddress, prefix: str, database: str, tmp_path: Path) -> Environment:
    """Everything a worker, sink or command needs to know, for this test alone."""
    return Environment(
        kafka=kafka,
        clickhouse=clickhouse.native,
        clickhouse_http=clickhouse.http,
        prefix=prefix,
        database=database,
        state=tmp_path / "state",
    )


@pytest.fixture
def own_services(tmp_path: Path) -> Iterator[OwnServices]:
    """Services that this test may stop and kill."""
    own = OwnServices(tmp_path / "services")
    try:
        yield own
    finally:
        own.close()
