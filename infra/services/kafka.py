"""Real Kafka brokers (KRaft) as local processes: one, or several that make up a cluster."""

from __future__ import annotations

import base64
import socket
import struct
import subprocess
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.services import download
from infra.services.folder import Folder, make
from infra.services.java import java
from infra.services.ports import HOST
from infra.services.processes import Service, tail
from nanotally.streams import replicas as copies
from nanotally.streams.errors import Transient

NAME = "kafka"
PORT = 9092
CONTROLLER_PORT = 9093
HEAP = "512m"
START_WITHIN_S = 240.0  # one that ends is noticed at once; this is for cores that are very slow

# Topics are made on purpose only, with the settings they need; internal ones have as many replicas as there are nodes.
PROPERTIES = """\
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}/log
auto.create.topics.enable=false
default.replication.factor={replicas}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
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


@dataclass(frozen=True)
class Node:
    """Which broker of its cluster this one is. controllers: the controllers' ports of all, in the order of their
    numbers; cluster: its id, drawn when the data folder is formatted where it is empty; more: settings besides; options
    of the Java machine."""

    number: int = 1
    controllers: tuple[int, ...] = ()
    cluster: str = ""
    heap: str = HEAP
    more: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What folder, log and run file are called."""
        return f"{NAME}-{self.number}" if len(self.controllers) > 1 else NAME


ALONE = Node()


def properties(host: str, port: int, controller: int, data: Path | str, node: Node = ALONE) -> dict[str, str]:
    """The broker's settings."""
    controllers = node.controllers or (controller,)
    replicas = min(copies.REPLICAS, len(controllers))
    text = PROPERTIES.format(
        host=host,
        port=port,
        controller=controller,
        data=data,
        number=node.number,
        voters=",".join(f"{number}@{host}:{one}" for number, one in enumerate(controllers, 1)),
        replicas=replicas,
        in_sync=copies.in_sync_min(replicas),
    )
    return {**dict(line.split("=", 1) for line in text.splitlines()), **node.more}


def service(
    folder: Folder,
    port: int,
    controller: int,
    say: Callable[[str], None],
    owner: int | None = None,
    node: Node = ALONE,
) -> Service:
    """Fetch what is missing, format the data folder at its first use, and say what to run.

    Raises Transient when jars or Java cannot be had or the folder cannot be formatted."""
    runtime, jars = java(), download.kafka_jars(say)
    data = make(folder.data(node.name))
    settings, logging = data / "server.properties", data / "log4j2.properties"
    lines = (f"{name}={value}" for name, value in properties(HOST, port, controller, data, node).items())
    settings.write_text("\n".join([*lines, ""]), encoding="utf-8")
    logging.write_text(LOGGING, encoding="utf-8")
    options = [
        runtime,
        *node.options,
        "-cp",
        f"{jars}/*",
        f"-Dlog4j2.configurationFile={logging}",
        "--enable-native-access=ALL-UNNAMED",
    ]
    if not (data / "log" / "meta.properties").exists():
        _format([*options, "kafka.tools.StorageTool"], settings, data, node.cluster or new_cluster())
    heap = (f"-Xmx{node.heap}", f"-Xms{node.heap}")
    command = (*options, *heap, "-XX:+ExitOnOutOfMemoryError", "kafka.Kafka", str(settings))
    return Service(node.name, command, stop_within_s=20.0, owner=owner)


def new_cluster() -> str:
    """A cluster id that nobody else has."""
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    return f"A{cluster[1:]}" if cluster.startswith("-") else cluster  # a dash would be read as an option


def _format(tool: list[str], settings: Path, data: Path, cluster: str) -> None:
    """Give the data folder its cluster id."""
    done = subprocess.run(
        [*tool, "format", "-t", cluster, "-c", str(settings)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Transient(
            f"Kafka's data folder {data} cannot be formatted:\n{done.stderr.strip() or done.stdout.strip()}"
        )


def answers(address: str, timeout_s: float = 1.0) -> bool:
    """Whether a Kafka broker (not merely an open port) is at one of the addresses: it is asked which requests it knows.

    address: `host:port`, several with commas. Raises ValueError for what is no address."""
    return any(_answers(one.strip(), timeout_s) for one in address.split(","))


def _answers(address: str, timeout_s: float) -> bool:
    host, _, port = address.rpartition(":")
    # ApiVersions, version 0, correlation id 7, no client id.
    request = struct.pack(">ihhih", 10, 18, 0, 7, -1)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout_s) as connection:
            connection.sendall(request)
            reply = connection.recv(10)
    except OSError:
        return False
    return len(reply) == 10 and struct.unpack(">iih", reply)[1:] == (7, 0)


def why_not(folder: Folder, name: str = NAME) -> str:
    """The end of the broker's log, for the message when it does not answer."""
    return f"the last lines of {folder.log(name)}:\n{tail(folder.log(name))}"
