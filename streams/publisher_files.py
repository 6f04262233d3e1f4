"""Usage in files that people and programs write: CSV or JSON lines with the contract's field names.

Each line is read by itself: one that cannot be used says its place and field and stops nothing. Quantities are exact
decimals ('12.5'; in JSON also as a number), times ISO 8601 with a zone. In CSV a column `attributes.NAME` is an
attribute and an empty cell is an absent field."""

from __future__ import annotations

import csv
import difflib
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from nanotally.streams.errors import InvalidInput, NotFound
from nanotally.streams.publisher_uses import EPOCH, InvalidUse

FIELDS = (
    "event_id", "occurred_at", "product", "payer", "creator", "item", "meter", "quantity", "scale", "session",
    "duration_us", "attributes",
)  # fmt: skip
FORMATS = ("csv", "jsonl")
ATTRIBUTE = "attributes."
LINE_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class Line:
    """One line of a file. number: from 1; text: as it stands there; use: fields by name, ready for
    `Publisher.record`; where it cannot be used, `error` says why and `use` has the fields that could be read."""

    number: int
    text: str
    use: dict[str, Any]
    error: InvalidInput | TypeError | None = None


@contextmanager
def open_usage(name: str, standard_input: IO[bytes]) -> Iterator[IO[bytes]]:
    """The file's bytes; '-' is standard input, '.gz' is unpacked. Raises NotFound, InvalidInput."""
    if name == "-":
        yield standard_input
        return
    try:
        with gzip.open(name, "rb") if name.endswith(".gz") else open(name, "rb") as file:
            yield file  # type: ignore[misc]
    except FileNotFoundError as e:
        raise NotFound(f"there is no file {name}") from e
    except (OSError, EOFError) as e:
        raise InvalidInput(f"{name} cannot be read: {e}") from e


def format_of(name: str, first: bytes) -> str:
    """'csv' or 'jsonl', by the file's name or else by its first bytes."""
    suffix = Path(name.removesuffix(".gz")).suffix.lower()
    if suffix in (".csv", ".jsonl", ".ndjson", ".json"):
        return "csv" if suffix == ".csv" else "jsonl"
    return "jsonl" if first.lstrip()[:1] == b"{" else "csv"


def read_usage(name: str, file: Iterable[bytes], form: str | None = None) -> Iterator[Line]:
    """The lines of a file of usage. Raises InvalidInput where its header or form cannot be used."""
    lines = _bounded(name, file)
    first = next((line for line in lines if line[1].strip()), None)
    if first is None:
        return
    if first[1].lstrip()[:1] == b"[":
        raise InvalidInput(f"{name}:{first[0]}: a JSON array; write one object per line instead (jq -c '.[]' does)")
    rest = _chain(first, lines)
    yield from _csv(name, rest) if (form or format_of(name, first[1])) == "csv" else _json_lines(rest)


def _bounded(name: str, file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(file, 1):
        if len(line) > LINE_BYTES_MAX:
            raise InvalidInput(f"{name}:{number}: a line of {len(line):,} bytes is no use")
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _chain(first: tuple[int, bytes], rest: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    yield first
    yield from rest


# ---- JSON lines ----


def _json_lines(lines: Iterator[tuple[int, bytes]]) -> Iterator[Line]:
    for number, raw in lines:
        if not raw.strip():
            continue
        text, use = raw.decode(errors="backslashreplace").rstrip("\r\n"), {}
        try:
            use = _json_object(raw)
            yield Line(number, text, _typed(use))
        except (InvalidInput, TypeError) as e:
            yield Line(number, text, use, e)


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(
            raw.decode(), parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_without_repeats
        )
    except UnicodeDecodeError as e:
        raise InvalidInput(f"byte {e.start + 1} is not UTF-8", reason="malformed") from None
    except RecursionError:
        raise InvalidInput("nested too deeply to be a use", reason="malformed") from None
    except ValueError as e:
        raise InvalidInput(f"not JSON: {e}", reason="malformed") from None
    if not isinstance(value, dict):
        raise InvalidInput("not a JSON object", reason="malformed")
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


# ---- CSV ----


def _csv(name: str, lines: Iterator[tuple[int, bytes]]) -> Iterator[Line]:
    texts: list[str] = []
    at = 0

    def decoded() -> Iterator[str]:
        nonlocal at
        for number, raw in lines:
            at = number
            texts.append(raw.decode(errors="surrogateescape"))
            yield texts[-1]

    reader = csv.reader(decoded(), strict=True)
    header: list[str] | None = None
    while True:
        texts.clear()
        try:
            cells = next(reader, None)
        except csv.Error as e:
            yield Line(at, _shown(texts), {}, InvalidInput(f"not CSV: {e}", reason="malformed"))
            continue
        if cells is None:
            return
        if header is None:
            header = _header(name, at, cells)
        elif cells:
            yield _row(at, _shown(texts), header, cells)


def _header(name: str, number: int, cells: list[str]) -> list[str]:
    for place, cell in enumerate(cells):
        if (cell not in FIELDS and not cell.startswith(ATTRIBUTE)) or cell == "attributes":
            raise InvalidInput(f"{name}:{number}: column {place + 1}: {_unknown(cell)}")
        if cell in cells[:place]:
            raise InvalidInput(f"{name}:{number}: column {place + 1}: {cell!r} is there twice")
    return cells


def _row(number: int, text: str, header: list[str], cells: list[str]) -> Line:
    if len(cells) != len(header):
        said = f"{len(cells)} cells, and the header has {len(header)}"
        return Line(number, text, {}, InvalidInput(said, reason="malformed"))
    use: dict[str, Any] = {}
    attributes: dict[str, str] = {}
    for column, cell in zip(header, cells, strict=True):
        if cell and column.startswith(ATTRIBUTE):
            attributes[column.removeprefix(ATTRIBUTE)] = cell
        elif cell:
            use[column] = cell
    if attributes:
        use["attributes"] = attributes
    try:
        return Line(number, text, _typed(use))
    except (InvalidInput, TypeError) as e:
        return Line(number, text, use, e)


def _shown(texts: list[str]) -> str:
    return "".join(texts).encode(errors="surrogateescape").decode(errors="backslashreplace").rstrip("\r\n")


# ---- fields ----


def _typed(use: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with times as datetimes and whole numbers as integers. Raises InvalidUse."""
    typed = dict(use)
    for name in use:
        if name not in FIELDS:
            raise InvalidUse(name, _unknown(name))
    if typed.get("occurred_at") is not None:
        typed["occurred_at"] = _time(typed["occurred_at"])
    for name in ("scale", "duration_us"):
        if typed.get(name) is not None:
            typed[name] = _whole(name, typed[name])
    if not isinstance(typed.get("attributes") or {}, dict):
        raise InvalidUse("attributes", "attributes is not a JSON object of texts")
    return typed


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, FIELDS, n=1)
    hint = (
        f"did you mean {near[0]!r}?"
        if near
        else f"an attribute is written {ATTRIBUTE}NAME in CSV, in JSON inside attributes"
    )
    return f"{name!r} is no field of a use; {hint}"


def _time(value: Any) -> datetime:
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return EPOCH + timedelta(microseconds=value)
        except OverflowError:
            raise InvalidUse("occurred_at", "occurred_at is out of range; it counts microseconds") from None
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        said = f"occurred_at {value!r} is no ISO 8601 time; write it as in '2026-12-01T12:00:00Z'"
        raise InvalidUse("occurred_at", said) from None


def _whole(name: str, value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise InvalidUse(name, f"{name} {value!r} is no whole number from 0")
