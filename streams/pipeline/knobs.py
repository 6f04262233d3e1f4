"""Settings of a worker process that change no result: environment variables that only operators touch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nanotally.streams.errors import InvalidInput


@dataclass(frozen=True)
class Knobs:
    """rejects_per_minute: more stop the worker. ticks_s: drained partitions of `usage` get a tick so often; None for
    none. stuck_s: no progress for so long, while there is lag, is unhealthy. web_bind: address the web server listens
    on. supervisor: pid of the process that restarts this one; None where nobody does. checkpoints: folder to which
    snapshots are copied; None for nowhere. leave_added: partitions that somebody added to a topic are left aside
    instead of ending the worker."""

    rejects_per_minute: int = 100_000
    ticks_s: float | None = None
    stuck_s: float = 60.0
    web_bind: str = "127.0.0.1"
    supervisor: int | None = None
    checkpoints: Path | None = None
    leave_added: bool = False

    @property
    def supervised(self) -> bool:
        return self.supervisor is not None

    @staticmethod
    def load(environ: Mapping[str, str] | None = None) -> Knobs:
        """From NANOTALLY_REJECTS_PER_MINUTE, NANOTALLY_TICKS (seconds; off), NANOTALLY_STUCK_SECONDS,
        NANOTALLY_WEB_BIND, NANOTALLY_CHECKPOINTS, NANOTALLY_LEAVE_ADDED (yes; no). Raises InvalidInput that names
        the variable."""
        variables = os.environ if environ is None else environ
        ticks = variables.get("NANOTALLY_TICKS", "off").strip().lower()
        return Knobs(
            rejects_per_minute=int(_number(variables, "NANOTALLY_REJECTS_PER_MINUTE", "100000")),
            ticks_s=None if ticks in ("", "off", "0") else _number({"NANOTALLY_TICKS": ticks}, "NANOTALLY_TICKS", ""),
            stuck_s=_number(variables, "NANOTALLY_STUCK_SECONDS", "60"),
            web_bind=variables.get("NANOTALLY_WEB_BIND", "127.0.0.1").strip(),
            supervisor=int(_number(variables, SUPERVISOR, "")) if variables.get(SUPERVISOR) else None,
            checkpoints=checkpoints_folder(variables),
            leave_added=_yes(variables, "NANOTALLY_LEAVE_ADDED"),
        )


DIGITS_MAX = 15
SUPERVISOR = "NANOTALLY_SUPERVISOR"  # set by the supervisor for its children


def checkpoints_folder(variables: Mapping[str, str]) -> Path | None:
    """The folder of NANOTALLY_CHECKPOINTS; None where it is not set or empty."""
    text = variables.get("NANOTALLY_CHECKPOINTS", "").strip()
    return Path(text).absolute() if text else None


def _yes(variables: Mapping[str, str], name: str) -> bool:
    text = variables.get(name, "").strip().lower()
    if text not in ("", "no", "yes"):
        raise InvalidInput(f"{name}: {text!r} is neither yes nor no")
    return text == "yes"


def _number(variables: Mapping[str, str], name: str, default: str) -> float:
    text = variables.get(name, default).strip()
    if len(text) > DIGITS_MAX or not text.isascii() or not text.replace(".", "", 1).isdigit() or float(text) <= 0:
        raise InvalidInput(f"{name}: {text!r} is no number above zero")
    return float(text)
