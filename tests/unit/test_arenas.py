"""A worker does not take its memory anew for each chunk."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from nanotally.streams.pipeline.arenas import keep_arenas

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    chunk = [bytes(400) for _ in range(40_000)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_arenas({megabytes})
faults()
print(faults())
"""


def faults_of_a_later_chunk(megabytes: int) -> int:
    """Pages that a chunk of 18 MB takes from the system, where one before it was as large."""
    program = PROGRAM.format(megabytes=megabytes)
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(sys.implementation.name != "cpython" or sys.platform != "linux", reason="about CPython on Linux")
def test_what_a_chunk_took_is_there_for_the_next_one() -> None:
    assert faults_of_a_later_chunk(32) < 500 < 2_000 < faults_of_a_later_chunk(0)
