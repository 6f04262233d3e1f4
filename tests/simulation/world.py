"""One simulated world: a seed, a loop, a record of what happened, and processes that live and die in it."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from tests.simulation.faults import Profile
from tests.simulation.loop import SimLoop

T = TypeVar("T")
# Requests that end a transaction come once or not at all. One that came again behind the next transaction's records
# would end that: brokers tell the two apart since Kafka 4 only, and only from clients that say so.
ONCE = ("end ", "offsets ")


class Unreachable(Exception):
    """No answer came: whether the other side did what was asked is not known."""


class Gone(BaseException):
    """Unwinds what a process was doing when it left; nothing of it has an effect any more."""


SIZE = 16  # the smallest in which all deliberate bugs are seen


class World:
    """`size`: records of usage in each partition, half of it to half as many again; the same seed with another size is
    another world. `calm`: faults have stopped. `failed`: the first thing that must never happen."""

    def __init__(self, seed: int, *, size: int = SIZE, trace: bool = False) -> None:
        self.seed = seed
        self.size = size
        self.profile = Profile.of(self.rng("profile"))
        self.calm = False
        self.ended = False
        self.failed: BaseException | None = None
        self.faults: dict[str, int] = {}
        self.effects: dict[str, int] = {}
        self.digest = 0
        self._trace = trace
        self.network = self.rng("network")
        threads = self.rng("threads")
        self.loop = SimLoop(lambda: threads.expovariate(200.0))
        self.loop.set_exception_handler(self._unhandled)
        self._tasks: set[asyncio.Task[Any]] = set()

    def rng(self, name: str) -> random.Random:
        """A stream of chance of its own, so that one more throw in one place moves nothing elsewhere."""
        return random.Random(f"simulation {self.seed} {name}")

    def say(self, who: str, what: str) -> None:
        """Something happened. All of it makes up the run's digest; with a trace it is printed."""
        line = f"{self.loop.now_s:10.4f}  {who:14} {what}"
        self.digest = zlib.crc32(line.encode(), self.digest)
        if self._trace:
            print(line)

    def fault(self, kind: str, who: str, what: str = "") -> None:
        """Something was broken on purpose."""
        self.faults[kind] = self.faults.get(kind, 0) + 1
        self.say(who, f"*** {kind} {what}")

    def effect(self, kind: str, who: str, what: str = "") -> None:
        """Something that the system did about a fault, or that one did to it."""
        self.effects[kind] = self.effects.get(kind, 0) + 1
        self.say(who, f"--- {kind} {what}")

    def fail(self, error: BaseException) -> None:
        if self.failed is None:
            self.failed = error
            self.say("world", f"FAILED {error!r}")

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Something that goes on whoever dies: the network, a server."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), Gone):
            self.fail(task.exception() or AssertionError())

    def _unhandled(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not self.ended and error is not None and not isinstance(error, (Gone, asyncio.CancelledError)):
            self.fail(error)

    def delay_s(self) -> float:
        """How long something takes that is usually quick."""
        r, profile = self.network, self.profile
        if not self.calm and r.random() < profile.slow:
            return r.uniform(0.1, profile.slow_s)
        return r.expovariate(1 / 0.004)

    def chance(self, probability: float) -> bool:
        """Whether a fault of the network happens now."""
        return not self.calm and self.network.random() < probability


class Process:
    """What can be killed, stopped and continued. Killed means: whatever it still does reaches nobody."""

    def __init__(self, world: World, name: str, *, mortal: bool = True) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.silent_since_s: float | None = None  # dead or stopped: its heartbeats have stayed away since
        self.rng = world.rng(name)
        self.deaf = False  # its heartbeats get lost, and nothing else
        self.unplugged = False  # nothing that it sends arrives
        self.sluggish_s = 0.0  # what it does takes up to so long
        self._mortal = mortal
        self._running = asyncio.Event()
        self._running.set()
        self._drift_s = self.rng.uniform(0, 1e6)

    @property
    def stopped(self) -> bool:
        return not self._running.is_set()

    async def breathe(self, what: str) -> None:
        """A place where the process may be killed, or may have been, or stands still until it is continued."""
        if self.world.ended:
            raise asyncio.CancelledError
        profile = self.world.profile
        if self._mortal and self.alive and not self.world.calm and self.rng.random() < profile.crash:
            self.world.fault("kill", self.name, f"at {what}")
            self.kill()
        elif self._mortal and not self.stopped and not self.world.calm and self.rng.random() < profile.freeze:
            self.world.fault("freeze", self.name, f"at {what}")
            self.stop()
            self.world.loop.call_later(self.rng.uniform(0, profile.freeze_s), self.go_on)
        await self._running.wait()
        while not self.alive:
            await asyncio.Event().wait()

    async def toil(self) -> None:
        """Work that takes its time where the process is slow."""
        if self.sluggish_s:
            await self.sleep(self.rng.uniform(0, self.sluggish_s))

    async def ask(self, what: str, serve: Callable[[], Awaitable[T]]) -> T:
        """Sends a request to a server and gives its answer. Raises Unreachable where none came back."""
        await self.breathe(what)
        answer: asyncio.Future[T] = self.world.loop.create_future()
        self.world.spawn(self._carry(what, serve, answer))
        try:
            return await answer
        finally:
            await self.breathe(f"{what} answered")

    async def _carry(self, what: str, serve: Callable[[], Awaitable[T]], answer: asyncio.Future[T]) -> None:
        """The way there and back. What is on its way goes on without its sender."""
        world = self.world
        await self.world.loop.sleep(world.delay_s())
        lost = world.chance(world.profile.lost)
        if lost:
            world.fault("request lost", self.name, what)
        if lost or self.unplugged:
            await self.world.loop.sleep(world.profile.timeout_s)
            _settle(answer, Unreachable(what))
            return
        world.say(self.name, what)
        try:
            result = await serve()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  it is the asker's
            _settle(answer, error)
            return
        if not what.startswith(ONCE) and world.chance(world.profile.twice):
            world.fault("request twice", self.name, what)
            world.spawn(self._once_more(what, serve))
        answer_lost = world.chance(world.profile.answer_lost)
        if answer_lost:
            world.fault("answer lost", self.name, what)
        if answer_lost or self.unplugged:
            await self.world.loop.sleep(world.profile.timeout_s)
            _settle(answer, Unreachable(what))
            return
        if world.chance(world.profile.slow):
            await self.world.loop.sleep(world.delay_s())
        if not answer.done():
            answer.set_result(result)

    async def _once_more(self, what: str, serve: Callable[[], Awaitable[T]]) -> None:
        """The same request again, which its sender gave up or knows nothing of; nobody waits for the answer."""
        await self.world.loop.sleep(self.world.network.uniform(0, 3))
        self.world.say(self.name, f"{what}, again")
        with suppress(Exception):
            await serve()

    def kill(self) -> None:
        """SIGKILL."""
        if self.alive:
            self.alive = False
            self.silent_since_s = self.silent_since_s or self.world.loop.now_s
            self._running.set()

    def stop(self) -> None:
        """SIGSTOP."""
        if self.alive and not self.stopped:
            self._running.clear()
            self.silent_since_s = self.world.loop.now_s

    def go_on(self) -> None:
        """SIGCONT."""
        if self.alive and self.stopped:
            self._running.set()
            self.be_heard()

    def be_heard(self) -> None:
        """Its heartbeats come again, unless something else keeps them away."""
        if self.alive and not self.stopped and not self.deaf and not self.unplugged:
            self.silent_since_s = None

    # Its clock: goes by the world's, from a start of its own, and jumps ahead when somebody turns it.

    def turn_clock(self, seconds: float) -> None:
        self._drift_s += seconds

    def seconds(self) -> float:
        return self.world.loop.now_s + self._drift_s

    async def sleep(self, seconds: float) -> None:
        await self.world.loop.sleep(seconds)
        await self.breathe("woken")


def _settle(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # the asker may be gone
