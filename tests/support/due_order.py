"""The order in which the stage takes scopes that end together: by the hash that the ledger has for them.

Only the order is the stage's own affair, so only it is worked out here by the stage's own hashing."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from nanotally.streams.domain.hashing import combine, combine_int, hash_strings, hash_text
from nanotally.streams.domain.tariff import OPENED_SCOPES
from tests.support.reference_scopes import Place


def by_hash(place: Place) -> tuple[int, int, int]:
    """High and low 64 bits of the scope's key, unsigned, and its start."""
    key, start_us = place
    link, length = () if key.link == "rule" else (key.link,), str(key.length_us)
    stem = [*link, key.tariff, key.rule, key.meter, key.scope, *([length] if key.scope in OPENED_SCOPES else [])]
    text = json.dumps([*stem, *(name for name, _ in key.per)], separators=(",", ":"), ensure_ascii=False)
    hashed = combine(hash_text(text), hash_text(key.payer))
    for _, value in key.per:
        hashed = combine(hashed, hash_strings(pa.array([value or ""], pa.string())))
        hashed = combine_int(hashed, np.array([value is None], dtype=np.int64))
    if key.scope not in OPENED_SCOPES:
        own = start_us if key.own is None else key.own
        hashed = combine_int(hashed, np.array([own], dtype=np.int64))
    return int(hashed[0][0]), int(hashed[1][0]), start_us
