"""The uses of a simulation: from a file, admitted as a worker would, or from the ledger, where they have been."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.schemas import codec
from nanotally.streams.commands.dry_run import DryRun
from nanotally.streams.commands.simulate_outcome import Taken
from nanotally.streams.domain.admission import DUPLICATE, TAKEN, admit
from nanotally.streams.domain.asking import limits_of
from nanotally.streams.domain.dedup import SeenIds
from nanotally.streams.domain.matching import CompiledBook
from nanotally.streams.domain.records import LONG_AGO, BoolArray
from nanotally.streams.domain.redriven import offsets_of
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.domain.uses import Uses, int64
from nanotally.streams.errors import InvalidInput
from nanotally.streams.publisher_files import read_usage
from nanotally.streams.publisher_ledger import TopicReader

CHUNK = 50_000
TOLD_MAX = 5  # lines of a file that cannot be used and are told one by one


def from_file(
    name: str, file: IO[bytes], book: RuleBook, left_out: Counter[str], tell: Callable[[str], None]
) -> Iterator[Taken]:
    """Uses of a file, as one partition takes them in the order of the lines: without repeats, late ones booked later.

    left_out: counts of lines that are not simulated; tell: is given the first of those that cannot be used."""
    reader, compiled, seen = DryRun(book), CompiledBook(book), SeenIds()
    watermark_us, now_us, done, told = LONG_AGO, 0, 0, 0
    lines = iter(read_usage(name, file))
    while some := list(islice(lines, CHUNK)):
        values: list[bytes] = []
        for line in some:
            try:
                values.append(codec.encode_one("UsageEvent", reader.event(line)))
            except InvalidInput as e:
                left_out["cannot be used"] += 1
                told += 1
                if told <= TOLD_MAX:
                    tell(f"{name}:{line.number}: {e}")
        if not values:
            continue
        decoded = codec.decode("UsageEvent", values)
        offsets = np.arange(done, done + len(decoded.batch))
        done += len(offsets)
        times = np.maximum.accumulate(np.maximum(int64(decoded.batch.column("occurred_at")), now_us))
        now_us = int(times[-1])
        uses = Uses(decoded.batch, offsets, times, codec.event_datums(values, decoded))
        rule, here = compiled.match(uses), np.ones(len(uses), dtype=bool)
        admitted = admit(uses, rule, limits_of(uses).bad, here, seen, watermark_us, LONG_AGO, book.settings)
        booked_at = np.maximum(uses.occurred_at_us, admitted.watermark_us)
        rows = np.flatnonzero(admitted.verdict == TAKEN)
        high, low = uses.id_hash
        seen.add((high[rows], low[rows]), uses.content_hash[rows], uses.occurred_at_us[rows])
        watermark_us = max(watermark_us, int(admitted.watermark_us[-1]))
        left_out["told twice"] += int(np.count_nonzero(admitted.verdict == DUPLICATE))
        left_out["rejected"] += int(np.count_nonzero(admitted.verdict > DUPLICATE))
        kept = Uses(uses.batch.take(pa.array(rows)), offsets[rows], times[rows], [])
        yield Taken(0, kept, booked_at[rows], watermark_us)


class Ledger:
    """The charges of a period. charged: nanos that were paid in it under the tariff, as the ledger has them."""

    def __init__(self, tariff: str, mine: Callable[[str], bool], from_us: int, to_us: int) -> None:
        self.charged = 0
        self._tariff, self._mine = tariff, mine
        self._from_us, self._to_us = from_us, to_us
        self._watermark_us: dict[int, int] = {}
        self._unpriced: dict[int, set[int]] = {}  # usage offsets that were handed on, by partition

    async def read(self, reader: TopicReader, left_out: Counter[str], take: Callable[[Taken], None]) -> None:
        """Hands on the uses of the period whose product is of the tariff, partition by partition in order.

        Raises Transient, NotFound as TopicReader; BrokenInvariant for a charge that cannot be read."""
        held: dict[int, list[bytes]] = {}
        async for records in reader.stream("charges", await reader.bounds("charges")):
            values = held.setdefault(records.partition, [])
            values += [value for value in records.values if value is not None]
            if len(values) >= CHUNK:
                self._hand_on(records.partition, held.pop(records.partition), left_out, take)
        for partition, values in held.items():
            self._hand_on(partition, values, left_out, take)

    def _hand_on(
        self, partition: int, values: list[bytes], left_out: Counter[str], take: Callable[[Taken], None]
    ) -> None:
        by_name = codec.split_by_schema(values)
        charges = by_name.get("Charge", np.zeros(0, dtype=np.int64)).tolist()
        batch = codec.decode("Charge", [values[i] for i in charges]).batch
        for place in by_name.get("Chunk", np.zeros(0, dtype=np.int64))[-1:].tolist():
            self._watermark_us[partition] = codec.decode_one(values[place])[1]["watermark_us"]
        booked_at = int64(batch.column("booked_at"))
        inside = (booked_at >= self._from_us) & (booked_at < self._to_us)
        self._sum(batch.filter(pa.array(inside)))
        rows = np.flatnonzero(inside & batch.column("event").is_valid().to_numpy(zero_copy_only=False))
        if not len(rows):
            return
        chosen = batch.take(pa.array(rows))
        uses_batch = pa.RecordBatch.from_struct_array(chosen.column("event"))
        mine = self._of_tariff(uses_batch.column("product"))
        left_out["of other tariffs"] += int(np.count_nonzero(~mine))
        again = self._again(partition, chosen, mine)
        left_out["redriven, taken where they came first"] += int(np.count_nonzero(again))
        kept = np.flatnonzero(mine & ~again)
        offsets = int64(chosen.column("usage_offset"))[kept]
        times = int64(chosen.column("recorded_at"))[kept]
        uses = Uses(uses_batch.take(pa.array(kept)), offsets, times, [])
        take(Taken(partition, uses, booked_at[rows][kept], self._watermark_us.get(partition, LONG_AGO)))

    def _again(self, partition: int, charges: pa.RecordBatch, mine: BoolArray) -> BoolArray:
        """Charges of redriven uses that were handed on already, when they had no price: bool[n]. mine: bool[n]."""
        known = self._unpriced.setdefault(partition, set())
        unpriced = pc.equal(charges.column("outcome"), "unpriced").to_numpy(zero_copy_only=False) & mine
        known.update(int64(charges.column("usage_offset"))[unpriced].tolist())
        before = offsets_of(charges.column("flags"))
        again = np.zeros(len(charges), dtype=bool)
        for row in np.flatnonzero((before >= 0) & mine).tolist():
            again[row] = int(before[row]) in known
        return again

    def _of_tariff(self, products: pa.Array) -> BoolArray:
        encoded = products.dictionary_encode()
        table = np.array([self._mine(product) for product in encoded.dictionary.to_pylist()], dtype=bool)
        mine: BoolArray = table[encoded.indices.to_numpy()]
        return mine

    def _sum(self, batch: pa.RecordBatch) -> None:
        lines = batch.column("lines")
        counts = np.diff(np.asarray(lines.offsets))
        tariffs = lines.flatten().field("tariff")
        ours = pc.equal(tariffs, self._tariff).to_numpy(zero_copy_only=False)
        first = (np.cumsum(counts) - counts)[counts > 0]
        paid = int64(batch.column("paid_nanos"))[counts > 0]
        self.charged += sum(paid[ours[first]].tolist())
