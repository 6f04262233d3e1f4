"""What `nanotally reconcile` and the independent auditor say at the end of a run."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition

from nanotally.streams import admin
from nanotally.streams.environment import Environment
from tests.support.topics import decided

ROOT = Path(__file__).resolve().parents[2]
NANOTALLY = Path(sys.executable).parent / "nanotally"
AUDITOR = Path(__file__).with_name("auditor.py")


def reconciled(environment: Environment, within_s: int = 400) -> str:
    """What differs, or was not taken in time; empty where all is clean."""
    # Kafka answers a commit before it has written its marks: the earnings of the last uses may come to be seen only
    # after the first run has looked whether the accounts' stage has taken all.
    _run([NANOTALLY, "reconcile", "--wait", within_s, "--ledger"], environment)
    all_is_decided(environment)
    said = _run([NANOTALLY, "reconcile", "--wait", within_s, "--json"], environment)
    found = json.loads(said.stdout) if said.stdout.startswith("{") else {"clean": False, "first": said.stderr}
    if found["clean"] and (found["waiting_uses"] or found["waiting_earnings"]):
        return f"not taken within {within_s} s: {found['waiting_uses']} uses, {found['waiting_earnings']} earnings"
    return "" if found["clean"] and said.returncode == 0 else str(found["first"])


def audited(environment: Environment, kafka: str, http: str, arrived: Path) -> dict[str, Any]:
    """What the auditor found at these addresses. Raises RuntimeError with what it said where it broke off."""
    all_is_decided(environment)
    schemas = ROOT / "schemas" / "avsc"
    arguments = [sys.executable, AUDITOR, kafka, environment.prefix, http, environment.database, schemas, arrived]
    said = _run(arguments, environment)
    try:
        found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise RuntimeError(f"the auditor broke off: {said.stderr[-2000:]}") from None
    if said.returncode and not found["differences"]:
        found["differences"] = [f"exit code {said.returncode}"]
    return found


def all_is_decided(environment: Environment) -> None:
    """Returns when everybody can read all that is committed by now."""
    counts = admin.partition_counts(environment.kafka, environment.prefix)
    places = [TopicPartition(environment.topic(topic), p) for topic, count in counts.items() for p in range(count)]
    asyncio.run(decided(environment.kafka, places))


def _run(arguments: list[Any], environment: Environment) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **environment.variables()}
    return subprocess.run(
        [str(a) for a in arguments], env=variables, capture_output=True, text=True, check=False, cwd=ROOT
    )
