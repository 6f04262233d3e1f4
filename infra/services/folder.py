"""The folder `.nanotally` of one installation: where its local services keep data, logs and what runs."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from nanotally.streams.errors import InvalidInput, Transient

NAME = ".nanotally"


class Busy(Transient):
    """Another command is at work in this folder."""


@dataclass(frozen=True)
class Folder:
    """Paths below `.nanotally`; nothing is made before it is needed."""

    root: Path

    @staticmethod
    def of(project: Path | None = None) -> Folder:
        """The folder of the project in which a command was started."""
        return Folder((project or Path.cwd()).absolute() / NAME)

    def data(self, service: str) -> Path:
        """Where the service keeps its data: deleted by `make reset` only."""
        return self.root / service

    @property
    def backups(self) -> Path:
        """Where ClickHouse keeps its backups: never deleted by a command."""
        return self.root / "backups"

    def log(self, service: str) -> Path:
        return self.root / "logs" / f"{service}.log"

    def run_file(self, service: str) -> Path:
        """Which process the service is; there while it runs, and after it gave up."""
        return self.root / "run" / f"{service}.json"

    @property
    def ports_file(self) -> Path:
        """The ports chosen at the first start, so that addresses stay the same."""
        return self.root / "ports.json"

    @property
    def services_file(self) -> Path:
        """The addresses in use: what `nanotally` reads where no environment variable says otherwise."""
        return self.root / "services.json"

    @contextmanager
    def only_one(self, command: str, patience_s: float = 0.0) -> Iterator[None]:
        """Hold the folder's lock for the length of a command that starts or stops things.

        Raises Busy with the other command's name, process and age when it is not free within `patience_s`. The lock
        ends with the process that holds it."""
        make(self.root)
        deadline = time.monotonic() + patience_s
        with (self.root / "lock").open("a+", encoding="utf-8") as file:
            while not _locked(file):
                if time.monotonic() >= deadline:
                    file.seek(0)
                    other = file.read().strip() or "another command"
                    raise Busy(f"{other} is at work in {self.root}; wait for it to end, or stop it")
                time.sleep(0.1)
            file.truncate(0)
            file.write(f"{command} (process {os.getpid()}, since {time.strftime('%H:%M:%S')})")
            file.flush()
            yield
            file.truncate(0)

    def forget(self) -> list[str]:
        """Delete all but the lock, which is held, and the backups: data, logs, ports, addresses; returns what there
        was of it."""
        there = sorted(path for path in self.root.iterdir() if path.name != "lock" and path != self.backups)
        for path in there:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        return [path.name for path in there]


def _locked(file: TextIO) -> bool:
    """Whether the lock could be had."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def make(path: Path) -> Path:
    """Make a folder with its parents. Raises InvalidInput that names the folder and the remedy."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InvalidInput(f"the folder {path} cannot be made: {e.strerror}; check who owns its parent") from e
    if not os.access(path, os.W_OK | os.X_OK):
        raise InvalidInput(f"the folder {path} cannot be written; check who owns it")
    return path


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Replace the file in one step, so that a reader never sees half of it."""
    make(path.parent)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def read_json(path: Path) -> dict[str, object]:
    """The file's object; empty where there is no file. Raises InvalidInput when it is no JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as e:
        raise InvalidInput(f"{path} is damaged ({e}); delete it and start again") from e
    if not isinstance(content, dict):
        raise InvalidInput(f"{path} is damaged (no object); delete it and start again")
    return content
