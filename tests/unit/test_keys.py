"""Hashes, grouping, the table of keys, interning and partitions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2

from nanotally.streams.domain.hashing import combine, hash_strings, hash_text, partitions_of
from nanotally.streams.domain.keys import Interner, KeyTable, group, group_codes, partition_of

WORDS = st.integers(0, 2**64 - 1)
# Few distinct values, so that equal keys and equal halves are common.
SMALL = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])


@given(st.lists(st.text(max_size=40), min_size=1))
def test_a_string_hashes_the_same_alone_and_among_others(texts: list[str]) -> None:
    high, low = hash_strings(pa.array(texts))
    for i, text in enumerate(texts):
        alone = hash_text(text)
        assert (high[i], low[i]) == (alone[0][0], alone[1][0])


@given(st.lists(st.text(max_size=20), min_size=2, unique=True))
def test_different_strings_hash_differently(texts: list[str]) -> None:
    high, low = hash_strings(pa.array(texts))
    assert len(set(zip(high.tolist(), low.tolist(), strict=True))) == len(texts)


def test_the_hash_is_the_one_the_ledger_has() -> None:
    high, low = hash_text("nanotally")
    assert (int(high[0]), int(low[0])) == (9784219878075526674, 1000954676599859341)


def test_a_slice_of_a_column_hashes_as_its_rows() -> None:
    column = pa.array(["a", "bcdefghijk", "", "lm"])
    whole, part = hash_strings(column), hash_strings(column.slice(1, 2))
    assert whole[1][1:3].tolist() == part[1].tolist()


def test_the_order_of_what_is_combined_matters() -> None:
    a, b = hash_text("a"), hash_text("b")
    assert combine(a, b)[0][0] != combine(b, a)[0][0]


@given(st.lists(st.tuples(SMALL, SMALL), min_size=1))
def test_rows_are_grouped_by_both_halves_of_the_key(keys: list[tuple[int, int]]) -> None:
    high, low = (np.array(half, dtype=np.uint64) for half in zip(*keys, strict=True))
    groups = group(high, low)
    seen: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(keys):
        seen.setdefault(key, []).append(row)
    assert len(groups) == len(seen)
    for rows in seen.values():
        code = groups.codes[rows[0]]
        assert groups.codes[rows].tolist() == [code] * len(rows)
        start = groups.starts[code]
        assert groups.order[start : start + len(rows)].tolist() == rows
        assert groups.first[code] == rows[0] and groups.last[code] == rows[-1]


def test_keys_that_agree_in_all_but_the_last_scrambled_bits_are_told_apart() -> None:
    back = pow(0x4CF5AD432745937F, -1, 2**64)  # undoes the scrambling
    low = np.array([(7 << 32 | i % 5) * back % 2**64 for i in range(40)], dtype=np.uint64)
    groups = group(np.zeros(40, dtype=np.uint64), low)
    assert len(groups) == 5
    for code in range(5):
        rows = np.flatnonzero(groups.codes == code)
        assert len(set(low[rows].tolist())) == 1 and len(rows) == 8
        assert groups.order[groups.starts[code] :][:8].tolist() == rows.tolist()
    assert len(group(np.arange(40, dtype=np.uint64) % np.uint64(2), np.full(40, 7, dtype=np.uint64))) == 2
    assert len(group(low[:0], low[:0])) == 0


@given(st.lists(st.integers(-3, 3) | st.sampled_from([2**63 - 1, -(2**63), 2**61, 2**61 + 1])))
def test_rows_are_grouped_by_an_integer_of_any_size(codes: list[int]) -> None:
    groups = group_codes(np.array(codes, dtype=np.int64))
    assert len(groups) == len(set(codes))
    for number in range(len(groups)):
        start, end = (*groups.starts.tolist(), len(codes))[number : number + 2]
        rows = groups.order[start:end].tolist()
        assert rows == [row for row, code in enumerate(codes) if code == codes[rows[0]]]
        assert groups.codes[rows].tolist() == [number] * len(rows) and groups.first[number] == rows[0]


@given(st.lists(st.lists(st.tuples(SMALL | WORDS, SMALL | WORDS), unique=True, max_size=30), max_size=6))
def test_the_table_knows_just_the_keys_that_were_put_in(calls: list[list[tuple[int, int]]]) -> None:
    table, slots = KeyTable(2), dict[tuple[int, int], int]()
    for keys in calls:
        high = np.array([k[0] for k in keys], dtype=np.uint64)
        low = np.array([k[1] for k in keys], dtype=np.uint64)
        for key, slot in zip(keys, table.insert(high, low).tolist(), strict=True):
            assert slots.setdefault(key, slot) == slot
    assert sorted(slots.values()) == list(range(len(table)))
    for (high_word, low_word), slot in slots.items():
        asked = np.array([high_word], dtype=np.uint64), np.array([low_word], dtype=np.uint64)
        assert table.lookup(*asked).tolist() == [slot]
        other = (high_word, low_word ^ 1)
        if other not in slots:
            assert table.lookup(asked[0], asked[1] ^ np.uint64(1)).tolist() == [-1]


def test_kept_keys_are_renumbered_and_the_others_are_gone() -> None:
    table = KeyTable()
    words = np.arange(5000, dtype=np.uint64)
    table.insert(words, words)
    table.keep(np.array([3, 4999, 0]))
    asked = np.array([0, 3, 4999, 7], dtype=np.uint64)
    assert table.lookup(asked, asked).tolist() == [2, 0, 1, -1] and len(table) == 3


def test_plain_integers_spread_over_the_table_and_are_found_in_few_steps() -> None:
    table = KeyTable()
    account = np.repeat(np.arange(200, dtype=np.uint64), 500)
    hour = np.tile(np.arange(500, dtype=np.uint64) * np.uint64(3_600_000_000), 200)
    slots = table.insert(account, hour)
    assert (table.lookup(account, hour) == slots).all()


def test_texts_get_codes_in_the_order_of_their_first_appearance() -> None:
    interner = Interner()
    assert interner.codes(pa.array(["b", "a", "b"])).tolist() == [0, 1, 0]
    assert interner.codes(pa.array(["c", "a"])).tolist() == [2, 1]
    assert interner.text(np.array([2, 0])) == ["c", "b"] and interner.code("d") is None


@given(st.binary(max_size=40), st.integers(1, 64))
def test_a_key_goes_where_kafkas_own_partitioner_sends_it(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == (murmur2(key) & 0x7FFFFFFF) % partitions


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 64))
def test_keys_together_go_where_each_goes_alone(keys: list[bytes], partitions: int) -> None:
    assert partitions_of(keys, partitions).tolist() == [partition_of(key, partitions) for key in keys]


@pytest.mark.parametrize(("key", "hashed"), [(b"21", -973932308), (b"foobar", -790332482), (b"", 275646681)])
def test_murmur2_gives_the_values_of_kafkas_own_test(key: bytes, hashed: int) -> None:
    # org.apache.kafka.common.utils.UtilsTest.testMurmur2 (Apache Kafka), and the empty key
    assert partition_of(key, 2**31) == hashed & 0x7FFFFFFF
