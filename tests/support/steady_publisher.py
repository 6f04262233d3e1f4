"""A product that publishes all the time: `python -m tests.support.steady_publisher NAME FOLDER START_US`.

Until SIGTERM it publishes uses of its own and, with the ids NAME-less 'both-N', the very same uses that every other one
publishes; it says so after the first batch. It leaves FOLDER/NAME.json: the number of its own uses, that of the common
ones, and its version."""

from __future__ import annotations

import json
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nanotally.streams import Publisher

OWN, COMMON = 20, 5  # in each batch
REST_S = 0.05
PUBLISHES = "publishes"
PAYERS, ITEMS = 40, 300


def use(event_id: str, number: int, start_us: int) -> dict[str, Any]:
    """The use of that number: what it says hangs on its number alone."""
    return {
        "meter": "page.view",
        "payer": f"payer-{number % PAYERS}",
        "item": f"item-{number % ITEMS}",
        "creator": f"creator-{number % 7}",
        "occurred_at": datetime.fromtimestamp(0, UTC) + timedelta(microseconds=start_us + number),
        "event_id": event_id,
        "attributes": {"feature": "reading", "segment": "school"},
    }


def main() -> None:
    name, folder, start_us = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    own = common = 0
    with Publisher(product="news") as publisher:
        while not stop:
            batch = [use(f"{name}-{n}", n, start_us) for n in range(own, own + OWN)]
            batch += [use(f"both-{n}", n, start_us) for n in range(common, common + COMMON)]
            publisher.publish_batch(batch)
            if not own:
                print(PUBLISHES, flush=True)
            own, common = own + OWN, common + COMMON
            time.sleep(REST_S)
    facts = {"own": own, "common": common, "version": version("nanotally")}
    (folder / f"{name}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
