"""Reconciliation asks whose rows ClickHouse has: those of topics that are gone would be compared with nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from nanotally.sinks.identity import TopicIdentity
from nanotally.sinks.reconcile_queries import Written
from nanotally.streams.commands import reconcile_tables
from nanotally.streams.domain.reconciling import Check

CHARGES, BOOKS = TopicIdentity("k", "c-1", 2), TopicIdentity("k", "b-1", 1)
TOPICS = {"charges": CHARGES, "books": BOOKS}
ENDS = {("charges", 0): 10, ("charges", 1): 0, ("books", 0): 1}


class Stored:
    """A database that was filled from topics, up to offsets."""

    def __init__(self, identities: Mapping[str, TopicIdentity], positions: Mapping[tuple[str, int], int]) -> None:
        self.identities, self.positions = identities, positions

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        assert "FROM identity" in sql
        return [(name, of.cluster_id, of.topic_id, of.partitions) for name, of in self.identities.items()]


def origin(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> Check:
    def positions(_: object) -> list[Written]:
        now = datetime.now(UTC)
        return [Written(t, p, at, at, now, -1, 0, 0, -1, {}, {}) for (t, p), at in stored.positions.items()]

    monkeypatch.setattr(reconcile_tables, "written", positions)
    return reconcile_tables._origin(stored, TOPICS, lambda: ENDS)  # type: ignore[arg-type]


def told(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, str, str]]:
    return [(d.topic, d.partition, d.expected, d.found) for d in origin(stored, monkeypatch).differences]


def test_rows_of_these_topics_as_far_as_they_go_are_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    check = origin(Stored({"charges": CHARGES}, {("charges", 0): 10, ("books", 0): 1}), monkeypatch)
    assert check.clean and check.compared == 4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (TopicIdentity("other", "c-1", 2), "cluster other, topic id c-1, 2 partitions"),
        (TopicIdentity("k", "c-0", 2), "cluster k, topic id c-0, 2 partitions"),
        (TopicIdentity("k", "c-1", 4), "cluster k, topic id c-1, 4 partitions"),
    ],
)
def test_rows_of_a_topic_that_was_created_anew_are_found(
    changed: TopicIdentity, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a ledger that is empty again there is nothing to compare them with, and nothing else differs."""
    place = "ClickHouse identity, topic charges"
    stored = Stored({"charges": changed, "books": BOOKS}, {})
    assert told(stored, monkeypatch) == [(place, 0, "cluster k, topic id c-1, 2 partitions", said)]


def test_rows_of_records_that_the_topic_has_no_more_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Stored(TOPICS, {("charges", 0): 11, ("charges", 1): 4, ("statements", 0): 2})
    assert told(stored, monkeypatch) == [
        ("ClickHouse chunks, topic charges", 0, "10 at most, where the topic ends", "11"),
        ("ClickHouse chunks, topic charges", 1, "0 at most, where the topic ends", "4"),
        ("ClickHouse chunks, topic statements", 0, "0 at most, where the topic ends", "2"),
    ]
