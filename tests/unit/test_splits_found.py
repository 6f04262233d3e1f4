"""Resolved splits of columns in which the same creators come again and again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from nanotally.schemas import codec
from nanotally.streams.domain import splitting
from nanotally.streams.domain.keys import Interner
from nanotally.streams.domain.matching import CompiledBook
from nanotally.streams.domain.splitting import Splits
from nanotally.streams.domain.uses import Uses
from tests.bench.usage import flat_book, usage

CREATORS: list[str | None] = ["ana", None, "ben", "", "cyn", "ana ", "ünal", "ana"]


@pytest.mark.parametrize("every", [True, False])
def test_who_repeats_gets_the_same_split_as_who_is_looked_up_each_time(
    every: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, made = 3_000, np.random.default_rng(4)
    creators = [CREATORS[i] for i in made.integers(0, len(CREATORS), n).tolist()]
    batch = usage(n).set_column(4, "creator", pa.array(creators, pa.string()))
    decoded = codec.decode("UsageEvent", codec.encode("UsageEvent", batch))
    uses = Uses(decoded.batch, np.arange(n), np.zeros(n, dtype=np.int64), [b""] * n)
    rows = np.arange(n) if every else np.arange(n - 1)
    (rule,) = CompiledBook(flat_book()).rules

    def accounts(sample: int) -> list[str]:
        monkeypatch.setattr(splitting, "SAMPLE", sample)
        splits = Splits(Interner())
        found = splits.resolve_uses(rule, uses, rows)
        assert (splits.resolve_uses(rule, uses, rows) == found).all()
        return [splits.parties[number][-1].account for number in found.tolist()]

    expected = [f"creator:{name}" if name else "platform" for name in creators][: len(rows)]
    assert accounts(512) == accounts(10**9) == expected
