"""`nanotally` with a producer of transactions that stops at a place, says so and waits there, to be killed or let go.

Environment: STOPS, 'sent' (the uses are sent, their history is not), 'told' (everything is sent, nothing committed) or
'committed' (the first transaction is, the others are not); GO, a file that lets it go on when it is there."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from nanotally.schemas import codec
from nanotally.streams.commands import main

STOPPED = "stopped here"


def stop() -> None:
    print(STOPPED, flush=True)
    while not Path(os.environ["GO"]).exists():
        time.sleep(0.02)


def patch(where: str) -> None:
    """Each stop is made once."""
    encode, commit = codec.encode_one, KafkaProducer.commit_transaction
    made: list[str] = []

    def encode_one(name: str, record: Mapping[str, Any]) -> bytes:
        if where == "sent" and name == "Redrive" and not made:
            made.append(name)
            stop()
        return encode(name, record)

    def commit_transaction(self: Any) -> Any:
        if where == "told" and not made:
            made.append(where)
            self.flush()
            stop()
        done = commit(self)
        if where == "committed" and not made:
            made.append(where)
            stop()
        return done

    codec.encode_one = encode_one
    KafkaProducer.commit_transaction = commit_transaction


if __name__ == "__main__":
    patch(os.environ["STOPS"])
    main()
