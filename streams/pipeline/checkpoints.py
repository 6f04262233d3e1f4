"""Checkpoints: each snapshot of a stage partition is copied to a folder that outlives the machine.

A worker that comes up elsewhere, or whose state folder is lost, begins at its checkpoint in NANOTALLY_CHECKPOINTS, not
at the beginning of the log. A checkpoint is a cache like the snapshot it is a copy of: labelled with what it is of,
sealed with a hash, replaced as a whole. Where it is missing, damaged or cannot be written, more of the log is read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from nanotally.streams.pipeline.store import Labels, Snapshot, Store, fits

log = logging.getLogger(__name__)

MAGIC = b"nanotally checkpoint 1\n"
REMEDY = "delete it or set NANOTALLY_CHECKPOINTS to another folder"
HEADER_BYTES_MAX = 1 << 20
HASH_BYTES = 32


class Damaged(Exception):
    """A checkpoint that is not what was written; the message says in what."""


@dataclass(frozen=True)
class Header:
    """What a checkpoint is of: its labels, the place in the log, and the lengths of the parts that follow."""

    labels: Labels
    log_offset: int
    parts: dict[str, int]


class CheckpointFile:
    """The checkpoint of one stage partition: one file, replaced by renaming another one onto it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def header(self) -> Header | None:
        """What is there; None without a file. Raises Damaged, OSError."""
        try:
            with open(self.path, "rb") as file:
                return _read_header(file)[0]
        except FileNotFoundError:
            return None

    def read(self) -> Snapshot:
        """The snapshot, whole. Raises Damaged, OSError."""
        with open(self.path, "rb") as file:
            header, line = _read_header(file)
            parts = {name: file.read(size) for name, size in header.parts.items()}
            seal = file.read(HASH_BYTES + 1)
        digest = hashlib.sha256(line)
        for blob in parts.values():
            digest.update(blob)
        if seal != digest.digest():
            raise Damaged("its content is not what its hash says")
        return Snapshot(header.log_offset, parts)

    def write(self, labels: Labels, snapshot: Snapshot) -> None:
        """Replaces the file; on the disk before anybody sees it. Raises OSError, and leaves nothing half done."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        header = Header(labels, snapshot.log_offset, {name: len(blob) for name, blob in snapshot.parts.items()})
        line = json.dumps(asdict(header)).encode() + b"\n"
        digest = hashlib.sha256(line)
        # A name of its own: a worker that has lost the partition and does not know it yet may be writing too.
        new = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:12]}.new")
        try:
            with open(new, "xb") as file:
                file.write(MAGIC + line)
                for blob in snapshot.parts.values():
                    digest.update(blob)
                    file.write(blob)
                file.write(digest.digest())
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self.path)
            _sync_folder(self.path.parent)
        finally:
            new.unlink(missing_ok=True)


class CheckpointedStore:
    """A store whose snapshots are copied to a checkpoint, and which begins at it where it knows more than the store."""

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self._file = CheckpointFile(path)
        self._damaged = False

    def load(self, labels: Labels) -> Snapshot | None:
        """The later one of snapshot and checkpoint. Raises BrokenInvariant where either is of something else."""
        kept = self._store.load(labels)
        try:
            header = self._file.header()
            if header is None or not fits(header.labels, labels, str(self._file.path), "checkpoint", REMEDY):
                return kept
            if kept is not None and kept.log_offset >= header.log_offset:
                return kept
            snapshot = self._file.read()
        except (Damaged, OSError) as e:
            self._damaged = isinstance(e, Damaged)
            log.warning("checkpoint %s cannot be used (%s): going on without it", self._file.path, e)
            return kept
        log.info("state from checkpoint %s, as of offset %d", self._file.path, snapshot.log_offset)
        return snapshot

    def save(self, labels: Labels, snapshot: Snapshot) -> None:
        """Replaces both. A checkpoint that cannot be written is told in the log, and stops nothing. Raises NotSaved
        of the store, once the checkpoint was written: it may be on a disk with more room."""
        try:
            self._store.save(labels, snapshot)
        finally:
            self._checkpoint(labels, snapshot)

    def _checkpoint(self, labels: Labels, snapshot: Snapshot) -> None:
        try:
            if self._damaged or not self._is_newer(labels, snapshot.log_offset):
                self._file.write(labels, snapshot)
                self._damaged = False
        except OSError as e:
            log.warning("checkpoint %s cannot be written (%s): the one before it stays", self._file.path, e)

    def close(self) -> None:
        self._store.close()

    def _is_newer(self, labels: Labels, log_offset: int) -> bool:
        """Whether somebody who took the partition over has left a later one already. Raises OSError."""
        try:
            header = self._file.header()
        except Damaged:
            return False
        return header is not None and header.labels == labels and header.log_offset > log_offset


def checkpointed(store: Store, root: Path | None, stage: str, partition: int) -> Store:
    """The store, with its checkpoint root/STAGE/PARTITION.checkpoint where there is a root. stage: with the prefix."""
    return store if root is None else CheckpointedStore(store, root / stage / f"{partition}.checkpoint")


def _read_header(file: IO[bytes]) -> tuple[Header, bytes]:
    """The header and its line as it was hashed."""
    if file.read(len(MAGIC)) != MAGIC:
        raise Damaged("it does not begin as a checkpoint does")
    line = file.readline(HEADER_BYTES_MAX)
    try:
        kept: dict[str, Any] = json.loads(line)
        return Header(Labels(**kept["labels"]), int(kept["log_offset"]), dict(kept["parts"])), line
    except (ValueError, TypeError, KeyError) as e:
        raise Damaged(f"its header cannot be read: {e}") from e


def _sync_folder(folder: Path) -> None:
    """Makes the renaming last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
