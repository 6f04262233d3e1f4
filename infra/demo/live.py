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
        self._shown = 0.0
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

    def show(self, last: bool = False) -> tuple[int, int]:
        """Shows where everything is, if it is time to; gives rated records and rows in ClickHouse (0 if not asked)."""
        now = time.monotonic()
        if not last and now - self._shown < (EVERY_S if self._terminal else EVERY_S_UNSEEN):
            return 0, 0
        self._shown = now
        rated, rows = arrived(self._client)
        seconds = now - self._started
        text = (
            f"  {seconds:5.1f} s   published {self.published:>7,} ({self.published / seconds:>7,.0f}/s)   "
            f"rated {rated:>7,} ({rated / seconds:>7,.0f}/s)   charges in ClickHouse {rows:>7,}"
        )
        if self._terminal:
            print(f"\r{text}", end="", flush=True)
        else:
            print(text, flush=True)
        return rated, rows
