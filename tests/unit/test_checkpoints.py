"""Checkpoints: a lost or damaged state folder goes on from the copy; a damaged copy is as good as none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nanotally.streams.errors import BrokenInvariant
from nanotally.streams.pipeline.checkpoints import CheckpointedStore, CheckpointFile, checkpointed
from nanotally.streams.pipeline.knobs import Knobs
from nanotally.streams.pipeline.rocks_store import RocksStore
from nanotally.streams.pipeline.store import Labels, MemoryStore, NotSaved, Snapshot

LABELS = Labels("cluster-a", "payers", 2, "id-of-charges", "id-of-usage", 1)
EARLIER = Snapshot(120, {"scopes": b"s" * 1000, "empty": b""})
LATER = Snapshot(240, {"scopes": b"t" * 5000, "tallies": bytes(range(256))})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "payers" / "2.checkpoint"


def on_a_new_machine(path: Path) -> CheckpointedStore:
    """A store without a state folder's content, beside the checkpoint."""
    return CheckpointedStore(MemoryStore(), path)


def test_a_lost_state_folder_goes_on_from_the_checkpoint(path: Path) -> None:
    store = on_a_new_machine(path)
    assert store.load(LABELS) is None
    store.save(LABELS, EARLIER)
    store.save(LABELS, LATER)
    assert on_a_new_machine(path).load(LABELS) == LATER
    assert [p.name for p in path.parent.iterdir()] == ["2.checkpoint"]


def test_the_later_of_state_folder_and_checkpoint_is_taken(path: Path) -> None:
    local = MemoryStore()
    CheckpointedStore(local, path).save(LABELS, EARLIER)
    on_a_new_machine(path).save(LABELS, LATER)  # another worker had the partition in between
    assert CheckpointedStore(local, path).load(LABELS) == LATER
    local.save(LABELS, Snapshot(300, {}))
    assert CheckpointedStore(local, path).load(LABELS) == Snapshot(300, {})


def test_a_worker_that_lost_the_partition_does_not_put_the_checkpoint_back(path: Path) -> None:
    on_a_new_machine(path).save(LABELS, LATER)
    zombie = on_a_new_machine(path)
    zombie.save(LABELS, EARLIER)
    assert on_a_new_machine(path).load(LABELS) == LATER


def cut_off(content: bytes) -> bytes:
    return content[:-100]


def flipped(place: int) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        return content[:place] + bytes([content[place] ^ 1]) + content[place:][1:]

    return flip


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut off": cut_off,
    "emptied": lambda content: b"",
    "something else": lambda content: b"something else\n" * 100,
    "longer": lambda content: content + b"x",
    "a bit of the magic": flipped(3),
    "another log offset": lambda content: content.replace(b'"log_offset": 240', b'"log_offset": 999'),
    "a bit of a part": flipped(-3000),
    "a bit of the seal": flipped(-1),
    "a header without end": lambda content: content[:23] + b"{" * 2_000_000,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_as_good_as_none(path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    on_a_new_machine(path).save(LABELS, LATER)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert on_a_new_machine(path).load(LABELS) is None
    assert "cannot be used" in caplog.text and "going on without it" in caplog.text
    local = MemoryStore()
    local.save(LABELS, EARLIER)
    assert CheckpointedStore(local, path).load(LABELS) == EARLIER
    store = on_a_new_machine(path)
    assert store.load(LABELS) is None
    store.save(LABELS, EARLIER)  # replaces it, whatever offset it claims
    assert on_a_new_machine(path).load(LABELS) == EARLIER


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (replace(LABELS, cluster_id="cluster-b"), "belongs to cluster cluster-a, this is cluster-b"),
        (replace(LABELS, partition=3), r"belongs to payers\[2\], not to payers\[3\]"),
        (replace(LABELS, log_topic_id="another"), "deleted and created anew since"),
    ],
)
def test_the_checkpoint_of_something_else_is_refused_and_the_remedy_said(path: Path, labels: Labels, said: str) -> None:
    on_a_new_machine(path).save(LABELS, LATER)
    with pytest.raises(BrokenInvariant, match=rf"checkpoint \S+ .*{said}.*set NANOTALLY_CHECKPOINTS"):
        on_a_new_machine(path).load(labels)


def test_a_checkpoint_of_another_fold_version_is_built_anew(path: Path) -> None:
    on_a_new_machine(path).save(replace(LABELS, fold_version=0), LATER)
    assert on_a_new_machine(path).load(LABELS) is None
    on_a_new_machine(path).save(LABELS, EARLIER)  # also where the log is shorter than it was thought to be
    assert on_a_new_machine(path).load(LABELS) == EARLIER


def test_a_folder_that_cannot_be_written_stops_nothing_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    local = MemoryStore()
    CheckpointedStore(local, tmp_path / "file" / "2.checkpoint").save(LABELS, LATER)
    assert local.snapshot == LATER
    assert "cannot be written" in caplog.text and "the one before it stays" in caplog.text


def test_a_state_folder_without_room_does_not_keep_the_checkpoint_from_being_written(path: Path) -> None:
    class Full(MemoryStore):
        def save(self, labels: Labels, snapshot: Snapshot) -> None:
            raise NotSaved(Path("/state"), OSError("No space left on device"))

    with pytest.raises(NotSaved):
        CheckpointedStore(Full(), path).save(LABELS, LATER)
    assert on_a_new_machine(path).load(LABELS) == LATER


def test_a_checkpoint_that_breaks_off_leaves_the_one_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_new_machine(path).save(LABELS, EARLIER)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    on_a_new_machine(path).save(LABELS, LATER)
    assert on_a_new_machine(path).load(LABELS) == EARLIER
    assert [p.name for p in path.parent.iterdir()] == ["2.checkpoint"]


def test_damage_in_the_state_folder_is_found_when_it_is_read(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "2"
    store = CheckpointedStore(RocksStore(folder), path)
    store.save(LABELS, LATER)
    store.close()
    RocksStore(folder).close()  # opened once more, so that its log became a file of blocks
    (blocks,) = folder.glob("*.sst")
    content = bytearray(blocks.read_bytes())
    content[10:20] = b"\0" * 10
    blocks.write_bytes(content)
    caplog.set_level(logging.WARNING)
    found = CheckpointedStore(RocksStore(folder), path)
    assert found.load(LABELS) == LATER
    assert f"the state in {folder} is damaged" in caplog.text
    found.save(LABELS, Snapshot(300, {"a": b"b"}))
    found.close()
    assert RocksStore(folder).load(LABELS) == Snapshot(300, {"a": b"b"})


def test_the_folder_is_a_setting_and_each_stage_and_partition_has_a_file(tmp_path: Path) -> None:
    assert Knobs.load({}).checkpoints is None
    root = Knobs.load({"NANOTALLY_CHECKPOINTS": f" {tmp_path} "}).checkpoints
    assert root == tmp_path
    local = MemoryStore()
    assert checkpointed(local, None, "t-payers", 3) is local
    checkpointed(local, root, "t-payers", 3).save(replace(LABELS, partition=3), LATER)
    assert CheckpointFile(tmp_path / "t-payers" / "3.checkpoint").read() == LATER
