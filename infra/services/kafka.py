"""A real Kafka broker (KRaft, one node) as a local process."""

from __future__ import annotations

import base64
import socket
import struct
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

from infra.services import download
from infra.services.folder import Folder, make
from infra.services.java import java
from infra.services.ports import HOST
from infra.services.processes import Service, tail
from nanotally.streams.errors import Transient

NAME = "kafka"
PORT = 9092
CONTROLLER_PORT = 9093
HEAP = "512m"
START_WITHIN_S = 90.0

# One node: every internal topic has one replica. Topics are made on purpose only, with the settings they need.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}/log
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
transaction.max.timeout.ms=900000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
message.max.bytes=8388608
replica.fetch.max.bytes=8388608
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
log.segment.bytes=268435456
"""

LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSS'Z'}{UTC} %p %m (%c{1})%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
"""


def service(
    folder: Folder, port: int, controller: int, say: Callable[[str], None], owner: int | None = None
) -> Service:
    """Fetch what is missing, format the data folder at its first use, and say what to run.

    Raises Transient when jars or Java cannot be had or the folder cannot be formatted."""
    runtime, jars = java(), download.kafka_jars(say)
    data = make(folder.data(NAME))
    properties, logging = data / "server.properties", data / "log4j2.properties"
    properties.write_text(PROPERTIES.format(host=HOST, port=port, controller=controller, data=data), encoding="utf-8")
    logging.write_text(LOGGING, encoding="utf-8")
    options = [
        runtime,
        "-cp",
        f"{jars}/*",
        f"-Dlog4j2.configurationFile={logging}",
        "--enable-native-access=ALL-UNNAMED",
    ]
    if not (data / "log" / "meta.properties").exists():
        _format([*options, "kafka.tools.StorageTool"], properties, data)
    command = (*options, f"-Xmx{HEAP}", f"-Xms{HEAP}", "-XX:+ExitOnOutOfMemoryError", "kafka.Kafka", str(properties))
    return Service(NAME, command, stop_within_s=20.0, owner=owner)


def _format(tool: list[str], properties: Path, data: Path) -> None:
    """Give the data folder its cluster id."""
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    if cluster.startswith("-"):  # would be read as an option
        cluster = f"A{cluster[1:]}"
    done = subprocess.run(
        [*tool, "format", "-t", cluster, "-c", str(properties)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Transient(
            f"Kafka's data folder {data} cannot be formatted:\n{done.stderr.strip() or done.stdout.strip()}"
        )


def answers(address: str, timeout_s: float = 1.0) -> bool:
    """Whether a Kafka broker (not merely an open port) is there: it is asked which requests it knows."""
    host, _, port = address.split(",")[0].rpartition(":")
    # ApiVersions, version 0, correlation id 7, no client id.
    request = struct.pack(">ihhih", 10, 18, 0, 7, -1)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout_s) as connection:
            connection.sendall(request)
            reply = connection.recv(10)
    except OSError:
        return False
    return len(reply) == 10 and struct.unpack(">iih", reply)[1:] == (7, 0)


def why_not(folder: Folder) -> str:
    """The end of the broker's log, for the message when it does not answer."""
    return f"the last lines of {folder.log(NAME)}:\n{tail(folder.log(NAME))}"
