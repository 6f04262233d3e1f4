"""What the doctor looks at: services, topics, tables, workers, positions, rule books."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import urllib3

from nanotally.sinks.client import ClickHouse
from nanotally.sinks.migrate import compared, migrations
from nanotally.sinks.reconcile_queries import written
from nanotally.sinks.tables import TABLES_BY_TOPIC
from nanotally.streams import admin, installation, replication
from nanotally.streams.commands import keeping
from nanotally.streams.commands.charge_sources import address_of
from nanotally.streams.commands.live import ask
from nanotally.streams.commands.positions import (
    PayersPosition,
    StagePosition,
    accounts_positions,
    last_record,
    payers_positions,
)
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.environment import STAGES, Environment
from nanotally.streams.errors import BrokenInvariant, NanotallyError, Transient
from nanotally.streams.pipeline.knobs import checkpoints_folder
from nanotally.streams.publisher_ledger import TopicReader, run
from nanotally.streams.retention import span
from nanotally.streams.sealing import SETTING
from nanotally.streams.tariffs.publishing import read_books

LIBRARIES = ("faust-streaming", "aiokafka", "kafka-python", "clickhouse-driver", "pyarrow")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. remedy: how to mend it; unreachable: a service does not answer."""

    what: str
    well: bool
    state: str
    remedy: str = ""
    unreachable: bool = False


def examine(environment: Environment) -> list[Finding]:
    """Everything, in the order in which one thing hangs on the other; what hangs on a service that does not answer is
    left out."""
    findings = list(_versions())
    findings += _tried("state folder", lambda: _folders(environment))
    kafka = _tried("Kafka", lambda: _kafka(environment))
    findings += kafka
    topics_there = all(f.well for f in kafka)
    if topics_there:
        topics = _tried("topics", lambda: _topics(environment))
        findings += topics
        topics_there = not any(f.state.endswith("is missing") for f in topics)
    clickhouse = _tried("ClickHouse", lambda: _clickhouse(environment))
    findings += clickhouse
    findings += _workers(environment)
    if topics_there:
        findings += _tried("positions", lambda: _positions(environment))
        if all(f.well for f in clickhouse):
            findings += _tried("sink", lambda: _sink(environment))
    return findings


def _tried(what: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    findings: list[Finding] = []
    try:
        findings += look()
    except NanotallyError as e:
        message, _, remedy = str(e).partition("; ")
        findings.append(Finding(what, False, message, remedy or "see above", isinstance(e, Transient)))
    return findings


def _versions() -> Iterator[Finding]:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    yield Finding("nanotally", True, f"{version('nanotally')} on Python {platform.python_version()}; {libraries}")


def _folders(environment: Environment) -> Iterator[Finding]:
    yield _folder("state folder", environment.state, "make it writable (it is only a cache), or set NANOTALLY_STATE")
    checkpoints = checkpoints_folder(os.environ)
    if checkpoints:
        yield _folder("checkpoints", checkpoints, "make it writable, or set NANOTALLY_CHECKPOINTS")


def _folder(what: str, folder: Path, remedy: str) -> Finding:
    there = folder
    while not there.exists():
        there = there.parent
    probe = there / f".nanotally-{uuid.uuid4().hex[:8]}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as e:
        return Finding(what, False, f"{folder} cannot be written: {e.strerror}", f"{remedy} to another folder")
    return Finding(what, True, f"{folder} {'can be written' if there == folder else 'will be made'}")


def _kafka(environment: Environment) -> Iterator[Finding]:
    with admin.admin_client(environment.kafka, timeout_s=5.0) as client:
        cluster = client.describe_cluster()
        away = [str(broker["broker_id"]) for broker in cluster["brokers"] if broker.get("is_fenced")]
        brokers = len(cluster["brokers"]) - len(away)
        release = ".".join(str(part) for part in client.config.get("api_version") or ())
    said = f"{environment.kafka}: cluster {cluster['cluster_id']}, {brokers} broker{'s' * (brokers > 1)}"
    said += f" ({', '.join(away)} away)" if away else ""
    yield Finding("Kafka", True, f"{said}, speaks protocols up to {release}" if release else said)


def _topics(environment: Environment) -> Iterator[Finding]:
    found = admin.check_topics(environment.kafka, environment.prefix)
    found += replication.faults(environment.kafka, environment.prefix, environment.replicas)
    counts = admin.partition_counts(environment.kafka, environment.prefix)
    told = installation.told_of(environment.kafka, environment.prefix)
    found += installation.added(told, counts)
    if told.moving:  # usage is closed on purpose
        found = [fault for fault in found if not fault.problem.startswith(f"{SETTING} ")]
        remedy = "" if told.moved_to else "go on: run `nanotally migrate` again"
        state = f"{'was' if told.moved_to else 'is being'} moved to {told.moving['to']!r}: usage takes no more records"
        yield Finding("installation", bool(told.moved_to), state, remedy)
    yield from _topic_faults(environment, found)
    if not found:
        parts = ", ".join(f"{environment.topic(name)} {count}" for name, count in sorted(counts.items()))
        yield Finding("topics", True, f"{len(counts)} with their partitions and settings: {parts}")


def _clickhouse(environment: Environment) -> Iterator[Finding]:
    address = address_of(environment)
    clickhouse = ClickHouse(address)
    try:
        ((release,),) = clickhouse.query("SELECT version()")
        yield Finding("ClickHouse", True, f"{address.native}: {release}, database {address.database}")
        yield _migrations(clickhouse)
    finally:
        clickhouse.close()
    yield _http(environment)


def _migrations(clickhouse: ClickHouse) -> Finding:
    known = len(migrations())
    try:
        lacks, later = compared(clickhouse)
    except BrokenInvariant as e:
        remedy = "use the version of nanotally that applied them, or another database (NANOTALLY_DATABASE)"
        return Finding("migrations", False, str(e), remedy)
    if lacks:
        said = f"{known - len(lacks)} of {known} applied"
        return Finding("migrations", False, said, "apply them: python -m nanotally.sinks.migrate")
    newer = f", and {', '.join(later)} of a newer version, which only adds" if later else ""
    return Finding("migrations", True, f"{known} applied{newer}")


def _http(environment: Environment) -> Finding:
    http = environment.clickhouse_http
    if not http:
        return Finding("ClickHouse HTTP", True, "not used (NANOTALLY_CLICKHOUSE_HTTP is empty): rows go by the driver")
    try:
        with urllib3.PoolManager(retries=False, timeout=2.0) as pool:
            status = pool.request("GET", f"http://{http}/ping").status
    except urllib3.exceptions.HTTPError:
        status = 0
    remedy = "start it, or set NANOTALLY_CLICKHOUSE_HTTP to where it is, or to nothing to do without"
    state = f"{http} answers" if status == 200 else f"{http} does not answer"
    return Finding("ClickHouse HTTP", status == 200, state, remedy, status != 200)


def _workers(environment: Environment) -> Iterator[Finding]:
    for stage in STAGES:
        port = environment.web_port_of(stage)
        answer = ask(f"http://127.0.0.1:{port}/health")
        if answer is None:
            remedy = f"start it: nanotally worker {stage} (or set NANOTALLY_WEB_PORT, where it has another port)"
            yield Finding(f"worker {stage}", False, f"does not answer on port {port}", remedy)
            continue
        status, body = answer
        held = len(body.get("partitions", ()))
        state = f"{body.get('state', 'unknown')}, {held} partition{'s' * (held != 1)}, port {port}"
        stuck = "; ".join(body.get("stuck", ()))
        remedy = f"see the worker's log; {stuck}"
        yield Finding(f"worker {stage}", status == 200, state, remedy)


def _positions(environment: Environment) -> Iterator[Finding]:
    async def read() -> tuple[list[PayersPosition], list[StagePosition]]:
        async with TopicReader(environment.kafka, environment.prefix) as reader:
            return await payers_positions(reader), await accounts_positions(reader)

    payers, accounts = run(read())
    for stage, positions in (("payers", payers), ("accounts", accounts)):
        yield Finding(f"position of {stage}", True, _lags([(p.partition, p.next_offset, p.lag) for p in positions]))
    books = read_books(environment.kafka, environment.prefix)
    yield from _book(books, payers)
    horizon = keeping.horizon_us(books, payers)
    found = keeping.faults(environment, horizon, payers, accounts)
    yield from _topic_faults(environment, found)
    if not found:
        said = f"longer than uses are told from repeats ({span(horizon // 1000)}); the ledger is whole"
        yield Finding("retention", True, said)


def _topic_faults(environment: Environment, found: list[admin.Finding]) -> Iterator[Finding]:
    for finding in found:
        own = finding.topic in replication.KAFKAS_OWN
        topic = finding.topic if own else environment.topic(finding.topic)
        yield Finding(f"topic {topic}", False, finding.problem, finding.remedy)


def _lags(positions: list[tuple[int, int, int]]) -> str:
    lag = sum(behind for _, _, behind in positions)
    parts = ", ".join(f"{p}: {at:,}" + (f" (-{behind:,})" if behind else "") for p, at, behind in positions)
    return f"{lag:,} to do; next offset {parts}"


def _book(books: list[RuleBook], payers: list[PayersPosition]) -> Iterator[Finding]:
    if not books:
        yield Finding("rule book", True, "none yet; publish a tariff: nanotally tariff publish FILE")
        return
    newest = books[-1]
    tariffs = ", ".join(f"{t.tariff} v{t.version}" for t in newest.tariffs)
    tariffs += "".join(f", catalog {c.catalog} v{c.version}" for c in newest.catalogs)
    without = [p.partition for p in payers if p.book_number < newest.number and not p.lag]
    state = f"{newest.number} ({newest.book_hash[:16]}): {tariffs}"
    if without:
        remedy = "activate it: nanotally tariff publish with the same files does no harm and activates"
        yield Finding("rule book", False, f"{state}; not in force in partition {', '.join(map(str, without))}", remedy)
    else:
        yield Finding("rule book", True, f"{state}, in force everywhere")


def _sink(environment: Environment) -> Iterator[Finding]:
    async def ends() -> dict[tuple[str, int], int]:
        async with TopicReader(environment.kafka, environment.prefix) as reader:
            return {
                (topic, p): await last_record(reader, topic, p) + 1
                for topic in TABLES_BY_TOPIC
                for p in await reader.bounds(topic)
            }

    clickhouse = ClickHouse(address_of(environment))
    try:
        positions = {(w.topic, w.partition): w.next_offset for w in written(clickhouse)}
    finally:
        clickhouse.close()
    lags = {key: max(0, end - positions.get(key, 0)) for key, end in run(ends()).items()}
    behind = ", ".join(f"{topic} {p} (-{lag:,})" for (topic, p), lag in sorted(lags.items()) if lag)
    yield from _topic_faults(environment, keeping.unsunk(environment, positions))
    yield Finding("position of sink", True, f"{sum(lags.values()):,} to do{'; ' + behind if behind else ''}")
