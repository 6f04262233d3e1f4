"""Where the services are and where local files go: read once from the environment, then handed on as a value.

An environment variable wins over `.nanotally/services.json` (written by `make up`), that over the built-in default.
Nothing here changes a result: what does is in the rule book.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nanotally.streams.errors import InvalidInput

SERVICES_FILE = Path(".nanotally") / "services.json"
DATABASE = "nanotally"
STAGES = ("payers", "accounts", "sink")  # in the order of their web ports

# Variable -> (name in services.json or None, default).
_VARIABLES: dict[str, tuple[str | None, str]] = {
    "NANOTALLY_KAFKA": ("kafka", "localhost:9092"),
    "NANOTALLY_CLICKHOUSE": ("clickhouse", "localhost:9000"),
    "NANOTALLY_CLICKHOUSE_HTTP": ("clickhouse_http", "localhost:8123"),
    "NANOTALLY_CLICKHOUSE_USER": (None, "default"),
    "NANOTALLY_CLICKHOUSE_PASSWORD": (None, ""),
    "NANOTALLY_DATABASE": ("database", DATABASE),
    "NANOTALLY_PREFIX": (None, ""),
    "NANOTALLY_STATE": (None, str(Path(".nanotally") / "state")),
    "NANOTALLY_WEB_PORT": ("web_port", "6066"),
    "NANOTALLY_REPLICAS": (None, ""),
}
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:,\[\]]+):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Environment:
    """Addresses and folders of one installation.

    `kafka` is one `host:port` or several with commas; `clickhouse` the native port, `clickhouse_http` the HTTP port
    or empty where it is not open; `web_port` the first of three ports: payers, accounts, sink; `replicas` how many
    brokers keep each record, 0 for as many as there are, three at most."""

    kafka: str = "localhost:9092"
    clickhouse: str = "localhost:9000"
    clickhouse_http: str = "localhost:8123"
    clickhouse_user: str = "default"
    clickhouse_password: str = field(default="", repr=False)
    database: str = DATABASE
    prefix: str = ""
    state: Path = Path(".nanotally") / "state"
    web_port: int = 6066
    replicas: int = 0

    @staticmethod
    def load(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Environment:
        """The environment of this process, or of `environ` and `folder` (the working folder).

        Raises InvalidInput that names the variable or file, what is wrong with it and how to mend it."""
        variables = os.environ if environ is None else environ
        services = _read_services((folder or Path.cwd()) / SERVICES_FILE)

        def value(variable: str) -> str:
            name, default = _VARIABLES[variable]
            from_file = services.get(name, default) if name else default
            return variables.get(variable, from_file).strip()

        return Environment(
            kafka=_addresses("NANOTALLY_KAFKA", value("NANOTALLY_KAFKA")),
            clickhouse=_one_address("NANOTALLY_CLICKHOUSE", value("NANOTALLY_CLICKHOUSE")),
            clickhouse_http=_one_address(
                "NANOTALLY_CLICKHOUSE_HTTP", value("NANOTALLY_CLICKHOUSE_HTTP"), or_empty=True
            ),
            clickhouse_user=value("NANOTALLY_CLICKHOUSE_USER"),
            clickhouse_password=value("NANOTALLY_CLICKHOUSE_PASSWORD"),
            database=_matching("NANOTALLY_DATABASE", value("NANOTALLY_DATABASE"), r"[A-Za-z_][A-Za-z0-9_]{0,62}"),
            prefix=_matching("NANOTALLY_PREFIX", value("NANOTALLY_PREFIX"), r"[A-Za-z0-9._-]{0,100}"),
            state=_state_folder(value("NANOTALLY_STATE"), folder),
            web_port=_web_port(value("NANOTALLY_WEB_PORT")),
            replicas=_replicas(value("NANOTALLY_REPLICAS")),
        )

    def topic(self, name: str) -> str:
        """The topic in Kafka of the logical name: 'usage' -> PREFIX + 'usage'."""
        return self.prefix + name

    def web_port_of(self, stage: str) -> int:
        """Port of the stage's web server. Raises ValueError for what is no stage."""
        return self.web_port + STAGES.index(stage)

    @property
    def clickhouse_address(self) -> tuple[str, int]:
        """Host and port of ClickHouse's native protocol."""
        return split_address(self.clickhouse)

    @property
    def clickhouse_http_address(self) -> tuple[str, int] | None:
        """Host and port of ClickHouse over HTTP; None where it is not open."""
        return split_address(self.clickhouse_http) if self.clickhouse_http else None

    def variables(self) -> dict[str, str]:
        """The environment variables that load to this value: to hand to a child process."""
        return {
            "NANOTALLY_KAFKA": self.kafka,
            "NANOTALLY_CLICKHOUSE": self.clickhouse,
            "NANOTALLY_CLICKHOUSE_HTTP": self.clickhouse_http,
            "NANOTALLY_CLICKHOUSE_USER": self.clickhouse_user,
            "NANOTALLY_CLICKHOUSE_PASSWORD": self.clickhouse_password,
            "NANOTALLY_DATABASE": self.database,
            "NANOTALLY_PREFIX": self.prefix,
            "NANOTALLY_STATE": str(self.state),
            "NANOTALLY_WEB_PORT": str(self.web_port),
            "NANOTALLY_REPLICAS": str(self.replicas or ""),
        }


def split_address(address: str) -> tuple[str, int]:
    """('localhost', 9092) of 'localhost:9092'; brackets of an IPv6 address are taken off. Raises ValueError."""
    found = _ADDRESS.fullmatch(address)
    if not found or not 0 < int(found["port"]) < 65536:
        raise ValueError(address)
    return found["host"].strip("[]"), int(found["port"])


def _read_services(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as e:
        raise InvalidInput(f"{path} cannot be read: {e.strerror}") from e
    remedy = "delete it, or let `make up` write it anew"
    try:
        content = json.loads(text)
    except ValueError as e:
        raise InvalidInput(f"{path} is no JSON ({e}); {remedy}") from e
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise InvalidInput(f"{path} is no JSON object of texts; {remedy}")
    return content


def _one_address(variable: str, text: str, or_empty: bool = False) -> str:
    if text or not or_empty:
        try:
            split_address(text)
        except ValueError:
            raise InvalidInput(f"{variable}: {text!r} is no address; write host:port, as in localhost:9000") from None
    return text


def _addresses(variable: str, text: str) -> str:
    return ",".join(_one_address(variable, one.strip()) for one in text.split(","))


def _matching(variable: str, text: str, pattern: str) -> str:
    if not re.fullmatch(pattern, text):
        raise InvalidInput(f"{variable}: {text!r} does not match {pattern}")
    return text


def _state_folder(text: str, folder: Path | None) -> Path:
    if not text:
        raise InvalidInput("NANOTALLY_STATE is empty; name a folder, as in .nanotally/state")
    return (folder or Path.cwd()) / text


def _web_port(text: str) -> int:
    last = 65536 - len(STAGES)
    if len(text) > 5 or not text.isascii() or not text.isdigit() or not 0 < int(text) <= last:
        raise InvalidInput(f"NANOTALLY_WEB_PORT: {text!r} is no port; write a number from 1 to {last}")
    return int(text)


def _replicas(text: str) -> int:
    if not text:
        return 0
    if len(text) > 2 or not text.isascii() or not text.isdigit() or not int(text):
        raise InvalidInput(f"NANOTALLY_REPLICAS: {text!r} is no number of replicas; write 1 to 99, or nothing")
    return int(text)
