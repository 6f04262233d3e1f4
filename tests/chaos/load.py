"""Publishes uses at a steady rate for as long as it is let, through whatever happens to Kafka."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from nanotally.streams import Publisher
from nanotally.streams.environment import Environment
from nanotally.streams.errors import Transient
from tests.chaos.uses import Use, Uses

EVERY_S = 1.0
GIVE_UP_S = 20.0  # without an answer; then the same uses are sent again, under the same ids


class Load:
    """A thread that publishes; `arrived` is the file of all uses that Kafka said it has: product, payer, id."""

    def __init__(
        self, environment: Environment, uses: Uses, per_s: float, arrived: Path, give_up_s: float = GIVE_UP_S
    ) -> None:
        self._environment, self._uses, self._per_s = environment, uses, per_s
        self._arrived, self._give_up_s = arrived, give_up_s
        self._ended, self._left = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.error: BaseException | None = None
        self.published = 0  # that Kafka has, those sent again as well
        self.sent_again = 0  # batches
        self.last_refusal = ""

    def start(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        """Lets it end by itself; what is in hand need not arrive."""
        self._left = True
        self._ended.set()

    def end(self, within_s: float = 400.0) -> None:
        """Lets what is in hand arrive. Raises what went wrong, Transient where it does not end."""
        self._ended.set()
        self._thread.join(within_s)
        if self.error is not None:
            raise self.error
        if self._thread.is_alive():
            raise Transient(f"the load did not end within {within_s:.0f} s; Kafka last said: {self.last_refusal}")

    def _run(self) -> None:
        try:
            with self._arrived.open("a", encoding="utf-8") as told:
                while not self._ended.is_set():
                    began = time.monotonic()
                    batch = [self._uses.next() for _ in range(int(self._per_s * EVERY_S))]
                    self._publish(batch)
                    told.writelines(f"{use['product']}\t{use['payer']}\t{use['event_id']}\n" for use in batch)
                    self._ended.wait(max(0.0, EVERY_S - (time.monotonic() - began)))
        except BaseException as e:  # noqa: BLE001  raised again by end()
            self.error = e

    def _publish(self, batch: list[Use]) -> None:
        """Until all have arrived."""
        while True:
            try:
                with Publisher(
                    self._environment.kafka, prefix=self._environment.prefix, delivery_timeout_s=self._give_up_s
                ) as nano:
                    self.published += nano.publish_batch(batch)
                return
            except Transient as e:  # Kafka is away for longer than the publisher's patience
                self.sent_again += 1
                self.last_refusal = str(e)
                if self._left:
                    raise
                time.sleep(1.0)
