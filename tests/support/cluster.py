"""Three real brokers and a ClickHouse of a test's own: a broker can be killed for good, robbed of its disk, started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import urllib.parse
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.services import clickhouse, kafka, ports, processes
from infra.services.folder import Folder
from infra.services.ports import HOST
from nanotally.streams import admin
from nanotally.streams.errors import Transient
from tests.support.reserved_ports import SERVICES, give_back, reserve

BROKERS = (1, 2, 3)
HEAP = "192m"
SMALL = {"log.cleaner.dedupe.buffer.size": str(16 << 20)}  # else two thirds of the heap
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # half the work at the start, which is most of what they do
DIES_WITHIN_S = 60.0
TRANSACTIONS = "__transaction_state"


class Cluster:
    """All up when made; everything ends with `close`, or with this process. Brokers are numbered 1, 2, 3."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root)
        base, taken = reserve(*SERVICES), list[int]()
        self._reserved = base
        for _ in range(2 * len(BROKERS) + 2):
            taken.append(ports.choose(base, taken))
        self.ports, controllers, (self._native, self._http) = taken[:3], tuple(taken[3:6]), taken[6:]
        self.web_port = ports.choose(max(taken) + 10, count=3)
        cluster = kafka.new_cluster()
        first = kafka.Node(controllers=controllers, cluster=cluster, heap=HEAP, more=SMALL, options=QUICK)
        self.nodes = {number: replace(first, number=number) for number in BROKERS}
        try:
            with ThreadPoolExecutor() as side_by_side:
                started = [side_by_side.submit(self._start_broker, number) for number in BROKERS]
                started.append(side_by_side.submit(self._start_clickhouse))
            for one in started:
                one.result()
            self.wait_for(BROKERS)
        except BaseException:
            self.close()
            raise

    def _start_broker(self, number: int) -> None:
        node = self.nodes[number]
        port, controller = self.ports[number - 1], node.controllers[number - 1]
        service = kafka.service(self.folder, port, controller, _quiet, os.getpid(), node)
        processes.start(self.folder, replace(service, restarts_max=0))  # who is killed stays away

    def _start_clickhouse(self) -> None:
        service = clickhouse.service(self.folder, self._native, self._http, _quiet, os.getpid())
        processes.start(self.folder, service)
        processes.wait_until(
            lambda: clickhouse.answers(*self.clickhouse),
            clickhouse.START_WITHIN_S,
            f"no ClickHouse; {clickhouse.why_not(self.folder)}",
        )

    def start(self, number: int) -> None:
        """Brings back a broker that was killed; returns when the others know it."""
        self._start_broker(number)
        self.wait_for([number])

    def wait_for(self, numbers: Iterable[int]) -> None:
        """Until these brokers are registered. Raises Transient with the end of a log."""
        for number in numbers:
            processes.wait_until(
                lambda number=number: number in self.registered(),  # type: ignore[misc]
                kafka.START_WITHIN_S,
                f"broker {number} does not come; {kafka.why_not(self.folder, self.nodes[number].name)}",
            )

    def kill(self, *numbers: int) -> None:
        """kill -9 of these brokers for good; returns when all are dead."""
        for number in numbers:
            os.kill(processes.state(self.folder, self.nodes[number].name).child, signal.SIGKILL)
        for number in numbers:
            name = self.nodes[number].name
            processes.wait_until(
                lambda name=name: not processes.state(self.folder, name).runs,  # type: ignore[misc]
                DIES_WITHIN_S,
                f"{name} does not die",
            )

    def lose_disk(self, number: int) -> None:
        """All that the dead broker had written is gone."""
        shutil.rmtree(self.folder.data(self.nodes[number].name))

    @property
    def kafka(self) -> str:
        """Bootstrap addresses of all brokers."""
        return ",".join(f"{HOST}:{port}" for port in self.ports)

    kafka_inside = kafka

    @property
    def clickhouse(self) -> tuple[str, str]:
        """Native and HTTP address."""
        return f"{HOST}:{self._native}", f"{HOST}:{self._http}"

    def ask(self, sql: str, timeout_s: float = 20.0) -> str:
        """What ClickHouse answers, as tab separated text. Raises OSError."""
        url = f"http://{HOST}:{self._http}/?{urllib.parse.urlencode({'query': sql})}"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=timeout_s) as answer:
            return str(answer.read().decode())

    def registered(self) -> set[int]:
        """Brokers that the cluster knows to run; none while it cannot say."""
        with contextlib.suppress(Transient), admin.admin_client(self.kafka, 3.0) as client:
            return {b["broker_id"] for b in client.describe_cluster()["brokers"] if not b.get("is_fenced")}
        return set()

    def leaders(self, topic: str) -> dict[int, int]:
        """Broker that leads, by partition."""
        with admin.admin_client(self.kafka) as client:
            (found,) = client.describe_topics([topic])
        return {p["partition_index"]: p["leader_id"] for p in found["partitions"]}

    def coordinator(self, transactional_id: str) -> int:
        """Broker that keeps the transactions of this id: Java's hash of the id chooses the partition."""
        leaders, number = self.leaders(TRANSACTIONS), 0
        for character in transactional_id:
            number = (number * 31 + ord(character)) & 0xFFFFFFFF
        return leaders[(number & 0x7FFFFFFF) % len(leaders)]

    def quorum_leader(self) -> int:
        """Broker whose controller decides for all."""
        with admin.admin_client(self.kafka) as client:
            found: Any = client.describe_metadata_quorum()
        return int(found["topics"][0]["partitions"][0]["leader_id"])

    def close(self) -> None:
        """Ends everything. Brokers are killed: the last ones could not say good-bye to a quorum."""
        for node in self.nodes.values():
            child = processes.state(self.folder, node.name).child
            if child and processes.start_time(child):
                os.kill(child, signal.SIGKILL)
            processes.stop(self.folder, node.name)
        processes.stop(self.folder, clickhouse.NAME)
        give_back(self._reserved)


def _quiet(_: str) -> None:
    """Progress is not shown in tests."""
