"""What was found wrong or doubtful in a file that a person wrote: where, what, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from nanotally.streams.errors import InvalidInput


@dataclass(frozen=True, order=True)
class Place:
    """Where a text stands: file, line and column, both from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Finding:
    """One remark on a file. `field` is the path to the value, 'rules.article.price'; `severity` error or warning."""

    place: Place
    field: str
    problem: str
    remedy: str
    severity: str = "error"

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.place}: {self.severity}: {field}{self.problem}{remedy}"

    def document(self) -> dict[str, Any]:
        """The finding as plain values, for --json."""
        return {
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "severity": self.severity,
            "field": self.field,
            "problem": self.problem,
            "remedy": self.remedy,
        }


FINDINGS_MAX = 2_000  # then the reader gives up: a file with so many is no file for it
NEAREST_OF = 1_000  # a word is likened to so many others at most
KNOWN_MAX = 60  # names in a remedy


class TariffErrors(InvalidInput):
    """A file that cannot be used; carries every finding, warnings too, in the order of the file."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(f) for f in self.findings), reason="tariff")


class Unreadable(ValueError):
    """A text that is not what its place asks for: the problem and the remedy, without the place."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class Findings:
    """Collects findings, so that one reading shows all of them."""

    def __init__(self) -> None:
        self._all: list[Finding] = []

    def error(self, place: Place, field: str, problem: str, remedy: str) -> None:
        """Notes an error. Raises TariffErrors when there are more than anybody would mend."""
        self._all.append(Finding(place, field, problem, remedy))
        if len(self._all) >= FINDINGS_MAX:
            self._all.append(Finding(place, "", f"{FINDINGS_MAX:,} findings", "the rest was not read"))
            raise TariffErrors(self.sorted())

    def warning(self, place: Place, field: str, problem: str, remedy: str) -> None:
        self._all.append(Finding(place, field, problem, remedy, "warning"))

    def unreadable(self, place: Place, field: str, error: Unreadable) -> None:
        self.error(place, field, error.problem, error.remedy)

    def failed(self) -> bool:
        return any(f.severity == "error" for f in self._all)

    def errors_since(self, count: int) -> bool:
        """Whether an error was added after the first `count` findings."""
        return any(f.severity == "error" for f in self._all[count:])

    def __len__(self) -> int:
        return len(self._all)

    def sorted(self) -> tuple[Finding, ...]:
        """Each finding once, in the order of the file; the variants of a rule may be at fault in the same way."""
        return tuple(sorted(dict.fromkeys(self._all), key=lambda f: f.place))

    def warnings(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.sorted() if f.severity == "warning")

    def raise_errors(self) -> None:
        """Raises TariffErrors where there is an error among the findings."""
        if self.failed():
            raise TariffErrors(self.sorted())


def nearest(word: str, known: Iterable[str], alike: float = 0.6) -> str | None:
    """The known word most like `word`; None where none is alike: `alike` 1 asks for the word itself."""
    by_lower = {k.lower(): k for k in islice(known, NEAREST_OF)}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=alike)
    found += [k for k in by_lower if len(word) > 2 and k.startswith(word.lower())]
    return by_lower[found[0]] if found else None


def choose(word: str, known: Iterable[str]) -> str:
    """A remedy for an unknown word: the nearest known one, or all that there are."""
    names = list(known)
    near = nearest(word, names)
    if near:
        return f"did you mean {near!r}?"
    more = f" and {len(names) - KNOWN_MAX:,} more" if len(names) > KNOWN_MAX else ""
    return f"known here: {', '.join(names[:KNOWN_MAX])}{more}" if names else "none is known here"
