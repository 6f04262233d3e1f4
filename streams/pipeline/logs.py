"""What a worker says, and what its libraries may say."""

from __future__ import annotations

import logging
import sys

# A rebalance on the heels of another ends the first one's measurement; what Faust says of it helps nobody.
NEEDLESS = "Missing sensor state for rebalance"


def set_up_logging(name: str) -> None:
    """One line for each event, on standard error; libraries only where something is wrong."""
    logging.basicConfig(
        level=logging.WARNING, format=f"%(asctime)s %(levelname)-7s {name} %(message)s", stream=sys.stderr, force=True
    )
    logging.getLogger("nanotally").setLevel(logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.addFilter(needed)
    # These two say at level ERROR what the messages here say better, once a second while Kafka is away.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


def needed(record: logging.LogRecord) -> bool:
    """Whether the line is of use to an operator."""
    return NEEDLESS not in str(record.msg)
