"""Sessions and anchored scopes: where instances begin and end, by hand and against one use at a time."""

from __future__ import annotations

import random

import numpy as np
import pytest

from nanotally.streams.domain.keys import group_codes
from nanotally.streams.domain.opened import instances
from nanotally.streams.domain.records import LONG_AGO
from nanotally.streams.domain.scopes import ScopeRows


def found(kind: str, length: int, keys: list[int], at: list[int], newest: dict[int, tuple[int, int]] | None = None):  # type: ignore[no-untyped-def]
    groups = group_codes(np.array(keys, dtype=np.int64))
    rows = ScopeRows.new(len(groups), 1)
    for place, row in enumerate(groups.first.tolist()):
        rows.start[place], rows.end[place] = (newest or {}).get(keys[row], (0, LONG_AGO))
    start, end = instances(kind, length, groups, np.array(at, dtype=np.int64), rows)
    return list(zip(start.tolist(), end.tolist(), strict=True))


def test_a_use_exactly_a_gap_after_the_last_one_begins_a_new_session() -> None:
    assert found("session", 30, [1] * 4, [0, 20, 49, 79]) == [(0, 30), (0, 50), (0, 79), (79, 109)]


def test_a_session_is_joined_however_early_the_use_is_booked() -> None:
    assert found("session", 30, [1] * 3, [0, 40, 20]) == [(0, 30), (40, 70), (40, 70)]
    assert found("session", 30, [1, 2], [35, 35], {1: (10, 40)}) == [(10, 65), (35, 65)]


def test_an_anchored_scope_ends_a_length_after_its_first_use() -> None:
    assert found("anchored", 24, [1] * 5, [5, 28, 29, 10, 53]) == [(5, 29), (5, 29), (29, 53), (29, 53), (53, 77)]
    assert found("anchored", 24, [1], [20], {1: (0, 24)}) == [(0, 24)]


@pytest.mark.parametrize("kind", ["session", "anchored"])
def test_columns_find_what_one_use_after_the_other_finds(kind: str) -> None:
    r = random.Random(kind)
    for _ in range(200):
        n, length = r.randrange(1, 40), r.randrange(1, 20)
        keys, at = [r.randrange(3) for _ in range(n)], [r.randrange(100) for _ in range(n)]
        known = {k: (s, s + r.randrange(1, 30)) for k in range(3) if (s := r.randrange(60)) % 2}
        open_now, expected = dict(known), []
        for key, t in zip(keys, at, strict=True):
            start, end = open_now.get(key, (0, LONG_AGO))
            if t >= end:
                start, end = t, t + length
            open_now[key] = start, max(end, t + length) if kind == "session" else end
            expected.append(open_now[key])
        assert found(kind, length, keys, at, known) == expected
