"""All that was ever committed in a world, as the checks take it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.simulation.installation import Installation
from tests.support.reference_wire import decode

Row = dict[str, Any]


class Wrong(AssertionError):
    """Something that must always hold does not."""


class Written:
    """All that was ever committed to a topic, decoded by fastavro alone: (offset, record type, record)."""

    def __init__(self, at: Installation) -> None:
        self.records: dict[tuple[str, int], list[tuple[int, str, Row]]] = {}
        for (topic, p), log in at.kafka.logs.items():
            if topic != "usage":
                told = [e for e in log.archive if e.state == "committed" and e.value is not None]
                self.records[topic, p] = [(e.offset, *decode(e.value or b"")) for e in told]
        self.keys = {
            (topic, p, e.offset): (e.key, e.value) for (topic, p), log in at.kafka.logs.items() for e in log.archive
        }

    def of(self, topic: str, partition: int | None = None) -> Iterator[tuple[int, int, str, Row]]:
        """(partition, offset, record type, record) of one partition, or of all."""
        for (name, p), found in self.records.items():
            if name == topic and partition in (None, p):
                yield from ((p, *one) for one in found)


def same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise Wrong(f"{what}: {found} and {expected}")
