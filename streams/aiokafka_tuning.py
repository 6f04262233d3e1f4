"""Two constants of aiokafka that it offers no setting for."""

from __future__ import annotations

import functools

from aiokafka import codec as aiokafka_codec
from aiokafka.producer import sender as aiokafka_sender
from aiokafka.record._crecords import default_records

LZ4_LEVEL = 1


def tune_aiokafka() -> None:
    """Changes two constants that aiokafka offers no setting for: lz4 at level 9 costs a third of all CPU and saves
    little; and 20 ms between two transactions are most of a small chunk's time."""
    default_records.lz4_encode = functools.partial(aiokafka_codec.lz4_encode, level=LZ4_LEVEL)
    aiokafka_sender.BACKOFF_OVERRIDE = 0.003
