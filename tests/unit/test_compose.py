"""The compose file and the image say the same as the local services, as far as can be seen without a Docker engine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.services import clickhouse, download, kafka
from nanotally.streams.environment import STAGES, Environment
from tests.support import services

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "infra" / "compose.yaml"
DOCKERFILE = ROOT / "infra" / "Dockerfile"

SERVICE_KEYS = {
    "image", "build", "command", "ports", "volumes", "environment", "healthcheck", "restart", "depends_on", "ulimits",
    "stop_grace_period",
}  # fmt: skip
CONDITIONS = {"service_healthy", "service_completed_successfully", "service_started"}
# What differs on purpose between a container and a local process: where it listens and where data are.
OF_THE_PLACE = {
    "process.roles", "node.id", "controller.quorum.voters", "listeners", "advertised.listeners", "log.dirs",
    "controller.listener.names", "inter.broker.listener.name",
}  # fmt: skip


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content = yaml.safe_load(COMPOSE.read_text())
    assert isinstance(content, dict)
    return content


def test_the_file_has_the_shape_of_a_compose_file(compose: dict[str, Any]) -> None:
    assert set(compose) == {"name", "services", "volumes"}
    for name, service in compose["services"].items():
        assert set(service) <= SERVICE_KEYS, name
        assert "image" in service, name
        assert all(isinstance(value, str) for value in service.get("environment", {}).values()), (
            f"{name}: a value that is no text would be rewritten"
        )
        for other, how in service.get("depends_on", {}).items():
            assert other in compose["services"] and how["condition"] in CONDITIONS
            if how["condition"] == "service_healthy":
                assert "healthcheck" in compose["services"][other]
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]
    if has_docker_compose():
        command = ["docker", "compose", "-f", str(COMPOSE), "config", "--quiet"]
        read = subprocess.run(command, capture_output=True, text=True, check=False)
        assert read.returncode == 0, read.stderr


def has_docker_compose() -> bool:
    """Whether Docker's own reader is here; it needs no engine."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


def test_the_broker_has_the_settings_of_the_local_one(compose: dict[str, Any]) -> None:
    local = kafka.properties(host="", port=0, controller=0, data="")
    container = compose["services"]["kafka"]["environment"]
    for name, value in local.items():
        if name not in OF_THE_PLACE:
            assert container.get(f"KAFKA_{name.upper().replace('.', '_')}") == value, name
    heap = container["KAFKA_HEAP_OPTS"]
    assert heap == f"-Xmx{kafka.HEAP} -Xms{kafka.HEAP}"


def test_images_are_those_of_the_local_versions_and_of_the_tests(compose: dict[str, Any]) -> None:
    assert compose["services"]["kafka"]["image"] == services.KAFKA_IMAGE == f"apache/kafka:{download.KAFKA_VERSION}"
    image = compose["services"]["clickhouse"]["image"]
    assert image == services.CLICKHOUSE_IMAGE
    assert download.CLICKHOUSE_VERSION.startswith(image.split(":")[1])


def test_ports_are_the_usual_ones_and_open_to_this_machine_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    first = Environment().web_port
    web = f"{first}-{first + len(STAGES) - 1}"
    assert {port.rpartition(":")[2] for port in ports} == {
        str(kafka.PORT), str(clickhouse.PORT), str(clickhouse.HTTP_PORT), web,
    }  # fmt: skip


def test_containers_find_each_other(compose: dict[str, Any]) -> None:
    advertised = compose["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    for name in ("prepare", "worker"):
        variables = compose["services"][name]["environment"]
        environment = Environment.load(variables, ROOT)
        assert f"PLAINTEXT://{environment.kafka}" in advertised.split(",")
        assert environment.clickhouse == f"clickhouse:{clickhouse.PORT}"
        assert environment.clickhouse_http == f"clickhouse:{clickhouse.HTTP_PORT}"


def test_the_image_copies_what_is_there_and_let_through() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in DOCKERFILE.read_text().splitlines():
        found = re.fullmatch(r"COPY (?!--from)(.+) \S+", line)
        for source in found[1].split() if found else ():
            assert source in let_through, f"{source} is not let through by .dockerignore"
            assert (ROOT / source).exists(), source


def test_the_image_runs_as_nobody_in_particular() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    last = len(lines) - 1 - lines[::-1].index("USER nanotally")
    assert not any(line.startswith(("USER", "RUN")) for line in lines[last + 1 :])
    assert lines[-1] == 'CMD ["nanotally", "worker"]'
