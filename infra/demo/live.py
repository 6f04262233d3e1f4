"""A line of progress while the demo runs: in place on a terminal, now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from infra.demo.facts import arrived, client_of
from nanotally.streams.environment import Environment

EVERY_S = 0.25
EVERY_S_UNSEEN = 2.0  # where no terminal shows it


class Live:
    """Counts of published, rated and queryable records, with rates; a context manager."""

    def __init__(self, environment: Environment) -> None:
        self._client = client_of(environment)
        self._terminal = sys.stdout.isatty()
        self._started = time.monotonic()
        self._shown = self._asked = 0.0
        self._rated = self._rows = 0
        self.published = 0

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            print()
        self._client.disconnect()

    def on_published(self, n: int) -> None:
        """Tells how many were published so far."""
        self.published = n
        self.show()

    def show(self, last: bool = False) -> int:
        """Shows where everything is, where it is time to; gives the number of rated records as last asked."""
        now = time.monotonic()
        if last or now - self._asked >= EVERY_S:
            self._asked = now
            self._rated, self._rows = arrived(self._client)
        if last or now - self._shown >= (EVERY_S if self._terminal else EVERY_S_UNSEEN):
            self._shown = now
            self._print(now - self._started)
        return self._rated

    def _print(self, seconds: float) -> None:
        text = (
            f"  {seconds:5.1f} s   published {self.published:>7,} ({self.published / seconds:>7,.0f}/s)   "
            f"rated {self._rated:>7,} ({self._rated / seconds:>7,.0f}/s)   charges in ClickHouse {self._rows:>7,}"
        )
        if self._terminal:
            print(f"\r{text}", end="", flush=True)
        else:
            print(text, flush=True)
