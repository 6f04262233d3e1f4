"""Taking back a version before it comes into force: the next rule book without it. The past never changes."""

from __future__ import annotations

from nanotally.streams.domain.tariff import RuleBook, TariffVersion
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.books import BookErrors, PublishedBook
from nanotally.streams.tariffs.publishing import publish_next


def book_without(current: RuleBook | None, tariff: str, version: int, now_us: int) -> RuleBook:
    """The book after `current` without this version; unpublished, so its number is -1.

    A use may be ahead of the broker's clock by the book's skew, so a version that begins within it counts as in
    force. Raises BookErrors with the reason why the version may not be taken back."""
    held = current.tariffs if current is not None else ()
    found = next((t for t in held if (t.tariff, t.version) == (tariff, version)), None)
    if current is None or found is None:
        raise BookErrors([_unknown(held, tariff, version)])
    skew_us = current.settings.skew_us
    if found.effective_from_us <= now_us + skew_us:
        state = "is in force since" if found.effective_from_us <= now_us else "is about to come into force, at"
        raise BookErrors(
            [
                f"{tariff} version {version} {state} {figures.iso(found.effective_from_us)}; what may have been "
                "charged by it stays: publish a new version with the prices you want"
            ]
        )
    left = tuple(t for t in held if t is not found)
    if not left:
        raise BookErrors([f"{tariff} version {version} is the only one of the book, which cannot be empty"])
    return RuleBook(-1, current.settings, left, current.catalogs)


def _unknown(held: tuple[TariffVersion, ...], tariff: str, version: int) -> str:
    mine = [str(t.version) for t in held if t.tariff == tariff]
    if mine:
        return f"the newest rule book has no {tariff} version {version}; it has {figures.listing(mine)}"
    names = list(dict.fromkeys(t.tariff for t in held))
    return f"the newest rule book has no tariff {tariff!r}" + (f"; it has {figures.listing(names)}" if names else "")


def withdraw_version(bootstrap: str, prefix: str, tariff: str, version: int, note: str, now_us: int) -> RuleBook:
    """Publishes the book without the version and gives it with its number. It is not in force before it is activated.

    Raises BookErrors as `book_without`; Transient and NotFound as `publish_book`."""

    def without(published: list[PublishedBook]) -> RuleBook:
        return book_without(published[-1].book if published else None, tariff, version, now_us)

    return publish_next(bootstrap, prefix, without, {}, note, now_us)
