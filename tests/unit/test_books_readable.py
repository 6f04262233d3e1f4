"""A book that was published can be read by whoever asks next."""

from __future__ import annotations

import pytest
from kafka import TopicPartition

from nanotally.streams.errors import Transient
from nanotally.streams.tariffs import publishing

PLACE = TopicPartition("books", 0)


class LateMarks:
    """A broker that has answered a commit, but has not written the transaction's marks yet."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        self.looks -= 1
        return dict.fromkeys(places, 8 if self.looks < 0 else 6)


def test_publishing_waits_until_readers_of_committed_records_get_the_book() -> None:
    broker = LateMarks(looks=3)
    publishing._until_readable(broker, PLACE, 6, "broker:9092")
    assert broker.looks == -1


def test_a_book_that_stays_hidden_is_told_and_may_be_published_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "WAIT_S", 0.0)
    with pytest.raises(Transient, match=r"offset 6 of books.*nothing is published twice"):
        publishing._until_readable(LateMarks(looks=1_000_000), PLACE, 6, "broker:9092")
