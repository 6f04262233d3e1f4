"""Rule books and controls on a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nanotally.schemas import codec
from nanotally.streams import admin
from nanotally.streams.commands import app
from nanotally.streams.domain.tariff import RuleBook, Settings, TariffVersion
from nanotally.streams.errors import BrokenInvariant, ExitCode, NotFound, Transient
from nanotally.streams.tariffs import publishing
from nanotally.streams.tariffs.books import BookErrors, PublishedBook
from nanotally.streams.tariffs.publishing import (
    Control,
    Publication,
    activate,
    closing,
    publish_book,
    read_books,
    read_published,
    send_control,
)
from nanotally.streams.tariffs.reader import read_tariff
from tests.support.tariff_texts import FILE, changed
from tests.support.topics import publish as write
from tests.support.topics import read_committed

NOW = 1_796_000_000_000_000  # before the tariff of FILE comes into force


@pytest.fixture
def topics(kafka: str, prefix: str) -> str:
    """The prefix, with its topics made: three partitions of usage."""
    admin.create_topics(kafka, prefix, partitions=3, account_partitions=1)
    return prefix


def version(number: int) -> TariffVersion:
    return read_tariff(text_of(number))


def text_of(number: int) -> str:
    text = changed("version: 1", f"version: {number}")
    return changed("2026-12-01T00", f"2026-12-{number:02}T00", text)


def controls(kafka: str, prefix: str, partitions: int = 3) -> list[list[dict[str, Any]]]:
    """The controls in each partition of usage."""
    found = read_committed(kafka, f"{prefix}usage", partitions)
    return [[codec.decode_one(value or b"")[1] for value in found[p]] for p in range(partitions)]


def test_a_book_is_published_and_read_back_with_its_number(kafka: str, topics: str) -> None:
    assert read_books(kafka, topics) == []
    settings = Settings(lateness_us=7)
    publication = Publication([version(1)], settings, "why", {("t", 1): text_of(1)})
    book = publish_book(kafka, topics, publication, NOW)
    assert book == RuleBook(0, settings, (version(1),))
    published = read_published(kafka, topics)
    assert [(p.book, p.published_at_us, p.note, p.sources) for p in published] == [
        (book, NOW, "why", {("t", 1): text_of(1)})
    ]


def test_the_next_book_holds_what_was_published_before(kafka: str, topics: str) -> None:
    first = publish_book(kafka, topics, Publication([version(1)], sources={("t", 1): text_of(1)}), NOW)
    second = publish_book(kafka, topics, Publication([version(2)], Settings(lateness_us=7)), NOW)
    third = publish_book(kafka, topics, Publication([version(3)], sources={("t", 3): text_of(3)}), NOW)
    assert first.number < second.number < third.number
    assert third.tariffs == (version(1), version(2), version(3))
    assert third.settings.lateness_us == 7
    assert [b.number for b in read_books(kafka, topics)] == [first.number, second.number, third.number]
    assert read_published(kafka, topics)[-1].sources == {("t", 1): text_of(1), ("t", 2): "", ("t", 3): text_of(3)}


def test_nothing_is_written_where_nothing_would_change(kafka: str, topics: str) -> None:
    first = publish_book(kafka, topics, Publication([version(1)]), NOW)
    assert publish_book(kafka, topics, Publication([version(1)]), NOW) == first
    assert len(read_books(kafka, topics)) == 1


def test_nothing_is_written_where_the_book_may_not_follow(kafka: str, topics: str) -> None:
    publish_book(kafka, topics, Publication([version(1)]), NOW)
    with pytest.raises(BookErrors, match="which is past"):
        publish_book(kafka, topics, Publication([version(2)]), 2 * NOW)
    assert len(read_books(kafka, topics)) == 1
    assert len(publish_book(kafka, topics, Publication([version(2)], lead_us=None), 2 * NOW).tariffs) == 2


def test_of_two_who_publish_at_once_one_is_turned_away_and_no_version_is_lost(
    kafka: str, topics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_book(kafka, topics, Publication([version(1)]), NOW)
    read: Callable[[str, str], list[PublishedBook]] = publishing.read_published

    def overtaken(bootstrap: str, prefix: str) -> list[PublishedBook]:
        """Another publisher comes between the reading of the books and the writing of the next one."""
        books = read(bootstrap, prefix)
        monkeypatch.setattr(publishing, "read_published", read)
        publish_book(kafka, topics, Publication([version(2)]), NOW)
        return books

    monkeypatch.setattr(publishing, "read_published", overtaken)
    with pytest.raises(Transient, match="somebody else published a rule book at the same time; publish again"):
        publish_book(kafka, topics, Publication([version(3)]), NOW)
    assert [[t.version for t in b.tariffs] for b in read_books(kafka, topics)] == [[1], [1, 2]]
    publish_book(kafka, topics, Publication([version(3)]), NOW)
    assert [t.version for t in read_books(kafka, topics)[-1].tariffs] == [1, 2, 3]


def test_a_damaged_book_is_a_broken_invariant(kafka: str, topics: str) -> None:
    asyncio.run(write(kafka, f"{topics}books", {0: [b"no book"]}))
    with pytest.raises(BrokenInvariant, match="the record at offset 0 of topic books is no rule book"):
        read_books(kafka, topics)


def test_an_activation_reaches_every_partition(kafka: str, topics: str) -> None:
    book = publish_book(kafka, topics, Publication([version(1)]), NOW)
    activate(kafka, topics, book, "why")
    told = {
        "control_id": f"activate-0-{book.book_hash[:16]}",
        "kind": "activate",
        "at": None,
        "book_number": 0,
        "book_hash": book.book_hash,
        "note": "why",
        "usage_offset": None,
        "use": None,
    }
    assert controls(kafka, topics) == [[told], [told], [told]]


def test_a_book_that_was_not_published_cannot_be_activated(kafka: str, topics: str) -> None:
    with pytest.raises(ValueError, match="published before it is activated"):
        activate(kafka, topics, RuleBook(-1, Settings(), (version(1),)))


def test_a_control_may_go_to_some_partitions_only(kafka: str, topics: str) -> None:
    assert send_control(kafka, topics, closing(1_500_000, "end")) == {0: 0, 1: 0, 2: 0}
    assert send_control(kafka, topics, Control("tick-1", "tick"), [1]) == {1: 1}
    assert send_control(kafka, topics, Control("tick-2", "tick"), []) == {}
    assert [[c["control_id"] for c in p] for p in controls(kafka, topics)] == [
        ["close-1970-01-01T00:00:01.500000Z"],
        ["close-1970-01-01T00:00:01.500000Z", "tick-1"],
        ["close-1970-01-01T00:00:01.500000Z"],
    ]
    assert controls(kafka, topics)[0][0]["at"] == 1_500_000


def test_without_topics_it_is_told_at_once(kafka: str, prefix: str) -> None:
    for call in (
        lambda: read_books(kafka, prefix),
        lambda: publish_book(kafka, prefix, Publication([version(1)]), NOW),
        lambda: send_control(kafka, prefix, Control("tick-1", "tick")),
    ):
        with pytest.raises(NotFound, match=f"no topic {prefix}(books|usage); `make up` creates the topics"):
            call()


def test_without_a_broker_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "CONNECT_S", 0.3)
    with pytest.raises(Transient, match=r"no Kafka broker answers at 127\.0\.0\.1:1 .*`make up` starts one"):
        read_books("127.0.0.1:1", "")


def test_the_commands_publish_and_show(
    kafka: str, topics: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOTALLY_KAFKA", kafka)
    monkeypatch.setenv("NANOTALLY_PREFIX", topics)
    prices = tmp_path / "prices.yaml"
    prices.write_text(FILE, encoding="utf-8")

    def run(*arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, ["tariff", *arguments])
        return result.exit_code, result.stdout, result.stderr

    code, _, told = run("show")
    assert (code, told) == (
        ExitCode.NOT_FOUND,
        "nanotally: no rule book was published yet; `nanotally tariff publish FILE` publishes one\n",
    )
    code, out, _ = run("publish", str(prices), "--note", "prices of December")
    assert code == ExitCode.OK
    assert out.startswith("rule book 0 holds t 1  (hash ")
    assert out.endswith("activated in 3 partitions of usage\n")
    assert [len(p) for p in controls(kafka, topics)] == [1, 1, 1]

    code, out, _ = run("show")
    assert code == ExitCode.OK
    assert ": prices of December\n" in out
    assert "t  " in out
    code, out, _ = run("show", "t")
    assert "0.005 USD per page up to 1 page, free above" in out
    code, out, _ = run("show", "t", "--source")
    assert out == FILE + "\n"
    document = json.loads(run("show", "--json")[1])
    assert (document["book"], [t["tariff"] for t in document["tariffs"]]) == (0, ["t"])

    prices.write_text(changed("0.005", "0.006"), encoding="utf-8")
    code, out, told = run("publish", str(prices))
    assert (code, out) == (ExitCode.INVALID, "")
    assert "t version 1 was published with other content" in told
    prices.write_text(changed("version: 1", "version: 2", changed("2026-12-01", "2099-12-01")), encoding="utf-8")
    document = json.loads(run("publish", str(prices), "--json")[1])
    assert ([t["version"] for t in document["tariffs"]], document["partitions"]) == ([1, 2], [0, 1, 2])

    assert run("show", "u")[0] == ExitCode.NOT_FOUND
    assert "has no version 3 of it; there are 1 and 2" in run("show", "t", "--version", "3")[2]
    assert "there is no rule book 1; there are 0 and" in run("show", "--book", "1")[2]
    assert [t["version"] for t in json.loads(run("show", "--book", "0", "--json")[1])["tariffs"]] == [1]
