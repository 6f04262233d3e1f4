"""The topics on a real broker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from infra.services import processes
from nanotally.streams import admin
from nanotally.streams.errors import InvalidInput, Transient


def test_topics_are_made_once(kafka: str, prefix: str) -> None:
    assert admin.create_topics(kafka, prefix, partitions=3, account_partitions=2) == [
        "usage", "charges", "payer_tallies", "statements", "rejects", "earnings", "account_tallies", "payouts", "books",
        "redrives", "installation",
    ]  # fmt: skip
    assert admin.create_topics(kafka, prefix, partitions=3, account_partitions=2) == []
    counts = admin.partition_counts(kafka, prefix)
    assert {counts[name] for name in ("usage", "charges", "payer_tallies", "statements", "rejects")} == {3}
    assert {counts[name] for name in ("earnings", "account_tallies", "payouts")} == {2}
    assert counts["books"] == 1
    assert admin.check_topics(kafka, prefix) == []


def findings_when(kafka: str, prefix: str, expected: Callable[[list[admin.Finding]], bool]) -> list[admin.Finding]:
    """What is found once the broker has taken up a change: a moment after it has accepted it."""
    found: list[admin.Finding] = []

    def is_there() -> bool:
        found[:] = admin.check_topics(kafka, prefix)
        return expected(found)

    processes.wait_until(is_there, within_s=120, otherwise=f"not as expected: {found}")
    return found


def test_a_missing_topic_is_made_and_the_others_are_left(kafka: str, prefix: str) -> None:
    admin.create_topics(kafka, prefix)
    with admin.admin_client(kafka) as client:
        client.delete_topics([f"{prefix}payouts"])
    assert [str(finding) for finding in findings_when(kafka, prefix, bool)] == [
        "payouts: is missing; make it with `make up`"
    ]
    assert admin.create_topics(kafka, prefix) == ["payouts"]
    assert findings_when(kafka, prefix, lambda found: not found) == []


def test_a_changed_number_of_partitions_is_refused(kafka: str, prefix: str) -> None:
    admin.create_topics(kafka, prefix, partitions=2, account_partitions=1)
    with pytest.raises(InvalidInput, match=f"topic {prefix}usage has 2 partitions, not 4; their number is fixed"):
        admin.create_topics(kafka, prefix, partitions=4, account_partitions=1)
    with pytest.raises(InvalidInput, match=f"topic {prefix}earnings has 1 partitions, not 2"):
        admin.create_topics(kafka, prefix, partitions=2, account_partitions=2)
    assert admin.partition_counts(kafka, prefix)["usage"] == 2


def test_a_ledger_that_would_forget_is_found(kafka: str, prefix: str) -> None:
    admin.create_topics(kafka, prefix)
    topic = ConfigResource(ConfigResourceType.TOPIC, f"{prefix}charges", configs={"retention.ms": "1000"})
    with admin.admin_client(kafka) as client:
        client.alter_configs([topic])
    (finding,) = findings_when(kafka, prefix, bool)
    assert (finding.topic, finding.problem) == ("charges", "retention.ms is 1000, not -1")
    assert f"--topic {prefix}charges --add-config retention.ms=-1" in finding.remedy


def test_topics_of_another_size_than_usage_are_found(kafka: str, prefix: str) -> None:
    sizes = {"usage": 2, "earnings": 3}
    with admin.admin_client(kafka) as client:
        client.create_topics(
            {
                f"{prefix}{topic.name}": {"num_partitions": sizes.get(topic.name, 1), "configs": topic.settings}
                for topic in admin.TOPICS
            },
            wait_for_metadata=True,
        )
    problems = {finding.topic: finding.problem for finding in admin.check_topics(kafka, prefix)}
    assert problems == {
        **dict.fromkeys(("charges", "payer_tallies", "statements", "rejects"), "has 1 partitions, not 2"),
        **dict.fromkeys(("account_tallies", "payouts"), "has 1 partitions, not 3"),
    }


def test_only_our_own_topics_are_deleted(kafka: str, prefix: str) -> None:
    admin.create_topics(kafka, prefix)
    with admin.admin_client(kafka) as client:
        client.create_topics({f"{prefix}somebody-elses": {"num_partitions": 1}}, wait_for_metadata=True)
        assert len(admin.delete_topics(kafka, prefix)) == len(admin.TOPICS)
        assert f"{prefix}somebody-elses" in client.list_topics()
        client.delete_topics([f"{prefix}somebody-elses"])


def test_no_partitions_are_refused(kafka: str, prefix: str) -> None:
    with pytest.raises(InvalidInput, match="0 partitions are none"):
        admin.create_topics(kafka, prefix, partitions=0)


def test_a_broker_that_is_not_there_is_named() -> None:
    with (
        pytest.raises(Transient, match=r"Kafka at 127\.0\.0\.1:1 cannot be asked"),
        admin.admin_client("127.0.0.1:1", timeout_s=1),
    ):
        pass
