"""Kafka and ClickHouse for one folder: an address from the environment, a service that already runs, or a new one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.services import clickhouse, kafka, ports, processes
from infra.services.folder import Folder, read_json, write_json
from nanotally.streams.errors import InvalidInput, NanotallyError, Transient

Say = Callable[[str], None]

WORKER = "worker"
# In the order they are stopped: whoever writes goes before whoever is written to.
NAMES = (WORKER, clickhouse.NAME, kafka.NAME)
WEB_PORT = 6066
WEB_PORTS = 3
GIVEN_WITHIN_S = 30.0
# Name in ports.json -> the usual port.
USUAL = {
    "kafka": kafka.PORT,
    "kafka_controller": kafka.CONTROLLER_PORT,
    "clickhouse": clickhouse.PORT,
    "clickhouse_http": clickhouse.HTTP_PORT,
    "web": WEB_PORT,
}


@dataclass(frozen=True)
class Services:
    """Addresses in use, `host:port` each; `clickhouse_http` is empty where HTTP is not open.

    `local` names those that are processes of this folder."""

    kafka: str
    clickhouse: str
    clickhouse_http: str
    web_port: int
    local: tuple[str, ...] = ()


def ensure(
    folder: Folder,
    say: Say,
    environ: Mapping[str, str] | None = None,
    usual: Mapping[str, int] = USUAL,
    owner: int | None = None,
) -> Services:
    """Make sure that both services answer: nothing is started for an address that the environment gives.

    `usual` are the ports tried first; with `owner` the services end with that process. What was started is stopped
    again when this fails. Raises Transient or InvalidInput that say what is missing and what to do."""
    variables = os.environ if environ is None else environ
    given_kafka = variables.get("NANOTALLY_KAFKA", "").strip()
    given_clickhouse = variables.get("NANOTALLY_CLICKHOUSE", "").strip()
    if variables.get("NANOTALLY_CLICKHOUSE_HTTP", "").strip() and not given_clickhouse:
        raise InvalidInput("NANOTALLY_CLICKHOUSE_HTTP is set, NANOTALLY_CLICKHOUSE is not; set both or neither")
    for name in NAMES:
        if not processes.state(folder, name).runs:
            processes.stop(folder, name)  # what a killed supervisor may have left behind, on our ports
    chosen = _choose_ports(folder, usual, variables, say)
    local = [name for name, given in ((kafka.NAME, given_kafka), (clickhouse.NAME, given_clickhouse)) if not given]
    started: list[str] = []
    try:
        for name in local:
            if not processes.state(folder, name).runs:
                processes.start(folder, _service(folder, name, chosen, say, owner))
                started.append(name)
        if given_kafka:
            _wait_for_given("Kafka broker", "NANOTALLY_KAFKA", given_kafka, lambda: kafka.answers(given_kafka))
        else:
            _wait_for_own(folder, kafka.NAME, chosen, started, say)
        if given_clickhouse:
            http = _given_http(given_clickhouse, variables)
            _wait_for_given(
                "ClickHouse server",
                "NANOTALLY_CLICKHOUSE",
                given_clickhouse,
                lambda: clickhouse.answers(given_clickhouse, http),
            )
        else:
            http = f"{ports.HOST}:{chosen['clickhouse_http']}"
            _wait_for_own(folder, clickhouse.NAME, chosen, started, say)
    except BaseException:
        for name in reversed(started):
            processes.stop(folder, name)
        raise
    return Services(
        kafka=given_kafka or f"{ports.HOST}:{chosen['kafka']}",
        clickhouse=given_clickhouse or f"{ports.HOST}:{chosen['clickhouse']}",
        clickhouse_http=http,
        web_port=chosen["web"],
        local=tuple(local),
    )


def write_addresses(folder: Folder, services: Services, database: str) -> None:
    """Write services.json, from which `nanotally` learns the addresses in another shell."""
    write_json(
        folder.services_file,
        {
            "kafka": services.kafka,
            "clickhouse": services.clickhouse,
            "clickhouse_http": services.clickhouse_http,
            "database": database,
            "web_port": str(services.web_port),
        },
    )


def stop_all(folder: Folder, say: Say) -> list[str]:
    """Stop whatever was started in this folder and still runs, in order; returns the names."""
    others = sorted(path.stem for path in folder.run_file("").parent.glob("*.json") if path.stem not in NAMES)
    stopped = []
    for name in (*others, *NAMES):  # others: what commands start for themselves, as the demo its workers
        if processes.state(folder, name).runs:
            say(f"stopping {name}")
        if processes.stop(folder, name):
            stopped.append(name)
    return stopped


def ports_of(folder: Folder) -> dict[str, int]:
    """The ports this folder's services were given; empty before the first start."""
    return {name: int(str(port)) for name, port in read_json(folder.ports_file).items()}


def _choose_ports(folder: Folder, usual: Mapping[str, int], variables: Mapping[str, str], say: Say) -> dict[str, int]:
    """Ports of last time while they are free or ours, else the next free ones; written down and said."""
    last = ports_of(folder)
    running = {name for name in NAMES if processes.state(folder, name).runs}
    chosen: dict[str, int] = {}
    for name, port in usual.items():
        owner = WORKER if name == "web" else name.split("_")[0]
        if owner in running and name in last:
            chosen[name] = last[name]
            continue
        count = WEB_PORTS if name == "web" else 1
        chosen[name] = ports.choose(last.get(name, port), tuple(chosen.values()), count)
        needed = not variables.get(f"NANOTALLY_{owner.upper()}") and not (
            name == "web" and variables.get("NANOTALLY_WEB_PORT")
        )
        if needed and chosen[name] != last.get(name, port):
            say(f"port {last.get(name, port)} is taken; {name.replace('_', ' ')} gets {chosen[name]}")
    if variables.get("NANOTALLY_WEB_PORT", "").isdigit():
        chosen["web"] = int(variables["NANOTALLY_WEB_PORT"])
    write_json(folder.ports_file, chosen)
    return chosen


def _service(folder: Folder, name: str, chosen: Mapping[str, int], say: Say, owner: int | None) -> processes.Service:
    if name == kafka.NAME:
        return kafka.service(folder, chosen["kafka"], chosen["kafka_controller"], say, owner)
    return clickhouse.service(folder, chosen["clickhouse"], chosen["clickhouse_http"], say, owner)


def _wait_for_own(folder: Folder, name: str, chosen: Mapping[str, int], started: list[str], say: Say) -> None:
    """Until the local service answers. Raises Transient with the end of its log."""
    address = f"{ports.HOST}:{chosen[name]}"
    module = kafka if name == kafka.NAME else clickhouse

    def answers() -> bool:
        seen = processes.state(folder, name)
        if not seen.runs:
            raise Transient(f"{name} does not stay up: {seen.gave_up or 'it ended'}; {module.why_not(folder)}")
        if name == kafka.NAME:
            return kafka.answers(address)
        return clickhouse.answers(address, f"{ports.HOST}:{chosen['clickhouse_http']}")

    within_s = module.START_WITHIN_S
    missing = f"{name} does not answer at {address} after {within_s:.0f} s; {module.why_not(folder)}"
    took_s = processes.wait_until(answers, within_s, missing)
    say(f"{name} answers at {address}" + (f" ({took_s:.1f} s)" if name in started else ", as before"))


def _wait_for_given(what: str, variable: str, address: str, answers: Callable[[], bool]) -> None:
    """Until the service answers that the environment names. Raises Transient, InvalidInput for a bad address."""
    try:
        began = time.monotonic()
        while not answers():
            if time.monotonic() - began > GIVEN_WITHIN_S:
                raise Transient(
                    f"no {what} answers at {address} ({variable}); start it, mend the address, or unset the variable "
                    "to get one as a local process"
                )
            time.sleep(0.2)
    except NanotallyError:
        raise
    except ValueError:
        raise InvalidInput(f"{variable}: {address!r} is no address; write host:port") from None


def _given_http(address: str, variables: Mapping[str, str]) -> str:
    """HTTP beside a given native address: as the environment says, else the usual port where somebody answers."""
    if "NANOTALLY_CLICKHOUSE_HTTP" in variables:
        return variables["NANOTALLY_CLICKHOUSE_HTTP"].strip()
    host = address.rpartition(":")[0]
    usual = f"{host}:{clickhouse.HTTP_PORT}"
    return usual if ports.accepts(host.strip("[]"), clickhouse.HTTP_PORT) else ""
