"""Can every record type be read both ways: what was recorded by the current schema, and the other way round?

`python -m nanotally.schemas.compatibility` prints a table and exits with 1 where something breaks; `--record` also
writes the current schemas, with sample datums, to `recorded/` where they are new. What is recorded is read for ever: a
ledger outlives its schemas. (A recorded version that nobody ever wrote data with may be deleted.)
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException

from nanotally.schemas import catalog
from nanotally.schemas.catalog import HEADER_BYTES, RECORDED, Schema
from nanotally.schemas.columns import read_each, records_of, write_datum
from nanotally.schemas.projection import project
from nanotally.schemas.samples import samples
from nanotally.schemas.shape import REQUIRED, Field, Shape

UNREADABLE = (ValueError, TypeError, EOFError, IndexError, KeyError, AttributeError, SchemaParseException)
"""What fastavro raises where a schema cannot read a datum of another one."""


@dataclass(frozen=True)
class Break:
    """One reason why two versions of a record type cannot be read both ways, and how to mend it.

    `version` is the older one's number, 0 where nothing is recorded yet.
    """

    schema: str
    version: int
    field: str
    what: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.schema}.{self.field}" if self.field else self.schema
        against = f" against version {self.version}" if self.version else ""
        return f"{place}{against}: {self.what}. {self.remedy}"


def breaks(current: Schema, older: Schema, version: int) -> list[Break]:
    """Breaks by the rules of schema resolution, in both directions; `version` is the number of `older`."""
    found = [*_breaks(current.shape, older.shape, "", True), *_breaks(older.shape, current.shape, "", False)]
    alike = {(field, what): (field, what, remedy) for field, what, remedy in reversed(found)}  # once, not per direction
    return [Break(current.name, version, *parts) for parts in reversed(alike.values())]


def _breaks(reader: Shape, writer: Shape, path: str, reader_is_new: bool) -> Iterator[tuple[str, str, str]]:
    """Why `reader` cannot read what `writer` wrote: field, what, remedy."""
    old, new = (writer, reader) if reader_is_new else (reader, writer)
    keep = "Keep the type; add a field of another name, with a default."
    if old.kind != new.kind:
        yield path, f"its type was {old.kind} and is {new.kind}", keep
    elif old.optional != new.optional:
        yield path, "null was allowed and is not" if old.optional else "null is allowed and was not", keep
    elif old.logical != new.logical:
        yield path, f"its meaning was {old.logical or 'plain'} and is {new.logical or 'plain'}", keep
    elif old.full_name != new.full_name:
        yield path, f"the record was named {old.full_name} and is {new.full_name}", "Keep the name."
    elif reader.kind == "record":
        written = {field.name: field for field in writer.fields}
        for field in reader.fields:
            where = f"{path}.{field.name}" if path else field.name
            if field.name in written:
                yield from _breaks(field.shape, written[field.name].shape, where, reader_is_new)
            elif field.default is REQUIRED:
                yield where, *_without_default(field, reader_is_new)
    elif reader.item is not None and writer.item is not None:
        yield from _breaks(reader.item, writer.item, f"{path}[]", reader_is_new)


def _without_default(field: Field, added: bool) -> tuple[str, str]:
    if added:
        return "it is new and has no default", f"Give {field.name!r} a default, so that older datums can be read."
    return "it is gone and had no default", f"Keep {field.name!r}: what reads by the older version needs it."


def unread(current: Schema, older: Schema, version: int, datums: Sequence[bytes]) -> list[Break]:
    """Breaks seen by reading: the older version's recorded datums now, and samples of the current one by the older."""
    remedy = "Undo the change, or mend the codec; never alter what is recorded."
    found = []
    bad: dict[int, str] = {}
    for batch, positions in read_each(older, datums, range(len(datums)), bad):
        try:
            projected = project(batch, older.shape, current.shape, current.arrow)
            wanted = [_resolved(datums[position], older, current) for position in positions]
        except UNREADABLE as error:
            found.append(Break(current.name, version, "", f"a recorded datum cannot be read now: {error}", remedy))
            continue
        for row, (got, expected) in enumerate(zip(records_of(projected, current.shape), wanted, strict=True)):
            if got != expected:
                what = f"recorded datum {positions[row]} is read as {got}, by Avro's rules it is {expected}"
                found.append(Break(current.name, version, "", what, remedy))
    for position, detail in bad.items():
        found.append(Break(current.name, version, "", f"recorded datum {position} is not read: {detail}", remedy))
    for record in samples(current.shape):
        try:
            _resolved(write_datum(current, record), current, older)
        except UNREADABLE as error:
            found.append(
                Break(current.name, version, "", f"the older version cannot read a new datum: {error}", remedy)
            )
    return found


def _resolved(datum: bytes, writer: Schema, reader: Schema) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(datum[HEADER_BYTES:]), writer.parsed, reader.parsed)


def check(current: Schema, folder: Path = RECORDED) -> list[Break]:
    """All breaks between the current schema of a record type and its recorded versions."""
    found = []
    for version, path in sorted(catalog.recorded(current.name, folder).items()):
        older = catalog.load(path.read_text())
        by_rule = breaks(current, older, version)
        found += by_rule or unread(current, older, version, recorded_datums(path))
    return found


def recorded_datums(path: Path) -> list[bytes]:
    """The datums, with header, recorded beside a schema file: hexadecimal, one a line."""
    return [bytes.fromhex(line) for line in path.with_suffix(".hex").read_text().splitlines()]


def is_recorded(current: Schema, folder: Path = RECORDED) -> bool:
    """Whether a recorded version is the same as the current one, defaults and logical types included."""
    paths = catalog.recorded(current.name, folder).values()
    return any(catalog.load(path.read_text()).shape == current.shape for path in paths)


def record(current: Schema, folder: Path = RECORDED) -> Path:
    """Writes the current schema and sample datums as the next version; gives the schema's path."""
    version = max(catalog.recorded(current.name, folder), default=0) + 1
    path = folder / current.name / f"{version}.avsc"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [write_datum(current, sample).hex() for sample in samples(current.shape)]
    path.with_suffix(".hex").write_text("".join(f"{line}\n" for line in lines))
    path.write_text(current.text)
    return path


def main(arguments: Sequence[str] | None = None, folder: Path = RECORDED) -> int:
    """Prints the table; 0 where every record type can be read both ways and is recorded, else 1."""
    parser = argparse.ArgumentParser(prog="python -m nanotally.schemas.compatibility", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write current schemas that are new to recorded/")
    options = parser.parse_args(arguments)
    found: list[Break] = []
    print(f"{'record type':<14} {'fingerprint':<17} {'recorded':<10} both ways")
    for name in catalog.names():
        current = catalog.schema(name)
        broken = check(current, folder)
        known = is_recorded(current, folder)
        if options.record and not known and not broken:
            record(current, folder)
            known = True
        if not known and not broken:
            remedy = "Run python -m nanotally.schemas.compatibility --record and commit what it writes."
            broken = [Break(name, max(catalog.recorded(name, folder), default=0), "", "it is not recorded", remedy)]
        versions = ", ".join(map(str, sorted(catalog.recorded(name, folder)))) or "-"
        print(f"{name:<14} {current.fingerprint.hex():<17} {versions:<10} {'NO' if broken else 'yes'}")
        found += broken
    for fault in found:
        print(f"  {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
