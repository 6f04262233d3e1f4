"""Ids that were used, against a plain dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanotally.streams.domain import dedup
from nanotally.streams.domain.dedup import SeenIds
from nanotally.streams.domain.hashing import Hash

HORIZON = 1000
# Keys whose words, or whose halves of words, are often the same.
WORD = st.sampled_from([0, 1, 2, 1 << 32, (1 << 32) + 1, (1 << 33) + 1, 2**63, 2**64 - 1, 2**64 - 2])
KEY = st.tuples(WORD, WORD)
STEP = st.tuples(st.dictionaries(KEY, st.integers(-(2**63), 2**63 - 1), max_size=6), st.integers(0, 400), st.booleans())


def columns(keys: list[tuple[int, int]]) -> Hash:
    high, low = (np.array([key[half] for key in keys], dtype=np.uint64) for half in (0, 1))
    return high, low


@pytest.fixture(autouse=True, scope="module")
def small_generations() -> object:
    patch = pytest.MonkeyPatch()
    patch.setattr(dedup, "GENERATION_IDS", 8)
    yield patch
    patch.undo()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(STEP, max_size=30), st.lists(KEY, unique=True, max_size=20), st.sampled_from([0, 1, 2**32, 2**41, 2**52])
)
def test_what_was_used_is_known_with_its_latest_use_until_the_horizon_has_passed(
    steps: list[tuple[dict[tuple[int, int], int], int, bool]], others: list[tuple[int, int]], scale: int
) -> None:
    """scale: times lie so far apart that they fit into more or fewer bytes. What is told of an id whose latest use is
    beyond the horizon may be an earlier use of it, from a generation that was kept longer: both count as forgotten. An
    id is never used again before its last use, since only ids beyond the horizon are."""
    seen, used, now = SeenIds(), dict[tuple[int, int], tuple[int, int]](), 0
    scale = max(1, scale // HORIZON)
    for i, (ids, later, restarted) in enumerate(steps):
        now += later
        times = {key: (now - (i * 37 + j * 211) % HORIZON) * scale for j, key in enumerate(ids)}
        times = {key: max(at, used[key][1]) if key in used else at for key, at in times.items()}
        used |= {key: (content, times[key]) for key, content in ids.items()}
        seen.add(columns(list(ids)), np.array(list(ids.values()), np.int64), np.array(list(times.values()), np.int64))
        seen.forget((now - HORIZON) * scale, HORIZON * scale)
        if restarted:
            kept = seen.arrays()
            seen = SeenIds()
            seen.load(kept)
            assert len(seen) == sum(len(kept[name]) for name in kept if name.endswith(".high"))
        asked = list(dict.fromkeys([*used, *others]))
        found = seen.find(columns(asked))
        for key, known, content, at in zip(
            asked, found.known.tolist(), found.content.tolist(), found.occurred_at_us.tolist(), strict=True
        ):
            forgotten_before = (now - HORIZON) * scale
            if key not in used:
                assert not known
            elif used[key][1] >= forgotten_before:
                assert known, "it was forgotten too early"
                assert (content, at) == used[key]
            else:
                assert not known or at < forgotten_before, "an earlier use is told as if it were within the horizon"


@pytest.mark.parametrize("sealed", [False, True])
def test_of_an_id_that_comes_twice_in_a_call_the_later_use_is_known(sealed: bool) -> None:
    n = 100
    random = np.random.default_rng(2)
    keys = np.concatenate([random.integers(0, 2**64, (n, 2), dtype=np.uint64), np.full((4, 2), 7, dtype=np.uint64)])
    twice = np.concatenate([keys, keys[:n]])
    content, at = np.arange(len(twice)), np.arange(len(twice)) * 10
    seen = SeenIds()
    seen.add((twice[:, 0], twice[:, 1]), content, at)
    if sealed:
        seen.forget(0, 8)
        seen.add((np.zeros(1, np.uint64), np.zeros(1, np.uint64)), np.zeros(1, np.int64), np.array([10**6]))
        seen.forget(0, 8)
    for _ in range(2):
        found = seen.find((keys[:, 0], keys[:, 1]))
        assert found.known.all()
        assert found.content.tolist() == [*range(n + 4, 2 * n + 4), *[n + 3] * 4]
        assert found.occurred_at_us.tolist() == [10 * one for one in found.content.tolist()]
        seen.load(seen.arrays())


def test_ids_of_sealed_generations_take_thirty_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup, "GENERATION_IDS", 1 << 14)
    seen, n = SeenIds(), 1 << 12
    random = np.random.default_rng(1)
    for i in range(33):
        key = random.integers(0, 2**64, n, dtype=np.uint64), random.integers(0, 2**64, n, dtype=np.uint64)
        at = np.arange(i * n, i * n + n, dtype=np.int64) * 1_000_000  # a use a second
        seen.add(key, at, at)
        seen.forget(at[-1] - 10**15, 10**15)
    assert len(seen._sealed) == 8
    size = sum(column.nbytes for one in seen._sealed for column in vars(one).values() if isinstance(column, np.ndarray))
    assert size / (8 << 14) == 29
    assert seen.find(key).known.all()
