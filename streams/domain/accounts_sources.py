"""How far the sources of earnings are, and whose rule book rules the end of a period."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nanotally.streams.domain.records import LONG_AGO
from nanotally.streams.domain.tariff import Settings
from nanotally.streams.errors import BrokenInvariant

_FIXED = ("zone", "windows", "settlement")


class Sources:
    """Watermarks of the partitions of `usage`, from their marks.

    A source passes an end with the book that its first mark at or beyond the end names; the least of these books over
    all sources rules the end. So it does not matter in which order the marks of several sources came."""

    def __init__(self) -> None:
        self.watermarks: dict[int, int] = {}
        self._number: int | None = None
        # By source, in the order of its marks: (book, the watermark that marks with this book have reached).
        self._reached: dict[int, list[tuple[int, int]]] = {}
        self._settings: dict[int, Settings] = {}

    def hear(self, mark: Mapping[str, Any]) -> None:
        """Takes a mark; one that is not ahead of its source's last one changes nothing.

        Raises BrokenInvariant where the marks do not belong together."""
        source, book, to_us = mark["source"], mark["book_number"], mark["watermark_us"]
        if self._number is None:
            self._number = mark["sources"]
        if self._number != mark["sources"] or not 0 <= source < self._number:
            raise BrokenInvariant(f"a mark of source {source} of {mark['sources']}, where {self._number} were known")
        self._learn(book, mark["settings"])
        if source in self.watermarks and to_us <= self.watermarks[source]:
            return
        self.watermarks[source] = to_us
        reached = self._reached.setdefault(source, [])
        if reached and reached[-1][0] == book:
            reached.pop()
        reached.append((book, to_us))

    def _learn(self, book: int, text: str) -> None:
        settings = Settings.from_document(json.loads(text))
        for known in self._settings.values():
            if any(getattr(known, name) != getattr(settings, name) for name in _FIXED):
                raise BrokenInvariant(f"rule book {book} has other windows, settlement or zone than the first one")
        if self._settings.setdefault(book, settings) != settings:
            raise BrokenInvariant(f"sources tell different settings of rule book {book}")

    def least(self) -> int:
        """Watermark of all sources together: LONG_AGO before each of them was heard."""
        if len(self.watermarks) != self._number:
            return LONG_AGO
        return min(self.watermarks.values())

    def ruling(self, end_us: int) -> Settings:
        """Settings that rule what ends at an instant that every source has passed."""
        return self._settings[min(next(b for b, to in r if to >= end_us) for r in self._reached.values())]

    def book_number(self) -> int:
        """The least book in force over the sources; -1 before any was heard."""
        return min((reached[-1][0] for reached in self._reached.values()), default=-1)

    def forget(self, closed_to_us: int) -> None:
        """Lets go of books that rule no later end."""
        for source, reached in self._reached.items():
            self._reached[source] = [r for r in reached[:-1] if r[1] > closed_to_us] + reached[-1:]
        named = {book for reached in self._reached.values() for book, _ in reached}
        self._settings = {book: s for book, s in self._settings.items() if book in named}

    def document(self) -> dict[str, Any]:
        """The state as plain values."""
        return {
            "number": self._number,
            "sources": [[s, w, self._reached[s]] for s, w in sorted(self.watermarks.items())],
            "settings": [[book, s.document()] for book, s in sorted(self._settings.items())],
        }

    @staticmethod
    def from_document(doc: Mapping[str, Any]) -> Sources:
        """The state from `document`."""
        sources = Sources()
        sources._number = doc["number"]
        for source, watermark, reached in doc["sources"]:
            sources.watermarks[source] = watermark
            sources._reached[source] = [(book, to) for book, to in reached]
        sources._settings = {book: Settings.from_document(s) for book, s in doc["settings"]}
        return sources
