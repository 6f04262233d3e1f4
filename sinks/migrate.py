"""Numbered migrations: what the database needs, applied once, in order, and never changed afterwards.

A file `NNNN_name.sql` holds statements, each ended by a semicolon at the end of a line, then a line `-- reverse` and
the statements that undo them. Statements can be repeated (IF NOT EXISTS, OR REPLACE): ClickHouse has no transaction
around DDL, so a migration that broke off is run again from its start. The table `migrations` says which were applied,
with the hash of the file, so that a file changed afterwards is refused.

Versions of one major version work side by side on one database. So its migrations only add (tables, views, columns with
a default), and a version goes on with a database that has later ones than it knows: it writes the columns it knows.

    python -m nanotally.sinks.migrate [--down-to NUMBER]
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nanotally.sinks.client import Address, ClickHouse, patiently
from nanotally.streams.environment import Environment
from nanotally.streams.errors import BrokenInvariant, InvalidInput, NanotallyError

FOLDER = Path(__file__).parent / "migrations"
REVERSE = "-- reverse"
_NAME = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z0-9_]+)\.sql")

_TABLE = """
CREATE TABLE IF NOT EXISTS migrations
(number UInt32, name String, hash String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = MergeTree ORDER BY number SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""


@dataclass(frozen=True)
class Migration:
    """One file: its number, its name without number and ending, the SHA-256 of its text, its statements."""

    number: int
    name: str
    hash: str
    forward: tuple[str, ...]
    reverse: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.number:04d}_{self.name}"


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """The migrations of a folder in order. Raises InvalidInput for a file that is none, gaps and equal numbers."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        name = _NAME.fullmatch(path.name)
        if not name:
            raise InvalidInput(f"{path} is no migration: name it NNNN_what_it_does.sql")
        text = path.read_text(encoding="utf-8")
        forward, mark, reverse = text.partition(f"\n{REVERSE}\n")
        if not mark:
            raise InvalidInput(f"{path} has no line {REVERSE!r}: add it and the statements that undo the file")
        digest = hashlib.sha256(text.encode()).hexdigest()
        found.append(Migration(int(name["number"]), name["name"], digest, _statements(forward), _statements(reverse)))
    for place, migration in enumerate(found, start=1):
        if migration.number != place:
            raise InvalidInput(f"migration {migration} should be number {place:04d}: numbers go up by one from 0001")
    return found


def _statements(text: str) -> tuple[str, ...]:
    parts = (part.strip() for part in re.split(r";[^\S\n]*(?:\n|$)", text))
    return tuple(part for part in parts if any(line and not line.startswith("--") for line in part.splitlines()))


def migrate(
    native: str,
    database: str,
    user: str = "default",
    password: str = "",
    *,
    folder: Path = FOLDER,
    say: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Creates the database where it is missing and applies what is missing in it; gives the names of what was applied.

    Those that a newer version has applied beyond the files stay, and are told to `say`. Raises Transient where
    ClickHouse does not answer within a minute, BrokenInvariant where what was applied is not what the files say
    (changed, missing, out of order)."""
    known = migrations(folder)
    address = Address(native, database, user, password)
    patiently(lambda: _create_database(address), "applying migrations")
    clickhouse = ClickHouse(address)
    try:
        clickhouse.run(_TABLE)
        done = _applied(clickhouse)
        later = _check(known, done, database)
        if later:
            say(f"a newer version has applied {', '.join(later)}, which only adds: this version goes on")
        for migration in known[len(done) :]:
            say(f"applying {migration}")
            for statement in migration.forward:
                clickhouse.run(statement)
            # A second migrator may have been at it too; its statements did nothing, its row must not be a second one.
            clickhouse.query(
                "INSERT INTO migrations (number, name, hash) SELECT {number:UInt32}, {name:String}, {hash:String} "
                "WHERE {number:UInt32} NOT IN (SELECT number FROM migrations)",
                {"number": migration.number, "name": migration.name, "hash": migration.hash},
            )
        return [str(migration) for migration in known[len(done) :]]
    finally:
        clickhouse.close()


def reverse(
    native: str, database: str, down_to: int, user: str = "default", password: str = "", *, folder: Path = FOLDER
) -> list[str]:
    """Undoes the migrations above the number, the last one first; gives their names. What their tables held is gone.

    Raises InvalidInput where a newer version has applied some, since that alone knows how to undo them."""
    known = migrations(folder)
    clickhouse = ClickHouse(Address(native, database, user, password))
    try:
        clickhouse.run(_TABLE)
        done = _applied(clickhouse)
        later = _check(known, done, database)
        if later:
            raise InvalidInput(
                f"database {database} has {', '.join(later)} of a newer version: undo these with that version first"
            )
        undone = [migration for migration in reversed(known[: len(done)]) if migration.number > down_to]
        for migration in undone:
            for statement in migration.reverse:
                clickhouse.run(statement)
            clickhouse.query(
                "DELETE FROM migrations WHERE number = {number:UInt32}",
                {"number": migration.number},
                lightweight_deletes_sync=2,
            )
        return [str(migration) for migration in undone]
    finally:
        clickhouse.close()


def compared(clickhouse: ClickHouse) -> tuple[list[str], list[str]]:
    """Names of the migrations that its database lacks, and of those that a newer version has applied to it.

    Raises BrokenInvariant where what was applied is not what the files say."""
    known, done = migrations(), _applied(clickhouse)
    later = _check(known, done, clickhouse.address.database)
    return [str(migration) for migration in known[len(done) :]], later


def _create_database(address: Address) -> None:
    server = ClickHouse(replace(address, database="default"))
    try:
        server.run(f"CREATE DATABASE IF NOT EXISTS `{address.database}`")
    finally:
        server.close()


def _applied(clickhouse: ClickHouse) -> dict[int, tuple[str, str]]:
    """Name and hash of what was applied, by number."""
    rows = clickhouse.query("SELECT number, name, hash FROM migrations ORDER BY number")
    return {number: (name, digest) for number, name, digest in rows}


def _check(known: list[Migration], done: dict[int, tuple[str, str]], database: str) -> list[str]:
    """That what was applied is the beginning of what is known, or all of it and more; gives the names of the latter."""
    by_number = {migration.number: migration for migration in known}
    for number, (name, digest) in done.items():
        migration = by_number.get(number)
        if migration and (migration.name, migration.hash) != (name, digest):
            raise BrokenInvariant(
                f"migration {migration} is not the file that was applied to database {database} (as {number:04d}_"
                f"{name}): an applied migration is never changed; restore it and write a new one"
            )
    missing = next((number for number in range(1, max(done, default=0)) if number not in done), 0)
    if missing:
        raise BrokenInvariant(
            f"database {database} has migration {max(done):04d} but not {by_number.get(missing, f'{missing:04d}')}: "
            f"out of order; migrations are applied in order of their numbers"
        )
    return [f"{number:04d}_{name}" for number, (name, _) in done.items() if number not in by_number]


def main(arguments: list[str] | None = None) -> int:
    """The command; gives its exit code."""
    parser = argparse.ArgumentParser(prog="python -m nanotally.sinks.migrate", description="Migrate ClickHouse.")
    parser.add_argument("--down-to", type=int, metavar="NUMBER", help="undo the migrations above NUMBER (0: all)")
    options = parser.parse_args(arguments)
    try:
        here = Environment.load()
        who = (here.clickhouse_user, here.clickhouse_password)
        if options.down_to is None:
            done = migrate(here.clickhouse, here.database, *who, say=print)
        else:
            done = reverse(here.clickhouse, here.database, options.down_to, *who)
    except NanotallyError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    said = "undone" if options.down_to is not None else "applied"
    print(f"database {here.database}: " + (f"{said} {', '.join(done)}" if done else "nothing to do"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
