"""The real services of the tests, and that local ones come back with their data when they are killed."""

from __future__ import annotations

import contextlib

from clickhouse_driver.errors import Error as ClickHouseError

from infra.services import clickhouse as clickhouse_service
from infra.services import kafka as kafka_service
from infra.services import processes
from nanotally.streams import admin
from nanotally.streams.environment import Environment
from tests.support.services import ClickHouseAddress, OwnServices


def test_the_environment_of_a_test_is_its_own(environment: Environment, kafka: str, prefix: str, database: str) -> None:
    assert (environment.kafka, environment.prefix, environment.database) == (kafka, prefix, database)
    assert admin.partition_counts(kafka, prefix) == {}
    assert kafka_service.answers(environment.kafka)
    assert clickhouse_service.answers(environment.clickhouse, environment.clickhouse_http)


def rows(address: ClickHouseAddress) -> int | None:
    """How many rows the table has; None while the server is away."""
    try:
        with address.client() as client:
            return int(client.execute("SELECT count() FROM kept")[0][0])
    except (ClickHouseError, OSError, EOFError):
        return None


def test_killed_services_come_back_with_what_they_had(own_services: OwnServices) -> None:
    addresses = own_services.addresses
    cluster = admin.cluster_id(addresses.kafka)
    admin.create_topics(addresses.kafka)
    with addresses.clickhouse.client() as client:
        client.execute(
            "CREATE TABLE kept (n UInt64) ENGINE = MergeTree ORDER BY n "
            "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
        )
        client.execute("INSERT INTO kept SELECT number FROM numbers(1000)")
    own_services.kill("clickhouse")
    own_services.kill("kafka")
    processes.wait_until(lambda: rows(addresses.clickhouse) == 1000, 180, "ClickHouse did not come back with its rows")
    processes.wait_until(lambda: kafka_service.answers(addresses.kafka), 180, "Kafka did not come back")
    assert admin.cluster_id(addresses.kafka) == cluster
    assert admin.create_topics(addresses.kafka) == [], "all topics are still there"


def test_a_stopped_service_stays_away_until_it_is_started(own_services: OwnServices) -> None:
    addresses = own_services.addresses
    own_services.stop("clickhouse")
    assert not clickhouse_service.answers(addresses.clickhouse.native, addresses.clickhouse.http)
    own_services.start()
    assert own_services.addresses == addresses, "on the same ports"
    assert clickhouse_service.answers(addresses.clickhouse.native, addresses.clickhouse.http)


def test_a_failed_login_does_not_take_the_server_away_for_long(own_services: OwnServices) -> None:
    address = own_services.addresses.clickhouse
    with contextlib.suppress(ClickHouseError, OSError, EOFError), address.client(user="nobody") as client:
        client.execute("SELECT 1")

    def answers() -> bool:
        return clickhouse_service.answers(address.native, address.http)

    processes.wait_until(answers, 180, "ClickHouse did not come back after a failed login")
