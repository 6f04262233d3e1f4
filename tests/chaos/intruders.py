"""Faults by what others put into Kafka: poison, floods, and transactions that a dead process left open."""

from __future__ import annotations

import random
import subprocess
import sys
import time

from kafka import KafkaProducer

from nanotally.schemas import codec
from nanotally.streams.admin import PARTITIONS
from nanotally.streams.errors import ExitCode
from tests.chaos.faults import World

FLOOD = 5_000  # well above the limit per minute that the run's workers have
PATIENCE_S = 300.0
OPEN_S = 3.0

# Leaves a transaction open: takes the id, writes into the topic, says so, and waits to be killed.
LEAVE_OPEN = """
import sys, time
from kafka import KafkaProducer
bootstrap, name, topic, partition = sys.argv[1:]
producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id=name, transaction_timeout_ms=10_000)
producer.init_transactions()
producer.begin_transaction()
for _ in range(3):
    value = bytes.fromhex(sys.stdin.readline())
    producer.send(topic, key=b"p-1", value=value, partition=int(partition)).get(timeout=120)
print("open", flush=True)
time.sleep(600)
"""


def poison(world: World) -> None:
    """Records that no publisher of ours would send, in every partition."""
    bad = poisonous(world.rng)
    _send(world, bad)
    world.counts["poison message"] += len(bad) * PARTITIONS


def poisonous(rng: random.Random) -> list[bytes | None]:
    """Values that are no use: nothing, noise, cut off, no text, below zero, of the far future, of no known type."""
    good = {
        "event_id": f"poison-{rng.getrandbits(40)}", "occurred_at": 1_700_000_000_000_000, "product": "llm",
        "payer": "p-1", "creator": None, "item": "x", "meter": "token.input", "quantity": 10, "scale": 0,
        "session": None, "duration_us": None, "attributes": {},
    }  # fmt: skip
    datum = codec.encode_one("UsageEvent", good)
    return [
        None,
        b"",
        b"\x00",
        rng.randbytes(300),
        datum[:10] + rng.randbytes(200),
        datum[:-5],
        datum + b"more",
        datum[:10] + b"\xff" * 9 + b"\x01",  # a text of 2^62 bytes
        datum.replace(b"token.input", b"token\xffinput"),
        b"\xc3\x01" + rng.randbytes(8) + datum[10:],
        codec.encode_one("UsageEvent", good | {"quantity": -1}),
        codec.encode_one("UsageEvent", good | {"occurred_at": 4_102_444_800_000_000}),
        codec.encode_one("UsageEvent", good | {"event_id": ""}),
    ]


def flood(world: World) -> None:
    """More rejects in a minute than the limit: the workers of the payers' stage end and say so. Somebody looks at it,
    and they are started again until the flood is behind them."""
    payers = world.crew.of("payers")
    for member in payers:
        member.allowed = (ExitCode.INVALID,)
    before = world.crew.exits["invalid"]
    noise = [world.rng.randbytes(40) for _ in range(FLOOD)]
    _send(world, list(noise))
    until = time.monotonic() + PATIENCE_S
    while world.crew.exits["invalid"] == before and time.monotonic() < until:
        time.sleep(0.2)
    if world.crew.exits["invalid"] == before:
        world.crew.wrong.append("a flood of rejects did not stop the workers")
    world.counts["flood of rejects"] += 1


def alien_transaction(world: World) -> None:
    """A publisher dies in the middle of a transaction: what it wrote into usage was never published."""
    _leave_open(world, f"alien-{world.rng.getrandbits(32)}", "usage")
    world.counts["transaction left open in usage"] += 1


def stage_transaction(world: World) -> None:
    """A process with a stage's own transactional id writes into the ledger and dies: the worker is fenced."""
    _leave_open(world, f"{world.environment.prefix}payers-{world.rng.randrange(PARTITIONS)}", "charges")
    world.counts["transaction left open under a stage's id"] += 1


def _leave_open(world: World, name: str, topic: str) -> None:
    partition = name.rpartition("-")[2] if topic == "charges" else str(world.rng.randrange(PARTITIONS))
    values = [codec.encode_one("UsageEvent", use) for use in _uses_of_nobody(world.rng)]
    arguments = [world.site.kafka_inside, name, world.environment.topic(topic), partition]
    process = subprocess.Popen(
        [sys.executable, "-c", LEAVE_OPEN, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("pipes were asked for")
        process.stdin.write("".join(f"{value.hex()}\n" for value in values))
        process.stdin.flush()
        if process.stdout.readline().strip() != "open":
            world.crew.wrong.append(f"the transaction of {name} could not be opened")
        time.sleep(OPEN_S)
    finally:
        process.kill()
        process.wait()
    world.server_kills += 1


def _uses_of_nobody(rng: random.Random) -> list[dict[str, object]]:
    """Uses whose charge anywhere would be found: the auditor knows every use that was published."""
    return [
        {
            "event_id": f"never-{rng.getrandbits(60)}", "occurred_at": 1_700_000_000_000_000, "product": "llm",
            "payer": "p-1", "creator": None, "item": "x", "meter": "token.input", "quantity": 1_000_000, "scale": 0,
            "session": None, "duration_us": None, "attributes": {},
        }
        for _ in range(3)
    ]  # fmt: skip


def _send(world: World, values: list[bytes | None]) -> None:
    """Into every partition of usage; returns when Kafka has all."""
    producer = KafkaProducer(
        bootstrap_servers=world.site.kafka_inside, acks="all", enable_idempotence=True, linger_ms=20
    )
    try:
        topic = world.environment.topic("usage")
        sent = [producer.send(topic, key=b"p-1", value=v, partition=p) for v in values for p in range(PARTITIONS)]
        for one in sent:
            one.get(timeout=240)
    finally:
        producer.close()
