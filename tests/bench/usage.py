"""Usage for the benches: many payers and creators, drawn from long-tailed distributions; the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pyarrow as pa

from nanotally.schemas import codec
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.domain.tariff import Meter, Party, Rule, RuleBook, Settings, Split, TariffVersion, Tier

CHUNK = 20_000
PAYERS, CREATORS, ITEMS = 100_000, 5_000, 1_000_000
START_US = 1_790_000_000_000_000

SPLIT = Split("standard", (Party("platform", Fraction(1, 10)), Party("creator", None)))


def flat_book() -> RuleBook:
    """One flat price, cumulated per payer for life, split in two."""
    rule = Rule("article", "page.view", (), (Tier(None, Fraction(5_000_000)),), (), "life", "standard", text="0.005")
    version = TariffVersion("bench", 1, 0, "USD", "UTC", (), (Meter("page.view", "page"),), (SPLIT,), (rule,))
    return RuleBook(0, Settings(thresholds=(("USD", 10**9),)), (version,))


def stateful_book() -> RuleBook:
    """Graduated tiers with a fractional price, cumulated per payer over a month."""
    tiers = (Tier(100, Fraction(5_000_000)), Tier(10_000, Fraction(4_000_000, 3)), Tier(None, Fraction(1_000_000)))
    rule = Rule("article", "page.view", (), tiers, (), "month", "standard", text="graduated")
    version = TariffVersion("bench", 1, 0, "USD", "UTC", (), (Meter("page.view", "page"),), (SPLIT,), (rule,))
    return RuleBook(0, Settings(thresholds=(("USD", 10**9),)), (version,))


def usage(
    n: int, seed: int = 1, start_us: int = START_US, step_us: int = 10, ids: int = 0, even: int = 0
) -> pa.RecordBatch:
    """n usage events as columns of usage_event.avsc; ids number from `ids`; times climb by `step_us`.

    Payers are long-tailed, or, with `even`, all as often."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(ids, ids + n)
    tail = rng.integers(0, 2**63, n)
    payer = rng.integers(0, PAYERS, n) if even else rng.zipf(1.2, n) % PAYERS
    columns: dict[str, pa.Array] = {
        "event_id": pa.array([f"{a:016x}-{b:019d}" for a, b in zip(numbers.tolist(), tail.tolist(), strict=True)]),
        "occurred_at": pa.array(start_us + np.arange(n) * step_us),
        "product": pa.repeat("news", n),
        "payer": pa.array([f"payer-{i:07d}" for i in payer.tolist()]),
        "creator": pa.array([f"creator-{i:05d}" for i in (rng.zipf(1.2, n) % CREATORS).tolist()]),
        "item": pa.array([f"item-{i:07d}" for i in (rng.zipf(1.1, n) % ITEMS).tolist()]),
        "meter": pa.repeat("page.view", n),
        "quantity": pa.array(rng.integers(1, 100, n)),
        "scale": pa.repeat(pa.scalar(0, pa.int32()), n),
        "session": pa.nulls(n, pa.string()),
        "duration_us": pa.nulls(n, pa.int64()),
        "attributes": pa.MapArray.from_arrays(
            pa.array(np.zeros(n + 1, dtype=np.int32)), pa.array([], pa.string()), pa.array([], pa.string())
        ),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def datums(n: int, **how: int) -> list[bytes]:
    """n usage events encoded."""
    return codec.encode("UsageEvent", usage(n, **how))


def by_partition(batch: pa.RecordBatch, partitions: int) -> Iterator[tuple[int, list[bytes], list[bytes]]]:
    """Usage events encoded, as (partition, keys, values), each in its payer's partition."""
    values = codec.encode("UsageEvent", batch)
    keys = batch.column("payer").cast(pa.binary()).to_pylist()
    place = {key: partition_of(key, partitions) for key in set(keys)}
    where = np.array([place[key] for key in keys])
    for partition in range(partitions):
        mine = np.flatnonzero(where == partition).tolist()
        yield partition, [keys[i] for i in mine], [values[i] for i in mine]
