"""Rule books: what the next one holds, what may not change from one to the next, and how one is written down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nanotally.schemas import codec
from nanotally.schemas.datum import InvalidDatum
from nanotally.streams.domain.catalogs import CatalogVersion, catalog_from_document
from nanotally.streams.domain.tariff import RuleBook, Settings, TariffVersion, canonical_json, from_document
from nanotally.streams.errors import BrokenInvariant, InvalidInput
from nanotally.streams.tariffs.book_checks import (
    changed,
    changed_settings,
    claims,
    name_of,
    never_in_force,
    other_content,
    too_soon,
)
from nanotally.streams.tariffs.catalog_checks import catalogs_of, source_key

# (tariff, version), of catalogs see source_key -> the file as its owner wrote it
Sources = Mapping[tuple[str, int], str]


class BookErrors(InvalidInput):
    """A rule book that may not follow; `problems` has a sentence for each reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems), reason="rule_book")


def next_book(
    current: RuleBook | None,
    versions: Sequence[TariffVersion],
    settings: Settings | None,
    now_us: int,
    lead_us: int | None,
    history: Sequence[RuleBook],
    catalogs: Sequence[CatalogVersion] = (),
) -> RuleBook:
    """The book after `current` (None: the first one of an installation), with these versions of tariffs and catalogs
    added; unpublished, so its number is -1. Where nothing would change it is `current` itself. `settings` None keeps
    those in force.

    A new version must come into force `lead_us` after `now_us` or later. The first book is free of that rule, so that
    old data can be replayed; `lead_us` None lifts it (such a version rates what arrives after its activation, and
    never what was charged before). `history`: all books ever published.

    Raises BookErrors with every reason why the book may not be published."""
    problems: list[str] = []
    books = (*history, current) if current is not None else tuple(history)
    known = {(t.tariff, t.version): t for book in books for t in book.tariffs}
    fresh: dict[tuple[str, int], TariffVersion] = {}
    held = {(t.tariff, t.version) for t in (current.tariffs if current is not None else ())}
    for v in versions:
        before = fresh.get((v.tariff, v.version)) or known.get((v.tariff, v.version))
        if before is None or (before.content_hash == v.content_hash and (v.tariff, v.version) not in held):
            fresh[v.tariff, v.version] = v  # also one that was withdrawn: it comes back like a new one
        elif before.content_hash != v.content_hash:
            problems.append(other_content(v, before, {**known, **fresh}))
    if books and lead_us is not None:
        problems += too_soon(fresh.values(), now_us, lead_us)
    problems += never_in_force(fresh.values(), {**known, **fresh})
    stays = current.tariffs if current is not None else ()
    tariffs = {(t.tariff, t.version): t for t in (*stays, *versions)}
    if not tariffs:
        problems.append("there is no tariff: a rule book holds one at least; name a tariff file")
    problems += claims(list(tariffs.values()))
    problems += changed({**known, **fresh}.values())
    known_catalogs = {(c.catalog, c.version): c for book in books for c in book.catalogs}
    held_catalogs = current.catalogs if current is not None else ()
    all_catalogs, wrong = catalogs_of(held_catalogs, known_catalogs, catalogs, now_us, lead_us if books else None)
    problems += wrong
    chosen = settings or (current.settings if current is not None else Settings())
    problems += changed_settings(chosen, [book.settings for book in books])
    if problems:
        raise BookErrors(dict.fromkeys(problems))
    book = RuleBook(-1, chosen, tuple(t for _, t in sorted(tariffs.items())), all_catalogs)
    return current if current is not None and current.book_hash == book.book_hash else book


def book_record(book: RuleBook, published_at_us: int, note: str, sources: Sources) -> bytes:
    """The datum for topic `books`. `sources` gives the files as written; one that is missing is left empty."""
    return codec.encode_one(
        "RuleBook",
        {
            "book_hash": book.book_hash,
            "published_at": published_at_us,
            "note": note,
            "settings": canonical_json(book.settings.document()),
            "tariffs": [
                {
                    "tariff": t.tariff,
                    "version": t.version,
                    "effective_from": t.effective_from_us,
                    "content_hash": t.content_hash,
                    "document": t.canonical,
                    "source": sources.get((t.tariff, t.version), ""),
                }
                for t in book.tariffs
            ],
            "catalogs": [
                {
                    "catalog": c.catalog,
                    "version": c.version,
                    "effective_from": c.effective_from_us,
                    "content_hash": c.content_hash,
                    "document": c.canonical,
                    "source": sources.get(source_key(c), ""),
                }
                for c in book.catalogs
            ],
        },
    )


@dataclass(frozen=True)
class PublishedBook:
    """A book as it stands in topic `books`: with when and why it was published, and the files as written."""

    book: RuleBook
    published_at_us: int
    note: str
    sources: Sources


def published_book(value: bytes | None, number: int) -> PublishedBook:
    """The record at offset `number` of topic `books`.

    Raises BrokenInvariant where it is none, or where a hash does not fit what it is the hash of."""
    try:
        name, record = codec.decode_one(value)
        if name != "RuleBook":
            raise BrokenInvariant(f"the record at offset {number} of topic books is a {name}, not a RuleBook")
        versions = tuple(from_document(json.loads(t["document"])) for t in record["tariffs"])
        catalogs = tuple(catalog_from_document(json.loads(c["document"])) for c in record["catalogs"])
        settings = Settings.from_document(json.loads(record["settings"]))
    except (InvalidDatum, ValueError, KeyError, TypeError) as e:
        raise BrokenInvariant(f"the record at offset {number} of topic books is no rule book: {e}") from e
    for version, told in zip(versions, record["tariffs"], strict=True):
        _check_hash(number, name_of(version), version.content_hash, told["content_hash"])
    for catalog, told in zip(catalogs, record["catalogs"], strict=True):
        name = f"catalog {catalog.catalog} version {catalog.version}"
        _check_hash(number, name, catalog.content_hash, told["content_hash"])
    book = RuleBook(number, settings, versions, catalogs)
    if book.book_hash != record["book_hash"]:
        raise BrokenInvariant(
            f"rule book {number} has hash {book.book_hash[:16]}, and says it is {record['book_hash'][:16]}: it was "
            "damaged, or written by another version of nanotally"
        )
    sources = {(t["tariff"], t["version"]): t["source"] for t in record["tariffs"]}
    sources |= {source_key(c): told["source"] for c, told in zip(catalogs, record["catalogs"], strict=True)}
    return PublishedBook(book, record["published_at"], record["note"], sources)


def _check_hash(number: int, name: str, own: str, told: str) -> None:
    if own != told:
        raise BrokenInvariant(
            f"rule book {number} has {name} with hash {own[:16]}, and says it is {told[:16]}: it was damaged, or "
            "written by another version of nanotally"
        )


def book_of(value: bytes | None, number: int) -> RuleBook:
    """The rule book in a record of topic `books`, checked against its hashes. Raises BrokenInvariant."""
    return published_book(value, number).book
