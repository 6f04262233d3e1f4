"""The part of a rule that says what a use costs: the same names in the rule itself and in each band of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from nanotally.streams.tariffs.findings import Findings, Place, Unreadable
from nanotally.streams.tariffs.section import Section
from nanotally.streams.tariffs.tiers import PriceContext
from nanotally.streams.tariffs.yaml_nodes import Node

T = TypeVar("T")


class Body:
    """Sections from the innermost to the outermost: a band, then the rule that it stands in. What the inner one does
    not say, the outer one says."""

    def __init__(self, sections: Sequence[Section], context: PriceContext) -> None:
        self._sections = sections
        self.context = context

    @property
    def findings(self) -> Findings:
        return self.context.findings

    def section(self, name: str) -> Section | None:
        """The innermost section that has the name; None where none has."""
        return next((s for s in self._sections if s.has(name)), None)

    def has(self, name: str) -> bool:
        return self.section(name) is not None

    def node(self, name: str) -> Node | None:
        """What stands behind the name."""
        section = self.section(name)
        return None if section is None else section.node_of(name)

    def path(self, name: str) -> str:
        """Path of the field for messages: 'rules.call.bands.peak.connect'."""
        return (self.section(name) or self._sections[0]).path(name)

    def place(self, name: str) -> Place:
        """Where the name stands; where it does not, the innermost section."""
        section = self.section(name)
        return self._sections[0].node.place if section is None else section.key(name).place

    def read(self, name: str, reader: Callable[[str], T]) -> T | None:
        """The text behind the name as `reader` takes it (raising Unreadable); None with the error noted, and where
        the name is not there."""
        section = self.section(name)
        return None if section is None else section.read(name, reader)

    def choice(self, name: str, words: Sequence[str]) -> str | None:
        """The text behind the name, one of `words`; None with the error noted, and where the name is not there."""

        def one_of(text: str) -> str:
            if text in words:
                return text
            raise Unreadable(f"{text!r} is none of the choices", f"write {name}: {' or '.join(words)}")

        return self.read(name, one_of)

    def error(self, name: str, problem: str, remedy: str) -> None:
        """An error at the name."""
        self.findings.error(self.place(name), self.path(name), problem, remedy)

    def warning(self, name: str, problem: str, remedy: str) -> None:
        """A warning at the name."""
        self.findings.warning(self.place(name), self.path(name), problem, remedy)
