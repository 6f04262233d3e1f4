"""A Kafka and a ClickHouse of this run's own, behind proxies: their processes can be killed, stopped and continued,
their network cut. Workers and publishers know the proxies' ports only; what looks on goes past them."""

from __future__ import annotations

import os
import signal
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from infra.services import clickhouse, kafka, ports, processes
from infra.services.folder import Folder
from nanotally.streams.errors import Transient
from tests.chaos.proxy import HOST, Proxy
from tests.support.reserved_ports import SERVICES, give_back, reserve

KAFKA, CLICKHOUSE = kafka.NAME, clickhouse.NAME
ANSWERS_WITHIN_S = 300.0
PORT_NAMES = ("kafka", "kafka_clients", "controller", "clickhouse", "http", "via_kafka", "via_clickhouse", "via_http")

# Clients are sent to the proxy; the broker's own requests (markers of transactions) are not.
LISTENERS = """\
listeners=PLAINTEXT://{host}:{kafka},CLIENTS://{host}:{kafka_clients},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{kafka},CLIENTS://{host}:{via_kafka}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT
"""


class Site:
    """Both services, and the proxies in front of them. Everything ends with `close`, or with this process."""

    def __init__(self, root: Path) -> None:
        """Starts all; returns when both answer. Raises Transient."""
        self.folder = Folder(root)
        base = self._reserved = reserve(*SERVICES)
        taken: list[int] = []
        for _ in PORT_NAMES:
            taken.append(ports.choose(base, taken))
        self._ports = dict(zip(PORT_NAMES, taken, strict=True))
        self.web_port = ports.choose(max(taken) + 10, count=3)
        self.proxies: dict[str, Proxy] = {}
        try:
            self.start()
            port = self._ports
            self.proxies["kafka"] = Proxy(port["via_kafka"], port["kafka_clients"])
            self.proxies["clickhouse"] = Proxy(port["via_clickhouse"], port["clickhouse"])
            self.proxies["http"] = Proxy(port["via_http"], port["http"])
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Starts what is stopped; returns when both answer."""
        for name in (KAFKA, CLICKHOUSE):
            if not processes.state(self.folder, name).runs:
                processes.start(self.folder, self._service(name))
        for name in (KAFKA, CLICKHOUSE):
            self.wait_for(name)

    def wait_for(self, name: str, within_s: float = ANSWERS_WITHIN_S) -> None:
        """Returns when the service answers. Raises Transient with the end of its log."""
        module = kafka if name == KAFKA else clickhouse
        processes.wait_until(
            lambda: self.answers(name), within_s, f"{name} does not answer; {module.why_not(self.folder)}"
        )

    def answers(self, name: str) -> bool:
        if name == KAFKA:
            return kafka.answers(self.kafka_inside)
        return clickhouse.answers(f"{HOST}:{self._ports['clickhouse']}", self.http_inside)

    @property
    def kafka(self) -> str:
        """Bootstrap address for clients: the proxy."""
        return f"{HOST}:{self._ports['via_kafka']}"

    @property
    def kafka_inside(self) -> str:
        """The broker itself, past the proxy."""
        return f"{HOST}:{self._ports['kafka']}"

    @property
    def clickhouse(self) -> tuple[str, str]:
        """Native and HTTP address for clients: the proxies."""
        return f"{HOST}:{self._ports['via_clickhouse']}", f"{HOST}:{self._ports['via_http']}"

    @property
    def http_inside(self) -> str:
        """ClickHouse over HTTP, past the proxy."""
        return f"{HOST}:{self._ports['http']}"

    def kill(self, name: str) -> None:
        """kill -9 of the server; its supervisor brings it back."""
        self.signal(name, signal.SIGKILL)

    def signal(self, name: str, number: int) -> None:
        """A signal to the server's own process. Raises Transient where there is none for a while."""
        deadline = time.monotonic() + ANSWERS_WITHIN_S
        while True:
            child = processes.state(self.folder, name).child
            try:
                if child and processes.start_time(child):
                    os.kill(child, number)
                    return
            except ProcessLookupError:  # it died just now
                pass
            if time.monotonic() > deadline:
                raise Transient(f"{name} does not run; see {self.folder.log(name)}")
            time.sleep(0.05)

    def stop(self, name: str) -> None:
        """Ends the service in order; `start` brings it back."""
        processes.stop(self.folder, name)

    def ask(self, sql: str, timeout_s: float = 20.0) -> str:
        """The answer of ClickHouse, past the proxy, as tab separated text. Raises OSError where it does not answer."""
        url = f"http://{self.http_inside}/?{urllib.parse.urlencode({'query': sql})}"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=timeout_s) as answer:
            return str(answer.read().decode())

    def ask_patiently(self, sql: str) -> str:
        """The same, again and again while the server is coming back. Raises Transient."""
        deadline = time.monotonic() + ANSWERS_WITHIN_S
        while True:
            try:
                return self.ask(sql)
            except OSError as e:
                if time.monotonic() > deadline:
                    raise Transient(f"ClickHouse does not take {sql!r}: {e}") from e
                time.sleep(0.5)

    def close(self) -> None:
        """Ends everything, also what stands still."""
        for proxy in self.proxies.values():
            proxy.close()
        for name in (CLICKHOUSE, KAFKA):
            child = processes.state(self.folder, name).child
            if child and processes.start_time(child):
                os.kill(child, signal.SIGCONT)
            processes.stop(self.folder, name)
        give_back(self._reserved)

    def _service(self, name: str) -> processes.Service:
        port, quiet = self._ports, _quiet
        if name == CLICKHOUSE:
            service = clickhouse.service(self.folder, port["clickhouse"], port["http"], quiet, os.getpid())
        else:
            service = kafka.service(self.folder, port["kafka"], port["controller"], quiet, os.getpid())
            properties = self.folder.data(KAFKA) / "server.properties"
            kept = [line for line in properties.read_text().splitlines() if "listeners=" not in line]
            properties.write_text("\n".join([*kept, LISTENERS.format(host=HOST, **port)]), encoding="utf-8")
        return replace(service, restarts_max=100_000)


_quiet: Callable[[str], None] = lambda _: None  # noqa: E731
