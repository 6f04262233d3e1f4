"""Processes that end with the test process that starts them, also when that is killed with SIGKILL.

Linux tells a child of the end of the thread that started it, not of the process: so one thread starts all of them and
stays as long as the process does. The child asks for the signal itself (child.py): nothing of ours runs between fork
and exec, where a process of many threads may stand still for ever."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

CHILD = [sys.executable, "-IS", str(Path(__file__).with_name("child.py"))]

_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starts children")


def start(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
) -> subprocess.Popen[str]:
    """Starts a process as Popen does, with text in its pipes; its pid and its parent are those of the command. Returns
    when it is the command: whatever becomes of it from then on, it will not stay behind."""
    told, tells = os.pipe()
    whole = [*CHILD, "with", str(os.getpid()), str(tells), *command]

    def popen() -> subprocess.Popen[str]:
        return subprocess.Popen(
            whole, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, text=True, pass_fds=(tells,)
        )

    try:
        process = _starter.submit(popen).result()
    finally:
        os.close(tells)
        with open(told, "rb") as pipe:
            pipe.read()
    return process


def run(
    command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; exit code and what it said."""
    with start(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@contextlib.contextmanager
def should_this_process_die(command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> Iterator[None]:
    """Runs the command when this process ends within the block, and not otherwise: for what outlives it by design."""
    with subprocess.Popen(
        [*CHILD, "after", *command], cwd=cwd, env=env, stdin=subprocess.PIPE, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as watcher:  # fmt: skip
        try:
            yield
        finally:
            watcher.kill()
