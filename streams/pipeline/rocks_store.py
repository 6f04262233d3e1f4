"""A store in a folder of this machine: a RocksDB that holds one snapshot.

A disk that fills up, or that can be written no more, takes the next start its snapshot and nothing else: the store says
so, can be read as long as there is something to read, and is opened anew at the next save.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from rocksdict import AccessType, Options, Rdict, WriteBatch

from nanotally.streams.pipeline.store import Labels, NotSaved, Snapshot, fits, unwritable

log = logging.getLogger(__name__)

MANIFEST = b"manifest"
PIECE_BYTES = 4 << 20  # a part is kept in pieces: RocksDB dislikes values of hundreds of megabytes
# Errors of a disk that may be mended while the worker goes on; RocksDB gives their words only.
LACKING = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS))


class _Damaged(Exception):
    """What is kept is not what was written."""


@dataclass(frozen=True)
class _Manifest:
    """What a RocksStore holds: pieces gives their number by the part's name."""

    labels: Labels
    log_offset: int
    pieces: dict[str, int]


class RocksStore:
    """A snapshot in a RocksDB of its own, written in one batch: pieces of the parts, and a manifest that names them."""

    def __init__(self, folder: Path) -> None:
        """Opens or creates the folder; a damaged one is emptied. Raises InvalidInput where it cannot be used, but for
        a disk that is full or read-only."""
        self.folder = folder
        self._db: Rdict | None = None
        self._writable = False
        try:
            self._open()
        except OSError as e:
            if not _lacks(e):
                raise unwritable(folder, e) from e
            log.warning("state folder %s cannot be written (%s): going on without it, for now", folder, e)
            self._db = self._readable()

    def _open(self) -> None:
        """Opens it for writing. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._db = Rdict(str(self.folder), Options(raw_mode=True))
        except Exception as e:
            if "Corruption" not in str(e):
                raise OSError(str(e)) from e
            self._begin_anew(e)
        self._writable = True

    def _begin_anew(self, damage: Exception) -> None:
        """Empties the folder. Raises OSError."""
        log.warning("the state in %s is damaged (%s): it is built anew from the log", self.folder, damage)
        self._shut()
        shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        try:
            self._db = Rdict(str(self.folder), Options(raw_mode=True))
        except Exception as e:
            raise OSError(str(e)) from e

    def _readable(self) -> Rdict | None:
        """The database for reading only, which takes no room; None where it cannot be had."""
        try:
            return Rdict(str(self.folder), Options(raw_mode=True), access_type=AccessType.read_only())
        except Exception as e:  # noqa: BLE001  RocksDB's errors have no other type
            log.info("state folder %s cannot be read either: %s", self.folder, e)
            return None

    def load(self, labels: Labels) -> Snapshot | None:
        try:
            manifest = self._manifest()
            if manifest is None or not fits(manifest.labels, labels, str(self.folder)):
                return None
            pieces = manifest.pieces.items()
            parts = {name: b"".join(self._piece(name, i) for i in range(count)) for name, count in pieces}
        except _Damaged as e:
            self._forget(e)
            return None
        return Snapshot(manifest.log_offset, parts)

    def _forget(self, damage: _Damaged) -> None:
        """Begins anew where a snapshot turned out to be damaged; where that cannot be, goes on without."""
        try:
            self._begin_anew(damage)
            self._writable = True
        except OSError as e:
            log.warning("state folder %s cannot be emptied (%s): going on without it, for now", self.folder, e)
            self._shut()

    def save(self, labels: Labels, snapshot: Snapshot) -> None:
        """Replaces the last snapshot, wholly or not at all. Raises NotSaved."""
        try:
            if self._db is None or not self._writable:
                self._shut()
                self._open()
            self._write(labels, snapshot)
        except _Damaged as e:
            self._forget(e)
            raise NotSaved(self.folder, e) from e
        except Exception as e:
            if type(e) is not Exception and not isinstance(e, OSError):
                raise  # none of RocksDB's
            self._shut()  # it takes nothing more after an error; opened anew it holds what it held before
            raise NotSaved(self.folder, e) from e

    def _write(self, labels: Labels, snapshot: Snapshot) -> None:
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
        assert self._db is not None
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
        if self._db is None:
            return None
        try:
            found: bytes | None = self._db.get(key)
        except Exception as e:
            if "Corruption" not in str(e):
                raise
            raise _Damaged(str(e)) from e
        return found

    def close(self) -> None:
        self._shut()

    def _shut(self) -> None:
        db, self._db, self._writable = self._db, None, False
        if db is None:
            return
        try:
            db.close()
        except Exception as e:  # noqa: BLE001  it says again what a write said before
            log.info("the store in %s did not close cleanly: %s", self.folder, e)


def _key(name: str, i: int) -> bytes:
    return f"part/{name}/{i:06d}".encode()


def _lacks(error: OSError) -> bool:
    """Whether it is of a disk that has no room, or takes nothing any more."""
    return any(words in str(error) for words in LACKING)
