"""The store of a stage partition: its state as of one place in the log, kept so that opening need not fold it all.

Only a cache: the log is the truth, and between two snapshots it is the delta. What is lost costs a replay, no money.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from nanotally.streams.errors import BrokenInvariant, InvalidInput

log = logging.getLogger(__name__)

SLOTS = 64


@dataclass(frozen=True)
class Labels:
    """What a snapshot is of. Another cluster or topic is a broken invariant, another fold version a cache too old."""

    cluster_id: str
    stage: str
    partition: int
    log_topic_id: str
    input_topic_id: str
    fold_version: int


@dataclass(frozen=True)
class Snapshot:
    """State as named blobs, with the offset of the first record of the log that it does not reflect."""

    log_offset: int
    parts: Mapping[str, bytes]


class NotSaved(Exception):
    """A snapshot that could not be written. Nothing depends on it but how much of the log the next opening folds."""

    def __init__(self, folder: Path, error: Exception) -> None:
        super().__init__(str(error))
        self.folder = folder


class Store(Protocol):
    """Keeps the last snapshot of one stage partition."""

    def load(self, labels: Labels) -> Snapshot | None:
        """The last snapshot; None where there is none of this fold version. Raises BrokenInvariant where it is of
        another cluster, topic or partition."""
        ...

    def save(self, labels: Labels, snapshot: Snapshot) -> None:
        """Replaces the last snapshot, wholly or not at all. Raises NotSaved where it cannot be written: then the one
        before is there, or none."""
        ...

    def close(self) -> None: ...


class MemoryStore:
    """A store that lives as long as the object: for tests and simulations."""

    def __init__(self) -> None:
        self.labels: Labels | None = None
        self.snapshot: Snapshot | None = None

    def load(self, labels: Labels) -> Snapshot | None:
        if self.labels is None or not fits(self.labels, labels, "in memory"):
            return None
        return self.snapshot

    def save(self, labels: Labels, snapshot: Snapshot) -> None:
        self.labels, self.snapshot = labels, Snapshot(snapshot.log_offset, dict(snapshot.parts))

    def close(self) -> None:
        """Nothing is held open."""


def fits(
    kept: Labels,
    wanted: Labels,
    folder: str,
    what: str = "state folder",
    remedy: str = "delete it or set NANOTALLY_STATE to another folder",
) -> bool:
    """Whether a snapshot of `kept` may be used for `wanted`: False for another fold version.

    Raises BrokenInvariant where the state belongs to something else altogether; what, folder and remedy say where."""
    if kept.cluster_id != wanted.cluster_id:
        raise BrokenInvariant(
            f"{what} {folder} belongs to cluster {kept.cluster_id}, this is {wanted.cluster_id}; {remedy}"
        )
    if (kept.stage, kept.partition) != (wanted.stage, wanted.partition):
        raise BrokenInvariant(
            f"{what} {folder} belongs to {kept.stage}[{kept.partition}], "
            f"not to {wanted.stage}[{wanted.partition}]; {remedy}"
        )
    if (kept.log_topic_id, kept.input_topic_id) != (wanted.log_topic_id, wanted.input_topic_id):
        raise BrokenInvariant(
            f"{what} {folder} is of topics that were deleted and created anew since "
            f"(ids {kept.log_topic_id} and {kept.input_topic_id}, now {wanted.log_topic_id} and "
            f"{wanted.input_topic_id}); if that was meant, {remedy}"
        )
    if kept.fold_version != wanted.fold_version:
        log.info("the state in %s is of fold version %d: it is built anew", folder, kept.fold_version)
        return False
    return True


def unwritable(folder: Path, error: OSError) -> InvalidInput:
    """What to say of a state folder that cannot be used."""
    return InvalidInput(
        f"state folder {folder} cannot be written ({error}): make it writable or set NANOTALLY_STATE to another folder"
    )


class Slot:
    """A folder under `root` that is this process's alone while it lives: the first of root/0, root/1, ... that no
    other process holds. So a worker that comes back finds its state again, and two workers of one stage can share a
    state folder."""

    def __init__(self, root: Path) -> None:
        """Raises InvalidInput where the folder cannot be written."""
        try:
            root.mkdir(parents=True, exist_ok=True)
            self.number, self._lock = _first_free(root)
        except OSError as e:
            raise unwritable(root, e) from e
        self.folder = root / str(self.number)

    def close(self) -> None:
        self._lock.close()


def _first_free(root: Path) -> tuple[int, IO[str]]:
    for number in range(SLOTS):
        held = open(root / f"{number}.lock", "a")  # noqa: SIM115  held open as long as the slot
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.close()
            continue
        os.truncate(held.fileno(), 0)
        try:
            os.write(held.fileno(), f"{os.getpid()}\n".encode())
        except OSError as e:
            log.warning("%s cannot be told whose it is: %s", root / f"{number}.lock", e)  # for people only: it is held
        return number, held
    raise OSError(f"{SLOTS} processes use it already")
