"""Target `letters`: spoilt dead letters, and spoilt corrections of them. What is put in again is a use that the stage
can take; everything else is refused with the name of the record."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from nanotally.schemas import codec
from nanotally.streams.commands.rejects_mending import mended
from nanotally.streams.commands.rejects_reading import Source
from nanotally.streams.dead_letters import REASONS, UNPRICED, Again, as_it_was, told
from nanotally.streams.domain import validation
from nanotally.streams.domain.uses import Uses
from nanotally.streams.errors import InvalidInput
from tests.fuzz.commands import spoilt
from tests.support.publishing import BOOK
from tests.support.sink_records import NOON_US, event

PLACE = (2, 1047)
CARRYING = {
    "control_id": "c", "kind": "redrive", "at": None, "book_number": None, "book_hash": None, "note": "",
    "usage_offset": 7, "use": event(product="news"),
}  # fmt: skip


def case(random_: random.Random) -> Counter[str]:
    """One letter: put in again as it was, and mended."""
    value, reason = _letter(random_), random_.choice([*REASONS, UNPRICED])
    return Counter({f"again {_again(reason, value)}": 1, f"mend {_mend(reason, value, random_)}": 1})


def _again(reason: str, value: bytes) -> str:
    try:
        again = as_it_was(PLACE, reason, value)
    except InvalidInput as e:
        assert "2-1047" in str(e), str(e)
        return "refused"
    name, record = codec.decode_one(again.value)
    assert (name == "UsageEvent" and again.value == value) or (name, record["kind"]) == ("Control", "redrive")
    return "accepted"


def _mend(reason: str, value: bytes, random_: random.Random) -> str:
    found = Source(PLACE, reason, "", NOON_US, told(value), value)
    with tempfile.TemporaryDirectory(prefix="nanotally-fuzz-") as folder:
        file = Path(folder) / "right.json"
        file.write_bytes(_correction(random_))
        try:
            again = mended(found, str(file), BOOK)
        except InvalidInput as e:
            assert "2-1047" in str(e) or str(file) in str(e), str(e)
            return "refused"
    _is_a_good_use(again)
    return "accepted"


def _is_a_good_use(again: Again) -> None:
    decoded = codec.decode("UsageEvent", [again.value])
    assert not decoded.bad, decoded.bad
    uses = Uses(decoded.batch, np.zeros(1, np.int64), np.array([validation.OCCURRED_AT_MAX_US]), [again.value])
    (verdict,) = validation.check(uses, np.ones(1, bool), 0)
    record = decoded.batch.to_pylist()[0]
    assert verdict == 0, (validation.REASONS[verdict], record)
    assert (record["payer"], record["event_id"]) == (again.payer, again.event_id)


def _letter(random_: random.Random) -> bytes:
    """A record of `usage`, mostly with some bytes changed, gone or too many."""
    value = random_.choice(
        [codec.encode_one("UsageEvent", event(product="news")), codec.encode_one("Control", CARRYING)]
    )
    kind = random_.random()
    if kind < 0.3:
        return value
    if kind < 0.5:
        return value[random_.choice([0, 10]) : random_.randrange(len(value) + 1)]
    if kind < 0.6:
        return random_.randbytes(random_.randrange(80))
    changed = bytearray(value)
    for _ in range(random_.randrange(1, 4)):
        changed[random_.randrange(len(changed))] = random_.randrange(256)
    return bytes(changed)


def _correction(random_: random.Random) -> bytes:
    """A JSON object with some fields of a use, spoilt or right; or no JSON at all."""
    right: dict[str, Any] = {
        "event_id": "e", "occurred_at": "2026-11-07T12:00:00Z", "product": "news", "payer": "p", "creator": None,
        "item": "/a", "meter": "page.view", "quantity": "1", "attributes": {"segment": "school"},
    }  # fmt: skip
    some = {name: right[name] for name in random_.sample(list(right), random_.randrange(len(right) + 1))}
    kind = random_.random()
    if kind < 0.1:
        return random_.randbytes(random_.randrange(60))
    if kind < 0.6:
        return json.dumps(some, indent=random_.choice([None, 2])).encode()
    return json.dumps(spoilt(some, random_)).encode()
