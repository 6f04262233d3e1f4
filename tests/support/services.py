"""A real Kafka and a real ClickHouse for the tests: given by the environment, in containers, or as local processes.

NANOTALLY_TEST_SERVICES=local or =docker decides between the last two; else Docker is used where an engine answers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from clickhouse_driver import Client
from clickhouse_driver.errors import Error as ClickHouseError

from infra.services import clickhouse, kafka, local, ports, processes
from infra.services.folder import Folder
from nanotally.streams.errors import Transient
from tests.support.reserved_ports import SERVICES, give_back, reserve

KAFKA_IMAGE = "apache/kafka:4.1.1"
CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:26.7"
CONTAINER_WITHIN_S = 120.0
DIES_WITHIN_S = 60.0


@dataclass(frozen=True)
class ClickHouseAddress:
    """`native` for clickhouse-driver and `http` for bulk inserts, `host:port` each."""

    native: str
    http: str

    @property
    def host(self) -> str:
        return self.native.rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.native.rpartition(":")[2])

    def client(self, database: str = "default", user: str = "default") -> Client:
        """A driver's client; disconnects at the end of a `with`."""
        return Client(self.host, self.port, database=database, user=user, connect_timeout=30, send_receive_timeout=120)


@dataclass(frozen=True)
class Addresses:
    """Where the tests find their services."""

    kafka: str
    clickhouse: ClickHouseAddress


class OwnServices:
    """Local services that one test may stop, kill and start again, on ports that stay the same."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root)
        self._usual = usual_ports()
        self._found = local.ensure(self.folder, quiet, {}, self._usual, owner=os.getpid())

    @property
    def addresses(self) -> Addresses:
        return Addresses(self._found.kafka, ClickHouseAddress(self._found.clickhouse, self._found.clickhouse_http))

    def stop(self, name: str) -> None:
        """Stop 'kafka' or 'clickhouse' in order; it does not come back before `start`."""
        processes.stop(self.folder, name)

    def start(self) -> None:
        """Bring back what is stopped; returns when it answers."""
        self._found = local.ensure(self.folder, quiet, {}, self._usual, owner=os.getpid())

    def kill(self, name: str) -> None:
        """kill -9 of the server itself; returns when it is dead. Its supervisor brings it back in a second or so."""
        child = processes.state(self.folder, name).child
        os.kill(child, 9)
        processes.wait_until(lambda: processes.start_time(child) is None, DIES_WITHIN_S, f"{name} does not die")

    def close(self) -> None:
        local.stop_all(self.folder, quiet)
        give_back(self._usual["kafka"])


def quiet(_: str) -> None:
    """Progress is not shown in tests."""


def usual_ports() -> dict[str, int]:
    """Ports to try first: a neighbourhood that nobody else is given, below those the system hands out itself."""
    base = reserve(*SERVICES)
    return {
        "kafka": base,
        "kafka_controller": base + 2,
        "clickhouse": base + 4,
        "clickhouse_http": base + 6,
        "web": base + 10,
    }


@contextlib.contextmanager
def running_services() -> Iterator[Addresses]:
    """Services for a whole test run; what is started here is stopped here, also when the tests fail."""
    kafka_given = os.environ.get("NANOTALLY_KAFKA", "")
    clickhouse_given = os.environ.get("NANOTALLY_CLICKHOUSE", "")
    if not (kafka_given and clickhouse_given) and docker_answers():
        try:
            with _containers(kafka_given, clickhouse_given) as addresses:
                yield addresses
            return
        except _NoImage as e:
            warnings.warn(f"a Docker engine answers but {e}; the tests use local processes", stacklevel=1)
    with own_services_in_temporary_folder(dict(os.environ)) as addresses:
        yield addresses


@contextlib.contextmanager
def own_services_in_temporary_folder(environ: dict[str, str]) -> Iterator[Addresses]:
    """Local processes for whatever the environment does not give, in a folder that goes with them."""
    root = Path(tempfile.mkdtemp(prefix="nanotally-test-"))
    folder = Folder(root)
    try:
        found = local.ensure(folder, quiet, environ, usual_ports(), owner=os.getpid())
        yield Addresses(found.kafka, ClickHouseAddress(found.clickhouse, found.clickhouse_http))
    finally:
        local.stop_all(folder, quiet)
        shutil.rmtree(root, ignore_errors=True)


def docker_answers() -> bool:
    """Whether to use containers: as the environment says, else whether an engine answers at once."""
    wanted = os.environ.get("NANOTALLY_TEST_SERVICES", "")
    if wanted in ("local", "docker"):
        return wanted == "docker"
    import docker
    from docker.errors import DockerException

    try:
        with contextlib.closing(docker.from_env(timeout=2)) as client:
            return bool(client.ping())
    except DockerException:
        return False


class _NoImage(Exception):
    """The engine runs and cannot get the image."""


@contextlib.contextmanager
def _containers(kafka_given: str, clickhouse_given: str) -> Iterator[Addresses]:
    """The official images with the settings of infra/compose.yaml, for whatever is not given."""
    with contextlib.ExitStack() as stack:
        addresses = Addresses(
            kafka_given, ClickHouseAddress(clickhouse_given, os.environ.get("NANOTALLY_CLICKHOUSE_HTTP", ""))
        )
        if not kafka_given:
            addresses = replace(addresses, kafka=_kafka_container(stack))
        if not clickhouse_given:
            addresses = replace(addresses, clickhouse=_clickhouse_container(stack))
        yield addresses


def _kafka_container(stack: contextlib.ExitStack) -> str:
    from testcontainers.core.container import DockerContainer

    # The broker tells clients its address, so the port must be known before it starts.
    port = ports.choose(usual_ports()["kafka"])
    settings = kafka.properties(host="localhost", port=9092, controller=9093, data="/tmp/kafka")
    settings["listeners"] = "PLAINTEXT://0.0.0.0:9092,CONTROLLER://localhost:9093"
    settings["advertised.listeners"] = f"PLAINTEXT://localhost:{port}"
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(9092, port)
    for name, value in settings.items():
        container = container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
    _start(stack, container)
    address = f"localhost:{port}"
    processes.wait_until(lambda: kafka.answers(address), CONTAINER_WITHIN_S, "the Kafka container does not answer")
    return address


def _clickhouse_container(stack: contextlib.ExitStack) -> ClickHouseAddress:
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(CLICKHOUSE_IMAGE).with_exposed_ports(9000, 8123)
    container = container.with_env("CLICKHOUSE_SKIP_USER_SETUP", "1").with_env("TZ", "UTC")
    _start(stack, container)
    host = container.get_container_host_ip()
    address = ClickHouseAddress(
        f"{host}:{container.get_exposed_port(9000)}", f"{host}:{container.get_exposed_port(8123)}"
    )
    processes.wait_until(
        lambda: clickhouse.answers(address.native, address.http),
        CONTAINER_WITHIN_S,
        "the ClickHouse container does not answer",
    )
    return address


def _start(stack: contextlib.ExitStack, container: object) -> None:
    """Start a container that ends with the stack. Raises _NoImage when there is no way to its image."""
    from docker.errors import APIError, ImageNotFound

    try:
        stack.enter_context(container)  # type: ignore[arg-type]
    except (APIError, ImageNotFound) as e:
        raise _NoImage(str(e)) from e


def fresh_prefix() -> str:
    """A topic prefix nobody else uses."""
    return f"t{uuid.uuid4().hex[:10]}-"


def fresh_database() -> str:
    """A database name nobody else uses."""
    return f"test_{uuid.uuid4().hex[:10]}"


def drop_database(address: ClickHouseAddress, name: str, within_s: float = 120.0) -> None:
    """Drop it if it is there; waits for a server that is just being restarted."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            with address.client() as client:
                client.execute(f"DROP DATABASE IF EXISTS `{name}` SYNC")
            return
        except (ClickHouseError, OSError, EOFError) as e:
            if time.monotonic() > deadline:
                raise Transient(f"database {name} cannot be dropped: {e}") from e
            time.sleep(0.2)
