"""An asyncio loop whose time is turned by hand: it jumps to the next moment at which anything happens.

Nothing in it knows the machine's clock, sockets or threads, so a run is a function of what runs in it."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Any


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
