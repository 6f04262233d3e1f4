"""The store of a stage partition: its state as of one place in the log, kept so that opening need not fold it all.

Only a cache: the log is the truth, and between two snapshots it is the delta. What is lost costs a replay, no money.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Protocol

from rocksdict import Options, Rdict, WriteBatch

from nanotally.streams.errors import BrokenInvariant, InvalidInput

log = logging.getLogger(__name__)

MANIFEST = b"manifest"
PIECE_BYTES = 4 << 20  # a part is kept in pieces: RocksDB dislikes values of hundreds of megabytes
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


class _Damaged(Exception):
    """What is kept is not what was written."""


@dataclass(frozen=True)
class _Manifest:
    """What a RocksStore holds: pieces gives their number by the part's name."""

    labels: Labels
    log_offset: int
    pieces: dict[str, int]


class Store(Protocol):
    """Keeps the last snapshot of one stage partition."""

    def load(self, labels: Labels) -> Snapshot | None:
        """The last snapshot; None where there is none of this fold version. Raises BrokenInvariant where it is of
        another cluster, topic or partition."""
        ...

    def save(self, labels: Labels, snapshot: Snapshot) -> None:
        """Replaces the last snapshot, wholly or not at all."""
        ...

    def close(self) -> None: ...


class RocksStore:
    """A snapshot in a RocksDB of its own, written in one batch: pieces of the parts, and a manifest that names them."""

    def __init__(self, folder: Path) -> None:
        """Opens or creates the folder; a damaged one is emptied. Raises InvalidInput where it cannot be written."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = self._open()
        except OSError as e:
            raise unwritable(folder, e) from e

    def _open(self) -> Rdict:
        options = Options(raw_mode=True)
        try:
            return Rdict(str(self.folder), options)
        except Exception as e:
            if "Corruption" not in str(e):
                raise OSError(str(e)) from e
            return self._emptied(e)

    def _emptied(self, damage: Exception) -> Rdict:
        """The folder, begun anew."""
        log.warning("the state in %s is damaged (%s): it is built anew from the log", self.folder, damage)
        shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        return Rdict(str(self.folder), Options(raw_mode=True))

    def load(self, labels: Labels) -> Snapshot | None:
        try:
            manifest = self._manifest()
            if manifest is None or not fits(manifest.labels, labels, str(self.folder)):
                return None
            pieces = manifest.pieces.items()
            parts = {name: b"".join(self._piece(name, i) for i in range(count)) for name, count in pieces}
        except _Damaged as e:
            self._db.close()
            self._db = self._emptied(e)
            return None
        return Snapshot(manifest.log_offset, parts)

    def save(self, labels: Labels, snapshot: Snapshot) -> None:
        before = self._manifest()
        batch = WriteBatch(raw_mode=True)
        pieces = {name: max(1, -(-len(blob) // PIECE_BYTES)) for name, blob in snapshot.parts.items()}
        for name, blob in snapshot.parts.items():
            for i in range(pieces[name]):
                batch.put(_key(name, i), blob[i * PIECE_BYTES : (i + 1) * PIECE_BYTES])
        for name, count in before.pieces.items() if before else ():
            for i in range(pieces.get(name, 0), count):
                batch.delete(_key(name, i))
        batch.put(MANIFEST, json.dumps(asdict(_Manifest(labels, snapshot.log_offset, pieces))).encode())
        self._db.write(batch)

    def _manifest(self) -> _Manifest | None:
        text = self._get(MANIFEST)
        if text is None:
            return None
        kept = json.loads(text)
        return _Manifest(Labels(**kept["labels"]), kept["log_offset"], kept["pieces"])

    def _piece(self, name: str, i: int) -> bytes:
        piece = self._get(_key(name, i))
        if piece is None:
            raise _Damaged(f"a piece of {name!r} is missing")
        return piece

    def _get(self, key: bytes) -> bytes | None:
        """RocksDB finds damage when it reads the block; then there is no such value, but a damaged store."""
        try:
            found: bytes | None = self._db.get(key)
        except Exception as e:
            if "Corruption" not in str(e):
                raise
            raise _Damaged(str(e)) from e
        return found

    def close(self) -> None:
        self._db.close()


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


def _key(name: str, i: int) -> bytes:
    return f"part/{name}/{i:06d}".encode()


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
        held.write(f"{os.getpid()}\n")
        held.flush()
        return number, held
    raise OSError(f"{SLOTS} processes use it already")
