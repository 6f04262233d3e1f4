"""Publishes the demo's input as a product would, and on purpose some uses twice and a few spoiled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaProducer

from infra.demo.sources import Read, blog_uses, llm_uses
from nanotally.schemas import codec
from nanotally.streams import Publisher
from nanotally.streams.environment import Environment

# Makes the readers' addresses pseudonyms. A real product keeps its key to itself.
PSEUDONYM_KEY = b"nanotally demo: not a secret"
REPEATS = 1_000
REPEAT_AFTER = 40  # uses later
Progress = Callable[[int], None]


@dataclass
class Published:
    """What was read and sent. last_at_us: the latest instant of a use, microseconds UTC."""

    blog: Read = field(default_factory=Read)
    llm: Read = field(default_factory=Read)
    views: int = 0
    llm_uses: int = 0
    repeated: int = 0
    spoiled: int = 0
    last_at_us: int = 0

    @property
    def records(self) -> int:
        """Records of usage in Kafka, without controls."""
        return self.views + self.llm_uses + self.repeated + self.spoiled


def publish(environment: Environment, published: Published, progress: Progress) -> None:
    """Puts both data sets into `usage`, the blog's first, since it is the older one."""
    every = 58  # spreads the repeats over all uses
    blog = _counted(blog_uses(published.blog), published, "views")
    llm = _counted(llm_uses(published.llm), published, "llm_uses")
    before = 0
    for uses, product, key in ((blog, "blog", PSEUDONYM_KEY), (llm, "llm", None)):
        with Publisher(environment.kafka, product=product, prefix=environment.prefix, pseudonym_key=key) as nano:
            sent = before

            def on_progress(n: int, sent: int = sent) -> None:
                progress(sent + n)

            before += nano.publish_batch(_with_repeats(uses, published, every), on_progress=on_progress)
    published.spoiled = _publish_spoiled(environment)
    progress(published.records)


def _counted(uses: Iterator[dict[str, Any]], published: Published, name: str) -> Iterator[dict[str, Any]]:
    for use in uses:
        setattr(published, name, getattr(published, name) + 1)
        published.last_at_us = max(published.last_at_us, int(use["occurred_at"].timestamp() * 1e6))
        yield use


def _with_repeats(uses: Iterator[dict[str, Any]], published: Published, every: int) -> Iterator[dict[str, Any]]:
    """The uses, and every so often one of them again a little later, as a retry would."""
    again: deque[tuple[int, dict[str, Any]]] = deque()
    for place, use in enumerate(uses):
        yield use
        if place % every == 0 and published.repeated + len(again) < REPEATS:
            again.append((place + REPEAT_AFTER, use))
        while again and again[0][0] <= place:
            published.repeated += 1
            yield again.popleft()[1]
    for _, use in again:
        published.repeated += 1
        yield use


def _publish_spoiled(environment: Environment) -> int:
    """Sends what no publisher of ours would: cut off, no text, below zero, a wrong clock, an id used for two uses."""
    good = {
        "event_id": "spoiled", "occurred_at": 1_700_158_000_000_000, "product": "llm", "payer": "service:code",
        "creator": "model:azure-code", "item": "code", "meter": "token.input", "quantity": 10, "scale": 0,
        "session": None, "duration_us": None, "attributes": {},
    }  # fmt: skip
    datum = codec.encode_one("UsageEvent", good)
    spoiled = (
        datum[:-7],
        datum.replace(b"azure-code", b"azure\xffcode"),
        codec.encode_one("UsageEvent", good | {"quantity": -10}),
        codec.encode_one("UsageEvent", good | {"occurred_at": 4_102_444_800_000_000}),
        codec.encode_one("UsageEvent", good | {"event_id": "code:8819:in", "quantity": 1_000_000}),
    )
    producer = KafkaProducer(bootstrap_servers=environment.kafka.split(","), acks="all")
    try:
        waiting = [producer.send(environment.topic("usage"), key=b"service:code", value=v) for v in spoiled]
        for sent in waiting:
            sent.get(timeout=30)
    finally:
        producer.close()
    return len(spoiled)
