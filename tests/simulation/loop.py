"""An asyncio loop whose time is turned by hand: it jumps to the next moment at which anything happens.

Nothing in it knows the machine's clock, sockets or threads, so a run is a function of what runs in it."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVarTuple, cast

Ts = TypeVarTuple("Ts")


class Stalled(Exception):
    """Everybody waits for somebody else: nothing will ever happen again."""


class SimLoop(asyncio.BaseEventLoop):
    """`elsewhere_s` gives how long the next blocking call takes that somebody hands to another thread; it is made by
    the loop itself after that time, so it never runs beside anything."""

    def __init__(self, elsewhere_s: Callable[[], float] = lambda: 0.0) -> None:
        super().__init__()
        self.now_s = 0.0
        self._elsewhere_s = elsewhere_s
        self._state: Any = self  # the private parts of the base class, which has no types for them

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        """One round: what is ready runs in its order; where nothing is, time goes on to the next timer."""
        ready, scheduled = self._state._ready, self._state._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not ready:
            if not scheduled:
                raise Stalled
            self.now_s = max(self.now_s, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self.now_s:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    # asyncio's own ask each time whether the loop is closed, whose thread this is, and whether to debug: there are ten
    # thousand calls in a world, and they took a twentieth of its time.

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._state._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer: Any = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._state._scheduled, timer)
        timer._scheduled = True
        return cast(asyncio.TimerHandle, timer)

    async def sleep(self, seconds: float) -> None:
        """What `asyncio.sleep` is to any loop."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        over: asyncio.Future[None] = asyncio.Future(loop=self)
        timer = self.call_later(seconds, _wake, over)
        try:
            await over
        finally:
            timer.cancel()

    def _timer_handle_cancelled(self, handle: Any) -> None:
        """Cancelled timers are dropped when their time comes."""

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps outside of the loop."""

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self.create_future()

        def run() -> None:
            try:
                result = func(*args)
            except BaseException as error:  # noqa: BLE001  it belongs to whoever waits
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_later(self._elsewhere_s(), run)
        return future

    def end(self) -> None:
        """Cancels all that still waits, and lets it go."""
        tasks = [task for task in asyncio.all_tasks(self) if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            self.run_until_complete(asyncio.wait(tasks, timeout=600))
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()


def _wake(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
