"""Tariff versions that a command is about: from a file, or by name from the rule books in Kafka."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nanotally.streams.domain.tariff import RuleBook, TariffVersion
from nanotally.streams.environment import Environment
from nanotally.streams.errors import NotFound
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.books import PublishedBook
from nanotally.streams.tariffs.findings import choose
from nanotally.streams.tariffs.publishing import read_published
from nanotally.streams.tariffs.reader import read_tariff


def is_file(name: str) -> bool:
    """Whether the text names a file rather than a tariff."""
    return "/" in name or name.endswith((".yaml", ".yml"))


def published_books(environment: Environment) -> list[PublishedBook]:
    """All rule books of the environment's Kafka, oldest first. Raises Transient, NotFound, BrokenInvariant."""
    return read_published(environment.kafka, environment.prefix)


def book_numbered(books: Sequence[PublishedBook], number: int | None) -> PublishedBook:
    """The book of this number, None: the newest one. Raises NotFound."""
    if not books:
        raise NotFound("no rule book was published yet; `nanotally tariff publish FILE` publishes one")
    if number is None:
        return books[-1]
    for published in books:
        if published.book.number == number:
            return published
    raise NotFound(f"there is no rule book {number}; there are {figures.listing([str(b.book.number) for b in books])}")


def tariffs_named(book: RuleBook, tariff: str | None, version: int | None) -> tuple[TariffVersion, ...]:
    """The book's versions of a tariff (None: of all), or one version of it. Raises NotFound."""
    names = list(dict.fromkeys(t.tariff for t in book.tariffs))
    if tariff is not None and tariff not in names:
        raise NotFound(f"rule book {book.number} has no tariff {tariff!r}; {choose(tariff, names)}")
    found = tuple(t for t in book.tariffs if tariff in (None, t.tariff) and (version is None or t.version == version))
    if not found:
        there = figures.listing([str(t.version) for t in book.tariffs if tariff in (None, t.tariff)])
        raise NotFound(f"rule book {book.number} has no version {version} of it; there are {there}")
    return found


def in_force(book: RuleBook, tariff: str, at_us: int) -> TariffVersion | None:
    """The version of the tariff that prices a use of this time; None before the first."""
    begun = [v for v in book.versions(tariff) if v.effective_from_us <= at_us]
    return begun[-1] if begun else None


@dataclass(frozen=True)
class Named:
    """A tariff version that a person named, and how: `told` is the file, or 'live'."""

    version: TariffVersion
    told: str


def version_of(name: str, environment: Environment | None = None) -> Named:
    """The version in a file; or of a published tariff NAME the one in force now (else the next), of NAME@3 version 3.

    Raises TariffErrors, NotFound, Transient."""
    if is_file(name):
        return Named(read_tariff(Path(name)), name)
    tariff, _, number = name.partition("@")
    if number and not number.isdecimal():
        raise NotFound(f"{name!r} is neither a file nor NAME@VERSION; write for instance {tariff}@3")
    where = environment or Environment.load()
    book = book_numbered(published_books(where), None).book
    found = tariffs_named(book, tariff, int(number) if number else None)
    chosen = found[-1] if number else in_force(book, tariff, time.time_ns() // 1000) or book.versions(tariff)[0]
    return Named(chosen, "live")
