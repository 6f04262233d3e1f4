"""A process that must not go on says why and leaves; and the settings that only operators touch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from aiokafka.errors import KafkaConnectionError

from nanotally.streams.errors import BrokenInvariant, ExitCode, InvalidInput, Transient
from nanotally.streams.pipeline.knobs import Knobs
from nanotally.streams.pipeline.leaving import understood

LEAVE = """
import logging, sys
logging.basicConfig(format="%(message)s")
from nanotally.streams.errors import *
from nanotally.streams.pipeline.leaving import leave
leave({error}, supervised={supervised})
"""


def left(error: str, supervised: bool = True, **environ: str) -> subprocess.CompletedProcess[str]:
    """What a process said that left with this error, and its exit code."""
    code = LEAVE.format(error=error, supervised=supervised)
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environ}, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("BrokenInvariant('the ledger was cut off')", ExitCode.BROKEN),
        ("InvalidInput('the ledger was cut off')", ExitCode.INVALID),
        ("Transient('the ledger was cut off')", ExitCode.UNAVAILABLE),
    ],
)
def test_the_message_is_for_people_and_the_exit_code_for_the_supervisor(error: str, code: ExitCode) -> None:
    result = left(error)
    assert result.returncode == code
    assert result.stderr == "the ledger was cut off\n"


def test_an_error_nobody_thought_of_is_shown_whole() -> None:
    result = left("ZeroDivisionError('oh')")
    assert result.returncode == ExitCode.BROKEN
    assert "the worker leaves: ZeroDivisionError('oh')" in result.stderr


def test_who_was_asked_to_end_does_not_start_over() -> None:
    asked = "from nanotally.streams.pipeline.leaving import asked_to_end; asked_to_end()\n"
    code = asked + LEAVE.format(error="Transient('another worker has taken over')", supervised=False)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stderr) == (ExitCode.UNAVAILABLE, "another worker has taken over\n")


def test_without_a_supervisor_a_process_starts_over_by_itself_under_the_same_pid() -> None:
    code = (
        "import os, logging; logging.basicConfig(format='%(message)s'); print(os.getpid(), flush=True)\n"
        "from nanotally.streams.pipeline.leaving import wait_if_started_over; wait_if_started_over()\n"
        "if os.environ.get('NANOTALLY_RETRY') == '1': raise SystemExit(0)\n"
    ) + LEAVE.format(error="Transient('Kafka is away')", supervised=False)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0
    first, second = process.stdout.split()
    assert first == second
    assert process.stderr == "Kafka is away\nstarting over in 1 s\n"


def test_errors_of_kafkas_client_are_transient_and_ours_stay_what_they_are() -> None:
    assert isinstance(understood(KafkaConnectionError("no")), Transient)
    assert isinstance(understood(ConnectionResetError("no")), Transient)
    broken = BrokenInvariant("no")
    assert understood(broken) is broken


def test_knobs_have_defaults_and_can_be_turned() -> None:
    assert Knobs.load({}) == Knobs(100_000, None, 60.0, "127.0.0.1", None)
    turned = {
        "NANOTALLY_REJECTS_PER_MINUTE": "5",
        "NANOTALLY_TICKS": "2.5",
        "NANOTALLY_STUCK_SECONDS": "10",
        "NANOTALLY_WEB_BIND": "0.0.0.0",
        "NANOTALLY_SUPERVISOR": "77",
    }
    assert Knobs.load(turned) == Knobs(5, 2.5, 10.0, "0.0.0.0", 77)
    assert Knobs.load({"NANOTALLY_TICKS": "off"}).ticks_s is None


def test_added_partitions_are_left_aside_only_where_somebody_says_so() -> None:
    assert not Knobs.load({"NANOTALLY_LEAVE_ADDED": "no"}).leave_added
    assert Knobs.load({"NANOTALLY_LEAVE_ADDED": " Yes "}).leave_added
    with pytest.raises(InvalidInput, match="NANOTALLY_LEAVE_ADDED: 'true' is neither yes nor no"):
        Knobs.load({"NANOTALLY_LEAVE_ADDED": "true"})


@pytest.mark.parametrize("text", ["", "many", "-1", "0", "1e3", "١"])
def test_a_knob_that_is_no_number_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"NANOTALLY_REJECTS_PER_MINUTE: .* is no number above zero"):
        Knobs.load({"NANOTALLY_REJECTS_PER_MINUTE": text})
