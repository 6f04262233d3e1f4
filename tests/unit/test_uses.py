"""What is worked out of decoded uses."""

from __future__ import annotations

import numpy as np
import pytest

from nanotally.schemas import codec
from nanotally.streams.domain.uses import Uses
from tests.support.records import usage_event


def uses(*pairs: tuple[str, str]) -> Uses:
    """One use of each product and meter."""
    values = [codec.encode_one("UsageEvent", usage_event(i, product=p, meter=m)) for i, (p, m) in enumerate(pairs)]
    decoded = codec.decode("UsageEvent", values)
    n = len(values)
    return Uses(decoded.batch, np.arange(n), np.zeros(n, dtype=np.int64), codec.event_datums(values, decoded))


def told(some: Uses) -> list[tuple[str, str]]:
    """Product and meter of each use, by the group it is in; groups must hold together."""
    groups, names = some.pairs
    assert [int(groups.codes[row]) for row in groups.order] == sorted(groups.codes.tolist())
    assert groups.codes[groups.first].tolist() == list(range(len(groups)))
    assert [groups.codes[groups.order[start]] for start in groups.starts] == list(range(len(groups)))
    return [names[code] for code in groups.codes.tolist()]


@pytest.mark.parametrize(
    "pairs",
    [
        [("news", "page.view")],
        [("news", "page.view")] * 5,
        [("news", "page.view")] * 4 + [("nows", "page.view")],
        [("news", "page.view"), ("news", "page.viex"), ("news", "page.view")],
        [("ab", "c"), ("ab", "cd"), ("ab", "")],
        [("", "")] * 3,
        [("a", "x"), ("b", "x"), ("a", "x"), ("a", "y"), ("b", "x")],
    ],
)
def test_uses_are_told_apart_by_product_and_meter(pairs: list[tuple[str, str]]) -> None:
    assert told(uses(*pairs)) == pairs
    for first in range(len(pairs)):
        for end in range(first + 1, len(pairs) + 1):
            assert told(uses(*pairs).part(first, end)) == pairs[first:end]
