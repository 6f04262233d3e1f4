"""One table of a file, read name by name: says what is unknown, missing or of the wrong shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from nanotally.streams.tariffs.findings import Findings, Unreadable, choose
from nanotally.streams.tariffs.yaml_nodes import Items, Node, Scalar, Table, describe

T = TypeVar("T")


class Section:
    """`known` gives each name that may stand in the table with an example of its value; `instead` gives for names of
    other languages what to write here."""

    def __init__(
        self,
        node: Node,
        field: str,
        findings: Findings,
        known: Mapping[str, str],
        instead: Mapping[str, str] | None = None,
    ) -> None:
        self.node = node
        self.field = field
        self._findings = findings
        self._known = known
        self._values: dict[str, Node] = {}
        self._names: dict[str, Scalar] = {}
        self.readable = isinstance(node, Table)
        if not isinstance(node, Table):
            findings.error(node.place, field, f"{describe(node)} where names with values are due", self._example())
            return
        for key, value in node.entries:
            if key.text in known:
                self._values[key.text] = value
                self._names[key.text] = key
            else:
                remedy = (instead or {}).get(key.text) or choose(key.text, known)
                findings.error(key.place, self.path(key.text), f"unknown name {key.text!r}", remedy)

    def path(self, name: str) -> str:
        """Path of the field for messages: 'rules.article.price'."""
        return f"{self.field}.{name}" if self.field else name

    def has(self, name: str) -> bool:
        return name in self._values

    def key(self, name: str) -> Scalar:
        """The name as it stands in the file. KeyError where it does not."""
        return self._names[name]

    def node_of(self, name: str, required: bool = False) -> Node | None:
        """The value of `name`; where it is missing and required, an error says what to write."""
        node = self._values.get(name)
        if node is None and required and self.readable:
            self._findings.error(
                self.node.place, self.path(name), f"{name!r} is missing", f"write {name}: {self._known[name]}"
            )
        return node

    def scalar(self, name: str, required: bool = False) -> Scalar | None:
        """The text of `name`; None where it is missing or no text, with the error noted."""
        node = self.node_of(name, required)
        return None if node is None else self.as_scalar(node, name)

    def as_scalar(self, node: Node, name: str) -> Scalar | None:
        """`node` where it is a text that is not empty; else None, with the error noted."""
        if isinstance(node, Scalar) and (node.text or node.quoted):
            return node
        self._findings.error(
            node.place, self.path(name), f"{describe(node)} where a value is due", f"write {name}: {self._known[name]}"
        )
        return None

    def read(self, name: str, reader: Callable[[str], T], required: bool = False) -> T | None:
        """The text of `name` as `reader` takes it (raising Unreadable); None with the error noted."""
        scalar = self.scalar(name, required)
        if scalar is None:
            return None
        try:
            return reader(scalar.text)
        except Unreadable as e:
            self._findings.unreadable(scalar.place, self.path(name), e)
            return None

    def error(self, name: str, problem: str, remedy: str) -> None:
        """An error at the name, which must be there."""
        self._findings.error(self.key(name).place, self.path(name), problem, remedy)

    def unreadable(self, scalar: Scalar, name: str, error: Unreadable) -> None:
        """What cannot be read of the text behind `name`."""
        self._findings.unreadable(scalar.place, self.path(name), error)

    def texts(self, name: str) -> tuple[Scalar, ...] | None:
        """A list of texts, or one text alone; None where the name is missing or something else stands there."""
        node = self.node_of(name)
        if node is None:
            return None
        nodes = node.items if isinstance(node, Items) else (node,)
        found = tuple(self.as_scalar(n, name) for n in nodes)
        return tuple(s for s in found if s is not None) if all(s is not None for s in found) else None

    def _example(self) -> str:
        return "write " + ", ".join(f"{name}: {example}" for name, example in list(self._known.items())[:3])
