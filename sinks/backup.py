"""Backup and restore of a database, by ClickHouse's own BACKUP, in an order that cannot lose a row.

A position must never be newer than the rows it speaks of. So the positions are copied first and restored last: what was
written in between is in the rows already, and the sink, which begins at the older position, leaves those rows out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nanotally.sinks.client import Address, ClickHouse
from nanotally.sinks.migrate import migrate
from nanotally.sinks.tables import CHUNKS
from nanotally.streams.errors import BrokenInvariant, InvalidInput, NotFound

WHERE = "File('{name}/{part}')"
POSITIONS, ROWS = "positions", "rows"
_INSIDE = "nanotally"  # what the database is called in a backup, whatever it is called outside
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_WHERE = re.compile(r"(File|Disk|S3|AzureBlobStorage)\([^;]*\{part\}[^;]*\)")
_EXISTS, _NOT_FOUND, _NOT_SET, _NOT_ALLOWED = 598, 599, 318, 36


@dataclass(frozen=True)
class Held:
    """What a database holds: charges, and the sink's next offset by topic and partition."""

    charges: int
    positions: dict[tuple[str, int], int]


def create(address: Address, name: str, where: str = WHERE) -> Held:
    """Copies the database while it is in use; gives what is at least in the backup.

    name: of letters, digits, points, dashes; where: a destination of ClickHouse's, with {name} and {part}. Raises
    InvalidInput for a name that is taken and for a destination that the server does not allow, Transient where
    ClickHouse does not answer."""
    target = _targets(name, where)
    clickhouse = ClickHouse(address)
    database = f"`{address.database}`"
    try:
        held = _held(clickhouse)
        _tried(clickhouse, f"BACKUP TABLE {database}.{CHUNKS} AS {_INSIDE}.{CHUNKS} TO {target[POSITIONS]}", name)
        _tried(
            clickhouse,
            f"BACKUP DATABASE {database} AS {_INSIDE} EXCEPT TABLES {database}.{CHUNKS} TO {target[ROWS]}",
            name,
        )
    finally:
        clickhouse.close()
    return held


def restore(address: Address, name: str, where: str = WHERE) -> Held:
    """Makes the database anew from a backup, and brings its tables to this release; gives what it holds.

    Raises InvalidInput where there is a database of that name with something in it, NotFound without such a backup
    (a backup that was broken off is none); as `create` otherwise. What is restored in part has no positions, and is
    refused by the next try: drop it."""
    target = _targets(name, where)
    server = ClickHouse(Address(address.native, "default", address.user, address.password))
    database = f"`{address.database}`"
    chunks = f"TABLE {_INSIDE}.{CHUNKS} AS {database}.{CHUNKS} FROM {target[POSITIONS]}"
    try:
        ((tables,),) = server.query(
            "SELECT count() FROM system.tables WHERE database = {database:String}", {"database": address.database}
        )
        if tables:
            raise InvalidInput(
                f"database {address.database} is there, with {tables} tables, and a restore changes nothing that is: "
                f"stop the sinks and drop it (DROP DATABASE {database} SYNC), or name another one (--database)"
            )
        server.run(f"CREATE DATABASE IF NOT EXISTS {database}")
        _tried(server, f"RESTORE {chunks} SETTINGS structure_only = 1", name)  # views name it
        _tried(server, f"RESTORE DATABASE {_INSIDE} AS {database} FROM {target[ROWS]}", name)
        _tried(server, f"RESTORE {chunks}", name)
    finally:
        server.close()
    migrate(address.native, address.database, address.user, address.password)
    clickhouse = ClickHouse(address)
    try:
        return _held(clickhouse)
    finally:
        clickhouse.close()


def _targets(name: str, where: str) -> dict[str, str]:
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is no name of a backup: letters, digits, '.', '-' and '_', 100 at most")
    if not _WHERE.fullmatch(where):
        raise InvalidInput(
            f"{where!r} is no place for a backup: write File('{{name}}/{{part}}'), Disk('X', '{{name}}/{{part}}') or "
            f"S3('https://.../{{name}}/{{part}}', ...), with {{part}} in it"
        )
    return {part: where.replace("{name}", name).replace("{part}", part) for part in (POSITIONS, ROWS)}


def _held(clickhouse: ClickHouse) -> Held:
    positions = clickhouse.query(
        "SELECT topic, kafka_partition, max(kafka_offset) + 1 FROM chunks GROUP BY topic, kafka_partition ORDER BY ALL"
    )
    ((charges,),) = clickhouse.query("SELECT count() FROM charges")
    return Held(charges, {(topic, partition): at for topic, partition, at in positions})


def _tried(clickhouse: ClickHouse, statement: str, name: str) -> None:
    """Runs a statement; what the server refuses of it in words that say what to do."""
    try:
        clickhouse.run(statement)
    except BrokenInvariant as e:
        code = int((re.search(r"refused \(code (\d+)\)", str(e)) or ["", "0"])[1])
        if code == _EXISTS:
            raise InvalidInput(
                f"there is a backup {name} already, and backups are never overwritten; name another"
            ) from e
        if code == _NOT_FOUND:
            raise NotFound(f"there is no whole backup {name} at that place: {e}") from e
        if code in (_NOT_SET, _NOT_ALLOWED):
            raise InvalidInput(
                f"ClickHouse at {clickhouse.address.native} allows no backup there: set backups.allowed_path (or "
                f"backups.allowed_disk) in its configuration, see docs/operations.md: {e}"
            ) from e
        raise
