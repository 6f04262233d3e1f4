"""A ClickHouse server in memory, with what the sink must live with.

An insert runs on the server, not in its client: it goes on when that dies, reads which offsets are there when it
begins, lands month by month, and can be cut off between two months. While it runs its query id is taken. It knows the
statements that the sink sends and no others."""

from __future__ import annotations

import asyncio
import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nanotally.sinks.client import VIOLATED_CONSTRAINT
from nanotally.sinks.migrate import FOLDER
from nanotally.sinks.tables import MONTH_OF, MONTHS_MAX
from tests.simulation.world import Unreachable, World

Row = dict[str, Any]
SILENT_S = 30.0  # an insert waits for so long for the rest of what a silent client sends
RUNNING, KILLED, TOO_MANY_PARTS, READ_ONLY = 216, 394, 252, 242

_INSERT = re.compile(
    r"INSERT INTO `(?P<table>\w+)` \((?P<columns>.*?)\) SELECT .*? FROM input\('.*'\)(?P<where>.*?)$", re.S
)
_NOT_IN = re.compile(r" WHERE kafka_offset NOT IN \(SELECT kafka_offset FROM `(\w+)` WHERE (.*?)\)\s*(?:FORMAT \w+)?")
_BEYOND = re.compile(r" WHERE kafka_offset > \(SELECT max\(kafka_offset\) FROM `(\w+)` WHERE (.*?)\)\s*(?:FORMAT \w+)?")
_ALL = re.compile(r"\s*(?:FORMAT \w+)?")
_BETWEEN = re.compile(r"kafka_offset BETWEEN (-?\d+) AND (-?\d+)")
_EQUALS = re.compile(r"(\w+) = '?([^' ]+)'?")
_TYPE = r"(?:[A-Z]\w*)(?:\((?:[^()]|\([^()]*\))*\))?"
_ADDED = re.compile(rf"^ALTER TABLE (\w+) ADD COLUMN IF NOT EXISTS (\w+) ({_TYPE})", re.M)
_COLUMN = re.compile(rf"^    `?([a-z_.]+)`? ({_TYPE})(.*)$", re.M)


class Refused(Exception):
    """An error code of the server's, with its text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


@dataclass
class Running:
    """An insert that has begun."""

    number: int
    killed: bool = False


@dataclass
class Table:
    columns: dict[str, str]
    rows: list[Row] = field(default_factory=list)


class ClickHouseServer:
    """`refuses` is what it answers to every insert while it is not empty: an error code and its text."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tables = {name: Table(columns) for name, columns in _tables().items()}
        self.up = True
        self.refuses: tuple[int, str] | None = None
        self.gate = asyncio.Event()  # an insert that begins while it is closed lands when it is opened
        self.gate.set()
        self.running: dict[str, Running] = {}
        self._numbers = itertools.count()
        self._rng = world.rng("clickhouse")

    def check_up(self) -> None:
        if not self.up:
            raise Unreachable("ClickHouse is away")

    async def query(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Rows of one of the sink's questions."""
        self.check_up()
        if sql.startswith("KILL QUERY"):
            found = self.running.get(parameters["id"])
            if found:
                found.killed = True
            return [("waiting", parameters["id"])] if found else []
        if "FROM system.columns" in sql:
            return list(self.tables[parameters["table"]].columns.items()) if parameters["table"] in self.tables else []
        if "FROM chunks" in sql:
            wanted = (parameters["topic"], parameters["partition"])
            mine = [r for r in self.tables["chunks"].rows if (r["topic"], r["kafka_partition"]) == wanted]
            newest = max(mine, key=lambda r: int(r["kafka_offset"]), default=None)
            return [] if newest is None else [(newest["kafka_offset"] + 1, newest["records"])]
        raise NotImplementedError(sql)

    async def insert(self, sql: str, rows: list[Row], query_id: str, settings: Mapping[str, Any]) -> None:
        """Answers when the rows are on disk; goes on whatever becomes of the client."""
        self.check_up()
        found = _INSERT.match(sql)
        if not found:
            raise NotImplementedError(sql)
        name = found["table"]
        if self.refuses:
            raise Refused(*self.refuses)
        if query_id in self.running:
            raise Refused(RUNNING, f"Query with id = {query_id} is already running")
        months = _by_month(name, rows)
        if len(months) > MONTHS_MAX:
            raise Refused(TOO_MANY_PARTS, "too many partitions for a single INSERT block")
        if name == "charges" and any(sum(r["shares.nanos"]) != r["paid_nanos"] for r in rows):
            raise Refused(VIOLATED_CONSTRAINT, "Constraint `shares_sum` is violated")
        running = self.running[query_id] = Running(next(self._numbers))
        there = self._left_out(found["where"], rows)
        landing = self.world.spawn(self._land(name, self._pieces(months), there, query_id, running))
        if settings.get("async_insert", 1):
            return  # it says so before anything is on disk
        error = await landing
        if error is not None:
            raise error

    async def _land(
        self, name: str, pieces: list[list[Row]], there: set[int], query_id: str, running: Running
    ) -> Exception | None:
        """The insert itself; gives what went wrong. The offsets to leave out were read when it began."""
        gate = self.gate
        try:
            if self.world.chance(0.01):
                self.world.fault("silent client", "clickhouse", query_id)
                await self.world.loop.sleep(SILENT_S)
                return Unreachable("the client fell silent")
            if self.world.chance(self.world.profile.late):
                self.world.fault("late insert", "clickhouse", query_id)
                await self.world.loop.sleep(self._rng.uniform(1, 20))
            for piece in pieces:
                await self.world.loop.sleep(self.world.delay_s())
                await gate.wait()
                if self.running.get(query_id) is not running:
                    return Unreachable("ClickHouse went away")
                if running.killed:
                    self.world.effect("insert killed", "clickhouse", query_id)
                    return Refused(KILLED, "Query was cancelled")
                if self.world.chance(self.world.profile.cut):
                    self.world.fault("clickhouse dies", "clickhouse", f"during {query_id}")
                    self.world.spawn(self._die())
                    return Unreachable("ClickHouse went away")
                new = [row for row in piece if int(row["kafka_offset"]) not in there]
                if len(new) < len(piece):
                    self.world.effect("rows there already", "clickhouse", f"{len(piece) - len(new)} of {name}")
                self.tables[name].rows += new
                self.world.say("clickhouse", f"{query_id} landed {len(new)} rows of {name}")
            await self.world.loop.sleep(self.world.delay_s())
            return None
        finally:
            if self.running.get(query_id) is running:
                del self.running[query_id]

    def _pieces(self, months: list[list[Row]]) -> list[list[Row]]:
        """What lands wholly or not at all, in any order: months, cut into blocks where they are long, but not between
        the rows of one record: those that a rule book lists are far fewer than a real block has."""
        pieces: list[list[Row]] = []
        for month in months:
            piece: list[Row] = []
            for _, rows in itertools.groupby(month, key=lambda row: int(row["kafka_offset"])):
                if len(piece) >= self.world.profile.block_rows:
                    pieces.append(piece)
                    piece = []
                piece += rows
            pieces.append(piece)
        self._rng.shuffle(pieces)
        return pieces

    async def _die(self) -> None:
        self.go_down()
        await self.world.loop.sleep(self._rng.uniform(0.1, 3.0))
        self.up = True

    def _left_out(self, where: str, rows: list[Row]) -> set[int]:
        """Offsets among the rows that the statement leaves out."""
        if _ALL.fullmatch(where):
            return set()
        among, beyond = _NOT_IN.fullmatch(where), _BEYOND.fullmatch(where)
        found = among or beyond
        if not found:
            raise NotImplementedError(where)
        there = {int(row["kafka_offset"]) for row in self._where(found[1], found[2])}
        if among:
            return there
        greatest = max(there, default=-1)
        return {int(row["kafka_offset"]) for row in rows if int(row["kafka_offset"]) <= greatest}

    def _where(self, table: str, conditions: str) -> list[Row]:
        between = _BETWEEN.search(conditions)
        lowest, highest = (int(between[1]), int(between[2])) if between else (-(2**63), 2**63)
        equal = dict(_EQUALS.findall(conditions))
        return [
            row
            for row in self.tables[table].rows
            if lowest <= row["kafka_offset"] <= highest and all(str(row[n]) == v for n, v in equal.items())
        ]

    def go_down(self) -> None:
        """What runs is cut off where it is."""
        self.up = False
        self.running.clear()


def _by_month(name: str, rows: list[Row]) -> list[list[Row]]:
    """The rows by month in which they land, in any order that happens to be theirs."""
    column = MONTH_OF.get(name)
    if column is None:
        return [rows]
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(np.datetime64(int(row[column]), "us").astype("datetime64[M]"), []).append(row)
    return list(found.values())


@functools.cache
def _tables() -> dict[str, dict[str, str]]:
    """Tables and their columns that can be written, as the migrations have them."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(FOLDER.glob("*.sql")):
        forward = path.read_text().split("\n-- reverse\n")[0]
        for text in forward.split("CREATE TABLE IF NOT EXISTS ")[1:]:
            name = text.split(None, 1)[0]
            columns = _COLUMN.findall(text[: text.index("\nENGINE")])
            found[name] = {c: t for c, t, rest in columns if " MATERIALIZED" not in rest and " ALIAS" not in rest}
        for name, column, kind in _ADDED.findall(forward):
            found[name][column] = kind
    return found
