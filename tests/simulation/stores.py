"""State folders of simulated machines: kept when a process dies, lost, put back as they were, or damaged."""

from __future__ import annotations

from nanotally.streams.pipeline.store import Labels, MemoryStore, Snapshot
from tests.simulation.world import Gone, Process


class Disk:
    """One machine's: a store for each partition that ever was on it, and what a backup of it would hold."""

    def __init__(self) -> None:
        self.kept: dict[str, MemoryStore] = {}
        self.backups: dict[str, list[tuple[Labels, Snapshot]]] = {}

    def lose(self) -> None:
        self.kept.clear()

    def damage(self, name: str) -> None:
        """What `RocksStore` does about a damaged one when it opens it: it is emptied."""
        self.kept.pop(name, None)

    def put_back(self, name: str, number: int) -> None:
        """An older state than the last, as from a backup."""
        labels, snapshot = self.backups[name][number]
        self.kept[name] = MemoryStore()
        self.kept[name].save(labels, snapshot)


class SimStore:
    """A `Store` on a machine's disk, for one process. A dead process writes nothing."""

    def __init__(self, process: Process, disk: Disk, name: str) -> None:
        self._process, self._disk, self._name = process, disk, name

    def load(self, labels: Labels) -> Snapshot | None:
        kept = self._disk.kept.get(self._name)
        return kept.load(labels) if kept else None

    def save(self, labels: Labels, snapshot: Snapshot) -> None:
        process = self._process
        if not process.alive:
            raise Gone
        self._disk.kept.setdefault(self._name, MemoryStore()).save(labels, snapshot)
        self._disk.backups.setdefault(self._name, []).append((labels, snapshot))
        process.world.say(process.name, f"saved {self._name} at {snapshot.log_offset}")

    def close(self) -> None:
        """Nothing is held open."""
