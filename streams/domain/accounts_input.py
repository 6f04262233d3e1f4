"""A chunk of `earnings` in columns: the deltas of sources, and their marks between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.schemas import codec
from nanotally.streams.domain.records import NO_END, Int64Array
from nanotally.streams.domain.tallies import OpenTallies
from nanotally.streams.domain.tallies_sums import sums_by
from nanotally.streams.domain.uses import int64
from nanotally.streams.errors import BrokenInvariant


@dataclass
class Input:
    """n records: earnings (columns of earning.avsc) with their places in the chunk, and marks by place."""

    n: int
    earnings: pa.RecordBatch
    places: Int64Array
    marks: list[tuple[int, dict[str, Any]]]


def read(values: Sequence[bytes | None]) -> Input:
    """Decodes records of `earnings`. Raises BrokenInvariant for what the payers' stage does not write."""
    places = codec.split_by_schema(values)
    earnings, marks = places.pop("Earning", _none()), places.pop("SourceMark", _none())
    for name, foreign in places.items():
        raise BrokenInvariant(f"record {foreign[0]} of a chunk of earnings is {name or 'no record of ours'}")
    told = _decode("SourceMark", values, marks).to_pylist()
    batch = _decode("Earning", values, earnings)
    return Input(len(values), batch, earnings, list(zip(marks.tolist(), told, strict=True)))


def _none() -> Int64Array:
    return np.zeros(0, dtype=np.int64)


def _decode(name: str, values: Sequence[bytes | None], places: Int64Array) -> pa.RecordBatch:
    decoded = codec.decode(name, [values[i] for i in places.tolist()])
    if decoded.bad:
        raise BrokenInvariant(f"{name} {places[decoded.bad[0].index]} of a chunk of earnings: {decoded.bad[0].detail}")
    return decoded.batch


class Earnings:
    """The earnings of a chunk on their way into open windows: those passed are taken, and added when it matters."""

    def __init__(self, given: Input, tallies: OpenTallies | None) -> None:
        self._batch, self._places, self._tallies = given.earnings, given.places, tallies
        self._end_us = tallies.ends(int64(given.earnings.column("minute"))) if tallies else None
        self._passed = self._added = 0

    def pass_to(self, place: int) -> None:
        """Takes the earnings before a place in the chunk."""
        self._passed = int(np.searchsorted(self._places, place))

    def next_end(self) -> int:
        """Least end of an open window with what was passed: microseconds UTC."""
        if self._tallies is None or self._end_us is None:
            return NO_END
        held = int(self._end_us[self._added : self._passed].min(initial=NO_END))
        return min(held, self._tallies.next_end())

    def add(self) -> None:
        """Adds what was passed to its windows, where there are any yet."""
        if self._tallies is not None:
            add(self._tallies, self._batch.slice(self._added, self._passed - self._added))
        self._added = self._passed

    def taken(self) -> pa.RecordBatch:
        """All that was passed."""
        return self._batch.slice(0, self._passed)


def add(tallies: OpenTallies, batch: pa.RecordBatch) -> None:
    """Adds earnings, columns of earning.avsc, to their windows."""
    if len(batch):
        columns = {name: batch.column(name) for name in batch.schema.names}
        tallies.add(
            tallies.accounts.codes(columns["account"]),
            tallies.series.codes(columns["product"], columns["meter"], int64(columns["scale"]), columns["currency"]),
            *(int64(columns[name]) for name in ("minute", "count", "quantity", "amount_nanos")),
        )


def earned(batch: pa.RecordBatch) -> dict[str, int]:
    """Sums of earnings, nanos by 'earned.CUR'."""
    currency = pc.dictionary_encode(batch.column("currency"))
    names = currency.dictionary.to_pylist()
    nanos = sums_by(int64(currency.indices), len(names), int64(batch.column("amount_nanos")))
    return {f"earned.{name}": total for name, total in zip(names, nanos, strict=True)}
