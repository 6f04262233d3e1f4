"""ClickHouse over its native protocol: one connection, errors in nanotally's kinds, waits between tries.

Nothing connects before the first query. What ClickHouse or the network refuse for now is `Transient`; what somebody has
to mend is `NotFound` or `InvalidInput`, with how; a violated constraint is a `BrokenInvariant`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from clickhouse_driver import Client as Driver
from clickhouse_driver import errors as driver_errors

from nanotally.streams.errors import BrokenInvariant, InvalidInput, NanotallyError, NotFound, Transient

log = logging.getLogger(__name__)
# The driver logs what it raises as well; what it raises is told where it is handled.
logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 300
# A server whose machine vanishes says nothing: after 10 s of silence it is asked every 5 s, and given up after 3 times.
KEEPALIVE_S = (10, 5, 3)
FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 5.0
MESSAGE_CHARACTERS_MAX = 600

# Server error codes (system.errors) of what passes: too busy, too full, restarting, killed by a successor.
PASSING = {
    3: "a query was cut off",  # UNEXPECTED_END_OF_FILE: the client's own connection went
    159: "a query took too long",
    164: "the server is read-only",
    202: "too many queries at once",
    209: "the network is slow",
    210: "the network failed",
    216: "an earlier insert with the same query id is still running",
    241: "the server is out of memory",
    236: "the server is shutting down",
    242: "a table is read-only",
    243: "the disk is full",
    252: "merges cannot keep up",
    394: "the insert was killed by a successor",
    425: "the system refused",
    473: "a lock was not to be had",
    499: "the storage failed",
    735: "a query was cancelled",
    745: "the server is overloaded",
}
UNKNOWN_DATABASE, UNKNOWN_TABLE, NO_SUCH_COLUMN, VIOLATED_CONSTRAINT = 81, 60, 16, 469
REFUSED_LOGIN = {192, 193, 194, 195, 497, 516}


@dataclass(frozen=True)
class Address:
    """Where a ClickHouse is and whose database: `http` is 'host:port', or empty where HTTP is not open."""

    native: str = "localhost:9000"
    database: str = "nanotally"
    user: str = "default"
    password: str = ""
    http: str = ""

    def __repr__(self) -> str:
        return f"{self.native}/{self.database}"


class ClickHouse:
    """One connection of one thread at a time; made anew after an error."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._driver: Driver | None = None

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None, **settings: Any) -> list[tuple[Any, ...]]:
        """Rows of a query; `{name:Type}` in it is filled in by the server, never into the text.

        Decimals come as Decimal, times as datetime in UTC. Raises as the module says."""
        return list(self._run(sql, dict(parameters or {}), settings=settings))

    def run(self, sql: str, **settings: Any) -> None:
        """A statement without rows, such as DDL."""
        self._run(sql, {}, settings=settings)

    def insert(self, sql: str, columns: Sequence[Sequence[Any]], query_id: str, **settings: Any) -> None:
        """An INSERT ... FORMAT Native of columns in the order of its structure; returns when it is on disk."""
        self._run(sql, list(columns), columnar=True, query_id=query_id, settings=settings)

    def close(self) -> None:
        """Gives the connection up; the next query makes a new one."""
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.disconnect()

    def _run(self, sql: str, parameters: Any, **arguments: Any) -> Any:
        if self._driver is None:
            self._driver = self._connect()
        try:
            return self._driver.execute(sql, parameters, **arguments)
        except (driver_errors.Error, OSError, EOFError) as error:
            self.close()
            raise explained(error, self.address) from error
        except BaseException:  # the connection may be in the middle of an answer
            self.close()
            raise

    def _connect(self) -> Driver:
        host, _, port = self.address.native.rpartition(":")
        return Driver(
            host.strip("[]"),
            int(port),
            database=self.address.database,
            user=self.address.user,
            password=self.address.password,
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=ANSWER_TIMEOUT_S,
            tcp_keepalive=KEEPALIVE_S,
            client_name="nanotally",
            settings={"server_side_params": True},
        )


def explained(error: BaseException, address: Address) -> NanotallyError:
    """The error in nanotally's kinds, with a message for people."""
    if isinstance(error, driver_errors.ServerException):
        return refusal(error.code, error.message, address)
    if isinstance(error, (driver_errors.NetworkError, driver_errors.SocketTimeoutError, OSError, EOFError)):
        return Transient(f"ClickHouse at {address.native} cannot be reached: {_shortened(str(error) or repr(error))}")
    if isinstance(error, driver_errors.Error):  # an answer cut off in the middle reads as nonsense
        return Transient(f"ClickHouse at {address.native} broke off: {_shortened(str(error) or repr(error))}")
    return BrokenInvariant(f"no error of ClickHouse's: {error!r}")


def refusal(code: int, message: str, address: Address) -> NanotallyError:
    """What the server answered with this error code."""
    text = _shortened(message)
    if code in PASSING:
        return Transient(f"ClickHouse at {address.native} refuses for now: {PASSING[code]} (code {code}): {text}")
    if code in REFUSED_LOGIN:
        return InvalidInput(
            f"ClickHouse at {address.native} does not let {address.user!r} in: check NANOTALLY_CLICKHOUSE_USER and "
            f"NANOTALLY_CLICKHOUSE_PASSWORD, and the user's rights on {address.database} (code {code}): {text}"
        )
    if code in (UNKNOWN_DATABASE, UNKNOWN_TABLE, NO_SUCH_COLUMN):
        return NotFound(
            f"ClickHouse at {address.native} lacks part of database {address.database!r}: apply the migrations "
            f"(python -m nanotally.sinks.migrate), or name the right NANOTALLY_DATABASE (code {code}): {text}"
        )
    if code == VIOLATED_CONSTRAINT:
        return BrokenInvariant(f"ClickHouse found rows that cannot be: {text}")
    return BrokenInvariant(f"ClickHouse at {address.native} refused (code {code}): {text}")


def _shortened(text: str) -> str:
    text = text.split(" Stack trace:")[0].strip()
    return text if len(text) <= MESSAGE_CHARACTERS_MAX else text[:MESSAGE_CHARACTERS_MAX] + " ..."


def waits() -> Iterator[float]:
    """Seconds to wait before each further try, doubling up to a limit, without end."""
    wait = FIRST_WAIT_S
    while True:
        yield wait
        wait = min(wait * 2, LONGEST_WAIT_S)


def patiently(
    action: Callable[[], T], what: str, *, within_s: float = 60.0, sleep: Callable[[float], None] = time.sleep
) -> T:
    """Tries again while the fault is `Transient`, with growing waits; raises it when they add up to `within_s`."""
    waited = 0.0
    for wait in waits():
        try:
            return action()
        except Transient as fault:
            if waited >= within_s:
                raise
            log.warning("%s: %s; again in %.2f s", what, fault, wait)
            sleep(wait)
            waited += wait
    raise AssertionError("waits() never ends")
