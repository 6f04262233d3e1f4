"""Texts as small integers over many chunks of columns: by hash, without a Python object for each text."""

from __future__ import annotations

import pyarrow as pa

from nanotally.streams.domain.hashing import hash_strings
from nanotally.streams.domain.keys import KeyTable
from nanotally.streams.domain.records import Int64Array


class NameTable:
    """Codes 0, 1, ... in the order of first appearance."""

    def __init__(self) -> None:
        self._table = KeyTable()
        self._texts: list[pa.Array] = []

    def __len__(self) -> int:
        return len(self._table)

    def codes(self, column: pa.Array) -> Int64Array:
        """Codes of a string column without nulls: int64[n]."""
        encoded = column.dictionary_encode()
        high, low = hash_strings(encoded.dictionary)
        slots = self._table.lookup(high, low)
        new = slots < 0
        if new.any():
            slots[new] = self._table.insert(high[new], low[new])
            self._texts.append(encoded.dictionary.filter(pa.array(new)))
        codes: Int64Array = slots[encoded.indices.to_numpy()]
        return codes

    def texts(self) -> list[str]:
        """The text of each code."""
        found: list[str] = pa.concat_arrays(self._texts).to_pylist() if self._texts else []
        return found
