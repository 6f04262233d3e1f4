"""Catalog files: what they say, what is wrong with them with line and field, and how books keep them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nanotally.streams.commands import app
from nanotally.streams.domain.catalogs import CatalogItem, CatalogVersion
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.errors import BrokenInvariant
from nanotally.streams.tariffs.books import BookErrors, book_record, next_book, published_book
from nanotally.streams.tariffs.catalog_checks import source_key
from nanotally.streams.tariffs.catalog_files import read_catalog
from nanotally.streams.tariffs.findings import TariffErrors
from nanotally.streams.tariffs.reader import read_tariff

SONGS = """catalog: songs
version: 3
effective_from: 2026-12-01T00:00:00Z
products: [music]
items:
  song-1: {creator: ana, label: blue, writers: {ana: 60%, bob: 2/5}, price: 0.002}
  song-2: {creator: eve}
"""
DECEMBER = 1_796_083_200_000_000
TARIFF = read_tariff("""
tariff: media
version: 1
effective_from: 2020-01-01T00:00:00Z
currency: USD
meters: {play: {unit: play}}
splits: {all: {creator: rest}}
rules: [{rule: play, when: {meter: play}, price: 0.002 per play, split: all}]
""")


def catalog(changes: dict[str, str] | None = None) -> CatalogVersion:
    text = SONGS
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    return read_catalog(text).version


def test_a_file_says_who_made_what_and_what_it_costs() -> None:
    assert catalog() == CatalogVersion(
        "songs",
        3,
        DECEMBER,
        ("music",),
        (
            CatalogItem("song-1", "ana", "blue", (("ana", Fraction(3, 5)), ("bob", Fraction(2, 5))), "0.002"),
            CatalogItem("song-2", "eve"),
        ),
    )


ITEM = "song-2: {creator: eve}"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (ITEM, "song-2: eve", "f:7:11: error: items.song-2: the text 'eve' where names with values are due"),
        (ITEM, "song-2: {creater: eve}", "items.song-2.creater: unknown name 'creater'; did you mean 'creator'?"),
        (ITEM, "song-2: {creator: ''}", "f:7:21: error: items.song-2.creator: '' is no name"),
        (ITEM, "song-1: {creator: eve}", "'song-1' stands here twice (first in line 6)"),
        ("0.002", "-1", "items.song-1.price: '-1' is below zero"),
        ("0.002", "0.002 USD", "items.song-1.price: '0.002 USD' is no price; write the number alone"),
        ("0.002", "$2", "write the number alone: the tariff says in which currency"),
        ("0.002", '"0,002"', "'0,002' is no price; write it with a point: 0.002"),
        ("0.002", "0.0000000000001", "has more than 12 decimal places"),
        ("0.002", "cheap", "'cheap' is no price; write a decimal number per unit"),
        ("2/5", "50%", "f:6:39: error: items.song-1.writers: the parts come to 110 %; make them 100%"),
        ("2/5", "30%", "the parts come to 90 %"),
        ("2/5", "rest", "items.song-1.writers.bob: writers have no `rest`"),
        ("2/5", "{a: 1}", "a table of names and values where a part is due"),
        ("{ana: 60%, bob: 2/5}", "[ana, bob]", "items.song-1.writers: a list where writers with their parts are due"),
        ("bob: 2/5", "bob: 0%", "a part of nothing"),
        ("catalog: songs", "catalog: my songs", "f:1:10: error: catalog: 'my songs' is no name"),
        ("version: 3\n", "", "version: 'version' is missing"),
        ("[music]", "[]", "products: an empty list"),
        ("2026-12-01T00:00:00Z", "tomorrow", "effective_from: 'tomorrow' is no ISO 8601 time"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_field(old: str, new: str, said: str) -> None:
    with pytest.raises(TariffErrors) as found:
        read_catalog(SONGS.replace(old, new, 1), "f")
    assert said in str(found.value)


def test_a_catalog_without_items_is_refused() -> None:
    with pytest.raises(TariffErrors, match="items: 'items' is missing"):
        read_catalog(SONGS.split("items:")[0])


# ---- in rule books ----


def book(
    *catalogs: CatalogVersion, current: RuleBook | None = None, now_us: int = 0, lead_us: int | None = 0
) -> RuleBook:
    versions = [TARIFF] if current is None else []
    history = [] if current is None else [current]
    return next_book(current, versions, None, now_us, lead_us, history, catalogs)


def test_a_catalog_is_published_without_touching_the_tariff_and_stays() -> None:
    first = book()
    second = book(catalog(), current=first)
    assert second.tariffs == first.tariffs and second.catalogs == (catalog(),)
    assert second.book_hash != first.book_hash
    third = book(catalog({"version: 3": "version: 4"}), current=second)
    assert [c.version for c in third.catalogs] == [3, 4]
    assert next_book(third, [TARIFF], None, 0, 0, [second]) is third  # nothing new, and the catalogs stay


@pytest.mark.parametrize(
    ("changed", "now_us", "said"),
    [
        ({"0.002": "0.003"}, 0, "songs version 3 was published with other content .*give the new one version 4"),
        ({"version: 3": "version: 4"}, DECEMBER + 1, "songs version 4 would be in force from .* which is past"),
        ({"version: 3": "version: 2"}, 0, "songs version 2 would never be in force: version 3 begins at the same"),
        ({"catalog: songs": "catalog: tunes"}, 0, "items 'song-1' and 'song-2' are in catalog songs and in"),
        ({"catalog: songs": "catalog: tunes", "products: [music]\n": "", "song-1": "song-9"}, 0,
         "item 'song-2' is in catalog songs and in catalog tunes"),
    ],
)  # fmt: skip
def test_what_may_not_follow_is_refused_with_the_remedy(changed: dict[str, str], now_us: int, said: str) -> None:
    with pytest.raises(BookErrors, match=said):
        book(catalog(changed), current=book(catalog()), now_us=now_us)


def test_an_item_may_be_in_two_catalogs_of_different_products() -> None:
    tunes = catalog({"catalog: songs": "catalog: tunes", "[music]": "[radio]"})
    assert [c.catalog for c in book(catalog(), tunes).catalogs] == ["songs", "tunes"]


def test_the_first_catalog_of_an_installation_may_begin_in_the_past_and_later_ones_backdated() -> None:
    assert book(catalog(), now_us=DECEMBER + 1).catalogs
    assert book(catalog(), current=book(), now_us=DECEMBER + 1, lead_us=None).catalogs


def test_a_book_with_catalogs_is_read_back_with_their_files() -> None:
    held = book(catalog())
    value = book_record(held, 7, "why", {source_key(catalog()): SONGS})
    read = published_book(value, 5)
    assert read.book.catalogs == held.catalogs and read.book.book_hash == held.book_hash
    assert read.sources[source_key(catalog())] == SONGS


def test_a_changed_item_in_a_published_book_is_a_broken_invariant() -> None:
    value = book_record(book(catalog()), 7, "", {}).replace(b'"price":"0.002"', b'"price":"0.001"')
    with pytest.raises(BrokenInvariant, match="rule book 5 has catalog songs version 3 with hash"):
        published_book(value, 5)


# ---- the command ----


def test_the_command_checks_files_and_says_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "songs.yaml").write_text(SONGS)
    result = CliRunner().invoke(app, ["catalog", "check", str(tmp_path / "songs.yaml")])
    assert result.exit_code == 0
    assert "catalog songs, version 3: 2 items of product music, in force from 2026-12-01 00:00:00 UTC" in result.stdout
    assert "  song-1: creator ana, label blue, written by ana 60 % and bob 40 %, price 0.002\n" in result.stdout


def test_the_command_tells_what_is_wrong_in_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SONGS.replace("0.002", "cheap"))
    (tmp_path / "b.yaml").write_text(SONGS)
    (tmp_path / "c.yaml").write_text(SONGS.replace("catalog: songs", "catalog: tunes"))
    files = [str(tmp_path / f"{name}.yaml") for name in "abc"]
    result = CliRunner().invoke(app, ["catalog", "check", *files])
    assert result.exit_code == 3
    assert f"{files[0]}:6:77: error: items.song-1.price: 'cheap' is no price" in result.stderr
    assert "items 'song-1' and 'song-2' are in catalog songs and in catalog tunes" in result.stderr
    told = json.loads(CliRunner().invoke(app, ["catalog", "check", *files, "--json"]).stdout)
    assert not told["ok"] and len(told["findings"]) == 1 and len(told["problems"]) == 1
    assert [c["catalog"] for c in told["catalogs"]] == ["songs", "tunes"]
