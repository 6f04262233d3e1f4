"""What a child of a test does before it becomes its command; run by path, with the standard library only.

    python child.py with PARENT PIPE COMMAND...   the command, killed when PARENT dies, however that dies; PIPE ends
                                                  when it has become that
    python child.py after COMMAND...              runs the command once standard input ends: whoever held it has died

Only Linux tells a child of its parent's death; elsewhere a child of a killed test stays."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1


def become(parent: int, pipe: int, command: list[str]) -> None:
    """Asks for the signal, which stays asked for in the command. The parent may be dead by then: nobody would tell."""
    os.set_inheritable(pipe, False)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays ignored
        signal.signal(number, signal.SIG_DFL)
    os.execvp(command[0], command)


if __name__ == "__main__":
    if sys.argv[1] == "with":
        become(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    sys.stdin.buffer.read()
    subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, check=False)
