"""Runs targets over cases drawn from a seed. A case is one draw: several inputs, and what became of each.

Each case has a random generator of its own, made of target, seed and number, so that a fault is seen again by itself:
`python -m tests.fuzz TARGET --seed SEED --case NUMBER`."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

HANG_S = 30.0  # a case takes milliseconds; so long is a hang, on the slowest of machines too

Case = Callable[[random.Random], "Counter[str]"]  # inputs by what became of them; raises where that is wrong


class Fault(AssertionError):
    """A case went wrong; says how to see it again."""


class Hang(Exception):
    """A case did not end."""


@dataclass
class Tried:
    """Cases and inputs of one target, and what became of the inputs."""

    target: str
    seed: int
    cases: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def inputs(self) -> int:
        return self.verdicts.total()

    def row(self) -> str:
        """One line for people."""
        became = ", ".join(f"{name} {count:,}" for name, count in sorted(self.verdicts.items()))
        return f"  {self.target:<10} {self.inputs:>11,} inputs  {self.seconds:7.1f} s  seed {self.seed}  {became}"


def run(target: str, case: Case, inputs: int, seed: int) -> Tried:
    """Cases from number 0 on until there were so many inputs. Raises Fault at the first that goes wrong."""
    tried = Tried(target, seed)
    started = time.perf_counter()
    while tried.inputs < inputs:
        tried.verdicts += one(target, case, seed, tried.cases)
        tried.cases += 1
    tried.seconds = time.perf_counter() - started
    return tried


def one(target: str, case: Case, seed: int, number: int) -> Counter[str]:
    """One case. Raises Fault where it goes wrong or does not end."""
    try:
        with _ends():
            return case(random.Random(f"{target}/{seed}/{number}"))
    except BaseException as e:
        if isinstance(e, KeyboardInterrupt | SystemExit | GeneratorExit):
            raise
        again = f"python -m tests.fuzz {target} --seed {seed} --case {number}"
        raise Fault(f"{type(e).__name__}: {str(e)[:2000]}\nsee it again: {again}") from e


@contextlib.contextmanager
def _ends() -> Iterator[None]:
    """Raises Hang in what does not end. Only the main thread can be interrupted; elsewhere pytest's timeout does it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hang(signal_number: int, frame: FrameType | None) -> None:
        raise Hang(f"no end within {HANG_S:.0f} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
