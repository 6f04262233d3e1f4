"""The store keeps the last snapshot of a stage partition, and knows whose it is."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from nanotally.streams.errors import BrokenInvariant, InvalidInput
from nanotally.streams.pipeline import rocks_store
from nanotally.streams.pipeline.rocks_store import RocksStore
from nanotally.streams.pipeline.store import Labels, MemoryStore, NotSaved, Slot, Snapshot, Store

LABELS = Labels("cluster-a", "payers", 2, "id-of-charges", "id-of-usage", 1)
SNAPSHOT = Snapshot(120, {"scopes": b"s" * 1000, "empty": b"", "tallies": bytes(range(256))})


@pytest.fixture(params=["memory", "rocks"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Gives the same store again and again, as a process does that comes back."""
    memory = MemoryStore()
    last: list[RocksStore] = []

    def open_it() -> Store:
        if request.param == "memory":
            return memory
        if last:
            last.pop().close()
        last.append(RocksStore(tmp_path / "2"))
        return last[0]

    return open_it


def test_a_new_store_is_empty(reopened: Callable[[], Store]) -> None:
    assert reopened().load(LABELS) is None


def test_a_snapshot_comes_back_whole(reopened: Callable[[], Store]) -> None:
    reopened().save(LABELS, SNAPSHOT)
    assert reopened().load(LABELS) == SNAPSHOT


def test_the_later_snapshot_replaces_the_earlier_one_with_all_its_parts(reopened: Callable[[], Store]) -> None:
    reopened().save(LABELS, SNAPSHOT)
    reopened().save(LABELS, Snapshot(240, {"scopes": b"t"}))
    assert reopened().load(LABELS) == Snapshot(240, {"scopes": b"t"})


def test_a_snapshot_of_another_fold_version_is_not_used(reopened: Callable[[], Store]) -> None:
    reopened().save(replace(LABELS, fold_version=0), SNAPSHOT)
    assert reopened().load(LABELS) is None
    reopened().save(LABELS, SNAPSHOT)
    assert reopened().load(LABELS) == SNAPSHOT


def test_the_state_of_another_cluster_is_refused_and_the_remedy_said(reopened: Callable[[], Store]) -> None:
    reopened().save(LABELS, SNAPSHOT)
    with pytest.raises(
        BrokenInvariant, match=r"belongs to cluster cluster-a, this is cluster-b; delete it or set NANOTALLY_STATE"
    ):
        reopened().load(replace(LABELS, cluster_id="cluster-b"))


def test_the_state_of_topics_that_were_deleted_since_is_refused(reopened: Callable[[], Store]) -> None:
    reopened().save(LABELS, SNAPSHOT)
    with pytest.raises(BrokenInvariant, match="deleted and created anew since"):
        reopened().load(replace(LABELS, log_topic_id="another"))


def test_the_state_of_another_partition_is_refused(reopened: Callable[[], Store]) -> None:
    reopened().save(LABELS, SNAPSHOT)
    with pytest.raises(BrokenInvariant, match=r"belongs to payers\[2\], not to payers\[3\]"):
        reopened().load(replace(LABELS, partition=3))


def test_a_part_larger_than_a_piece_shrinks_without_leaving_pieces_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rocks_store, "PIECE_BYTES", 10)
    rocks = RocksStore(tmp_path)
    rocks.save(LABELS, Snapshot(1, {"scopes": bytes(range(95))}))
    assert rocks.load(LABELS) == Snapshot(1, {"scopes": bytes(range(95))})
    rocks.save(LABELS, Snapshot(2, {"scopes": bytes(range(25))}))
    assert rocks.load(LABELS) == Snapshot(2, {"scopes": bytes(range(25))})
    assert rocks._db is not None
    assert len(list(rocks._db.keys())) == 1 + 3  # the manifest and three pieces
    rocks.close()


def test_a_damaged_folder_is_emptied_since_the_log_has_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rocks = RocksStore(tmp_path)
    rocks.save(LABELS, SNAPSHOT)
    rocks.close()
    (tmp_path / "CURRENT").write_bytes(b"MANIFEST-999999\n")
    for manifest in tmp_path.glob("MANIFEST-*"):
        manifest.write_bytes(b"spoiled")
    (tmp_path / "CURRENT").write_bytes(next(tmp_path.glob("MANIFEST-*")).name.encode() + b"\n")
    rocks = RocksStore(tmp_path)
    assert rocks.load(LABELS) is None
    assert "is built anew from the log" in caplog.text
    rocks.close()


@contextmanager
def files_may_grow_to(size: int) -> Iterator[None]:
    """No file of this process may: to those who write it is as with a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


LARGE = Snapshot(240, {"scopes": os.urandom(3 << 20), "tallies": os.urandom(1 << 20)})


def test_a_snapshot_for_which_there_is_no_room_leaves_the_one_before(tmp_path: Path) -> None:
    rocks = RocksStore(tmp_path)
    rocks.save(LABELS, SNAPSHOT)
    with files_may_grow_to(1 << 20):
        for _ in range(2):
            with pytest.raises(NotSaved, match="File too large") as raised:
                rocks.save(LABELS, LARGE)
        assert raised.value.folder == tmp_path
        rocks.close()
        rocks = RocksStore(tmp_path)
        assert rocks.load(LABELS) == SNAPSHOT
        with pytest.raises(NotSaved):
            rocks.save(LABELS, LARGE)
    rocks.save(LABELS, LARGE)  # there is room again
    assert rocks.load(LABELS) == LARGE
    rocks.close()
    assert RocksStore(tmp_path).load(LABELS) == LARGE


def test_what_a_process_left_that_died_of_a_full_disk_is_the_snapshot_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rocks = RocksStore(tmp_path / "was")
    rocks.save(LABELS, SNAPSHOT)
    with files_may_grow_to(1 << 20), pytest.raises(NotSaved):
        monkeypatch.setattr(rocks, "_shut", lambda: None)
        rocks.save(LABELS, LARGE)
    shutil.copytree(tmp_path / "was", tmp_path / "2")
    assert RocksStore(tmp_path / "2").load(LABELS) == SNAPSHOT


@pytest.mark.parametrize(("room", "kept"), [(64, SNAPSHOT), (0, None)])
def test_a_disk_that_takes_nothing_at_all_is_read_where_it_can_be_and_said_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, room: int, kept: Snapshot | None
) -> None:
    rocks = RocksStore(tmp_path / "2")
    rocks.save(LABELS, SNAPSHOT)
    rocks.close()
    with files_may_grow_to(room):
        rocks = RocksStore(tmp_path / "2")
        assert f"state folder {tmp_path / '2'} cannot be written (" in caplog.text
        assert rocks.load(LABELS) == kept
        with pytest.raises(NotSaved):
            rocks.save(LABELS, LARGE)
        rocks.close()
        new = RocksStore(tmp_path / "3")
        assert new.load(LABELS) is None
        with pytest.raises(NotSaved):
            new.save(LABELS, SNAPSHOT)
    for store, snapshot in ((RocksStore(tmp_path / "2"), SNAPSHOT), (new, None)):
        assert store.load(LABELS) == snapshot
        store.save(LABELS, LARGE)
        assert store.load(LABELS) == LARGE
        store.close()


def test_a_slot_is_taken_also_where_there_is_no_room(tmp_path: Path) -> None:
    with files_may_grow_to(0):
        assert Slot(tmp_path).number == 0


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for make in (RocksStore, Slot):
        with pytest.raises(InvalidInput, match=r"file/state cannot be written .* set NANOTALLY_STATE"):
            make(tmp_path / "file" / "state")


def _slot_number(root: Path) -> int:
    return Slot(root).number


def test_processes_that_share_a_folder_get_a_slot_each_and_find_it_again(tmp_path: Path) -> None:
    first = Slot(tmp_path)
    assert first.folder == tmp_path / "0"
    with multiprocessing.get_context("spawn").Pool(1) as other:
        assert other.apply(_slot_number, (tmp_path,)) == 1
        first.close()
    assert Slot(tmp_path).number == 0
