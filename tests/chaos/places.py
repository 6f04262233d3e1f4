"""Faults of a worker's own place: its state folder, the disk under it, its memory."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

from nanotally.streams.errors import ExitCode
from tests.chaos.crew import Member
from tests.chaos.faults import World

DISK = "1m"
MEMORY_MORE = 1 << 20  # address space beyond what a worker has when the limit falls
GONE_S = 120.0
SPOILED = 0.3  # of all files
CRASHED = (ExitCode.BROKEN, ExitCode.INVALID, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGTRAP, 1)


def state_deleted(world: World) -> None:
    """A worker dies and its state folder with it."""
    member = _killed(world)
    shutil.rmtree(member.state, ignore_errors=True)
    _back(member)
    world.counts["state folder deleted"] += 1


def state_corrupted(world: World) -> None:
    """A worker ends in order, so that its state is on disk; then files of it are spoiled or cut, some of them only, so
    that each kind is met alone."""
    member = world.some("payers" if world.rng.random() < 0.7 else "accounts")
    world.crew.leave(member)
    spoiled = 0
    for file in sorted(member.state.rglob("*")):
        if file.is_file() and file.suffix != ".lock" and world.rng.random() < SPOILED:
            spoiled += _spoil(world, file)
    world.counts["state folder corrupted"] += bool(spoiled)
    member.allowed = CRASHED
    _back(member)


def _spoil(world: World, file: Path) -> int:
    data = bytearray(file.read_bytes())
    if not data:
        return 0
    if world.rng.random() < 0.3:
        file.write_bytes(bytes(data[: len(data) // 2]))
    else:
        for _ in range(3):
            data[world.rng.randrange(len(data))] ^= 0xFF
        file.write_bytes(bytes(data))
    return 1


def disk_full(world: World) -> None:
    """The disk under a worker's state fills up while it runs. A real, tiny file system where we may mount one; else no
    file of the worker may grow (RLIMIT_FSIZE)."""
    member = world.some(world.rng.choice(("payers", "accounts")))
    if _may_mount():
        with _Mounted(world, member):
            _back(member)
            until = time.monotonic() + GONE_S
            while not world.crew.ready(member) and time.monotonic() < until:
                time.sleep(0.2)
            with contextlib.suppress(OSError):  # others fill it as well
                (member.state / "ballast").write_bytes(bytes(_free(member.state)))
            _suffer(world, member)
        world.counts["disk full (a tmpfs)"] += 1
    else:
        _limited(world, member, resource.RLIMIT_FSIZE, 0)
        world.counts["disk full (RLIMIT_FSIZE)"] += 1


def disk_read_only(world: World) -> None:
    """The file system under a worker's state turns read-only; without the right to mount, the folder does."""
    member = world.some(world.rng.choice(("payers", "accounts")))
    if _may_mount():
        with _Mounted(world, member):
            subprocess.run(["mount", "-o", "remount,ro", str(member.state)], check=False, capture_output=True)
            _suffer(world, member)
        world.counts["disk read-only (a tmpfs)"] += 1
    else:
        member.allowed = CRASHED
        world.crew.leave(member)
        member.state.chmod(0o500)
        _back(member)
        _suffer(world, member)
        member.state.chmod(0o700)
        world.counts["disk read-only (the folder's mode)"] += 1


def memory(world: World) -> None:
    """A worker may not have more memory than it has, and a little (RLIMIT_AS)."""
    member = world.some()
    if member.process is not None and member.alive():
        pid = member.process.process.pid
        has = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        _limited(world, member, resource.RLIMIT_AS, has + MEMORY_MORE)
        world.counts["memory limited"] += 1


def _limited(world: World, member: Member, kind: int, limit: int) -> None:
    """The limit falls on the running process; its successor is free of it."""
    member.allowed = CRASHED
    if member.process is not None and member.alive():
        resource.prlimit(member.process.process.pid, kind, (limit, limit))
    world.hold(6, 10)
    if world.crew.kill(member):
        world.counts["worker killed"] += 1


def _suffer(world: World, member: Member) -> None:
    """Lets the worker meet its fate: it works, is asked to end, which saves state, and is started again."""
    _back(member)
    world.hold(5, 8)
    if member.alive() and member.process is not None:
        member.process.signal(signal.SIGTERM)
    world.hold(5, 8)


def _killed(world: World, member: Member | None = None) -> Member:
    """A worker killed, and kept from coming back."""
    member = member or world.some()
    member.wanted = False
    if world.crew.kill(member):
        world.counts["worker killed"] += 1
    until = time.monotonic() + GONE_S
    while member.alive() and time.monotonic() < until:
        time.sleep(0.1)
    return member


def _back(member: Member) -> None:
    member.wanted, member.again_at = True, 0.0


class _Mounted:
    """A file system of a megabyte over a member's state folder, for the length of a `with`; the member is killed
    before and after, since its files are elsewhere then."""

    def __init__(self, world: World, member: Member) -> None:
        self._world, self._member = world, member

    def __enter__(self) -> None:
        member = self._member
        _killed(self._world, member)
        member.allowed = CRASHED
        member.state.mkdir(parents=True, exist_ok=True)
        _mount(member.state)

    def __exit__(self, *error: object) -> None:
        _killed(self._world, self._member)
        subprocess.run(["umount", "--lazy", str(self._member.state)], check=True, capture_output=True)
        _back(self._member)


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _mount(folder: Path) -> None:
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True, capture_output=True
    )


def _may_mount() -> bool:
    """Whether this process may mount; asked once in a folder of its own."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        return False
    probe = Path("/proc/self/status").read_text()
    held = next(line.split()[1] for line in probe.splitlines() if line.startswith("CapEff:"))
    return bool(int(held, 16) & 1 << CAP_SYS_ADMIN)


CAP_SYS_ADMIN = 21
