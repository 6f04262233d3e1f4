"""YAML as trees of text: no types are guessed, so `0.005` stays exact, and every node knows where it stands.

Read from the events of PyYAML's parser. Aliases, anchors, tags, duplicate keys and several documents are errors:
what a tariff says must stand where it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from nanotally.streams.tariffs.findings import Findings, Place

TEXT_MAX = 1_000_000  # characters; a rule book holds all files in one message
DEPTH_MAX = 16
QUOTE = "put a text that begins with * & ! % @ or holds { } [ ] , ? # or ': ' in quotes"


@dataclass(frozen=True)
class Scalar:
    """One text as it was written; `quoted` tells "present" in quotes from the word of the language."""

    place: Place
    text: str
    quoted: bool


@dataclass(frozen=True)
class Items:
    """A list."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Table:
    """Names with values, in the order of the file; no name twice."""

    place: Place
    entries: tuple[tuple[Scalar, Node], ...]


Node = Scalar | Items | Table


def describe(node: Node) -> str:
    """What a node is, for people."""
    match node:
        case Scalar(text="", quoted=False):
            return "nothing"
        case Scalar():
            return f"the text {node.text!r}"
        case Items():
            return "a list"
        case Table():
            return "a table of names and values"


def parse(text: str, file: str, findings: Findings) -> Node | None:
    """The root node of the file's one document; None where nothing can be read, with the reason in `findings`."""
    if len(text) > TEXT_MAX:
        findings.error(Place(file, 1, 1), "", f"longer than {TEXT_MAX:,} characters", "divide it into several files")
        return None
    try:
        return _Builder(yaml.parse(text, Loader=yaml.BaseLoader), file, findings).document()
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        place = Place(file, 1, 1) if mark is None else Place(file, mark.line + 1, mark.column + 1)
        problem = ", ".join(part for part in (e.context, e.problem) if part)
        findings.error(place, "", f"no YAML: {problem}", _yaml_remedy(problem))
    except yaml.reader.ReaderError as e:
        before = text[: e.position]
        place = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        findings.error(place, "", "a character that no text file holds", "delete it or write it anew")
    except (ValueError, OverflowError) as e:  # the scanner's own, for escapes such as "\UFFFFFFFF"
        findings.error(Place(file, 1, 1), "", f"no YAML: {e}", "mend the escapes (\\x, \\u, \\U) in quoted texts")
    return None


def _yaml_remedy(problem: str) -> str:
    if "'\\t'" in problem:
        return "indent with spaces, not tabs"
    if "alias" in problem or "anchor" in problem or "tag" in problem or "cannot start any token" in problem:
        return QUOTE
    if "mapping values are not allowed" in problem:
        return "mend the indentation, or put a text that holds ': ' in quotes"
    return f"mend the indentation and brackets; {QUOTE}"


class _Builder:
    """Nodes from the parser's events."""

    def __init__(self, events: Iterator[yaml.Event], file: str, findings: Findings) -> None:
        self._events = events
        self._file = file
        self._findings = findings
        self._depth = 0

    def document(self) -> Node | None:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self._error(event, "a second document", "write one tariff per file, without `---` between")
                    return root
                root = self._node(next(self._events))
                if root is None:
                    return None
        if root is None:
            self._findings.error(Place(self._file, 1, 1), "", "the file is empty", "see docs/tariffs.md for a start")
        return root

    def _node(self, event: yaml.Event) -> Node | None:
        """The node that begins with `event`; None where it is nested too deep to be read on."""
        if isinstance(event, yaml.AliasEvent):
            self._error(event, f"'*{event.anchor}' refers to another place", "write the value out; " + QUOTE)
            return Scalar(self._place(event), f"*{event.anchor}", True)
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor:
            self._error(event, f"'&{anchor}' names a value to be used elsewhere", f"take it away; {QUOTE}")
        if tag is not None:
            self._error(event, f"the tag {tag!r}", f"take it away, each value is read as text; {QUOTE}")
        place = self._place(event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place)
        self._depth += 1
        if self._depth > DEPTH_MAX:
            self._error(event, f"nested deeper than {DEPTH_MAX} levels", "no tariff needs that; see docs/tariffs.md")
            return None
        node = self._items(place) if isinstance(event, yaml.SequenceStartEvent) else self._table(place)
        self._depth -= 1
        return node

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> Scalar:
        text: str = event.value
        if any("\ud800" <= c <= "\udfff" for c in text):  # half of a character: cannot be hashed or published
            self._error(event, "half of a surrogate pair", "write the character itself")
            text = text.encode("utf-8", "replace").decode()
        return Scalar(place, text, event.style is not None)

    def _items(self, place: Place) -> Items | None:
        items: list[Node] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                return Items(place, tuple(items))
            node = self._node(event)
            if node is None:
                return None
            items.append(node)
        raise AssertionError("the parser ends every sequence or raises")

    def _table(self, place: Place) -> Table | None:
        entries: dict[str, tuple[Scalar, Node]] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                return Table(place, tuple(entries.values()))
            key = self._node(event)
            value = self._node(next(self._events)) if key is not None else None
            if key is None or value is None:
                return None
            if not isinstance(key, Scalar):
                self._findings.error(key.place, "", f"{describe(key)} where a name is due", QUOTE)
            elif key.text in entries:
                first = entries[key.text][0].place.line
                self._findings.error(
                    key.place, key.text, f"{key.text!r} stands here twice (first in line {first})", "keep one of them"
                )
            else:
                entries[key.text] = (key, value)
        raise AssertionError("the parser ends every mapping or raises")

    def _place(self, event: yaml.Event) -> Place:
        assert event.start_mark is not None, "the parser marks every event"
        return Place(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _error(self, event: yaml.Event, problem: str, remedy: str) -> None:
        self._findings.error(self._place(event), "", problem, remedy)
