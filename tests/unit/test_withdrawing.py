"""A version is taken back before it comes into force, never afterwards; and how scheduled versions are shown."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nanotally.streams.commands import app, tariff_show
from nanotally.streams.domain.tariff import RuleBook, Settings, TariffVersion
from nanotally.streams.errors import ExitCode
from nanotally.streams.tariffs.books import BookErrors, PublishedBook, next_book
from nanotally.streams.tariffs.reader import read_tariff
from nanotally.streams.tariffs.withdrawing import book_without
from tests.support.tariff_texts import FILE, changed

NOW = 1_796_083_200_000_000  # 2026-12-01T00:00:00Z
MINUTE, DAY = 60_000_000, 86_400_000_000


def version(number: int, since_us: int) -> TariffVersion:
    return replace(read_tariff(changed("version: 1", f"version: {number}")), effective_from_us=since_us)


def book(*versions: TariffVersion) -> RuleBook:
    return RuleBook(4, Settings(skew_us=2 * MINUTE), versions)


def test_a_version_to_come_is_left_out_of_the_next_book() -> None:
    current = book(version(1, 0), version(2, NOW + DAY), version(3, NOW + 2 * DAY))
    left = book_without(current, "t", 2, NOW)
    assert (left.number, [t.version for t in left.tariffs], left.settings) == (-1, [1, 3], current.settings)


@pytest.mark.parametrize("since_us", [NOW - DAY, NOW, NOW + 2 * MINUTE])
def test_what_may_have_been_charged_by_is_not_taken_back(since_us: int) -> None:
    with pytest.raises(BookErrors, match="publish a new version with the prices you want"):
        book_without(book(version(1, 0), version(2, since_us)), "t", 2, NOW)


def test_beyond_the_skew_of_clocks_it_is() -> None:
    assert len(book_without(book(version(1, 0), version(2, NOW + 2 * MINUTE + 1)), "t", 2, NOW).tariffs) == 1


def test_what_is_not_there_is_told_with_what_is() -> None:
    current = book(version(1, 0), version(2, NOW + DAY))
    with pytest.raises(BookErrors, match=r"has no t version 3; it has 1 and 2"):
        book_without(current, "t", 3, NOW)
    with pytest.raises(BookErrors, match=r"has no tariff 'u'; it has t"):
        book_without(current, "u", 1, NOW)
    with pytest.raises(BookErrors, match=r"has no tariff 't'$"):
        book_without(None, "t", 1, NOW)


def test_a_book_is_never_emptied() -> None:
    with pytest.raises(BookErrors, match="the only one of the book, which cannot be empty"):
        book_without(book(version(1, NOW + DAY)), "t", 1, NOW)


def test_a_withdrawn_version_comes_back_only_while_its_time_has_not_passed() -> None:
    before = book(version(1, 0), version(2, NOW + DAY))
    current = book_without(before, "t", 2, NOW)
    again = next_book(current, [version(2, NOW + DAY)], None, NOW, 0, [before, current])
    assert [t.version for t in again.tariffs] == [1, 2]
    with pytest.raises(BookErrors, match="which is past"):
        next_book(current, [version(2, NOW + DAY)], None, NOW + 2 * DAY, 0, [before, current])
    with pytest.raises(BookErrors, match="was published with other content"):
        next_book(current, [version(2, NOW + 3 * DAY)], None, NOW, 0, [before, current])


# ---- tariff show --scheduled ----


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """A book with a version in force, one in 12 days and one in 40 s, shown at NOW."""
    held = book(version(1, 0), version(2, NOW + 12 * DAY), version(3, NOW + 40_000_000))
    monkeypatch.setattr(tariff_show, "published_books", lambda _: [PublishedBook(held, 0, "", {})])
    monkeypatch.setattr(time, "time_ns", lambda: NOW * 1000)


@pytest.mark.usefixtures("published")
def test_what_is_scheduled_is_shown_in_the_order_of_time_with_what_to_do() -> None:
    said = CliRunner().invoke(app, ["tariff", "show", "--scheduled"])
    assert said.exit_code == ExitCode.OK
    assert [line.split()[:2] for line in said.stdout.splitlines()[1:3]] == [["t", "3"], ["t", "2"]]
    assert said.stdout.splitlines()[1].endswith("40 s") and said.stdout.splitlines()[2].endswith("12 days 0 h")
    assert "nanotally tariff diff t t@3" in said.stdout and "nanotally tariff withdraw t 3" in said.stdout


def test_a_file_is_shown_without_services(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("files") / "prices.yaml"
    file.write_text(FILE, encoding="utf-8")
    said = CliRunner().invoke(app, ["tariff", "show", str(file)])
    assert said.exit_code == ExitCode.OK and said.stdout.startswith("t, version 1: in force from 2026-12-01")
    assert CliRunner().invoke(app, ["tariff", "show", str(file), "--source"]).stdout == FILE


@pytest.mark.usefixtures("published")
def test_the_version_in_force_is_drawn_unless_another_is_named(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["tariff", "show", "t", "--plot"])
    assert said.exit_code == ExitCode.OK and "── song ─" in said.stdout
    out = tmp_path / "t.svg"
    assert CliRunner().invoke(app, ["tariff", "show", "t", "--svg", str(out)]).exit_code == ExitCode.OK
    assert "<title>t, version 1</title>" in out.read_text(encoding="utf-8")
    CliRunner().invoke(app, ["tariff", "show", "t", "--version", "3", "--svg", str(out)])
    assert "<title>t, version 3</title>" in out.read_text(encoding="utf-8")
    said = CliRunner().invoke(app, ["tariff", "show", "--svg", str(out)])
    assert said.exit_code == ExitCode.OK  # there is one tariff only


def test_a_file_has_no_versions_to_choose_from(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["tariff", "show", str(tmp_path / "t.yaml"), "--scheduled"])
    assert said.exit_code == ExitCode.USAGE and "name a tariff" in said.stderr.replace("\n", " ")
